//! What Respan's answer to a post means.
//!
//! Pure: status, headers and body in, a [`Verdict`] out. The rule is OTLP/HTTP's ("Failures", "Partial Success") with three changes.
//! Every 5xx is worth another try, since the proxies in front of Respan answer 500 too. A refused key, account or proxy (401, 402, 403, 407,
//! 451) is no fault of the spans. And a wrong address or encoding (a redirect, 404, 405, 406, 410, 415, 421) is none either: taking it for a
//! fault of the spans would throw all of them away.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use serde_json::Value;

#[cfg(test)]
mod tests;

/// The longest that an answer can make us wait; a typing error in a header shall not stop the export for a year.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_mins(15);

/// Bytes of a server's words that are kept for the log.
const REASON_LIMIT: usize = 300;

/// What an answer means for the spans of the post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All of them are accepted. A warning holds the server's remark, or says that its answer could not be read.
    Accepted {
        /// Something odd about it.
        warning: Option<String>,
    },
    /// Some were refused, and the answer does not say which. OTLP forbids to send any of them again.
    Partial {
        /// How many.
        rejected: u64,
        /// Why, in the server's words.
        message: String,
    },
    /// Not now: the same post may be accepted later.
    Retry {
        /// How long the server asks to be left alone, at most [`LONGEST_WAIT`].
        after: Option<Duration>,
        /// What happened.
        reason: String,
    },
    /// The key is refused, or the account or the way there; nothing will be accepted until somebody puts that right.
    Unauthorised {
        /// What is to be put right.
        reason: String,
    },
    /// This is not the address where spans are taken; nothing will be accepted until it is put right.
    WrongAddress {
        /// What is to be put right.
        reason: String,
    },
    /// The post is too large; smaller ones may be accepted.
    TooLarge,
    /// At least one span in it will never be accepted.
    Rejected {
        /// Why, in the server's words.
        reason: String,
    },
}

impl Verdict {
    /// The server's words, as far as they are kept.
    pub(super) fn words(&mut self) -> Option<&mut String> {
        match self {
            Verdict::Accepted { warning } => warning.as_mut(),
            Verdict::Partial { message, .. } => Some(message),
            Verdict::Retry { reason, .. }
            | Verdict::Unauthorised { reason }
            | Verdict::WrongAddress { reason }
            | Verdict::Rejected { reason } => Some(reason),
            Verdict::TooLarge => None,
        }
    }
}

/// Reads an answer. `body` may be only its beginning; `now` is for a `Retry-After` that names a date.
pub(crate) fn judge(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: SystemTime,
) -> Verdict {
    match status.as_u16() {
        200..=299 => accepted(body),
        401 | 403 => Verdict::Unauthorised {
            reason: "Respan refuses the key: correct respan.api_key and send SIGHUP".to_owned(),
        },
        402 | 407 | 451 => Verdict::Unauthorised {
            reason: format!(
                "Respan refuses the account, or a proxy the way there: it {}",
                reason(status, body)
            ),
        },
        404 | 405 | 410 | 421 => Verdict::WrongAddress {
            reason: format!("answered {status}: check respan.base_url"),
        },
        406 | 415 => Verdict::WrongAddress {
            reason: format!("answered {status}: check respan.encoding and respan.base_url"),
        },
        300..=399 => Verdict::WrongAddress {
            reason: format!(
                "answered {status}, a redirect, which is not followed: check respan.base_url"
            ),
        },
        413 => Verdict::TooLarge,
        408 | 425 | 429 | 500..=599 => Verdict::Retry {
            after: wait_asked_for(headers, body, now),
            reason: reason(status, body),
        },
        _ => Verdict::Rejected {
            reason: reason(status, body),
        },
    }
}

fn accepted(body: &[u8]) -> Verdict {
    match partial_success(body) {
        Some((rejected, message)) if rejected > 0 => Verdict::Partial {
            rejected,
            message: shortened(&message),
        },
        Some((_, message)) => Verdict::Accepted {
            warning: (!message.is_empty()).then(|| shortened(&message)),
        },
        None => Verdict::Accepted {
            warning: Some("its answer could not be read".to_owned()),
        },
    }
}

/// How many spans were refused, and the server's words; none when the body is neither of OTLP's two encodings.
///
/// The body decides which of the two it is, not its `content-type`, which proxies and test servers get wrong.
fn partial_success(body: &[u8]) -> Option<(u64, String)> {
    if body.trim_ascii().is_empty() {
        return Some((0, String::new()));
    }
    if let Ok(Value::Object(answer)) = serde_json::from_slice::<Value>(body) {
        let partial = answer
            .get("partialSuccess")
            .or_else(|| answer.get("partial_success"))
            .unwrap_or(&Value::Null);
        let field = |camel: &str, snake: &str| {
            partial
                .get(camel)
                .or_else(|| partial.get(snake))
                .cloned()
                .unwrap_or_default()
        };
        let message = field("errorMessage", "error_message");
        return Some((
            whole_number(&field("rejectedSpans", "rejected_spans")),
            message.as_str().unwrap_or_default().to_owned(),
        ));
    }
    let partial = ExportTraceServiceResponse::decode(body)
        .ok()?
        .partial_success?;
    Some((
        u64::try_from(partial.rejected_spans).unwrap_or(0),
        partial.error_message,
    ))
}

/// Protobuf's JSON mapping writes 64-bit numbers as strings, most servers write numbers, and both are to be read.
fn whole_number(value: &Value) -> u64 {
    value
        .as_u64()
        .or_else(|| value.as_str()?.trim().parse().ok())
        .unwrap_or(0)
}

/// `Retry-After` (RFC 9110, section 10.2.3: seconds or a date), else the body's `retry_after` in seconds, which is where Respan has it.
/// A value that is unreadable or in the past asks for nothing.
fn wait_asked_for(headers: &HeaderMap, body: &[u8], now: SystemTime) -> Option<Duration> {
    let header = headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .map(str::trim);
    let in_header = header.and_then(|text| seconds(text.parse().ok()?));
    let as_date = || {
        httpdate::parse_http_date(header?)
            .ok()?
            .duration_since(now)
            .ok()
    };
    let in_body = || {
        let answer: Value = serde_json::from_slice(body).ok()?;
        let asked = answer.get("retry_after")?;
        seconds(
            asked
                .as_f64()
                .or_else(|| asked.as_str()?.trim().parse().ok())?,
        )
    };
    in_header
        .or_else(as_date)
        .or_else(in_body)
        .map(|wait| wait.min(LONGEST_WAIT))
}

fn seconds(seconds: f64) -> Option<Duration> {
    (seconds >= 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_WAIT))
}

/// The status and Respan's words about it (`detail`), or OTLP's `Status.message`; never the whole body.
fn reason(status: StatusCode, body: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = ["detail", "message", "error"]
        .into_iter()
        .find_map(|field| answer.get(field)?.as_str());
    match said {
        Some(said) => format!("answered {status}: {}", shortened(said)),
        None => format!("answered {status}"),
    }
}

/// The beginning of a text from outside, in one line, fit for a log.
fn shortened(text: &str) -> String {
    let end = text.floor_char_boundary(REASON_LIMIT);
    text[..end]
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
}
