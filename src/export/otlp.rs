//! Spans become the body of one OTLP/HTTP post.
//!
//! Pure, and the same bytes for the same spans each time: a resend must be the same post. Both encodings carry the same
//! `ExportTraceServiceRequest` (opentelemetry-proto, `collector/trace/v1`), one resource and one scope, both named spangate.
//!
//! Neither builds a message first: a span emits its attributes right into the body, so a prompt of 200 KB is read once and written where it
//! belongs. The JSON is that of Respan's own SDK: no empty `events`, `links` and `traceState`, and no `parentSpanId` of a root, which
//! `opentelemetry-proto`'s types would spell out.

use bytes::Bytes;

use crate::span::{SpanEncode, SpanHead};

mod json;
mod protobuf;
#[cfg(test)]
mod tests;

const SERVICE: &str = "spangate";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `SPAN_KIND_INTERNAL`, which Respan's SDKs send for every span; the kind of a span is in `respan.entity.log_type`.
const KIND_INTERNAL: u64 = 1;

/// How spans are written into a post.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtlpEncoding {
    /// OTLP/HTTP with JSON, as every first-party client of Respan sends it.
    #[default]
    Json,
    /// OTLP/HTTP with protobuf.
    Protobuf,
}

impl OtlpEncoding {
    /// The `content-type` of a post.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
        }
    }

    /// The body of one post.
    pub fn encode<'a, T: SpanEncode + 'a>(
        self,
        spans: impl Iterator<Item = &'a T> + Clone,
    ) -> Bytes {
        let about = spans.clone().map(SpanEncode::size_hint).sum::<usize>() + 512;
        let mut body = Vec::with_capacity(about);
        match self {
            Self::Json => json::encode(spans, &mut body),
            Self::Protobuf => protobuf::encode(spans, &mut body),
        }
        body.into()
    }
}

/// Adds one span as it stands among others in a post of JSON.
pub(crate) fn one_in_json(span: &impl SpanEncode, body: &mut Vec<u8>) {
    span.emit(json::JsonSpan(body));
}

/// OTLP's `Status.StatusCode`.
fn status_code(head: &SpanHead<'_>) -> u64 {
    match head.error {
        None => 1,
        Some(_) => 2,
    }
}
