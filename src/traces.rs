//! Lists and trees of stored traces and of open runs, for people. Without viewers nothing is read or kept.
//!
//! ```text
//!  admin ──QueryJob──► QueryWorker (a thread, while there are queries) ──► TraceIndex: all traces, with the stats of each
//!                        │  │                                                 ▲
//!                        │  └──────► store::SpanReader ──rows─────────────────┘   some rows at a time, beside the store's writer
//!                        └─────────► LiveRegistry ◄──open spans── the capture workers, while somebody watches
//! ```
//!
//! The first query starts the worker; ten minutes without a query end it. The index is built from the summaries that the store writes
//! beside the spans. The spans themselves are read only for a trace page or a search.

mod export_lines;
mod failure_sign;
mod head;
mod index;
mod json;
mod live;
mod query;
mod query_worker;
mod search;
mod span_order;
mod stats;

use std::collections::VecDeque;
use std::fmt;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use crate::span::{SpanId, TraceId};
use crate::store::{SpanReader, Store};

pub(crate) use crate::store::Unavailable;
pub(crate) use export_lines::{WriteLinesError, write_lines};
pub(crate) use head::{AFTER_SPANS, before_spans, trace_head};
pub(crate) use json::TraceList;
pub(crate) use live::LiveRegistry;
pub(crate) use query::{LIMIT, MOST};
pub use query::{TraceFilter, TraceQuery};
pub use query_worker::SpanFormat;
pub(crate) use query_worker::{Changes, ChangesQuery, SpanRef, TracePage, otlp_frame};
pub(crate) use span_order::MOST_SPANS;
pub use span_order::SpanQuery;

use query_worker::QueryWorker;

/// After so long without a query the worker ends and the index is dropped.
const IDLE: Duration = Duration::from_mins(10);
/// Most queries that wait for the worker.
const MOST_WAITING: usize = 256;

/// A query that also sends its answer.
type QueryJob = Box<dyn FnOnce(&mut QueryWorker) + Send>;

/// The traces of one store. Clones share the worker.
#[derive(Clone)]
pub struct Traces {
    store: Arc<Store>,
    live: Arc<LiveRegistry>,
    worker: Arc<Mutex<Option<SyncSender<QueryJob>>>>,
}

impl Traces {
    /// Reads finished spans from `store` and open ones from `live`.
    pub fn new(store: Arc<Store>, live: Arc<LiveRegistry>) -> Self {
        Traces {
            store,
            live,
            worker: Arc::default(),
        }
    }

    /// A page of the list, the latest trace first.
    ///
    /// # Errors
    /// When the store cannot be read now.
    pub async fn list(&self, query: TraceQuery) -> Result<TraceList, Unavailable> {
        self.live.watch().await;
        self.run(move |worker| worker.list(&query)).await
    }

    /// A page of a trace; none where there is no such trace.
    ///
    /// # Errors
    /// When the store cannot be read now.
    pub async fn trace_page(
        &self,
        trace_id: TraceId,
        query: SpanQuery,
    ) -> Result<Option<TracePage>, Unavailable> {
        self.live.watch().await;
        self.run(move |worker| worker.trace_page(trace_id, &query))
            .await
    }

    /// One span as JSON; none where there is no such span.
    ///
    /// # Errors
    /// When the store cannot be read now.
    pub async fn span(&self, trace: TraceId, span: SpanId) -> Result<Option<Bytes>, Unavailable> {
        self.live.watch().await;
        self.run(move |worker| worker.span(trace, span)).await
    }

    /// The first of `spans` as bytes, each after a comma, and the spans that are left.
    ///
    /// # Errors
    /// When the store cannot be read now.
    pub async fn spans(
        &self,
        spans: VecDeque<SpanRef>,
        format: SpanFormat,
    ) -> Result<(Bytes, VecDeque<SpanRef>), Unavailable> {
        self.run(move |worker| worker.spans(spans, format)).await
    }

    /// The traces that changed.
    ///
    /// # Errors
    /// When the store cannot be read now.
    pub async fn changes(&self, query: ChangesQuery) -> Result<Changes, Unavailable> {
        self.live.watch().await;
        self.run(move |worker| worker.changes(&query)).await
    }

    /// Two counters that change when there may be news: of written spans, and of open runs.
    pub fn news(&self) -> (watch::Receiver<u64>, watch::Receiver<u64>) {
        (self.store.written(), self.live.changed())
    }

    async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&mut QueryWorker) -> Result<T, Unavailable> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (sender, answer) = oneshot::channel();
        self.enqueue(Box::new(move |worker: &mut QueryWorker| {
            // The client may have left.
            if !sender.is_closed() {
                let _ = sender.send(query(worker));
            }
        }))?;
        answer
            .await
            .unwrap_or_else(|_| Err(Unavailable("reading the traces failed".to_owned())))
    }

    fn enqueue(&self, mut job: QueryJob) -> Result<(), Unavailable> {
        let busy = || Unavailable("too much is asked at once".to_owned());
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(jobs) = &*worker {
            match jobs.try_send(job) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(_)) => return Err(busy()),
                Err(TrySendError::Disconnected(returned)) => job = returned,
            }
        }
        let jobs = self
            .start_worker()
            .map_err(|error| Unavailable(error.to_string()))?;
        jobs.try_send(job).map_err(|_| busy())?;
        *worker = Some(jobs);
        Ok(())
    }

    fn start_worker(&self) -> std::io::Result<SyncSender<QueryJob>> {
        let (sender, jobs) = sync_channel::<QueryJob>(MOST_WAITING);
        let reader = SpanReader::new(&self.store);
        let mut worker = QueryWorker::new(reader, Arc::clone(&self.live));
        let registered = Arc::downgrade(&self.worker);
        std::thread::Builder::new()
            .name("traces".to_owned())
            .spawn(move || {
                loop {
                    match jobs.recv_timeout(IDLE) {
                        Ok(job) => job(&mut worker),
                        Err(RecvTimeoutError::Disconnected) => break,
                        Err(RecvTimeoutError::Timeout) => {
                            let Some(registered) = registered.upgrade() else {
                                break;
                            };
                            let mut registered =
                                registered.lock().unwrap_or_else(PoisonError::into_inner);
                            // A job may have come just now.
                            let Ok(job) = jobs.try_recv() else {
                                *registered = None;
                                break;
                            };
                            drop(registered);
                            job(&mut worker);
                        }
                    }
                }
            })?;
        Ok(sender)
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Traces")
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}
