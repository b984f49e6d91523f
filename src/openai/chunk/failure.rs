//! Errors, in every shape that servers and the proxies before them give them.
//!
//! The rule: an `error` that says nothing (`{}`, `""`, `false`, zero, empty members) is none; one that says anything is kept, as JSON where
//! its members are unknown.

use std::borrow::Cow;

use crate::openai::json::{self, Json, Members, Raw, Read};
use crate::openai::reply::Failure;

/// How many errors are looked for around one another.
const DEEPEST: usize = 3;

impl<'a> Members<'a> for Failure {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        let owned = |raw: Raw<'a>| said(raw).map(Cow::into_owned);
        match name {
            // FastAPI's servers say `detail`, MiniMax `status_msg`, others `msg`.
            "message" | "detail" | "msg" | "status_msg" | "error_msg" | "error_message" => {
                json.take(&mut self.message, owned)
            }
            "type" => json.take(&mut self.kind, owned),
            // Google's word for a type; where it is a number, it repeats the code.
            "status" if self.kind.is_none() => {
                json.take(&mut self.kind, |raw| owned(raw).filter(|_| raw.is_text()))
            }
            "code" | "status_code" | "error_code" => json.take(&mut self.code, owned),
            "param" => json.take(&mut self.param, owned),
            _ => json.skip(),
        }
    }
}

/// A text or JSON, if it says anything.
fn said(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    json::filled(raw).and_then(json::text_or_written)
}

/// The failure that the value of an `error` is; none where it says nothing.
pub(super) fn failure(raw: Raw<'_>) -> Option<Failure> {
    within(raw, DEEPEST)
}

fn within(raw: Raw<'_>, deeper: usize) -> Option<Failure> {
    let raw = json::filled(raw)?;
    match (raw.get().as_bytes().first(), deeper.checked_sub(1)) {
        (Some(b'{'), Some(deeper)) => {
            let mut envelope = ErrorEnvelope::default();
            json::read(raw.get(), &mut envelope).ok()?;
            let ErrorEnvelope {
                mut failure,
                inner,
                says_more,
            } = envelope;
            if failure.message.is_none() {
                let inner = inner.and_then(|raw| within(raw, deeper));
                let is_empty = failure == Failure::default() && !says_more;
                match inner {
                    Some(inner) => failure.fill(inner),
                    None if is_empty => return None,
                    None => failure.message = Some(raw.get().to_owned()),
                }
            }
            Some(failure)
        }
        (Some(b'['), Some(deeper)) => json::elements(raw.get())
            .into_iter()
            .find_map(|element| within(element, deeper)),
        _ => Some(Failure {
            message: said(raw).map(Cow::into_owned),
            ..Failure::default()
        }),
    }
}

/// An error and the one that may be in it.
#[derive(Default)]
struct ErrorEnvelope<'a> {
    failure: Failure,
    inner: Option<Raw<'a>>,
    /// A member whose name is not known says something.
    says_more: bool,
}

impl<'a> Members<'a> for ErrorEnvelope<'a> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "error" | "errors" => json.take(&mut self.inner, json::filled),
            "message" | "detail" | "msg" | "status_msg" | "error_msg" | "error_message"
            | "type" | "status" | "code" | "status_code" | "error_code" | "param" => {
                self.failure.member(name, json)
            }
            _ => {
                self.says_more |= json::filled(json.value()?).is_some();
                Ok(())
            }
        }
    }
}

/// MiniMax's account of each reply, which is an error where its code is not zero.
pub(super) fn base_response(raw: Raw<'_>) -> Option<Failure> {
    let mut failure = Failure::default();
    json::read(raw.get(), &mut failure).ok()?;
    failure.code.is_some().then_some(failure)
}
