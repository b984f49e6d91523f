//! The domain model: one request, its reply, and how both ended. Everything that observes, groups, stores or shows calls speaks of these.
//!
//! It depends on nothing above it: [`crate::openai`] reads requests and replies for it.

mod budget;
mod captured_body;
mod meta;
mod parsed_request;
mod retry;
#[cfg(test)]
pub(crate) mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use sha2::{Digest, Sha256};

pub use budget::Budget;
pub(crate) use budget::{BudgetedBuffer, Reservation};
pub use captured_body::CapturedBody;
pub use meta::RequestMeta;

pub use crate::id::ExchangeId;
use crate::media_type;
use crate::openai::{ChatReply, Choice, ReplyError};
use crate::redact::KnownSecrets;

/// A finished exchange.
#[derive(Debug)]
pub struct Exchange {
    /// From the request's head.
    pub meta: Arc<RequestMeta>,
    /// When it began, in nanoseconds of [`crate::clock`].
    pub started_ns: u64,
    /// How long it took, by a clock that is never set.
    pub duration: Duration,
    /// The request's body as far as it was kept.
    pub request: CapturedBody,
    /// The upstream's answer, when there was one.
    pub response: Option<ResponseHead>,
    /// How it ended.
    pub outcome: Outcome,
    /// The reply, where one was kept.
    pub reply: Option<ParsedReply>,
}

/// A reply, read.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedReply {
    /// Its choices, usage and error.
    pub chat: ChatReply,
    /// Whether the reply's own end was seen, such as `[DONE]`: the transport may end well before it, or break after it.
    pub ended: bool,
    /// From the exchange's beginning to the first part of the reply that says something.
    pub first_token: Option<Duration>,
}

/// A request of a call that an SDK says it repeats, as soon as it is known whole.
#[derive(Debug)]
pub struct RetryAttempt {
    /// The exchange that repeats.
    pub id: ExchangeId,
    /// The call.
    pub key: CallKey,
    /// Which attempt it is, at least 1.
    pub attempt: u32,
    /// When it began, in nanoseconds of [`crate::clock`].
    pub started_ns: u64,
}

impl RetryAttempt {
    /// None of a first attempt, or where no SDK says which it is.
    pub fn of(meta: &RequestMeta, started_ns: u64, body: &CapturedBody) -> Option<Self> {
        let attempt = meta.retry.filter(|attempt| *attempt > 0 && meta.chat)?;
        Some(RetryAttempt {
            id: meta.id,
            key: CallKey::of(meta, body),
            attempt,
            started_ns,
        })
    }
}

/// The hash of what all attempts of one call share: path, credential, thread, trace and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallKey([u8; 32]);

impl CallKey {
    pub(crate) fn of(meta: &RequestMeta, body: &CapturedBody) -> Self {
        let identity = &meta.identity;
        let mut hash = Sha256::new();
        hash.update(identity.credential.0);
        hash.update(identity.trace.map_or([0; 16], |told| told.id.0));
        for part in [
            meta.path.as_str(),
            identity.thread.as_deref().unwrap_or_default(),
        ] {
            // With its length before it, no part can be taken for another.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.update(body.bytes());
        if let Some(media) = body.media_hash() {
            hash.update(media.to_be_bytes());
        }
        CallKey(hash.finalize().into())
    }
}

impl ParsedReply {
    /// A reply that came and that nobody can read.
    pub(crate) fn unreadable() -> Self {
        let chat = ChatReply {
            undecodable: true,
            ..ChatReply::default()
        };
        ParsedReply {
            chat,
            ended: false,
            first_token: None,
        }
    }
}

impl Exchange {
    /// Whether it holds words of others about a failure, which [`Self::hide`] would search.
    pub(crate) fn may_repeat_secrets(&self) -> bool {
        let is_failure = matches!(
            self.outcome,
            Outcome::Broke(_) | Outcome::Unreachable(_) | Outcome::Timeout(_)
        );
        let reply = self.reply.as_ref();
        let says_error = reply.is_some_and(|reply| reply.chat.error.is_some());
        let response = self.response.as_ref();
        is_failure || says_error || response.is_some_and(ResponseHead::is_refusal)
    }

    /// Takes secrets out of the words of others about a failure: those of the upstream, and those of a library about the connection.
    pub(crate) fn hide(&mut self, secrets: &KnownSecrets) {
        let hide = |text: &mut String| {
            if let Cow::Owned(hidden) = secrets.redact(text) {
                *text = hidden;
            }
        };
        match &mut self.outcome {
            Outcome::Broke(why) | Outcome::Unreachable(why) | Outcome::Timeout(why) => hide(why),
            // These are the gateway's own words.
            Outcome::Refused(..) | Outcome::Complete | Outcome::ClientLeft | Outcome::Recovered => {
            }
        }
        let is_refused = self.response.as_ref().is_some_and(ResponseHead::is_refusal);
        let mut says_error = false;
        if let Some(reply) = &mut self.reply {
            let reply = &mut reply.chat;
            says_error = reply.error.is_some();
            let error = reply.error.iter_mut().flat_map(ReplyError::texts);
            error.for_each(hide);
            // Beside an error status, all of the reply is an error.
            let refused = reply.choices.iter_mut().filter(|_| is_refused);
            refused.flat_map(Choice::texts).for_each(hide);
        }
        let is_error = |answer: &&mut ResponseHead| says_error || answer.is_refusal();
        if let Some(answer) = self.response.as_mut().filter(is_error) {
            answer.hide(secrets);
        }
    }

    /// About how many bytes it takes: those of its bodies and of who asked, and a bit for all else.
    pub fn size_estimate(&self) -> usize {
        const REST: usize = 2048;
        let reply = self
            .reply
            .as_ref()
            .map_or(0, |reply| reply.chat.size_estimate());
        REST + self.meta.size_estimate() + self.request.size_estimate() + reply
    }

    /// The same for all attempts of one call.
    pub fn call_key(&self) -> CallKey {
        CallKey::of(&self.meta, &self.request)
    }

    /// When it ended, in nanoseconds of [`crate::clock`].
    pub fn ended_ns(&self) -> u64 {
        let nanoseconds = u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX);
        self.started_ns.saturating_add(nanoseconds)
    }

    /// The attempt that it is, where an SDK says that it repeats a call.
    pub fn retrying(&self) -> Option<RetryAttempt> {
        RetryAttempt::of(&self.meta, self.started_ns, &self.request)
    }

    /// A response header, of those that are kept.
    pub fn response_header(&self, name: &str) -> Option<&str> {
        let headers = &self.response.as_ref()?.headers;
        headers
            .iter()
            .find(|(kept, _)| *kept == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the upstream answered with a stream of events.
    pub fn is_streamed(&self) -> bool {
        self.response
            .as_ref()
            .is_some_and(ResponseHead::is_streamed)
    }
}

/// The head of an upstream's answer, as far as a span wants it.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// Its status.
    pub status: StatusCode,
    /// From the exchange's beginning to the head.
    pub first_byte: Duration,
    /// `content-type`.
    pub content_type: Option<Arc<str>>,
    /// `content-encoding`.
    pub content_encoding: Option<Arc<str>>,
    /// Headers worth keeping: request ids, processing time, rate limits.
    pub headers: Arc<[(&'static str, String)]>,
}

impl ResponseHead {
    fn is_refusal(&self) -> bool {
        self.status.is_client_error() || self.status.is_server_error()
    }

    /// Bytes of its texts.
    pub(crate) fn size_estimate(&self) -> usize {
        let coding = [&self.content_type, &self.content_encoding];
        let coding: usize = coding.into_iter().flatten().map(|text| text.len()).sum();
        let headers = self.headers.iter();
        headers
            .map(|(_, value)| size_of::<(&str, String)>() + value.len())
            .sum::<usize>()
            + coding
    }

    fn hide(&mut self, secrets: &KnownSecrets) {
        let mut headers = self.headers.to_vec();
        let mut found = false;
        for (_, value) in &mut headers {
            if let Cow::Owned(hidden) = secrets.redact_known(value) {
                *value = hidden;
                found = true;
            }
        }
        if found {
            self.headers = headers.into();
        }
    }

    /// Whether it is a stream of events.
    pub fn is_streamed(&self) -> bool {
        let kind = self.content_type.as_deref();
        kind.is_some_and(|kind| media_type::is(kind, media_type::EVENT_STREAM))
    }
}

/// How an exchange's transport ended. Whether the reply was whole, [`ParsedReply`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The last byte was passed on.
    Complete,
    /// The client went away.
    ClientLeft,
    /// The gateway refused to go on, and answered this.
    Refused(StatusCode, String),
    /// The upstream broke off.
    Broke(String),
    /// The upstream could not be reached.
    Unreachable(String),
    /// The upstream was silent, or connecting to it took too long.
    Timeout(String),
    /// The gateway was killed before it ended, and found it unfinished when it started again.
    Recovered,
}

#[cfg(test)]
impl From<&str> for CapturedBody {
    fn from(text: &str) -> Self {
        CapturedBody::new(text.to_owned().into(), false)
    }
}
