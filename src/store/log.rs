//! The append-only log: records go to the segment at its end, and the oldest segment goes when there is too much.
//!
//! Records of a group are gathered in the buffer of the active segment; [`Log::flush`] writes them with one call and only then shows them to
//! readers. Where a write fails, nothing of its group counts as written: the segment ends where it ended before, and another one begins with the next
//! attempt.

mod retention;

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Instant, SystemTime};

use super::DropReason;
use super::codec::{self, EndedHeader, Location, SpanHeader, StartedHeader};
use super::disk::Disk;
use super::index::{RecordIndex, Segment, SpanEntry};
use super::index_file::IndexEntry;
use super::ledger::{Change, ranges_of};
use super::queue::NewSpan;
use super::record::{BodyCoding, HEAD, RecordBody, RecordKind};
use super::segment::{ActiveSegment, SegmentName};
use super::summary::SpanSummary;
use super::sync::Unsynced;
use super::texts::TextTable;
use crate::exchange::{CapturedBody, Exchange, ExchangeId, RequestMeta};
use crate::runs::FinishedSpan;

pub(super) use retention::Bounds;
use retention::LEAST_SEGMENT;

/// About what a record takes beside its body.
const BESIDE_BODY: usize = 4096;
/// How often records are written anew because the segment that has them goes. A disk with less room than they take is full.
const ATTEMPTS: usize = 3;
/// Bytes that are gathered before they are written.
const MOST_BUFFERED: usize = 1 << 20;

/// An exchange whose run is not closed, or whose spans are not in the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenExchange {
    pub(super) number: u64,
    pub(super) started: Location,
    /// `started` has the whole request.
    pub(super) whole: bool,
    pub(super) ended: Option<Location>,
}

/// Spans that went with their segment.
pub(super) type Dropped = (Vec<u64>, DropReason);

#[derive(Debug)]
pub(super) struct Log {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) index: Arc<RwLock<RecordIndex>>,
    pub(super) bounds: Bounds,
    pub(super) active: Option<ActiveSegment>,
    /// When the active segment began.
    pub(super) active_since: Instant,
    pub(super) last_segment: u32,
    texts: TextTable,
    pub(super) open: HashMap<ExchangeId, OpenExchange>,
    pub(super) next_exchange: u64,
    group: Group,
    saved: Vec<u64>,
    pub(super) dropped: Vec<Dropped>,
    /// What is not synced yet beside the active segment.
    pub(super) unsynced: Vec<Unsynced>,
    /// A sealed segment that holds nothing but changes: it goes once the next one has their sum.
    emptied: Option<u32>,
}

/// What the records in the buffer mean once they are written.
#[derive(Debug, Default)]
struct Group {
    spans: Vec<(u64, SpanEntry, bool)>,
    finished: Vec<(ExchangeId, u64)>,
    /// Beginnings and ends of exchanges.
    exchange_records: u64,
    /// What was known of exchanges before.
    undo: Vec<(ExchangeId, Option<OpenExchange>)>,
}

impl Log {
    /// A log of which nothing was read yet.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        index: Arc<RwLock<RecordIndex>>,
        bounds: Bounds,
    ) -> Self {
        Log {
            disk,
            index,
            bounds,
            active: None,
            active_since: Instant::now(),
            last_segment: 0,
            texts: TextTable::default(),
            open: HashMap::new(),
            next_exchange: 1,
            group: Group::default(),
            saved: Vec::new(),
            dropped: Vec::new(),
            unsynced: Vec::new(),
            emptied: None,
        }
    }

    pub(super) fn read_index(&self) -> RwLockReadGuard<'_, RecordIndex> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write_index(&self) -> RwLockWriteGuard<'_, RecordIndex> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether records can be appended: a segment is there to take them.
    pub(super) fn is_writable(&self) -> bool {
        self.active.is_some()
    }

    /// An exchange began; `body` is its request as far as it is whole. No span of the exchange has a number below `first_seq`.
    pub(super) fn started(
        &mut self,
        meta: &RequestMeta,
        started_ns: u64,
        body: Option<&CapturedBody>,
        first_seq: u64,
    ) -> io::Result<OpenExchange> {
        // A body that would take the room of many others is left out.
        let most = self.bounds.bytes / 4;
        let body = body.filter(|body| body.bytes().len() as u64 <= most);
        let bytes = body.map(|body| codec::request_body(meta, body));
        let length = bytes.as_ref().map_or(0, |bytes| bytes.len());
        let most = length + length / 8 + meta.size_estimate() + BESIDE_BODY;
        self.make_room(most)?;
        let active = self.active.as_mut().ok_or(ErrorKind::NotConnected)?;
        let recipe = body.filter(|_| meta.content).and_then(|body| {
            self.texts.recipe(meta, body, |text| {
                active.push(RecordKind::Text, 0, &(), &RecordBody::new(text))
            })
        });
        let coded = match (recipe, bytes) {
            (Some(recipe), _) => RecordBody {
                coding: BodyCoding::Recipe,
                bytes: recipe.into(),
            },
            (None, Some(bytes)) => RecordBody::new(bytes),
            (None, None) => RecordBody::EMPTY,
        };
        let before = self.open.get(&meta.id).copied();
        let number = before.map_or(self.next_exchange, |open| open.number);
        self.next_exchange = self.next_exchange.max(number + 1);
        let header = StartedHeader::new(meta, started_ns, first_seq, body.is_some());
        let offset = active.push(RecordKind::Started, number, &header, &coded);
        active.note(IndexEntry {
            kind: RecordKind::Started,
            offset,
            number,
            home: 0,
            size: 0,
            id: *meta.id.as_bytes(),
        });
        let open = OpenExchange {
            number,
            started: Location(active.name.number, offset),
            whole: body.is_some(),
            ended: before.and_then(|open| open.ended),
        };
        self.set_open(meta.id, open);
        Ok(open)
    }

    /// An exchange settled. Its beginning is written, too, where the log does not have all of it.
    pub(super) fn ended(
        &mut self,
        exchange: &Exchange,
        first_seq: u64,
    ) -> io::Result<OpenExchange> {
        let meta = &exchange.meta;
        let body = codec::reply_body(exchange);
        let mut open = self.make_room_after(body.bytes.len(), |log| {
            let open = match log.open.get(&meta.id) {
                Some(open) if open.whole => *open,
                _ => log.started(
                    meta,
                    exchange.started_ns,
                    Some(&exchange.request),
                    first_seq,
                )?,
            };
            Ok((open, open.started.0))
        })?;
        let active = self.active.as_mut().ok_or(ErrorKind::NotConnected)?;
        let header = EndedHeader::new(exchange);
        let offset = active.push(RecordKind::Ended, open.number, &header, &body);
        active.note(IndexEntry {
            kind: RecordKind::Ended,
            offset,
            number: open.number,
            home: 0,
            size: 0,
            id: [0; 16],
        });
        open.ended = Some(Location(active.name.number, offset));
        self.set_open(meta.id, open);
        Ok(open)
    }

    /// A span is finished. Its exchange is written, too, where the log does not have it.
    pub(super) fn span(&mut self, span: &NewSpan, first_seq: u64) -> io::Result<()> {
        let (exchange, body, trace_id) = match &*span.made {
            FinishedSpan::Call { exchange, place } => {
                let body = codec::facts(place);
                let open = self.make_room_after(body.bytes.len(), |log| {
                    let open = match log.open.get(&exchange.meta.id) {
                        Some(open) if open.ended.is_some() => *open,
                        _ => log.ended(exchange, first_seq.min(span.seq))?,
                    };
                    let ended = open.ended.unwrap_or(open.started);
                    Ok((open, open.started.0.min(ended.0)))
                })?;
                let at = open.ended.map(|ended| (open.started, ended));
                (at, body, place.trace_id)
            }
            FinishedSpan::Span(span) => {
                let body = codec::facts(&**span);
                self.make_room(body.bytes.len() + BESIDE_BODY)?;
                (None, body, span.trace_id)
            }
        };
        let active = self.active.as_mut().ok_or(ErrorKind::NotConnected)?;
        let size = u32::try_from(span.weight).unwrap_or(u32::MAX);
        let span_id = span.made.span_id();
        let header = SpanHeader {
            trace_id,
            span_id,
            size,
            exchange,
            summary: SpanSummary::of(&span.made).json().into(),
        };
        let kind = if span.kept {
            RecordKind::KeptSpan
        } else {
            RecordKind::Span
        };
        let offset = active.push(kind, span.seq, &header, &body);
        let number = active.name.number;
        let home = header.home(number);
        active.note(IndexEntry {
            kind,
            offset,
            number: span.seq,
            home,
            size,
            id: padded(span_id.0),
        });
        let entry = SpanEntry {
            at: Location(number, offset),
            home,
            size,
            span_id,
        };
        self.group.spans.push((span.seq, entry, span.kept));
        Ok(())
    }

    /// The runs of these exchanges are closed, and all of their spans were appended.
    pub(super) fn finish(&mut self, ids: &[ExchangeId]) -> io::Result<()> {
        let open = ids
            .iter()
            .filter_map(|id| Some((*id, self.open.get(id)?.number)));
        let finished: Vec<_> = open.collect();
        if finished.is_empty() {
            return Ok(());
        }
        let numbers = finished.iter().map(|(_, number)| *number);
        self.append_change(&Change::Finished(ranges_of(numbers)))?;
        for (id, _) in &finished {
            let before = self.open.remove(id);
            self.group.undo.push((*id, before));
        }
        self.group.finished.extend(finished);
        Ok(())
    }

    /// Something became of spans. It counts from now on, also where it cannot be written: the next segment begins with it.
    pub(super) fn change(&mut self, change: &Change) -> io::Result<()> {
        self.write_index().ledger.apply(change);
        if self.is_writable() {
            self.append_change(change)?;
        }
        Ok(())
    }

    fn append_change(&mut self, change: &Change) -> io::Result<()> {
        self.make_room(BESIDE_BODY)?;
        let active = self.active.as_mut().ok_or(ErrorKind::NotConnected)?;
        active.push(RecordKind::Change, 0, change, &RecordBody::EMPTY);
        Ok(())
    }

    fn set_open(&mut self, id: ExchangeId, open: OpenExchange) {
        let before = self.open.insert(id, open);
        self.group.undo.push((id, before));
        self.group.exchange_records += 1;
    }

    /// Writes what was appended. Readers see it from now on.
    ///
    /// # Errors
    /// The disk takes nothing: the log is to be given up.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        active.flush()?;
        let group = std::mem::take(&mut self.group);
        if group.spans.is_empty() && group.finished.is_empty() {
            return Ok(());
        }
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for (seq, entry, kept) in group.spans {
            if kept {
                index.ledger.kept.insert(seq);
            }
            index.ledger.next_seq = index.ledger.next_seq.max(seq + 1);
            index.insert_span(seq, entry);
            self.saved.push(seq);
        }
        for (_, number) in group.finished {
            index.ledger.finished.insert(number);
        }
        Ok(())
    }

    /// Numbers of spans that were written since the last call.
    pub(super) fn take_saved(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.saved)
    }

    /// Spans that went with their segments since the last call.
    pub(super) fn take_dropped(&mut self) -> Vec<Dropped> {
        std::mem::take(&mut self.dropped)
    }

    /// Nothing more goes to the active segment, and nothing of the group counts. Returns what of it has to be said again.
    pub(super) fn give_up(&mut self) -> GivenUp {
        let group = std::mem::take(&mut self.group);
        for (id, before) in group.undo.into_iter().rev() {
            match before {
                Some(open) => self.open.insert(id, open),
                None => self.open.remove(&id),
            };
        }
        self.texts.clear();
        self.seal_active();
        GivenUp {
            finished: group.finished.into_iter().map(|(id, _)| id).collect(),
            exchange_records: group.exchange_records,
        }
    }

    /// Sees to it that records of so many bytes fit into the active segment.
    fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        let active = self.active.as_ref().ok_or(ErrorKind::NotConnected)?;
        let is_full = !active.has_room(bytes);
        if is_full || active.buffered() >= MOST_BUFFERED {
            self.flush()?;
        }
        if is_full {
            self.begin_segment(bytes)?;
        }
        Ok(())
    }

    /// Makes room for a record with a body of so many bytes behind the records that `write` sees to, whose oldest segment it gives. Making room may
    /// let go of that segment: then they are written anew.
    fn make_room_after<T>(
        &mut self,
        bytes: usize,
        mut write: impl FnMut(&mut Self) -> io::Result<(T, u32)>,
    ) -> io::Result<T> {
        for _ in 0..ATTEMPTS {
            let (written, segment) = write(self)?;
            self.make_room(bytes + BESIDE_BODY)?;
            if self.read_index().segments().contains_key(&segment) {
                return Ok(written);
            }
        }
        Err(ErrorKind::StorageFull.into())
    }

    /// Seals the active segment and begins another, with a checkpoint and room for so many `bytes`. What the bound has no room for goes before.
    ///
    /// # Errors
    /// The disk has no room, or takes nothing.
    pub(super) fn begin_segment(&mut self, bytes: usize) -> io::Result<()> {
        self.seal_active();
        self.texts.clear();
        let checkpoint = {
            let mut index = self.write_index();
            index.ledger.next_exchange = self.next_exchange;
            codec::facts(&index.ledger.checkpoint())
        };
        let needed = (2 * HEAD + checkpoint.bytes.len() + bytes + BESIDE_BODY) as u64;
        let bound = self.bound_on_disk();
        let mut capacity = self.bounds.segment_bytes(bound).max(needed);
        self.stay_within(bound.saturating_sub(capacity));
        let name = SegmentName {
            number: self.last_segment + 1,
            mark: fastrand::u32(1..),
        };
        let mut frees_room = true;
        let mut active = loop {
            match ActiveSegment::create(&*self.disk, name, capacity) {
                Ok(active) => break active,
                Err(error) if is_full(&error) => {
                    if capacity / 2 >= needed.max(LEAST_SEGMENT) {
                        capacity /= 2;
                        continue;
                    }
                    let free = self.disk.free_bytes();
                    let can_go = frees_room && error.kind() != ErrorKind::FileTooLarge;
                    if !can_go || !self.drop_oldest(DropReason::StoreFull) {
                        return Err(error);
                    }
                    // Others may hold the file, or take the room at once: then no more goes for nothing.
                    frees_room = free.is_none() || self.disk.free_bytes() > free;
                }
                Err(error) => return Err(error),
            }
        };
        active.push(RecordKind::Checkpoint, 0, &(), &checkpoint);
        let bytes = active.flush().and_then(|_| active.file.bytes());
        let bytes = bytes.inspect_err(|_| drop(self.disk.remove(&name.log())))?;
        self.last_segment = name.number;
        let segment = Segment::new(
            Arc::clone(&active.file),
            name.mark,
            bytes,
            SystemTime::now(),
        );
        self.write_index().insert_segment(name.number, segment);
        self.active = Some(active);
        self.active_since = Instant::now();
        if let Some(number) = self.emptied.take() {
            self.drop_segment(number, DropReason::StoreFull);
        }
        Ok(())
    }

    fn seal_active(&mut self) {
        let Some(mut active) = self.active.take() else {
            return;
        };
        let number = active.name.number;
        if active.is_empty() {
            self.emptied = Some(number);
        }
        {
            let finished = &self.read_index().ledger.finished;
            active.retain_entries(|entry| match entry.kind {
                RecordKind::Started | RecordKind::Ended => !finished.contains(entry.number),
                _ => true,
            });
        }
        // Nobody may wait for the disk behind the index.
        let sealed = active.seal();
        if let Some(segment) = self.write_index().segment_mut(number) {
            segment.bytes = sealed.bytes();
            segment.modified = SystemTime::now();
        }
        self.unsynced.push(Unsynced::Sealed(sealed));
    }

    /// Reads a little of the oldest segment.
    ///
    /// # Errors
    /// The disk gives nothing.
    pub(super) fn probe(&self) -> io::Result<()> {
        let oldest = {
            let index = self.read_index();
            let mut segments = index.segments().values();
            segments.next().map(|segment| Arc::clone(&segment.file))
        };
        oldest.map_or(Ok(()), |file| file.read_at(0, HEAD).map(drop))
    }

    /// What was written to since the last call.
    pub(super) fn take_unsynced(&mut self) -> Vec<Unsynced> {
        let mut unsynced = std::mem::take(&mut self.unsynced);
        if let Some(active) = &mut self.active
            && std::mem::take(&mut active.is_dirty)
        {
            unsynced.push(Unsynced::File(Arc::clone(&active.file)));
        }
        unsynced
    }
}

/// What was lost with a group that could not be written.
#[derive(Debug)]
pub(super) struct GivenUp {
    /// Exchanges whose end of the run is to be said again.
    pub(super) finished: Vec<ExchangeId>,
    /// How many beginnings and ends of exchanges are not written.
    pub(super) exchange_records: u64,
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}

/// A span's id in the place of a longer one.
fn padded(id: [u8; 8]) -> [u8; 16] {
    let mut padded = [0; 16];
    padded[..8].copy_from_slice(&id);
    padded
}
