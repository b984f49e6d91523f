//! The model of a span: one exported operation, before any encoding.
//!
//! Ids, times and attributes are fixed when a span is made. Nothing changes them later, so a repeated post has the same bytes.
//! The names of attributes are Respan's wire contract: [`key`] lists them; [`exchange`], [`chat`] and [`operation`] set them.
//!
//! ```text
//!  Exchange and Placement ──emit──► SpanEncoder ──► a Span in memory
//!  Span                   ──emit──►             └─► bytes of a post, with no Span between
//! ```

pub mod chat;
mod encode;
pub mod exchange;
pub(crate) mod identity;
pub(crate) mod json;
pub(crate) mod key;
pub mod operation;

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use crate::id::{SpanId, TraceId};
pub(crate) use encode::{
    AttributeEncoder, AttributeName, SpanCollector, SpanEncode, SpanEncoder, SpanHead, ValueRef,
    emit_attributes,
};
pub(crate) use json::decimal;

/// One finished operation, ready to be exported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// The same for all spans of a run.
    pub trace_id: TraceId,
    /// Unique within its trace.
    pub span_id: SpanId,
    /// None for a root.
    pub parent_span_id: Option<SpanId>,
    /// The name that Respan shows, for example `llm.gpt-4o`.
    pub name: String,
    /// Nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// Nanoseconds since the Unix epoch, never before `start_ns`.
    pub end_ns: u64,
    /// OTLP's status: success or an error with its reason.
    pub status: Status,
    /// Each key at most once, in the order in which they were set.
    pub attributes: Vec<(AttributeKey, Value)>,
    /// In the order of their times.
    pub events: Vec<SpanEvent>,
}

/// The trace, parent and start of a call's span: facts that the exchange itself does not have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// The trace of the call's run.
    pub trace_id: TraceId,
    /// None for a root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<SpanId>,
    /// Nanoseconds of [`crate::clock`]. A retried call starts with its first attempt, which is another exchange.
    #[serde(rename = "start_ns")]
    pub start_steady_ns: u64,
    /// Added to times of [`crate::clock`], it gives the wall time that all spans of the run show.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wall_offset_ns: i64,
    /// One for each attempt that failed before this call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<SpanEvent>,
    /// Attributes that say how this placement was found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<(AttributeKey, Value)>,
    /// The requested model, where the request was parsed already. A cache: the exchange would have to be parsed again.
    #[serde(skip)]
    pub model: Option<Arc<str>>,
    /// The first task of the run, cut where it is long. A cache like `model`.
    #[serde(skip)]
    pub task: Option<Arc<str>>,
}

impl Placement {
    /// Converts a time of [`crate::clock`] to nanoseconds since the Unix epoch.
    pub fn wall_ns(&self, steady_ns: u64) -> u64 {
        steady_ns.saturating_add_signed(self.wall_offset_ns)
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A moment within a span, such as a failed attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpanEvent {
    /// Nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// The kind of event.
    pub name: AttributeKey,
    /// Each key at most once.
    pub attributes: Vec<(AttributeKey, Value)>,
}

/// OTLP's status of a span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// The operation succeeded.
    Ok,
    /// The operation failed, with the reason.
    Error(String),
}

/// The name of an attribute. Constants of [`key`] are borrowed; names such as `gen_ai.prompt.3.content` are owned.
pub(crate) type AttributeKey = Cow<'static, str>;

/// The value of an attribute: a primitive or a list of texts, as Respan's contract asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// UTF-8 of any length.
    Text(String),
    /// OTLP's integers are signed.
    Int(i64),
    /// Includes infinities and NaN.
    Double(f64),
    /// `true` or `false`.
    Bool(bool),
    /// An array of strings.
    Texts(Vec<String>),
}

impl Span {
    /// An estimate in bytes, for memory as for the wire: an attribute's JSON syntax is about as long as its entry in memory.
    pub fn size_estimate(&self) -> usize {
        let message = match &self.status {
            Status::Ok => 0,
            Status::Error(message) => message.len(),
        };
        let events: usize = self
            .events
            .iter()
            .map(|event| {
                size_of_val(event) + event.name.len() + attributes_weight(&event.attributes)
            })
            .sum();
        size_of::<Span>() + self.name.len() + message + attributes_weight(&self.attributes) + events
    }
}

fn attributes_weight(attributes: &[(AttributeKey, Value)]) -> usize {
    attributes
        .iter()
        .map(|(key, value)| {
            let texts = match value {
                Value::Text(text) => text.len(),
                Value::Texts(texts) => texts
                    .iter()
                    .map(|text| size_of::<String>() + text.len())
                    .sum(),
                Value::Int(_) | Value::Double(_) | Value::Bool(_) => 0,
            };
            size_of_val(key) + size_of_val(value) + key.len() + texts
        })
        .sum()
}
