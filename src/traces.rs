//! What the store holds as lists and trees for people, and what goes on right now. Nobody looks: nothing is read, kept or counted.
//!
//! ```text
//!  admin ──question──► desk (a thread, while somebody looks) ──► index: all traces, what each amounts to
//!                        │  │                                      ▲
//!                        │  └──────► store::Reader ──rows──────────┘   the file, beside its writer, a few rows at a time
//!                        └─────────► Live ◄──sketches── capture's thread, while somebody looks
//! ```
//!
//! The first question starts the desk, and ten minutes without one end it. The index is made of the summaries that are written beside the
//! spans; spans themselves are read when a trace is looked at, or searched.

mod desk;
mod facts;
mod failure_sign;
mod index;
mod live;
mod pages;
mod query;
mod search;
mod written;

use std::collections::VecDeque;
use std::fmt;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use crate::span::{SpanId, TraceId};
use crate::store::{Reader, Store};

pub use crate::store::Unavailable;
pub use desk::{Changes, Form, Item, Outline, Since, around_spans as around_otlp};
pub use facts::Facts;
pub use index::PageCursor;
pub use live::Live;
pub use pages::{MOST_SPANS, MoreSpans, SpanCursor, SpanQuery};
pub use query::{Cursor, Filter, LIMIT, MOST, Query, Status};
pub use written::{Listed, Page, time};

use desk::Desk;

/// After so long without a question the index is dropped.
const IDLE: Duration = Duration::from_mins(10);
/// Questions that wait for the desk at most.
const WAITING: usize = 256;

/// What is asked, and how the answer gets back.
type Work = Box<dyn FnOnce(&mut Desk) + Send>;

/// The traces of one store. Clones share the desk.
#[derive(Clone)]
pub struct Traces {
    store: Arc<Store>,
    live: Arc<Live>,
    desk: Arc<Mutex<Option<SyncSender<Work>>>>,
}

impl Traces {
    /// The traces of `store`, and those that `live` knows.
    pub fn new(store: Arc<Store>, live: Arc<Live>) -> Self {
        Traces {
            store,
            live,
            desk: Arc::default(),
        }
    }

    /// A page of the list, the latest first.
    ///
    /// # Errors
    /// The store gives nothing now.
    pub async fn list(&self, query: Query) -> Result<Page, Unavailable> {
        self.live.look().await;
        self.ask(move |desk| desk.list(&query)).await
    }

    /// What a trace is made of, or a page of it; none of one that is not there.
    ///
    /// # Errors
    /// The store gives nothing now.
    pub async fn outline(
        &self,
        trace_id: TraceId,
        query: SpanQuery,
    ) -> Result<Option<Outline>, Unavailable> {
        self.live.look().await;
        self.ask(move |desk| desk.outline(trace_id, &query)).await
    }

    /// One span of it as JSON; none where it is not there.
    ///
    /// # Errors
    /// The store gives nothing now.
    pub async fn span(&self, trace: TraceId, span: SpanId) -> Result<Option<Bytes>, Unavailable> {
        self.live.look().await;
        self.ask(move |desk| desk.span(trace, span)).await
    }

    /// Some of the spans of an outline, each after a comma, and those that are left.
    ///
    /// # Errors
    /// The store gives nothing now.
    pub async fn spans(
        &self,
        items: VecDeque<Item>,
        form: Form,
    ) -> Result<(Bytes, VecDeque<Item>), Unavailable> {
        self.ask(move |desk| desk.spans(items, form)).await
    }

    /// What happened since, of what is wanted.
    ///
    /// # Errors
    /// The store gives nothing now.
    pub async fn changes(&self, since: Since) -> Result<Changes, Unavailable> {
        self.live.look().await;
        self.ask(move |desk| desk.changes(&since)).await
    }

    /// Two counters that change when there may be something new: of what is written, and of what goes on.
    pub fn news(&self) -> (watch::Receiver<u64>, watch::Receiver<u64>) {
        (self.store.written(), self.live.changed())
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Desk) -> Result<T, Unavailable> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.hand_over(Box::new(move |desk: &mut Desk| {
            // Whoever asked may have left.
            if !reply.is_closed() {
                let _ = reply.send(work(desk));
            }
        }))?;
        answer
            .await
            .unwrap_or_else(|_| Err(Unavailable("reading the traces failed".to_owned())))
    }

    fn hand_over(&self, mut work: Work) -> Result<(), Unavailable> {
        let busy = || Unavailable("too much is asked at once".to_owned());
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*desk {
            match open.try_send(work) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(_)) => return Err(busy()),
                Err(TrySendError::Disconnected(back)) => work = back,
            }
        }
        let open = self
            .open()
            .map_err(|error| Unavailable(error.to_string()))?;
        open.try_send(work).map_err(|_| busy())?;
        *desk = Some(open);
        Ok(())
    }

    /// Starts the desk's thread.
    fn open(&self) -> std::io::Result<SyncSender<Work>> {
        let (sender, questions) = sync_channel::<Work>(WAITING);
        let mut desk = Desk::new(Reader::new(Arc::clone(&self.store)), Arc::clone(&self.live));
        let own = Arc::downgrade(&self.desk);
        std::thread::Builder::new()
            .name("traces".to_owned())
            .spawn(move || {
                loop {
                    match questions.recv_timeout(IDLE) {
                        Ok(work) => work(&mut desk),
                        Err(RecvTimeoutError::Disconnected) => break,
                        Err(RecvTimeoutError::Timeout) => {
                            let Some(own) = own.upgrade() else { break };
                            let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
                            // A question may have come just now.
                            let Ok(work) = questions.try_recv() else {
                                *own = None;
                                break;
                            };
                            drop(own);
                            work(&mut desk);
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
