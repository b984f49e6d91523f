//! All traces that the store holds, in memory: what each amounts to, and in which order they were last heard of.
//!
//! A trace stands where its latest span stands. A page that was begun goes on as things stood when it began ([`PageCursor::as_of`]): a trace that
//! has grown meanwhile is found where it was, one that is new is not found. So paging neither leaves out nor repeats.
//!
//! The work of any change is that of a few spans, however many its trace has. A trace keeps its spans in blocks of [`BLOCK`], each with its own
//! sum: a span is added to one block, and where spans go, one block is summed up anew.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::iter;
use std::ops::Bound;

use super::facts::Facts;
use crate::span::{SpanId, TraceId};
use crate::store::{Row, Summary};

/// Most traces; beyond it the ones that were heard of longest ago fall out. A trace of five spans takes about a kilobyte.
pub(super) const MOST_TRACES: usize = 50_000;
/// Most spans of all traces; beyond it the oldest fall out. A million takes about 50 MB.
const MOST_ENTRIES: usize = 1_000_000;
/// Spans of a block: few enough to be read again within about two milliseconds.
const BLOCK: usize = 1024;

/// The traces, each under its id.
#[derive(Clone, Debug)]
pub(super) struct Index {
    /// Spans of a block, and of all traces.
    block: usize,
    most_entries: usize,
    traces: HashMap<TraceId, Trace>,
    /// Which trace a span is of, for the first and for the last span of each trace, by the span's number.
    by_first: BTreeMap<u64, TraceId>,
    by_last: BTreeMap<u64, TraceId>,
    /// How many all of them have.
    spans: usize,
}

/// The spans of a trace, by their numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    /// None is empty.
    blocks: VecDeque<EntryBlock>,
    spans: usize,
    check: BlockCheck,
}

/// Neighbours among the spans of a trace, and their sum.
#[derive(Clone, Debug, Default)]
struct EntryBlock {
    facts: Facts,
    entries: VecDeque<Entry>,
}

/// How far it was looked whether the spans of a trace are still there.
#[derive(Clone, Copy, Debug, Default)]
struct BlockCheck {
    /// After which removals.
    removed: u64,
    /// Blocks that are still to be looked at for that.
    left: usize,
    /// The block that is next. It goes round, so that each has its turn while removals never end.
    next: usize,
}

/// A span of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Its number in the store.
    pub seq: u64,
    /// Nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// Its id.
    pub span_id: SpanId,
    /// The span around it.
    pub parent: Option<SpanId>,
}

/// How far a list has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCursor {
    /// The last number that there was when it was begun.
    pub as_of: u64,
    /// It goes on below this number.
    pub below: u64,
}

impl Entry {
    fn new(seq: u64, summary: &Summary<'_>) -> Self {
        Entry {
            seq,
            start_ns: summary.start,
            span_id: summary.span,
            parent: summary.parent,
        }
    }
}

impl EntryBlock {
    fn add(&mut self, entry: Entry, summary: &Summary<'_>) {
        let place = self.count_below(entry.seq);
        self.entries.insert(place, entry);
        self.facts.add(summary);
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

impl Trace {
    /// What it amounts to.
    pub(super) fn facts(&self) -> Facts {
        let mut blocks = self.blocks.iter();
        let mut facts = blocks
            .next()
            .map_or_else(Facts::default, |block| block.facts.clone());
        for block in blocks {
            facts.merge(&block.facts);
        }
        facts
    }

    /// Its spans, by their numbers.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.blocks.iter().flat_map(|block| &block.entries)
    }

    fn ends(&self) -> Option<(u64, u64)> {
        Some((self.blocks.front()?.first(), self.blocks.back()?.last()))
    }

    /// The last block that begins at this number or below; the first where none does.
    fn block_of(&self, seq: u64) -> usize {
        let begun = self.blocks.partition_point(|block| block.first() <= seq);
        begun.saturating_sub(1)
    }

    fn has(&self, seq: u64) -> bool {
        let block = self.blocks.get(self.block_of(seq));
        block.is_some_and(|block| {
            let entry = block.entries.get(block.count_below(seq));
            entry.is_some_and(|entry| entry.seq == seq)
        })
    }

    /// The number of its latest span, of those up to `as_of`.
    fn latest(&self, as_of: u64) -> Option<u64> {
        let block = self.blocks.get(self.block_of(as_of))?;
        let count = block.count_below(as_of.saturating_add(1));
        Some(block.entries.get(count.checked_sub(1)?)?.seq)
    }

    fn add(&mut self, entry: Entry, summary: &Summary<'_>, most: usize) {
        let mut place = self.block_of(entry.seq);
        let block = self.blocks.get(place);
        // Rows come at one of the ends. One that came in between, all the same, would make its block a little longer.
        match block.filter(|block| block.entries.len() < most || block.contains(entry.seq)) {
            Some(_) => {}
            None if block.is_some_and(|block| entry.seq < block.first()) => {
                self.blocks.push_front(EntryBlock::default());
            }
            None => {
                place += usize::from(block.is_some());
                self.blocks.insert(place, EntryBlock::default());
            }
        }
        if let Some(block) = self.blocks.get_mut(place) {
            block.add(entry, summary);
            self.spans += 1;
        }
    }

    /// Forgets the spans below this number. Whether the first block lost some, so that its sum is wrong.
    fn remove_below(&mut self, seq: u64) -> bool {
        while let Some(block) = self.blocks.front_mut() {
            if block.last() >= seq {
                let gone = block.count_below(seq);
                block.entries.drain(..gone);
                self.spans -= gone;
                return gone > 0;
            }
            self.remove_first();
        }
        false
    }

    fn remove_first(&mut self) {
        let gone = self.blocks.pop_front();
        self.spans -= gone.map_or(0, |block| block.entries.len());
    }

    /// Sums up a block anew, of which these rows are there.
    fn recount(&mut self, place: usize, rows: &[Row]) {
        let Some(block) = self.blocks.get_mut(place) else {
            return;
        };
        let before = std::mem::take(block);
        for row in rows {
            if let Some(summary) = Summary::read(&row.summary) {
                block.add(Entry::new(row.seq, &summary), &summary);
            }
        }
        self.spans = self.spans - before.entries.len() + block.entries.len();
        if block.entries.is_empty() {
            self.blocks.remove(place);
        }
    }
}

impl Default for Index {
    fn default() -> Self {
        Index::with_blocks_of(BLOCK)
    }
}

impl Index {
    fn with_blocks_of(block: usize) -> Self {
        Index {
            block,
            most_entries: MOST_ENTRIES,
            traces: HashMap::new(),
            by_first: BTreeMap::new(),
            by_last: BTreeMap::new(),
            spans: 0,
        }
    }

    /// Takes in a row, from whichever end. One that is there already changes nothing; where the index is full, only `newer` ones do.
    pub(super) fn add(&mut self, row: &Row, newer: bool) {
        let Some(summary) = Summary::read(&row.summary) else {
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
            self.forget_oldest_trace();
        }
        if self.spans >= self.most_entries {
            self.forget_oldest_spans();
        }
        let entry = Entry::new(row.seq, &summary);
        let most = self.block;
        self.change(row.trace_id, |trace| trace.add(entry, &summary, most));
    }

    /// A trace.
    pub(super) fn get(&self, id: TraceId) -> Option<&Trace> {
        self.traces.get(&id)
    }

    /// The traces from there on, the latest first, each with where it stands.
    pub(super) fn from(&self, place: PageCursor) -> impl Iterator<Item = (u64, TraceId)> {
        let PageCursor { as_of, below } = place;
        // Those that have grown since stand further up by now.
        let grown = (Bound::Excluded(as_of), Bound::Unbounded);
        let grown = self.by_last.range(grown).filter_map(|(_, id)| {
            let stood = self.traces.get(id)?.latest(as_of)?;
            (stood < below).then_some((stood, *id))
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

    /// Traces that grew after this number, each where its latest span stands, oldest first.
    pub(super) fn since(&self, seq: u64) -> impl Iterator<Item = (u64, TraceId)> {
        let grown = self.by_last.range(seq.saturating_add(1)..);
        grown.map(|(seq, id)| (*seq, *id))
    }

    /// Forgets the spans below this number, which are gone. Gives the traces whose first block is to be counted anew.
    pub(super) fn gone_below(&mut self, seq: u64) -> Vec<TraceId> {
        let mut lesser: Vec<TraceId> = self.by_first.range(..seq).map(|(_, id)| *id).collect();
        lesser.retain(|id| self.change(*id, |trace| trace.remove_below(seq)));
        lesser
    }

    /// The block of a trace that is to be looked at next, since spans may have gone; none once each was after these removals.
    pub(super) fn next_unchecked(&mut self, id: TraceId, removed: u64) -> Option<usize> {
        let Trace { blocks, check, .. } = self.traces.get_mut(&id)?;
        if check.removed != removed {
            (check.removed, check.left) = (removed, blocks.len());
        }
        check.left = check.left.checked_sub(1)?;
        let place = check.next.checked_rem(blocks.len())?;
        check.next = place + 1;
        Some(place)
    }

    /// The numbers of a block's spans.
    pub(super) fn block(&self, id: TraceId, place: usize) -> Vec<u64> {
        let block = self
            .traces
            .get(&id)
            .and_then(|trace| trace.blocks.get(place));
        let entries = block.into_iter().flat_map(|block| &block.entries);
        entries.map(|entry| entry.seq).collect()
    }

    /// Says anew what is there of a block.
    pub(super) fn recount(&mut self, id: TraceId, place: usize, rows: &[Row]) {
        self.change(id, |trace| trace.recount(place, rows));
    }

    /// Changes a trace, and keeps what is known of all of them in step.
    fn change<T>(&mut self, id: TraceId, change: impl FnOnce(&mut Trace) -> T) -> T {
        let trace = self.traces.entry(id).or_default();
        let (ends, spans) = (trace.ends(), trace.spans);
        let done = change(trace);
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
        done
    }

    fn forget_oldest_trace(&mut self) {
        if let Some((_, id)) = self.by_last.first_key_value() {
            self.change(*id, |trace| *trace = Trace::default());
        }
    }

    fn forget_oldest_spans(&mut self) {
        if let Some((_, id)) = self.by_first.first_key_value() {
            self.change(*id, Trace::remove_first);
        }
    }
}

#[cfg(test)]
mod tests;
