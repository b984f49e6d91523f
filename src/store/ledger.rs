//! What became of spans and exchanges: which spans need not be exported any more, which exchanges are finished, which names were learned.
//!
//! The ledger is the sum of its changes, in their order. A change is a record; at the head of each segment stands the whole sum as a checkpoint,
//! so that a start reads one segment for it.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::ranges::Ranges;
use super::unix_nanoseconds;
use crate::span::{SpanId, TraceId};

/// Refused spans that are listed with their reasons.
pub(super) const LISTED: usize = 128;

/// First and last number of each range.
pub(super) type RangeList = Vec<(u64, u64)>;

/// The hash of a system message, and the name of the agent that has it.
pub(super) type StoredName = ([u8; 16], Option<String>);

/// A span that Respan refused for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedSpan {
    /// Its number in the store.
    pub seq: u64,
    /// Its trace.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
    /// When it was refused, in seconds since the Unix epoch.
    pub at: u64,
    /// What Respan said of it.
    pub reason: String,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// Spans were accepted, or dropped.
    Acked(RangeList),
    /// Spans were refused for good.
    Refused(Vec<RefusedSpan>),
    /// Spans that were refused or kept wait to be exported.
    Requeued(RangeList),
    /// The runs of exchanges are closed, and their spans are in the log.
    Finished(RangeList),
    /// Names of agents; none where several agents have one system message.
    Learned(Vec<StoredName>),
    /// Since when spans have a destination, in nanoseconds since the Unix epoch; none while they have none.
    Destination(Option<u64>),
}

/// The whole ledger, and the next numbers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// When its segment began, in seconds since the Unix epoch.
    #[serde(default)]
    pub(super) begun_at: u64,
    next_seq: u64,
    next_exchange: u64,
    exports_since: Option<u64>,
    acked: RangeList,
    kept: RangeList,
    refused: RangeList,
    listed: Vec<RefusedSpan>,
    finished: RangeList,
    learned: Vec<StoredName>,
}

#[derive(Debug)]
pub(super) struct Ledger {
    /// Numbers of spans that need not be exported, the refused ones among them.
    pub(super) acked: Ranges,
    /// Numbers of spans that were made without a destination and wait for a replay.
    pub(super) kept: Ranges,
    /// Numbers of refused spans.
    pub(super) refused: Ranges,
    /// The latest of them.
    listed: VecDeque<RefusedSpan>,
    /// Numbers of exchanges.
    pub(super) finished: Ranges,
    pub(super) learned: HashMap<[u8; 16], Option<String>>,
    pub(super) exports_since: Option<u64>,
    pub(super) next_seq: u64,
    pub(super) next_exchange: u64,
}

impl Ledger {
    pub(super) fn new(exports_since: Option<u64>) -> Self {
        Ledger {
            acked: Ranges::default(),
            kept: Ranges::default(),
            refused: Ranges::default(),
            listed: VecDeque::new(),
            finished: Ranges::default(),
            learned: HashMap::new(),
            exports_since,
            next_seq: 1,
            next_exchange: 1,
        }
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Acked(ranges) => {
                add(&mut self.acked, ranges);
                self.unlist(ranges);
            }
            Change::Refused(spans) => {
                for span in spans {
                    self.acked.insert(span.seq);
                    self.refused.insert(span.seq);
                    self.listed.push_back(span.clone());
                }
                self.listed
                    .drain(..self.listed.len().saturating_sub(LISTED));
            }
            Change::Requeued(ranges) => {
                for (first, last) in ranges {
                    for seq in *first..=*last {
                        self.acked.remove(seq);
                        self.kept.remove(seq);
                    }
                }
                self.unlist(ranges);
            }
            Change::Finished(ranges) => add(&mut self.finished, ranges),
            Change::Learned(names) => names.iter().for_each(|learned| self.learn(learned)),
            Change::Destination(since) => self.exports_since = *since,
        }
    }

    /// That several agents have a system message stays known, whatever comes later: workers tell in any order.
    fn learn(&mut self, (prompt, name): &StoredName) {
        let known = self.learned.entry(*prompt).or_insert_with(|| name.clone());
        if known.is_some() {
            known.clone_from(name);
        }
    }

    /// These spans are no refused ones any more.
    fn unlist(&mut self, ranges: &RangeList) {
        if self.refused.is_empty() {
            return;
        }
        for (first, last) in ranges {
            (*first..=*last).for_each(|seq| self.refused.remove(seq));
        }
        self.listed.retain(|span| self.refused.contains(span.seq));
    }

    /// The latest refused spans, newest first.
    pub(super) fn list_refused(&self, limit: usize) -> Vec<RefusedSpan> {
        self.listed.iter().rev().take(limit).cloned().collect()
    }

    /// These spans are not stored any more.
    pub(super) fn forget_spans(&mut self, seqs: &[u64]) {
        for seq in seqs {
            self.kept.remove(*seq);
            self.refused.remove(*seq);
        }
        self.listed.retain(|span| self.refused.contains(span.seq));
    }

    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            begun_at: unix_nanoseconds() / 1_000_000_000,
            next_seq: self.next_seq,
            next_exchange: self.next_exchange,
            exports_since: self.exports_since,
            acked: self.acked.iter().collect(),
            kept: self.kept.iter().collect(),
            refused: self.refused.iter().collect(),
            listed: self.listed.iter().cloned().collect(),
            finished: self.finished.iter().collect(),
            learned: self
                .learned
                .iter()
                .map(|(prompt, name)| (*prompt, name.clone()))
                .collect(),
        }
    }

    /// Takes in what another ledger knows. Where both know since when there is a destination, this one's stays.
    pub(super) fn merge(&mut self, other: Ledger) {
        for (into, from) in [
            (&mut self.acked, &other.acked),
            (&mut self.kept, &other.kept),
            (&mut self.refused, &other.refused),
            (&mut self.finished, &other.finished),
        ] {
            add(into, &from.iter().collect());
        }
        let newer = std::mem::replace(&mut self.listed, other.listed);
        self.listed.extend(newer);
        for (prompt, name) in other.learned {
            self.learned.entry(prompt).or_insert(name);
        }
        self.next_seq = self.next_seq.max(other.next_seq);
        self.next_exchange = self.next_exchange.max(other.next_exchange);
    }
}

impl From<Checkpoint> for Ledger {
    fn from(checkpoint: Checkpoint) -> Self {
        let ranges = |list: &RangeList| {
            let mut ranges = Ranges::default();
            add(&mut ranges, list);
            ranges
        };
        Ledger {
            acked: ranges(&checkpoint.acked),
            kept: ranges(&checkpoint.kept),
            refused: ranges(&checkpoint.refused),
            listed: checkpoint.listed.into(),
            finished: ranges(&checkpoint.finished),
            learned: checkpoint.learned.into_iter().collect(),
            exports_since: checkpoint.exports_since,
            next_seq: checkpoint.next_seq,
            next_exchange: checkpoint.next_exchange,
        }
    }
}

fn add(ranges: &mut Ranges, list: &RangeList) {
    list.iter()
        .filter(|(first, last)| first <= last)
        .for_each(|(first, last)| ranges.insert_all(*first, *last));
}

/// The fewest ranges that hold these numbers.
pub(super) fn ranges_of(numbers: impl IntoIterator<Item = u64>) -> RangeList {
    numbers.into_iter().collect::<Ranges>().iter().collect()
}
