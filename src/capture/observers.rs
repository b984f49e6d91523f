//! The observers of the two bodies of an exchange. [`ResponseObserver`] is armed before the upstream is called and settles the exchange: by the
//! end of the response, by a failure, or, dropped, by the client's leaving.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::queue::{CaptureEvent, EventQueue, FrameTime, ReplyPiece, StartedEvent};
use super::reply_assembly::ReplyAssembly;
use super::request_buffer::RequestBuffer;
use crate::exchange::{
    Budget, BudgetedBuffer, CapturedBody, Exchange, Outcome, RequestMeta, Reservation, ResponseHead,
};
use crate::redact::KnownSecrets;
use crate::tap::{BodyEnd, BodyObserver};
use crate::upstream::{CallError, ResponseBodyError};

/// A reply goes to the worker before its copy is longer than this, unless one frame is: thousands of streams hold that much each.
const PIECE: usize = 2 * 1024;
/// Longest value of a header that says how a reply is to be read; a longer one says nothing.
const LONGEST_VALUE: usize = 256;
/// Frames of which one piece has the times: of a stream of single bytes they would take more than the bytes.
const FRAMES: usize = 32;
/// About what an exchange takes beside texts whose length clients and upstreams choose, until the worker is done with it. A queue may have
/// room for twice its events.
const FACTS: usize = size_of::<RequestMeta>()
    + size_of::<ObservedResponse>()
    + size_of::<RequestBuffer>()
    + size_of::<ReplyAssembly>()
    + size_of::<Exchange>()
    + 2 * (2 * size_of::<StartedEvent>() + size_of::<CaptureEvent>())
    + FRAMES * size_of::<FrameTime>()
    + 2 * LONGEST_VALUE
    + 512;
/// Of an error's body where bodies are not kept.
const ERROR_BODY: usize = 4 * 1024;

/// Response headers that a span keeps.
const KEPT_HEADERS: [&str; 14] = [
    "x-request-id",
    "apim-request-id",
    "x-ms-region",
    "openai-processing-ms",
    "openai-version",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "x-respan-log-id",
    "x-respan-gateway-request-id",
];

/// Observes a request's body.
pub struct RequestObserver(Option<ObservedRequest>);

struct ObservedRequest {
    queue: Arc<EventQueue>,
    started: StartedEvent,
}

/// Observes a response, from before it exists.
pub struct ResponseObserver(Option<Box<ObservedResponse>>);

struct ObservedResponse {
    queue: Arc<EventQueue>,
    budget: Arc<Budget>,
    started: StartedEvent,
    /// None where there was no room for them.
    secrets: Option<KnownSecrets>,
    head: Option<ResponseHead>,
    facts: Reservation,
    /// It failed like this, after so long; the rest of the request may still come.
    failure: Option<(Outcome, Duration)>,
    stream: StreamState,
}

/// The fields that every frame of a reply touches stand together: of a thousand streams they are seldom in the processor's caches.
struct StreamState {
    began: Instant,
    /// The response is copied.
    is_kept: bool,
    /// It is a stream of events: frames are small, and a piece gets full.
    is_streamed: bool,
    /// The first token may still come.
    is_timed: bool,
    reply: BudgetedBuffer,
    frame_times: Vec<FrameTime>,
    /// The worker sets it at the first token; none until there was a piece.
    saw_token: Option<Arc<AtomicBool>>,
}

/// The name of a response header that a span keeps, when this is one.
pub(crate) fn kept_header(name: &str) -> Option<&'static str> {
    KEPT_HEADERS.into_iter().find(|kept| *kept == name)
}

fn kept((name, value): (&HeaderName, &HeaderValue)) -> Option<(&'static str, String)> {
    Some((kept_header(name.as_str())?, value.to_str().ok()?.to_owned()))
}

/// Room for an exchange that begins with this meta; none where the budget has none.
pub(super) fn reserve(budget: &Arc<Budget>, meta: &RequestMeta) -> Option<Reservation> {
    budget.facts(FACTS + meta.size_estimate())
}

/// Observes an exchange that begins now, at `began`, and sends its beginning to `queue`. `request_length` is the request's `content-length`.
pub(super) fn observe(
    queue: Arc<EventQueue>,
    facts: Reservation,
    budget: Arc<Budget>,
    meta: Arc<RequestMeta>,
    (began, started_ns): (Instant, u64),
    request_length: Option<u64>,
) -> (RequestObserver, ResponseObserver) {
    let started = StartedEvent {
        request: Arc::new(RequestBuffer::new(&meta, &budget, request_length)),
        meta,
        started_ns,
    };
    queue.push_started(started.clone());
    let observed = started.meta.chat.then(|| ObservedRequest {
        queue: Arc::clone(&queue),
        started: started.clone(),
    });
    // All of a reply may pass, but no more than this of it waits for the worker.
    let reply_budget = Budget::within(&budget, started.meta.max_body);
    let stream = StreamState {
        began,
        is_kept: false,
        is_streamed: false,
        is_timed: true,
        reply: BudgetedBuffer::new(usize::MAX, reply_budget),
        frame_times: Vec::new(),
        saw_token: None,
    };
    let response = ObservedResponse {
        queue,
        budget,
        started,
        secrets: Some(KnownSecrets::default()),
        head: None,
        facts,
        failure: None,
        stream,
    };
    (
        RequestObserver(observed),
        ResponseObserver(Some(Box::new(response))),
    )
}

impl RequestObserver {
    /// Of an exchange that is not observed.
    pub fn nothing() -> Self {
        RequestObserver(None)
    }

    /// These bytes go up.
    pub fn data(&mut self, data: &Bytes) {
        if let Some(observed) = &self.0 {
            observed.started.request.push(data);
        }
    }

    /// The last of them has gone up. The response may have ended the exchange before.
    pub fn complete(self) {
        if let Some(observed) = self.0 {
            complete(&observed.started, &observed.queue);
        }
    }
}

/// Ends a request, and sends its exchange once more where the worker waits for that.
fn complete(started: &StartedEvent, queue: &EventQueue) -> CapturedBody {
    started
        .request
        .complete(|| queue.push_started(started.clone()))
}

impl ResponseObserver {
    /// Of an exchange that is not observed.
    pub fn nothing() -> Self {
        ResponseObserver(None)
    }

    /// These are taken out of what the upstream says in an error. Without room for them, no such words are shown.
    pub fn hides(&mut self, secrets: KnownSecrets) {
        if let Some(observed) = &mut self.0 {
            let has_room = observed.facts.add_facts(secrets.size_estimate());
            observed.secrets = has_room.then_some(secrets);
        }
    }

    /// The upstream's head came.
    pub fn head(&mut self, status: StatusCode, headers: &HeaderMap) {
        let Some(observed) = &mut self.0 else { return };
        let text = |name: HeaderName| {
            let value = headers.get(name)?.to_str().ok()?;
            (value.len() <= LONGEST_VALUE).then(|| Arc::<str>::from(value))
        };
        let mut head = ResponseHead {
            status,
            first_byte: observed.stream.began.elapsed(),
            content_type: text(header::CONTENT_TYPE),
            content_encoding: text(header::CONTENT_ENCODING),
            headers: headers.iter().filter_map(kept).collect(),
        };
        if !observed.facts.add_facts(head.size_estimate()) {
            head.headers = Arc::default();
        }
        let stream = &mut observed.stream;
        stream.is_kept = observed.started.meta.chat || !status.is_success();
        if !observed.started.meta.chat {
            stream.reply = BudgetedBuffer::new(ERROR_BODY, Arc::clone(&observed.budget));
        }
        stream.is_streamed = head.is_streamed();
        observed.head = Some(head);
    }

    /// There will be no head, nor more of it. The exchange ended now, and settles when this is dropped, with as much of the request as will
    /// have come by then.
    pub fn failed(&mut self, error: &CallError) {
        let Some(observed) = &mut self.0 else { return };
        let why = error.to_string();
        let outcome = match error {
            CallError::Unreachable(_) => Outcome::Unreachable(why),
            CallError::Broke(_) => Outcome::Broke(why),
            CallError::ConnectTimeout | CallError::Silent => Outcome::Timeout(why),
        };
        observed.failure = Some((outcome, observed.stream.began.elapsed()));
    }

    /// Whether more of the request would be kept than has come.
    pub fn wants_request(&self) -> bool {
        self.0.as_ref().is_some_and(|observed| {
            let StartedEvent { meta, request, .. } = &observed.started;
            meta.chat && request.has_room(meta.max_body)
        })
    }

    /// The gateway itself refused, after the upstream was called.
    pub fn refused(mut self, status: StatusCode, why: String) {
        self.settle(Outcome::Refused(status, why));
    }

    fn settle(&mut self, outcome: Outcome) {
        let Some(mut observed) = self.0.take() else {
            return;
        };
        let last = observed.stream.piece();
        let ObservedResponse {
            queue,
            budget: _,
            started,
            secrets,
            head,
            facts,
            failure,
            stream: StreamState { began, .. },
        } = *observed;
        let (outcome, duration) = failure.unwrap_or_else(|| (outcome, began.elapsed()));
        // The request may still be on its way up: as far as it came by now, the upstream has answered to it.
        let request = complete(&started, &queue);
        let exchange = Exchange {
            meta: started.meta,
            started_ns: started.started_ns,
            duration,
            request,
            response: head,
            outcome,
            reply: None,
        };
        queue.push(CaptureEvent::Settled {
            exchange: Box::new(exchange),
            last,
            facts,
            secrets,
        });
    }
}

#[cfg(test)]
impl ResponseObserver {
    /// Bytes that are held of an exchange until it settles.
    pub(super) fn size_estimate(&self) -> usize {
        self.0.as_ref().map_or(0, |observed| {
            let stream = &observed.stream;
            size_of::<ObservedResponse>()
                + size_of::<RequestMeta>()
                + observed.started.meta.size_estimate()
                + observed
                    .secrets
                    .as_ref()
                    .map_or(0, KnownSecrets::size_estimate)
                + observed
                    .head
                    .as_ref()
                    .map_or(0, ResponseHead::size_estimate)
                + observed.started.request.size_estimate()
                + stream.reply.capacity()
                + stream.frame_times.capacity() * size_of::<FrameTime>()
        })
    }
}

impl ObservedResponse {
    /// Hands the copy so far to the worker.
    fn pass_on(&mut self) {
        let Some(head) = self.head.clone() else {
            return;
        };
        let stream = &mut self.stream;
        let saw_token = stream.saw_token.get_or_insert_default();
        stream.is_timed &= !saw_token.load(Ordering::Relaxed);
        let saw_token = Arc::clone(saw_token);
        self.queue.push(CaptureEvent::ReplyPiece {
            meta: Arc::clone(&self.started.meta),
            head,
            saw_token,
            piece: stream.piece(),
        });
        if stream.reply.is_short_of_room() {
            self.queue.flush();
        }
    }
}

impl StreamState {
    /// Whether there is room for `more` bytes in the piece under way.
    fn has_room(&self, more: usize) -> bool {
        let held = self.reply.bytes().len();
        held == 0 || held + more <= PIECE && self.frame_times.len() < FRAMES
    }

    fn take(&mut self, data: &[u8]) {
        if self.is_streamed {
            // Growing step by step it would end with half as much again.
            self.reply.claim(PIECE.max(data.len()));
        }
        self.reply.push(data);
        self.is_kept = !self.reply.is_cut();
        if self.is_timed {
            let end = self.reply.bytes().len();
            self.frame_times.push((end, self.began.elapsed()));
        }
    }

    fn piece(&mut self) -> ReplyPiece {
        let frame_times = std::mem::take(&mut self.frame_times);
        let times = frame_times.capacity() * size_of::<FrameTime>();
        // The queue may have room for twice its events.
        self.reply.weigh(2 * size_of::<CaptureEvent>() + times);
        self.is_kept &= !self.reply.is_cut();
        ReplyPiece {
            bytes: self.reply.take(),
            frame_times,
        }
    }
}

impl BodyObserver<ResponseBodyError> for ResponseObserver {
    fn data(&mut self, data: &Bytes) {
        let Some(observed) = &mut self.0 else { return };
        if !observed.stream.is_kept {
            return;
        }
        if !observed.stream.has_room(data.len()) {
            observed.pass_on();
        }
        let stream = &mut observed.stream;
        stream.take(data);
        if stream.reply.bytes().len() >= PIECE || !stream.is_kept {
            observed.pass_on();
        }
    }

    fn end(mut self, end: BodyEnd<'_, ResponseBodyError>) {
        self.settle(match end {
            BodyEnd::Complete => Outcome::Complete,
            BodyEnd::Abandoned => Outcome::ClientLeft,
            BodyEnd::Failed(
                broken @ (ResponseBodyError::Upstream(_) | ResponseBodyError::Reset),
            ) => Outcome::Broke(broken.to_string()),
            BodyEnd::Failed(broken @ ResponseBodyError::Silent(_)) => {
                Outcome::Timeout(broken.to_string())
            }
        });
    }
}

impl Drop for ResponseObserver {
    fn drop(&mut self) {
        self.settle(Outcome::ClientLeft);
    }
}
