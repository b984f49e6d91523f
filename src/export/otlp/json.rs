//! OTLP/JSON, written from borrowed spans.
//!
//! The spelling is that of the OTLP specification's "JSON Protobuf Encoding" and of Respan's SDKs: ids in lower-case hex, 64-bit
//! numbers as decimal strings, enums as numbers, a field that has no value left out. A double that JSON has no number for is written
//! as protobuf's JSON mapping says, as the text `NaN`, `Infinity` or `-Infinity`.

use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::{KIND_INTERNAL, SERVICE, VERSION, status_code};
use crate::span::{Event, Key, Span, Status, Value};

pub(super) fn encode<'a>(
    spans: impl ExactSizeIterator<Item = &'a Span> + Clone,
) -> Result<Bytes, serde_json::Error> {
    let about = spans.clone().map(Span::weight).sum::<usize>() + 512;
    let mut body = Vec::with_capacity(about);
    serde_json::to_writer(&mut body, &Request(spans))?;
    Ok(body.into())
}

/// An object with one field, as OTLP nests them.
struct One<V>(&'static str, V);

impl<V: Serialize> Serialize for One<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, &self.1)?;
        map.end()
    }
}

/// Something printed as a JSON string.
struct AsText<T>(T);

impl<T: std::fmt::Display> Serialize for AsText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

struct Request<I>(I);

impl<'a, I: ExactSizeIterator<Item = &'a Span> + Clone> Serialize for Request<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        One("resourceSpans", [ResourceSpans(self.0.clone())]).serialize(serializer)
    }
}

struct ResourceSpans<I>(I);

impl<'a, I: ExactSizeIterator<Item = &'a Span> + Clone> Serialize for ResourceSpans<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let resource = [
            TextAttribute("service.name", SERVICE),
            TextAttribute("service.version", VERSION),
        ];
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("resource", &One("attributes", resource))?;
        map.serialize_entry("scopeSpans", &[ScopeSpans(self.0.clone())])?;
        map.end()
    }
}

struct ScopeSpans<I>(I);

impl<'a, I: ExactSizeIterator<Item = &'a Span> + Clone> Serialize for ScopeSpans<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("scope", &Scope)?;
        map.serialize_entry("spans", &Each(self.0.clone().map(OneSpan)))?;
        map.end()
    }
}

struct Scope;

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("name", SERVICE)?;
        map.serialize_entry("version", VERSION)?;
        map.end()
    }
}

/// A list of what an iterator gives.
struct Each<I>(I);

impl<I: Iterator<Item: Serialize> + Clone> Serialize for Each<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

struct OneSpan<'a>(&'a Span);

impl Serialize for OneSpan<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let span = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("traceId", &span.trace_id)?;
        map.serialize_entry("spanId", &span.span_id)?;
        if let Some(parent) = &span.parent_span_id {
            map.serialize_entry("parentSpanId", &parent)?;
        }
        map.serialize_entry("name", &span.name)?;
        map.serialize_entry("kind", &KIND_INTERNAL)?;
        map.serialize_entry("startTimeUnixNano", &AsText(span.start_ns))?;
        map.serialize_entry("endTimeUnixNano", &AsText(span.end_ns))?;
        if !span.attributes.is_empty() {
            map.serialize_entry("attributes", &attributes(&span.attributes))?;
        }
        if !span.events.is_empty() {
            map.serialize_entry("events", &Each(span.events.iter().map(OneEvent)))?;
        }
        map.serialize_entry("status", &SpanStatus(&span.status))?;
        map.end()
    }
}

struct OneEvent<'a>(&'a Event);

impl Serialize for OneEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timeUnixNano", &AsText(self.0.time_ns))?;
        map.serialize_entry("name", &self.0.name)?;
        if !self.0.attributes.is_empty() {
            map.serialize_entry("attributes", &attributes(&self.0.attributes))?;
        }
        map.end()
    }
}

struct SpanStatus<'a>(&'a Status);

impl Serialize for SpanStatus<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", &status_code(self.0))?;
        if let Status::Error(message) = self.0 {
            map.serialize_entry("message", message)?;
        }
        map.end()
    }
}

struct TextAttribute(&'static str, &'static str);

impl Serialize for TextAttribute {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("key", self.0)?;
        map.serialize_entry("value", &One("stringValue", self.1))?;
        map.end()
    }
}

fn attributes(held: &[(Key, Value)]) -> impl Serialize {
    Each(held.iter().map(|(key, value)| Attribute(key, value)))
}

struct Attribute<'a>(&'a str, &'a Value);

impl Serialize for Attribute<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("key", self.0)?;
        map.serialize_entry("value", &AnyValue(self.1))?;
        map.end()
    }
}

struct AnyValue<'a>(&'a Value);

impl Serialize for AnyValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Text(text) => One("stringValue", text).serialize(serializer),
            Value::Int(number) => One("intValue", AsText(number)).serialize(serializer),
            Value::Double(number) if number.is_finite() => {
                One("doubleValue", number).serialize(serializer)
            }
            Value::Double(number) => {
                One("doubleValue", not_a_json_number(*number)).serialize(serializer)
            }
            Value::Bool(yes) => One("boolValue", yes).serialize(serializer),
            Value::Texts(texts) => {
                let values = Each(texts.iter().map(|text| One("stringValue", text)));
                One("arrayValue", One("values", values)).serialize(serializer)
            }
        }
    }
}

fn not_a_json_number(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}
