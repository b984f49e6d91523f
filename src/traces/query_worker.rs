//! Answers queries about traces, one after the other, on a thread that may wait for the disk. Each query first brings the index up to date.

mod spans;

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::index::{IndexedTrace, PageCursor, TraceIndex};
use super::json::{TraceList, TraceSummary};
use super::live::{LiveRegistry, SnapshotSpan};
use super::query::{ListCursor, TraceFilter, TraceQuery};
use super::search::{is_in_span, is_in_stats};
use super::stats::TraceStats;
use crate::span::{SpanId, TraceId};
use crate::store::{SpanReader, SpanRow, SpanSummary, StorePosition, Unavailable};

pub use spans::SpanFormat;
pub(crate) use spans::{SpanRef, TracePage, otlp_frame};

/// Rows of one read from the store: about a millisecond.
const STEP: usize = 512;
/// Traces that are taken from the index before it may change.
const CANDIDATES: usize = 64;
/// Time of one query for reading spans in search of a text.
const SEARCH_TIME: Duration = Duration::from_millis(250);
/// Blocks of a trace that one query checks for removed spans: a list must not wait for a trace of 300,000 spans.
const CHECKED_BLOCKS: usize = 2;
/// Most traces of one [`Changes`]. Beyond it the client reads the list again.
const MOST_CHANGES: usize = 200;

/// The state of the thread that answers queries.
pub(super) struct QueryWorker {
    reader: SpanReader,
    live: Arc<LiveRegistry>,
    index: TraceIndex,
    /// The store's position at the last refresh; none before the first.
    position: Option<StorePosition>,
    /// The number of the last row in the index.
    last_seq: u64,
    /// The store's count of removals when the index was built.
    removals_at_build: u64,
}

/// The changes that a client wants since its last [`Changes`].
#[derive(Clone, Debug, Default)]
pub struct ChangesQuery {
    /// The `seq` of the last [`Changes`]; none asks for the current position alone.
    pub seq: Option<u64>,
    /// The `live` of the last [`Changes`].
    pub live: Option<u64>,
    /// The `file` of the last [`Changes`].
    pub file: Option<u64>,
    /// The traces that are wanted.
    pub filter: TraceFilter,
    /// Traces that are wanted though the filter no longer fits: the client got them when it did.
    pub sent: HashSet<TraceId>,
}

/// The traces that changed, and the position for the next [`ChangesQuery`].
#[derive(Debug)]
pub struct Changes {
    /// In ascending order of the numbers: a client that has an entry has everything up to its number.
    pub traces: Vec<(u64, TraceSummary)>,
    /// Changes may be missing here, so the client has to read the list again.
    pub missed: bool,
    /// The last number of a row.
    pub seq: u64,
    /// The version of the open runs.
    pub live: u64,
    /// The store's file.
    pub file: u64,
}

enum SearchOutcome {
    Found,
    NotFound,
    /// Time ran out after this many of the trace's spans.
    Paused(usize),
}

impl QueryWorker {
    /// Reads nothing before the first query.
    pub(super) fn new(reader: SpanReader, live: Arc<LiveRegistry>) -> Self {
        QueryWorker {
            reader,
            live,
            index: TraceIndex::default(),
            position: None,
            last_seq: 0,
            removals_at_build: 0,
        }
    }

    pub(super) fn list(&mut self, query: &TraceQuery) -> Result<TraceList, Unavailable> {
        self.list_until(query, Instant::now() + SEARCH_TIME)
    }

    /// A page of the list. Reading spans in search of a text stops at `deadline`.
    fn list_until(
        &mut self,
        query: &TraceQuery,
        deadline: Instant,
    ) -> Result<TraceList, Unavailable> {
        self.refresh()?;
        let mut page = TraceList {
            traces: Vec::new(),
            next: None,
        };
        let mut cursor = query.cursor.unwrap_or(ListCursor {
            page: PageCursor {
                as_of: self.last_seq,
                below: u64::MAX,
            },
            searched_spans: 0,
        });
        if query.cursor.is_none() {
            page.traces = self.unstored_traces(query);
        }
        let mut has_read = false;
        loop {
            let candidates: Vec<(u64, TraceId)> =
                self.index.from(cursor.page).take(CANDIDATES).collect();
            if candidates.is_empty() {
                return Ok(page);
            }
            for (seq, id) in candidates {
                if page.traces.len() >= query.limit {
                    page.next = Some(cursor);
                    return Ok(page);
                }
                self.check(id)?;
                let skip = std::mem::take(&mut cursor.searched_spans);
                let summary = self.summary(id);
                if let Some(summary) = summary.filter(|summary| summary.fits(&query.filter)) {
                    let text = query.text.as_deref();
                    match self.search(text, &summary, skip, deadline, &mut has_read)? {
                        SearchOutcome::Found => page.traces.push(summary),
                        SearchOutcome::NotFound => {}
                        SearchOutcome::Paused(searched_spans) => {
                            page.next = Some(ListCursor {
                                searched_spans,
                                ..cursor
                            });
                            return Ok(page);
                        }
                    }
                }
                cursor.page.below = seq;
            }
        }
    }

    /// The traces of `query` that have open spans only.
    fn unstored_traces(&self, query: &TraceQuery) -> Vec<TraceSummary> {
        let traces = self.live.traces().into_iter();
        let mut unstored: Vec<TraceSummary> = traces
            .filter(|id| self.index.get(*id).is_none())
            .filter_map(|id| self.summary(id))
            .filter(|summary| summary.fits(&query.filter))
            .filter(|summary| {
                query.text.as_deref().is_none_or(|wanted| {
                    is_in_stats(wanted, summary.trace_id, &summary.stats)
                        || self.is_in_open_spans(wanted, summary.trace_id)
                })
            })
            .collect();
        unstored.sort_by_key(|summary| Reverse(summary.stats.end_ns));
        unstored.truncate(query.limit);
        unstored
    }

    /// The list's entry for a trace, its open spans included.
    fn summary(&self, id: TraceId) -> Option<TraceSummary> {
        let stored = self.index.get(id);
        let live = self.live.of(id);
        if stored.is_none() && live.as_ref().is_none_or(Vec::is_empty) {
            return None;
        }
        let mut stats = stored.map_or_else(TraceStats::default, IndexedTrace::stats);
        for open in self.open_spans(id) {
            stats.add(&SpanSummary::of_span(&open.span));
        }
        Some(TraceSummary {
            trace_id: id,
            stats,
            live: live.is_some(),
        })
    }

    /// The open spans of a trace that are not stored yet.
    fn open_spans(&self, id: TraceId) -> impl Iterator<Item = SnapshotSpan> {
        let open = self.live.of(id).unwrap_or_default().into_iter();
        let mut open: HashMap<SpanId, SnapshotSpan> =
            open.map(|open| (open.span.span_id, open)).collect();
        if let Some(trace) = self.index.get(id).filter(|_| !open.is_empty()) {
            for entry in trace.entries() {
                open.remove(&entry.span_id);
            }
        }
        open.into_values()
    }

    fn is_in_open_spans(&self, wanted: &str, id: TraceId) -> bool {
        self.open_spans(id)
            .any(|open| is_in_span(wanted, &open.span))
    }

    /// Searches the stats, the open spans, and the stored spans behind the first `skip`. Each query reads at least one span.
    fn search(
        &mut self,
        text: Option<&str>,
        summary: &TraceSummary,
        skip: usize,
        deadline: Instant,
        has_read: &mut bool,
    ) -> Result<SearchOutcome, Unavailable> {
        let Some(wanted) = text else {
            return Ok(SearchOutcome::Found);
        };
        let id = summary.trace_id;
        if is_in_stats(wanted, id, &summary.stats)
            || summary.live && self.is_in_open_spans(wanted, id)
        {
            return Ok(SearchOutcome::Found);
        }
        let entries = self.index.get(id).into_iter();
        let entries = entries.flat_map(IndexedTrace::entries).enumerate();
        for (index, entry) in entries.skip(skip) {
            if std::mem::replace(has_read, true) && Instant::now() >= deadline {
                return Ok(SearchOutcome::Paused(index));
            }
            if let Some(finished) = self.reader.made(entry.seq, true)?
                && is_in_span(wanted, &finished.span())
            {
                return Ok(SearchOutcome::Found);
            }
        }
        Ok(SearchOutcome::NotFound)
    }

    pub(super) fn changes(&mut self, query: &ChangesQuery) -> Result<Changes, Unavailable> {
        self.refresh()?;
        let position = self.position.unwrap_or_default();
        let (changed_runs, live) = self.live.since(query.live.unwrap_or(u64::MAX));
        let mut changes = Changes {
            traces: Vec::new(),
            missed: false,
            seq: self.last_seq,
            live,
            file: position.generation,
        };
        let Some(seq) = query.seq else {
            return Ok(changes);
        };
        let grown: Vec<(u64, TraceId)> = self.index.since(seq).take(MOST_CHANGES + 1).collect();
        let is_other_file = query.file.is_some_and(|file| file != position.generation);
        // Rows behind `seq` were removed before the client got them.
        let has_gap = position.last > 0 && seq.saturating_add(1) < position.first;
        let (Some(changed_runs), false) = (
            changed_runs,
            is_other_file || seq > self.last_seq || has_gap || grown.len() > MOST_CHANGES,
        ) else {
            changes.missed = true;
            return Ok(changes);
        };
        let others = changed_runs.into_iter();
        let others = others.filter(|id| grown.iter().all(|(_, grown)| grown != id));
        let others: Vec<(u64, TraceId)> = others.map(|id| (self.last_seq, id)).collect();
        for (seq, id) in grown.into_iter().chain(others) {
            let is_wanted =
                |summary: &TraceSummary| query.sent.contains(&id) || summary.fits(&query.filter);
            if let Some(summary) = self.summary(id).filter(is_wanted) {
                changes.traces.push((seq, summary));
            }
        }
        Ok(changes)
    }

    /// Brings the index up to date. An index that was built once stays in use while the store cannot be read.
    fn refresh(&mut self) -> Result<(), Unavailable> {
        match self.try_refresh() {
            Err(_) if self.position.is_some() => Ok(()),
            result => result,
        }
    }

    fn try_refresh(&mut self) -> Result<(), Unavailable> {
        let position = self.reader.position()?;
        // Rows may come between this and the next read. An empty store now means that all rows of the index were removed.
        let first = match position.last {
            0 => self.last_seq.saturating_add(1),
            _ => position.first,
        };
        match self.position {
            Some(before) if before.generation == position.generation => loop {
                let rows = self.reader.after(self.last_seq, STEP)?;
                self.add(&rows, true);
                if rows.len() < STEP {
                    break;
                }
            },
            _ => self.build(position)?,
        }
        for id in self.index.remove_below(first) {
            self.recount(id, 0)?;
        }
        self.position = Some(position);
        Ok(())
    }

    /// Builds the index from the newest row to the oldest.
    fn build(&mut self, position: StorePosition) -> Result<(), Unavailable> {
        (self.index, self.position) = (TraceIndex::default(), None);
        let mut before = position.last.saturating_add(1);
        loop {
            let rows = self.reader.before(before, STEP)?;
            self.add(&rows, false);
            match rows.last() {
                Some(row) => before = row.seq,
                None => break,
            }
        }
        self.last_seq = position.last;
        self.removals_at_build = position.removed;
        Ok(())
    }

    fn add(&mut self, rows: &[SpanRow], newer: bool) {
        for row in rows {
            self.index.add(row, newer);
            if newer {
                self.last_seq = self.last_seq.max(row.seq);
            }
        }
    }

    /// Removes spans of a trace that the store no longer has: of a long trace, some blocks of spans in each query.
    fn check(&mut self, id: TraceId) -> Result<(), Unavailable> {
        let removed = self.position.unwrap_or_default().removed;
        if removed == self.removals_at_build {
            return Ok(());
        }
        for _ in 0..CHECKED_BLOCKS {
            let Some(block) = self.index.next_unchecked(id, removed) else {
                break;
            };
            self.recount(id, block)?;
        }
        Ok(())
    }

    fn recount(&mut self, id: TraceId, block: usize) -> Result<(), Unavailable> {
        let rows = self.reader.these(&self.index.block(id, block))?;
        self.index.recount(id, block, &rows);
        Ok(())
    }
}

impl TraceSummary {
    fn fits(&self, filter: &TraceFilter) -> bool {
        filter.fits(&self.stats, self.live)
    }
}

#[cfg(test)]
mod tests;
