//! An exchange becomes its span: a model call's, with what was asked and answered, or a plain task's for every other endpoint.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::chat;
use super::{Key, Place, Span, SpanId, Status, TraceId, Value, key};
use crate::capture::{Ending, Exchange, ExchangeId, Kept, Opening, Reading};
use crate::encoding::Decoder;
use crate::openai::{ChatReply, ChatRequest};

/// What a client that left is recorded as, there being no status for it; nginx's word.
const CLIENT_CLOSED_REQUEST: i64 = 499;

/// The span of `exchange`. Everything in it is a function of the exchange.
pub fn span(exchange: &Exchange) -> Span {
    let (opening, reading) = (&exchange.opening, exchange.reading.as_ref());
    let outcome = Outcome::of(exchange, reading);
    let mut attributes = Vec::with_capacity(48);
    let put = &mut attributes;
    let mut model = None;
    if opening.chat {
        chat::kind_attributes(opening.system, put);
        set(put, key::ENTITY_NAME, text("openai.chat"));
        set(put, key::ENTITY_PATH, text("openai.chat"));
        model = put_call(put, exchange, reading);
    } else {
        set(put, key::LOG_TYPE, text("task"));
        set(
            put,
            key::ENTITY_NAME,
            Value::Text(format!("{} {}", opening.method, opening.path)),
        );
        set(put, key::ENTITY_PATH, text(""));
    }
    put_transport(put, exchange, &outcome);
    opening.identity.attributes(put);
    put_notes(put, exchange, reading, &outcome);

    let name = name(opening, model.as_deref());
    let place = told_place(exchange);
    Span {
        trace_id: place.trace_id,
        span_id: span_id(opening.id),
        parent_span_id: place.parent_span_id,
        name,
        start_ns: place.start_ns,
        end_ns: exchange.ended_ns(),
        status: outcome.message.map_or(Status::Ok, Status::Error),
        attributes,
        events: place.events,
    }
}

/// The name of an exchange's span, whose `model` answered, or was asked for.
pub fn name(opening: &Opening, model: Option<&str>) -> String {
    let told = opening.identity.span_name.clone();
    told.unwrap_or_else(|| match (model, opening.chat) {
        (Some(model), true) => format!("llm.{}", plain(model)),
        (None, true) => "llm.unknown".to_owned(),
        (_, false) => "task".to_owned(),
    })
}

/// Where the span of `exchange` stands by what its own headers say: in the trace that they name, else in a trace of its own.
pub fn told_place(exchange: &Exchange) -> Place {
    let identity = &exchange.opening.identity;
    Place {
        trace_id: identity
            .trace
            .map_or_else(|| own_trace(exchange.opening.id), |told| told.id),
        // A parent is in a trace: without one that was told it would point nowhere.
        parent_span_id: identity.parent.filter(|_| identity.trace.is_some()),
        start_ns: exchange.started_ns,
        events: Vec::new(),
        notes: Vec::new(),
        model: None,
        task: None,
    }
}

/// Whether the span of `exchange` says that it did not go well.
pub fn went_wrong(exchange: &Exchange) -> bool {
    Outcome::of(exchange, exchange.reading.as_ref())
        .message
        .is_some()
}

/// How `exchange` ended, in the word that its span has for it (`respan.metadata.spangate_outcome`): one of a few.
pub fn outcome(exchange: &Exchange) -> &'static str {
    Outcome::of(exchange, exchange.reading.as_ref()).word
}

/// How an exchange truly ended: by its transport, and by what the reply says of itself.
struct Outcome {
    word: &'static str,
    /// Why it did not go well.
    message: Option<String>,
    /// A class of errors, OpenAI's own word where it gave one.
    kind: Option<String>,
    status_code: Option<i64>,
}

impl Outcome {
    fn of(exchange: &Exchange, reading: Option<&Reading>) -> Self {
        let status = exchange.answer.as_ref().map(|answer| answer.status);
        let status_code = status.map(|status| i64::from(status.as_u16()));
        let ended = |word: &'static str, message: &str, status_code| Outcome {
            word,
            message: Some(message.to_owned()),
            kind: Some(word.to_owned()),
            status_code,
        };
        let told = reading.and_then(|reading| reading.reply.error.as_ref());
        // Moderation and validation quote what was sent, so in metadata mode their words stay here.
        let words = told
            .and_then(|error| error.message.clone())
            .filter(|_| exchange.opening.content);
        let kind = told.and_then(|error| error.kind.clone().or_else(|| error.code.clone()));
        let says_it_ended = reading.is_some_and(|reading| exchange.opening.chat && reading.ended);
        match (&exchange.ending, status) {
            (Ending::Unreachable(why), _) => ended("unreachable", why, Some(502)),
            (Ending::Timeout(why), _) => ended("timeout", why, status_code.or(Some(504))),
            (Ending::Refused(status, why), _) => {
                ended("refused", why, Some(i64::from(status.as_u16())))
            }
            (Ending::Recovered, _) => ended(
                "recovered",
                "the gateway was killed before this ended; what is here was known by then",
                None,
            ),
            (Ending::Broke(why), _) => ended("upstream_broke", why, status_code.or(Some(502))),
            // A client may close as soon as it has read the reply's own end.
            (Ending::ClientLeft, _) if !says_it_ended => ended(
                "client_left",
                "the client left before the response ended",
                Some(CLIENT_CLOSED_REQUEST),
            ),
            (_, Some(status)) if status.is_client_error() || status.is_server_error() => Outcome {
                word: "refused",
                message: words.or_else(|| Some(format!("the upstream answered {status}"))),
                kind: kind.or_else(|| Some(status.as_u16().to_string())),
                status_code,
            },
            _ if told.is_some() && exchange.opening.chat => Outcome {
                word: "stream_error",
                message: words.or_else(|| Some("the reply holds an error".to_owned())),
                kind: kind.or_else(|| Some("stream_error".to_owned())),
                status_code,
            },
            _ if lacks_its_end(exchange, reading) => ended(
                "upstream_broke",
                "the reply is not whole, although the upstream ended it as if it were",
                status_code,
            ),
            _ => Outcome {
                word: "complete",
                message: None,
                kind: None,
                status_code,
            },
        }
    }
}

/// A reply whose transport ended well and which is not whole all the same: a body without a told length ends like that when the upstream dies.
fn lacks_its_end(exchange: &Exchange, reading: Option<&Reading>) -> bool {
    exchange.opening.chat
        && exchange
            .answer
            .as_ref()
            .is_some_and(|answer| answer.status.is_success())
        && reading.is_some_and(|reading| {
            !reading.ended
                && !reading.reply.cut
                && !reading.reply.undecodable
                && says_something(&reading.reply)
        })
}

fn says_something(reply: &ChatReply) -> bool {
    reply.id.is_some() || !reply.choices.is_empty()
}

/// What was asked and answered. Gives the model that answered, else the one that was asked for.
fn put_call(
    put: &mut Vec<(Key, Value)>,
    exchange: &Exchange,
    reading: Option<&Reading>,
) -> Option<String> {
    let opening = &exchange.opening;
    let body = plain_body(opening, &exchange.request);
    let request = ChatRequest::parse(&body).ok();
    if let Some(request) = &request {
        chat::request_attributes(request, opening.content, put);
        if opening.content && opening.entity_content {
            set(
                put,
                key::ENTITY_INPUT,
                Value::Text(chat::entity_input(request)),
            );
        }
    }
    if let Some(reading) = reading {
        chat::reply_attributes(&reading.reply, opening.content, put);
        if let Some(output) = chat::entity_output(&reading.reply)
            .filter(|_| opening.content && opening.entity_content)
        {
            set(put, key::ENTITY_OUTPUT, Value::Text(output));
        }
        if let Some(first) = reading.first_token.filter(|_| {
            request
                .as_ref()
                .is_some_and(|request| request.stream == Some(true))
        }) {
            set(
                put,
                key::TIME_TO_FIRST_TOKEN,
                Value::Double(first.as_secs_f64()),
            );
        }
    }
    let answered = reading.and_then(|reading| reading.reply.model.clone());
    answered.or_else(|| request.and_then(|request| request.model.map(Cow::into_owned)))
}

/// The body of a request without its coding.
pub fn plain_body<'a>(opening: &Opening, request: &'a Kept) -> Cow<'a, [u8]> {
    if opening.content_encoding.is_none() {
        return Cow::Borrowed(request.bytes());
    }
    let mut plain = Vec::new();
    let mut decoder = Decoder::new(opening.content_encoding.as_deref(), opening.max_body);
    decoder.push(request.bytes(), |decoded| {
        plain.extend_from_slice(decoded);
    });
    Cow::Owned(plain)
}

fn put_transport(put: &mut Vec<(Key, Value)>, exchange: &Exchange, outcome: &Outcome) {
    let opening = &exchange.opening;
    set(
        put,
        key::HTTP_METHOD,
        Value::Text(opening.method.to_string()),
    );
    set(put, key::URL_PATH, Value::Text(opening.path.clone()));
    if let Some(code) = outcome.status_code {
        set(put, key::STATUS_CODE, Value::Int(code));
    }
    if let Some(answer) = &exchange.answer {
        set(
            put,
            key::HTTP_STATUS,
            Value::Int(i64::from(answer.status.as_u16())),
        );
        for (name, value) in answer.headers.iter() {
            put.push((
                Cow::Owned(format!("{}{name}", key::RESPONSE_HEADER_PREFIX)),
                Value::Texts(vec![value.clone()]),
            ));
        }
    }
    // The reply may have told its own.
    for (name, value) in [
        (key::ERROR_MESSAGE, &outcome.message),
        (key::ERROR_TYPE, &outcome.kind),
    ] {
        if let Some(value) = value
            .as_ref()
            .filter(|_| put.iter().all(|(key, _)| key != name))
        {
            set(put, name, Value::Text(value.clone()));
        }
    }
}

/// What the gateway itself has to say, as metadata.
fn put_notes(
    put: &mut Vec<(Key, Value)>,
    exchange: &Exchange,
    reading: Option<&Reading>,
    outcome: &Outcome,
) {
    let opening = &exchange.opening;
    set(put, key::OUTCOME, text(outcome.word));
    set(put, key::EXCHANGE, Value::Text(opening.id.to_string()));
    if let Some(count) = opening.retry.filter(|count| *count > 0) {
        set(put, key::RETRY_COUNT, Value::Text(count.to_string()));
    }
    let cut = [
        ("request", exchange.request.is_cut() && opening.chat),
        (
            "response",
            reading.is_some_and(|reading| reading.reply.cut && opening.chat),
        ),
    ];
    let cut: Vec<&str> = cut
        .iter()
        .filter(|(_, cut)| *cut)
        .map(|(body, _)| *body)
        .collect();
    if !cut.is_empty() {
        set(put, key::CUT, Value::Text(cut.join(", ")));
    }
    if reading.is_some_and(|reading| reading.reply.undecodable && opening.chat) {
        set(put, key::UNDECODABLE, text("response"));
    }
    if !opening.identity.unreadable.is_empty() {
        set(
            put,
            key::UNREADABLE,
            Value::Text(opening.identity.unreadable.join("; ")),
        );
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

fn set(put: &mut Vec<(Key, Value)>, key: &'static str, value: Value) {
    put.push((Cow::Borrowed(key), value));
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[cfg(test)]
mod tests;
