//! Attempts of one call become one span: it starts with the first attempt, and each failed one is an event on it.
//!
//! An SDK that repeats a request repeats its body, and counts in `x-stainless-retry-count` (OpenAI's SDKs, from 0). So a failure that such
//! an SDK would repeat is held back for its repetition: a request with the next count and the same body, path, credential and identity
//! that comes in afterwards. A failure that is not repeated within the time that the upstream announced, or `runs.idle`, was the last attempt.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::call::CallId;
use super::finished::FinishedSpan;
use super::text_hash::Map;
use crate::exchange::{CallKey, CapturedBody, Exchange, ExchangeId, RequestMeta};
use crate::span::exchange::span;
use crate::span::{AttributeKey, Placement, SpanEvent, Status, Value, key};

/// How much longer than an announced delay its repetition may take to come.
const GRACE: Duration = Duration::from_secs(10);
/// Most bytes of all exchanges that are held back. Beyond it attempts are exported one by one.
const MAX_HELD: usize = 64 << 20;

/// The bytes of all exchanges that are held back, in all conversations.
#[derive(Debug, Default)]
pub(super) struct HeldBytes(AtomicUsize);

/// The failed attempts of one conversation.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Those that may be repeated, oldest first.
    failed: Map<CallKey, VecDeque<FailedAttempt>>,
    /// Those that are being repeated, by the exchange that repeats them.
    claimed: Map<ExchangeId, (CallKey, FailedAttempt)>,
    /// The keys of repetitions under way that claimed nothing yet.
    keys: Map<ExchangeId, CallKey>,
    /// No later than when the first held attempt expires.
    next_expiry: Option<Instant>,
}

#[derive(Debug)]
struct FailedAttempt {
    number: u32,
    ended_ns: u64,
    /// Its call, where it was grouped and its run is known.
    call: Option<CallId>,
    /// None where its span was exported.
    held: Option<HeldAttempt>,
}

/// An exchange that is held back, and its span should no repetition come.
#[derive(Debug)]
struct HeldAttempt {
    exchange: Arc<Exchange>,
    place: Placement,
    /// The attempts before it.
    earlier: Vec<ExchangeId>,
    bytes: usize,
    until: Instant,
}

/// A span that is complete, with all its attempts.
#[derive(Debug)]
pub(super) struct FinishedCall {
    pub(super) span: FinishedSpan,
    pub(super) exchanges: Vec<ExchangeId>,
}

/// What becomes of an exchange that ended.
#[derive(Debug)]
pub(super) enum SettledAttempt {
    /// It was the last attempt.
    Last(FinishedCall),
    /// It failed, and may be repeated until then.
    Held(Instant),
}

impl HeldBytes {
    fn reserve(&self, bytes: usize) -> bool {
        let grown = |held: usize| held.checked_add(bytes).filter(|held| *held <= MAX_HELD);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
            .is_ok()
    }

    fn release(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Attempts {
    /// Claims the failed attempt that a request repeats, if it says that it is a repetition. May be called again as long as nothing is claimed.
    pub(super) fn claim(&mut self, meta: &RequestMeta, started_ns: u64, body: &CapturedBody) {
        let Some(number) = meta.retry.filter(|number| *number > 0) else {
            return;
        };
        // Without a candidate the body need not be hashed.
        if self.failed.is_empty() || self.claimed.contains_key(&meta.id) {
            return;
        }
        let key = *self
            .keys
            .entry(meta.id)
            .or_insert_with(|| CallKey::of(meta, body));
        let Some(waiting) = self.failed.get_mut(&key) else {
            return;
        };
        let is_repeated =
            |failed: &FailedAttempt| failed.number == number - 1 && failed.ended_ns <= started_ns;
        let place = waiting.iter().position(is_repeated);
        if let Some(failed) = place.and_then(|place| waiting.remove(place)) {
            self.keys.remove(&meta.id);
            self.claimed.insert(meta.id, (key, failed));
        }
        if waiting.is_empty() {
            self.failed.remove(&key);
        }
    }

    /// The call that an exchange repeats.
    pub(super) fn repeated_call(&self, exchange: ExchangeId) -> Option<CallId> {
        self.claimed.get(&exchange)?.1.call
    }

    /// An exchange ended, whose span stands at `place`. Gives the key under which its `call` waits for a repetition.
    pub(super) fn settle(
        &mut self,
        exchange: &Arc<Exchange>,
        place: Placement,
        call: Option<CallId>,
        held_bytes: &HeldBytes,
        (idle, now): (Duration, Instant),
    ) -> (SettledAttempt, Option<CallKey>) {
        let id = exchange.meta.id;
        let (key, before) = match self.claimed.remove(&id) {
            Some((key, before)) => (Some(key), before.held),
            None => (self.keys.remove(&id), None),
        };
        let (place, earlier) = match before {
            Some(before) => {
                held_bytes.release(before.bytes);
                before.joined(place)
            }
            None => (place, Vec::new()),
        };
        let mut attempt = HeldAttempt {
            exchange: Arc::clone(exchange),
            place,
            earlier,
            bytes: 0,
            until: now,
        };
        let repeatable = exchange.meta.retry.filter(|_| exchange.is_repeatable());
        let Some(number) = repeatable else {
            return (SettledAttempt::Last(attempt.finish()), None);
        };
        let key = key.unwrap_or_else(|| CallKey::of(&exchange.meta, &exchange.request));
        attempt.bytes = exchange.size_estimate();
        let delay = exchange.announced_delay();
        let until = now + delay.map_or(idle, |delay| idle.max(delay + GRACE));
        attempt.until = until;
        let (settled, held) = if held_bytes.reserve(attempt.bytes) {
            self.next_expiry = Some(self.next_expiry.map_or(until, |next| next.min(until)));
            (SettledAttempt::Held(until), Some(attempt))
        } else {
            (SettledAttempt::Last(attempt.finish()), None)
        };
        if held.is_some() || call.is_some() {
            self.failed
                .entry(key)
                .or_default()
                .push_back(FailedAttempt {
                    number,
                    ended_ns: exchange.ended_ns(),
                    call,
                    held,
                });
        }
        (settled, call.map(|_| key))
    }

    /// The attempts that were not repeated in time.
    pub(super) fn expire(&mut self, now: Instant, held_bytes: &HeldBytes) -> Vec<FinishedCall> {
        if self.next_expiry.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let mut finished = Vec::new();
        let mut next: Option<Instant> = None;
        self.failed.retain(|_, waiting| {
            waiting.retain_mut(|failed| {
                // Delays differ, so those that expire need not be the first.
                if let Some(held) = failed.held.take_if(|held| held.until <= now) {
                    held_bytes.release(held.bytes);
                    finished.push(held.finish());
                }
                if let Some(held) = &failed.held {
                    next = Some(next.map_or(held.until, |next| next.min(held.until)));
                }
                failed.held.is_some() || failed.call.is_some()
            });
            !waiting.is_empty()
        });
        self.next_expiry = next;
        finished
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.next_expiry
    }

    /// All attempts that are held back.
    pub(super) fn close(&mut self, held_bytes: &HeldBytes) -> Vec<FinishedCall> {
        self.next_expiry = None;
        let failed = std::mem::take(&mut self.failed).into_values().flatten();
        let claimed = std::mem::take(&mut self.claimed).into_values();
        failed
            .chain(claimed.map(|(_, failed)| failed))
            .filter_map(|failed| failed.held)
            .map(|held| {
                held_bytes.release(held.bytes);
                held.finish()
            })
            .collect()
    }

    /// A call is not known any more. Its attempt may still be repeated.
    pub(super) fn forget(&mut self, key: &CallKey, call: CallId) {
        let Some(waiting) = self.failed.get_mut(key) else {
            return;
        };
        waiting.retain_mut(|failed| {
            failed.call.take_if(|known| *known == call);
            failed.held.is_some() || failed.call.is_some()
        });
        if waiting.is_empty() {
            self.failed.remove(key);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.failed.is_empty() && self.claimed.is_empty()
    }
}

impl HeldAttempt {
    fn finish(self) -> FinishedCall {
        let mut exchanges = self.earlier;
        exchanges.push(self.exchange.meta.id);
        FinishedCall {
            span: FinishedSpan::Call {
                exchange: self.exchange,
                place: self.place,
            },
            exchanges,
        }
    }

    /// The placement of a call whose earlier attempts end with this one, and these attempts.
    fn joined(self, mut place: Placement) -> (Placement, Vec<ExchangeId>) {
        let event = self.failure();
        place.start_steady_ns = place.start_steady_ns.min(self.place.start_steady_ns);
        place.wall_offset_ns = self.place.wall_offset_ns;
        place.events = self.place.events;
        place.events.push(event);
        let mut earlier = self.earlier;
        earlier.push(self.exchange.meta.id);
        (place, earlier)
    }

    fn failure(&self) -> SpanEvent {
        let span = span(&self.exchange);
        let number = self.exchange.meta.retry.unwrap_or_default();
        let mut attributes: Vec<(AttributeKey, Value)> =
            vec![(Cow::Borrowed(key::ATTEMPT), Value::Int(i64::from(number)))];
        if let Status::Error(message) = span.status {
            attributes.push((Cow::Borrowed(key::ERROR_MESSAGE), Value::Text(message)));
        }
        let kept = [
            key::STATUS_CODE,
            key::ERROR_TYPE,
            key::OUTCOME,
            key::EXCHANGE,
        ];
        attributes.extend(
            span.attributes
                .into_iter()
                .filter(|(name, _)| kept.contains(&name.as_ref())),
        );
        SpanEvent {
            time_ns: self.place.wall_ns(self.exchange.ended_ns()),
            name: Cow::Borrowed("attempt failed"),
            attributes,
        }
    }
}

#[cfg(test)]
mod tests;
