//! The outcome of each exchange, and the attributes of its span.

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::*;
use crate::capture;
use crate::exchange::RequestMeta;
use crate::identity::{self, IdentityDefaults};
use crate::span::{AttributeKey, Status, Value};
use crate::tap::{BodyEnd, BodyObserver};
use crate::upstream::{CallError, ResponseBodyError};

const REQUEST: &str =
    r#"{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"Why?"}]}"#;
const WHOLE: &str = "data: {\"id\":\"c1\",\"model\":\"gpt-4o-mini-2024\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Because.\"},\"finish_reason\":\"stop\"}]}\n\n\
    data: {\"id\":\"c1\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,\"total_tokens\":7}}\n\n\
    data: [DONE]\n\n";
const HALF: &str =
    "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Bec\"}}]}\n\n";
const FAILED: &str = "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Bec\"}}]}\n\n\
    data: {\"error\":{\"message\":\"it broke over Why?\",\"type\":\"server_error\"}}\n\n";
const REFUSED: &str =
    r#"{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}"#;

/// The course of an exchange.
#[derive(Clone, Copy)]
enum Course {
    /// The upstream call fails before the head.
    Fails(fn() -> CallError),
    /// The gateway itself answers with this status.
    Refused(u16),
    /// The client leaves before the head.
    Abandoned,
    /// A response with this status, body and end.
    Answered(u16, &'static str, ResponseCourse),
}

#[derive(Clone, Copy)]
enum ResponseCourse {
    Well,
    ClientLeft,
    Silent,
    Broken,
}

fn meta(chat: bool, headers: &[(&'static str, &'static str)]) -> RequestMeta {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect();
    RequestMeta {
        id: ExchangeId::from_bytes(*b"an exchange's id"),
        identity: identity::read(&headers, &IdentityDefaults::default()),
        method: Method::POST,
        path: "/v1/chat/completions".to_owned(),
        retry: None,
        content_encoding: None,
        chat,
        content: true,
        entity_content: false,
        may_be_agent: true,
        media: crate::openai::Media::Size,
        max_body: 1 << 20,
        system: "openai",
        wall_offset_ns: 0,
    }
}

/// The exchange as observers and worker make it, with fixed times.
fn exchange_of(meta: RequestMeta, course: Course) -> Exchange {
    let finished = Arc::new(Mutex::new(None));
    let sink = Arc::clone(&finished);
    let (capture, workers) = capture::tests::start(1 << 20, move |exchange: Exchange| {
        *sink.lock().unwrap() = Some(exchange);
    });
    let (mut request, mut response) = capture.open(meta, None);
    request.data(&Bytes::from_static(REQUEST.as_bytes()));
    match course {
        Course::Fails(error) => {
            response.failed(&error());
            drop(response);
        }
        Course::Refused(status) => response.refused(
            StatusCode::from_u16(status).unwrap(),
            "the body is too long".to_owned(),
        ),
        Course::Abandoned => drop(response),
        Course::Answered(status, body, ends) => {
            let kind = if body.starts_with("data:") {
                "text/event-stream"
            } else {
                "application/json"
            };
            let headers = [
                (CONTENT_TYPE, HeaderValue::from_static(kind)),
                (
                    HeaderName::from_static("x-request-id"),
                    HeaderValue::from_static("req_1"),
                ),
                (
                    HeaderName::from_static("set-cookie"),
                    HeaderValue::from_static("secret"),
                ),
            ];
            response.head(
                StatusCode::from_u16(status).unwrap(),
                &headers.into_iter().collect(),
            );
            response.data(&Bytes::from_static(body.as_bytes()));
            let silent = ResponseBodyError::Silent(Duration::from_secs(1));
            response.end(match ends {
                ResponseCourse::Well => BodyEnd::Complete,
                ResponseCourse::ClientLeft => BodyEnd::Abandoned,
                ResponseCourse::Silent => BodyEnd::Failed(&silent),
                ResponseCourse::Broken => BodyEnd::Failed(&ResponseBodyError::Reset),
            });
        }
    }
    workers.finish();
    let mut exchange = finished.lock().unwrap().take().unwrap();
    exchange.started_ns = 1_700_000_000_000_000_000;
    exchange.duration = Duration::from_millis(250);
    if let Some(first) = exchange
        .reply
        .as_mut()
        .and_then(|reply| reply.first_token.as_mut())
    {
        *first = Duration::from_millis(100);
    }
    exchange
}

fn span_of(meta: RequestMeta, course: Course) -> Span {
    span(&exchange_of(meta, course))
}

fn text_of(span: &Span, wanted: &str) -> Option<String> {
    span.attributes
        .iter()
        .find(|(key, _)| key == wanted)
        .map(|(_, value)| match value {
            Value::Text(text) => text.clone(),
            Value::Int(number) => number.to_string(),
            other => format!("{other:?}"),
        })
}

#[test]
fn the_outcome_combines_the_ends_of_transport_and_reply() {
    use Course::{Abandoned, Answered, Fails, Refused};
    use ResponseCourse::{Broken, ClientLeft, Silent, Well};
    let unreachable = || CallError::Unreachable("refused".to_owned());
    let broke = || CallError::Broke("reset".to_owned());
    for (course, word, code) in [
        (Answered(200, WHOLE, Well), "complete", Some("200")),
        (Answered(200, WHOLE, ClientLeft), "complete", Some("200")),
        (Answered(200, HALF, ClientLeft), "client_left", Some("499")),
        (Abandoned, "client_left", Some("499")),
        (Answered(200, HALF, Broken), "upstream_broke", Some("200")),
        // Without a declared length, the reply of a dead upstream ends like a whole one.
        (Answered(200, HALF, Well), "upstream_broke", Some("200")),
        (Answered(200, HALF, Silent), "timeout", Some("200")),
        (Answered(200, FAILED, Well), "stream_error", Some("200")),
        (Answered(429, REFUSED, Well), "refused", Some("429")),
        (Refused(413), "refused", Some("413")),
        (Fails(unreachable), "unreachable", Some("502")),
        (Fails(broke), "upstream_broke", Some("502")),
        (Fails(|| CallError::Silent), "timeout", Some("504")),
        (Fails(|| CallError::ConnectTimeout), "timeout", Some("504")),
    ] {
        let span = span_of(meta(true, &[]), course);
        assert_eq!(
            (
                text_of(&span, key::OUTCOME).as_deref(),
                text_of(&span, key::STATUS_CODE).as_deref()
            ),
            (Some(word), code)
        );
        assert_eq!(span.status == Status::Ok, word == "complete", "{word}");
        assert_eq!(
            text_of(&span, key::ERROR_MESSAGE).is_none_or(|message| message.is_empty()),
            word == "complete",
            "{word}"
        );
    }
}

/// The outcome, which does not depend on content.
fn outcome_of(course: Course) -> &'static str {
    let mut exchange = exchange_of(meta(true, &[]), course);
    let word = outcome(&exchange);
    if let Some(reply) = &mut exchange.reply {
        reply.chat.drop_content();
    }
    assert_eq!(outcome(&exchange), word);
    word
}

#[test]
fn a_success_with_nothing_in_it_is_empty() {
    use ResponseCourse::{Broken, ClientLeft, Silent, Well};
    for nothing in [
        "",
        ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n",
        "data: [DONE]\n\n",
        "data: [DONE]",
        "{}",
        "null",
        r#"{"id":"c1","choices":[]}"#,
        r#"{"id":"c1","choices":null,"usage":{"prompt_tokens":5}}"#,
        r#"{"choices":[{}]}"#,
        "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\ndata: [DONE]\n\n",
    ] {
        let of = |status, ends| outcome_of(Course::Answered(status, nothing, ends));
        assert_eq!(of(200, Well), "empty", "{nothing}");
        assert_eq!(of(204, Well), "empty", "{nothing}");
        assert_eq!(of(500, Well), "refused", "{nothing}");
        assert_eq!(of(200, Broken), "upstream_broke", "{nothing}");
        assert_eq!(of(200, Silent), "timeout", "{nothing}");
        if !nothing.contains("[DONE]\n") && !nothing.contains('}') {
            assert_eq!(of(200, ClientLeft), "client_left", "{nothing}");
        }
        let span = span_of(meta(true, &[]), Course::Answered(200, nothing, Well));
        let message = "the upstream answered with nothing";
        assert_eq!(span.status, Status::Error(message.to_owned()));
        assert_eq!(text_of(&span, key::ERROR_MESSAGE).as_deref(), Some(message));
        assert_eq!(text_of(&span, key::ERROR_TYPE).as_deref(), Some("empty"));
        assert_eq!(text_of(&span, key::STATUS_CODE).as_deref(), Some("200"));
    }
    let silent = r#"{"choices":[{"index":0,"message":{"content":""},"finish_reason":"stop"}]}"#;
    assert_eq!(outcome_of(Course::Answered(200, silent, Well)), "complete");
    for broken in [r#"{"id":"c1","cho"#, r#"{"cho"#, "data: {\"cho\n\n"] {
        let course = Course::Answered(200, broken, Well);
        assert_eq!(outcome_of(course), "upstream_broke", "{broken}");
    }
}

#[test]
fn a_reply_without_the_terminal_event_is_complete_with_a_finish_reason() {
    use ResponseCourse::{ClientLeft, Well};
    const ON_EACH: &str = "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Bec\"},\"finish_reason\":\"stop\"}]}\n\n";
    const AFTER: &str = "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Bec\"}}]}\n\n\
        data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    for (body, left) in [(ON_EACH, "client_left"), (AFTER, "complete")] {
        assert_eq!(outcome_of(Course::Answered(200, body, Well)), "complete");
        assert_eq!(outcome_of(Course::Answered(200, body, ClientLeft)), left);
    }
    // The body breaks off after the finish reason.
    let course = Course::Answered(
        200,
        r#"{"id":"c1","choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"usa"#,
        Well,
    );
    assert_eq!(outcome_of(course), "upstream_broke");
}

#[test]
fn a_reply_that_holds_an_error_is_never_complete() {
    for body in [
        "error: {\"code\":400,\"message\":\"no\",\"type\":\"t\"}\n\ndata: [DONE]\n\n",
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"error\",\"error\":{\"code\":400,\"message\":\"no\",\"type\":\"t\"}}]}\n\ndata: [DONE]\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"hel\ndata: {\"error\":{\"code\":400,\"message\":\"no\",\"type\":\"t\"}}\n\ndata: [DONE]\n\n",
        r#"[{"error":{"code":400,"message":"no","status":"t"}}]"#,
        r#"{"error":"no","code":400,"type":"t"}"#,
        r#"{"id":"c","type":"t","choices":[],"base_resp":{"status_code":400,"status_msg":"no"}}"#,
    ] {
        for (status, word) in [(200, "stream_error"), (400, "refused")] {
            let course = Course::Answered(status, body, ResponseCourse::Well);
            assert_eq!(outcome_of(course), word, "{body}");
            let span = span_of(meta(true, &[]), course);
            assert_eq!(span.status, Status::Error("no".to_owned()), "{body}");
            for (name, wanted) in [
                (key::ERROR_MESSAGE, "no"),
                (key::ERROR_TYPE, "t"),
                (key::ERROR_CODE, "400"),
            ] {
                assert_eq!(text_of(&span, name).as_deref(), Some(wanted), "{body}");
            }
        }
    }
}

#[test]
fn without_content_an_error_does_not_quote_what_was_sent() {
    let meta = RequestMeta {
        content: false,
        ..meta(true, &[])
    };
    let span = span_of(meta, Course::Answered(200, FAILED, ResponseCourse::Well));
    assert!(!format!("{span:?}").contains("Why?"), "{span:?}");
    assert_eq!(
        text_of(&span, key::ERROR_TYPE).as_deref(),
        Some("server_error")
    );
}

#[test]
fn ids_are_functions_of_the_exchange_and_its_headers() {
    let course = Course::Answered(200, WHOLE, ResponseCourse::Well);
    let (first, again) = (
        span_of(meta(true, &[]), course),
        span_of(meta(true, &[]), course),
    );
    assert_eq!(first, again, "made twice it is the same span");
    let other = span_of(
        RequestMeta {
            id: ExchangeId::from_bytes(*b"other exchange's"),
            ..meta(true, &[])
        },
        course,
    );
    assert_ne!(first.span_id, other.span_id);
    assert_ne!(first.trace_id, other.trace_id);

    let traceparent = [(
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )];
    let placed = span_of(meta(true, &traceparent), course);
    assert_eq!(
        placed.span_id, first.span_id,
        "headers do not change the id of the span"
    );
    assert_eq!(
        placed.trace_id.0,
        0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes()
    );
    assert_eq!(
        placed.parent_span_id,
        Some(SpanId(0xb7ad_6b71_6920_3331_u64.to_be_bytes()))
    );
}

#[test]
fn each_attribute_is_there_once() {
    for course in [
        Course::Answered(200, WHOLE, ResponseCourse::Well),
        Course::Answered(200, FAILED, ResponseCourse::Well),
        Course::Answered(429, REFUSED, ResponseCourse::Well),
        Course::Abandoned,
    ] {
        for chat in [true, false] {
            let span = span_of(meta(chat, &[]), course);
            let mut keys: Vec<&AttributeKey> = span.attributes.iter().map(|(key, _)| key).collect();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), span.attributes.len(), "{span:?}");
        }
    }
}

#[test]
fn a_call_becomes_a_chat_span() {
    let headers = [
        ("x-respan-customer-identifier", "ann"),
        ("x-respan-thread-identifier", "t-1"),
        ("x-respan-metadata", "{\"plan\":\"pro\"}"),
        ("authorization", "Bearer sk-secret"),
    ];
    let meta = RequestMeta {
        retry: Some(1),
        ..meta(true, &headers)
    };
    insta::assert_snapshot!(lines(&span_of(
        meta,
        Course::Answered(200, WHOLE, ResponseCourse::Well)
    )));
}

#[test]
fn any_other_exchange_becomes_a_task_span() {
    let meta = RequestMeta {
        method: Method::GET,
        path: "/v1/models".to_owned(),
        ..meta(false, &[])
    };
    insta::assert_snapshot!(lines(&span_of(
        meta,
        Course::Answered(200, r#"{"object":"list"}"#, ResponseCourse::Well)
    )));
}

fn lines(span: &Span) -> String {
    let mut lines = format!(
        "{}\ntrace {:02x?}\nspan {:02x?} in {:?}\nfrom {} to {}\n{:?}\n",
        span.name,
        span.trace_id.0,
        span.span_id.0,
        span.parent_span_id,
        span.start_ns,
        span.end_ns,
        span.status
    );
    for (key, value) in &span.attributes {
        writeln!(lines, "{key} = {value:?}").unwrap();
    }
    lines
}
