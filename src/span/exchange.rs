//! The span of an exchange: a `chat` span with request and reply for a model call, a `task` span for every other endpoint.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::chat;
use super::identity;
use super::{
    AttributeEncoder, AttributeName, Placement, Span, SpanCollector, SpanEncoder, SpanHead, SpanId,
    TraceId, ValueRef, emit_attributes, key,
};
use crate::exchange::{Exchange, ExchangeId, Outcome, ParsedReply, RequestMeta};
use crate::openai::ChatRequest;

/// The status of a call whose client left: HTTP has none, this is nginx's.
const CLIENT_CLOSED_REQUEST: i64 = 499;

/// The span of `exchange` with the placement that its own headers give.
pub fn span(exchange: &Exchange) -> Span {
    emit(exchange, &explicit_placement(exchange), SpanCollector)
}

/// Emits the span of `exchange` at `place`: a pure function of the two.
pub fn emit<E: SpanEncoder>(exchange: &Exchange, place: &Placement, encoder: E) -> E::Output {
    let meta = &*exchange.meta;
    if meta.chat {
        let body = &exchange.request;
        body.with_request(meta, |request| {
            emit_parsed(exchange, place, request, encoder)
        })
    } else {
        emit_parsed(exchange, place, None, encoder)
    }
}

fn emit_parsed<E: SpanEncoder>(
    exchange: &Exchange,
    place: &Placement,
    request: Option<&ChatRequest<'_>>,
    encoder: E,
) -> E::Output {
    let (meta, reply) = (&*exchange.meta, exchange.reply.as_ref());
    let outcome = SpanOutcome::of(exchange, reply);
    let answered = reply.and_then(|reply| reply.chat.model.as_deref());
    let requested = request.and_then(|request| request.model.as_deref());
    let head = SpanHead {
        trace_id: place.trace_id,
        span_id: span_id(meta.id),
        parent_span_id: place.parent_span_id,
        name: &name(meta, answered.or(requested)),
        start_ns: place.wall_ns(place.start_steady_ns),
        end_ns: place.wall_ns(exchange.ended_ns()),
        error: outcome.message.as_deref(),
        events: &place.events,
    };
    encoder.span(&head, |out| {
        if meta.chat {
            chat::kind_attributes(meta.system, out);
            set(out, key::ENTITY_NAME, "openai.chat");
            set(out, key::ENTITY_PATH, "openai.chat");
            put_call(out, exchange, request);
        } else {
            set(out, key::LOG_TYPE, "task");
            let route = format!("{} {}", meta.method, meta.path);
            set(out, key::ENTITY_NAME, route.as_str());
            set(out, key::ENTITY_PATH, "");
        }
        put_transport(out, exchange, &outcome);
        identity::attributes(&meta.identity, out);
        put_notes(out, exchange, reply, &outcome);
        emit_attributes(&place.notes, out);
    })
}

/// The name of an exchange's span. `model` is the one that answered, else the requested one.
pub fn name(meta: &RequestMeta, model: Option<&str>) -> String {
    let explicit = meta.identity.span_name.clone();
    explicit.unwrap_or_else(|| match (model, meta.chat) {
        (Some(model), true) => format!("llm.{}", plain(model)),
        (None, true) => "llm.unknown".to_owned(),
        (_, false) => "task".to_owned(),
    })
}

/// The placement that the headers of `exchange` give: in the trace that they name, else in a trace of its own.
pub fn explicit_placement(exchange: &Exchange) -> Placement {
    let identity = &exchange.meta.identity;
    Placement {
        trace_id: identity
            .trace
            .map_or_else(|| own_trace(exchange.meta.id), |trace| trace.id),
        // Without an explicit trace the parent would be a span of no trace.
        parent_span_id: identity.parent.filter(|_| identity.trace.is_some()),
        start_steady_ns: exchange.started_ns,
        wall_offset_ns: exchange.meta.wall_offset_ns,
        events: Vec::new(),
        notes: Vec::new(),
        model: None,
        task: None,
    }
}

/// Whether the span of `exchange` has the status of an error.
pub fn has_failed(exchange: &Exchange) -> bool {
    failure(exchange).is_some()
}

/// The error message of the span of `exchange`; none for success.
pub fn failure(exchange: &Exchange) -> Option<Cow<'_, str>> {
    SpanOutcome::of(exchange, exchange.reply.as_ref()).message
}

/// The outcome of `exchange` in the word of its span (`respan.metadata.spangate_outcome`), one of a fixed set.
pub fn outcome(exchange: &Exchange) -> &'static str {
    SpanOutcome::of(exchange, exchange.reply.as_ref()).word
}

/// The outcome of an exchange, from its transport and from the end that the reply itself reports.
struct SpanOutcome<'e> {
    word: &'static str,
    /// The reason of a failure.
    message: Option<Cow<'e, str>>,
    /// The class of the error, in OpenAI's word where the reply has one.
    kind: Option<Cow<'e, str>>,
    status_code: Option<i64>,
}

impl<'e> SpanOutcome<'e> {
    fn of(exchange: &'e Exchange, reply: Option<&'e ParsedReply>) -> Self {
        let status = exchange.response.as_ref().map(|response| response.status);
        let status_code = status.map(|status| i64::from(status.as_u16()));
        let ended = |word: &'static str, message: &'e str, status_code| SpanOutcome {
            word,
            message: Some(Cow::Borrowed(message)),
            kind: Some(Cow::Borrowed(word)),
            status_code,
        };
        let error_of_reply = reply.and_then(|reply| reply.chat.error.as_ref());
        // Messages of moderation and validation quote the prompt, so metadata mode leaves them out.
        let quoted = error_of_reply
            .and_then(|error| error.message.as_deref())
            .filter(|_| exchange.meta.content)
            .map(Cow::Borrowed);
        let kind = error_of_reply
            .and_then(|error| error.kind.as_deref().or(error.code.as_deref()))
            .map(Cow::Borrowed);
        let has_terminal_event = reply.is_some_and(|reply| exchange.meta.chat && reply.ended);
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
            // A client may close as soon as it has read the terminal event of the reply.
            (Outcome::ClientLeft, _) if !has_terminal_event => ended(
                "client_left",
                "the client left before the response ended",
                Some(CLIENT_CLOSED_REQUEST),
            ),
            (_, Some(status)) if status.is_client_error() || status.is_server_error() => {
                SpanOutcome {
                    word: "refused",
                    message: quoted
                        .or_else(|| Some(format!("the upstream answered {status}").into())),
                    kind: kind.or_else(|| Some(status.as_u16().to_string().into())),
                    status_code,
                }
            }
            _ if error_of_reply.is_some() && exchange.meta.chat => SpanOutcome {
                word: "stream_error",
                message: quoted.or(Some("the reply holds an error".into())),
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

/// A success without any choice or error, though its transport ended well: no byte, only comments, or only `[DONE]`.
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

/// Whether this is a chat completion with a 2xx status.
fn is_success(exchange: &Exchange) -> bool {
    let response = exchange.response.as_ref();
    exchange.meta.chat && response.is_some_and(|response| response.status.is_success())
}

/// A reply that is not whole, though its transport ended well: so ends a body without a declared length when the upstream dies.
fn lacks_its_end(exchange: &Exchange, reply: Option<&ParsedReply>) -> bool {
    is_success(exchange)
        && reply.is_some_and(|reply| {
            let chat = &reply.chat;
            let is_known = !chat.cut && !chat.undecodable;
            let has_begun = chat.id.is_some() || !chat.choices.is_empty();
            is_known && !reply.ended && (chat.broken_off || has_begun && !chat.is_finished())
        })
}

fn put_call(
    out: &mut impl AttributeEncoder,
    exchange: &Exchange,
    request: Option<&ChatRequest<'_>>,
) {
    let (meta, reply) = (&*exchange.meta, exchange.reply.as_ref());
    let streaming = is_streaming(exchange, request);
    let twice = meta.content && meta.entity_content;
    if let Some(request) = request {
        chat::request_attributes(request, streaming, meta.content, out);
        if twice {
            chat::entity_input(request, out);
        }
    }
    let Some(reply) = reply else {
        return;
    };
    chat::reply_attributes(&reply.chat, meta.content, out);
    if twice {
        chat::entity_output(&reply.chat, out);
    }
    if let Some(first) = reply.first_token
        && streaming == Some(true)
    {
        set(out, key::TIME_TO_FIRST_TOKEN, first.as_secs_f64());
    }
}

/// Whether the call streams, by its request or, failing that, by its response.
fn is_streaming(exchange: &Exchange, request: Option<&ChatRequest<'_>>) -> Option<bool> {
    let requested = request.and_then(|request| request.stream);
    if requested == Some(true) || exchange.is_streamed() {
        return Some(true);
    }
    // Without the member OpenAI does not stream. A cut body may have had it, so there the response decides.
    let is_whole = request.is_some_and(|request| !request.incomplete);
    let is_answered = exchange
        .response
        .as_ref()
        .is_some_and(|response| response.status.is_success());
    requested.or((is_whole || is_answered).then_some(false))
}

fn put_transport(out: &mut impl AttributeEncoder, exchange: &Exchange, outcome: &SpanOutcome<'_>) {
    let meta = &exchange.meta;
    set(out, key::HTTP_METHOD, meta.method.as_str());
    set(out, key::URL_PATH, meta.path.as_str());
    if let Some(code) = outcome.status_code {
        set(out, key::STATUS_CODE, code);
    }
    if let Some(response) = &exchange.response {
        set(out, key::HTTP_STATUS, i64::from(response.status.as_u16()));
        for (name, value) in response.headers.iter() {
            let name = AttributeName::Prefixed(key::RESPONSE_HEADER_PREFIX, name);
            out.put(name, ValueRef::Texts(&[value]));
        }
    }
    put_error(out, exchange, outcome);
}

/// The parts of the error that [`chat::reply_attributes`] has not emitted.
fn put_error(out: &mut impl AttributeEncoder, exchange: &Exchange, outcome: &SpanOutcome<'_>) {
    let meta = &exchange.meta;
    let reply = exchange.reply.as_ref().filter(|_| meta.chat);
    let error_of_reply = reply.and_then(|reply| reply.chat.error.as_ref());
    if let Some(message) = &outcome.message
        && !(meta.content && error_of_reply.is_some_and(|error| error.message.is_some()))
    {
        set(out, key::ERROR_MESSAGE, &**message);
    }
    if let Some(kind) = &outcome.kind
        && error_of_reply.is_none_or(|error| error.kind.is_none())
    {
        set(out, key::ERROR_TYPE, &**kind);
    }
}

/// The gateway's own notes, as metadata.
fn put_notes(
    out: &mut impl AttributeEncoder,
    exchange: &Exchange,
    reply: Option<&ParsedReply>,
    outcome: &SpanOutcome<'_>,
) {
    let meta = &exchange.meta;
    set(out, key::OUTCOME, outcome.word);
    set(out, key::EXCHANGE, meta.id.to_string().as_str());
    if let Some(count) = meta.retry.filter(|count| *count > 0) {
        set(out, key::RETRY_COUNT, count.to_string().as_str());
    }
    let request = exchange.request.is_cut() && meta.chat;
    let response = reply.is_some_and(|reply| reply.chat.cut && meta.chat);
    match (request, response) {
        (true, true) => set(out, key::CUT, "request, response"),
        (true, false) => set(out, key::CUT, "request"),
        (false, true) => set(out, key::CUT, "response"),
        (false, false) => {}
    }
    if reply.is_some_and(|reply| reply.chat.undecodable && meta.chat) {
        set(out, key::UNDECODABLE, "response");
    }
    let unreadable = &meta.identity.unreadable;
    if !unreadable.is_empty() {
        set(out, key::UNREADABLE, unreadable.join("; ").as_str());
    }
}

/// The id of the trace that begins with this exchange.
pub fn own_trace(id: ExchangeId) -> TraceId {
    let mut trace = [0; 16];
    trace.copy_from_slice(&derived(b"spangate trace of one exchange", id)[..16]);
    TraceId(trace)
}

/// The id of an exchange's span, the same when the span is made again after a crash.
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

/// A name in Respan's spelling for the names of spans.
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

fn set<'v>(out: &mut impl AttributeEncoder, key: &'static str, value: impl Into<ValueRef<'v>>) {
    out.put(AttributeName::Fixed(key), value.into());
}

#[cfg(test)]
mod tests;
