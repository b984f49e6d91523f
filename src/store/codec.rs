//! Exchanges and spans as headers and bodies of records, and read again. Where content may not be recorded, nothing written here has any.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::record::{Damaged, RecordBody};
use crate::capture::kept_header;
use crate::exchange::{
    CapturedBody, Exchange, ExchangeId, Outcome, ParsedReply, RequestMeta, ResponseHead,
};
use crate::identity::Identity;
use crate::openai::{ChatReply, ChatRequest, Media};
use crate::span::{SpanId, TraceId};

/// Where a record stands: the number of its segment, and its offset there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Location(pub(super) u32, pub(super) u32);

/// The header of `Started`.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that do not depend on each other"
)]
#[derive(Serialize, Deserialize)]
pub(super) struct StartedHeader<'a> {
    #[serde(with = "serde_bytes_id")]
    id: ExchangeId,
    /// Nanoseconds of [`crate::clock`].
    pub(super) started_ns: u64,
    /// No span of this exchange has a smaller number.
    pub(super) first_seq: u64,
    /// Whether the body is all that will come of it.
    pub(super) whole: bool,
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
    pub(super) wall_offset_ns: Option<i64>,
}

impl<'a> StartedHeader<'a> {
    pub(super) fn new(meta: &'a RequestMeta, started_ns: u64, first_seq: u64, whole: bool) -> Self {
        StartedHeader {
            id: meta.id,
            started_ns,
            first_seq,
            whole,
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
        }
    }

    pub(super) fn id(&self) -> ExchangeId {
        self.id
    }

    fn into_meta(self) -> Result<RequestMeta, Damaged> {
        Ok(RequestMeta {
            id: self.id,
            identity: self.identity.into_owned(),
            method: Method::from_bytes(self.method.as_bytes()).map_err(|_| Damaged)?,
            path: self.path.into_owned(),
            retry: self.retry,
            content_encoding: self.coding.map(Cow::into_owned),
            chat: self.chat,
            content: self.content,
            entity_content: self.entity_content,
            may_be_agent: self.may_be_agent,
            media: if self.full_media {
                Media::Full
            } else {
                Media::Size
            },
            max_body: self.max_body,
            system: if self.system == "azure" {
                "azure"
            } else {
                "openai"
            },
            wall_offset_ns: self.wall_offset_ns.unwrap_or_default(),
        })
    }

    /// The exchange that began with this, as it was when it settled, or as one that was cut off at `last_seen_ns` (nanoseconds of
    /// [`crate::clock`]). A body that was not to be read is told by the exchange: its request is cut.
    pub(super) fn into_exchange(
        self,
        body: Result<Vec<u8>, Damaged>,
        ended: Option<EndedParts>,
        last_seen_ns: u64,
    ) -> Result<Exchange, Damaged> {
        let (started_ns, whole) = (self.started_ns, self.whole);
        let meta = Arc::new(self.into_meta()?);
        let lost = body.is_err();
        let body = body.unwrap_or_default().into();
        let missing = meta.chat && !whole;
        let Some(EndedParts { header, reply }) = ended else {
            return Ok(Exchange {
                meta,
                started_ns,
                duration: Duration::from_nanos(last_seen_ns.saturating_sub(started_ns)),
                request: CapturedBody::new(body, lost || missing),
                response: None,
                outcome: Outcome::Recovered,
                reply: None,
            });
        };
        Ok(Exchange {
            meta,
            started_ns,
            duration: Duration::from_nanos(header.duration_ns),
            request: CapturedBody::new(body, lost || header.request_cut || missing),
            response: header.response.map(StoredResponse::into_head).transpose()?,
            outcome: header.outcome.into_outcome()?,
            reply,
        })
    }
}

/// The body of a request as it may be written; none where nothing of it may.
pub(super) fn request_body<'a>(meta: &RequestMeta, body: &'a CapturedBody) -> Cow<'a, [u8]> {
    if meta.content || body.bytes().is_empty() {
        return body.bytes().into();
    }
    let bare = body.with_request(meta, |request| request.map(ChatRequest::without_content));
    bare.unwrap_or_default().into_bytes().into()
}

/// The header of `Ended`.
#[derive(Serialize, Deserialize)]
pub(super) struct EndedHeader<'a> {
    pub(super) duration_ns: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    request_cut: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response: Option<StoredResponse<'a>>,
    outcome: StoredOutcome<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply: Option<StoredReply>,
}

/// What settled an exchange, read.
pub(super) struct EndedParts {
    header: EndedHeader<'static>,
    reply: Option<ParsedReply>,
}

#[derive(Serialize, Deserialize)]
struct StoredReply {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ended: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_token_ns: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct StoredResponse<'a> {
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
enum StoredOutcome<'a> {
    Complete,
    ClientLeft,
    Refused(u16, Cow<'a, str>),
    Broke(Cow<'a, str>),
    Unreachable(Cow<'a, str>),
    Timeout(Cow<'a, str>),
    Recovered,
}

impl<'a> EndedHeader<'a> {
    pub(super) fn new(exchange: &'a Exchange) -> Self {
        EndedHeader {
            duration_ns: nanoseconds(exchange.duration),
            request_cut: exchange.request.is_cut(),
            response: exchange.response.as_ref().map(StoredResponse::new),
            outcome: StoredOutcome::new(&exchange.outcome),
            reply: exchange.reply.as_ref().map(|reply| StoredReply {
                ended: reply.ended,
                first_token_ns: reply.first_token.map(nanoseconds),
            }),
        }
    }
}

impl EndedParts {
    /// Without its reply where that does not read.
    pub(super) fn new(header: EndedHeader<'static>, chat: Result<ChatReply, Damaged>) -> Self {
        let unreadable = |_| ChatReply {
            cut: true,
            ..ChatReply::default()
        };
        let reply = header.reply.as_ref().map(|stored| ParsedReply {
            chat: chat.unwrap_or_else(unreadable),
            ended: stored.ended,
            first_token: stored.first_token_ns.map(Duration::from_nanos),
        });
        EndedParts { header, reply }
    }
}

/// The reply of an exchange as it may be written.
pub(super) fn reply_body(exchange: &Exchange) -> RecordBody<'static> {
    let Some(reply) = &exchange.reply else {
        return RecordBody::EMPTY;
    };
    if exchange.meta.content {
        return facts(&reply.chat);
    }
    let mut chat = reply.chat.clone();
    chat.drop_content();
    facts(&chat)
}

/// MessagePack, with the names of the fields.
pub(super) fn facts(facts: &impl Serialize) -> RecordBody<'static> {
    let mut bytes = Vec::with_capacity(1024);
    if rmp_serde::encode::write_named(&mut bytes, facts).is_err() {
        bytes.clear();
    }
    RecordBody::new(bytes)
}

impl<'a> StoredResponse<'a> {
    fn new(response: &'a ResponseHead) -> Self {
        StoredResponse {
            status: response.status.as_u16(),
            first_byte_ns: nanoseconds(response.first_byte),
            content_type: response.content_type.as_deref().map(Cow::Borrowed),
            content_encoding: response.content_encoding.as_deref().map(Cow::Borrowed),
            headers: response
                .headers
                .iter()
                .map(|(name, value)| ((*name).into(), value.into()))
                .collect(),
        }
    }

    fn into_head(self) -> Result<ResponseHead, Damaged> {
        Ok(ResponseHead {
            status: status(self.status)?,
            first_byte: Duration::from_nanos(self.first_byte_ns),
            content_type: self.content_type.as_deref().map(Arc::from),
            content_encoding: self.content_encoding.as_deref().map(Arc::from),
            headers: self
                .headers
                .into_iter()
                .filter_map(|(name, value)| Some((kept_header(&name)?, value.into_owned())))
                .collect(),
        })
    }
}

impl<'a> StoredOutcome<'a> {
    fn new(outcome: &'a Outcome) -> Self {
        match outcome {
            Outcome::Complete => Self::Complete,
            Outcome::ClientLeft => Self::ClientLeft,
            Outcome::Refused(status, why) => Self::Refused(status.as_u16(), why.into()),
            Outcome::Broke(why) => Self::Broke(why.into()),
            Outcome::Unreachable(why) => Self::Unreachable(why.into()),
            Outcome::Timeout(why) => Self::Timeout(why.into()),
            Outcome::Recovered => Self::Recovered,
        }
    }

    fn into_outcome(self) -> Result<Outcome, Damaged> {
        Ok(match self {
            Self::Complete => Outcome::Complete,
            Self::ClientLeft => Outcome::ClientLeft,
            Self::Refused(code, why) => Outcome::Refused(status(code)?, why.into_owned()),
            Self::Broke(why) => Outcome::Broke(why.into_owned()),
            Self::Unreachable(why) => Outcome::Unreachable(why.into_owned()),
            Self::Timeout(why) => Outcome::Timeout(why.into_owned()),
            Self::Recovered => Outcome::Recovered,
        })
    }
}

/// The header of `Span` and `KeptSpan`.
#[derive(Serialize, Deserialize)]
pub(super) struct SpanHeader<'a> {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    /// About how many bytes the span takes in memory.
    pub(super) size: u32,
    /// The span is a call's: where the records of its exchange stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) exchange: Option<(Location, Location)>,
    /// A [`super::SpanSummary`] as JSON.
    pub(super) summary: Cow<'a, str>,
}

impl SpanHeader<'_> {
    /// The segment with which the span goes: that of its own record, or an older one that has its exchange.
    pub(super) fn home(&self, own: u32) -> u32 {
        self.exchange
            .map_or(own, |(started, ended)| own.min(started.0).min(ended.0))
    }
}

fn status(code: u16) -> Result<StatusCode, Damaged> {
    StatusCode::from_u16(code).map_err(|_| Damaged)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// An exchange's id as 16 bytes.
mod serde_bytes_id {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::exchange::ExchangeId;

    pub(super) fn serialize<S: Serializer>(id: &ExchangeId, to: S) -> Result<S::Ok, S::Error> {
        id.as_bytes().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ExchangeId, D::Error> {
        <[u8; 16]>::deserialize(from).map(ExchangeId::from_bytes)
    }
}
