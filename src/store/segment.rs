//! The segment that is being written: records are gathered in a buffer and written with one call.

use std::sync::Arc;
use std::{fmt, io};

use serde::Serialize;

use super::disk::{Disk, DiskFile};
use super::index_file::{self, IndexEntry};
use super::record::{self, HEAD, RecordBody, RecordKind, SEGMENT_HEAD};

/// A segment's number and mark, which its files are called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    pub(super) number: u32,
    pub(super) mark: u32,
}

impl SegmentName {
    /// Of the name of a segment's file.
    pub(super) fn parse(file: &str) -> Option<Self> {
        let (number, mark) = file.strip_suffix(".log")?.split_once('-')?;
        let name = SegmentName {
            number: number.parse().ok()?,
            mark: u32::from_str_radix(mark, 16).ok()?,
        };
        let is_ours = name.log() == file && name.number < MOST_SEGMENT_NUMBER;
        is_ours.then_some(name)
    }

    pub(super) fn log(self) -> String {
        format!("{self}.log")
    }

    pub(super) fn index(self) -> String {
        format!("{self}.idx")
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:08}-{:08x}", self.number, self.mark)
    }
}

/// The segment that records are appended to.
#[derive(Debug)]
pub(super) struct ActiveSegment {
    pub(super) name: SegmentName,
    pub(super) file: Arc<dyn DiskFile>,
    /// Bytes that are reserved.
    capacity: u64,
    /// Behind the last record that is written.
    end: u64,
    buffer: Vec<u8>,
    /// Records that a start wants to know of, also those of the buffer.
    entries: Vec<IndexEntry>,
    /// How many of them are written.
    written_entries: usize,
    /// Something was written that is not synced yet.
    pub(super) is_dirty: bool,
}

impl ActiveSegment {
    /// A new file of `capacity` bytes.
    ///
    /// # Errors
    /// The disk does not have them.
    pub(super) fn create(disk: &dyn Disk, name: SegmentName, capacity: u64) -> io::Result<Self> {
        let file = disk.create(&name.log(), capacity)?;
        if let Err(error) = file.write_at(0, SEGMENT_HEAD) {
            drop(disk.remove(&name.log()));
            return Err(error);
        }
        Ok(Self::resume(name, file, capacity, HEAD as u64, Vec::new()))
    }

    /// A segment whose records end at `end` and which has room behind them.
    pub(super) fn resume(
        name: SegmentName,
        file: Arc<dyn DiskFile>,
        capacity: u64,
        end: u64,
        entries: Vec<IndexEntry>,
    ) -> Self {
        ActiveSegment {
            name,
            file,
            capacity,
            end,
            buffer: Vec::new(),
            written_entries: entries.len(),
            entries,
            is_dirty: true,
        }
    }

    /// Whether it has more than its head and checkpoint.
    pub(super) fn has_entries(&self) -> bool {
        !self.entries.is_empty()
    }

    /// Whether records of so many bytes still fit.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.end + (self.buffer.len() + bytes) as u64 <= self.capacity
    }

    /// Bytes that wait to be written.
    pub(super) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Appends a record to the buffer. Returns its offset in the segment.
    pub(super) fn push(
        &mut self,
        kind: RecordKind,
        number: u64,
        header: &impl Serialize,
        body: &RecordBody<'_>,
    ) -> u32 {
        let at = record::append(&mut self.buffer, self.name.mark, kind, number, header, body);
        u32::try_from(self.end + at as u64).unwrap_or(u32::MAX)
    }

    /// Notes a record of the buffer for the index file.
    pub(super) fn note(&mut self, entry: IndexEntry) {
        self.entries.push(entry);
    }

    /// Writes the buffer. Whether there was anything.
    ///
    /// # Errors
    /// The disk takes nothing. The buffer is lost: nobody knows how much of it is written.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        if self.buffer.is_empty() {
            return Ok(false);
        }
        let written = self.file.write_at(self.end, &self.buffer);
        match written {
            Ok(()) => {
                self.end += self.buffer.len() as u64;
                self.written_entries = self.entries.len();
                self.is_dirty = true;
            }
            Err(_) => self.entries.truncate(self.written_entries),
        }
        self.buffer.clear();
        self.buffer.shrink_to(MOST_BUFFER);
        written.map(|()| true)
    }

    /// Nothing is written that a start wants to know of.
    pub(super) fn is_empty(&self) -> bool {
        self.written_entries == 0
    }

    /// Lets go of entries that no start wants any more, and of those that are not written.
    pub(super) fn retain_entries(&mut self, is_wanted: impl FnMut(&IndexEntry) -> bool) {
        self.entries.truncate(self.written_entries);
        self.entries.retain(is_wanted);
        self.written_entries = self.entries.len();
    }

    /// Ends the segment: gives back what it has not used, which may hold parts of a write that failed.
    pub(super) fn seal(self) -> SealedSegment {
        if let Err(error) = self.file.truncate(self.end) {
            tracing::debug!(%error, segment = %self.name, "a segment keeps what was reserved for it");
        }
        let entries = self.entries[..self.written_entries].iter();
        SealedSegment::new(self.name, self.file, self.end, entries)
    }
}

/// A segment that is not written to any more, and its index, which becomes a file once the segment is synced: a start that finds the file need
/// not look whether a power cut has taken what it speaks of.
#[derive(Debug)]
pub(super) struct SealedSegment {
    name: SegmentName,
    file: Arc<dyn DiskFile>,
    end: u64,
    index: Vec<u8>,
}

impl SealedSegment {
    pub(super) fn new<'e>(
        name: SegmentName,
        file: Arc<dyn DiskFile>,
        end: u64,
        entries: impl Iterator<Item = &'e IndexEntry>,
    ) -> Self {
        SealedSegment {
            name,
            file,
            end,
            index: index_file::write(entries),
        }
    }

    /// What it takes on the disk, with its index file.
    pub(super) fn bytes(&self) -> u64 {
        self.end + self.index.len() as u64
    }

    /// # Errors
    /// It cannot be synced. Without an index file the next start takes some more time.
    pub(super) fn sync(&self, disk: &dyn Disk) -> io::Result<()> {
        self.file.sync()?;
        if matches!(disk.is_there(&self.name.log()), Ok(true))
            && let Err(error) = disk.write_whole(&self.name.index(), &self.index)
        {
            tracing::debug!(%error, segment = %self.name, "a segment has no index file");
        }
        Ok(())
    }
}

/// A file with a larger number is none of ours.
const MOST_SEGMENT_NUMBER: u32 = 1 << 31;
/// Bytes of a buffer that are held for the next group.
const MOST_BUFFER: usize = 1 << 20;
