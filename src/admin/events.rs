//! Traces as they grow, as server-sent events. Each stream asks for itself what is new when its reader is ready for more, so a slow reader
//! keeps nobody waiting, and gets several changes of a trace as one.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::answer::{self, Body, error};
use crate::server::Shutdown;
use crate::span::TraceId;
use crate::traces::{Changes, Filter, Since, Traces};

/// Streams at once.
const MOST: usize = 64;
/// Between two looks at what is new.
const PACE: Duration = Duration::from_millis(250);
/// Between two signs of life.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Traces of which a stream remembers that it told them.
const MOST_TOLD: usize = 10_000;

/// Room for streams.
#[derive(Clone)]
pub(super) struct Events(Arc<Semaphore>);

struct Stream {
    traces: Traces,
    shutdown: Shutdown,
    written: watch::Receiver<u64>,
    goes: watch::Receiver<u64>,
    since: Since,
    /// What was told last, or nothing yet.
    looked: Option<Instant>,
    heard: Instant,
    _room: OwnedSemaphorePermit,
}

impl Events {
    pub(super) fn new() -> Self {
        Events(Arc::new(Semaphore::new(MOST)))
    }

    /// Tells what happens from here on, or after the event of this number.
    pub(super) fn follow(
        &self,
        traces: &Traces,
        shutdown: &Shutdown,
        filter: Filter,
        after: Option<u64>,
    ) -> Response<Body> {
        let Ok(room) = Arc::clone(&self.0).try_acquire_owned() else {
            return error(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many follow the events already; close another viewer, or ask again later",
            );
        };
        let (written, goes) = traces.news();
        let stream = Stream {
            traces: traces.clone(),
            shutdown: shutdown.clone(),
            written,
            goes,
            since: Since {
                seq: after,
                filter,
                ..Since::default()
            },
            looked: None,
            heard: Instant::now(),
            _room: room,
        };
        let pieces = stream::unfold(stream, |mut stream| async move {
            let piece = stream.next().await?;
            Some((Ok(Frame::data(piece)), stream))
        });
        let body = StreamBody::new(pieces).boxed_unsync();
        answer::with(StatusCode::OK, "text/event-stream", body)
    }
}

impl Stream {
    /// What is told next; none when serving ends.
    async fn next(&mut self) -> Option<Bytes> {
        if self.looked.is_none() {
            return Some(self.begin().await);
        }
        loop {
            let quiet = self.heard + KEEP_ALIVE;
            let shutdown = self.shutdown.clone();
            tokio::select! {
                () = shutdown.closing() => return None,
                // The sender lives as long as the gateway.
                Ok(()) = self.written.changed() => {}
                Ok(()) = self.goes.changed() => {}
                () = tokio::time::sleep_until(quiet) => {
                    self.heard = Instant::now();
                    // Whoever listens is watching.
                    let told = self.look().await;
                    return Some(format!(": keep-alive\n\n{told}").into());
                }
            }
            tokio::select! {
                () = shutdown.closing() => {}
                () = tokio::time::sleep_until(self.looked.unwrap_or(quiet) + PACE) => {}
            }
            let told = self.look().await;
            if !told.is_empty() {
                self.heard = Instant::now();
                return Some(told.into());
            }
        }
    }

    async fn begin(&mut self) -> Bytes {
        // A first byte at once: whoever waits for the head knows that it is heard.
        let mut told = ": spans, as they come\n\n".to_owned();
        told.push_str(&self.look().await);
        told.into()
    }

    async fn look(&mut self) -> String {
        self.written.mark_unchanged();
        self.goes.mark_unchanged();
        self.looked = Some(Instant::now());
        match self.traces.changes(self.since.clone()).await {
            Ok(changes) => self.tell(&changes),
            // What is missed now is found with what comes next.
            Err(_) => String::new(),
        }
    }

    fn tell(&mut self, changes: &Changes) -> String {
        let mut told = String::new();
        if changes.missed {
            told = format!("event: reset\nid: {}\ndata: {{}}\n\n", changes.seq);
        }
        for (seq, listed) in &changes.traces {
            self.remember(listed.trace_id);
            let data = serde_json::to_string(listed).unwrap_or_default();
            // Writing to a text does not fail.
            let _ = write!(told, "event: trace\nid: {seq}\ndata: {data}\n\n");
        }
        self.since.seq = Some(changes.seq);
        self.since.live = Some(changes.live);
        self.since.file = Some(changes.file);
        told
    }

    /// A trace that was told because of how it stood is told, too, when it does not stand so any more.
    fn remember(&mut self, trace: TraceId) {
        if self.since.filter.status.is_some() {
            if self.since.told.len() >= MOST_TOLD {
                self.since.told = HashSet::new();
            }
            self.since.told.insert(trace);
        }
    }
}
