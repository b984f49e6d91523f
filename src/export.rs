//! Finished spans reach Respan: batched, posted, tried again, and settled in the store.
//!
//! ```text
//!  store ──take──► batch ──encode──► post ──► Respan
//!    ▲                                │
//!    │          accepted, refused ◄───┼──► not now: wait and post the same again
//!    └──────────── settle ◄───────────┘    too large, one is bad: halve, and post each half
//! ```
//!
//! One task takes batches. Each batch has a task that ends when all its spans are settled. At most [`POSTS`] posts are under way and at most
//! [`BATCHES`] batches are out of the store. So a post that hangs or is refused again and again stops no other, and memory stays bounded.
//!
//! There is no limit on how long a span is tried: the store's bound decides. Spans that fail alone, over and over, are set aside in the store. A
//! task of their own tries them one at a time, so that even many of them leave the places of others free. Where the address or the key is wrong,
//! nothing is given up, and one post at a time asks whether that is still so.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::{HeaderValue, Uri};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::span::Span;
use crate::store::{Batch, Store};

mod delivery;
mod gate;
mod health;
pub(crate) mod otlp;
mod post;
pub(crate) mod respan;
#[cfg(test)]
mod tests;

pub(crate) use health::ExportState;
pub use otlp::OtlpEncoding;

/// The most spans of one post, as in OpenTelemetry's SDKs.
pub(crate) const BATCH_SPANS: usize = 512;

/// About how many bytes of spans make one post; a larger span goes alone (Respan takes 20 MB of one span).
pub(crate) const BATCH_BYTES: usize = 1 << 20;

/// How many posts are under way at most.
pub(crate) const POSTS: usize = 4;

/// How many batches are under way at most, those that wait for their next try included.
pub(crate) const BATCHES: u32 = 16;

/// Where spans go, and how. Replaced as a whole when the configuration is read again.
#[derive(Clone, Debug)]
pub(crate) struct ExportSettings {
    /// The full address, `https://api.respan.ai/api/v2/traces`.
    pub url: Uri,
    /// Without one nothing is posted and spans wait in the store.
    pub api_key: Option<ApiKey>,
    /// How spans are written.
    pub encoding: OtlpEncoding,
    /// The longest that a finished span waits for others to share its post.
    pub flush_interval: Duration,
}

/// Respan's key. It shows itself to nobody but the server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ApiKey {
    authorization: HeaderValue,
}

/// The text cannot be sent as a key: it holds a line break or another control character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidApiKey;

impl ApiKey {
    /// Takes the key as it is configured, without the spaces and line ends around it.
    ///
    /// # Errors
    /// The key cannot be the value of a header.
    pub(crate) fn new(key: &str) -> Result<Self, InvalidApiKey> {
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {}", key.trim())).map_err(|_| InvalidApiKey)?;
        authorization.set_sensitive(true);
        Ok(Self { authorization })
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

impl std::fmt::Display for InvalidApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the key holds a line break or another character that no header can carry")
    }
}

impl std::error::Error for InvalidApiKey {}

/// How patient the exporter is. [`RetryTimings::default`] is right everywhere but in tests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryTimings {
    /// The upper end of the first random wait; it doubles with each try.
    pub backoff_base: Duration,
    /// The longest upper end.
    pub backoff_cap: Duration,
    /// How often a refused key is tried again.
    pub probe_every: Duration,
    /// For one try, from connecting to the end of the answer.
    pub try_timeout: Duration,
    /// For connecting alone.
    pub connect_timeout: Duration,
    /// At the end of the exporter: after so long without an accepted post, spans on the disk are left to the next start.
    pub drain_patience: Duration,
}

impl Default for RetryTimings {
    fn default() -> Self {
        Self {
            backoff_base: Duration::from_millis(500),
            backoff_cap: Duration::from_secs(30),
            probe_every: Duration::from_mins(1),
            try_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            drain_patience: Duration::from_secs(5),
        }
    }
}

/// The running exporter.
#[derive(Debug)]
pub(crate) struct Exporter {
    state: Arc<ExporterState>,
    taker: JoinHandle<()>,
}

/// Knows how the export is doing.
#[derive(Clone, Debug)]
pub(crate) struct ExportWatch(Arc<ExporterState>);

impl ExportWatch {
    /// How the export is doing now.
    pub(crate) fn state(&self) -> ExportState {
        ExportState {
            configured: self.0.settings.borrow().api_key.is_some(),
            ..self.0.health.state()
        }
    }
}

#[cfg(test)]
impl ExportWatch {
    /// Of an exporter that has nothing to do.
    pub(crate) fn of_nothing() -> Self {
        let settings = ExportSettings {
            url: Uri::from_static("http://localhost"),
            api_key: None,
            encoding: OtlpEncoding::Json,
            flush_interval: Duration::ZERO,
        };
        let (store, metrics) = (Arc::new(Store::volatile(0)), Arc::default());
        let settings = watch::Sender::new(Arc::new(settings)).subscribe();
        ExportWatch(ExporterState::new(
            store,
            settings,
            metrics,
            RetryTimings::default(),
        ))
    }
}

/// Shared by the task that takes batches and those that deliver them.
#[derive(Debug)]
struct ExporterState {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    settings: watch::Receiver<Arc<ExportSettings>>,
    timings: RetryTimings,
    client: post::PostClient,
    gate: gate::PostGate,
    health: health::ExportHealth,
    posts: Semaphore,
    batches: Arc<Semaphore>,
    /// Posts that were accepted so far: where it grows while a batch keeps failing, the fault is in that batch.
    accepted: watch::Sender<u64>,
    /// Set when the exporter is to end: until when it may try.
    drain: watch::Sender<Option<Instant>>,
    /// While draining: a batch was given up, so taking more is pointless.
    gave_up: AtomicBool,
    /// Ends the deliveries under way; their spans go back into the store.
    stop: CancellationToken,
}

impl Exporter {
    /// Starts to export the spans that `store` holds and will hold. Its tasks run on `tasks` until [`Exporter::drain`].
    ///
    /// A new value of `settings` takes effect at once: with the next post, and every waiting post is tried again.
    pub(crate) fn start(
        store: Arc<Store>,
        settings: watch::Receiver<Arc<ExportSettings>>,
        metrics: Arc<Metrics>,
        timings: RetryTimings,
        tasks: &TaskTracker,
    ) -> Self {
        let state = ExporterState::new(store, settings, metrics, timings);
        tasks.spawn(Arc::clone(&state).try_those_set_aside());
        let taker = tasks.spawn(Arc::clone(&state).take_batches(tasks.clone()));
        Self { state, taker }
    }

    /// For the admin port.
    pub(crate) fn watch(&self) -> ExportWatch {
        ExportWatch(Arc::clone(&self.state))
    }

    /// Posts everything that waits at once and ends the exporter: when the store is empty, when nothing more can be hoped for
    /// before `deadline`, or at `deadline`. Where the disk has all that waits, [`RetryTimings::drain_patience`] without an accepted post ends it, too.
    /// Waiting posts are tried at least once more. Returns how many spans are left in the store.
    pub(crate) async fn drain(self, deadline: Instant) -> u64 {
        let accepted = self.state.accepted.subscribe();
        self.state.drain.send_replace(Some(deadline));
        self.state.gate.let_one_through();
        let mut taker = self.taker;
        let cut_short = tokio::select! {
            _ = &mut taker => false,
            () = tokio::time::sleep_until(deadline) => true,
            () = self.state.nothing_is_accepted(accepted) => true,
        };
        if cut_short {
            self.state.stop.cancel();
            // Ends now; it can only fail by a panic, which the tracker's owner has seen.
            drop(taker.await);
        }
        self.state.store.counts().pending
    }
}

impl ExporterState {
    fn new(
        store: Arc<Store>,
        settings: watch::Receiver<Arc<ExportSettings>>,
        metrics: Arc<Metrics>,
        timings: RetryTimings,
    ) -> Arc<Self> {
        Arc::new(ExporterState {
            store,
            metrics,
            gate: gate::PostGate::new(timings.probe_every),
            client: post::PostClient::new(&timings),
            settings,
            timings,
            health: health::ExportHealth::default(),
            posts: Semaphore::new(POSTS),
            batches: Arc::new(Semaphore::new(BATCHES as usize)),
            accepted: watch::Sender::new(0),
            drain: watch::Sender::new(None),
            gave_up: AtomicBool::new(false),
            stop: CancellationToken::new(),
        })
    }

    async fn take_batches(self: Arc<Self>, tasks: TaskTracker) {
        loop {
            tokio::select! {
                () = Arc::clone(&self).take_until_drained(&tasks) => {}
                () = self.stop.cancelled() => {}
            }
            // Every place is free again when every batch is settled or back in the store; the semaphore is never closed.
            drop(self.batches.acquire_many(BATCHES).await);
            // A span may have been set aside while the last batches were taken.
            if self.stop.is_cancelled() || self.hopeless() || self.store.counts().pending == 0 {
                return;
            }
        }
    }

    /// Returns once no post was accepted for [`RetryTimings::drain_patience`] and nothing would be lost with this process.
    async fn nothing_is_accepted(&self, mut accepted: watch::Receiver<u64>) {
        let patience = self.timings.drain_patience;
        while tokio::time::timeout(patience, accepted.changed())
            .await
            .is_ok()
            || !self.store.is_on_disk()
        {}
    }

    /// Whether trying on while the exporter drains would lead nowhere.
    fn hopeless(&self) -> bool {
        self.settings.borrow().api_key.is_none() || self.gave_up()
    }

    async fn take_until_drained(self: Arc<Self>, tasks: &TaskTracker) {
        let mut signals = delivery::ExporterSignals::of(&self);
        while let Ok(place) = Arc::clone(&self.batches).acquire_owned().await {
            let Some(batch) = self.next_batch(&mut signals).await else {
                break;
            };
            let state = Arc::clone(&self);
            tasks.spawn(async move {
                tokio::select! {
                    () = state.deliver(batch) => {}
                    () = state.stop.cancelled() => {}
                }
                drop(place);
            });
        }
    }

    /// The next batch when it is due; none when the exporter is to end and nothing is left to try.
    async fn next_batch(&self, signals: &mut delivery::ExporterSignals) -> Option<Batch> {
        loop {
            let settings = signals.settings();
            if signals.deadline().is_some() {
                return if self.hopeless() {
                    None
                } else {
                    self.store
                        .take(BATCH_SPANS, BATCH_BYTES)
                        .or_else(|| self.store.take_aside())
                };
            }
            if settings.api_key.is_none() {
                signals.changed().await;
                continue;
            }
            tokio::select! {
                () = self.batch_is_due(settings.flush_interval) => {}
                () = signals.changed() => continue,
            }
            if let Some(batch) = self.store.take(BATCH_SPANS, BATCH_BYTES) {
                return Some(batch);
            }
        }
    }

    /// One at a time, until the exporter drains: then they are the last that batches are made of.
    async fn try_those_set_aside(self: Arc<Self>) {
        let mut signals = delivery::ExporterSignals::of(&self);
        while signals.deadline().is_none() {
            tokio::select! {
                () = self.store.some_aside() => {}
                () = signals.changed() => continue,
            }
            // A place like any batch's, for the end of the exporter waits until all are free.
            let Ok(place) = self.batches.acquire().await else {
                return;
            };
            if signals.deadline().is_some() {
                return;
            }
            if let Some(batch) = self.store.take_aside() {
                tokio::select! {
                    () = self.deliver(batch) => {}
                    () = self.stop.cancelled() => {}
                }
            }
            drop(place);
        }
    }

    async fn batch_is_due(&self, flush_interval: Duration) {
        self.store.at_least(1, usize::MAX).await;
        if let Some(since) = self.store.oldest_since() {
            // It is either full or old; which of the two makes no difference.
            drop(
                tokio::time::timeout_at(
                    since + flush_interval,
                    self.store.at_least(BATCH_SPANS, BATCH_BYTES),
                )
                .await,
            );
        }
    }
}

/// Posts no span at all, to see the server's answer. None without a key.
pub(crate) async fn probe(settings: &ExportSettings) -> Option<respan::Verdict> {
    let key = settings.api_key.as_ref()?;
    let nothing = settings.encoding.encode(std::iter::empty::<&Span>());
    Some(
        post::PostClient::new(&RetryTimings::default())
            .post(settings, key, nothing)
            .await,
    )
}
