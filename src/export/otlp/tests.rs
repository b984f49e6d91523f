//! Both encodings say the same, in the spelling of Respan's contract.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message as _;
use serde_json::json;

use super::*;
use crate::exchange::{Exchange, ExchangeId, Outcome, ParsedReply, RequestMeta, ResponseHead};
use crate::identity::{Customer, Identity};
use crate::openai::{CallKind, ChatReply, Choice, FunctionCall, ReplyError, ToolCall, Usage};
use crate::runs::FinishedSpan;
use crate::span::exchange::explicit_placement;
use crate::span::{Span, SpanEvent, SpanId, Status, TraceId, Value};

fn small() -> Span {
    Span {
        trace_id: TraceId(*b"\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c"),
        span_id: SpanId(*b"\xb7\xad\x6b\x71\x69\x20\x33\x31"),
        parent_span_id: Some(SpanId([1; 8])),
        name: "llm.gpt-4o".to_owned(),
        start_ns: 1_700_000_000_123_456_789,
        end_ns: u64::MAX,
        status: Status::Error("upstream said \"no\"".to_owned()),
        attributes: vec![
            (
                "respan.entity.log_type".into(),
                Value::Text("chat".to_owned()),
            ),
            ("gen_ai.usage.prompt_tokens".into(), Value::Int(12)),
            ("gen_ai.request.temperature".into(), Value::Double(0.5)),
            ("llm.is_streaming".into(), Value::Bool(true)),
            (
                "llm.chat.stop_sequences".into(),
                Value::Texts(vec!["\n".to_owned(), String::new()]),
            ),
        ],
        events: vec![SpanEvent {
            time_ns: 1_700_000_000_200_000_000,
            name: "attempt failed".into(),
            attributes: vec![("spangate.attempt".into(), Value::Int(0))],
        }],
    }
}

fn as_json(spans: &[Span]) -> serde_json::Value {
    serde_json::from_slice(&OtlpEncoding::Json.encode(spans.iter())).unwrap()
}

fn span_in(request: &serde_json::Value) -> &serde_json::Value {
    &request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
}

#[test]
fn a_small_span_in_json() {
    insta::assert_json_snapshot!(as_json(&[small()]));
}

#[test]
fn a_root_has_no_parent_and_a_good_span_no_message() {
    let root = Span {
        parent_span_id: None,
        status: Status::Ok,
        attributes: Vec::new(),
        events: Vec::new(),
        ..small()
    };
    let request = as_json(&[root]);
    let span = span_in(&request).as_object().unwrap();
    assert!(!span.contains_key("parentSpanId"));
    assert_eq!(span["status"], json!({"code": 1}));
    assert!(!span.contains_key("attributes"));
    assert!(!span.contains_key("events"));
}

#[test]
fn whole_numbers_are_texts_up_to_both_ends() {
    for number in [i64::MIN, -1, 0, i64::MAX] {
        let request = as_json(&[Span {
            attributes: vec![("n".into(), Value::Int(number))],
            ..small()
        }]);
        assert_eq!(
            span_in(&request)["attributes"][0]["value"],
            json!({"intValue": number.to_string()})
        );
    }
}

#[test]
fn a_double_without_a_json_number_is_named_and_the_rest_survives() {
    for (number, name) in [
        (f64::NAN, "NaN"),
        (f64::INFINITY, "Infinity"),
        (f64::NEG_INFINITY, "-Infinity"),
    ] {
        let span = Span {
            attributes: vec![
                ("d".into(), Value::Double(number)),
                ("e".into(), Value::Int(1)),
            ],
            ..small()
        };
        let request = as_json(std::slice::from_ref(&span));
        assert_eq!(
            span_in(&request)["attributes"][0]["value"],
            json!({"doubleValue": name})
        );
        assert_eq!(span_in(&request)["attributes"][1]["key"], "e");
        OtlpEncoding::Protobuf.encode([&span].into_iter());
    }
}

fn spans() -> impl Strategy<Value = Vec<Span>> {
    let value = prop_oneof![
        any::<String>().prop_map(Value::Text),
        any::<i64>().prop_map(Value::Int),
        // Dyadic: serde_json rounds others when it reads, without its `float_roundtrip`.
        any::<i32>().prop_map(|number| Value::Double(f64::from(number) / 8.0)),
        any::<bool>().prop_map(Value::Bool),
        prop::collection::vec(any::<String>(), 0..4).prop_map(Value::Texts),
    ];
    let attributes = prop::collection::vec((any::<String>().prop_map(Into::into), value), 0..6);
    let event = (any::<u64>(), any::<String>(), attributes.clone());
    let event = event.prop_map(|(time_ns, name, attributes)| SpanEvent {
        time_ns,
        name: name.into(),
        attributes,
    });
    let events = prop::collection::vec(event, 0..3);
    let status = prop_oneof![Just(Status::Ok), any::<String>().prop_map(Status::Error)];
    let ids = (
        any::<[u8; 16]>(),
        any::<[u8; 8]>(),
        any::<Option<[u8; 8]>>(),
    );
    let span = (
        ids,
        any::<String>(),
        any::<[u64; 2]>(),
        status,
        attributes,
        events,
    )
        .prop_map(|(ids, name, times, status, attributes, events)| Span {
            trace_id: TraceId(ids.0),
            span_id: SpanId(ids.1),
            parent_span_id: ids.2.map(SpanId),
            name,
            start_ns: times[0],
            end_ns: times[1],
            status,
            attributes,
            events,
        });
    prop::collection::vec(span, 0..4)
}

/// The span as `serde_json` writes it, with the fields that OTLP has for it.
fn expected(span: &Span) -> serde_json::Value {
    let value = |value: &Value| match value {
        Value::Text(text) => json!({"stringValue": text}),
        Value::Int(number) => json!({"intValue": number.to_string()}),
        Value::Double(number) => json!({"doubleValue": number}),
        Value::Bool(yes) => json!({"boolValue": yes}),
        Value::Texts(texts) => {
            let texts = texts.iter().map(|text| json!({"stringValue": text}));
            json!({"arrayValue": {"values": texts.collect::<Vec<_>>()}})
        }
    };
    let attributes = |held: &[(crate::span::AttributeKey, Value)]| {
        let all = held.iter();
        all.map(|(key, held)| json!({"key": key, "value": value(held)}))
            .collect::<Vec<_>>()
    };
    let mut object = json!({
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": span.name,
        "kind": 1,
        "startTimeUnixNano": span.start_ns.to_string(),
        "endTimeUnixNano": span.end_ns.to_string(),
    });
    if let Some(parent) = span.parent_span_id {
        object["parentSpanId"] = json!(parent);
    }
    if !span.attributes.is_empty() {
        object["attributes"] = json!(attributes(&span.attributes));
    }
    let events = span.events.iter().map(|event| {
        let mut object = json!({"timeUnixNano": event.time_ns.to_string(), "name": event.name});
        if !event.attributes.is_empty() {
            object["attributes"] = json!(attributes(&event.attributes));
        }
        object
    });
    if !span.events.is_empty() {
        object["events"] = json!(events.collect::<Vec<_>>());
    }
    object["status"] = match &span.status {
        Status::Ok => json!({"code": 1}),
        Status::Error(message) => json!({"code": 2, "message": message}),
    };
    object
}

/// Texts with much in them that has to be escaped, once and twice.
fn text() -> impl Strategy<Value = String> {
    "([a-z ]{0,40}[\\x00-\\x1f\"\\\\/é😀]{0,3}){0,3}"
}

fn maybe<T: Strategy>(what: T) -> impl Strategy<Value = Option<T::Value>> {
    prop::option::of(what)
}

fn requests() -> impl Strategy<Value = String> {
    let content = prop_oneof![
        text().prop_map(|text| json!(text)),
        text().prop_map(|text| json!([{"type": "text", "text": text}, {"\n": 1.50}])),
        Just(json!(null)),
    ];
    let call = text().prop_map(|text| json!([{"id": "c", "function": {"arguments": text}}]));
    let message = (content, maybe(text()), maybe(call)).prop_map(|(content, name, calls)| {
        let mut message = json!({"role": "user", "content": content});
        if let Some(name) = name {
            message["name"] = json!(name);
        }
        if let Some(calls) = calls {
            message["tool_calls"] = calls;
        }
        message
    });
    let messages = prop::collection::vec(message, 0..13);
    let options = (maybe(any::<f64>()), maybe(text()), any::<bool>());
    (messages, options, 0..30_usize).prop_map(|(messages, (number, stop, stream), short)| {
        let body = json!({
            "model": "gpt/4o", "temperature": number, "stop": [stop, "b"], "stream": stream,
            "messages": messages, "n": 2, "seed": -1, "tools": [{"a": "\t"}],
        })
        .to_string();
        // Seldom cut, and then anywhere.
        let end = if short < 3 {
            body.len() * short / 3
        } else {
            body.len()
        };
        body[..body.floor_char_boundary(end)].to_owned()
    })
}

fn replies() -> impl Strategy<Value = ChatReply> {
    let call = (text(), any::<bool>()).prop_map(|(arguments, custom)| ToolCall {
        id: "c".to_owned(),
        kind: if custom {
            CallKind::Custom
        } else {
            CallKind::Function
        },
        name: "\"t\"".to_owned(),
        arguments,
    });
    let function = text().prop_map(|arguments| FunctionCall {
        name: "f".to_owned(),
        arguments,
    });
    let choice = (
        maybe(text()),
        prop::collection::vec(call, 0..3),
        maybe(function),
        maybe(text()),
    );
    let choice = choice.prop_map(|(content, tool_calls, function_call, reason)| Choice {
        content,
        tool_calls,
        function_call,
        finish_reason: reason,
        ..Choice::default()
    });
    let error = (maybe(text()), maybe(text()), maybe(text()));
    let error = error.prop_map(|(message, kind, code)| ReplyError {
        message,
        kind,
        code,
        param: None,
    });
    let choices = prop::collection::vec(choice, 0..3);
    (
        choices,
        maybe(error),
        maybe(text()),
        any::<[u64; 2]>(),
        any::<[bool; 2]>(),
    )
        .prop_map(
            |(choices, error, model, [prompt, cached], [cut, undecodable])| ChatReply {
                model,
                choices,
                usage: Some(Usage {
                    prompt: Some(prompt),
                    cached: Some(cached),
                    ..Usage::default()
                }),
                error,
                cut,
                undecodable,
                ..ChatReply::default()
            },
        )
}

fn identities() -> impl Strategy<Value = Identity> {
    let metadata = prop::collection::btree_map(text(), text(), 0..3);
    (maybe(text()), maybe(text()), metadata, any::<bool>()).prop_map(
        |(customer, span_name, metadata, unreadable)| Identity {
            customer: Customer {
                identifier: customer,
                ..Customer::default()
            },
            metadata,
            span_name,
            unreadable: vec!["it is \"odd\"".to_owned(); usize::from(unreadable)],
            ..Identity::default()
        },
    )
}

fn calls() -> impl Strategy<Value = FinishedSpan> {
    let outcome = prop_oneof![
        Just(Outcome::Complete),
        Just(Outcome::ClientLeft),
        text().prop_map(Outcome::Broke),
        Just(Outcome::Recovered),
    ];
    let reply = (replies(), any::<bool>()).prop_map(|(reply, ended)| ParsedReply {
        chat: reply,
        ended,
        first_token: Some(std::time::Duration::from_micros(1_234_567)),
    });
    let answer = (prop_oneof![Just(200_u16), 400..600_u16], text()).prop_map(|(status, header)| {
        ResponseHead {
            status: http::StatusCode::from_u16(status).unwrap(),
            first_byte: std::time::Duration::ZERO,
            content_type: None,
            content_encoding: None,
            headers: [("x-request-id", header)].into(),
        }
    });
    let flags = any::<[bool; 3]>();
    let what = (
        requests(),
        maybe(reply),
        maybe(answer),
        outcome,
        identities(),
    );
    (what, flags, maybe(0..3_u32), spans()).prop_map(|(what, flags, retry, others)| {
        let (request, reply, answer, outcome, identity) = what;
        let exchange = Exchange {
            meta: std::sync::Arc::new(RequestMeta {
                id: ExchangeId::from_bytes([7; 16]),
                identity,
                method: http::Method::POST,
                path: "/v1/chat/\"completions\"".to_owned(),
                retry,
                content_encoding: None,
                chat: flags[0],
                content: flags[1],
                entity_content: flags[2],
                may_be_agent: true,
                media: crate::openai::Media::Size,
                max_body: 1 << 20,
                system: "openai",
                wall_offset_ns: 0,
            }),
            started_ns: 1_700_000_000_000_000_000,
            duration: std::time::Duration::from_millis(1),
            request: (&*request).into(),
            response: answer,
            outcome,
            reply,
        };
        let mut place = explicit_placement(&exchange);
        if let Some(other) = others.into_iter().next() {
            (place.notes, place.events) = (other.attributes, other.events);
            place.parent_span_id = other.parent_span_id;
        }
        FinishedSpan::Call {
            exchange: std::sync::Arc::new(exchange),
            place,
        }
    })
}

proptest! {
    #[test]
    fn json_is_what_serde_json_makes_of_the_span(spans in spans()) {
        let request = as_json(&spans);
        let written = &request["resourceSpans"][0]["scopeSpans"][0]["spans"];
        prop_assert_eq!(written, &json!(spans.iter().map(expected).collect::<Vec<_>>()));
    }

    #[test]
    fn a_call_is_written_like_the_span_that_is_collected_of_it(call in calls()) {
        let collected = call.span();
        let written = OtlpEncoding::Json.encode([&call].into_iter());
        prop_assert_eq!(&written, &OtlpEncoding::Json.encode([&collected].into_iter()));
        let decoded = |body| ExportTraceServiceRequest::decode(body).unwrap();
        let written = OtlpEncoding::Protobuf.encode([&call].into_iter());
        prop_assert_eq!(decoded(written), decoded(OtlpEncoding::Protobuf.encode([&collected].into_iter())));
    }

    #[test]
    fn a_call_tells_each_key_at_most_once(call in calls()) {
        let FinishedSpan::Call { exchange, .. } = &call else { unreachable!() };
        let span = crate::span::exchange::span(exchange);
        let mut keys: Vec<_> = span.attributes.iter().map(|(key, _)| key).collect();
        keys.sort_unstable();
        keys.dedup();
        prop_assert_eq!(keys.len(), span.attributes.len());
    }

    /// `opentelemetry-proto` reads JSON that follows the specification, so it is the referee of what is written here without it.
    #[test]
    fn json_and_protobuf_decode_to_the_same_spans(spans in spans()) {
        let from_json: ExportTraceServiceRequest = serde_json::from_slice(&OtlpEncoding::Json.encode(spans.iter())).unwrap();
        let from_protobuf = ExportTraceServiceRequest::decode(OtlpEncoding::Protobuf.encode(spans.iter())).unwrap();
        prop_assert_eq!(&from_json, &from_protobuf);
        let decoded = &from_protobuf.resource_spans[0].scope_spans[0].spans;
        prop_assert_eq!(decoded.len(), spans.len());
        for (decoded, span) in decoded.iter().zip(&spans) {
            prop_assert_eq!(&decoded.trace_id[..], &span.trace_id.0[..]);
            prop_assert_eq!(&decoded.name, &span.name);
            prop_assert_eq!(decoded.start_time_unix_nano, span.start_ns);
            prop_assert_eq!(decoded.attributes.len(), span.attributes.len());
            prop_assert_eq!(decoded.events.len(), span.events.len());
        }
    }
}
