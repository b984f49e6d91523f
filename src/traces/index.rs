//! All traces that the store holds, in memory: what each amounts to, and in which order they were last heard of.
//!
//! A trace stands where its latest span stands. A page that was begun goes on as things stood when it began ([`Place::as_of`]): a trace that
//! has grown meanwhile is found where it was, one that is new is not found. So paging neither leaves out nor repeats.

use std::collections::{BTreeMap, HashMap};

use super::facts::Facts;
use crate::span::{SpanId, TraceId};
use crate::store::{Kind, Row, Summary};

/// Most traces; beyond it the ones that were heard of longest ago fall out. A trace of five spans takes about a kilobyte.
pub(super) const MOST_TRACES: usize = 50_000;

/// The traces, each under its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    traces: HashMap<TraceId, Trace>,
    /// Which trace each span is of, by the span's number.
    by_seq: BTreeMap<u64, TraceId>,
}

/// A trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trace {
    /// What it amounts to.
    pub facts: Facts,
    /// Its spans, by their numbers.
    pub entries: Vec<Entry>,
}

/// A span of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Its number in the store.
    pub seq: u64,
    /// Nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// Its id.
    pub span_id: SpanId,
    /// What it is.
    pub kind: Kind,
}

/// How far a list has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The last number that there was when it was begun.
    pub as_of: u64,
    /// It goes on below this number.
    pub below: u64,
}

impl Trace {
    /// The number of its latest span, of those up to `as_of`.
    fn latest(&self, as_of: u64) -> Option<u64> {
        let count = self.entries.partition_point(|entry| entry.seq <= as_of);
        Some(self.entries[..count].last()?.seq)
    }

    /// The number of its latest span.
    pub(super) fn last(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.seq)
    }
}

impl Index {
    /// Takes in a row, from whichever end. One that is there already changes nothing; of a trace that is not there, only `newer` ones do.
    pub(super) fn add(&mut self, row: &Row, newer: bool) {
        let Some(summary) = Summary::read(&row.summary) else {
            return;
        };
        if self.by_seq.contains_key(&row.seq) {
            return;
        }
        if self.traces.len() >= MOST_TRACES && !self.traces.contains_key(&row.trace_id) {
            if !newer {
                return;
            }
            self.forget_oldest();
        }
        let trace = self.traces.entry(row.trace_id).or_default();
        let entry = Entry {
            seq: row.seq,
            start_ns: summary.start,
            span_id: summary.span,
            kind: summary.kind,
        };
        let place = trace.entries.partition_point(|other| other.seq < row.seq);
        trace.entries.insert(place, entry);
        trace.facts.add(&summary);
        self.by_seq.insert(row.seq, row.trace_id);
    }

    /// A trace.
    pub(super) fn get(&self, id: TraceId) -> Option<&Trace> {
        self.traces.get(&id)
    }

    /// The traces from there on, the latest first, each with where it stands.
    pub(super) fn from(&self, place: Place) -> impl Iterator<Item = (u64, TraceId, &Trace)> {
        self.by_seq
            .range(..place.below)
            .rev()
            .filter_map(move |(seq, id)| {
                let trace = self.traces.get(id)?;
                (trace.latest(place.as_of) == Some(*seq)).then_some((*seq, *id, trace))
            })
    }

    /// Traces that grew after this number, each where its latest span stands, oldest first.
    pub(super) fn since(&self, seq: u64) -> impl Iterator<Item = (u64, TraceId, &Trace)> {
        self.by_seq
            .range(seq.saturating_add(1)..)
            .filter_map(|(seq, id)| {
                let trace = self.traces.get(id)?;
                (trace.last() == *seq).then_some((*seq, *id, trace))
            })
    }

    /// Forgets the spans below this number, which are gone. Gives the traces that lost some, but not all of theirs.
    pub(super) fn gone_below(&mut self, seq: u64) -> Vec<TraceId> {
        let kept = self.by_seq.split_off(&seq);
        let gone = std::mem::replace(&mut self.by_seq, kept);
        let mut lesser: Vec<TraceId> = gone.into_values().collect();
        lesser.sort_unstable();
        lesser.dedup();
        lesser.retain(|id| {
            let Some(trace) = self.traces.get_mut(id) else {
                return false;
            };
            trace.entries.retain(|entry| entry.seq >= seq);
            let is_empty = trace.entries.is_empty();
            if is_empty {
                self.traces.remove(id);
            }
            !is_empty
        });
        lesser
    }

    /// Says anew what is there of a trace.
    pub(super) fn replace(&mut self, id: TraceId, rows: &[Row]) {
        self.forget(id);
        for row in rows {
            self.add(row, true);
        }
    }

    fn forget(&mut self, id: TraceId) {
        if let Some(trace) = self.traces.remove(&id) {
            for entry in trace.entries {
                self.by_seq.remove(&entry.seq);
            }
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.by_seq.iter().find_map(|(seq, id)| {
            let trace = self.traces.get(id)?;
            (trace.last() == *seq).then_some(*id)
        });
        if let Some(id) = oldest {
            self.forget(id);
        }
    }
}

#[cfg(test)]
mod tests;
