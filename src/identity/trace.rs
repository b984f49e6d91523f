//! The trace that a request names in its headers.
//!
//! The ids depend on the request alone, so every replica derives the same ones, also after a restart.

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Credential;
use crate::id::{SpanId, TraceId};

/// The version of the derivation: another one must give other ids.
const DERIVATION: &[u8] = b"spangate trace id 1\0";

/// A trace that a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplicitTrace {
    /// The id as named, or the one derived from another text.
    pub id: TraceId,
    /// The header that names it.
    pub by: TraceSource,
}

/// The header that names a trace. Where several do, the first of these counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TraceSource {
    /// `X-Respan-Trace-Id`
    Header,
    /// `trace_unique_id` of a params header.
    Params,
    /// `traceparent`
    Traceparent,
}

/// The trace id in `text`; any other text and the credential derive one.
pub(super) fn id_of(text: &str, credential: &Credential) -> TraceId {
    if let Some(id) = TraceId::parse(text.as_bytes()) {
        return id;
    }
    let mut hash = Sha256::new();
    // Tag and credential have fixed lengths, so different texts never make the same input.
    hash.update(DERIVATION);
    hash.update(credential.0);
    hash.update(text.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    if id == [0; 16] {
        id[15] = 1;
    }
    TraceId(id)
}

/// The trace and the calling span of a `traceparent` header (W3C Trace Context, levels 1 and 2).
///
/// Its hex is lower-case. Version `ff` and ids of zeros are invalid. Version `00` has exactly four fields; later ones may have more after
/// another dash. Several headers are an error.
pub(super) fn traceparent(headers: &HeaderMap) -> Result<Option<(TraceId, SpanId)>, &'static str> {
    let mut values = headers.get_all("traceparent").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err("traceparent was sent more than once");
    }
    let value = value.as_bytes().trim_ascii();
    if value.is_empty() {
        return Ok(None);
    }
    parse(value).map(Some).ok_or("traceparent is not valid")
}

fn parse(value: &[u8]) -> Option<(TraceId, SpanId)> {
    let (fields, rest) = value.split_at_checked(55)?;
    let [version, trace, span, flags] =
        [&fields[..2], &fields[3..35], &fields[36..52], &fields[53..]];
    let dashes = [2, 35, 52].iter().all(|at| fields[*at] == b'-');
    let lower_hex = |field: &[u8]| {
        field
            .iter()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    };
    let right_end = rest.is_empty() || (version != b"00" && rest.starts_with(b"-"));
    let valid = dashes
        && right_end
        && version != b"ff"
        && [version, trace, span, flags].into_iter().all(lower_hex);
    if !valid {
        return None;
    }
    Some((TraceId::parse(trace)?, SpanId::parse(span)?))
}
