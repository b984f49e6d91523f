//! How export and store are doing, and the spans that were refused, as JSON: `/api/health`, `/api/refused`.

use std::time::SystemTime;

use serde::Serialize;

use crate::export::ExportState;
use crate::store::{Refused, Store};

/// The most refused spans that are listed.
const LISTED: usize = 1000;

#[derive(Serialize)]
struct Health<'a> {
    export: Export<'a>,
    store: Stored<'a>,
    refused: Vec<RefusedSpan>,
}

#[derive(Serialize)]
struct Export<'a> {
    /// Whether there is a key: without one nothing leaves.
    configured: bool,
    pending: u64,
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
pub(super) async fn health(store: &Store, export: &ExportState) -> Vec<u8> {
    let state = store.state();
    let counts = store.counts();
    let health = Health {
        export: Export {
            configured: export.configured,
            pending: counts.pending,
            posts: export.posts,
            key_refused: export.key_refused,
            last_success: export.last_success.map(time),
            last_error: export.last_error.as_ref().map(problem),
        },
        store: Stored {
            up: state.failing.is_none(),
            bytes: state.bytes,
            failing: state.failing.as_ref().map(problem),
        },
        refused: refused(store).await.unwrap_or_default(),
    };
    serde_json::to_vec(&health).unwrap_or_default()
}

/// Sends refused spans again. Gives how many, as JSON; none when the disk gives nothing now.
pub(super) async fn replay(store: &Store) -> Option<Vec<u8>> {
    let replayed = store.replay(LISTED).await?;
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
    humantime::format_rfc3339_millis(at).to_string()
}
