//! The way from the observers to one worker: a queue that nobody waits for to have room. All that is in it was counted against the budget
//! before it came: the facts of an exchange when it began, its bodies when they were copied.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::request_buffer::RequestBuffer;
use crate::exchange::{BudgetedBuffer, Exchange, RequestMeta, Reservation, ResponseHead};
use crate::redact::KnownSecrets;

/// How long events gather before the worker takes them: a wake-up for each would cost more than all of the copying. With what the store's
/// writer gathers it stays below the 20 ms that `kill -9` may cost.
const LINGER: Duration = Duration::from_millis(8);

/// An exchange began, or its request became whole after the worker had looked. These reach the sink before all other events, in their order.
#[derive(Clone)]
pub(super) struct StartedEvent {
    pub(super) meta: Arc<RequestMeta>,
    /// Nanoseconds of [`crate::clock`].
    pub(super) started_ns: u64,
    pub(super) request: Arc<RequestBuffer>,
}

/// A later observation of an exchange.
pub(super) enum CaptureEvent {
    ReplyPiece {
        meta: Arc<RequestMeta>,
        head: ResponseHead,
        /// The worker sets it at the first token: the times of later frames are not wanted.
        saw_token: Arc<AtomicBool>,
        piece: ReplyPiece,
    },
    /// An exchange is over.
    Settled {
        exchange: Box<Exchange>,
        last: ReplyPiece,
        /// Room for all of it but its bodies.
        facts: Reservation,
        /// The upstream may repeat them in an error. None where there was no room to keep it.
        secrets: Option<KnownSecrets>,
    },
}

/// Where a frame ends in the bytes of its piece, and how long after the exchange's beginning it came.
pub(super) type FrameTime = (usize, Duration);

/// Part of a reply.
pub(super) struct ReplyPiece {
    pub(super) bytes: BudgetedBuffer,
    /// Empty once the first token is known to have come.
    pub(super) frame_times: Vec<FrameTime>,
}

#[cfg(test)]
impl ReplyPiece {
    fn size_estimate(&self) -> usize {
        self.bytes.capacity() + self.frame_times.capacity() * size_of::<FrameTime>()
    }
}

#[derive(Default)]
pub(super) struct EventQueue {
    pending: Mutex<PendingEvents>,
    changed: Condvar,
}

/// The events that wait for the worker, in the order they came.
#[derive(Default)]
pub(super) struct PendingEvents {
    pub(super) started: Vec<StartedEvent>,
    pub(super) events: Vec<CaptureEvent>,
    /// The worker shall wake up although nothing was seen.
    is_nudged: bool,
    /// The worker shall not linger.
    is_flushed: bool,
    is_closed: bool,
}

impl PendingEvents {
    fn is_empty(&self) -> bool {
        self.started.is_empty() && self.events.is_empty() && !self.is_nudged
    }

    /// Bytes that are held, without those that the observers and the buffers of requests know of.
    #[cfg(test)]
    pub(super) fn size_estimate(&self) -> usize {
        let sizes = self.events.iter().map(|event| match event {
            CaptureEvent::ReplyPiece { piece, .. } => piece.size_estimate(),
            CaptureEvent::Settled { exchange, last, .. } => {
                let response = exchange.response.as_ref();
                size_of::<Exchange>()
                    + exchange.meta.size_estimate()
                    + exchange.request.size_estimate()
                    + response.map_or(0, ResponseHead::size_estimate)
                    + last.size_estimate()
            }
        });
        sizes.sum::<usize>()
            + self.started.capacity() * size_of::<StartedEvent>()
            + self.events.capacity() * size_of::<CaptureEvent>()
    }

    fn take(&mut self) -> PendingEvents {
        let is_closed = self.is_closed;
        let taken = std::mem::take(self);
        self.is_closed = is_closed;
        taken
    }
}

impl EventQueue {
    pub(super) fn push_started(&self, started: StartedEvent) {
        self.change(|pending| pending.started.push(started));
    }

    pub(super) fn push(&self, event: CaptureEvent) {
        self.change(|pending| pending.events.push(event));
    }

    /// Has the worker call its sink, though nothing was seen.
    pub(super) fn nudge(&self) {
        self.change(|pending| pending.is_nudged = true);
    }

    /// Has the worker take all events at once: an observer will soon be out of room.
    pub(super) fn flush(&self) {
        self.lock().is_flushed = true;
        self.changed.notify_one();
    }

    /// The worker ends after the events that wait.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// All that waits, some milliseconds after the first of it came; nothing at `until`. None once closed and empty.
    pub(super) fn take(&self, until: Option<Instant>) -> Option<PendingEvents> {
        let waits = |pending: &mut PendingEvents| pending.is_empty() && !pending.is_closed;
        let pending = self.lock();
        let pending = match until {
            None => self
                .changed
                .wait_while(pending, waits)
                .unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                let (pending, outcome) = self
                    .changed
                    .wait_timeout_while(pending, left, waits)
                    .unwrap_or_else(PoisonError::into_inner);
                if outcome.timed_out() {
                    return Some(PendingEvents::default());
                }
                pending
            }
        };
        let (mut pending, _) = self
            .changed
            .wait_timeout_while(pending, LINGER, |pending| {
                !pending.is_closed && !pending.is_flushed
            })
            .unwrap_or_else(PoisonError::into_inner);
        let taken = pending.take();
        (!taken.is_empty()).then_some(taken)
    }

    /// The beginnings since; none are waited for.
    pub(super) fn take_started(&self) -> Vec<StartedEvent> {
        std::mem::take(&mut self.lock().started)
    }

    /// See [`PendingEvents::size_estimate`].
    #[cfg(test)]
    pub(super) fn size_estimate(&self) -> usize {
        self.lock().size_estimate()
    }

    /// Only the first event has to wake the worker.
    fn change(&self, change: impl FnOnce(&mut PendingEvents)) {
        let mut pending = self.lock();
        let was_empty = pending.is_empty();
        change(&mut pending);
        drop(pending);
        if was_empty {
            self.changed.notify_one();
        }
    }

    /// Nothing that can panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, PendingEvents> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
