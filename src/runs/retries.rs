//! Attempts of one call become one span: it starts with the first attempt, and each failed one is an event on it.
//!
//! An SDK that repeats a request repeats its body, and counts in `x-stainless-retry-count` (OpenAI's SDKs, from 0). So a failure that such
//! an SDK would repeat is held back for its repetition: a request with the next count and the same body, path, credential and identity
//! that comes in afterwards. What is not repeated within the time that the upstream announced, or `runs.idle`, was the last attempt.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::FinishedSpan;
use super::hash::Map;
use crate::exchange::{CallKey, Exchange, ExchangeId, RetryAttempt};
use crate::span::exchange::span;
use crate::span::{Event, Key, Placement, Status, Value, key};

/// How much longer than an announced delay its repetition may take to come.
const GRACE: Duration = Duration::from_secs(10);
/// Bytes of exchanges held back; beyond them attempts are shown one by one.
const MAX_HELD: usize = 64 << 20;

/// Failed attempts that may be repeated.
#[derive(Debug)]
pub(super) struct Retries {
    idle: Duration,
    /// Waiting for their repetition, oldest first.
    held: Map<CallKey, VecDeque<Held>>,
    /// Being repeated, by the exchange that repeats them.
    claimed: Map<ExchangeId, Held>,
    bytes: usize,
    /// Exchanges that are told by a span by now.
    released: Vec<ExchangeId>,
    /// No later than when the first of `held` expires.
    next_expiry: Option<Instant>,
}

#[derive(Debug)]
struct Held {
    exchange: Arc<Exchange>,
    /// Where it would stand if it was the last attempt.
    place: Placement,
    /// The attempts before it.
    earlier: Vec<ExchangeId>,
    attempt: u32,
    until: Instant,
}

impl Retries {
    pub(super) fn new(idle: Duration) -> Self {
        Retries {
            idle,
            held: Map::default(),
            claimed: Map::default(),
            bytes: 0,
            released: Vec::new(),
            next_expiry: None,
        }
    }

    /// The attempt before is no longer waited for: it is being repeated. Telling it twice is telling it once.
    pub(super) fn claim(&mut self, retrying: &RetryAttempt) {
        if self.claimed.contains_key(&retrying.id) {
            return;
        }
        let Some(waiting) = self.held.get_mut(&retrying.key) else {
            return;
        };
        let is_repeated = |held: &Held| {
            held.attempt + 1 == retrying.attempt && held.exchange.ended_ns() <= retrying.started_ns
        };
        if let Some(held) = waiting
            .iter()
            .position(is_repeated)
            .and_then(|place| waiting.remove(place))
        {
            self.claimed.insert(retrying.id, held);
        }
        if waiting.is_empty() {
            self.held.remove(&retrying.key);
        }
    }

    /// An exchange is over, whose span stands at `place`.
    pub(super) fn settle(
        &mut self,
        exchange: Arc<Exchange>,
        mut place: Placement,
        now: Instant,
    ) -> Option<FinishedSpan> {
        let mut earlier = Vec::new();
        if let Some(before) = self.claimed.remove(&exchange.meta.id) {
            self.bytes = self.bytes.saturating_sub(before.exchange.weight());
            (place, earlier) = joined(before, place);
        }
        let fits = self.bytes + exchange.weight() <= MAX_HELD;
        let (Some(attempt), true) = (exchange.meta.retry, fits && exchange.is_repeatable()) else {
            self.released.extend(earlier);
            self.released.push(exchange.meta.id);
            return Some(FinishedSpan::Call { exchange, place });
        };
        self.bytes += exchange.weight();
        let until = now
            + exchange
                .announced_delay()
                .map_or(self.idle, |delay| self.idle.max(delay + GRACE));
        self.next_expiry = Some(self.next_expiry.map_or(until, |next| next.min(until)));
        self.held
            .entry(exchange.call_key())
            .or_default()
            .push_back(Held {
                exchange,
                place,
                earlier,
                attempt,
                until,
            });
        None
    }

    pub(super) fn expired(&mut self, now: Instant) -> Vec<FinishedSpan> {
        if self.next_expiry.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let mut made = Vec::new();
        self.next_expiry = None;
        self.held.retain(|_, waiting| {
            // Delays differ, so those that expire need not be the first.
            for held in std::mem::take(waiting) {
                if held.until <= now {
                    self.bytes = self.bytes.saturating_sub(held.exchange.weight());
                    made.push(held.made(&mut self.released));
                } else {
                    self.next_expiry = Some(
                        self.next_expiry
                            .map_or(held.until, |next| next.min(held.until)),
                    );
                    waiting.push_back(held);
                }
            }
            !waiting.is_empty()
        });
        made
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.next_expiry
    }

    pub(super) fn close(&mut self) -> Vec<FinishedSpan> {
        self.bytes = 0;
        self.next_expiry = None;
        let held = std::mem::take(&mut self.held).into_values().flatten();
        held.chain(std::mem::take(&mut self.claimed).into_values())
            .map(|held| held.made(&mut self.released))
            .collect()
    }

    /// Exchanges that were told by a span since this was asked last.
    pub(super) fn released(&mut self) -> Vec<ExchangeId> {
        std::mem::take(&mut self.released)
    }
}

impl Held {
    fn made(self, released: &mut Vec<ExchangeId>) -> FinishedSpan {
        released.extend(self.earlier);
        released.push(self.exchange.meta.id);
        FinishedSpan::Call {
            exchange: self.exchange,
            place: self.place,
        }
    }
}

/// Where a call stands whose earlier attempts were `before`, and which they are.
fn joined(before: Held, mut place: Placement) -> (Placement, Vec<ExchangeId>) {
    let event = failed_attempt(&before);
    place.start_ns = place.start_ns.min(before.place.start_ns);
    place.wall_offset_ns = before.place.wall_offset_ns;
    place.events = before.place.events;
    place.events.push(event);
    let mut earlier = before.earlier;
    earlier.push(before.exchange.meta.id);
    (place, earlier)
}

fn failed_attempt(held: &Held) -> Event {
    let span = span(&held.exchange);
    let mut attributes: Vec<(Key, Value)> = vec![(
        Cow::Borrowed(key::ATTEMPT),
        Value::Int(i64::from(held.attempt)),
    )];
    if let Status::Error(message) = span.status {
        attributes.push((Cow::Borrowed(key::ERROR_MESSAGE), Value::Text(message)));
    }
    let told = [
        key::STATUS_CODE,
        key::ERROR_TYPE,
        key::OUTCOME,
        key::EXCHANGE,
    ];
    attributes.extend(
        span.attributes
            .into_iter()
            .filter(|(name, _)| told.contains(&name.as_ref())),
    );
    Event {
        time_ns: held.place.wall_ns(held.exchange.ended_ns()),
        name: Cow::Borrowed("attempt failed"),
        attributes,
    }
}

#[cfg(test)]
mod tests;
