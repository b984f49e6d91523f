//! The way from the observers to the worker: a queue that is never waited for. All that is in it was counted against the budget before it came:
//! an exchange's facts when it began, the pieces of its reply when they were copied.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::asking::Asking;
use super::observers::{self, Answered, Asked};
use crate::clock::{Clock, Moment};
use crate::exchange::{
    Budget, BudgetedBuffer, CapturedBody, Exchange, RequestMeta, Reservation, ResponseHead,
};
use crate::redact::KnownSecrets;

/// How long the worker lets events gather: a wake-up for each would cost more than all of the copying.
const LINGER: Duration = Duration::from_millis(20);

/// Between two warnings of exchanges that are dropped.
const WARN_EVERY: Duration = Duration::from_mins(1);

/// Something that observers saw.
pub(super) enum Event {
    /// More of a reply.
    Piece {
        meta: Arc<RequestMeta>,
        answer: ResponseHead,
        /// For the worker to set once it has seen the first token: the times of later frames are not wanted.
        saw_token: Arc<AtomicBool>,
        piece: Piece,
    },
    /// The request of a chat completion is whole. It is read where time is not the client's.
    Asked {
        meta: Arc<RequestMeta>,
        started_ns: u64,
        request: CapturedBody,
    },
    /// Somebody wants to know what there is.
    Looked,
    /// An exchange is over, and this is the rest of its reply.
    Settled {
        exchange: Box<Exchange>,
        last: Piece,
        /// For all of it but bodies.
        facts: Reservation,
        /// What the upstream may repeat in an error.
        secrets: KnownSecrets,
    },
}

/// Writes down that exchanges began, so that a crash hides none. Nothing here waits: it is called on the client's path.
pub trait Journal: Send + Sync {
    /// An exchange began.
    fn began(&self, begun: Begun);

    /// The body of a request is whole, of which [`Begun::body`] was asked for too early.
    fn asked(&self, meta: &Arc<RequestMeta>, body: CapturedBody);

    /// An exchange began of which nothing will be told, for there is no room for it.
    fn dropped(&self) {}

    /// The last moment of an earlier process that left exchanges unfinished, whose times go on.
    fn last_moment(&self) -> Option<Moment> {
        None
    }
}

/// An exchange that began.
#[derive(Debug)]
pub struct Begun {
    /// What is known of it.
    pub meta: Arc<RequestMeta>,
    /// When it began, in nanoseconds of [`crate::clock`].
    pub started_ns: u64,
    pub(super) request: Arc<Asking>,
}

impl Begun {
    /// One whose body is whole.
    #[cfg(test)]
    pub(crate) fn whole(meta: Arc<RequestMeta>, started_ns: u64, body: CapturedBody) -> Self {
        Begun {
            meta,
            started_ns,
            request: Arc::new(Asking::of(body)),
        }
    }

    /// One whose body is still to come.
    #[cfg(test)]
    pub(crate) fn growing(meta: Arc<RequestMeta>, started_ns: u64) -> Self {
        Begun {
            request: Arc::new(Asking::new(&meta, &Budget::new(0), None)),
            meta,
            started_ns,
        }
    }

    /// The request's body; none as long as it is not whole, and then [`Journal::asked`] will be told.
    pub fn body(&self) -> Option<CapturedBody> {
        self.request.whole()
    }
}

#[cfg(test)]
impl Journal for () {
    fn began(&self, _: Begun) {}

    fn asked(&self, _: &Arc<RequestMeta>, _: CapturedBody) {}
}

/// Part of a reply, and when it came: after how many of its bytes, how long after the exchange's beginning. Once the first token is known to
/// have been seen, no times are told.
pub(super) struct Piece {
    pub(super) bytes: BudgetedBuffer,
    pub(super) marks: Vec<(usize, Duration)>,
}

/// Watches exchanges. Clones share one queue and one budget.
#[derive(Clone)]
pub struct Capture {
    queue: Arc<Queue>,
    budget: Arc<Budget>,
    journal: Arc<dyn Journal>,
    /// When it was said last that exchanges are dropped.
    warned: Arc<Mutex<Option<Instant>>>,
    clock: Arc<Clock>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    events: Vec<Event>,
    /// The worker shall not linger.
    urgent: bool,
    closed: bool,
}

impl Capture {
    /// A queue without a worker; see [`super::worker`].
    pub(super) fn new(budget: Arc<Budget>, journal: Arc<dyn Journal>) -> Self {
        let clock = Clock::new(Instant::now(), SystemTime::now(), journal.last_moment());
        Capture {
            queue: Arc::default(),
            budget,
            journal,
            warned: Arc::default(),
            clock: Arc::new(clock),
        }
    }

    /// Watches an exchange that begins now. `request_length` is what its request says of its body.
    pub fn open(&self, meta: RequestMeta, request_length: Option<u64>) -> (Asked, Answered) {
        observers::open(self.clone(), meta, request_length)
    }

    pub(super) fn began(&self, begun: Begun) {
        self.journal.began(begun);
    }

    pub(super) fn asked(&self, meta: &Arc<RequestMeta>, body: CapturedBody) {
        self.journal.asked(meta, body);
    }

    /// An exchange is not watched, for there is no room for it.
    pub(super) fn dropped(&self) {
        self.journal.dropped();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|last| last.elapsed() >= WARN_EVERY) {
            *warned = Some(Instant::now());
            tracing::warn!(
                "calls are not traced now, for capture.max_memory is taken; spangate_capture_dropped_total counts them"
            );
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    pub(super) fn push(&self, event: Event) {
        let mut waiting = self
            .queue
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        waiting.events.push(event);
        let first = waiting.events.len() == 1;
        drop(waiting);
        if first {
            self.queue.changed.notify_one();
        }
    }

    /// Lets the worker look at what it has, though nothing was seen.
    pub fn look(&self) {
        let waiting = &self.queue.waiting;
        let waits = |waiting: &Waiting| !waiting.events.is_empty();
        // What waits has it look anyway.
        if !waits(&waiting.lock().unwrap_or_else(PoisonError::into_inner)) {
            self.push(Event::Looked);
        }
    }

    /// Has the worker take what waits at once: somebody will soon be out of room.
    pub(super) fn hurry(&self) {
        let waiting = &self.queue.waiting;
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .urgent = true;
        self.queue.changed.notify_one();
    }

    /// No further event is expected: the worker ends after those that wait.
    pub(super) fn close(&self) {
        self.queue
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed = true;
        self.queue.changed.notify_all();
    }

    /// All that waits, in the order it came, as soon as something does; nothing at `until`. None once closed and empty.
    pub(super) fn take(&self, until: Option<Instant>) -> Option<Vec<Event>> {
        let waiting = self
            .queue
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let nothing = |waiting: &mut Waiting| waiting.events.is_empty() && !waiting.closed;
        let changed = &self.queue.changed;
        let waiting = match until {
            None => changed
                .wait_while(waiting, nothing)
                .unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                let (waiting, outcome) = changed
                    .wait_timeout_while(waiting, left, nothing)
                    .unwrap_or_else(PoisonError::into_inner);
                if outcome.timed_out() {
                    return Some(Vec::new());
                }
                waiting
            }
        };
        let (mut waiting, _) = self
            .queue
            .changed
            .wait_timeout_while(waiting, LINGER, |waiting| {
                !waiting.closed && !waiting.urgent
            })
            .unwrap_or_else(PoisonError::into_inner);
        waiting.urgent = false;
        let events = std::mem::take(&mut waiting.events);
        (!events.is_empty()).then_some(events)
    }
}
