//! The index of all stored traces, in memory: the stats of each, and the order of their latest spans.
//!
//! A trace has the place of its latest span. A page shows the traces as they were when the first page was read ([`PageCursor::as_of`]): a
//! trace that has grown since keeps its place, a new trace is left out. So pages neither leave out nor repeat a trace.
//!
//! A trace keeps its spans in blocks of [`BLOCK`], each with its own stats. An added span changes one block, removed spans one block each. So
//! the work of a change does not depend on the length of the trace.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::iter;
use std::ops::Bound;

use super::stats::TraceStats;
use crate::span::{SpanId, TraceId};
use crate::store::{SpanRow, SpanSummary};

/// Most traces; beyond it those whose latest span is oldest are evicted. A trace of five spans takes about a kilobyte.
pub(super) const MOST_TRACES: usize = 50_000;
/// Most spans of all traces; beyond it the oldest are evicted. A million takes about 50 MB.
const MOST_ENTRIES: usize = 1_000_000;
/// Most spans of a block, which are read again within about two milliseconds.
const BLOCK: usize = 1024;

/// The index. The fields beside `traces` are derived from it.
#[derive(Clone, Debug)]
pub(super) struct TraceIndex {
    /// [`BLOCK`], but for tests.
    block_size: usize,
    /// [`MOST_ENTRIES`], but for tests.
    most_entries: usize,
    traces: HashMap<TraceId, IndexedTrace>,
    /// The traces by the number of their first span.
    by_first: BTreeMap<u64, TraceId>,
    /// The traces by the number of their latest span.
    by_last: BTreeMap<u64, TraceId>,
    /// Spans of all traces.
    spans: usize,
}

/// A trace: its spans in the order of their numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct IndexedTrace {
    /// No block is empty.
    blocks: VecDeque<EntryBlock>,
    spans: usize,
    check: BlockCheck,
}

/// Successive spans of a trace, and their stats.
#[derive(Clone, Debug, Default)]
struct EntryBlock {
    stats: TraceStats,
    entries: VecDeque<IndexedSpan>,
}

/// How far a trace was checked for spans that the store removed.
#[derive(Clone, Copy, Debug, Default)]
struct BlockCheck {
    /// The store's count of removals that this check is about.
    removed: u64,
    /// Blocks that are not checked yet.
    left: usize,
    /// The block that is checked next. It goes round, so that each block has its turn while removals never end.
    next: usize,
}

/// A span of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct IndexedSpan {
    /// The span's number in the store.
    pub seq: u64,
    /// Nanoseconds since the Unix epoch.
    pub start_ns: u64,
    pub span_id: SpanId,
    pub parent: Option<SpanId>,
}

/// Where a page of the list begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCursor {
    /// The last number of a span when the first page was read.
    pub as_of: u64,
    /// The page has traces whose latest span is below this number.
    pub below: u64,
}

impl IndexedSpan {
    fn new(seq: u64, summary: &SpanSummary<'_>) -> Self {
        IndexedSpan {
            seq,
            start_ns: summary.start,
            span_id: summary.span,
            parent: summary.parent,
        }
    }
}

impl EntryBlock {
    fn add(&mut self, entry: IndexedSpan, summary: &SpanSummary<'_>) {
        let at = self.count_below(entry.seq);
        self.entries.insert(at, entry);
        self.stats.add(summary);
    }

    fn count_below(&self, seq: u64) -> usize {
        self.entries.partition_point(|entry| entry.seq < seq)
    }

    fn contains(&self, seq: u64) -> bool {
        self.first() <= seq && seq <= self.last()
    }

    fn first(&self) -> u64 {
        self.entries.front().map_or(u64::MAX, |entry| entry.seq)
    }

    fn last(&self) -> u64 {
        self.entries.back().map_or(0, |entry| entry.seq)
    }
}

impl IndexedTrace {
    pub(super) fn stats(&self) -> TraceStats {
        let mut blocks = self.blocks.iter();
        let mut stats = blocks
            .next()
            .map_or_else(TraceStats::default, |block| block.stats.clone());
        for block in blocks {
            stats.merge(&block.stats);
        }
        stats
    }

    /// The spans in the order of their numbers.
    pub(super) fn entries(&self) -> impl Iterator<Item = &IndexedSpan> {
        self.blocks.iter().flat_map(|block| &block.entries)
    }

    fn ends(&self) -> Option<(u64, u64)> {
        Some((self.blocks.front()?.first(), self.blocks.back()?.last()))
    }

    /// The index of the last block that begins at this number or below; 0 where none does.
    fn block_of(&self, seq: u64) -> usize {
        let count = self.blocks.partition_point(|block| block.first() <= seq);
        count.saturating_sub(1)
    }

    fn has(&self, seq: u64) -> bool {
        let block = self.blocks.get(self.block_of(seq));
        block.is_some_and(|block| {
            let entry = block.entries.get(block.count_below(seq));
            entry.is_some_and(|entry| entry.seq == seq)
        })
    }

    /// The number of the latest span up to `as_of`.
    fn latest(&self, as_of: u64) -> Option<u64> {
        let block = self.blocks.get(self.block_of(as_of))?;
        let count = block.count_below(as_of.saturating_add(1));
        Some(block.entries.get(count.checked_sub(1)?)?.seq)
    }

    fn add(&mut self, entry: IndexedSpan, summary: &SpanSummary<'_>, most: usize) {
        let mut number = self.block_of(entry.seq);
        let block = self.blocks.get(number);
        // Rows come at one of the ends. A row between them would only make its block a little longer.
        match block.filter(|block| block.entries.len() < most || block.contains(entry.seq)) {
            Some(_) => {}
            None if block.is_some_and(|block| entry.seq < block.first()) => {
                self.blocks.push_front(EntryBlock::default());
            }
            None => {
                number += usize::from(block.is_some());
                self.blocks.insert(number, EntryBlock::default());
            }
        }
        if let Some(block) = self.blocks.get_mut(number) {
            block.add(entry, summary);
            self.spans += 1;
        }
    }

    /// Removes the spans below this number. Returns whether the first block lost some, so that its stats are wrong.
    fn remove_below(&mut self, seq: u64) -> bool {
        while let Some(block) = self.blocks.front_mut() {
            if block.last() >= seq {
                let removed = block.count_below(seq);
                block.entries.drain(..removed);
                self.spans -= removed;
                return removed > 0;
            }
            self.remove_first();
        }
        false
    }

    fn remove_first(&mut self) {
        let removed = self.blocks.pop_front();
        self.spans -= removed.map_or(0, |block| block.entries.len());
    }

    /// Replaces the spans of a block by `rows`.
    fn recount(&mut self, number: usize, rows: &[SpanRow]) {
        let Some(block) = self.blocks.get_mut(number) else {
            return;
        };
        let before = std::mem::take(block);
        for row in rows {
            if let Some(summary) = SpanSummary::read(&row.summary) {
                block.add(IndexedSpan::new(row.seq, &summary), &summary);
            }
        }
        self.spans = self.spans - before.entries.len() + block.entries.len();
        if block.entries.is_empty() {
            self.blocks.remove(number);
        }
    }
}

impl Default for TraceIndex {
    fn default() -> Self {
        TraceIndex::with_blocks_of(BLOCK)
    }
}

impl TraceIndex {
    fn with_blocks_of(block_size: usize) -> Self {
        TraceIndex {
            block_size,
            most_entries: MOST_ENTRIES,
            traces: HashMap::new(),
            by_first: BTreeMap::new(),
            by_last: BTreeMap::new(),
            spans: 0,
        }
    }

    /// Adds a row at either end, if it is not there yet. A full index takes only `newer` rows.
    pub(super) fn add(&mut self, row: &SpanRow, newer: bool) {
        let Some(summary) = SpanSummary::read(&row.summary) else {
            return;
        };
        let known = self.traces.get(&row.trace_id);
        if known.is_some_and(|trace| trace.has(row.seq)) {
            return;
        }
        let is_one_more = known.is_none() && self.traces.len() >= MOST_TRACES;
        if !newer && (is_one_more || self.spans >= self.most_entries) {
            return;
        }
        if is_one_more {
            self.evict_oldest_trace();
        }
        if self.spans >= self.most_entries {
            self.evict_oldest_spans();
        }
        let entry = IndexedSpan::new(row.seq, &summary);
        let most = self.block_size;
        self.change(row.trace_id, |trace| trace.add(entry, &summary, most));
    }

    pub(super) fn get(&self, id: TraceId) -> Option<&IndexedTrace> {
        self.traces.get(&id)
    }

    /// The traces of a page and of all later pages, the latest first, each with the number that is its place.
    pub(super) fn from(&self, page: PageCursor) -> impl Iterator<Item = (u64, TraceId)> {
        let PageCursor { as_of, below } = page;
        // Traces that have grown since the first page keep their old place.
        let grown = (Bound::Excluded(as_of), Bound::Unbounded);
        let grown = self.by_last.range(grown).filter_map(|(_, id)| {
            let seq = self.traces.get(id)?.latest(as_of)?;
            (seq < below).then_some((seq, *id))
        });
        let mut grown: Vec<(u64, TraceId)> = grown.collect();
        grown.sort_unstable();
        let others = self.by_last.range(..below.min(as_of.saturating_add(1)));
        let mut others = others.rev().map(|(seq, id)| (*seq, *id)).peekable();
        iter::from_fn(move || match (grown.last(), others.peek()) {
            (Some(one), Some(other)) if one < other => others.next(),
            (Some(_), _) => grown.pop(),
            (None, _) => others.next(),
        })
    }

    /// Traces with a span after this number, each with the number of its latest span, in ascending order.
    pub(super) fn since(&self, seq: u64) -> impl Iterator<Item = (u64, TraceId)> {
        let grown = self.by_last.range(seq.saturating_add(1)..);
        grown.map(|(seq, id)| (*seq, *id))
    }

    /// Removes the spans below this number. Returns the traces whose first block has to be recounted.
    pub(super) fn remove_below(&mut self, seq: u64) -> Vec<TraceId> {
        let mut traces: Vec<TraceId> = self.by_first.range(..seq).map(|(_, id)| *id).collect();
        traces.retain(|id| self.change(*id, |trace| trace.remove_below(seq)));
        traces
    }

    /// The next block of a trace that was not checked after these removals.
    pub(super) fn next_unchecked(&mut self, id: TraceId, removed: u64) -> Option<usize> {
        let IndexedTrace { blocks, check, .. } = self.traces.get_mut(&id)?;
        if check.removed != removed {
            (check.removed, check.left) = (removed, blocks.len());
        }
        check.left = check.left.checked_sub(1)?;
        let number = check.next.checked_rem(blocks.len())?;
        check.next = number + 1;
        Some(number)
    }

    /// The numbers of the spans in a block.
    pub(super) fn block(&self, id: TraceId, number: usize) -> Vec<u64> {
        let block = self
            .traces
            .get(&id)
            .and_then(|trace| trace.blocks.get(number));
        let entries = block.into_iter().flat_map(|block| &block.entries);
        entries.map(|entry| entry.seq).collect()
    }

    /// Replaces the spans of a block by `rows`, which the store still has.
    pub(super) fn recount(&mut self, id: TraceId, number: usize, rows: &[SpanRow]) {
        self.change(id, |trace| trace.recount(number, rows));
    }

    /// Changes a trace and updates the derived fields.
    fn change<T>(&mut self, id: TraceId, change: impl FnOnce(&mut IndexedTrace) -> T) -> T {
        let trace = self.traces.entry(id).or_default();
        let (ends, spans) = (trace.ends(), trace.spans);
        let result = change(trace);
        self.spans = self.spans - spans + trace.spans;
        let now = trace.ends();
        if now.is_none() {
            self.traces.remove(&id);
        }
        if now != ends {
            if let Some((first, last)) = ends {
                self.by_first.remove(&first);
                self.by_last.remove(&last);
            }
            if let Some((first, last)) = now {
                self.by_first.insert(first, id);
                self.by_last.insert(last, id);
            }
        }
        result
    }

    fn evict_oldest_trace(&mut self) {
        if let Some((_, id)) = self.by_last.first_key_value() {
            self.change(*id, |trace| *trace = IndexedTrace::default());
        }
    }

    fn evict_oldest_spans(&mut self) {
        if let Some((_, id)) = self.by_first.first_key_value() {
            self.change(*id, IndexedTrace::remove_first);
        }
    }
}

#[cfg(test)]
mod tests;
