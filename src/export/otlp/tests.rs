//! Both encodings say the same, in the spelling of Respan's contract.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::span::{Event, SpanId, TraceId, Value};

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
        events: vec![Event {
            time_ns: 1_700_000_000_200_000_000,
            name: "attempt failed".into(),
            attributes: vec![("spangate.attempt".into(), Value::Int(0))],
        }],
    }
}

fn as_json(spans: &[Span]) -> serde_json::Value {
    serde_json::from_slice(&Encoding::Json.encode(spans.iter()).unwrap()).unwrap()
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
        Encoding::Protobuf.encode([&span].into_iter()).unwrap();
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
    let event = event.prop_map(|(time_ns, name, attributes)| Event {
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

proptest! {
    /// `opentelemetry-proto` reads JSON that follows the specification, so it is the referee of what is written here without it.
    #[test]
    fn json_and_protobuf_decode_to_the_same_spans(spans in spans()) {
        let from_json: ExportTraceServiceRequest = serde_json::from_slice(&Encoding::Json.encode(spans.iter()).unwrap()).unwrap();
        let from_protobuf = ExportTraceServiceRequest::decode(Encoding::Protobuf.encode(spans.iter()).unwrap()).unwrap();
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
