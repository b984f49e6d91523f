//! The log at a start: made of its files alone. Index files are read, a segment without one is scanned, and so is the last one, which
//! tells what became of all spans. Reading the files is apart from going on with them, since a reader beside the writer does the first only.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use serde::Deserialize;

use super::codec::{Location, SpanHeader, StartedHeader};
use super::disk::{Disk, DiskEntry, DiskFile};
use super::index::{RecordIndex, Segment, SpanEntry};
use super::index_file::{self, IndexEntry};
use super::ledger::{Change, Checkpoint, Ledger};
use super::log::{Log, OpenExchange};
use super::record::{Damaged, HEAD, RecordKind, RecordRef, RecordScan};
use super::segment::{ActiveSegment, SealedSegment, SegmentName};
use super::sync::Unsynced;
use super::unix_nanoseconds;
use crate::clock::Moment;
use crate::exchange::ExchangeId;
use crate::span::SpanId;

/// A file that was last written to so long ago has been synced by the system.
const LIKELY_SYNCED: Duration = Duration::from_mins(2);
/// Bytes that must be left in a segment for it to be written on.
const LEAST_LEFT: u64 = 64 << 10;

/// What the files hold that this process did not make.
#[derive(Debug, Default)]
pub(super) struct FoundLog {
    /// Spans that wait to be exported, in order, each with its size.
    pub(super) pending: Vec<(u64, usize)>,
    /// Spans that waited and whose segment is gone.
    pub(super) lost: Vec<u64>,
    /// Of the last record that tells a time.
    pub(super) last: Moment,
    /// The ledger had been written before.
    pub(super) is_old: bool,
}

/// The files of a log, as far as they are not in the index.
pub(super) struct LogContents {
    found: FoundLog,
    /// Exchanges that are not finished.
    open: Vec<(ExchangeId, OpenExchange)>,
    last: Option<LastSegment>,
}

/// The segment at the end of the log.
struct LastSegment {
    file: SegmentFile,
    scan: Scan,
    /// None where its checkpoint is damaged.
    begun_at: Option<u64>,
}

/// What one segment holds.
struct Scan {
    entries: Vec<IndexEntry>,
    ledger: Vec<LedgerRecord>,
    end: usize,
    /// Bytes that stand where records should.
    skipped: usize,
    last: Moment,
}

enum LedgerRecord {
    Checkpoint(Checkpoint),
    Change(Change),
    /// A span of this number was made without a destination.
    Kept(u64),
}

/// Where the records of an exchange are that is not finished.
#[derive(Default)]
struct FoundExchange {
    started: Option<(ExchangeId, Location)>,
    ended: Option<Location>,
}

pub(super) struct SegmentFile {
    name: SegmentName,
    file: Arc<dyn DiskFile>,
    entry: DiskEntry,
}

impl Log {
    /// Reads the files, and goes on with the last segment where it has room. Nothing is written yet.
    ///
    /// # Errors
    /// The directory cannot be read. A file that cannot costs what it holds.
    pub(super) fn open(&mut self) -> io::Result<FoundLog> {
        let mut unsealed = Vec::new();
        let contents = LogContents::read(&*self.disk, &self.index, |file, entries| {
            unsealed.push(file.sealed(entries));
        })?;
        let unsealed = unsealed.into_iter().map(Unsynced::Sealed);
        self.unsynced.extend(unsealed);
        let now = SystemTime::now();
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        for segment in index.segments().values() {
            // The process that wrote it may have been killed before it was synced.
            let age = now.duration_since(segment.modified);
            if age.is_ok_and(|age| age < LIKELY_SYNCED) {
                let file = Arc::clone(&segment.file);
                self.unsynced.push(Unsynced::File(file));
            }
        }
        self.next_exchange = self.next_exchange.max(index.ledger.next_exchange);
        drop(index);
        self.open.extend(contents.open);
        self.last_segment = 0;
        if let Some(last) = contents.last {
            self.last_segment = last.file.name.number;
            self.resume(last);
        }
        Ok(contents.found)
    }

    /// Goes on with the last segment, where it has room and its checkpoint.
    fn resume(&mut self, last: LastSegment) {
        let LastSegment {
            file,
            scan,
            begun_at,
        } = last;
        let has_room = file.entry.bytes >= scan.end as u64 + LEAST_LEFT;
        let Some(begun_at) = begun_at.filter(|_| has_room) else {
            let sealed = file.sealed(&scan.entries);
            self.unsynced.push(Unsynced::Sealed(sealed));
            return;
        };
        // Not when it was written to last: content must not grow older with each restart.
        let age = (unix_nanoseconds() / 1_000_000_000).saturating_sub(begun_at);
        let now = Instant::now();
        let begun = now.checked_sub(Duration::from_secs(age));
        self.active_since = begun.unwrap_or(now);
        self.active = Some(ActiveSegment::resume(
            file.name,
            file.file,
            file.entry.bytes,
            scan.end as u64,
            scan.entries,
        ));
    }
}

impl LogContents {
    /// Reads all segments into `index`. `missing` is told of each segment but the last one that has no index file.
    ///
    /// # Errors
    /// The directory cannot be read. A file that cannot costs what it holds.
    pub(super) fn read(
        disk: &dyn Disk,
        index: &RwLock<RecordIndex>,
        mut missing: impl FnMut(&SegmentFile, &[IndexEntry]),
    ) -> io::Result<Self> {
        let write_index = || index.write().unwrap_or_else(PoisonError::into_inner);
        let mut files = segment_files(disk)?;
        let mut contents = LogContents {
            found: FoundLog::default(),
            open: Vec::new(),
            last: None,
        };
        let mut entries = Vec::new();
        let mut scans: Vec<Scan> = Vec::new();
        for (at, file) in files.iter().enumerate() {
            let is_last = at + 1 == files.len();
            let mut index_bytes = 0;
            let indexed = disk.read_whole(&file.name.index()).ok();
            let indexed = indexed.filter(|_| !is_last).and_then(|bytes| {
                index_bytes = bytes.len() as u64;
                index_file::read(&bytes)
            });
            let own = match indexed {
                Some(entries) => entries,
                None => match file.scan() {
                    Ok(scan) => {
                        let entries = scan.entries.clone();
                        if is_last {
                            scans.push(scan);
                        } else {
                            missing(file, &scan.entries);
                        }
                        entries
                    }
                    // It tells what became of all spans: read again later.
                    Err(error) if is_last => return Err(error),
                    Err(error) => {
                        tracing::warn!(%error, segment = %file.name, "a segment of the store cannot be read now; the spans in it are not there until the next start");
                        Vec::new()
                    }
                },
            };
            let bytes = file.entry.bytes + index_bytes;
            let segment = Segment::new(
                Arc::clone(&file.file),
                file.name.mark,
                bytes,
                file.entry.modified,
            );
            write_index().insert_segment(file.name.number, segment);
            entries.push((file.name.number, own));
        }
        // The last segment begins with a checkpoint, unless it is damaged: then the ones before it tell.
        for file in files.iter().rev().skip(1) {
            if scans.last().is_none_or(Scan::has_checkpoint) {
                break;
            }
            scans.push(file.scan()?);
        }
        if let Some(last) = scans.first() {
            contents.found.last = last.last;
        }
        let begun_at = scans.first().and_then(Scan::begun_at);
        let mut index = write_index();
        let before = std::mem::replace(&mut index.ledger, Ledger::new(None));
        index.ledger = replay(&mut scans, &mut contents.found.is_old, before);
        contents.adopt(entries, &mut index);
        index.is_read = true;
        let last = files.pop().zip(scans.into_iter().next());
        contents.last = last.map(|(file, scan)| LastSegment {
            file,
            scan,
            begun_at,
        });
        Ok(contents)
    }

    /// Brings together what the segments hold and what the ledger says of it.
    fn adopt(&mut self, entries: Vec<(u32, Vec<IndexEntry>)>, index: &mut RecordIndex) {
        let mut spans = Vec::new();
        let mut exchanges: BTreeMap<u64, FoundExchange> = BTreeMap::new();
        for (segment, entries) in entries {
            for entry in entries {
                let at = Location(segment, entry.offset);
                match entry.kind {
                    RecordKind::Span | RecordKind::KeptSpan => spans.push((
                        entry.number,
                        SpanEntry {
                            at,
                            home: entry.home,
                            size: entry.size,
                            span_id: SpanId(*entry.id.first_chunk().unwrap_or(&[0; 8])),
                        },
                    )),
                    RecordKind::Started if !index.ledger.finished.contains(entry.number) => {
                        let id = ExchangeId::from_bytes(entry.id);
                        exchanges.entry(entry.number).or_default().started = Some((id, at));
                    }
                    RecordKind::Ended if !index.ledger.finished.contains(entry.number) => {
                        exchanges.entry(entry.number).or_default().ended = Some(at);
                    }
                    _ => {}
                }
            }
        }
        // Also numbers whose records are damaged, or have no entry any more, are not given again: changes speak of them.
        let last = spans.iter().map(|(seq, _)| *seq).max().unwrap_or(0);
        let last = last.max(index.ledger.acked.last());
        index.ledger.next_seq = index.ledger.next_seq.max(last + 1);
        let last = exchanges.keys().next_back().copied().unwrap_or(0);
        let last = last.max(index.ledger.finished.last());
        index.ledger.next_exchange = index.ledger.next_exchange.max(last + 1);
        let mut numbers = HashMap::new();
        for (number, FoundExchange { started, ended }) in exchanges {
            match started {
                Some((id, started)) => {
                    let open = OpenExchange {
                        number,
                        started,
                        whole: true,
                        ended,
                    };
                    self.open.push((id, open));
                    // One that was written anew has another number.
                    if let Some(older) = numbers.insert(id, number) {
                        index.ledger.finished.insert(older);
                    }
                }
                // Its beginning is lost, and nothing will be made of it.
                None => index.ledger.finished.insert(number),
            }
        }
        let homeless = index.insert_spans(spans);
        let is_pending =
            |ledger: &Ledger, seq| !ledger.acked.contains(seq) && !ledger.kept.contains(seq);
        // What went before the first segment went for room or age, and was counted then.
        let first = index.segments().keys().next().copied().unwrap_or(0);
        self.found.lost = homeless
            .iter()
            .filter(|(seq, home)| *home > first && is_pending(&index.ledger, *seq))
            .map(|(seq, _)| *seq)
            .collect();
        index.forget_absent();
        let pending = index
            .spans()
            .iter()
            .filter(|(seq, _)| is_pending(&index.ledger, **seq));
        self.found.pending = pending
            .map(|(seq, entry)| (*seq, entry.size as usize))
            .collect();
    }
}

fn segment_files(disk: &dyn Disk) -> io::Result<Vec<SegmentFile>> {
    let mut files = Vec::new();
    for entry in disk.list()? {
        let Some(name) = SegmentName::parse(&entry.name) else {
            continue;
        };
        match disk.open(&entry.name) {
            Ok(file) => files.push(SegmentFile { name, file, entry }),
            // The process that writes let go of it.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, file = entry.name, "a segment of the store cannot be opened; the spans in it are not there");
            }
        }
    }
    files.sort_unstable_by_key(|file| file.name);
    for pair in files.windows(2) {
        let (before, after) = (pair[0].name.number, pair[1].name.number);
        if before + 1 != after {
            tracing::warn!(
                first = before + 1,
                last = after - 1,
                "segments of the store are not there; unless nothing was in them, their spans are lost"
            );
        }
    }
    Ok(files)
}

/// The ledger as these segments tell it, the last one first, on top of what this process did `before` it could read them.
fn replay(scans: &mut [Scan], is_old: &mut bool, before: Ledger) -> Ledger {
    let mut ledger = Ledger::new(before.exports_since);
    for record in scans
        .iter_mut()
        .rev()
        .flat_map(|scan| scan.ledger.drain(..))
    {
        match record {
            LedgerRecord::Checkpoint(checkpoint) => {
                *is_old = true;
                ledger = checkpoint.into();
            }
            LedgerRecord::Change(change) => {
                *is_old |= matches!(change, Change::Destination(_));
                ledger.apply(&change);
            }
            LedgerRecord::Kept(seq) => ledger.kept.insert(seq),
        }
    }
    ledger.merge(before);
    ledger
}

impl SegmentFile {
    /// What gives it an index file.
    fn sealed(&self, entries: &[IndexEntry]) -> SealedSegment {
        let file = Arc::clone(&self.file);
        SealedSegment::new(self.name, file, self.entry.bytes, entries.iter())
    }

    /// # Errors
    /// The disk does not give all of it now, which says nothing of what it holds.
    fn scan(&self) -> io::Result<Scan> {
        let mut scan = self.scan_to(self.entry.bytes)?;
        if scan.skipped > 0 {
            // Another process may have been writing there. By now, all is written that stands before a record that was seen.
            scan = self.scan_to(scan.end as u64)?;
        }
        if scan.skipped > 0 {
            tracing::warn!(bytes = scan.skipped, segment = %self.name, "bytes of the store are not what was written; the records that they were part of are lost");
        }
        Ok(scan)
    }

    fn scan_to(&self, end: u64) -> io::Result<Scan> {
        let length = usize::try_from(end).unwrap_or(usize::MAX);
        let bytes = self.file.read_at(0, length)?;
        let mut records = RecordScan::new(&bytes, self.name.mark);
        let mut scan = Scan {
            entries: Vec::new(),
            ledger: Vec::new(),
            end: HEAD,
            skipped: 0,
            last: Moment::default(),
        };
        let mut started_at = HashMap::new();
        for (offset, record) in records.by_ref() {
            let Ok(offset) = u32::try_from(offset) else {
                break;
            };
            // A header that does not read is of a record that is damaged, whatever its checksum says.
            let _: Result<(), Damaged> =
                scan.take(self.name.number, offset, &record, &mut started_at);
        }
        (scan.end, scan.skipped) = (records.end, records.skipped);
        Ok(scan)
    }
}

impl Scan {
    fn has_checkpoint(&self) -> bool {
        self.begun_at().is_some()
    }

    /// When the segment began, as its checkpoint has it, in seconds since the Unix epoch.
    fn begun_at(&self) -> Option<u64> {
        let mut records = self.ledger.iter();
        records.find_map(|record| match record {
            LedgerRecord::Checkpoint(checkpoint) => Some(checkpoint.begun_at),
            _ => None,
        })
    }

    fn take(
        &mut self,
        segment: u32,
        offset: u32,
        record: &RecordRef<'_>,
        started_at: &mut HashMap<u64, Moment>,
    ) -> Result<(), Damaged> {
        #[derive(Deserialize)]
        struct Lasted {
            duration_ns: u64,
        }
        let number = record.number;
        let mut entry = IndexEntry {
            kind: record.kind,
            offset,
            number,
            home: 0,
            size: 0,
            id: [0; 16],
        };
        match record.kind {
            RecordKind::Started => {
                let header: StartedHeader<'_> = record.header()?;
                let moment = Moment {
                    steady_ns: header.started_ns,
                    wall_offset_ns: header.wall_offset_ns.unwrap_or_default(),
                };
                started_at.insert(number, moment);
                self.saw(moment);
                entry.id = *header.id().as_bytes();
            }
            RecordKind::Ended => {
                let Lasted { duration_ns } = record.header()?;
                if let Some(mut moment) = started_at.get(&number).copied() {
                    moment.steady_ns = moment.steady_ns.saturating_add(duration_ns);
                    self.saw(moment);
                }
            }
            RecordKind::Span | RecordKind::KeptSpan => {
                let header: SpanHeader<'_> = record.header()?;
                entry.home = header.home(segment);
                entry.size = header.size;
                entry.id[..8].copy_from_slice(&header.span_id.0);
                if record.kind == RecordKind::KeptSpan {
                    self.ledger.push(LedgerRecord::Kept(number));
                }
            }
            RecordKind::Change => self.ledger.push(LedgerRecord::Change(record.header()?)),
            RecordKind::Checkpoint => {
                let checkpoint = record.facts()?;
                self.ledger.push(LedgerRecord::Checkpoint(checkpoint));
            }
            RecordKind::Text => {}
        }
        if !matches!(
            record.kind,
            RecordKind::Text | RecordKind::Change | RecordKind::Checkpoint
        ) {
            self.entries.push(entry);
        }
        Ok(())
    }

    fn saw(&mut self, moment: Moment) {
        if moment.steady_ns > self.last.steady_ns {
            self.last = moment;
        }
    }
}
