//! Which trace a request says it belongs to.
//!
//! Everything here is a function of the request alone, so that every replica, and the same one after a restart, comes to the same ids.

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Credential;
use crate::id::{SpanId, TraceId};

/// Changes when the derivation below does, so that old and new ids cannot be confused.
const DERIVATION: &[u8] = b"spangate trace id 1\0";

/// A trace the request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplicitTrace {
    /// Its id.
    pub id: TraceId,
    /// Where it was named.
    pub by: TraceSource,
}

/// What named a trace; the first that is there counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TraceSource {
    /// `X-Respan-Trace-Id`
    Header,
    /// `trace_unique_id` of a params header.
    Params,
    /// `traceparent`
    Traceparent,
}

/// The trace id that `text` names: itself where it is one, derived from text and credential where it is any other text.
pub(super) fn named(text: &str, credential: &Credential) -> TraceId {
    if let Some(id) = TraceId::parse(text.as_bytes()) {
        return id;
    }
    let mut hash = Sha256::new();
    // Tag and credential have fixed lengths and the text comes last: no two inputs are written alike.
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

/// A span id of 16 hex digits, not all zero.
pub(super) fn span(text: &str) -> Option<SpanId> {
    SpanId::parse(text.as_bytes())
}

/// W3C Trace Context's `traceparent`: the trace and the span that calls. None when there is none.
///
/// Levels 1 and 2 read alike: lower-case hex, version `ff` and ids of zeros invalid, exactly four fields in version `00`, more allowed
/// after another dash in later ones. A request with several is one whose trace is not known.
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
