//! The heart: exchanges go through runs into the store, and are counted, in this order.
//!
//! ```text
//!  capture ──started, settled──► store (started, ended) ──► runs ──► store (spans, then: finished, names learned)
//!                                                            └─────► metrics, live snapshots
//! ```
//!
//! An exchange is finished only once its spans are in the store, so that a crash in between repeats it under the same ids.

mod live;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Instant;

use crate::capture::{ExchangeSink, catch_panic};
use crate::exchange::{CapturedBody, Exchange, Outcome, RequestMeta};
use crate::metrics::{Metrics, ModelCall};
use crate::openai::ChatRequest;
use crate::runs::{RunUpdate, Runs};
use crate::span::exchange::outcome;
use crate::store::{Recovered, Store};
use crate::traces::LiveRegistry;
use live::LiveSnapshots;

/// Takes exchanges from capture's threads, all those of one conversation from one thread.
pub(crate) struct Pipeline {
    runs: Runs,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    snapshots: Mutex<LiveSnapshots>,
}

impl Pipeline {
    /// A pipeline that knows no run yet; [`ExchangeSink::recover`] gives it the exchanges that the store found unfinished.
    pub(crate) fn new(
        runs: Runs,
        store: Arc<Store>,
        metrics: Arc<Metrics>,
        live: Arc<LiveRegistry>,
    ) -> Self {
        Pipeline {
            runs,
            store,
            metrics,
            snapshots: Mutex::new(LiveSnapshots::new(live)),
        }
    }

    fn recover_one(&self, found: Recovered) {
        match found {
            Recovered::Began(exchange) if exchange.meta.chat => {
                let Exchange {
                    meta,
                    started_ns,
                    request,
                    ..
                } = exchange;
                self.runs
                    .request_complete(meta, started_ns, request, Instant::now());
            }
            Recovered::Began(_) => {}
            Recovered::Ended(exchange) => {
                let exchange = Arc::new(exchange);
                // All others were written when they ended.
                if exchange.outcome == Outcome::Recovered {
                    self.store.ended(&exchange);
                }
                self.hand_over(self.runs.settled(exchange, Instant::now()));
            }
        }
    }

    /// Counts the chat completion that settled last.
    fn count(&self, exchange: &Exchange, grouped_model: Option<&str>) {
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
            exchange.request.with_request(&exchange.meta, model)
        };
        let grouped = grouped_model.map(Cow::Borrowed);
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

    /// In this order: an exchange is finished once its spans are in the store.
    fn hand_over(&self, update: RunUpdate) {
        for span in update.spans {
            self.store.add(span);
        }
        self.store.finished(update.finished);
        self.store.learned(update.learned);
        self.metrics.runs(self.runs.counts());
    }
}

impl ExchangeSink for Pipeline {
    fn recover(&self) {
        self.store.recover(|found| {
            catch_panic(|| self.recover_one(found));
        });
    }

    fn started(&self, meta: &Arc<RequestMeta>, started_ns: u64, body: Option<CapturedBody>) {
        self.store.started(meta, started_ns, body);
    }

    fn request_complete(&self, meta: Arc<RequestMeta>, started_ns: u64, body: CapturedBody) {
        self.runs
            .request_complete(meta, started_ns, body, Instant::now());
    }

    fn settled(&self, exchange: Exchange) {
        let reply = exchange.reply.as_ref();
        if exchange.request.is_shortened() || reply.is_some_and(|reply| reply.chat.cut) {
            self.metrics.capture_cut();
        }
        let exchange = Arc::new(exchange);
        self.store.ended(&exchange);
        let update = self.runs.settled(Arc::clone(&exchange), Instant::now());
        self.count(&exchange, update.model.as_deref());
        self.hand_over(update);
    }

    fn on_idle(&self, worker: usize) -> Option<Instant> {
        self.hand_over(self.runs.expire(worker, Instant::now()));
        let again = match self.snapshots.try_lock() {
            Ok(mut snapshots) => snapshots.refresh(&self.runs),
            Err(TryLockError::Poisoned(snapshots)) => snapshots.into_inner().refresh(&self.runs),
            // Another worker looks at all runs just now.
            Err(TryLockError::WouldBlock) => None,
        };
        [self.runs.next_expiry(worker), again]
            .into_iter()
            .flatten()
            .min()
    }

    fn close(&self) {
        self.hand_over(self.runs.close());
    }
}
