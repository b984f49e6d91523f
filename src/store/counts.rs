//! The account: how many spans there were, and what became of each.

/// Why a span was dropped before anybody accepted or refused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The exchange began when capture had no room for it.
    Capture,
    /// The disk took nothing, memory was full, and this was the oldest that waited.
    Memory,
    /// The span alone is larger than the memory for all.
    Oversized,
    /// The store was full and this was the oldest that waited.
    StoreFull,
    /// It waited longer than anything is kept.
    Age,
    /// The disk does not give back what was written.
    Unreadable,
}

impl DropReason {
    /// Every reason, in the order in which they are shown.
    pub const ALL: [Self; 6] = [
        Self::Capture,
        Self::Memory,
        Self::Oversized,
        Self::StoreFull,
        Self::Age,
        Self::Unreadable,
    ];

    /// The reason's name as a label of a metric.
    pub fn label(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Memory => "memory",
            Self::Oversized => "oversized",
            Self::StoreFull => "store_full",
            Self::Age => "age",
            Self::Unreadable => "unreadable",
        }
    }
}

/// How many spans there were and what became of them, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanCounts {
    /// FinishedSpan, found at the start or brought back to be sent, the dropped ones included.
    pub created: u64,
    /// Accepted by Respan.
    pub exported: u64,
    /// Refused by Respan for good.
    pub rejected: u64,
    /// Waiting or under way in a post.
    pub pending: u64,
    /// FinishedSpan without a destination, or found so at the start. None of the others has them, unless they are replayed: then they are created.
    pub kept: u64,
    pub(super) dropped: [u64; DropReason::ALL.len()],
}

impl SpanCounts {
    /// Spans dropped for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// Spans dropped for any reason.
    pub fn dropped_in_all(&self) -> u64 {
        self.dropped.iter().sum()
    }
}
