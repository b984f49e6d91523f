//! Growing traces as server-sent events.
//!
//! Each stream queries the changes itself when its reader takes more. So a slow reader delays nobody, and gets several changes of a trace as one.

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

use super::response::{self, AdminBody, error};
use crate::server::Shutdown;
use crate::span::TraceId;
use crate::traces::{Changes, ChangesQuery, TraceFilter, Traces};

/// Most streams at once.
const MOST: usize = 64;
/// Shortest time between two queries of a stream.
const INTERVAL: Duration = Duration::from_millis(250);
/// Longest silence of a stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Most traces that a stream remembers to have sent.
const MOST_SENT: usize = 10_000;

/// Opens streams, up to a limit.
#[derive(Clone)]
pub(super) struct EventStreams(Arc<Semaphore>);

struct EventStream {
    traces: Traces,
    shutdown: Shutdown,
    written: watch::Receiver<u64>,
    live: watch::Receiver<u64>,
    query: ChangesQuery,
    /// The last query; none before the first.
    queried: Option<Instant>,
    /// The last bytes.
    sent: Instant,
    _permit: OwnedSemaphorePermit,
}

impl EventStreams {
    pub(super) fn new() -> Self {
        EventStreams(Arc::new(Semaphore::new(MOST)))
    }

    /// Sends the changes from now on, or from after the event with the id `after`.
    pub(super) fn follow(
        &self,
        traces: &Traces,
        shutdown: &Shutdown,
        filter: TraceFilter,
        after: Option<u64>,
    ) -> Response<AdminBody> {
        let Ok(permit) = Arc::clone(&self.0).try_acquire_owned() else {
            return error(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many follow the events already; close another viewer, or ask again later",
            );
        };
        let (written, live) = traces.news();
        let stream = EventStream {
            traces: traces.clone(),
            shutdown: shutdown.clone(),
            written,
            live,
            query: ChangesQuery {
                seq: after,
                filter,
                ..ChangesQuery::default()
            },
            queried: None,
            sent: Instant::now(),
            _permit: permit,
        };
        let pieces = stream::unfold(stream, |mut stream| async move {
            let piece = stream.next().await?;
            Some((Ok(Frame::data(piece)), stream))
        });
        let body = StreamBody::new(pieces).boxed_unsync();
        response::with(StatusCode::OK, "text/event-stream", body)
    }
}

impl EventStream {
    /// The next bytes; none when serving ends.
    async fn next(&mut self) -> Option<Bytes> {
        let Some(queried) = self.queried else {
            // A first byte at once, so that a client that waits for the head sees the stream open.
            let events = self.changes().await;
            return Some(format!(": spans, as they come\n\n{events}").into());
        };
        let mut next_query = queried + INTERVAL;
        loop {
            let silence_ends = self.sent + KEEP_ALIVE;
            let shutdown = self.shutdown.clone();
            tokio::select! {
                () = shutdown.closing() => return None,
                // The senders live as long as the gateway.
                Ok(()) = self.written.changed() => {}
                Ok(()) = self.live.changed() => {}
                () = tokio::time::sleep_until(silence_ends) => {
                    self.sent = Instant::now();
                    // The query also says that somebody still watches.
                    let events = self.changes().await;
                    return Some(format!(": keep-alive\n\n{events}").into());
                }
            }
            tokio::select! {
                () = shutdown.closing() => {}
                () = tokio::time::sleep_until(next_query) => {}
            }
            let events = self.changes().await;
            if !events.is_empty() {
                self.sent = Instant::now();
                return Some(events.into());
            }
            next_query = Instant::now() + INTERVAL;
        }
    }

    /// The events of all changes since the last query.
    async fn changes(&mut self) -> String {
        self.written.mark_unchanged();
        self.live.mark_unchanged();
        self.queried = Some(Instant::now());
        match self.traces.changes(self.query.clone()).await {
            Ok(changes) => self.events(&changes),
            // The next query finds these changes too.
            Err(_) => String::new(),
        }
    }

    fn events(&mut self, changes: &Changes) -> String {
        let mut events = String::new();
        if changes.missed {
            events = format!("event: reset\nid: {}\ndata: {{}}\n\n", changes.seq);
        }
        for (seq, summary) in &changes.traces {
            self.remember(summary.trace_id);
            let data = serde_json::to_string(summary).unwrap_or_default();
            // Writing to a string cannot fail.
            let _ = write!(events, "event: trace\nid: {seq}\ndata: {data}\n\n");
        }
        self.query.seq = Some(changes.seq);
        self.query.live = Some(changes.live);
        self.query.file = Some(changes.file);
        events
    }

    /// With a filter by status, a trace is sent once more when the filter no longer fits it.
    fn remember(&mut self, trace: TraceId) {
        if self.query.filter.status.is_some() {
            if self.query.sent.len() >= MOST_SENT {
                self.query.sent = HashSet::new();
            }
            self.query.sent.insert(trace);
        }
    }
}
