//! Spans for those who look at what the store holds: newest first, or what came since. A reader takes positions from the index and reads the
//! files beside the writer.

mod read_only;

use std::sync::{Arc, PoisonError, RwLock};

use super::Store;
use super::codec::{EndedHeader, EndedParts, Location, SpanHeader, StartedHeader};
use super::index::{ReadError, RecordIndex, RecordReader, RecordSlice, SpanEntry};
use super::record::{Damaged, HEAD};
use crate::exchange::Exchange;
use crate::runs::FinishedSpan;
use crate::span::{Span, TraceId};

/// Records of spans that begin within so many bytes of each other are read together.
const NEAR: u32 = 4096;

/// What is stored, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StorePosition {
    /// The first number that is there; above `last` where there is none.
    pub first: u64,
    /// The last number that is there, or 0.
    pub last: u64,
    /// Changes when spans came in between others.
    pub generation: u64,
    /// Changes when spans may have gone.
    pub removed: u64,
}

/// A span, as far as a list needs it.
#[derive(Clone, Debug)]
pub(crate) struct SpanRow {
    /// Its number.
    pub seq: u64,
    /// Its trace.
    pub trace_id: TraceId,
    /// A [`super::SpanSummary`] as it was written.
    pub summary: String,
}

/// Nothing can be read now, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub String);

/// Reads spans. For one thread, that may wait.
#[derive(Debug)]
pub(crate) struct SpanReader {
    index: Arc<RwLock<RecordIndex>>,
}

impl SpanReader {
    /// Reads `store`, from the first call on.
    pub(crate) fn new(store: &Store) -> Self {
        SpanReader {
            index: Arc::clone(&store.index),
        }
    }

    /// What is stored.
    ///
    /// # Errors
    /// The files could not be read yet.
    pub(crate) fn position(&self) -> Result<StorePosition, Unavailable> {
        let index = read(&self.index);
        if !index.is_read {
            return Err(Unavailable("the disk gives nothing".to_owned()));
        }
        let spans = index.spans();
        Ok(StorePosition {
            first: spans.first_key_value().map_or(u64::MAX, |(seq, _)| *seq),
            last: spans.last_key_value().map_or(0, |(seq, _)| *seq),
            generation: index.generation,
            removed: index.removals,
        })
    }

    /// Spans below this number, newest first, at most `limit`. None only where there are none that read.
    ///
    /// # Errors
    /// The disk gives nothing now.
    pub(crate) fn before(&self, mut seq: u64, limit: usize) -> Result<Vec<SpanRow>, Unavailable> {
        loop {
            let entries: Vec<_> = {
                let index = read(&self.index);
                let entries = index.spans().range(..seq).rev().take(limit);
                entries.map(|(seq, entry)| (*seq, *entry)).collect()
            };
            let Some((last, _)) = entries.last() else {
                return Ok(Vec::new());
            };
            seq = *last;
            let rows = self.rows(&entries)?;
            if !rows.is_empty() {
                return Ok(rows);
            }
        }
    }

    /// Spans above this number, oldest first, at most `limit`. None only where there are none that read.
    ///
    /// # Errors
    /// The disk gives nothing now.
    pub(crate) fn after(&self, mut seq: u64, limit: usize) -> Result<Vec<SpanRow>, Unavailable> {
        loop {
            let entries: Vec<_> = {
                let index = read(&self.index);
                let entries = index.spans().range(seq.saturating_add(1)..).take(limit);
                entries.map(|(seq, entry)| (*seq, *entry)).collect()
            };
            let Some((last, _)) = entries.last() else {
                return Ok(Vec::new());
            };
            seq = *last;
            let rows = self.rows(&entries)?;
            if !rows.is_empty() {
                return Ok(rows);
            }
        }
    }

    /// Of these numbers, the spans that are there.
    ///
    /// # Errors
    /// The disk gives nothing now.
    pub(crate) fn these(&self, seqs: &[u64]) -> Result<Vec<SpanRow>, Unavailable> {
        let entries: Vec<_> = {
            let index = read(&self.index);
            let entry = |seq: &u64| Some((*seq, *index.spans().get(seq)?));
            seqs.iter().filter_map(entry).collect()
        };
        self.rows(&entries)
    }

    /// The span of this number; none where it is gone, or does not read. Without `content` a call's request is left out.
    ///
    /// # Errors
    /// The disk gives nothing now.
    pub(crate) fn made(
        &self,
        seq: u64,
        content: bool,
    ) -> Result<Option<FinishedSpan>, Unavailable> {
        let entry = read(&self.index).spans().get(&seq).copied();
        let Some(entry) = entry else { return Ok(None) };
        readable(read_span(&self.index, entry, content))
    }

    /// What does not read is left out. Records that are near each other are read with one call.
    fn rows(&self, entries: &[(u64, SpanEntry)]) -> Result<Vec<SpanRow>, Unavailable> {
        let mut rows = Vec::with_capacity(entries.len());
        let are_near = |(_, one): &(u64, SpanEntry), (_, other): &(u64, SpanEntry)| {
            one.at.0 == other.at.0 && one.at.1.abs_diff(other.at.1) <= NEAR
        };
        for run in entries.chunk_by(are_near) {
            let offsets = || run.iter().map(|(_, entry)| entry.at.1);
            let (Some(first), Some(last)) = (offsets().min(), offsets().max()) else {
                continue;
            };
            let Some(reader) = read(&self.index).reader(run[0].1.at.0) else {
                continue;
            };
            let bytes = reader.read_from(first, (last - first) as usize);
            let bytes = bytes.map_err(|error| Unavailable(error.to_string()))?;
            for (seq, entry) in run {
                let at = (entry.at.1 - first) as usize;
                rows.extend(row(&bytes.from(at), *seq).ok());
            }
        }
        Ok(rows)
    }
}

fn row(bytes: &RecordSlice<'_>, seq: u64) -> Result<SpanRow, Damaged> {
    let header: SpanHeader<'_> = bytes.record()?.header()?;
    Ok(SpanRow {
        seq,
        trace_id: header.trace_id,
        summary: header.summary.into_owned(),
    })
}

/// None of what is damaged or gone.
fn readable<T>(result: Result<T, ReadError>) -> Result<Option<T>, Unavailable> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(ReadError::Damaged) => Ok(None),
        Err(ReadError::Disk(error)) => Err(Unavailable(error.to_string())),
    }
}

/// The span, as it was made. Without `content` a call's request is left out.
pub(super) fn read_span(
    index: &RwLock<RecordIndex>,
    entry: SpanEntry,
    content: bool,
) -> Result<FinishedSpan, ReadError> {
    let Location(segment, offset) = entry.at;
    let bytes = reader(index, segment)?.read(offset, true)?;
    let record = bytes.record()?;
    let header: SpanHeader<'_> = record.header()?;
    let Some((started, ended)) = header.exchange else {
        return Ok(FinishedSpan::from(record.facts::<Span>()?));
    };
    Ok(FinishedSpan::Call {
        place: record.facts()?,
        exchange: Arc::new(read_exchange(index, started, Some(ended), 0, content)?),
    })
}

/// Whether the disk gives the beginning of all segments.
pub(super) fn can_read(index: &RwLock<RecordIndex>) -> bool {
    let segments = read(index).segments().clone();
    let mut files = segments.values().map(|segment| &segment.file);
    files.all(|file| file.read_at(0, HEAD).is_ok())
}

/// An exchange of its records. One that has not ended is one that was cut off at `last_seen_ns`, in nanoseconds of [`crate::clock`].
pub(super) fn read_exchange(
    index: &RwLock<RecordIndex>,
    started: Location,
    ended: Option<Location>,
    last_seen_ns: u64,
    content: bool,
) -> Result<Exchange, ReadError> {
    let started_reader = reader(index, started.0)?;
    let bytes = started_reader.read(started.1, content)?;
    let record = bytes.record()?;
    let header: StartedHeader<'static> = record.header()?;
    let body = if content {
        record.body(|offset| started_reader.text(offset))
    } else {
        Ok(Vec::new())
    };
    let ended = ended
        .map(|Location(segment, offset)| {
            let bytes = reader(index, segment)?.read(offset, true)?;
            let record = bytes.record()?;
            let header: EndedHeader<'static> = record.header()?;
            Ok::<_, ReadError>(EndedParts::new(header, record.facts()))
        })
        .transpose()?;
    Ok(header.into_exchange(body, ended, last_seen_ns)?)
}

fn reader(index: &RwLock<RecordIndex>, segment: u32) -> Result<RecordReader, Damaged> {
    read(index).reader(segment).ok_or(Damaged)
}

fn read(index: &RwLock<RecordIndex>) -> std::sync::RwLockReadGuard<'_, RecordIndex> {
    index.read().unwrap_or_else(PoisonError::into_inner)
}
