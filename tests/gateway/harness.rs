//! The parts of a test: a gateway process, a client on either protocol, a scripted upstream and a scripted Respan.
//!
//! The rule: nothing sleeps to wait. Every wait is for one named thing, through [`within`] or [`until`], and ends after [`PATIENCE`].

use std::{future::Future, time::Duration};

mod call;
mod certificate;
mod chat;
mod export;
mod failing_disk;
mod log_file;
mod message;
mod metrics;
mod process;
mod respan;
mod tail;
mod upstream;
mod wire;

pub(crate) use call::{Call, ClientRequest, Payload, Protocol, request_id};
pub(crate) use certificate::Certificate;
pub(crate) use export::{export, export_into_closed_pipe};
pub(crate) use failing_disk::{DiskFault, FailingDisk};
pub(crate) use log_file::{RecordKind, has_ended, has_started, log_records};
pub(crate) use message::{End, Headers, Piece, Reply, Request, grouped, value, without};
pub(crate) use metrics::Metrics;
pub(crate) use process::{Gateway, Setup, free_address, refusal};
pub(crate) use respan::{KEY, Respan, Span, trees};
pub(crate) use tail::Tail;
pub(crate) use upstream::Upstream;
pub(crate) use wire::{Framing, Wire};

pub(crate) use chat::{chat_events, chat_reply, chat_request, json_reply};

/// How long any single thing may take before the test gives it up: far beyond what it needs, so that it never decides a test that passes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(25);

/// What `doing` gives, or a failure that names what did not come.
pub(crate) async fn within<T>(what: &str, doing: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, doing).await;
    done.unwrap_or_else(|_| panic!("gave up after {PATIENCE:?} waiting for {what}"))
}

/// Asks again and again until there is an answer, for things that do not report by themselves.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(value) = ask().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}
