//! OTLP/JSON, written as it is told.
//!
//! The spelling is that of the OTLP specification's "JSON Protobuf Encoding" and of Respan's SDKs: ids in lower-case hex, 64-bit
//! numbers as decimal strings, enums as numbers, a field that has no value left out. A double that JSON has no number for is written
//! as protobuf's JSON mapping says, as the text `NaN`, `Infinity` or `-Infinity`.

use std::io::Write as _;

use serde_json::Number;

use super::{KIND_INTERNAL, SERVICE, VERSION, status_code};
use crate::span::json::{Depth, Json, escape};
use crate::span::{
    self, Attributes as _, Event, Head, Name, Sink, Tell, ValueRef, decimal, tell_all,
};

/// Adds one post.
pub(super) fn encode<'a, T: Tell + 'a>(spans: impl Iterator<Item = &'a T>, body: &mut Vec<u8>) {
    add(body, r#"{"resourceSpans":[{"resource":{"#);
    let mut about = Attributes::of(body, r#""attributes":["#);
    about.put("service.name".into(), ValueRef::Text(SERVICE));
    about.put("service.version".into(), ValueRef::Text(VERSION));
    about.end();
    add(body, r#"},"scopeSpans":[{"scope":{"name":""#);
    escape(body, SERVICE, Depth::String);
    add(body, r#"","version":""#);
    escape(body, VERSION, Depth::String);
    add(body, r#""},"spans":["#);
    for (place, span) in spans.enumerate() {
        if place > 0 {
            body.push(b',');
        }
        span.tell(OneSpan(body));
    }
    add(body, "]}]}]}");
}

/// The place of one span.
pub(super) struct OneSpan<'b>(pub(super) &'b mut Vec<u8>);

impl Sink for OneSpan<'_> {
    type Attributes<'a> = Attributes<'a>;
    type Told = ();

    fn span(self, head: &Head<'_>, tell: impl FnOnce(&mut Attributes<'_>)) {
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
        escape(body, head.name, Depth::String);
        add(body, r#"","kind":"#);
        decimal(body, KIND_INTERNAL);
        add(body, r#","startTimeUnixNano":""#);
        decimal(body, head.start_ns);
        add(body, r#"","endTimeUnixNano":""#);
        decimal(body, head.end_ns);
        body.push(b'"');
        let mut attributes = Attributes::of(body, r#","attributes":["#);
        tell(&mut attributes);
        attributes.end();
        events(body, head.events);
        add(body, r#","status":{"code":"#);
        decimal(body, status_code(head));
        if let Some(message) = head.error {
            add(body, r#","message":""#);
            escape(body, message, Depth::String);
            body.push(b'"');
        }
        add(body, "}}");
    }
}

fn events(body: &mut Vec<u8>, events: &[Event]) {
    let mut before = r#","events":[{"timeUnixNano":""#;
    for event in events {
        add(body, before);
        before = r#",{"timeUnixNano":""#;
        decimal(body, event.time_ns);
        add(body, r#"","name":""#);
        escape(body, &event.name, Depth::String);
        body.push(b'"');
        let mut attributes = Attributes::of(body, r#","attributes":["#);
        tell_all(&event.attributes, &mut attributes);
        attributes.end();
        body.push(b'}');
    }
    if !events.is_empty() {
        body.push(b']');
    }
}

/// A list of attributes under way: nothing at all until there is one.
pub(super) struct Attributes<'b> {
    body: &'b mut Vec<u8>,
    /// What comes before the list.
    meta: Option<&'static str>,
}

impl<'b> Attributes<'b> {
    fn of(body: &'b mut Vec<u8>, meta: &'static str) -> Self {
        Self {
            body,
            meta: Some(meta),
        }
    }

    fn end(self) {
        if self.meta.is_none() {
            self.body.push(b']');
        }
    }

    fn name(&mut self, name: Name<'_>) {
        match self.meta.take() {
            Some(meta) => add(self.body, meta),
            None => self.body.push(b','),
        }
        add(self.body, r#"{"key":""#);
        name.write(self.body, Depth::String);
        add(self.body, r#"","value":{"#);
    }
}

impl span::Attributes for Attributes<'_> {
    fn put(&mut self, name: Name<'_>, value: ValueRef<'_>) {
        self.name(name);
        let body = &mut *self.body;
        match value {
            ValueRef::Text(text) => string(body, text),
            ValueRef::Quoted(text) => {
                add(body, r#""stringValue":"#);
                Json::new(body, false).quoted(text);
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

    fn json(&mut self, name: Name<'_>, write: impl FnOnce(&mut Json<'_>)) {
        self.name(name);
        add(self.body, r#""stringValue":""#);
        write(&mut Json::new(self.body, true));
        add(self.body, r#""}}"#);
    }
}

fn string(body: &mut Vec<u8>, text: &str) {
    add(body, r#""stringValue":""#);
    escape(body, text, Depth::String);
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
