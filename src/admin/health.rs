//! `/api/health` as JSON: the state of gateway, upstream, export and store, and the newest refused spans.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::AdminState;
use crate::store::{self, Replay, Store};

/// Most refused spans of a report.
const MOST_REFUSED: usize = 1000;

#[derive(Serialize)]
struct HealthReport<'a> {
    gateway: GatewayHealth<'a>,
    upstream: UpstreamHealth<'a>,
    export: ExportReport<'a>,
    store: StoreHealth<'a>,
    refused: Vec<RefusedSpanReport>,
}

#[derive(Serialize)]
struct GatewayHealth<'a> {
    version: &'static str,
    base_url: &'a str,
    started: String,
    draining: bool,
    runs_open: u64,
}

#[derive(Serialize)]
struct UpstreamHealth<'a> {
    state: &'static str,
    since: Option<String>,
    failures: u64,
    last_error: Option<DatedError<'a>>,
}

#[derive(Serialize)]
struct ExportReport<'a> {
    /// Whether there is a key: without one nothing is exported.
    configured: bool,
    pending: u64,
    /// Spans made without a key, which leave only when they are replayed.
    kept: u64,
    posts: usize,
    key_refused: bool,
    last_success: Option<String>,
    last_error: Option<DatedError<'a>>,
}

#[derive(Serialize)]
struct StoreHealth<'a> {
    up: bool,
    bytes: u64,
    failing: Option<DatedError<'a>>,
    journal_skipped: u64,
    recovered: u64,
}

#[derive(Serialize)]
struct DatedError<'a> {
    at: String,
    message: &'a str,
}

#[derive(Serialize)]
struct RefusedSpanReport {
    trace_id: String,
    span_id: String,
    at: String,
    reason: String,
}

/// The report. Its refused spans are left out while the store cannot be read.
pub(super) fn report(state: &AdminState) -> Vec<u8> {
    let (about, store, export) = (&state.about, &state.store, &state.export.state());
    let upstream = state.upstream.state();
    let (stored, counts) = (store.state(), store.counts());
    let report = HealthReport {
        gateway: GatewayHealth {
            version: env!("CARGO_PKG_VERSION"),
            base_url: &about.base_url,
            started: time(about.started),
            draining: state.shutdown.is_draining(),
            runs_open: state.metrics.runs_open(),
        },
        upstream: UpstreamHealth {
            state: match upstream.reachable {
                Some(true) => "reachable",
                Some(false) => "unreachable",
                None => "unknown",
            },
            since: upstream.since.map(time),
            failures: upstream.failures,
            last_error: upstream.last_error.as_ref().map(dated),
        },
        export: ExportReport {
            configured: export.configured,
            pending: counts.pending,
            kept: stored.kept,
            posts: export.posts,
            key_refused: export.key_refused,
            last_success: export.last_success.map(time),
            last_error: export.last_error.as_ref().map(dated),
        },
        store: StoreHealth {
            up: stored.failing.is_none(),
            bytes: stored.bytes,
            failing: stored.failing.as_ref().map(dated),
            journal_skipped: stored.journal_skipped,
            recovered: stored.recovered,
        },
        refused: refused(store),
    };
    serde_json::to_vec(&report).unwrap_or_default()
}

/// Sends spans that would not leave by themselves. Returns their number as JSON; none while the store cannot be read.
pub(super) async fn replay(store: &Store, what: Replay) -> Option<Vec<u8>> {
    let replayed = store.replay(what).await?;
    Some(format!("{{\"replayed\":{replayed}}}").into_bytes())
}

fn refused(store: &Store) -> Vec<RefusedSpanReport> {
    let refused = store.refused(MOST_REFUSED);
    refused.into_iter().map(RefusedSpanReport::from).collect()
}

impl From<store::RefusedSpan> for RefusedSpanReport {
    fn from(refused: store::RefusedSpan) -> Self {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(refused.at);
        RefusedSpanReport {
            trace_id: refused.trace_id.to_string(),
            span_id: refused.span_id.to_string(),
            at: time(at),
            reason: refused.reason,
        }
    }
}

fn dated((at, message): &(SystemTime, String)) -> DatedError<'_> {
    DatedError {
        at: time(*at),
        message,
    }
}

/// RFC 3339, in UTC.
fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_nanos(at).to_string()
}
