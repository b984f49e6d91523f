//! The model of a span: what one exported operation holds, before any encoding.
//!
//! Ids, times and attributes are fixed when a span is made. Nothing after that changes it, so a post that is repeated is the same post.
//! How the attributes are called is Respan's wire contract: [`key`] has the names, [`exchange`], [`chat`] and [`operation`] set them.
//!
//! ```text
//!  exchange and its place ──tell──► sink ──► a Span: what people look at, and what is kept
//!  Span                   ──tell──►      └─► bytes of a post, with no Span between
//! ```

pub mod chat;
pub mod exchange;
pub mod identity;
pub mod json;
pub mod key;
pub mod operation;
mod sink;

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use crate::id::{SpanId, TraceId};
pub use sink::{Attributes, Collect, Head, Name, Sink, Tell, ValueRef, decimal, tell_all};

/// One finished operation, ready to be exported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// The span it happened in; none for a root.
    pub parent_span_id: Option<SpanId>,
    /// What Respan shows, `llm.gpt-4o` for example.
    pub name: String,
    /// Nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// Nanoseconds since the Unix epoch, never before `start_ns`.
    pub end_ns: u64,
    /// Whether it went well.
    pub status: Status,
    /// What it holds, each key at most once, in the order it was set.
    pub attributes: Vec<(Key, Value)>,
    /// What happened meanwhile, in the order it happened.
    pub events: Vec<Event>,
}

/// Where the span of an exchange stands: what the exchange itself does not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// The span it happened in; none for a root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<SpanId>,
    /// When it began, in nanoseconds of [`crate::clock`]: with its first attempt, which may have been another exchange.
    pub start_ns: u64,
    /// What has to be added to times of that clock for the times that the spans of its run show.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wall_offset_ns: i64,
    /// Attempts that failed before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    /// How it came to stand here, as attributes that the exchange has not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<(Key, Value)>,
    /// The model that was asked for, where the request has been read by now. The exchange has it, too, but would have to be read again.
    #[serde(skip)]
    pub model: Option<Arc<str>>,
    /// What its run was asked first, likewise; in part, where it is long.
    #[serde(skip)]
    pub task: Option<Arc<str>>,
}

impl Placement {
    /// What the span shows for this time of [`crate::clock`]: nanoseconds since the Unix epoch.
    pub fn wall_ns(&self, steady_ns: u64) -> u64 {
        steady_ns.saturating_add_signed(self.wall_offset_ns)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Something that happened during a span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// What happened.
    pub name: Key,
    /// More about it, each key at most once.
    pub attributes: Vec<(Key, Value)>,
}

/// OTLP's status of a span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It ended as it should.
    Ok,
    /// It did not, and this says why.
    Error(String),
}

/// An attribute's name: nearly always one of [`key`], and only those are borrowed; seldom made (`gen_ai.prompt.3.content`).
pub type Key = Cow<'static, str>;

/// An attribute's value: a primitive or a list of texts, as Respan's contract asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// Yes or no.
    Bool(bool),
    /// Several texts.
    Texts(Vec<String>),
}

impl Span {
    /// About how many bytes it takes, in memory as on the wire: an attribute's JSON around its text is about as long as its place in memory.
    pub fn weight(&self) -> usize {
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

fn attributes_weight(attributes: &[(Key, Value)]) -> usize {
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
