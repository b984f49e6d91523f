//! How much room the disk has, and how much of it is kept for making more.

/// Room on the disk, in bytes.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// None where it is not known, or in memory.
    pub(super) free: Option<u64>,
    /// With less than that, only what makes room is written.
    pub(super) least: u64,
    /// By so much at most the database becomes longer when the log is written back.
    pub(super) log_growth: u64,
    pub(super) full: bool,
}

impl Room {
    /// Whether it can be written beside what is kept for making room.
    pub(super) fn takes(&self, bytes: u64) -> bool {
        !self.full
            && self
                .free
                .is_none_or(|free| free >= self.least.saturating_add(bytes))
    }

    /// Whether the log can be written back. Where it could not be, it would take the last room.
    pub(super) fn takes_log(&self) -> bool {
        self.free.is_none_or(|free| free >= self.log_growth)
    }
}
