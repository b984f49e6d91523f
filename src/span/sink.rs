//! How a span is told, piece by piece, to whatever comes of it: a [`Span`] in memory, or the bytes of a post.
//!
//! Who tells lends what it has, and copies nothing for the telling: on its way into a post, a prompt goes from the body it came in straight
//! to its place among the post's bytes. Whoever is told hears the same in the same order, so a span that was collected and then written is
//! what would have been written at once.

use std::borrow::Cow;

use super::json::{Depth, Json, escape};
use super::{Event, Key, Span, SpanId, Status, TraceId, Value};
use crate::openai::Quoted;

/// Something that has a span to tell.
pub trait Tell {
    /// Tells it, the same each time.
    fn tell<S: Sink>(&self, sink: S) -> S::Told;

    /// About how many bytes it takes in a post.
    fn size_hint(&self) -> usize;
}

/// What a span is told to.
pub trait Sink {
    /// Takes the attributes.
    type Attributes<'a>: Attributes;
    /// What comes of it.
    type Told;

    /// Takes a whole span. `attributes` tells those, each name at most once.
    fn span(
        self,
        head: &Head<'_>,
        attributes: impl FnOnce(&mut Self::Attributes<'_>),
    ) -> Self::Told;
}

/// What attributes are told to.
pub trait Attributes {
    /// Takes one.
    fn put(&mut self, name: Name<'_>, value: ValueRef<'_>);

    /// Takes one whose text is JSON that `write` writes.
    fn json(&mut self, name: Name<'_>, write: impl FnOnce(&mut Json<'_>));
}

/// All of a span but its attributes.
#[derive(Debug)]
pub struct Head<'s> {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// The span it happened in; none for a root.
    pub parent_span_id: Option<SpanId>,
    /// What Respan shows.
    pub name: &'s str,
    /// Nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// Nanoseconds since the Unix epoch.
    pub end_ns: u64,
    /// Why it did not go well; none where it did.
    pub error: Option<&'s str>,
    /// What happened meanwhile.
    pub events: &'s [Event],
}

/// An attribute's name, in the pieces that it is made of.
#[derive(Clone, Copy, Debug)]
pub enum Name<'n> {
    /// One of [`key`](super::key): nothing in it needs an escape.
    Fixed(&'static str),
    /// Any other.
    Any(&'n str),
    /// One of `key`'s prefixes, and what comes after it.
    Prefixed(&'static str, &'n str),
    /// `gen_ai.prompt.3.role`: a member of an element of a list. Nothing in either needs an escape.
    Numbered(&'static str, usize, &'static str),
}

/// An attribute's value, lent.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'v> {
    /// A text.
    Text(&'v str),
    /// A text that is in JSON already.
    Quoted(Quoted<'v>),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// Yes or no.
    Bool(bool),
    /// Several texts.
    Texts(&'v [&'v str]),
}

/// Makes a [`Span`] of what is told.
#[derive(Clone, Copy, Debug)]
pub struct Collect;

impl Sink for Collect {
    type Attributes<'a> = Vec<(Key, Value)>;
    type Told = Span;

    fn span(self, head: &Head<'_>, tell: impl FnOnce(&mut Vec<(Key, Value)>)) -> Span {
        let mut attributes = Vec::with_capacity(48);
        tell(&mut attributes);
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

impl Attributes for Vec<(Key, Value)> {
    fn put(&mut self, name: Name<'_>, value: ValueRef<'_>) {
        self.push((name.into(), value.into()));
    }

    fn json(&mut self, name: Name<'_>, write: impl FnOnce(&mut Json<'_>)) {
        let mut json = Vec::new();
        write(&mut Json::new(&mut json, false));
        // It is made of texts, so it is one.
        let text = String::from_utf8(json).unwrap_or_default();
        self.push((name.into(), Value::Text(text)));
    }
}

impl Tell for Span {
    fn tell<S: Sink>(&self, sink: S) -> S::Told {
        let head = Head {
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
        sink.span(&head, |put| tell_all(&self.attributes, put))
    }

    fn size_hint(&self) -> usize {
        self.weight()
    }
}

/// Tells attributes that were collected before.
pub fn tell_all(collected: &[(Key, Value)], put: &mut impl Attributes) {
    for (key, value) in collected {
        let name = match key {
            Cow::Borrowed(fixed) => Name::Fixed(fixed),
            Cow::Owned(made) => Name::Any(made),
        };
        match value {
            Value::Text(text) => put.put(name, ValueRef::Text(text)),
            Value::Int(number) => put.put(name, ValueRef::Int(*number)),
            Value::Double(number) => put.put(name, ValueRef::Double(*number)),
            Value::Bool(yes) => put.put(name, ValueRef::Bool(*yes)),
            Value::Texts(texts) => {
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                put.put(name, ValueRef::Texts(&texts));
            }
        }
    }
}

impl Name<'_> {
    /// Adds it to what stands so deep in JSON strings.
    pub fn write(self, out: &mut Vec<u8>, depth: Depth) {
        match self {
            Name::Fixed(name) => out.extend_from_slice(name.as_bytes()),
            Name::Any(name) => escape(out, name, depth),
            Name::Prefixed(prefix, name) => {
                out.extend_from_slice(prefix.as_bytes());
                escape(out, name, depth);
            }
            Name::Numbered(list, number, member) => {
                out.extend_from_slice(list.as_bytes());
                out.push(b'.');
                decimal(out, number as u64);
                out.push(b'.');
                out.extend_from_slice(member.as_bytes());
            }
        }
    }

    /// How many bytes it has.
    pub fn length(self) -> usize {
        match self {
            Name::Fixed(name) | Name::Any(name) => name.len(),
            Name::Prefixed(prefix, name) => prefix.len() + name.len(),
            Name::Numbered(list, number, member) => {
                let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
                list.len() + 1 + digits + 1 + member.len()
            }
        }
    }
}

/// Adds a number in decimal digits; formatting one takes several times as long.
pub fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] += u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

impl From<Name<'_>> for Key {
    fn from(name: Name<'_>) -> Key {
        match name {
            Name::Fixed(name) => Cow::Borrowed(name),
            Name::Any(name) => Cow::Owned(name.to_owned()),
            Name::Prefixed(prefix, name) => Cow::Owned(format!("{prefix}{name}")),
            Name::Numbered(list, number, member) => Cow::Owned(format!("{list}.{number}.{member}")),
        }
    }
}

impl From<&'static str> for Name<'_> {
    fn from(name: &'static str) -> Self {
        Name::Fixed(name)
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Value {
        match value {
            ValueRef::Text(text) => Value::Text(text.to_owned()),
            ValueRef::Quoted(text) => Value::Text(text.text().into_owned()),
            ValueRef::Int(number) => Value::Int(number),
            ValueRef::Double(number) => Value::Double(number),
            ValueRef::Bool(yes) => Value::Bool(yes),
            ValueRef::Texts(texts) => {
                Value::Texts(texts.iter().map(|text| (*text).to_owned()).collect())
            }
        }
    }
}

impl<'v> From<Quoted<'v>> for ValueRef<'v> {
    fn from(text: Quoted<'v>) -> Self {
        ValueRef::Quoted(text)
    }
}

impl<'v> From<&'v str> for ValueRef<'v> {
    fn from(text: &'v str) -> Self {
        ValueRef::Text(text)
    }
}

impl<'v> From<&'v [&'v str]> for ValueRef<'v> {
    fn from(texts: &'v [&'v str]) -> Self {
        ValueRef::Texts(texts)
    }
}

impl From<bool> for ValueRef<'_> {
    fn from(flag: bool) -> Self {
        ValueRef::Bool(flag)
    }
}

impl From<f64> for ValueRef<'_> {
    fn from(number: f64) -> Self {
        ValueRef::Double(number)
    }
}

impl From<i64> for ValueRef<'_> {
    fn from(number: i64) -> Self {
        ValueRef::Int(number)
    }
}

impl From<u64> for ValueRef<'_> {
    /// OTLP's integers are signed; no count of tokens comes near the end of them.
    fn from(count: u64) -> Self {
        ValueRef::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }
}
