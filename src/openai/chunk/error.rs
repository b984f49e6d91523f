//! Errors in the shapes of all servers and the proxies before them.
//!
//! An `error` without content (`{}`, `""`, `false`, zero, empty members) is no error. An error of unknown members is kept as JSON.

use std::borrow::Cow;

use crate::openai::json::{self, JsonObject, JsonReader, JsonResult, RawJson};
use crate::openai::reply::ReplyError;

/// How deep errors within errors are read.
const MAX_DEPTH: usize = 3;

impl<'a> JsonObject<'a> for ReplyError {
    fn read_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult {
        let owned = |raw: RawJson<'a>| non_empty_text(raw).map(Cow::into_owned);
        match name {
            // FastAPI's servers say `detail`, MiniMax `status_msg`, others `msg`.
            "message" | "detail" | "msg" | "status_msg" | "error_msg" | "error_message" => {
                json.set(&mut self.message, owned)
            }
            "type" => json.set(&mut self.kind, owned),
            // Google names the type so. A number repeats the code.
            "status" if self.kind.is_none() => {
                json.set(&mut self.kind, |raw| owned(raw).filter(|_| raw.is_text()))
            }
            "code" | "status_code" | "error_code" => json.set(&mut self.code, owned),
            "param" => json.set(&mut self.param, owned),
            _ => json.skip(),
        }
    }
}

/// A text or JSON that is not empty.
fn non_empty_text(raw: RawJson<'_>) -> Option<Cow<'_, str>> {
    json::non_empty(raw).and_then(json::text_or_written)
}

/// Reads the value of an `error` member; none where it has no content.
pub(super) fn reply_error(raw: RawJson<'_>) -> Option<ReplyError> {
    nested_error(raw, MAX_DEPTH)
}

fn nested_error(raw: RawJson<'_>, deeper: usize) -> Option<ReplyError> {
    let raw = json::non_empty(raw)?;
    match (raw.get().as_bytes().first(), deeper.checked_sub(1)) {
        (Some(b'{'), Some(deeper)) => {
            let mut envelope = ErrorEnvelope::default();
            json::read(raw.get(), &mut envelope).ok()?;
            let ErrorEnvelope {
                mut error,
                inner,
                has_more,
            } = envelope;
            if error.message.is_none() {
                let inner = inner.and_then(|raw| nested_error(raw, deeper));
                let is_empty = error == ReplyError::default() && !has_more;
                match inner {
                    Some(inner) => error.fill(inner),
                    None if is_empty => return None,
                    None => error.message = Some(raw.get().to_owned()),
                }
            }
            Some(error)
        }
        (Some(b'['), Some(deeper)) => json::elements(raw.get())
            .into_iter()
            .find_map(|element| nested_error(element, deeper)),
        _ => Some(ReplyError {
            message: non_empty_text(raw).map(Cow::into_owned),
            ..ReplyError::default()
        }),
    }
}

/// An error, and the error within it.
#[derive(Default)]
struct ErrorEnvelope<'a> {
    error: ReplyError,
    inner: Option<RawJson<'a>>,
    /// Whether a member of an unknown name has content.
    has_more: bool,
}

impl<'a> JsonObject<'a> for ErrorEnvelope<'a> {
    fn read_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult {
        match name {
            "error" | "errors" => json.set(&mut self.inner, json::non_empty),
            "message" | "detail" | "msg" | "status_msg" | "error_msg" | "error_message"
            | "type" | "status" | "code" | "status_code" | "error_code" | "param" => {
                self.error.read_member(name, json)
            }
            _ => {
                self.has_more |= json::non_empty(json.value()?).is_some();
                Ok(())
            }
        }
    }
}

/// Reads MiniMax's status of a reply, an error where its code is not zero.
pub(super) fn base_response(raw: RawJson<'_>) -> Option<ReplyError> {
    let mut error = ReplyError::default();
    json::read(raw.get(), &mut error).ok()?;
    error.code.is_some().then_some(error)
}
