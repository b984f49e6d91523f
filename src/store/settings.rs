//! What a store is opened with, how it does, and why it may not open.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use std::{error, fmt, io};

use super::log::Bounds;

/// Where the store is and how much it may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its directory; none keeps it in memory.
    pub dir: Option<PathBuf>,
    /// Bytes on the disk, about.
    pub max_size: u64,
    /// How long anything is kept.
    pub max_age: Duration,
    /// Bytes of spans in memory, when the disk takes none.
    pub max_memory: usize,
    /// Spans have a destination. Without one they are kept, and leave only when they are replayed.
    pub exports: bool,
}

impl Settings {
    /// What of it may be kept.
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            bytes: self.max_size,
            age: self.max_age,
        }
    }
}

/// How the store is doing, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreState {
    /// Why it takes nothing now, and since when; none while it does.
    pub failing: Option<(SystemTime, String)>,
    /// Bytes that it takes on the disk, or in memory.
    pub bytes: u64,
    /// Beginnings and ends of exchanges that could not be written down: a crash would have hidden these exchanges.
    pub journal_skipped: u64,
    /// Spans that are stored and were made without a destination.
    pub kept: u64,
    /// Exchanges that a crash left unfinished, found at the start.
    pub recovered: u64,
}

/// Why a store does not open: the one thing that stops a start.
#[derive(Debug)]
pub enum OpenError {
    /// Another process uses the directory.
    Taken(PathBuf),
    /// The operating system gives no thread.
    Thread(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Taken(dir) => write!(
                formatter,
                "choose another store.dir, or end the other spangate: a process uses {} already",
                dir.display()
            ),
            OpenError::Thread(error) => {
                write!(formatter, "raise the limits of this process: {error}")
            }
        }
    }
}

impl error::Error for OpenError {}
