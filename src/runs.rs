//! Exchanges become what an operator thinks in. Each kind of evidence is a part of its own; so far there is one: attempts that an SDK
//! repeated are one call (`retries`).
//!
//! Plain data and plain functions of exchanges and times: one caller at a time, no clock, no sockets.

mod retries;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::capture::{Exchange, ExchangeId, Retrying};
use crate::span::exchange::{span, span_id};
use crate::span::{Place, Span, SpanId};

use retries::Retries;

/// What is known of calls that are not over yet.
#[derive(Debug)]
pub struct Runs {
    retries: Retries,
}

/// A span that is complete.
#[derive(Clone, Debug)]
pub enum Made {
    /// The span of an exchange, and where it stands.
    Call {
        /// The exchange; of a call that was tried several times, the last.
        exchange: Arc<Exchange>,
        /// Where its span stands.
        place: Place,
    },
    /// A span that is no exchange's.
    Span(Span),
}

impl Made {
    /// The span itself.
    pub fn span(&self) -> Span {
        match self {
            Made::Call { exchange, place } => span(exchange).placed(place),
            Made::Span(span) => span.clone(),
        }
    }

    /// The span's id.
    pub fn span_id(&self) -> SpanId {
        match self {
            Made::Call { exchange, .. } => span_id(exchange.opening.id),
            Made::Span(span) => span.span_id,
        }
    }
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
    pub fn settled(&mut self, exchange: Arc<Exchange>, now: Instant) -> Option<Made> {
        if let Some(retrying) = exchange.retrying() {
            self.retries.claim(&retrying);
        }
        self.retries.settle(exchange, now)
    }

    /// Spans for which nothing more is waited for at `now`.
    pub fn expired(&mut self, now: Instant) -> Vec<Made> {
        self.retries.expired(now)
    }

    /// When [`Runs::expired`] will have something to give, unless something happens before.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.retries.next_expiry()
    }

    /// Exchanges of which nothing more will be made, since this was asked last.
    pub fn released(&mut self) -> Vec<ExchangeId> {
        self.retries.released()
    }

    /// Everything that is left, at the end.
    pub fn close(&mut self) -> Vec<Made> {
        self.retries.close()
    }
}
