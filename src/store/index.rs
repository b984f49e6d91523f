//! Where the live records are: in memory, shared by the writer and all readers, and made of the files alone at a start.
//!
//! A span lives in its *home*: its own segment, or the one where the request of its exchange stands, if that is an older one. With its home it goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::codec::Location;
use super::disk::DiskFile;
use super::ledger::Ledger;
use super::record::{Damaged, HEAD, RecordLengths, RecordRef};
use crate::span::SpanId;

/// Bytes that are read for a record before its lengths are known.
const FIRST_READ: usize = 2048;

/// A span's header is shorter: each text of its summary is cut.
const MOST_SPAN_HEADER: usize = 32 << 10;

/// Where a stored span is.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanEntry {
    pub(super) at: Location,
    pub(super) home: u32,
    /// About how many bytes it takes in memory.
    pub(super) size: u32,
    pub(super) span_id: SpanId,
}

/// A segment that is on the disk.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) mark: u32,
    /// Bytes that it takes, its index file included.
    pub(super) bytes: u64,
    pub(super) modified: SystemTime,
    /// Numbers of the spans that live here.
    residents: Vec<u64>,
}

impl Segment {
    pub(super) fn new(
        file: Arc<dyn DiskFile>,
        mark: u32,
        bytes: u64,
        modified: SystemTime,
    ) -> Self {
        Segment {
            file,
            mark,
            bytes,
            modified,
            residents: Vec::new(),
        }
    }
}

/// All that is live.
#[derive(Debug)]
pub(super) struct RecordIndex {
    segments: BTreeMap<u32, Segment>,
    spans: BTreeMap<u64, SpanEntry>,
    pub(super) ledger: Ledger,
    /// Changes whenever a span came in between others.
    pub(super) generation: u64,
    /// Changes whenever spans went.
    pub(super) removals: u64,
    /// The files were read.
    pub(super) is_read: bool,
}

impl RecordIndex {
    pub(super) fn new(ledger: Ledger) -> Self {
        RecordIndex {
            segments: BTreeMap::new(),
            spans: BTreeMap::new(),
            ledger,
            generation: 0,
            removals: 0,
            is_read: false,
        }
    }

    pub(super) fn segments(&self) -> &BTreeMap<u32, Segment> {
        &self.segments
    }

    pub(super) fn spans(&self) -> &BTreeMap<u64, SpanEntry> {
        &self.spans
    }

    pub(super) fn insert_segment(&mut self, number: u32, segment: Segment) {
        self.segments.insert(number, segment);
    }

    pub(super) fn segment_mut(&mut self, number: u32) -> Option<&mut Segment> {
        self.segments.get_mut(&number)
    }

    /// False where the span's home is not there.
    pub(super) fn insert_span(&mut self, seq: u64, entry: SpanEntry) -> bool {
        let Some(home) = self.segments.get_mut(&entry.home) else {
            return false;
        };
        home.residents.push(seq);
        let is_between = self
            .spans
            .last_key_value()
            .is_some_and(|(last, _)| seq < *last);
        self.generation += u64::from(is_between);
        self.spans.insert(seq, entry);
        true
    }

    /// Many spans at once, at a start. Returns those whose home is not there, each with its home.
    pub(super) fn insert_spans(&mut self, entries: Vec<(u64, SpanEntry)>) -> Vec<(u64, u32)> {
        let mut homeless = Vec::new();
        let mut kept = Vec::with_capacity(entries.len());
        for (seq, entry) in entries {
            match self.segments.get_mut(&entry.home) {
                Some(home) => {
                    home.residents.push(seq);
                    kept.push((seq, entry));
                }
                None => homeless.push((seq, entry.home)),
            }
        }
        let mut spans: BTreeMap<u64, SpanEntry> = kept.into_iter().collect();
        self.spans.append(&mut spans);
        homeless
    }

    /// The ledger speaks of spans that are there alone.
    pub(super) fn forget_absent(&mut self) {
        let spans = &self.spans;
        let numbers = self.ledger.kept.iter().chain(self.ledger.refused.iter());
        let absent = numbers
            .flat_map(|(first, last)| first..=last)
            .filter(|seq| !spans.contains_key(seq));
        let absent: Vec<u64> = absent.collect();
        self.ledger.forget_spans(&absent);
    }

    /// Takes a segment out, and the spans that live there. Returns their numbers, in order.
    pub(super) fn remove_segment(&mut self, number: u32) -> Vec<u64> {
        let Some(segment) = self.segments.remove(&number) else {
            return Vec::new();
        };
        let mut seqs = segment.residents;
        // A span that was written anew may live elsewhere by now.
        seqs.retain(|seq| {
            self.spans
                .get(seq)
                .is_some_and(|entry| entry.home == number)
        });
        seqs.sort_unstable();
        seqs.dedup();
        for seq in &seqs {
            self.spans.remove(seq);
        }
        self.ledger.forget_spans(&seqs);
        if let Some(first) = self.spans.keys().next() {
            self.ledger.acked.forget_below(*first);
        }
        self.removals += 1;
        seqs
    }

    /// Bytes that all segments take.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    /// What reads records of the segment at `number`; none where it is gone.
    pub(super) fn reader(&self, number: u32) -> Option<RecordReader> {
        let segment = self.segments.get(&number)?;
        Some(RecordReader {
            file: Arc::clone(&segment.file),
            mark: segment.mark,
        })
    }
}

/// Reads records of one segment. It needs no lock, and goes on when the segment is unlinked.
#[derive(Clone, Debug)]
pub(super) struct RecordReader {
    file: Arc<dyn DiskFile>,
    mark: u32,
}

/// Why a record could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The disk gives nothing.
    Disk(std::io::Error),
    /// The record is gone, or not what was written.
    Damaged,
}

impl From<Damaged> for ReadError {
    fn from(_: Damaged) -> Self {
        ReadError::Damaged
    }
}

impl RecordReader {
    /// The bytes of the record at `offset`; without its body where `content` is false and it is long.
    pub(super) fn read(&self, offset: u32, content: bool) -> Result<RecordBytes, ReadError> {
        let at = u64::from(offset);
        let mut bytes = self.file.read_at(at, FIRST_READ).map_err(ReadError::Disk)?;
        let lengths = RecordLengths::read(&bytes).ok_or(Damaged)?;
        let wanted = if content {
            lengths.total()
        } else {
            HEAD.saturating_add(lengths.header)
        };
        if wanted > bytes.len() && bytes.len() == FIRST_READ {
            // The lengths are not checked yet: no more is read than there is.
            let size = self.file.bytes().map_err(ReadError::Disk)?;
            let there = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX);
            let rest = wanted.min(there).saturating_sub(bytes.len());
            let from = at + bytes.len() as u64;
            bytes.extend(self.file.read_at(from, rest).map_err(ReadError::Disk)?);
        }
        Ok(RecordBytes {
            bytes,
            mark: self.mark,
        })
    }

    /// The bytes of records that begin at `offset` or up to `more` bytes behind it, with the header of the last one.
    pub(super) fn read_from(&self, offset: u32, more: usize) -> std::io::Result<RecordBytes> {
        let bytes = self
            .file
            .read_at(u64::from(offset), more + MOST_SPAN_HEADER)?;
        Ok(RecordBytes {
            bytes,
            mark: self.mark,
        })
    }

    /// The text at `offset`.
    pub(super) fn text(&self, offset: u32) -> Result<Vec<u8>, Damaged> {
        let bytes = self.read(offset, true).map_err(|_| Damaged)?;
        bytes.record()?.body(|_| Err(Damaged))
    }
}

/// A record's bytes, as they were read.
#[derive(Debug)]
pub(super) struct RecordBytes {
    bytes: Vec<u8>,
    mark: u32,
}

impl RecordBytes {
    pub(super) fn record(&self) -> Result<RecordRef<'_>, Damaged> {
        self.from(0).record()
    }

    /// The record that begins after so many bytes.
    pub(super) fn from(&self, offset: usize) -> RecordSlice<'_> {
        RecordSlice {
            bytes: self.bytes.get(offset..).unwrap_or_default(),
            mark: self.mark,
        }
    }
}

/// Bytes that begin with a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordSlice<'b> {
    bytes: &'b [u8],
    mark: u32,
}

impl<'b> RecordSlice<'b> {
    pub(super) fn record(&self) -> Result<RecordRef<'b>, Damaged> {
        RecordRef::parse(self.bytes, self.mark)
    }
}
