//! How exchanges are written in the store's rows, and read again. Few facts are JSON, so that whoever opens the database can read them; what
//! may be long is a [`Blob`].
//!
//! Where content may not be recorded, what is written here has none.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use crate::capture::kept_header;
use crate::exchange::{
    CapturedBody, Exchange, ExchangeId, Outcome, ParsedReply, RequestMeta, ResponseHead,
};
use crate::identity::Identity;
use crate::openai::{ChatReply, ChatRequest, Media};

use super::blob::{self, Blob, Unreadable};

#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that do not depend on each other"
)]
#[derive(Serialize, Deserialize)]
struct StoredOpening<'a> {
    identity: Cow<'a, Identity>,
    method: Cow<'a, str>,
    path: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    coding: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    chat: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    content: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    entity_content: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    may_be_agent: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    full_media: bool,
    max_body: usize,
    system: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wall_offset_ns: Option<i64>,
}

/// What was known of an exchange when it began.
pub(super) fn meta(meta: &RequestMeta) -> String {
    let stored = StoredOpening {
        identity: Cow::Borrowed(&meta.identity),
        method: meta.method.as_str().into(),
        path: meta.path.as_str().into(),
        retry: meta.retry,
        // A request without its content is written anew, without a coding.
        coding: meta
            .content_encoding
            .as_deref()
            .filter(|_| meta.content)
            .map(Cow::Borrowed),
        chat: meta.chat,
        content: meta.content,
        entity_content: meta.entity_content,
        may_be_agent: meta.may_be_agent,
        full_media: meta.media == Media::Full,
        max_body: meta.max_body,
        system: meta.system.into(),
        wall_offset_ns: Some(meta.wall_offset_ns).filter(|offset| *offset != 0),
    };
    serde_json::to_string(&stored).unwrap_or_default()
}

pub(super) fn read_opening(id: ExchangeId, json: &str) -> Result<RequestMeta, Unreadable> {
    let stored: StoredOpening<'_> = serde_json::from_str(json).map_err(|_| Unreadable)?;
    Ok(RequestMeta {
        id,
        identity: stored.identity.into_owned(),
        method: Method::from_bytes(stored.method.as_bytes()).map_err(|_| Unreadable)?,
        path: stored.path.into_owned(),
        retry: stored.retry,
        content_encoding: stored.coding.map(Cow::into_owned),
        chat: stored.chat,
        content: stored.content,
        entity_content: stored.entity_content,
        may_be_agent: stored.may_be_agent,
        media: if stored.full_media {
            Media::Full
        } else {
            Media::Size
        },
        max_body: stored.max_body,
        system: if stored.system == "azure" {
            "azure"
        } else {
            "openai"
        },
        wall_offset_ns: stored.wall_offset_ns.unwrap_or_default(),
    })
}

/// A request's body; none where there is nothing to keep.
pub(super) fn request<'a>(meta: &RequestMeta, kept: &'a CapturedBody) -> Option<Blob<'a>> {
    if kept.bytes().is_empty() {
        return None;
    }
    if meta.content {
        return Some(Blob::of(kept.bytes()));
    }
    let bare = kept.asks(meta, |request| request.map(ChatRequest::without_content))?;
    Some(Blob::of(bare.into_bytes()))
}

#[derive(Serialize, Deserialize)]
struct StoredEnd<'a> {
    duration_ns: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    request_cut: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<StoredAnswer<'a>>,
    #[serde(rename = "ending")]
    outcome: StoredEnding<'a>,
    #[serde(default, rename = "reading", skip_serializing_if = "Option::is_none")]
    reply: Option<StoredReading<'a>>,
}

#[derive(Serialize, Deserialize)]
struct StoredAnswer<'a> {
    status: u16,
    first_byte_ns: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_encoding: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredEnding<'a> {
    Complete,
    ClientLeft,
    Refused(u16, Cow<'a, str>),
    Broke(Cow<'a, str>),
    Unreachable(Cow<'a, str>),
    Timeout(Cow<'a, str>),
    Recovered,
}

#[derive(Serialize, Deserialize)]
struct StoredReading<'a> {
    #[serde(rename = "reply")]
    chat: Cow<'a, ChatReply>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ended: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_token_ns: Option<u64>,
}

/// How an exchange ended, and what came back.
pub(super) fn end(exchange: &Exchange) -> Blob<'static> {
    let reply = exchange.reply.as_ref().map(|reply| StoredReading {
        chat: if exchange.meta.content {
            Cow::Borrowed(&reply.chat)
        } else {
            let mut reply = reply.chat.clone();
            reply.drop_content();
            Cow::Owned(reply)
        },
        ended: reply.ended,
        first_token_ns: reply.first_token.map(nanoseconds),
    });
    written_end(exchange, reply)
}

/// The same without content, which had to go to make room.
pub(super) fn end_without_content(exchange: &Exchange) -> Blob<'static> {
    let reply = exchange.reply.as_ref().map(|reply| {
        let mut chat = reply.chat.clone();
        chat.drop_content();
        chat.cut = true;
        StoredReading {
            chat: Cow::Owned(chat),
            ended: reply.ended,
            first_token_ns: reply.first_token.map(nanoseconds),
        }
    });
    written_end(exchange, reply)
}

fn written_end(exchange: &Exchange, reply: Option<StoredReading<'_>>) -> Blob<'static> {
    let stored = StoredEnd {
        duration_ns: nanoseconds(exchange.duration),
        request_cut: exchange.request.is_cut(),
        answer: exchange.response.as_ref().map(stored_answer),
        outcome: match &exchange.outcome {
            Outcome::Complete => StoredEnding::Complete,
            Outcome::ClientLeft => StoredEnding::ClientLeft,
            Outcome::Refused(status, why) => StoredEnding::Refused(status.as_u16(), why.into()),
            Outcome::Broke(why) => StoredEnding::Broke(why.into()),
            Outcome::Unreachable(why) => StoredEnding::Unreachable(why.into()),
            Outcome::Timeout(why) => StoredEnding::Timeout(why.into()),
            Outcome::Recovered => StoredEnding::Recovered,
        },
        reply,
    };
    Blob::facts(&stored)
}

fn stored_answer(answer: &ResponseHead) -> StoredAnswer<'_> {
    StoredAnswer {
        status: answer.status.as_u16(),
        first_byte_ns: nanoseconds(answer.first_byte),
        content_type: answer.content_type.as_deref().map(Cow::Borrowed),
        content_encoding: answer.content_encoding.as_deref().map(Cow::Borrowed),
        headers: answer
            .headers
            .iter()
            .map(|(name, value)| ((*name).into(), value.into()))
            .collect(),
    }
}

/// The rows of one exchange, as they were found.
pub(super) struct Rows {
    pub(super) id: ExchangeId,
    pub(super) started_ns: u64,
    pub(super) meta: String,
    pub(super) request: Option<Vec<u8>>,
    /// None of one that has not ended.
    pub(super) end: Option<Vec<u8>>,
}

impl Rows {
    /// The exchange; one that has not ended is one that was cut off at `last_seen_ns`, when the gateway is last known to have lived.
    pub(super) fn exchange(&self, last_seen_ns: u64) -> Result<Exchange, Unreadable> {
        let meta = Arc::new(read_opening(self.id, &self.meta)?);
        let (body, lost) = match self.request.as_deref().map(blob::read) {
            Some(Ok(Some(body))) => (body, false),
            // The span is worth keeping without it.
            Some(Ok(None) | Err(Unreadable)) => (Vec::new(), true),
            None => (Vec::new(), false),
        };
        let Some(end) = &self.end else {
            let missing = meta.chat && self.request.is_none();
            return Ok(Exchange {
                meta,
                started_ns: self.started_ns,
                duration: Duration::from_nanos(last_seen_ns.saturating_sub(self.started_ns)),
                request: CapturedBody::new(body.into(), lost || missing),
                response: None,
                outcome: Outcome::Recovered,
                reply: None,
            });
        };
        let end: StoredEnd<'_> = blob::read_facts(end)?;
        Ok(Exchange {
            meta,
            started_ns: self.started_ns,
            duration: Duration::from_nanos(end.duration_ns),
            request: CapturedBody::new(body.into(), lost || end.request_cut),
            response: end.answer.map(read_answer).transpose()?,
            outcome: match end.outcome {
                StoredEnding::Complete => Outcome::Complete,
                StoredEnding::ClientLeft => Outcome::ClientLeft,
                StoredEnding::Refused(code, why) => {
                    Outcome::Refused(status(code)?, why.into_owned())
                }
                StoredEnding::Broke(why) => Outcome::Broke(why.into_owned()),
                StoredEnding::Unreachable(why) => Outcome::Unreachable(why.into_owned()),
                StoredEnding::Timeout(why) => Outcome::Timeout(why.into_owned()),
                StoredEnding::Recovered => Outcome::Recovered,
            },
            reply: end.reply.map(|reply| ParsedReply {
                chat: reply.chat.into_owned(),
                ended: reply.ended,
                first_token: reply.first_token_ns.map(Duration::from_nanos),
            }),
        })
    }
}

fn read_answer(stored: StoredAnswer<'_>) -> Result<ResponseHead, Unreadable> {
    Ok(ResponseHead {
        status: status(stored.status)?,
        first_byte: Duration::from_nanos(stored.first_byte_ns),
        content_type: stored.content_type.as_deref().map(Arc::from),
        content_encoding: stored.content_encoding.as_deref().map(Arc::from),
        headers: stored
            .headers
            .into_iter()
            .filter_map(|(name, value)| Some((kept_header(&name)?, value.into_owned())))
            .collect(),
    })
}

fn status(code: u16) -> Result<StatusCode, Unreadable> {
    StatusCode::from_u16(code).map_err(|_| Unreadable)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
