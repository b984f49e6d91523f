//! Spans become the body of one OTLP/HTTP post.
//!
//! Pure, and the same bytes for the same spans each time: a resend must be the same post. Both encodings carry the same
//! `ExportTraceServiceRequest` (opentelemetry-proto, `collector/trace/v1`), one resource and one scope, both named spangate.
//!
//! Neither builds anything before: what a [`Tell`] tells goes to its place in the body, so a prompt of 200 KB is read once and written
//! where it belongs. In JSON, what is printed is what Respan's own SDK prints (no empty `events`, `links`, `traceState` and `parentSpanId`
//! of a root, which `opentelemetry-proto`'s types would spell out).

use bytes::Bytes;

use crate::span::{Head, Tell};

mod json;
mod protobuf;
#[cfg(test)]
mod tests;

const SERVICE: &str = "spangate";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `SPAN_KIND_INTERNAL`, which Respan's SDKs send for every span; what a span is, is said by `respan.entity.log_type`.
const KIND_INTERNAL: u64 = 1;

/// How spans are written into a post.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// OTLP/HTTP with JSON: what every first-party client of Respan sends.
    #[default]
    Json,
    /// OTLP/HTTP with protobuf.
    Protobuf,
}

impl Encoding {
    /// The `content-type` of a post.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
        }
    }

    /// The body of one post.
    pub fn encode<'a, T: Tell + 'a>(self, spans: impl Iterator<Item = &'a T> + Clone) -> Bytes {
        let about = spans.clone().map(Tell::size_hint).sum::<usize>() + 512;
        let mut body = Vec::with_capacity(about);
        match self {
            Self::Json => json::encode(spans, &mut body),
            Self::Protobuf => protobuf::encode(spans, &mut body),
        }
        body.into()
    }
}

/// Adds one span as it stands among others in a post of JSON.
pub fn one_in_json(span: &impl Tell, body: &mut Vec<u8>) {
    span.tell(json::OneSpan(body));
}

/// OTLP's `Status.StatusCode`.
fn status_code(head: &Head<'_>) -> u64 {
    match head.error {
        None => 1,
        Some(_) => 2,
    }
}
