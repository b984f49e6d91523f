//! Traces and spans as the JSON that people's programs get: ids in hex, times in RFC 3339, attributes as an object.

use std::time::{Duration, SystemTime};

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::facts::Facts;
use super::failure_sign;
use super::query::Cursor;
use crate::span::{Event, Key, Span, Status, TraceId, Value, key};

/// Texts of attributes that are longer are content.
const LONGEST: usize = 512;

/// A trace in a list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its id.
    pub trace_id: TraceId,
    /// What it amounts to.
    pub facts: Facts,
    /// It goes on.
    pub live: bool,
}

/// A page of a list.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Page {
    /// Its traces.
    pub traces: Vec<Listed>,
    /// Where the next one begins; none after the last.
    pub next: Option<Cursor>,
}

/// A span of one trace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<'s> {
    /// The span.
    pub span: &'s Span,
    /// It is not over.
    pub open: bool,
    /// With what was asked and answered.
    pub content: bool,
}

/// Nanoseconds since the Unix epoch, in RFC 3339.
pub fn time(ns: u64) -> impl Serialize + std::fmt::Display {
    Time(ns)
}

struct Time(u64);

impl std::fmt::Display for Time {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(self.0);
        humantime::format_rfc3339_nanos(at).fmt(formatter)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A list of what an iterator gives.
struct Each<I>(I);

impl<I: Iterator<Item: Serialize> + Clone> Serialize for Each<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Listed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let facts = &self.facts;
        let status = if facts.errors > 0 { "error" } else { "ok" };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("trace_id", &self.trace_id)?;
        map.serialize_entry("name", facts.name())?;
        map.serialize_entry("title", facts.title())?;
        map.serialize_entry("thread_identifier", &facts.thread())?;
        map.serialize_entry("customer_identifier", &facts.customer())?;
        map.serialize_entry("environment", &facts.environment())?;
        map.serialize_entry("start", &time(facts.start_ns))?;
        map.serialize_entry("end", &time(facts.end_ns))?;
        map.serialize_entry("spans", &facts.spans)?;
        map.serialize_entry("status", status)?;
        map.serialize_entry("live", &self.live)?;
        map.serialize_entry("errors", &facts.errors)?;
        map.serialize_entry("model_calls", &facts.model_calls)?;
        map.serialize_entry("tool_calls", &facts.tool_calls)?;
        map.serialize_entry("agents", &facts.agents().collect::<Vec<_>>())?;
        map.serialize_entry("models", &facts.models().collect::<Vec<_>>())?;
        map.serialize_entry("input_tokens", &facts.input_tokens)?;
        map.serialize_entry("output_tokens", &facts.output_tokens)?;
        map.serialize_entry("preview", &facts.preview())?;
        map.end()
    }
}

impl Written<'_> {
    /// What in the result of a tool that went well looks as if it had not.
    fn failure_sign(&self) -> Option<String> {
        let span = self.span;
        let is_result =
            !self.open && span.status == Status::Ok && span.text(key::LOG_TYPE) == Some("tool");
        let output = span.text(key::ENTITY_OUTPUT).filter(|_| is_result)?;
        // A result that is a text is written as JSON.
        let text: Option<String> = serde_json::from_str(output).ok();
        failure_sign::find(text.as_deref().unwrap_or(output))
    }
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let span = self.span;
        let (status, message) = match &span.status {
            _ if self.open => ("open", None),
            Status::Ok => ("ok", None),
            Status::Error(message) => ("error", Some(message)),
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("span_id", &span.span_id)?;
        map.serialize_entry("parent_span_id", &span.parent_span_id)?;
        map.serialize_entry("log_type", span.text(key::LOG_TYPE).unwrap_or("task"))?;
        map.serialize_entry("name", &span.name)?;
        map.serialize_entry("start", &time(span.start_ns))?;
        map.serialize_entry("end", &(!self.open).then(|| time(span.end_ns)))?;
        map.serialize_entry("status", status)?;
        map.serialize_entry("status_message", &message)?;
        if let Some(sign) = self.failure_sign() {
            map.serialize_entry("looks_failed", &sign)?;
        }
        map.serialize_entry("attributes", &Attributes(&span.attributes, self.content))?;
        let events = span.events.iter();
        let events = events.map(|event| OneEvent(event, self.content));
        map.serialize_entry("events", &Each(events))?;
        map.end()
    }
}

struct OneEvent<'e>(&'e Event, bool);

impl Serialize for OneEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("name", &self.0.name)?;
        map.serialize_entry("time", &time(self.0.time_ns))?;
        map.serialize_entry("attributes", &Attributes(&self.0.attributes, self.1))?;
        map.end()
    }
}

struct Attributes<'a>(&'a [(Key, Value)], bool);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0 {
            if self.1 || !is_content(name, value) {
                map.serialize_entry(name, &OneValue(value))?;
            }
        }
        map.end()
    }
}

fn is_content(name: &str, value: &Value) -> bool {
    name.starts_with("gen_ai.prompt.")
        || name.starts_with("gen_ai.completion.")
        || [key::ENTITY_INPUT, key::ENTITY_OUTPUT, key::FUNCTIONS].contains(&name)
        || match value {
            Value::Text(text) => text.len() > LONGEST,
            Value::Texts(texts) => texts.iter().map(String::len).sum::<usize>() > LONGEST,
            Value::Int(_) | Value::Double(_) | Value::Bool(_) => false,
        }
}

struct OneValue<'v>(&'v Value);

impl Serialize for OneValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Text(text) => serializer.serialize_str(text),
            Value::Int(number) => serializer.serialize_i64(*number),
            Value::Double(number) => serializer.serialize_f64(*number),
            Value::Bool(yes) => serializer.serialize_bool(*yes),
            Value::Texts(texts) => texts.serialize(serializer),
        }
    }
}
