//! Counters, gauges and histograms of the gateway, and their text for a scrape.
//!
//! Recording on a request's path is one atomic addition at a known place: no lock, no allocation, no lookup of labels. The exception are
//! counts by model: a capture worker records them after an exchange, under a lock that no request takes. Counts of spans are the store's. A
//! scrape reads them in one snapshot, so that they always add up.
//!
//! The text is written here because Prometheus' classic format is wanted (`text/plain; version=0.0.4`, which simple line parsers read).
//! The official client for Rust writes OpenMetrics only, where a counter's `# TYPE` has another name than its samples.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;

use crate::runs;
use crate::store::{DropReason, Store};

mod histogram;
mod models;
#[cfg(test)]
mod tests;
mod text;

use histogram::Histogram;
pub(crate) use models::ModelCall;
use models::Models;
use text::Exposition;

/// The `content-type` of [`Metrics::render`].
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper ends of the buckets of `spangate_first_byte_seconds`, in milliseconds.
const FIRST_BYTE_MS: [u64; 15] = [
    1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000,
];

/// Upper ends of the buckets of `spangate_overhead_seconds`, in microseconds.
const OVERHEAD_US: [u64; 13] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000,
];

/// An enum whose variants are the values of a label.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident => $label:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            const ALL: &[Self] = &[$(Self::$variant,)+];

            fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)+
                }
            }
        }
    };
}

label! {
    /// The kind of a request. A fixed set, whatever paths clients send.
    Endpoint {
        /// `chat/completions`
        ChatCompletions => "chat_completions",
        /// `responses`
        Responses => "responses",
        /// `embeddings`
        Embeddings => "embeddings",
        /// `completions`
        Completions => "completions",
        /// Any other path.
        Other => "other",
    }
}

label! {
    /// The outcome of one post to Respan.
    PostOutcome {
        /// Respan accepted every span.
        Accepted => "accepted",
        /// Respan accepted some spans and refused the others.
        Partial => "partial",
        /// The post is retried.
        Retry => "retry",
        /// Respan refused the key.
        Unauthorised => "unauthorised",
        /// Respan does not take spans at this address.
        WrongAddress => "wrong_address",
        /// The post was too large and is halved.
        TooLarge => "too_large",
        /// The post has a span that Respan rejects, and is halved to find it.
        Rejected => "rejected",
    }
}

/// Status codes have three digits (RFC 9110, section 15), and [`StatusCode`] holds no others.
const STATUSES: usize = 1000;

/// All metrics but those of spans.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// By endpoint and status: 40 KB, so that a request indexes its count.
    requests: [Box<[AtomicU64]>; Endpoint::ALL.len()],
    requests_in_flight: AtomicI64,
    requests_shed: AtomicU64,
    streams_open: AtomicI64,
    first_byte: Histogram<{ FIRST_BYTE_MS.len() }>,
    overhead: Histogram<{ OVERHEAD_US.len() }>,
    models: Mutex<Models>,
    identity_unreadable: AtomicU64,
    capture_cut: AtomicU64,
    runs_open: AtomicU64,
    runs_closed_early: AtomicU64,
    runs_capped: AtomicU64,
    export_posts: [AtomicU64; PostOutcome::ALL.len()],
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: std::array::from_fn(|_| (0..STATUSES).map(|_| AtomicU64::new(0)).collect()),
            requests_in_flight: AtomicI64::new(0),
            requests_shed: AtomicU64::new(0),
            streams_open: AtomicI64::new(0),
            first_byte: Histogram::new(FIRST_BYTE_MS.map(Duration::from_millis)),
            overhead: Histogram::new(OVERHEAD_US.map(Duration::from_micros)),
            models: Mutex::default(),
            identity_unreadable: AtomicU64::new(0),
            capture_cut: AtomicU64::new(0),
            runs_open: AtomicU64::new(0),
            runs_closed_early: AtomicU64::new(0),
            runs_capped: AtomicU64::new(0),
            export_posts: Default::default(),
        }
    }
}

/// Keeps a gauge raised by one until it is dropped.
#[must_use = "the gauge falls when this is dropped"]
#[derive(Debug)]
pub(crate) struct GaugeGuard {
    metrics: Arc<Metrics>,
    gauge: fn(&Metrics) -> &AtomicI64,
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        (self.gauge)(&self.metrics).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Admits a request unless `most` are in flight. It is in flight while the guard lives.
    pub(crate) fn request_begins(self: &Arc<Self>, most: usize) -> Option<GaugeGuard> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let one_more = |in_flight| (in_flight < most).then_some(in_flight + 1);
        self.requests_in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()?;
        Some(GaugeGuard {
            metrics: Arc::clone(self),
            gauge: |metrics| &metrics.requests_in_flight,
        })
    }

    /// Counts a request that was refused because too many were in flight.
    pub(crate) fn request_shed(&self) {
        add_one(&self.requests_shed);
    }

    /// Counts a streamed response as open while the guard lives.
    pub(crate) fn stream_opens(self: &Arc<Self>) -> GaugeGuard {
        self.streams_open.fetch_add(1, Ordering::Relaxed);
        GaugeGuard {
            metrics: Arc::clone(self),
            gauge: |metrics| &metrics.streams_open,
        }
    }

    /// Counts a response of the upstream or of the gateway itself.
    pub(crate) fn answered(&self, endpoint: Endpoint, status: StatusCode) {
        if let Some(count) = self.requests[endpoint as usize].get(usize::from(status.as_u16())) {
            add_one(count);
        }
    }

    /// Counts a request whose client left before the response, as 499 (nginx's status for it).
    pub(crate) fn left(&self, endpoint: Endpoint) {
        if let Some(count) = self.requests[endpoint as usize].get(499) {
            add_one(count);
        }
    }

    /// Records the time from a request's arrival to the first byte of its response.
    pub(crate) fn first_byte(&self, took: Duration) {
        self.first_byte.observe(took);
    }

    /// Records the part of that time that the gateway itself took.
    pub(crate) fn overhead(&self, took: Duration) {
        self.overhead.observe(took);
    }

    /// Counts a chat completion. Takes a lock, so not for the path of a request.
    pub(crate) fn model_call(&self, call: &ModelCall<'_>) {
        self.models().count(call);
    }

    fn models(&self) -> MutexGuard<'_, Models> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an identity header that was ignored.
    pub(crate) fn identity_unreadable(&self) {
        add_one(&self.identity_unreadable);
    }

    /// Counts a body that was cut for its span.
    pub(crate) fn capture_cut(&self) {
        add_one(&self.capture_cut);
    }

    /// The number of open runs.
    pub(crate) fn runs_open(&self) -> u64 {
        load(&self.runs_open)
    }

    /// Sets the counts of runs.
    pub(crate) fn runs(&self, counts: runs::RunCounts) {
        self.runs_open.store(counts.open as u64, Ordering::Relaxed);
        self.runs_closed_early
            .store(counts.closed_early, Ordering::Relaxed);
        self.runs_capped.store(counts.capped, Ordering::Relaxed);
    }

    /// Counts a post to Respan.
    pub(crate) fn export_post(&self, outcome: PostOutcome) {
        add_one(&self.export_posts[outcome as usize]);
    }

    /// All metrics as text for a scrape.
    pub(crate) fn render(&self, store: &Store) -> String {
        let mut text = Exposition::new();
        render_spans(&mut text, store);
        render_store(&mut text, store);
        self.render_requests(&mut text);
        self.models().render(&mut text);
        self.render_tracing(&mut text);
        text.finish()
    }

    fn render_requests(&self, text: &mut Exposition) {
        let name = "spangate_requests_total";
        let help = "Requests answered, by endpoint and status.";
        text.family(name, "counter", help);
        for (endpoint, counts) in Endpoint::ALL.iter().zip(&self.requests) {
            for (status, count) in counts.iter().enumerate() {
                let count = load(count);
                if count > 0 {
                    let endpoint = endpoint.label();
                    let labels = format_args!("endpoint=\"{endpoint}\",status=\"{status}\"");
                    text.labelled(name, labels, count);
                }
            }
        }
        text.gauge(
            "spangate_requests_in_flight",
            "Requests under way.",
            self.requests_in_flight.load(Ordering::Relaxed),
        );
        text.counter(
            "spangate_requests_shed_total",
            "Requests refused because limits.max_in_flight were under way.",
            load(&self.requests_shed),
        );
        text.gauge(
            "spangate_streams_open",
            "Streamed responses under way.",
            self.streams_open.load(Ordering::Relaxed),
        );
        let help = "Time from a request's arrival to the first byte of its answer.";
        self.first_byte
            .render(text, "spangate_first_byte_seconds", help);
        let help = "Time spent in the gateway before the first byte of the answer was passed on.";
        self.overhead
            .render(text, "spangate_overhead_seconds", help);
    }

    fn render_tracing(&self, text: &mut Exposition) {
        text.counter(
            "spangate_identity_unreadable_total",
            "Identity headers that could not be read, and what was cut of them.",
            load(&self.identity_unreadable),
        );
        text.counter(
            "spangate_capture_cut_total",
            "Calls of which a body was longer than what is kept of one for the span.",
            load(&self.capture_cut),
        );
        text.gauge(
            "spangate_runs_open",
            "Runs that may still go on.",
            load(&self.runs_open),
        );
        text.counter(
            "spangate_runs_closed_early_total",
            "Runs that were closed before they were over, because of runs.max_open, max_memory or max_age.",
            load(&self.runs_closed_early),
        );
        text.counter(
            "spangate_runs_capped_total",
            "Calls that were placed by part of their evidence, because all of it would have been too much work.",
            load(&self.runs_capped),
        );
        let name = "spangate_export_posts_total";
        text.family(name, "counter", "Posts to Respan, by what came of them.");
        for (outcome, count) in PostOutcome::ALL.iter().zip(&self.export_posts) {
            let labels = format_args!("outcome=\"{}\"", outcome.label());
            text.labelled(name, labels, load(count));
        }
    }
}

/// From one snapshot, so created = exported + rejected + dropped + pending.
fn render_spans(text: &mut Exposition, store: &Store) {
    let counts = store.counts();
    for (name, help, count) in [
        (
            "spangate_spans_created_total",
            "Spans made.",
            counts.created,
        ),
        (
            "spangate_spans_exported_total",
            "Spans accepted by Respan.",
            counts.exported,
        ),
        (
            "spangate_spans_rejected_total",
            "Spans refused by Respan for good.",
            counts.rejected,
        ),
    ] {
        text.counter(name, help, count);
    }
    let name = "spangate_spans_dropped_total";
    let help = "Spans lost before Respan accepted or refused them, by reason.";
    text.family(name, "counter", help);
    for reason in DropReason::ALL {
        let labels = format_args!("reason=\"{}\"", reason.label());
        text.labelled(name, labels, counts.dropped(reason));
    }
    text.gauge(
        "spangate_spans_pending",
        "Spans waiting or under way to Respan.",
        counts.pending,
    );
    text.counter(
        "spangate_spans_kept_total",
        "Spans made while no key was set; they leave only when they are replayed.",
        counts.kept,
    );
    let name = "spangate_capture_dropped_total";
    let help = "Calls that were not traced, by reason; each is a span made and dropped.";
    text.family(name, "counter", help);
    let dropped = counts.dropped(DropReason::Capture);
    text.labelled(name, format_args!("reason=\"memory\""), dropped);
}

fn render_store(text: &mut Exposition, store: &Store) {
    let state = store.state();
    text.gauge(
        "spangate_store_up",
        "Whether the store takes what it is told; while it does not, spans are kept in memory.",
        u64::from(state.failing.is_none()),
    );
    text.gauge(
        "spangate_store_bytes",
        "Bytes that the store takes.",
        state.bytes,
    );
    for (name, help, count) in [
        (
            "spangate_store_journal_skipped_total",
            "Beginnings and ends of exchanges that could not be written: a crash would have hidden these exchanges.",
            state.journal_skipped,
        ),
        (
            "spangate_store_recovered_total",
            "Exchanges found at the start that were not done with.",
            state.recovered,
        ),
    ] {
        text.counter(name, help, count);
    }
}

fn add_one(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn load(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}
