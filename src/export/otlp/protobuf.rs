//! OTLP/protobuf, written as a span emits it.
//!
//! A message comes after its length, which is known when the message is. Where a message is long or made in pieces, room is left for the
//! length and filled in afterwards, so that nothing is measured first: a varint may have more bytes than its number needs.

use super::{KIND_INTERNAL, SERVICE, VERSION, status_code};
use crate::span::json::{JsonDepth, JsonWriter};
use crate::span::{
    self, AttributeEncoder as _, AttributeName, SpanEncode, SpanEncoder, SpanEvent, SpanHead,
    ValueRef, emit_attributes,
};

/// Bytes left for a length: enough for 32 bits, which every parser takes.
const ROOM: usize = 5;

/// The wire type of a field, in the lowest bits of its tag.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const DELIMITED: u8 = 2;

/// The fields that are written, as opentelemetry-proto 1.x numbers them.
mod tag {
    use super::{DELIMITED, FIXED64, VARINT};

    const fn of(number: u8, wire_type: u8) -> u8 {
        number << 3 | wire_type
    }

    pub(super) const REQUEST_RESOURCE_SPANS: u8 = of(1, DELIMITED);
    pub(super) const RESOURCE_SPANS_RESOURCE: u8 = of(1, DELIMITED);
    pub(super) const RESOURCE_SPANS_SCOPE_SPANS: u8 = of(2, DELIMITED);
    pub(super) const RESOURCE_ATTRIBUTES: u8 = of(1, DELIMITED);
    pub(super) const SCOPE_SPANS_SCOPE: u8 = of(1, DELIMITED);
    pub(super) const SCOPE_SPANS_SPANS: u8 = of(2, DELIMITED);
    pub(super) const SCOPE_NAME: u8 = of(1, DELIMITED);
    pub(super) const SCOPE_VERSION: u8 = of(2, DELIMITED);
    pub(super) const SPAN_TRACE_ID: u8 = of(1, DELIMITED);
    pub(super) const SPAN_SPAN_ID: u8 = of(2, DELIMITED);
    pub(super) const SPAN_PARENT_SPAN_ID: u8 = of(4, DELIMITED);
    pub(super) const SPAN_NAME: u8 = of(5, DELIMITED);
    pub(super) const SPAN_KIND: u8 = of(6, VARINT);
    pub(super) const SPAN_START: u8 = of(7, FIXED64);
    pub(super) const SPAN_END: u8 = of(8, FIXED64);
    pub(super) const SPAN_ATTRIBUTES: u8 = of(9, DELIMITED);
    pub(super) const SPAN_EVENTS: u8 = of(11, DELIMITED);
    pub(super) const SPAN_STATUS: u8 = of(15, DELIMITED);
    pub(super) const EVENT_TIME: u8 = of(1, FIXED64);
    pub(super) const EVENT_NAME: u8 = of(2, DELIMITED);
    pub(super) const EVENT_ATTRIBUTES: u8 = of(3, DELIMITED);
    pub(super) const STATUS_MESSAGE: u8 = of(2, DELIMITED);
    pub(super) const STATUS_CODE: u8 = of(3, VARINT);
    pub(super) const KEY_VALUE_KEY: u8 = of(1, DELIMITED);
    pub(super) const KEY_VALUE_VALUE: u8 = of(2, DELIMITED);
    pub(super) const VALUE_STRING: u8 = of(1, DELIMITED);
    pub(super) const VALUE_BOOL: u8 = of(2, VARINT);
    pub(super) const VALUE_INT: u8 = of(3, VARINT);
    pub(super) const VALUE_DOUBLE: u8 = of(4, FIXED64);
    pub(super) const VALUE_ARRAY: u8 = of(5, DELIMITED);
    pub(super) const ARRAY_VALUES: u8 = of(1, DELIMITED);
}

/// Adds one post.
pub(super) fn encode<'a, T: SpanEncode + 'a>(
    spans: impl Iterator<Item = &'a T>,
    body: &mut Vec<u8>,
) {
    message(body, tag::REQUEST_RESOURCE_SPANS, |body| {
        message(body, tag::RESOURCE_SPANS_RESOURCE, |body| {
            let mut about = ProtobufAttributes::of(body, tag::RESOURCE_ATTRIBUTES);
            about.put("service.name".into(), ValueRef::Text(SERVICE));
            about.put("service.version".into(), ValueRef::Text(VERSION));
        });
        message(body, tag::RESOURCE_SPANS_SCOPE_SPANS, |body| {
            message(body, tag::SCOPE_SPANS_SCOPE, |body| {
                bytes(body, tag::SCOPE_NAME, SERVICE.as_bytes());
                bytes(body, tag::SCOPE_VERSION, VERSION.as_bytes());
            });
            for span in spans {
                message(body, tag::SCOPE_SPANS_SPANS, |body| {
                    span.emit(ProtobufSpan(body));
                });
            }
        });
    });
}

/// The place of one span.
struct ProtobufSpan<'b>(&'b mut Vec<u8>);

impl SpanEncoder for ProtobufSpan<'_> {
    type Attributes<'a> = ProtobufAttributes<'a>;
    type Output = ();

    fn span(self, head: &SpanHead<'_>, tell: impl FnOnce(&mut ProtobufAttributes<'_>)) {
        let body = self.0;
        bytes(body, tag::SPAN_TRACE_ID, &head.trace_id.0);
        bytes(body, tag::SPAN_SPAN_ID, &head.span_id.0);
        if let Some(parent) = head.parent_span_id {
            bytes(body, tag::SPAN_PARENT_SPAN_ID, &parent.0);
        }
        bytes(body, tag::SPAN_NAME, head.name.as_bytes());
        number(body, tag::SPAN_KIND, KIND_INTERNAL);
        fixed(body, tag::SPAN_START, head.start_ns);
        fixed(body, tag::SPAN_END, head.end_ns);
        tell(&mut ProtobufAttributes::of(body, tag::SPAN_ATTRIBUTES));
        for event in head.events {
            message(body, tag::SPAN_EVENTS, |body| one_event(body, event));
        }
        message(body, tag::SPAN_STATUS, |body| {
            if let Some(message) = head.error {
                bytes(body, tag::STATUS_MESSAGE, message.as_bytes());
            }
            number(body, tag::STATUS_CODE, status_code(head));
        });
    }
}

fn one_event(body: &mut Vec<u8>, event: &SpanEvent) {
    fixed(body, tag::EVENT_TIME, event.time_ns);
    bytes(body, tag::EVENT_NAME, event.name.as_bytes());
    emit_attributes(
        &event.attributes,
        &mut ProtobufAttributes::of(body, tag::EVENT_ATTRIBUTES),
    );
}

/// Attributes, as a field that comes once for each.
struct ProtobufAttributes<'b> {
    body: &'b mut Vec<u8>,
    tag: u8,
}

impl<'b> ProtobufAttributes<'b> {
    fn of(body: &'b mut Vec<u8>, tag: u8) -> Self {
        Self { body, tag }
    }

    /// An attribute whose value has so many bytes: that is to follow.
    fn measured(&mut self, name: AttributeName<'_>, value: usize) {
        let key = name.length();
        number(
            self.body,
            self.tag,
            (field_length(key) + field_length(value)) as u64,
        );
        put_key(self.body, name);
        number(self.body, tag::KEY_VALUE_VALUE, value as u64);
    }

    /// An attribute whose value `write` writes.
    fn unmeasured(&mut self, name: AttributeName<'_>, write: impl FnOnce(&mut Vec<u8>)) {
        message(self.body, self.tag, |body| {
            put_key(body, name);
            message(body, tag::KEY_VALUE_VALUE, write);
        });
    }
}

impl span::AttributeEncoder for ProtobufAttributes<'_> {
    fn put(&mut self, name: AttributeName<'_>, value: ValueRef<'_>) {
        match value {
            ValueRef::Text(text) => {
                self.measured(name, field_length(text.len()));
                bytes(self.body, tag::VALUE_STRING, text.as_bytes());
            }
            ValueRef::JsonString(text) => self.put(name, ValueRef::Text(&text.text())),
            ValueRef::Int(whole) => {
                let whole = whole.cast_unsigned();
                self.measured(name, 1 + varint_length(whole));
                number(self.body, tag::VALUE_INT, whole);
            }
            ValueRef::Double(double) => {
                self.measured(name, 9);
                fixed(self.body, tag::VALUE_DOUBLE, double.to_bits());
            }
            ValueRef::Bool(yes) => {
                self.measured(name, 2);
                number(self.body, tag::VALUE_BOOL, u64::from(yes));
            }
            ValueRef::Texts(texts) => self.unmeasured(name, |body| {
                message(body, tag::VALUE_ARRAY, |body| {
                    for text in texts {
                        message(body, tag::ARRAY_VALUES, |body| {
                            bytes(body, tag::VALUE_STRING, text.as_bytes());
                        });
                    }
                });
            }),
        }
    }

    fn json(&mut self, name: AttributeName<'_>, write: impl FnOnce(&mut JsonWriter<'_>)) {
        self.unmeasured(name, |body| {
            message(body, tag::VALUE_STRING, |body| {
                write(&mut JsonWriter::new(body, false));
            });
        });
    }
}

fn put_key(body: &mut Vec<u8>, name: AttributeName<'_>) {
    number(body, tag::KEY_VALUE_KEY, name.length() as u64);
    name.write(body, JsonDepth::Plain);
}

/// A field that is a message, or a text in pieces.
fn message(body: &mut Vec<u8>, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
    body.push(tag);
    let start = body.len();
    body.extend_from_slice(&[0; ROOM]);
    write(body);
    let mut length = body.len() - start - ROOM;
    for (place, byte) in body[start..start + ROOM].iter_mut().enumerate() {
        let more = if place + 1 < ROOM { 0x80 } else { 0 };
        *byte = low_bits(length as u64) | more;
        length >>= 7;
    }
}

fn bytes(body: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    number(body, tag, bytes.len() as u64);
    body.extend_from_slice(bytes);
}

/// A field that is a varint, or the length that begins one of so many bytes.
fn number(body: &mut Vec<u8>, tag: u8, mut number: u64) {
    body.push(tag);
    while number > 0x7f {
        body.push(low_bits(number) | 0x80);
        number >>= 7;
    }
    body.push(low_bits(number));
}

fn fixed(body: &mut Vec<u8>, tag: u8, number: u64) {
    body.push(tag);
    body.extend_from_slice(&number.to_le_bytes());
}

/// How long a field with so many bytes is.
fn field_length(bytes: usize) -> usize {
    1 + varint_length(bytes as u64) + bytes
}

fn varint_length(number: u64) -> usize {
    number.checked_ilog2().unwrap_or(0) as usize / 7 + 1
}

fn low_bits(number: u64) -> u8 {
    number.to_le_bytes()[0] & 0x7f
}
