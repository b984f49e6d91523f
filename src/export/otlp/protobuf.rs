//! Spans as the messages of `opentelemetry-proto`, for the protobuf encoding.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{self as proto, ResourceSpans, ScopeSpans};

use super::{KIND_INTERNAL, SERVICE, VERSION, status_code};
use crate::span::{Key, Span, Status, Value};

pub(super) fn request<'a>(spans: impl Iterator<Item = &'a Span>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope {
        name: SERVICE.to_owned(),
        version: VERSION.to_owned(),
        ..Default::default()
    };
    let resource = Resource {
        attributes: vec![
            attribute(
                "service.name",
                any_value::Value::StringValue(SERVICE.to_owned()),
            ),
            attribute(
                "service.version",
                any_value::Value::StringValue(VERSION.to_owned()),
            ),
        ],
        ..Default::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans: spans.map(span).collect(),
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}

fn span(span: &Span) -> proto::Span {
    let message = match &span.status {
        Status::Ok => String::new(),
        Status::Error(message) => message.clone(),
    };
    proto::Span {
        trace_id: span.trace_id.0.to_vec(),
        span_id: span.span_id.0.to_vec(),
        parent_span_id: span
            .parent_span_id
            .map(|parent| parent.0.to_vec())
            .unwrap_or_default(),
        name: span.name.clone(),
        kind: KIND_INTERNAL,
        start_time_unix_nano: span.start_ns,
        end_time_unix_nano: span.end_ns,
        attributes: attributes(&span.attributes),
        events: span
            .events
            .iter()
            .map(|event| proto::span::Event {
                time_unix_nano: event.time_ns,
                name: event.name.to_string(),
                attributes: attributes(&event.attributes),
                ..Default::default()
            })
            .collect(),
        status: Some(proto::Status {
            message,
            code: status_code(&span.status),
        }),
        ..Default::default()
    }
}

fn attributes(held: &[(Key, Value)]) -> Vec<KeyValue> {
    held.iter()
        .map(|(key, held)| attribute(key, value(held)))
        .collect()
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..Default::default()
    }
}

fn value(value: &Value) -> any_value::Value {
    match value {
        Value::Text(text) => any_value::Value::StringValue(text.clone()),
        Value::Int(number) => any_value::Value::IntValue(*number),
        Value::Double(number) => any_value::Value::DoubleValue(*number),
        Value::Bool(yes) => any_value::Value::BoolValue(*yes),
        Value::Texts(texts) => {
            let values = texts.iter().map(|text| AnyValue {
                value: Some(any_value::Value::StringValue(text.clone())),
            });
            any_value::Value::ArrayValue(ArrayValue {
                values: values.collect(),
            })
        }
    }
}
