//! OTLP/JSON, written as a span emits it.
//!
//! The spelling is that of the OTLP specification's "JSON Protobuf Encoding" and of Respan's SDKs: ids in lower-case hex, 64-bit
//! numbers as decimal strings, enums as numbers, a field that has no value left out. A double that JSON has no number for is written
//! as protobuf's JSON mapping says, as the text `NaN`, `Infinity` or `-Infinity`.

use std::io::Write as _;

use serde_json::Number;

use super::{KIND_INTERNAL, SERVICE, VERSION, status_code};
use crate::span::json::{JsonDepth, JsonWriter, escape};
use crate::span::{
    self, AttributeEncoder as _, AttributeName, SpanEncode, SpanEncoder, SpanEvent, SpanHead,
    ValueRef, decimal, emit_attributes,
};

/// Adds one post.
pub(super) fn encode<'a, T: SpanEncode + 'a>(
    spans: impl Iterator<Item = &'a T>,
    body: &mut Vec<u8>,
) {
    add(body, r#"{"resourceSpans":[{"resource":{"#);
    let mut about = JsonAttributes::of(body, r#""attributes":["#);
    about.put("service.name".into(), ValueRef::Text(SERVICE));
    about.put("service.version".into(), ValueRef::Text(VERSION));
    about.end();
    add(body, r#"},"scopeSpans":[{"scope":{"name":""#);
    escape(body, SERVICE, JsonDepth::String);
    add(body, r#"","version":""#);
    escape(body, VERSION, JsonDepth::String);
    add(body, r#""},"spans":["#);
    for (place, span) in spans.enumerate() {
        if place > 0 {
            body.push(b',');
        }
        span.emit(JsonSpan(body));
    }
    add(body, "]}]}]}");
}

/// The place of one span.
pub(super) struct JsonSpan<'b>(pub(super) &'b mut Vec<u8>);

impl SpanEncoder for JsonSpan<'_> {
    type Attributes<'a> = JsonAttributes<'a>;
    type Output = ();

    fn span(self, head: &SpanHead<'_>, tell: impl FnOnce(&mut JsonAttributes<'_>)) {
        let body = self.0;
        add(body, r#"{"traceId":""#);
        body.extend_from_slice(&head.trace_id.digits());
        add(body, r#"","spanId":""#);
        body.extend_from_slice(&head.span_id.digits());
        if let Some(parent) = head.parent_span_id {
            add(body, r#"","parentSpanId":""#);
            body.extend_from_slice(&parent.digits());
        }
        add(body, r#"","name":""#);
        escape(body, head.name, JsonDepth::String);
        add(body, r#"","kind":"#);
        decimal(body, KIND_INTERNAL);
        add(body, r#","startTimeUnixNano":""#);
        decimal(body, head.start_ns);
        add(body, r#"","endTimeUnixNano":""#);
        decimal(body, head.end_ns);
        body.push(b'"');
        let mut attributes = JsonAttributes::of(body, r#","attributes":["#);
        tell(&mut attributes);
        attributes.end();
        events(body, head.events);
        add(body, r#","status":{"code":"#);
        decimal(body, status_code(head));
        if let Some(message) = head.error {
            add(body, r#","message":""#);
            escape(body, message, JsonDepth::String);
            body.push(b'"');
        }
        add(body, "}}");
    }
}

fn events(body: &mut Vec<u8>, events: &[SpanEvent]) {
    let mut before = r#","events":[{"timeUnixNano":""#;
    for event in events {
        add(body, before);
        before = r#",{"timeUnixNano":""#;
        decimal(body, event.time_ns);
        add(body, r#"","name":""#);
        escape(body, &event.name, JsonDepth::String);
        body.push(b'"');
        let mut attributes = JsonAttributes::of(body, r#","attributes":["#);
        emit_attributes(&event.attributes, &mut attributes);
        attributes.end();
        body.push(b'}');
    }
    if !events.is_empty() {
        body.push(b']');
    }
}

/// A list of attributes under way: nothing at all until there is one.
pub(super) struct JsonAttributes<'b> {
    body: &'b mut Vec<u8>,
    /// The text before the list; none once it is written.
    prefix: Option<&'static str>,
}

impl<'b> JsonAttributes<'b> {
    fn of(body: &'b mut Vec<u8>, prefix: &'static str) -> Self {
        Self {
            body,
            prefix: Some(prefix),
        }
    }

    fn end(self) {
        if self.prefix.is_none() {
            self.body.push(b']');
        }
    }

    fn name(&mut self, name: AttributeName<'_>) {
        match self.prefix.take() {
            Some(prefix) => add(self.body, prefix),
            None => self.body.push(b','),
        }
        add(self.body, r#"{"key":""#);
        name.write(self.body, JsonDepth::String);
        add(self.body, r#"","value":{"#);
    }
}

impl span::AttributeEncoder for JsonAttributes<'_> {
    fn put(&mut self, name: AttributeName<'_>, value: ValueRef<'_>) {
        self.name(name);
        let body = &mut *self.body;
        match value {
            ValueRef::Text(text) => string(body, text),
            ValueRef::JsonString(text) => {
                add(body, r#""stringValue":"#);
                JsonWriter::new(body, false).quoted(text);
            }
            ValueRef::Int(number) => {
                add(body, r#""intValue":""#);
                if number < 0 {
                    body.push(b'-');
                }
                decimal(body, number.unsigned_abs());
                body.push(b'"');
            }
            ValueRef::Double(number) => {
                add(body, r#""doubleValue":"#);
                double(body, number);
            }
            ValueRef::Bool(true) => add(body, r#""boolValue":true"#),
            ValueRef::Bool(false) => add(body, r#""boolValue":false"#),
            ValueRef::Texts(texts) => {
                add(body, r#""arrayValue":{"values":["#);
                for (place, text) in texts.iter().enumerate() {
                    add(body, if place > 0 { ",{" } else { "{" });
                    string(body, text);
                    body.push(b'}');
                }
                add(body, "]}");
            }
        }
        add(self.body, "}}");
    }

    fn json(&mut self, name: AttributeName<'_>, write: impl FnOnce(&mut JsonWriter<'_>)) {
        self.name(name);
        add(self.body, r#""stringValue":""#);
        write(&mut JsonWriter::new(self.body, true));
        add(self.body, r#""}}"#);
    }
}

fn string(body: &mut Vec<u8>, text: &str) {
    add(body, r#""stringValue":""#);
    escape(body, text, JsonDepth::String);
    body.push(b'"');
}

fn double(body: &mut Vec<u8>, number: f64) {
    match Number::from_f64(number) {
        // Writing to memory cannot fail.
        Some(number) => drop(write!(body, "{number}")),
        None if number.is_nan() => add(body, r#""NaN""#),
        None if number > 0.0 => add(body, r#""Infinity""#),
        None => add(body, r#""-Infinity""#),
    }
}

fn add(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(text.as_bytes());
}
