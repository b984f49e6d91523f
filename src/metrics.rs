//! What the gateway counts, and how a scrape reads it.
//!
//! The recording functions are called on the path of a request: each is an atomic addition to a place that is known beforehand, without
//! a lock, an allocation or a label set to look up. What is counted by model is the exception: the capture thread counts it, once an
//! exchange has ended, under a lock that no request takes. The counters of spans are not kept here: they are read from the store, all from one
//! moment, so that they add up at every scrape.
//!
//! The text is written here rather than by a library because Prometheus' classic text format is asked for (what `text/plain;
//! version=0.0.4` announces and simple line parsers read); the official client for Rust writes OpenMetrics only, where a counter's
//! `# TYPE` names another family than its samples do.

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
pub use models::ModelCall;
use models::Models;
use text::Exposition;

/// The `content-type` of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper ends of the buckets of `spangate_first_byte_seconds`, in nanoseconds: what a model takes to begin.
const FIRST_BYTE_BUCKETS: [u64; 15] = [
    1_000_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
    300_000_000_000,
];

/// Upper ends of the buckets of `spangate_overhead_seconds`, in nanoseconds: what this gateway takes.
const OVERHEAD_BUCKETS: [u64; 13] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    50_000_000,
    250_000_000,
    1_000_000_000,
];

/// What kind of request it was, as a label: few values, whatever paths clients make up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `chat/completions`
    ChatCompletions,
    /// `responses`
    Responses,
    /// `embeddings`
    Embeddings,
    /// `completions`
    Completions,
    /// Everything else.
    Other,
}

impl Endpoint {
    const ALL: [Self; 5] = [
        Self::ChatCompletions,
        Self::Responses,
        Self::Embeddings,
        Self::Completions,
        Self::Other,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
            Self::Completions => "completions",
            Self::Other => "other",
        }
    }
}

/// What came of one post to Respan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostOutcome {
    /// Every span was accepted.
    Accepted,
    /// Some spans were refused, the others accepted.
    Partial,
    /// To be tried again.
    Retry,
    /// The key was refused.
    Unauthorised,
    /// Respan does not take spans at this address.
    WrongAddress,
    /// To be halved, for its size.
    TooLarge,
    /// To be halved, for a span in it.
    Rejected,
}

impl PostOutcome {
    const ALL: [Self; 7] = [
        Self::Accepted,
        Self::Partial,
        Self::Retry,
        Self::Unauthorised,
        Self::WrongAddress,
        Self::TooLarge,
        Self::Rejected,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Partial => "partial",
            Self::Retry => "retry",
            Self::Unauthorised => "unauthorised",
            Self::WrongAddress => "wrong_address",
            Self::TooLarge => "too_large",
            Self::Rejected => "rejected",
        }
    }
}

/// Status codes have three digits (RFC 9110, section 15), which is all that [`StatusCode`] can hold.
const STATUSES: usize = 1000;

/// Everything that is counted, shared by all who count.
#[derive(Debug)]
pub struct Metrics {
    /// By endpoint and status: 40 KB, so that no request has to look for its place.
    requests: [Box<[AtomicU64]>; Endpoint::ALL.len()],
    requests_in_flight: AtomicI64,
    requests_shed: AtomicU64,
    streams_open: AtomicI64,
    first_byte: Histogram<{ FIRST_BYTE_BUCKETS.len() }>,
    overhead: Histogram<{ OVERHEAD_BUCKETS.len() }>,
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
            first_byte: Histogram::new(FIRST_BYTE_BUCKETS),
            overhead: Histogram::new(OVERHEAD_BUCKETS),
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

/// Something that is under way, counted until this is dropped.
#[must_use = "it stops being counted when this is dropped"]
#[derive(Debug)]
pub struct Counted {
    metrics: Arc<Metrics>,
    gauge: fn(&Metrics) -> &AtomicI64,
}

impl Counted {
    fn new(metrics: &Arc<Metrics>, gauge: fn(&Metrics) -> &AtomicI64) -> Self {
        gauge(metrics).fetch_add(1, Ordering::Relaxed);
        Self::of_counted(metrics, gauge)
    }

    /// Of what is in the gauge by now.
    fn of_counted(metrics: &Arc<Metrics>, gauge: fn(&Metrics) -> &AtomicI64) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            gauge,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.gauge)(&self.metrics).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// A request is admitted, unless `most` are in flight; it is one of them while the returned value lives.
    pub fn request_begins(self: &Arc<Self>, most: usize) -> Option<Counted> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let one_more = |in_flight| (in_flight < most).then_some(in_flight + 1);
        self.requests_in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()?;
        Some(Counted::of_counted(self, |metrics| {
            &metrics.requests_in_flight
        }))
    }

    /// A request was refused because too many were in flight.
    pub fn request_shed(&self) {
        add_one(&self.requests_shed);
    }

    /// A response that streams has begun; it is open while the returned value lives.
    pub fn stream_opens(self: &Arc<Self>) -> Counted {
        Counted::new(self, |metrics| &metrics.streams_open)
    }

    /// A request was answered with this status, by the upstream or by the gateway itself.
    pub fn answered(&self, endpoint: Endpoint, status: StatusCode) {
        if let Some(count) = self.requests[endpoint as usize].get(usize::from(status.as_u16())) {
            add_one(count);
        }
    }

    /// A request's client left before it was answered; counted as 499, nginx's word for it.
    pub fn left(&self, endpoint: Endpoint) {
        if let Some(count) = self.requests[endpoint as usize].get(499) {
            add_one(count);
        }
    }

    /// The time from a request's arrival to the first byte of its answer that was passed on.
    pub fn first_byte(&self, took: Duration) {
        self.first_byte.observe(took);
    }

    /// The part of that time which was spent in the gateway.
    pub fn overhead(&self, took: Duration) {
        self.overhead.observe(took);
    }

    /// A chat completion has ended. Takes a lock: not for the path of a request.
    pub fn model_call(&self, call: &ModelCall<'_>) {
        self.models().count(call);
    }

    fn models(&self) -> MutexGuard<'_, Models> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A header that says who is asking could not be read and was ignored.
    pub fn identity_unreadable(&self) {
        add_one(&self.identity_unreadable);
    }

    /// A body was longer than what is kept of one for its span.
    pub fn capture_cut(&self) {
        add_one(&self.capture_cut);
    }

    /// How many runs are open.
    pub fn runs_open(&self) -> u64 {
        self.runs_open.load(Ordering::Relaxed)
    }

    /// So many runs there are now.
    pub fn runs(&self, counts: runs::Counts) {
        self.runs_open.store(counts.open as u64, Ordering::Relaxed);
        self.runs_closed_early
            .store(counts.closed_early, Ordering::Relaxed);
        self.runs_capped.store(counts.capped, Ordering::Relaxed);
    }

    /// A post to Respan ended.
    pub fn export_post(&self, outcome: PostOutcome) {
        add_one(&self.export_posts[outcome as usize]);
    }

    /// Everything as text for a scrape.
    pub fn render(&self, store: &Store) -> String {
        let mut text = Exposition::new();
        render_spans(&mut text, store);
        render_capture(&mut text, store);
        render_store(&mut text, store);
        self.render_requests(&mut text);
        self.models().render(&mut text);
        self.render_tracing(&mut text);
        text.finish()
    }

    fn render_requests(&self, text: &mut Exposition) {
        text.family(
            "spangate_requests_total",
            "counter",
            "Requests answered, by endpoint and status.",
        );
        for endpoint in Endpoint::ALL {
            for (status, count) in self.requests[endpoint as usize].iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let labels =
                        format_args!("endpoint=\"{}\",status=\"{status}\"", endpoint.label());
                    text.labelled("spangate_requests_total", labels, count);
                }
            }
        }
        text.single(
            "spangate_requests_in_flight",
            "gauge",
            "Requests under way.",
            self.requests_in_flight.load(Ordering::Relaxed),
        );
        text.single(
            "spangate_requests_shed_total",
            "counter",
            "Requests refused because limits.max_in_flight were under way.",
            self.requests_shed.load(Ordering::Relaxed),
        );
        text.single(
            "spangate_streams_open",
            "gauge",
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
        let help = "Identity headers that could not be read, and what was cut of them.";
        text.single(
            "spangate_identity_unreadable_total",
            "counter",
            help,
            self.identity_unreadable.load(Ordering::Relaxed),
        );
        let help = "Calls of which a body was longer than what is kept of one for the span.";
        text.single(
            "spangate_capture_cut_total",
            "counter",
            help,
            self.capture_cut.load(Ordering::Relaxed),
        );
        let help = "Runs that may still go on.";
        let open = self.runs_open.load(Ordering::Relaxed);
        text.single("spangate_runs_open", "gauge", help, open);
        let help = "Runs that were closed before they were over, because of runs.max_open, max_memory or max_age.";
        text.single(
            "spangate_runs_closed_early_total",
            "counter",
            help,
            self.runs_closed_early.load(Ordering::Relaxed),
        );
        let help = "Calls that were placed by part of their evidence, because all of it would have been too much work.";
        text.single(
            "spangate_runs_capped_total",
            "counter",
            help,
            self.runs_capped.load(Ordering::Relaxed),
        );
        text.family(
            "spangate_export_posts_total",
            "counter",
            "Posts to Respan, by what came of them.",
        );
        for outcome in PostOutcome::ALL {
            let labels = format_args!("outcome=\"{}\"", outcome.label());
            text.labelled(
                "spangate_export_posts_total",
                labels,
                self.export_posts[outcome as usize].load(Ordering::Relaxed),
            );
        }
    }
}

/// From one snapshot: created = exported + rejected + dropped + pending, at every scrape.
fn render_spans(text: &mut Exposition, store: &Store) {
    let counts = store.counts();
    text.single(
        "spangate_spans_created_total",
        "counter",
        "Spans made.",
        counts.created,
    );
    text.single(
        "spangate_spans_exported_total",
        "counter",
        "Spans accepted by Respan.",
        counts.exported,
    );
    text.single(
        "spangate_spans_rejected_total",
        "counter",
        "Spans refused by Respan for good.",
        counts.rejected,
    );
    text.family(
        "spangate_spans_dropped_total",
        "counter",
        "Spans lost before Respan accepted or refused them, by reason.",
    );
    for reason in DropReason::ALL {
        text.labelled(
            "spangate_spans_dropped_total",
            format_args!("reason=\"{}\"", reason.label()),
            counts.dropped(reason),
        );
    }
    text.single(
        "spangate_spans_pending",
        "gauge",
        "Spans waiting or under way to Respan.",
        counts.pending,
    );
    text.single(
        "spangate_spans_kept_total",
        "counter",
        "Spans made while no key was set; they leave only when they are replayed.",
        counts.kept,
    );
}

fn render_capture(text: &mut Exposition, store: &Store) {
    text.family(
        "spangate_capture_dropped_total",
        "counter",
        "Calls that were not traced, by reason; each is a span made and dropped.",
    );
    text.labelled(
        "spangate_capture_dropped_total",
        format_args!("reason=\"memory\""),
        store.counts().dropped(DropReason::Capture),
    );
}

fn render_store(text: &mut Exposition, store: &Store) {
    let state = store.state();
    let help =
        "Whether the store takes what it is told; while it does not, spans are kept in memory.";
    let up = u64::from(state.failing.is_none());
    text.single("spangate_store_up", "gauge", help, up);
    let help = "Bytes that the store takes.";
    text.single("spangate_store_bytes", "gauge", help, state.bytes);
    for (name, help, count) in [
        (
            "spangate_store_content_shed_total",
            "Spans whose content went to make room before they were sent.",
            state.content_shed,
        ),
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
        text.single(name, "counter", help, count);
    }
}

fn add_one(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}
