//! The admin API's JSON of traces and spans: ids in hex, times in RFC 3339, attributes as an object.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::failure_sign;
use super::query::ListCursor;
use super::stats::TraceStats;
use crate::span::{AttributeKey, Span, SpanEvent, Status, TraceId, Value, key};

/// Most bytes of an attribute's text that is no content.
const LONGEST: usize = 512;

/// A trace in a list.
#[derive(Clone, Debug)]
pub struct TraceSummary {
    /// The trace's id.
    pub trace_id: TraceId,
    /// The sum of its spans, the open ones included.
    pub stats: TraceStats,
    /// Whether a run of the trace is open.
    pub live: bool,
}

/// A page of the list.
#[derive(Clone, Debug, serde::Serialize)]
pub struct TraceList {
    /// The latest trace first.
    pub traces: Vec<TraceSummary>,
    /// Where the next page begins; none after the last page.
    pub next: Option<ListCursor>,
}

/// A span of a trace.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanView<'s> {
    pub(super) span: &'s Span,
    /// The operation has not ended.
    pub(super) open: bool,
    /// Whether texts of prompts and replies are in it.
    pub(super) content: bool,
}

/// Nanoseconds since the Unix epoch, in RFC 3339.
pub(crate) fn time(ns: u64) -> impl Serialize + fmt::Display {
    Rfc3339(ns)
}

struct Rfc3339(u64);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(self.0);
        humantime::format_rfc3339_nanos(at).fmt(formatter)
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for ListCursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for TraceSummary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stats = &self.stats;
        let outcome = if stats.errors > 0 { "error" } else { "ok" };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("trace_id", &self.trace_id)?;
        map.serialize_entry("name", stats.name())?;
        map.serialize_entry("title", stats.title())?;
        map.serialize_entry("thread_identifier", &stats.thread.text())?;
        map.serialize_entry("customer_identifier", &stats.customer.text())?;
        map.serialize_entry("environment", &stats.environment.text())?;
        map.serialize_entry("start", &time(stats.start_ns))?;
        map.serialize_entry("end", &time(stats.end_ns))?;
        map.serialize_entry("spans", &stats.spans)?;
        map.serialize_entry("status", outcome)?;
        map.serialize_entry("live", &self.live)?;
        map.serialize_entry("errors", &stats.errors)?;
        map.serialize_entry("model_calls", &stats.model_calls)?;
        map.serialize_entry("tool_calls", &stats.tool_calls)?;
        map.serialize_entry("agents", &stats.agents().collect::<Vec<_>>())?;
        map.serialize_entry("models", &stats.models().collect::<Vec<_>>())?;
        map.serialize_entry("input_tokens", &stats.input_tokens)?;
        map.serialize_entry("output_tokens", &stats.output_tokens)?;
        map.serialize_entry("preview", &stats.preview.text())?;
        map.end()
    }
}

impl SpanView<'_> {
    /// The sign of a failure in the result of a tool whose span has no error.
    fn failure_sign(&self) -> Option<String> {
        let span = self.span;
        let is_result =
            !self.open && span.status == Status::Ok && span.text(key::LOG_TYPE) == Some("tool");
        let output = span.text(key::ENTITY_OUTPUT).filter(|_| is_result)?;
        // A result that is a text stands there as a JSON string.
        let text: Option<String> = serde_json::from_str(output).ok();
        failure_sign::find(text.as_deref().unwrap_or(output))
    }
}

impl Serialize for SpanView<'_> {
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
        map.serialize_entry(
            "attributes",
            &AttributesView(&span.attributes, self.content),
        )?;
        let events: Vec<EventView<'_>> = span
            .events
            .iter()
            .map(|event| EventView(event, self.content))
            .collect();
        map.serialize_entry("events", &events)?;
        map.end()
    }
}

/// An event, with or without content.
struct EventView<'e>(&'e SpanEvent, bool);

impl Serialize for EventView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let EventView(event, content) = self;
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("name", &event.name)?;
        map.serialize_entry("time", &time(event.time_ns))?;
        map.serialize_entry("attributes", &AttributesView(&event.attributes, *content))?;
        map.end()
    }
}

/// Attributes as an object, with or without content.
struct AttributesView<'a>(&'a [(AttributeKey, Value)], bool);

impl Serialize for AttributesView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let AttributesView(attributes, content) = self;
        let shown = attributes.iter();
        let shown = shown.filter(|(name, value)| *content || !is_content(name, value));
        serializer.collect_map(shown.map(|(name, value)| (name, ValueView(value))))
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

/// A value without the name of its type.
struct ValueView<'v>(&'v Value);

impl Serialize for ValueView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Text(text) => serializer.serialize_str(text),
            Value::Int(number) => serializer.serialize_i64(*number),
            Value::Double(number) => serializer.serialize_f64(*number),
            Value::Bool(flag) => serializer.serialize_bool(*flag),
            Value::Texts(texts) => texts.serialize(serializer),
        }
    }
}
