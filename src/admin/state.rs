//! How upstream, export and store are doing, and the spans that were refused, as JSON: `/api/health`, `/api/refused`.

use std::time::SystemTime;

use serde::Serialize;

use super::Shown;
use crate::store::{Refused, Replay, Store};

/// The most refused spans that are listed.
const LISTED: usize = 1000;

/// The gateway itself, for whoever asks what this is.
#[derive(Clone, Debug)]
pub struct About {
    /// What an AutoGen program gives its client.
    pub base_url: String,
    /// When it began to serve.
    pub started: SystemTime,
}

#[derive(Serialize)]
struct Health<'a> {
    gateway: Gateway<'a>,
    upstream: UpstreamView<'a>,
    export: Export<'a>,
    store: Stored<'a>,
    refused: Vec<RefusedSpan>,
}

#[derive(Serialize)]
struct Gateway<'a> {
    version: &'static str,
    base_url: &'a str,
    started: String,
    draining: bool,
    runs_open: u64,
}

#[derive(Serialize)]
struct UpstreamView<'a> {
    state: &'static str,
    since: Option<String>,
    failures: u64,
    last_error: Option<Problem<'a>>,
}

#[derive(Serialize)]
struct Export<'a> {
    /// Whether there is a key: without one nothing leaves.
    configured: bool,
    pending: u64,
    /// Spans made without a key: they leave only when they are replayed.
    kept: u64,
    posts: usize,
    key_refused: bool,
    last_success: Option<String>,
    last_error: Option<Problem<'a>>,
}

#[derive(Serialize)]
struct Stored<'a> {
    up: bool,
    bytes: u64,
    failing: Option<Problem<'a>>,
    content_shed: u64,
    journal_skipped: u64,
    recovered: u64,
}

#[derive(Serialize)]
struct Problem<'a> {
    at: String,
    message: &'a str,
}

#[derive(Serialize)]
struct RefusedSpan {
    trace_id: String,
    span_id: String,
    at: String,
    reason: String,
}

/// All of it. The refused spans are the newest, and are left out when the disk gives nothing now.
pub(super) async fn health(shown: &Shown) -> Vec<u8> {
    let (about, store, export) = (&shown.about, &shown.store, &shown.export.state());
    let reach = shown.upstream.state();
    let state = store.state();
    let counts = store.counts();
    let health = Health {
        gateway: Gateway {
            version: env!("CARGO_PKG_VERSION"),
            base_url: &about.base_url,
            started: time(about.started),
            draining: shown.shutdown.is_draining(),
            runs_open: shown.metrics.runs_open(),
        },
        upstream: UpstreamView {
            state: match reach.reachable {
                Some(true) => "reachable",
                Some(false) => "unreachable",
                None => "unknown",
            },
            since: reach.since.map(time),
            failures: reach.failures,
            last_error: reach.last_error.as_ref().map(problem),
        },
        export: Export {
            configured: export.configured,
            pending: counts.pending,
            kept: state.kept,
            posts: export.posts,
            key_refused: export.key_refused,
            last_success: export.last_success.map(time),
            last_error: export.last_error.as_ref().map(problem),
        },
        store: Stored {
            up: state.failing.is_none(),
            bytes: state.bytes,
            failing: state.failing.as_ref().map(problem),
            content_shed: state.content_shed,
            journal_skipped: state.journal_skipped,
            recovered: state.recovered,
        },
        refused: refused(store).await.unwrap_or_default(),
    };
    serde_json::to_vec(&health).unwrap_or_default()
}

/// Sends spans that would not leave by themselves. Gives how many, as JSON; none when the disk gives nothing now.
pub(super) async fn replay(store: &Store, what: Replay) -> Option<Vec<u8>> {
    let replayed = store.replay(what).await?;
    Some(format!("{{\"replayed\":{replayed}}}").into_bytes())
}

async fn refused(store: &Store) -> Option<Vec<RefusedSpan>> {
    let refused = store.refused(LISTED).await?;
    Some(refused.into_iter().map(RefusedSpan::from).collect())
}

impl From<Refused> for RefusedSpan {
    fn from(refused: Refused) -> Self {
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(refused.at);
        RefusedSpan {
            trace_id: refused.trace_id.to_string(),
            span_id: refused.span_id.to_string(),
            at: time(at),
            reason: refused.reason,
        }
    }
}

fn problem((at, message): &(SystemTime, String)) -> Problem<'_> {
    Problem {
        at: time(*at),
        message,
    }
}

/// RFC 3339, in UTC.
fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_nanos(at).to_string()
}
