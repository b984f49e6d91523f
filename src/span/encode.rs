//! How a span is emitted to an encoder: a [`SpanCollector`] makes a [`Span`] in memory, `export::otlp` writes the bytes of a post.
//!
//! Emitting borrows and copies nothing: a prompt goes from the body in which it came straight to its place in the post.
//! Every encoder gets the same attributes in the same order, so a collected span encodes to the same bytes as its source.

use std::borrow::Cow;

use super::json::{JsonDepth, JsonWriter, decimal, escape};
use super::{AttributeKey, Span, SpanEvent, SpanId, Status, TraceId, Value};
use crate::openai::JsonString;

/// A source of a span. Encoding it twice gives the same.
pub trait SpanEncode {
    /// Gives the span to `encoder`.
    fn emit<E: SpanEncoder>(&self, encoder: E) -> E::Output;

    /// An estimate of the span's bytes in a post.
    fn size_hint(&self) -> usize;
}

/// The receiver of one span.
pub trait SpanEncoder {
    /// Receives the span's attributes.
    type Attributes<'a>: AttributeEncoder;
    /// The encoded span.
    type Output;

    /// Encodes a span. `emit` puts its attributes, each name at most once.
    fn span(
        self,
        head: &SpanHead<'_>,
        emit: impl FnOnce(&mut Self::Attributes<'_>),
    ) -> Self::Output;
}

/// The receiver of a span's attributes.
pub trait AttributeEncoder {
    /// Encodes one attribute.
    fn put(&mut self, name: AttributeName<'_>, value: ValueRef<'_>);

    /// Encodes one attribute whose text is the JSON that `write` writes.
    fn json(&mut self, name: AttributeName<'_>, write: impl FnOnce(&mut JsonWriter<'_>));
}

/// A [`Span`] without its attributes.
#[derive(Debug)]
pub struct SpanHead<'s> {
    /// As in [`Span`].
    pub trace_id: TraceId,
    /// As in [`Span`].
    pub span_id: SpanId,
    /// None for a root.
    pub parent_span_id: Option<SpanId>,
    /// The name that Respan shows.
    pub name: &'s str,
    /// Nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// Nanoseconds since the Unix epoch.
    pub end_ns: u64,
    /// The reason of a failure; none for success.
    pub error: Option<&'s str>,
    /// In the order of their times.
    pub events: &'s [SpanEvent],
}

/// The name of an attribute, in its parts.
#[derive(Clone, Copy, Debug)]
pub enum AttributeName<'n> {
    /// A constant of [`key`](super::key), which needs no escapes.
    Fixed(&'static str),
    /// Any text.
    Any(&'n str),
    /// A prefix of [`key`](super::key), which needs no escapes, and any text.
    Prefixed(&'static str, &'n str),
    /// A member of a list's element, such as `gen_ai.prompt.3.role`. Neither text needs escapes.
    Numbered(&'static str, usize, &'static str),
}

/// A borrowed [`Value`].
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'v> {
    /// UTF-8 of any length.
    Text(&'v str),
    /// A text that is still a JSON string of a request.
    JsonString(JsonString<'v>),
    /// OTLP's integers are signed.
    Int(i64),
    /// Includes infinities and NaN.
    Double(f64),
    /// `true` or `false`.
    Bool(bool),
    /// An array of strings.
    Texts(&'v [&'v str]),
}

/// The encoder that makes a [`Span`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanCollector;

impl SpanEncoder for SpanCollector {
    type Attributes<'a> = Vec<(AttributeKey, Value)>;
    type Output = Span;

    fn span(self, head: &SpanHead<'_>, emit: impl FnOnce(&mut Vec<(AttributeKey, Value)>)) -> Span {
        // A chat span has about 40 attributes.
        let mut attributes = Vec::with_capacity(48);
        emit(&mut attributes);
        Span {
            trace_id: head.trace_id,
            span_id: head.span_id,
            parent_span_id: head.parent_span_id,
            name: head.name.to_owned(),
            start_ns: head.start_ns,
            end_ns: head.end_ns,
            status: head
                .error
                .map_or(Status::Ok, |error| Status::Error(error.to_owned())),
            attributes,
            events: head.events.to_vec(),
        }
    }
}

impl AttributeEncoder for Vec<(AttributeKey, Value)> {
    fn put(&mut self, name: AttributeName<'_>, value: ValueRef<'_>) {
        self.push((name.into(), value.into()));
    }

    fn json(&mut self, name: AttributeName<'_>, write: impl FnOnce(&mut JsonWriter<'_>)) {
        let mut json = Vec::new();
        write(&mut JsonWriter::new(&mut json, false));
        // A JsonWriter writes UTF-8 only.
        let text = String::from_utf8(json).unwrap_or_default();
        self.push((name.into(), Value::Text(text)));
    }
}

impl SpanEncode for Span {
    fn emit<E: SpanEncoder>(&self, encoder: E) -> E::Output {
        let head = SpanHead {
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent_span_id: self.parent_span_id,
            name: &self.name,
            start_ns: self.start_ns,
            end_ns: self.end_ns,
            error: match &self.status {
                Status::Ok => None,
                Status::Error(message) => Some(message),
            },
            events: &self.events,
        };
        encoder.span(&head, |out| emit_attributes(&self.attributes, out))
    }

    fn size_hint(&self) -> usize {
        self.size_estimate()
    }
}

/// Emits attributes that were collected before.
pub(crate) fn emit_attributes(
    collected: &[(AttributeKey, Value)],
    out: &mut impl AttributeEncoder,
) {
    for (key, value) in collected {
        let name = match key {
            Cow::Borrowed(fixed) => AttributeName::Fixed(fixed),
            Cow::Owned(any) => AttributeName::Any(any),
        };
        match value {
            Value::Text(text) => out.put(name, ValueRef::Text(text)),
            Value::Int(number) => out.put(name, ValueRef::Int(*number)),
            Value::Double(number) => out.put(name, ValueRef::Double(*number)),
            Value::Bool(flag) => out.put(name, ValueRef::Bool(*flag)),
            Value::Texts(texts) => {
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                out.put(name, ValueRef::Texts(&texts));
            }
        }
    }
}

impl AttributeName<'_> {
    /// Appends the name to `out`, escaped for `depth`.
    pub fn write(self, out: &mut Vec<u8>, depth: JsonDepth) {
        match self {
            AttributeName::Fixed(name) => out.extend_from_slice(name.as_bytes()),
            AttributeName::Any(name) => escape(out, name, depth),
            AttributeName::Prefixed(prefix, name) => {
                out.extend_from_slice(prefix.as_bytes());
                escape(out, name, depth);
            }
            AttributeName::Numbered(list, number, member) => {
                out.extend_from_slice(list.as_bytes());
                out.push(b'.');
                decimal(out, number as u64);
                out.push(b'.');
                out.extend_from_slice(member.as_bytes());
            }
        }
    }

    /// The length in bytes, before any escapes.
    pub fn length(self) -> usize {
        match self {
            AttributeName::Fixed(name) | AttributeName::Any(name) => name.len(),
            AttributeName::Prefixed(prefix, name) => prefix.len() + name.len(),
            AttributeName::Numbered(list, number, member) => {
                let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
                list.len() + 1 + digits + 1 + member.len()
            }
        }
    }
}

impl From<AttributeName<'_>> for AttributeKey {
    fn from(name: AttributeName<'_>) -> AttributeKey {
        match name {
            AttributeName::Fixed(name) => Cow::Borrowed(name),
            AttributeName::Any(name) => Cow::Owned(name.to_owned()),
            AttributeName::Prefixed(prefix, name) => Cow::Owned(format!("{prefix}{name}")),
            AttributeName::Numbered(list, number, member) => {
                Cow::Owned(format!("{list}.{number}.{member}"))
            }
        }
    }
}

impl From<&'static str> for AttributeName<'_> {
    fn from(name: &'static str) -> Self {
        AttributeName::Fixed(name)
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Value {
        match value {
            ValueRef::Text(text) => Value::Text(text.to_owned()),
            ValueRef::JsonString(text) => Value::Text(text.text().into_owned()),
            ValueRef::Int(number) => Value::Int(number),
            ValueRef::Double(number) => Value::Double(number),
            ValueRef::Bool(yes) => Value::Bool(yes),
            ValueRef::Texts(texts) => {
                Value::Texts(texts.iter().map(|text| (*text).to_owned()).collect())
            }
        }
    }
}

macro_rules! value_from {
    ($($source:ty => $variant:ident,)+) => {
        $(impl<'v> From<$source> for ValueRef<'v> {
            fn from(value: $source) -> Self {
                ValueRef::$variant(value)
            }
        })+
    };
}

value_from! {
    JsonString<'v> => JsonString,
    &'v str => Text,
    &'v [&'v str] => Texts,
    bool => Bool,
    f64 => Double,
    i64 => Int,
}

impl From<u64> for ValueRef<'_> {
    /// Saturates at `i64::MAX`, since OTLP's integers are signed.
    fn from(count: u64) -> Self {
        ValueRef::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }
}
