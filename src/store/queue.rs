//! Spans that are not yet accepted, and the account of all: plain data behind the store's one lock.
//!
//! A span waits under its number, either in memory or, once it is written down and memory is short, as its weight alone. The newest go out
//! of memory first, for the oldest are the next to be sent. What is not written down cannot go out of memory; beyond its bound the oldest
//! of those are dropped and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::{DropReason, SpanCounts};
use crate::runs::FinishedSpan;

#[derive(Debug, Default)]
pub(super) struct SpanQueue {
    waiting: BTreeMap<u64, WaitingSpan>,
    /// Spans made without a destination, as long as only memory has them. They are not to be sent.
    kept: BTreeMap<u64, WaitingSpan>,
    /// Spans that begin at this time or later have a destination, in nanoseconds since the Unix epoch; none has while this is none.
    pub(super) exports_since: Option<u64>,
    /// Spans that failed alone; they count as waiting.
    aside: BTreeMap<u64, WaitingSpan>,
    /// Numbers of spans that only memory has, wherever they are.
    unsaved: BTreeSet<u64>,
    /// Numbers of spans that memory alone has again, for what had them made room.
    evicted: BTreeSet<u64>,
    /// Spans that were taken: their weight, and what is in memory of them.
    away: BTreeMap<u64, (u32, Option<Arc<FinishedSpan>>)>,
    /// Bytes of the spans in memory: waiting, aside and under way.
    held: usize,
    waiting_bytes: usize,
    /// How many of those that wait are in memory.
    here: usize,
    pub(super) counts: SpanCounts,
    pub(super) next_seq: u64,
    /// The spans or bytes for which the exporter is waiting: it is woken once for many spans, since a wake-up per span costs more than the
    /// span.
    pub(super) wanted: Option<(usize, usize)>,
    /// Whether the disk gives what only the log has.
    pub(super) is_readable: bool,
}

/// A span that waits.
#[derive(Debug)]
pub(super) struct WaitingSpan {
    pub(super) weight: u32,
    /// None of one that only the log has.
    pub(super) here: Option<Box<SpanInMemory>>,
}

#[derive(Debug)]
pub(super) struct SpanInMemory {
    pub(super) made: Arc<FinishedSpan>,
    pub(super) since: Instant,
}

/// A span that the log is to have.
#[derive(Debug)]
pub(super) struct NewSpan {
    pub(super) seq: u64,
    pub(super) made: Arc<FinishedSpan>,
    pub(super) weight: usize,
    /// It was made without a destination.
    pub(super) kept: bool,
    /// It was written before, and what had it made room.
    pub(super) is_evicted: bool,
}

/// A span that was taken, under its number.
#[derive(Debug)]
pub(super) struct TakenSpan {
    pub(super) seq: u64,
    pub(super) waiting: WaitingSpan,
}

impl SpanQueue {
    pub(super) fn new() -> Self {
        SpanQueue {
            next_seq: 1,
            exports_since: Some(0),
            ..SpanQueue::default()
        }
    }

    /// Takes a new span in. Gives what the log is to have of it, or nothing when it was dropped at once.
    ///
    /// One that began while there was no destination is kept, whenever it ends: what was said then does not leave by itself.
    pub(super) fn add(
        &mut self,
        made: Arc<FinishedSpan>,
        weight: usize,
        now: Instant,
        max: usize,
    ) -> Option<NewSpan> {
        let kept = self
            .exports_since
            .is_none_or(|since| made.start_ns() < since);
        if kept {
            self.counts.kept += 1;
        } else {
            self.counts.created += 1;
            self.counts.pending += 1;
        }
        let Ok(small) = u32::try_from(weight)
            .map_err(|_| ())
            .and_then(|small| if weight <= max { Ok(small) } else { Err(()) })
        else {
            if !kept {
                self.drop_counted(1, DropReason::Oversized);
            }
            return None;
        };
        let seq = self.next_seq;
        self.next_seq += 1;
        self.unsaved.insert(seq);
        self.held += weight;
        let here = SpanInMemory {
            made: Arc::clone(&made),
            since: now,
        };
        let waiting = WaitingSpan {
            weight: small,
            here: Some(Box::new(here)),
        };
        if kept {
            self.kept.insert(seq, waiting);
        } else {
            self.wait(seq, waiting);
        }
        self.make_room(max);
        Some(NewSpan {
            seq,
            made,
            weight,
            kept,
            is_evicted: false,
        })
    }

    /// Spans that the log has, each with its weight, wait to be sent. Returns how many did not wait before.
    pub(super) fn found(&mut self, spans: impl IntoIterator<Item = (u64, usize)>) -> u64 {
        let before = self.counts.created;
        for (seq, weight) in spans {
            let weight = u32::try_from(weight).unwrap_or(u32::MAX);
            if self.waiting.contains_key(&seq) || self.aside.contains_key(&seq) {
                continue;
            }
            self.wait(seq, WaitingSpan { weight, here: None });
            self.counts.created += 1;
            self.counts.pending += 1;
        }
        self.counts.created - before
    }

    /// Spans that waited in files that are gone count as made and dropped.
    pub(super) fn lost_before_start(&mut self, spans: u64) {
        self.counts.created += spans;
        self.counts.pending += spans;
        self.drop_counted(spans, DropReason::Unreadable);
    }

    /// These are written down. Those that wait leave memory while it holds more than `keep` bytes, and those that do not leave it at once.
    pub(super) fn saved(&mut self, seqs: &[u64], keep: usize) {
        for seq in seqs.iter().rev() {
            self.unsaved.remove(seq);
            self.evicted.remove(seq);
            self.forget_kept(*seq);
            if self.held <= keep {
                continue;
            }
            if let Some(waiting) = self.waiting.get_mut(seq)
                && waiting.here.take().is_some()
            {
                self.held -= waiting.weight as usize;
                self.here -= 1;
            }
        }
    }

    /// A span that is in memory, wherever it is, and its weight.
    fn in_memory(&self, seq: u64) -> Option<(&Arc<FinishedSpan>, u32)> {
        if let Some((weight, made)) = self.away.get(&seq) {
            return Some((made.as_ref()?, *weight));
        }
        let waiting = self.waiting.get(&seq).or_else(|| self.aside.get(&seq));
        let waiting = waiting.or_else(|| self.kept.get(&seq))?;
        Some((&waiting.here.as_ref()?.made, waiting.weight))
    }

    /// How many only memory has.
    pub(super) fn unsaved_count(&self) -> usize {
        self.unsaved.len() + self.evicted.len()
    }

    /// Whether one of these is yet to be written.
    pub(super) fn are_unsaved(&self, taken: &[TakenSpan]) -> bool {
        let mut seqs = taken.iter().map(|taken| taken.seq);
        seqs.any(|seq| self.unsaved.contains(&seq))
    }

    /// Spans behind `first` and up to `last` that only memory has, oldest first, until they weigh `bytes`.
    pub(super) fn unsaved(&self, first: u64, last: u64, bytes: usize) -> Vec<NewSpan> {
        let mut weight = 0;
        self.unsaved
            .union(&self.evicted)
            .skip_while(|seq| **seq <= first)
            .take_while(|seq| **seq <= last)
            .filter_map(|seq| {
                let (made, weight) = self.in_memory(*seq)?;
                Some(NewSpan {
                    seq: *seq,
                    made: Arc::clone(made),
                    weight: weight as usize,
                    kept: self.kept.contains_key(seq),
                    is_evicted: self.evicted.contains(seq),
                })
            })
            .take_while(|span| {
                let fits = weight < bytes;
                weight += span.weight;
                fits
            })
            .collect()
    }

    pub(super) fn holds(&self, spans: usize, bytes: usize) -> bool {
        if self.is_readable {
            self.waiting.len() >= spans || self.waiting_bytes >= bytes
        } else {
            self.here >= spans.max(1)
        }
    }

    /// Since when the oldest waits that can be had; long enough where that is not known.
    pub(super) fn oldest_since(&self, now: Instant) -> Option<Instant> {
        let oldest = if self.is_readable {
            self.waiting.values().next()
        } else {
            self.waiting_here().next().map(|(_, waiting)| waiting)
        }?;
        Some(oldest.here.as_ref().map_or_else(
            || {
                now.checked_sub(std::time::Duration::from_hours(1))
                    .unwrap_or(now)
            },
            |here| here.since,
        ))
    }

    fn waiting_here(&self) -> impl Iterator<Item = (&u64, &WaitingSpan)> {
        self.waiting
            .iter()
            .filter(|(_, waiting)| waiting.here.is_some())
    }

    /// The oldest that wait, at most `spans` of them and at most `bytes` unless the first alone is more.
    pub(super) fn take(&mut self, spans: usize, bytes: usize) -> Vec<TakenSpan> {
        let mut weight = 0;
        let mut fits = |own: u32, first: bool| {
            weight += own as usize;
            first || weight <= bytes
        };
        let mut seqs = Vec::new();
        for (seq, waiting) in &self.waiting {
            if !self.is_readable && waiting.here.is_none() {
                continue;
            }
            if seqs.len() >= spans || !fits(waiting.weight, seqs.is_empty()) {
                break;
            }
            seqs.push(*seq);
        }
        let taken = seqs.into_iter().filter_map(|seq| {
            let waiting = self.wait_no_more(seq)?;
            let taken = TakenSpan { seq, waiting };
            self.goes(&taken);
            Some(taken)
        });
        taken.collect()
    }

    pub(super) fn take_aside(&mut self) -> Option<TakenSpan> {
        let seq = self
            .aside
            .iter()
            .find(|(_, waiting)| self.is_readable || waiting.here.is_some())
            .map(|(seq, _)| *seq)?;
        let waiting = self.aside.remove(&seq)?;
        let taken = TakenSpan { seq, waiting };
        self.goes(&taken);
        Some(taken)
    }

    pub(super) fn has_aside(&self) -> bool {
        self.aside
            .values()
            .any(|waiting| self.is_readable || waiting.here.is_some())
    }

    fn goes(&mut self, taken: &TakenSpan) {
        let made = taken.waiting.here.as_ref();
        let made = made.map(|here| Arc::clone(&here.made));
        self.away.insert(taken.seq, (taken.waiting.weight, made));
    }

    pub(super) fn put_back(&mut self, taken: Vec<TakenSpan>) {
        for TakenSpan { seq, waiting } in taken {
            self.away.remove(&seq);
            self.wait(seq, waiting);
        }
    }

    pub(super) fn put_aside(&mut self, taken: Vec<TakenSpan>) {
        for TakenSpan { seq, waiting } in taken {
            self.away.remove(&seq);
            self.aside.insert(seq, waiting);
        }
    }

    /// One of them was accepted after all: all wait with the others again.
    pub(super) fn bring_back_aside(&mut self) {
        for (seq, waiting) in std::mem::take(&mut self.aside) {
            self.wait(seq, waiting);
        }
    }

    /// These are accepted, or refused for good as many as `rejected`.
    pub(super) fn settle(&mut self, taken: &[TakenSpan], rejected: u64) {
        let spans = taken.len() as u64;
        let rejected = rejected.min(spans);
        self.counts.rejected += rejected;
        self.counts.exported += spans - rejected;
        self.counts.pending -= spans;
        self.left(taken);
    }

    /// These were taken and cannot be read.
    pub(super) fn lose(&mut self, taken: &[TakenSpan], reason: DropReason) {
        self.drop_counted(taken.len() as u64, reason);
        self.left(taken);
    }

    fn left(&mut self, taken: &[TakenSpan]) {
        for TakenSpan { seq, waiting } in taken {
            self.unsaved.remove(seq);
            self.evicted.remove(seq);
            self.away.remove(seq);
            if waiting.here.is_some() {
                self.held -= waiting.weight as usize;
            }
        }
    }

    /// The files that held these are gone. A span that memory has, too, stays; any other that waits is dropped.
    pub(super) fn lose_files(&mut self, seqs: &[u64], reason: DropReason) {
        let is_here = |seq: &&u64| self.in_memory(**seq).is_some();
        let (here, gone): (Vec<u64>, Vec<u64>) = seqs.iter().partition(is_here);
        self.evicted.extend(here);
        self.evict(&gone, reason);
    }

    /// Drops those of `seqs` that wait.
    pub(super) fn evict(&mut self, seqs: &[u64], reason: DropReason) {
        for seq in seqs {
            let waiting = self.wait_no_more(*seq);
            let Some(waiting) = waiting.or_else(|| self.aside.remove(seq)) else {
                continue;
            };
            self.lose(&[TakenSpan { seq: *seq, waiting }], reason);
        }
    }

    fn wait(&mut self, seq: u64, waiting: WaitingSpan) {
        self.waiting_bytes += waiting.weight as usize;
        self.here += usize::from(waiting.here.is_some());
        self.waiting.insert(seq, waiting);
    }

    fn wait_no_more(&mut self, seq: u64) -> Option<WaitingSpan> {
        let waiting = self.waiting.remove(&seq)?;
        self.waiting_bytes -= waiting.weight as usize;
        self.here -= usize::from(waiting.here.is_some());
        Some(waiting)
    }

    /// A span was never made: it counts as made and dropped.
    pub(super) fn never_made(&mut self, reason: DropReason) {
        self.counts.created += 1;
        self.counts.pending += 1;
        self.drop_counted(1, reason);
    }

    /// Lets go of a span that is not to be sent. Whether it was one.
    fn forget_kept(&mut self, seq: u64) -> bool {
        let Some(waiting) = self.kept.remove(&seq) else {
            return false;
        };
        self.left(&[TakenSpan { seq, waiting }]);
        true
    }

    fn drop_counted(&mut self, spans: u64, reason: DropReason) {
        self.counts.dropped[reason as usize] += spans;
        self.counts.pending -= spans;
    }

    /// Drops the oldest of those that only memory has and that wait, until it holds at most `max` bytes. What fails again and again goes
    /// first.
    fn make_room(&mut self, max: usize) {
        while self.held > max {
            let is_here_alone =
                |seq: &&u64| self.unsaved.contains(seq) || self.evicted.contains(seq);
            let aside = self.aside.keys().find(is_here_alone);
            let oldest = aside.or_else(|| {
                self.unsaved
                    .union(&self.evicted)
                    .find(|seq| self.waiting.contains_key(seq) || self.kept.contains_key(seq))
            });
            let Some(&oldest) = oldest else { return };
            if !self.forget_kept(oldest) {
                self.evict(&[oldest], DropReason::Memory);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn has_unwritten(&self) -> bool {
        !self.unsaved.is_empty()
    }

    #[cfg(test)]
    pub(super) fn check(&self, under_way: &[&TakenSpan]) -> usize {
        let weigh = |waiting: &WaitingSpan| waiting.weight as usize;
        let waiting: usize = self.waiting.values().map(weigh).sum();
        assert_eq!(self.waiting_bytes, waiting);
        assert_eq!(self.here, self.waiting_here().count());
        let taken = under_way.iter().map(|taken| &taken.waiting);
        let held: usize = self
            .waiting
            .values()
            .chain(self.aside.values())
            .chain(self.kept.values())
            .chain(taken)
            .filter(|waiting| waiting.here.is_some())
            .map(weigh)
            .sum();
        assert_eq!(self.held, held);
        let counts = &self.counts;
        assert_eq!(
            counts.pending,
            (self.waiting.len() + self.aside.len() + under_way.len()) as u64
        );
        assert_eq!(
            counts.created,
            counts.exported + counts.rejected + counts.dropped_in_all() + counts.pending
        );
        self.held
    }
}
