//! Spans become the body of one OTLP/HTTP post.
//!
//! Pure, and the same bytes for the same spans each time: a resend must be the same post. Both encodings carry the same
//! `ExportTraceServiceRequest` (opentelemetry-proto, `collector/trace/v1`), one resource and one scope, both named spangate.
//!
//! Protobuf goes through the message types of `opentelemetry-proto`. JSON is written from the spans where they are, without those
//! types: a prompt of 200 KB is then not copied before it is escaped, and what is printed is what Respan's own SDK prints (no empty
//! `events`, `links`, `traceState` and `parentSpanId` of a root, which the types would spell out).

use bytes::Bytes;
use prost::Message as _;

use crate::span::{Span, Status};

mod json;
mod protobuf;
#[cfg(test)]
mod tests;

const SERVICE: &str = "spangate";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `SPAN_KIND_INTERNAL`, which Respan's SDKs send for every span; what a span is, is said by `respan.entity.log_type`.
const KIND_INTERNAL: i32 = 1;

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
    ///
    /// # Errors
    /// None is known: every span can be written in either encoding. `serde_json` cannot promise it, so it is passed on.
    pub fn encode<'a>(
        self,
        spans: impl ExactSizeIterator<Item = &'a Span> + Clone,
    ) -> Result<Bytes, serde_json::Error> {
        match self {
            Self::Json => json::encode(spans),
            Self::Protobuf => Ok(protobuf::request(spans).encode_to_vec().into()),
        }
    }
}

/// OTLP's `Status.StatusCode`.
fn status_code(status: &Status) -> i32 {
    match status {
        Status::Ok => 1,
        Status::Error(_) => 2,
    }
}
