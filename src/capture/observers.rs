//! What watches the two bodies of an exchange. [`Answered`] is armed before the upstream is called and settles the exchange: by the end
//! of the response, by a failure, or, dropped, by the client's leaving.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::asking::Asking;
use super::queue::{Begun, Capture, Event, Piece};
use crate::exchange::{
    Budget, BudgetedBuffer, Exchange, Outcome, RequestMeta, Reservation, ResponseHead,
};
use crate::redact::KnownSecrets;
use crate::tap::{End, Observer};
use crate::upstream::{Broken, CallError};

/// A reply goes to the worker before its copy is longer than this, unless one frame is: thousands of streams hold that much each.
const PIECE: usize = 2 * 1024;
/// About what an exchange takes beside what clients and upstreams choose the length of, until the worker is done with it.
const FACTS: usize = size_of::<RequestMeta>()
    + size_of::<Watching>()
    + size_of::<Asking>()
    + size_of::<Exchange>()
    + 2 * size_of::<Event>()
    + 512;
/// Longest value of a header that says how a reply is to be read; what is longer says nothing.
const LONGEST_VALUE: usize = 1024;
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

/// Watches a request's body.
pub struct Asked(Option<Going>);

struct Going {
    capture: Capture,
    meta: Arc<RequestMeta>,
    started_ns: u64,
    request: Arc<Asking>,
}

/// Watches a response, from before it exists.
pub struct Answered(Option<Box<Watching>>);

struct Watching {
    capture: Capture,
    meta: Arc<RequestMeta>,
    started_ns: u64,
    request: Arc<Asking>,
    secrets: KnownSecrets,
    answer: Option<ResponseHead>,
    facts: Reservation,
    /// It failed like this, after so long; the rest of the request may still come.
    failure: Option<(Outcome, Duration)>,
    passing: Passing,
}

/// What every frame of a reply touches stands together: of a thousand streams it is seldom in the processor's caches.
struct Passing {
    started: Instant,
    /// Copy the response.
    keep: bool,
    /// It is a stream of events: frames are small, and a piece gets full.
    streamed: bool,
    /// Somebody may ask when a frame came.
    timed: bool,
    reply: BudgetedBuffer,
    marks: Vec<(usize, Duration)>,
    /// Set by the worker once it has seen the first token; none until there was a piece.
    saw_token: Option<Arc<AtomicBool>>,
}

/// The name of a response header that a span keeps, when this is one.
pub fn kept_header(name: &str) -> Option<&'static str> {
    KEPT_HEADERS.into_iter().find(|kept| *kept == name)
}

fn kept((name, value): (&HeaderName, &HeaderValue)) -> Option<(&'static str, String)> {
    Some((kept_header(name.as_str())?, value.to_str().ok()?.to_owned()))
}

/// Begins to watch an exchange.
pub(super) fn open(
    capture: Capture,
    mut meta: RequestMeta,
    request_length: Option<u64>,
) -> (Asked, Answered) {
    let Some(facts) = capture.budget().facts(FACTS + meta.weight()) else {
        capture.dropped();
        return (Asked::nothing(), Answered::nothing());
    };
    let request = Arc::new(Asking::new(&meta, capture.budget(), request_length));
    let started = Instant::now();
    let moment = capture.clock().read(started, SystemTime::now());
    let started_ns = moment.steady_ns;
    meta.wall_offset_ns = moment.wall_offset_ns;
    let meta = Arc::new(meta);
    capture.began(Begun {
        meta: Arc::clone(&meta),
        started_ns,
        request: Arc::clone(&request),
    });
    let going = Going {
        capture: capture.clone(),
        meta: Arc::clone(&meta),
        started_ns,
        request: Arc::clone(&request),
    };
    let asked = Asked(meta.chat.then_some(going));
    // All of a reply may pass, but no more than this of it waits for the worker.
    let reply_budget = Budget::within(capture.budget(), meta.max_body);
    let reply = BudgetedBuffer::new(usize::MAX, reply_budget);
    let watching = Watching {
        capture,
        meta,
        started_ns,
        request,
        secrets: KnownSecrets::default(),
        answer: None,
        facts,
        failure: None,
        passing: Passing {
            started,
            keep: false,
            streamed: false,
            timed: true,
            reply,
            marks: Vec::new(),
            saw_token: None,
        },
    };
    (asked, Answered(Some(Box::new(watching))))
}

impl Asked {
    /// Of an exchange that is not watched.
    pub fn nothing() -> Self {
        Asked(None)
    }

    /// These bytes go up.
    pub fn data(&mut self, data: &Bytes) {
        if let Some(going) = &self.0 {
            going.request.push(data);
        }
    }

    /// The last of them has gone up.
    pub fn complete(self) {
        let Some(going) = self.0 else { return };
        // The answer may have come, and the exchange have ended, before the last of the request.
        if going.request.is_over() {
            return;
        }
        if let Some(body) = going.request.complete() {
            going.capture.asked(&going.meta, body);
        }
        going.capture.push(Event::Asked {
            meta: going.meta,
            started_ns: going.started_ns,
            request: going.request.end(),
        });
    }
}

impl Answered {
    /// Of an exchange that is not watched.
    pub fn nothing() -> Self {
        Answered(None)
    }

    /// These are taken out of what the upstream says in an error.
    pub fn hides(&mut self, secrets: KnownSecrets) {
        if let Some(watching) = &mut self.0 {
            watching.facts.add_anyway(secrets.weight());
            watching.secrets = secrets;
        }
    }

    /// The upstream's head came.
    pub fn head(&mut self, status: StatusCode, headers: &HeaderMap) {
        let Some(watching) = &mut self.0 else { return };
        let text = |name| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .filter(|value| value.len() <= LONGEST_VALUE)
                .map(Arc::from)
        };
        let mut kept: Vec<_> = headers.iter().filter_map(kept).collect();
        let weight = |(_, value): &(_, String)| size_of::<(&str, String)>() + value.len();
        let taken: usize = kept.iter().map(weight).sum();
        if !watching.facts.add_facts(taken) {
            kept.clear();
        }
        let passing = &mut watching.passing;
        passing.keep = watching.meta.chat || !status.is_success();
        if !watching.meta.chat {
            passing.reply = BudgetedBuffer::new(ERROR_BODY, Arc::clone(watching.capture.budget()));
        }
        let answer = watching.answer.insert(ResponseHead {
            status,
            first_byte: passing.started.elapsed(),
            content_type: text(header::CONTENT_TYPE.as_str()),
            content_encoding: text(header::CONTENT_ENCODING.as_str()),
            headers: kept.into(),
        });
        passing.streamed = answer.is_streamed();
    }

    /// There will be no head, nor more of it. The exchange ended now, and settles when this is dropped, with as much of the request as will
    /// have come by then.
    pub fn failed(&mut self, error: &CallError) {
        let Some(watching) = &mut self.0 else { return };
        let why = error.to_string();
        let outcome = match error {
            CallError::Unreachable(_) => Outcome::Unreachable(why),
            CallError::Broke(_) => Outcome::Broke(why),
            CallError::ConnectTimeout | CallError::Silent => Outcome::Timeout(why),
        };
        watching.failure = Some((outcome, watching.passing.started.elapsed()));
    }

    /// Whether more of the request would be kept than has come.
    pub fn wants_request(&self) -> bool {
        self.0.as_ref().is_some_and(|watching| {
            let meta = &watching.meta;
            meta.chat && watching.request.has_room(meta.max_body)
        })
    }

    /// The gateway itself refused, after the upstream was called.
    pub fn refused(mut self, status: StatusCode, why: String) {
        self.settle(Outcome::Refused(status, why));
    }

    fn settle(&mut self, outcome: Outcome) {
        if let Some(mut watching) = self.0.take() {
            let last = watching.passing.piece();
            let Watching {
                capture,
                meta,
                started_ns,
                request,
                secrets,
                answer,
                facts,
                failure,
                passing: Passing { started, .. },
            } = *watching;
            let (outcome, duration) = failure.unwrap_or_else(|| (outcome, started.elapsed()));
            // The request may still be on its way up: what it is by now is what the upstream answered to.
            if let Some(body) = request.complete() {
                capture.asked(&meta, body);
            }
            let request = request.end();
            let exchange = Exchange {
                meta,
                started_ns,
                duration,
                request,
                response: answer,
                outcome,
                reply: None,
            };
            capture.push(Event::Settled {
                exchange: Box::new(exchange),
                last,
                facts,
                secrets,
            });
        }
    }
}

impl Watching {
    /// Hands what was copied to the worker.
    fn pass_on(&mut self) {
        let Some(answer) = self.answer.clone() else {
            return;
        };
        let saw_token = self.passing.saw_token.get_or_insert_default();
        self.passing.timed &= !saw_token.load(Ordering::Relaxed);
        self.capture.push(Event::Piece {
            meta: Arc::clone(&self.meta),
            answer,
            saw_token: Arc::clone(saw_token),
            piece: self.passing.piece(),
        });
        if self.passing.reply.is_short_of_room() {
            self.capture.hurry();
        }
    }
}

impl Passing {
    /// Whether there is room for `more` bytes in the piece under way.
    fn has_room(&self, more: usize) -> bool {
        let held = self.reply.bytes().len();
        held == 0 || held + more <= PIECE
    }

    fn take(&mut self, data: &[u8]) {
        if self.streamed {
            // Growing step by step it would end with half as much again.
            self.reply.claim(PIECE.max(data.len()));
        }
        self.reply.push(data);
        self.keep = !self.reply.is_cut();
        if self.timed {
            let end = self.reply.bytes().len();
            self.marks.push((end, self.started.elapsed()));
        }
    }

    fn piece(&mut self) -> Piece {
        let marks = std::mem::take(&mut self.marks);
        self.reply.weigh(size_of::<Event>() + size_of_val(&*marks));
        self.keep &= !self.reply.is_cut();
        Piece {
            bytes: self.reply.take(),
            marks,
        }
    }
}

impl Observer<Broken> for Answered {
    fn data(&mut self, data: &Bytes) {
        let Some(watching) = &mut self.0 else { return };
        if !watching.passing.keep {
            return;
        }
        if !watching.passing.has_room(data.len()) {
            watching.pass_on();
        }
        let passing = &mut watching.passing;
        passing.take(data);
        if passing.reply.bytes().len() >= PIECE || !passing.keep {
            watching.pass_on();
        }
    }

    fn end(mut self, end: End<'_, Broken>) {
        self.settle(match end {
            End::Complete => Outcome::Complete,
            End::Abandoned => Outcome::ClientLeft,
            End::Failed(broken @ (Broken::Upstream(_) | Broken::Withdrawn)) => {
                Outcome::Broke(broken.to_string())
            }
            End::Failed(broken @ Broken::Silent(_)) => Outcome::Timeout(broken.to_string()),
        });
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.settle(Outcome::ClientLeft);
    }
}
