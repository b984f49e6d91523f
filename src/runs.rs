//! Exchanges become what an operator thinks in. Each kind of evidence is a part of its own; so far there is one: attempts that an SDK
//! repeated are one call (`retries`).
//!
//! Plain data and plain functions of exchanges and times: one caller at a time, no clock, no sockets.

mod retries;

use std::time::{Duration, Instant};

use crate::capture::worker::Reading;
use crate::capture::{Exchange, Retrying};
use crate::span::Span;
use crate::span::exchange::span;

use retries::Retries;

/// What is known of calls that are not over yet.
#[derive(Debug)]
pub struct Runs {
    retries: Retries,
}

impl Runs {
    /// Knows nothing yet. `idle` is how long something that could go on is waited for.
    pub fn new(idle: Duration) -> Self {
        Runs {
            retries: Retries::new(idle),
        }
    }

    /// A request that an SDK says it repeats has come in.
    pub fn retrying(&mut self, retrying: &Retrying) {
        self.retries.claim(retrying);
    }

    /// An exchange is over. Gives its span, unless more of the same call may follow.
    pub fn settled(
        &mut self,
        exchange: &Exchange,
        reading: Option<&Reading>,
        now: Instant,
    ) -> Option<Span> {
        if let Some(retrying) = exchange.retrying() {
            self.retries.claim(&retrying);
        }
        self.retries.settle(exchange, span(exchange, reading), now)
    }

    /// Spans for which nothing more is waited for at `now`.
    pub fn expired(&mut self, now: Instant) -> Vec<Span> {
        self.retries.expired(now)
    }

    /// When [`Runs::expired`] will have something to give, unless something happens before.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.retries.next_expiry()
    }

    /// Everything that is left, at the end.
    pub fn close(&mut self) -> Vec<Span> {
        self.retries.close()
    }
}
