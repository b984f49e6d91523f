//! The observers of exchanges: bytes within limits, times, outcome. What they saw becomes an [`Exchange`](crate::exchange::Exchange), exactly
//! once.
//!
//! ```text
//!  client's path                      ours, one thread per queue
//!  RequestObserver  ─► RequestBuffer ─┐
//!                                     ├─► EventQueue ─► Worker ─► ExchangeSink: started, settled
//!  ResponseObserver ─► pieces ────────┘                   └─ ReplyAssembly
//! ```
//!
//! Observers live on the client's path, so they only copy. Copies go to a queue in pieces, and its worker is woken once for many. All events
//! of one exchange go to one queue, chosen by who asks. Every byte that is held counts against one [`Budget`]. Beyond it content is left out
//! of spans, visibly. An exchange that begins when there is no room even for its facts is not observed, and counted as dropped.

mod observers;
mod queue;
mod reply_assembly;
mod request_buffer;
#[cfg(test)]
pub(crate) mod tests;
mod worker;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::clock::{Clock, Moment};
use crate::exchange::{Budget, RequestMeta};
use queue::EventQueue;

pub(crate) use observers::{RequestObserver, ResponseObserver, kept_header};
pub use worker::ExchangeSink;
pub(crate) use worker::Workers;
pub(crate) use worker::catch_panic;

/// Between two warnings of exchanges that are dropped.
const WARN_EVERY: Duration = Duration::from_mins(1);

/// How exchanges are observed.
pub struct CaptureSettings {
    /// Bounds all that is held of exchanges until the sink has them.
    pub budget: Arc<Budget>,
    /// How many threads work, at least 1.
    pub workers: usize,
    /// Exchanges of which this gives the same reach the sink from one thread, in their order.
    pub partition: fn(&RequestMeta) -> u64,
    /// The last moment of an earlier process that left exchanges unfinished, whose times go on.
    pub last_moment: Option<Moment>,
    /// Called on the client's path for each exchange that is not observed, for there is no room for it.
    pub on_dropped: Box<dyn Fn() + Send + Sync>,
}

/// Observes exchanges. Clones share queues and budget.
#[derive(Clone)]
pub struct Capture(Arc<CaptureState>);

struct CaptureState {
    queues: Arc<[Arc<EventQueue>]>,
    budget: Arc<Budget>,
    partition: fn(&RequestMeta) -> u64,
    clock: Clock,
    on_dropped: Box<dyn Fn() + Send + Sync>,
    last_warning: Mutex<Option<Instant>>,
}

impl Capture {
    /// Starts the threads that give `sink` what is observed.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(
        settings: CaptureSettings,
        sink: impl ExchangeSink,
    ) -> io::Result<(Self, Workers)> {
        let capture = Capture::new(settings);
        let workers = Workers::start(&capture.0.queues, &capture.0.budget, Arc::new(sink))?;
        Ok((capture, workers))
    }

    /// One without threads.
    fn new(settings: CaptureSettings) -> Self {
        let queues = std::iter::repeat_with(Arc::default);
        Capture(Arc::new(CaptureState {
            queues: queues.take(settings.workers.max(1)).collect(),
            budget: settings.budget,
            partition: settings.partition,
            clock: Clock::new(Instant::now(), SystemTime::now(), settings.last_moment),
            on_dropped: settings.on_dropped,
            last_warning: Mutex::default(),
        }))
    }

    /// Observes an exchange that begins now. `request_length` is the `content-length` of its request.
    pub fn open(
        &self,
        mut meta: RequestMeta,
        request_length: Option<u64>,
    ) -> (RequestObserver, ResponseObserver) {
        let state = &*self.0;
        let Some(facts) = observers::reserve(&state.budget, &meta) else {
            state.drop_one();
            return (RequestObserver::nothing(), ResponseObserver::nothing());
        };
        let queue = Arc::clone(state.queue_of(&meta));
        let started = Instant::now();
        let moment = state.clock.read(started, SystemTime::now());
        meta.wall_offset_ns = moment.wall_offset_ns;
        observers::observe(
            queue,
            facts,
            Arc::clone(&state.budget),
            Arc::new(meta),
            (started, moment.steady_ns),
            request_length,
        )
    }

    /// Has every worker call [`ExchangeSink::on_idle`] soon, though nothing was seen.
    pub fn nudge(&self) {
        self.0.queues.iter().for_each(|queue| queue.nudge());
    }
}

impl CaptureState {
    fn queue_of(&self, meta: &RequestMeta) -> &Arc<EventQueue> {
        let [queue] = &*self.queues else {
            let count = self.queues.len() as u64;
            let index = usize::try_from((self.partition)(meta) % count);
            return &self.queues[index.unwrap_or_default()];
        };
        queue
    }

    fn drop_one(&self) {
        (self.on_dropped)();
        let mut last = self
            .last_warning
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= WARN_EVERY) {
            *last = Some(Instant::now());
            tracing::warn!(
                "calls are not traced now, for capture.max_memory is taken; spangate_capture_dropped_total counts them"
            );
        }
    }
}
