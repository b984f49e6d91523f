//! What goes when the log is too large or too old: segments, the oldest first and each whole, with the spans that live there.

use std::io;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use super::Log;
use crate::store::DropReason;
use crate::store::index::Segment;
use crate::store::segment::{ActiveSegment, SegmentName};

/// Bytes of a segment at most, unless one record is longer.
const MOST_SEGMENT: u64 = 32 << 20;
/// A disk with little room gets segments down to this.
pub(super) const LEAST_SEGMENT: u64 = 64 << 10;
/// Segments that fit into the bound at least: so much more than wanted goes at once.
const SEGMENTS: u64 = 16;
/// A start reads the last segment whole, and an offset has 32 bits.
const HUGE_SEGMENT: u64 = 256 << 20;
/// Segments at most, for each takes an open file.
const MOST_SEGMENTS: u64 = 1024;

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Bounds {
    pub(in crate::store) bytes: u64,
    pub(in crate::store) age: Duration,
}

impl Bounds {
    /// Bytes of a segment where all may take `bound`.
    pub(super) fn segment_bytes(self, bound: u64) -> u64 {
        let segment = (self.bytes / MOST_SEGMENTS).clamp(MOST_SEGMENT, HUGE_SEGMENT);
        (bound / SEGMENTS).min(segment).max(LEAST_SEGMENT)
    }

    /// How long a segment is written to: so much longer than wanted the oldest of it is kept.
    fn segment_age(self) -> Duration {
        self.age / 16
    }
}

impl Log {
    /// Lets go of what is too old or too much. Ends the active segment when it has been written to for long.
    pub(in crate::store) fn retain(&mut self) -> io::Result<()> {
        let has_records = self.active.as_ref().is_some_and(ActiveSegment::has_entries);
        if has_records && self.active_since.elapsed() >= self.bounds.segment_age() {
            self.flush()?;
            self.begin_segment(0)?;
        }
        let number = self
            .active
            .as_ref()
            .map(|active| (active.name.number, active.file.bytes()));
        if let Some((number, Ok(bytes))) = number
            && let Some(segment) = self.write_index().segment_mut(number)
        {
            segment.bytes = bytes;
        }
        let now = SystemTime::now();
        while let Some((_, modified)) = self.oldest()
            && now
                .duration_since(modified)
                .is_ok_and(|age| age > self.bounds.age)
        {
            self.drop_oldest(DropReason::Age);
        }
        self.stay_within(self.bounds.bytes);
        Ok(())
    }

    /// Bytes that may be kept: what the configuration says, or nine tenths of what the disk has for this.
    pub(super) fn bound_on_disk(&self) -> u64 {
        let used = self.read_index().bytes();
        let there = self.disk.free_bytes().map(|free| (used + free) / 10 * 9);
        self.bounds.bytes.min(there.unwrap_or(u64::MAX))
    }

    /// Lets go of the oldest segments until all take at most `bytes`.
    pub(super) fn stay_within(&mut self, bytes: u64) {
        let is_too_much = |log: &Self| {
            let index = log.read_index();
            index.bytes() > bytes || index.segments().len() as u64 > MOST_SEGMENTS
        };
        while is_too_much(self) && self.drop_oldest(DropReason::StoreFull) {}
    }

    /// The oldest segment but for the active one, and when it was written to last.
    fn oldest(&self) -> Option<(u32, SystemTime)> {
        let index = self.read_index();
        let (number, segment) = index.segments().first_key_value()?;
        let is_active = self
            .active
            .as_ref()
            .is_some_and(|active| active.name.number == *number);
        (!is_active).then_some((*number, segment.modified))
    }

    /// False where there is none to let go of.
    pub(super) fn drop_oldest(&mut self, reason: DropReason) -> bool {
        let Some((number, _)) = self.oldest() else {
            return false;
        };
        self.drop_segment(number, reason);
        true
    }

    pub(super) fn drop_segment(&mut self, number: u32, reason: DropReason) {
        let Some(name) = self.forget_segment(number, reason) else {
            return;
        };
        for file in [name.log(), name.index()] {
            drop(self.disk.remove(&file));
        }
    }

    fn forget_segment(&mut self, number: u32, reason: DropReason) -> Option<SegmentName> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let mark = index.segments().get(&number).map(|segment| segment.mark);
        let seqs = index.remove_segment(number);
        // Where a run goes on, its exchange is written anew with its next record.
        self.open.retain(|_, open| {
            let goes =
                open.started.0 == number || open.ended.is_some_and(|ended| ended.0 == number);
            if goes {
                index.ledger.finished.insert(open.number);
            }
            !goes
        });
        drop(index);
        self.dropped.push((seqs, reason));
        mark.map(|mark| SegmentName { number, mark })
    }

    /// Whether somebody has taken away the file of the active segment, or the disk does not tell.
    pub(in crate::store) fn is_lost(&self) -> bool {
        let active = self.active.as_ref();
        active.is_some_and(|active| !matches!(self.disk.is_there(&active.name.log()), Ok(true)))
    }

    /// Lets go of the segments whose files somebody has taken away.
    pub(in crate::store) fn drop_lost(&mut self) {
        let name = |(number, segment): (&u32, &Segment)| SegmentName {
            number: *number,
            mark: segment.mark,
        };
        let names: Vec<_> = self.read_index().segments().iter().map(name).collect();
        for name in names {
            if matches!(self.disk.is_there(&name.log()), Ok(false)) {
                // Not unlinked: a disk that is away has them when it is back.
                self.forget_segment(name.number, DropReason::Unreadable);
            }
        }
    }
}
