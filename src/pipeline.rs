//! The heart: exchanges go through runs into the store, and are counted, in this order.
//!
//! ```text
//!  capture ──► exchange ──► store (it ended) ──► runs ──► store (spans, then: done with, names learned)
//!                                                 └─────► metrics, live snapshots
//! ```
//!
//! An exchange is done with only once its spans are in the store, so that a crash in between repeats it under the same ids.

mod live;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use crate::capture::worker::{self, Sink};
use crate::exchange::{CapturedBody, Exchange, Outcome, RequestMeta};
use crate::metrics::{Metrics, ModelCall};
use crate::openai::ChatRequest;
use crate::runs::{FinishedSpan, Runs};
use crate::span::exchange::outcome;
use crate::store::{Recovered, Store};
use crate::traces::Live;
use live::LiveSnapshots;

/// Takes exchanges from capture, one at a time, on capture's thread.
pub struct Pipeline {
    runs: Runs,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    snapshots: LiveSnapshots,
}

impl Pipeline {
    /// A pipeline that knows no run yet; [`Sink::begin`] gives it what the store found unfinished.
    pub fn new(runs: Runs, store: Arc<Store>, metrics: Arc<Metrics>, live: Arc<Live>) -> Self {
        Pipeline {
            runs,
            store,
            metrics,
            snapshots: LiveSnapshots::new(live),
        }
    }

    fn ask(&mut self, meta: Arc<RequestMeta>, started_ns: u64, body: CapturedBody) {
        self.runs.asked(meta, started_ns, body, Instant::now());
    }

    fn recover(&mut self, found: Recovered) {
        match found {
            Recovered::Began(exchange) if exchange.meta.chat => {
                self.ask(exchange.meta, exchange.started_ns, exchange.request);
            }
            Recovered::Began(_) => {}
            Recovered::Ended(exchange) => {
                let exchange = Arc::new(exchange);
                // All others were written when they ended.
                if exchange.outcome == Outcome::Recovered {
                    self.store.ended(&exchange);
                }
                self.settle(exchange);
            }
        }
    }

    fn settle(&mut self, exchange: Arc<Exchange>) {
        let made = self.runs.settled(exchange, Instant::now());
        self.hand_over(made);
    }

    /// Counts the chat completion that settled last.
    fn count(&self, exchange: &Exchange) {
        if !exchange.meta.chat {
            return;
        }
        let reply = exchange.reply.as_ref();
        // Of an exchange that was not grouped, nobody has read the request yet.
        let read_now = || {
            let model = |request: Option<&ChatRequest<'_>>| {
                let model = request?.model.as_deref()?;
                Some(model.to_owned())
            };
            exchange.request.asks(&exchange.meta, model)
        };
        let grouped = self.runs.asked_model().map(Cow::Borrowed);
        let model = grouped.or_else(|| read_now().map(Cow::Owned));
        self.metrics.model_call(&ModelCall {
            model: model.as_deref(),
            outcome: outcome(exchange),
            usage: reply.and_then(|reply| reply.chat.usage),
            first_token: reply
                .and_then(|reply| reply.first_token)
                .filter(|_| exchange.is_streamed()),
        });
    }

    /// In this order: an exchange is done with once its spans are in the store.
    fn hand_over(&mut self, made: Vec<FinishedSpan>) {
        for made in made {
            self.store.add(made);
        }
        self.store.released(self.runs.released());
        self.store.learned(self.runs.learned());
        self.metrics.runs(self.runs.counts());
    }
}

impl Sink for Pipeline {
    fn begin(&mut self) {
        let store = Arc::clone(&self.store);
        store.recover(|found| {
            worker::unharmed(|| self.recover(found));
        });
    }

    fn asked(&mut self, meta: Arc<RequestMeta>, started_ns: u64, body: CapturedBody) {
        self.ask(meta, started_ns, body);
    }

    fn settled(&mut self, exchange: Exchange) {
        let reply = exchange.reply.as_ref();
        if exchange.request.is_shortened() || reply.is_some_and(|reply| reply.chat.cut) {
            self.metrics.capture_cut();
        }
        let exchange = Arc::new(exchange);
        self.store.ended(&exchange);
        let made = self.runs.settled(Arc::clone(&exchange), Instant::now());
        self.count(&exchange);
        self.hand_over(made);
    }

    fn rest(&mut self) -> Option<Instant> {
        let made = self.runs.expired(Instant::now());
        self.hand_over(made);
        let again = self.snapshots.refresh(&self.runs);
        [self.runs.next_expiry(), again].into_iter().flatten().min()
    }

    fn close(&mut self) {
        let made = self.runs.close();
        self.hand_over(made);
    }
}
