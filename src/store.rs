//! The spans that Respan has not yet accepted, and the account of all spans ever made.
//!
//! Two sides meet here and know nothing of each other: whoever makes spans calls [`Store::add`], which never waits; the exporter takes
//! [`Batch`]es and settles each. Both the queue and the account live behind one lock, so that at every moment, to the last span,
//!
//! ```text
//! created = exported + rejected + dropped (by reason) + pending
//! ```
//!
//! The queue is bounded in bytes. Beyond the bound the oldest waiting spans go, for the newest are what somebody is looking at; a span
//! that is under way in a post is never taken away from it. Spans that fail alone can be set aside, so that they are asked about without
//! standing before the others; when one of them is accepted after all, it was not them, and all wait with the others again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::span::{Key, Span, Status, Value};

mod batch;
#[cfg(test)]
mod tests;

pub use batch::{Batch, Settled};

/// Why a span was dropped before anybody accepted or refused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The store was full and this was the oldest that waited.
    Memory,
    /// The span alone is larger than the whole store.
    Oversized,
}

impl DropReason {
    /// Every reason, in the order in which they are shown.
    pub const ALL: [Self; 2] = [Self::Memory, Self::Oversized];

    /// The reason's name as a label of a metric.
    pub fn label(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Oversized => "oversized",
        }
    }
}

/// How many spans there were and what became of them, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Added to the store, the dropped ones included.
    pub created: u64,
    /// Accepted by Respan.
    pub exported: u64,
    /// Refused by Respan for good.
    pub rejected: u64,
    /// Waiting or under way in a post.
    pub pending: u64,
    dropped: [u64; DropReason::ALL.len()],
}

impl Counts {
    /// Spans dropped for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// Spans dropped for any reason.
    pub fn dropped_in_all(&self) -> u64 {
        self.dropped.iter().sum()
    }
}

/// What is not yet accepted, in memory.
pub struct Store {
    queue: Mutex<Queue>,
    /// Rung when as much waits as the exporter asked for.
    enough: Notify,
    /// Rung when a span is set aside.
    set_aside: Notify,
    max_bytes: usize,
}

/// A span that waits, its weight, and since when.
#[derive(Debug)]
struct Waiting {
    span: Arc<Span>,
    weight: usize,
    since: Instant,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Spans that failed alone; they count as waiting.
    aside: VecDeque<Waiting>,
    waiting_bytes: usize,
    aside_bytes: usize,
    under_way_bytes: usize,
    counts: Counts,
    /// The spans or bytes for which the exporter is waiting: it is woken once for many spans, since a wake-up per span costs more than
    /// the span.
    wanted: Option<(usize, usize)>,
}

impl Queue {
    fn holds(&self, spans: usize, bytes: usize) -> bool {
        self.waiting.len() >= spans || self.waiting_bytes >= bytes
    }

    fn drop_span(&mut self, reason: DropReason) {
        self.counts.dropped[reason as usize] += 1;
        self.counts.pending -= 1;
    }

    fn drop_oldest_beyond(&mut self, max_bytes: usize) {
        while self.waiting_bytes + self.aside_bytes + self.under_way_bytes > max_bytes {
            // What fails again and again goes first.
            if let Some(oldest) = self.aside.pop_front() {
                self.aside_bytes -= oldest.weight;
            } else if let Some(oldest) = self.waiting.pop_front() {
                self.waiting_bytes -= oldest.weight;
            } else {
                return;
            }
            self.drop_span(DropReason::Memory);
        }
    }
}

impl Store {
    /// An empty store that holds at most about `max_bytes` of spans, by [`weight`], those under way included.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            queue: Mutex::default(),
            enough: Notify::new(),
            set_aside: Notify::new(),
            max_bytes,
        }
    }

    /// Takes over a finished span. Never waits for the exporter; may drop the oldest that wait, or `span` itself when it is larger than
    /// the whole store.
    pub fn add(&self, span: Span) {
        let weight = weight(&span);
        let mut queue = self.lock();
        queue.counts.created += 1;
        queue.counts.pending += 1;
        if weight > self.max_bytes {
            queue.drop_span(DropReason::Oversized);
            return;
        }
        queue.waiting.push_back(Waiting {
            span: Arc::new(span),
            weight,
            since: Instant::now(),
        });
        queue.waiting_bytes += weight;
        queue.drop_oldest_beyond(self.max_bytes);
        self.ring_when_enough(&mut queue);
    }

    /// The account, all of it from one moment.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// When the span that waits longest became waiting; none when nothing waits.
    pub fn oldest_since(&self) -> Option<Instant> {
        self.lock().waiting.front().map(|oldest| oldest.since)
    }

    /// Returns once `spans` spans or `bytes` bytes wait, whichever is first. For one caller at a time, the exporter.
    pub async fn at_least(&self, spans: usize, bytes: usize) {
        loop {
            {
                let mut queue = self.lock();
                if queue.holds(spans, bytes) {
                    queue.wanted = None;
                    return;
                }
                queue.wanted = Some((spans, bytes));
            }
            // A ring between the lock and this line is kept by `Notify` and found here.
            self.enough.notified().await;
        }
    }

    /// Takes the oldest waiting spans, at most `spans` of them and at most `bytes` unless the first alone is more; none when nothing
    /// waits. A batch that is dropped without being settled puts its spans back.
    pub fn take(self: &Arc<Self>, spans: usize, bytes: usize) -> Option<Batch> {
        let mut queue = self.lock();
        let mut taken = Vec::with_capacity(queue.waiting.len().min(spans));
        let mut taken_bytes = 0;
        while taken.len() < spans {
            match queue.waiting.front() {
                Some(next) if taken.is_empty() || taken_bytes + next.weight <= bytes => {
                    taken_bytes += next.weight;
                }
                _ => break,
            }
            taken.extend(queue.waiting.pop_front());
        }
        queue.waiting_bytes -= taken_bytes;
        queue.under_way_bytes += taken_bytes;
        drop(queue);
        (!taken.is_empty()).then(|| Batch::new(Arc::clone(self), taken))
    }

    /// Returns once a span is set aside. For one caller at a time, the exporter.
    pub async fn some_aside(&self) {
        while self.lock().aside.is_empty() {
            self.set_aside.notified().await;
        }
    }

    /// Takes the span that was set aside first; none when there is none. When it is accepted, all others wait with the rest again.
    pub fn take_aside(self: &Arc<Self>) -> Option<Batch> {
        let mut queue = self.lock();
        let taken = queue.aside.pop_front()?;
        queue.aside_bytes -= taken.weight;
        queue.under_way_bytes += taken.weight;
        drop(queue);
        Some(Batch::from_aside(Arc::clone(self), taken))
    }

    fn put_aside(&self, spans: Vec<Waiting>) {
        let mut queue = self.lock();
        for waiting in spans {
            queue.under_way_bytes -= waiting.weight;
            queue.aside_bytes += waiting.weight;
            queue.aside.push_back(waiting);
        }
        self.set_aside.notify_one();
    }

    fn bring_back_aside(&self) {
        let mut queue = self.lock();
        let aside = std::mem::take(&mut queue.aside);
        queue.waiting_bytes += std::mem::take(&mut queue.aside_bytes);
        for waiting in aside.into_iter().rev() {
            queue.waiting.push_front(waiting);
        }
        self.ring_when_enough(&mut queue);
    }

    fn settle(&self, spans: usize, bytes: usize, settled: Settled) {
        let (spans, mut queue) = (spans as u64, self.lock());
        let rejected = settled.rejected.min(spans);
        queue.counts.rejected += rejected;
        queue.counts.exported += spans - rejected;
        queue.counts.pending -= spans;
        queue.under_way_bytes -= bytes;
    }

    fn put_back(&self, spans: Vec<Waiting>) {
        let mut queue = self.lock();
        for waiting in spans.into_iter().rev() {
            queue.under_way_bytes -= waiting.weight;
            queue.waiting_bytes += waiting.weight;
            queue.waiting.push_front(waiting);
        }
        self.ring_when_enough(&mut queue);
    }

    fn ring_when_enough(&self, queue: &mut Queue) {
        if queue
            .wanted
            .is_some_and(|(spans, bytes)| queue.holds(spans, bytes))
        {
            queue.wanted = None;
            self.enough.notify_one();
        }
    }

    /// Nothing that can panic runs under the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("counts", &self.counts())
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

/// What a span weighs, in bytes: close to what it takes in memory, and to its length on the wire (an attribute's JSON around its text
/// is about as long as its place in memory).
pub fn weight(span: &Span) -> usize {
    let message = match &span.status {
        Status::Ok => 0,
        Status::Error(message) => message.len(),
    };
    let events: usize = span
        .events
        .iter()
        .map(|event| size_of_val(event) + event.name.len() + attributes_weight(&event.attributes))
        .sum();
    size_of::<Span>() + span.name.len() + message + attributes_weight(&span.attributes) + events
}

fn attributes_weight(attributes: &[(Key, Value)]) -> usize {
    attributes
        .iter()
        .map(|(key, value)| {
            let texts = match value {
                Value::Text(text) => text.len(),
                Value::Texts(texts) => texts
                    .iter()
                    .map(|text| size_of::<String>() + text.len())
                    .sum(),
                Value::Int(_) | Value::Double(_) | Value::Bool(_) => 0,
            };
            size_of_val(key) + size_of_val(value) + key.len() + texts
        })
        .sum()
}
