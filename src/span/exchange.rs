//! An exchange becomes its span: a model call's, with what was asked and answered, or a plain task's for every other endpoint.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::chat;
use super::identity;
use super::{
    Attributes, Collect, Head, Name, Placement, Sink, Span, SpanId, TraceId, ValueRef, key,
    tell_all,
};
use crate::exchange::{Exchange, ExchangeId, Outcome, ParsedReply, RequestMeta};
use crate::openai::ChatRequest;

/// What a client that left is recorded as, there being no status for it; nginx's word.
const CLIENT_CLOSED_REQUEST: i64 = 499;

/// The span of `exchange` where its own headers say that it stands.
pub fn span(exchange: &Exchange) -> Span {
    tell(exchange, &told_place(exchange), Collect)
}

/// Tells the span of `exchange`, standing at `place`. Everything in it is a function of the two.
pub fn tell<S: Sink>(exchange: &Exchange, place: &Placement, sink: S) -> S::Told {
    let meta = &*exchange.meta;
    if meta.chat {
        let asked = &exchange.request;
        asked.asks(meta, |request| tell_asked(exchange, place, request, sink))
    } else {
        tell_asked(exchange, place, None, sink)
    }
}

fn tell_asked<S: Sink>(
    exchange: &Exchange,
    place: &Placement,
    request: Option<&ChatRequest<'_>>,
    sink: S,
) -> S::Told {
    let (meta, reply) = (&*exchange.meta, exchange.reply.as_ref());
    let outcome = SpanOutcome::of(exchange, reply);
    let answered = reply.and_then(|reply| reply.chat.model.as_deref());
    let asked = request.and_then(|request| request.model.as_deref());
    let head = Head {
        trace_id: place.trace_id,
        span_id: span_id(meta.id),
        parent_span_id: place.parent_span_id,
        name: &name(meta, answered.or(asked)),
        start_ns: place.wall_ns(place.start_ns),
        end_ns: place.wall_ns(exchange.ended_ns()),
        error: outcome.message.as_deref(),
        events: &place.events,
    };
    sink.span(&head, |put| {
        if meta.chat {
            chat::kind_attributes(meta.system, put);
            set(put, key::ENTITY_NAME, "openai.chat");
            set(put, key::ENTITY_PATH, "openai.chat");
            put_call(put, exchange, request);
        } else {
            set(put, key::LOG_TYPE, "task");
            let called = format!("{} {}", meta.method, meta.path);
            set(put, key::ENTITY_NAME, called.as_str());
            set(put, key::ENTITY_PATH, "");
        }
        put_transport(put, exchange, &outcome);
        identity::attributes(&meta.identity, put);
        put_notes(put, exchange, reply, &outcome);
        tell_all(&place.notes, put);
    })
}

/// The name of an exchange's span, whose `model` answered, or was asked for.
pub fn name(meta: &RequestMeta, model: Option<&str>) -> String {
    let told = meta.identity.span_name.clone();
    told.unwrap_or_else(|| match (model, meta.chat) {
        (Some(model), true) => format!("llm.{}", plain(model)),
        (None, true) => "llm.unknown".to_owned(),
        (_, false) => "task".to_owned(),
    })
}

/// Where the span of `exchange` stands by what its own headers say: in the trace that they name, else in a trace of its own.
pub fn told_place(exchange: &Exchange) -> Placement {
    let identity = &exchange.meta.identity;
    Placement {
        trace_id: identity
            .trace
            .map_or_else(|| own_trace(exchange.meta.id), |told| told.id),
        // A parent is in a trace: without one that was told it would point nowhere.
        parent_span_id: identity.parent.filter(|_| identity.trace.is_some()),
        start_ns: exchange.started_ns,
        wall_offset_ns: exchange.meta.wall_offset_ns,
        events: Vec::new(),
        notes: Vec::new(),
        model: None,
        task: None,
    }
}

/// Whether the span of `exchange` says that it did not go well.
pub fn went_wrong(exchange: &Exchange) -> bool {
    failure(exchange).is_some()
}

/// Why `exchange` did not go well, as its span says it; none where it did.
pub fn failure(exchange: &Exchange) -> Option<Cow<'_, str>> {
    SpanOutcome::of(exchange, exchange.reply.as_ref()).message
}

/// How `exchange` ended, in the word that its span has for it (`respan.metadata.spangate_outcome`): one of a few.
pub fn outcome(exchange: &Exchange) -> &'static str {
    SpanOutcome::of(exchange, exchange.reply.as_ref()).word
}

/// How an exchange truly ended: by its transport, and by what the reply says of itself.
struct SpanOutcome<'e> {
    word: &'static str,
    /// Why it did not go well.
    message: Option<Cow<'e, str>>,
    /// A class of errors, OpenAI's own word where it gave one.
    kind: Option<Cow<'e, str>>,
    status_code: Option<i64>,
}

impl<'e> SpanOutcome<'e> {
    fn of(exchange: &'e Exchange, reply: Option<&'e ParsedReply>) -> Self {
        let status = exchange.response.as_ref().map(|answer| answer.status);
        let status_code = status.map(|status| i64::from(status.as_u16()));
        let ended = |word: &'static str, message: &'e str, status_code| SpanOutcome {
            word,
            message: Some(Cow::Borrowed(message)),
            kind: Some(Cow::Borrowed(word)),
            status_code,
        };
        let told = reply.and_then(|reply| reply.chat.error.as_ref());
        // Moderation and validation quote what was sent, so in metadata mode their words stay here.
        let words = told
            .and_then(|error| error.message.as_deref())
            .filter(|_| exchange.meta.content)
            .map(Cow::Borrowed);
        let kind = told
            .and_then(|error| error.kind.as_deref().or(error.code.as_deref()))
            .map(Cow::Borrowed);
        let says_it_ended = reply.is_some_and(|reply| exchange.meta.chat && reply.ended);
        match (&exchange.outcome, status) {
            (Outcome::Unreachable(why), _) => ended("unreachable", why, Some(502)),
            (Outcome::Timeout(why), _) => ended("timeout", why, status_code.or(Some(504))),
            (Outcome::Refused(status, why), _) => {
                ended("refused", why, Some(i64::from(status.as_u16())))
            }
            (Outcome::Recovered, _) => ended(
                "recovered",
                "the gateway was killed before this ended; what is here was known by then",
                None,
            ),
            (Outcome::Broke(why), _) => ended("upstream_broke", why, status_code.or(Some(502))),
            // A client may close as soon as it has read the reply's own end.
            (Outcome::ClientLeft, _) if !says_it_ended => ended(
                "client_left",
                "the client left before the response ended",
                Some(CLIENT_CLOSED_REQUEST),
            ),
            (_, Some(status)) if status.is_client_error() || status.is_server_error() => {
                SpanOutcome {
                    word: "refused",
                    message: words
                        .or_else(|| Some(format!("the upstream answered {status}").into())),
                    kind: kind.or_else(|| Some(status.as_u16().to_string().into())),
                    status_code,
                }
            }
            _ if told.is_some() && exchange.meta.chat => SpanOutcome {
                word: "stream_error",
                message: words.or(Some("the reply holds an error".into())),
                kind: kind.or(Some("stream_error".into())),
                status_code,
            },
            _ if is_empty(exchange, reply) => {
                ended("empty", "the upstream answered with nothing", status_code)
            }
            _ if lacks_its_end(exchange, reply) => ended(
                "upstream_broke",
                "the reply is not whole, although the upstream ended it as if it were",
                status_code,
            ),
            _ => SpanOutcome {
                word: "complete",
                message: None,
                kind: None,
                status_code,
            },
        }
    }
}

/// A success whose transport ended well and that has neither a choice nor an error in it: no byte, comments, `[DONE]` alone.
fn is_empty(exchange: &Exchange, reply: Option<&ParsedReply>) -> bool {
    is_success(exchange)
        && exchange.outcome == Outcome::Complete
        && reply.is_some_and(|reply| {
            let chat = &reply.chat;
            let is_known = !chat.cut && !chat.undecodable;
            // Bytes that broke off before any choice are for `lacks_its_end`.
            let is_over = reply.ended || !(chat.broken_off || chat.id.is_some());
            is_known && is_over && chat.choices.is_empty() && chat.error.is_none()
        })
}

/// The upstream answered to a chat completion with a status of success.
fn is_success(exchange: &Exchange) -> bool {
    let answer = exchange.response.as_ref();
    exchange.meta.chat && answer.is_some_and(|answer| answer.status.is_success())
}

/// A reply whose transport ended well and which is not whole all the same: a body without a told length ends like that when the upstream dies.
fn lacks_its_end(exchange: &Exchange, reply: Option<&ParsedReply>) -> bool {
    is_success(exchange)
        && reply.is_some_and(|reply| {
            let chat = &reply.chat;
            let is_known = !chat.cut && !chat.undecodable;
            let has_begun = chat.id.is_some() || !chat.choices.is_empty();
            is_known && !reply.ended && (chat.broken_off || has_begun && !chat.is_finished())
        })
}

/// What was asked and answered.
fn put_call(put: &mut impl Attributes, exchange: &Exchange, request: Option<&ChatRequest<'_>>) {
    let (meta, reply) = (&*exchange.meta, exchange.reply.as_ref());
    let streaming = is_streaming(exchange, request);
    let twice = meta.content && meta.entity_content;
    if let Some(request) = request {
        chat::request_attributes(request, streaming, meta.content, put);
        if twice {
            chat::entity_input(request, put);
        }
    }
    let Some(reply) = reply else {
        return;
    };
    chat::reply_attributes(&reply.chat, meta.content, put);
    if twice {
        chat::entity_output(&reply.chat, put);
    }
    if let Some(first) = reply.first_token
        && streaming == Some(true)
    {
        set(put, key::TIME_TO_FIRST_TOKEN, first.as_secs_f64());
    }
}

/// Whether the call streams: as it was asked for, or as it was answered, where that is all there is to see.
fn is_streaming(exchange: &Exchange, request: Option<&ChatRequest<'_>>) -> Option<bool> {
    let asked = request.and_then(|request| request.stream);
    if asked == Some(true) || exchange.is_streamed() {
        return Some(true);
    }
    // Without the member OpenAI does not stream; of a body that was cut nobody knows before it is answered.
    let is_whole = request.is_some_and(|request| !request.incomplete);
    let is_answered = exchange
        .response
        .as_ref()
        .is_some_and(|answer| answer.status.is_success());
    asked.or((is_whole || is_answered).then_some(false))
}

fn put_transport(put: &mut impl Attributes, exchange: &Exchange, outcome: &SpanOutcome<'_>) {
    let meta = &exchange.meta;
    set(put, key::HTTP_METHOD, meta.method.as_str());
    set(put, key::URL_PATH, meta.path.as_str());
    if let Some(code) = outcome.status_code {
        set(put, key::STATUS_CODE, code);
    }
    if let Some(answer) = &exchange.response {
        set(put, key::HTTP_STATUS, i64::from(answer.status.as_u16()));
        for (name, value) in answer.headers.iter() {
            let name = Name::Prefixed(key::RESPONSE_HEADER_PREFIX, name);
            put.put(name, ValueRef::Texts(&[value]));
        }
    }
    put_error(put, exchange, outcome);
}

/// What the reply has not told of its own error: see [`chat::reply_attributes`].
fn put_error(put: &mut impl Attributes, exchange: &Exchange, outcome: &SpanOutcome<'_>) {
    let meta = &exchange.meta;
    let reply = exchange.reply.as_ref().filter(|_| meta.chat);
    let told = reply.and_then(|reply| reply.chat.error.as_ref());
    if let Some(message) = &outcome.message
        && !(meta.content && told.is_some_and(|error| error.message.is_some()))
    {
        set(put, key::ERROR_MESSAGE, &**message);
    }
    if let Some(kind) = &outcome.kind
        && told.is_none_or(|error| error.kind.is_none())
    {
        set(put, key::ERROR_TYPE, &**kind);
    }
}

/// What the gateway itself has to say, as metadata.
fn put_notes(
    put: &mut impl Attributes,
    exchange: &Exchange,
    reply: Option<&ParsedReply>,
    outcome: &SpanOutcome<'_>,
) {
    let meta = &exchange.meta;
    set(put, key::OUTCOME, outcome.word);
    set(put, key::EXCHANGE, meta.id.to_string().as_str());
    if let Some(count) = meta.retry.filter(|count| *count > 0) {
        set(put, key::RETRY_COUNT, count.to_string().as_str());
    }
    let request = exchange.request.is_cut() && meta.chat;
    let response = reply.is_some_and(|reply| reply.chat.cut && meta.chat);
    match (request, response) {
        (true, true) => set(put, key::CUT, "request, response"),
        (true, false) => set(put, key::CUT, "request"),
        (false, true) => set(put, key::CUT, "response"),
        (false, false) => {}
    }
    if reply.is_some_and(|reply| reply.chat.undecodable && meta.chat) {
        set(put, key::UNDECODABLE, "response");
    }
    let unreadable = &meta.identity.unreadable;
    if !unreadable.is_empty() {
        set(put, key::UNREADABLE, unreadable.join("; ").as_str());
    }
}

/// The trace that begins with this exchange.
pub fn own_trace(id: ExchangeId) -> TraceId {
    let mut trace = [0; 16];
    trace.copy_from_slice(&derived(b"spangate trace of one exchange", id)[..16]);
    TraceId(trace)
}

/// The id of an exchange's span: made again after a crash it is the same.
pub fn span_id(id: ExchangeId) -> SpanId {
    let mut span = [0; 8];
    span.copy_from_slice(&derived(b"spangate span of an exchange", id)[..8]);
    SpanId(span)
}

fn derived(what: &[u8], id: ExchangeId) -> [u8; 32] {
    let mut hash: [u8; 32] = Sha256::new()
        .chain_update(what)
        .chain_update(id.as_bytes())
        .finalize()
        .into();
    // Ids of zeros only are invalid.
    hash[7] |= 1;
    hash
}

/// Respan's spelling of a name within a span's name.
pub(super) fn plain(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_alphanumeric() || "_.-".contains(character) {
            plain.push(character);
        } else if !plain.ends_with('_') {
            plain.push('_');
        }
    }
    plain
}

fn set<'v>(put: &mut impl Attributes, key: &'static str, value: impl Into<ValueRef<'v>>) {
    put.put(Name::Fixed(key), value.into());
}

#[cfg(test)]
mod tests;
