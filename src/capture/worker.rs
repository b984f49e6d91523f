//! The threads that read the copies. Each assembles the replies of its exchanges and gives every finished exchange, with its reply, to
//! the [`ExchangeSink`].
//!
//! A defect here costs the content of one span: panics are caught for each exchange, and the sink gets the exchange all the same.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::queue::{CaptureEvent, EventQueue, PendingEvents, ReplyPiece, StartedEvent};
use super::reply_assembly::ReplyAssembly;
use crate::background;
use crate::exchange::{
    Budget, CapturedBody, Exchange, ExchangeId, Outcome, ParsedReply, RequestMeta, ResponseHead,
};

/// While a worker reads replies, it hands on the exchanges that began at least this often.
const STARTED_EVERY: Duration = Duration::from_millis(4);

/// Where observations go. All workers share it; the events of one exchange come from one worker, in their order.
pub trait ExchangeSink: Send + Sync + 'static {
    /// Called once, before anything else: exchanges of an earlier process that did not end come back.
    fn recover(&self);

    /// An exchange began, at `started_ns` of [`crate::clock`]. It comes without a body where the request is not whole yet, and a second time
    /// with it once the request is. Called also while exchanges come back.
    fn started(&self, meta: &Arc<RequestMeta>, started_ns: u64, body: Option<CapturedBody>);

    /// The request of an exchange that began is whole. Comes after all beginnings that were seen by then.
    fn request_complete(&self, meta: Arc<RequestMeta>, started_ns: u64, body: CapturedBody);

    /// An exchange is over. Exchanges of one worker come in the order they ended.
    fn settled(&self, exchange: Exchange);

    /// The worker of this number, from 0, has handed on all that it saw. Gives when this should be called again, whatever happens.
    fn on_idle(&self, worker: usize) -> Option<Instant>;

    /// Called once, after all workers have ended.
    fn close(&self);
}

#[cfg(test)]
impl<F: Fn(Exchange) + Send + Sync + 'static> ExchangeSink for F {
    fn recover(&self) {}

    fn started(&self, _: &Arc<RequestMeta>, _: u64, _: Option<CapturedBody>) {}

    fn request_complete(&self, _: Arc<RequestMeta>, _: u64, _: CapturedBody) {}

    fn settled(&self, exchange: Exchange) {
        self(exchange);
    }

    fn on_idle(&self, _: usize) -> Option<Instant> {
        None
    }

    fn close(&self) {}
}

/// The threads; they end with [`Workers::finish`].
pub struct Workers {
    queues: Arc<[Arc<EventQueue>]>,
    threads: Vec<JoinHandle<()>>,
    sink: Arc<dyn ExchangeSink>,
}

impl Workers {
    /// One thread for each queue.
    pub(super) fn start(
        queues: &Arc<[Arc<EventQueue>]>,
        budget: &Arc<Budget>,
        sink: Arc<dyn ExchangeSink>,
    ) -> io::Result<Self> {
        let recovered = Arc::new(OnceLock::new());
        let mut workers = Workers {
            queues: Arc::clone(queues),
            threads: Vec::with_capacity(queues.len()),
            sink,
        };
        let (sink, is_recovered) = (Arc::clone(&workers.sink), Arc::clone(&recovered));
        let recovery = background::spawn("recovery", move || {
            catch_panic(|| sink.recover());
            is_recovered.get_or_init(|| ());
        });
        workers.threads.push(recovery?);
        for (number, queue) in queues.iter().enumerate() {
            let recovered = Arc::clone(&recovered);
            let mut worker = Worker::new(number, Arc::clone(budget), Arc::clone(&workers.sink));
            let queue = Arc::clone(queue);
            let work = move || {
                worker.wait_for_recovery(&queue, &recovered);
                worker.run(&queue);
            };
            let thread = background::spawn(&format!("capture-{number}"), work);
            match thread {
                Ok(thread) => workers.threads.push(thread),
                Err(error) => {
                    workers.close_queues();
                    return Err(error);
                }
            }
        }
        Ok(workers)
    }

    fn close_queues(&self) {
        self.queues.iter().for_each(|queue| queue.close());
    }

    /// Waits until everything that was observed has reached the sink. Call it when all observers are gone.
    pub fn finish(self) {
        self.close_queues();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("the capture thread ended by a panic; spans were lost");
            }
        }
        catch_panic(|| self.sink.close());
    }
}

/// A request, when its exchange began, and its body.
type CompleteRequest = (Arc<RequestMeta>, u64, CapturedBody);

/// The state of one thread.
pub(super) struct Worker {
    number: usize,
    budget: Arc<Budget>,
    sink: Arc<dyn ExchangeSink>,
    /// None of a reply that could not be read. Boxed, for each piece takes one out and puts it back.
    replies: HashMap<ExchangeId, Option<Box<ReplyAssembly>>>,
}

impl Worker {
    pub(super) fn new(number: usize, budget: Arc<Budget>, sink: Arc<dyn ExchangeSink>) -> Self {
        Worker {
            number,
            budget,
            sink,
            replies: HashMap::new(),
        }
    }

    /// Hands on beginnings until all exchanges of an earlier process came back: the next crash must not lose them.
    fn wait_for_recovery(&self, queue: &EventQueue, recovered: &OnceLock<()>) {
        let mut requests = Vec::new();
        while recovered.get().is_none() {
            requests.extend(self.hand_on_started(queue.take_started()));
            std::thread::park_timeout(STARTED_EVERY);
        }
        self.complete(requests);
    }

    fn run(&mut self, queue: &EventQueue) {
        let mut until = self.on_idle();
        while let Some(pending) = queue.take(until) {
            self.work_off(pending, queue);
            until = self.on_idle();
        }
    }

    pub(super) fn work_off(&mut self, pending: PendingEvents, queue: &EventQueue) {
        self.started(pending.started);
        let mut looked = Instant::now();
        for event in pending.events {
            self.handle(event);
            if looked.elapsed() >= STARTED_EVERY {
                self.started(queue.take_started());
                looked = Instant::now();
            }
        }
    }

    /// Bytes of the replies under way.
    #[cfg(test)]
    pub(super) fn size_estimate(&self) -> usize {
        let replies = self.replies.values().flatten();
        replies.map(|reply| reply.size_estimate()).sum()
    }

    fn on_idle(&self) -> Option<Instant> {
        catch_panic(|| self.sink.on_idle(self.number)).flatten()
    }

    fn started(&self, started: Vec<StartedEvent>) {
        let requests = self.hand_on_started(started);
        self.complete(requests);
    }

    /// Returns the requests that are whole.
    fn hand_on_started(&self, started: Vec<StartedEvent>) -> Vec<CompleteRequest> {
        let mut requests = Vec::new();
        for event in started {
            catch_panic(|| {
                let body = event.request.whole_or_await();
                let (meta, started_ns) = (event.meta, event.started_ns);
                self.sink.started(&meta, started_ns, body.clone());
                requests.extend(body.map(|body| (meta, started_ns, body)));
            });
        }
        requests
    }

    fn complete(&self, requests: Vec<CompleteRequest>) {
        for (meta, started_ns, body) in requests {
            catch_panic(|| self.sink.request_complete(meta, started_ns, body));
        }
    }

    fn handle(&mut self, event: CaptureEvent) {
        match event {
            CaptureEvent::ReplyPiece {
                meta,
                head,
                saw_token,
                piece,
            } => {
                let assembly = self.read(&meta, &head, &piece);
                if assembly.as_ref().is_some_and(|reply| reply.saw_token()) {
                    saw_token.store(true, Ordering::Relaxed);
                }
                self.replies.insert(meta.id, assembly);
            }
            CaptureEvent::Settled {
                mut exchange,
                last,
                facts,
                secrets,
            } => {
                let meta = Arc::clone(&exchange.meta);
                exchange.reply = exchange.response.as_ref().map(|head| {
                    let assembly = self.read(&meta, head, &last);
                    let reply = assembly.and_then(|reply| catch_panic(|| reply.finish()));
                    reply.unwrap_or_else(ParsedReply::unreadable)
                });
                self.replies.remove(&meta.id);
                let is_hidden = match secrets {
                    Some(secrets) => catch_panic(|| exchange.hide(&secrets)).is_some(),
                    None => !exchange.may_repeat_secrets(),
                };
                if !is_hidden {
                    exchange.reply = None;
                    exchange.response = None;
                    exchange.outcome =
                        Outcome::Broke("what the upstream answered is not shown".to_owned());
                }
                if catch_panic(|| exchange.request.release_budget()).is_none() {
                    exchange.request = CapturedBody::new(Bytes::new(), true);
                }
                catch_panic(|| self.sink.settled(*exchange));
                drop(facts);
            }
        }
    }

    /// The reply of an exchange, read on; none where it could not be read, now or before: bytes after a gap mean nothing.
    fn read(
        &mut self,
        meta: &RequestMeta,
        head: &ResponseHead,
        piece: &ReplyPiece,
    ) -> Option<Box<ReplyAssembly>> {
        let budget = &self.budget;
        let begin = || Some(Box::new(ReplyAssembly::new(meta, head, budget)));
        let mut assembly = self.replies.remove(&meta.id).unwrap_or_else(begin)?;
        catch_panic(move || {
            assembly.push(piece);
            assembly
        })
    }
}

/// The result of `work`; none where it panics, and then everything that it owned is dropped.
pub(crate) fn catch_panic<T>(work: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(work));
    if result.is_err() {
        tracing::error!(
            "reading a copy panicked; its span lacks content. Please report this with the panic's message"
        );
    }
    result.ok()
}
