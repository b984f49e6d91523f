//! Reads the bytes of a reply as they came over the wire, and returns a [`ChatReply`].
//!
//! A stream is read as it comes, and only the reply is kept; a body is buffered up to the limit and read once. The bytes decide which of the
//! two they are, and `Content-Type` decides where the bytes do not. That header is often wrong: servers send an error in JSON after a head
//! that promised events, and events as `text/plain`.

mod buffered_body;

use buffered_body::BufferedBody;

use super::assemble::ReplyAssembler;
use super::media::Media;
use super::reply::{ChatReply, Choice};
use crate::encoding::{DecodeStop, Decoder};
use crate::media_type;
use crate::sse::SseFramer;

/// The first line of an event stream begins with one of these.
const FIELDS: [&[u8]; 6] = [b"data:", b"event:", b"id:", b"retry:", b"error:", b":"];

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Reads one reply in pieces.
#[derive(Debug)]
pub struct ReplyReader {
    decoder: Decoder,
    parser: ReplyParser,
}

/// A reply after its last byte.
#[derive(Debug)]
pub struct FinishedReply {
    /// The reply, or as much of one as came.
    pub reply: ChatReply,
    /// Whether the protocol's own end was seen: `[DONE]`, every choice's finish reason after all its content, or the end of the JSON value.
    pub ended: bool,
}

/// Reads the decoded bytes.
#[derive(Debug)]
struct ReplyParser {
    format: ReplyFormat,
    /// Whether `Content-Type` is that of events.
    promised_events: bool,
    limit: usize,
    assembler: ReplyAssembler,
}

#[derive(Debug)]
enum ReplyFormat {
    /// Not known yet. The bytes so far, without blanks at their start.
    Unknown(Vec<u8>),
    Events(SseFramer),
    Body(BufferedBody),
}

impl ReplyReader {
    /// A reader for a reply with these headers. It keeps at most `limit` bytes of the reply's texts. While it reads, it also keeps one event of
    /// at most `limit` bytes, or the first `limit` bytes of a body. Of media it keeps kind, type and size.
    pub fn new(content_type: Option<&str>, content_encoding: Option<&str>, limit: usize) -> Self {
        Self::with_media(content_type, content_encoding, limit, Media::Size)
    }

    /// The same, with `media` to choose how much of media is kept.
    pub fn with_media(
        content_type: Option<&str>,
        content_encoding: Option<&str>,
        limit: usize,
        media: Media,
    ) -> Self {
        let promised_events =
            content_type.is_some_and(|text| media_type::is(text, media_type::EVENT_STREAM));
        Self {
            // A long stream may leave a short reply, so no limit but the decoder's own ratio applies to its bytes.
            decoder: Decoder::new(content_encoding, usize::MAX),
            parser: ReplyParser {
                format: ReplyFormat::Unknown(Vec::new()),
                promised_events,
                limit,
                assembler: ReplyAssembler::new(limit, media),
            },
        }
    }

    /// Reads the next bytes of the body as they came over the wire.
    pub fn push(&mut self, bytes: &[u8]) {
        let parser = &mut self.parser;
        self.decoder.push(bytes, |decoded| parser.push(decoded));
    }

    /// Bytes of memory for the reply so far.
    pub fn held(&self) -> usize {
        let format = match &self.parser.format {
            ReplyFormat::Unknown(head) => head.len(),
            ReplyFormat::Events(framer) => framer.held(),
            ReplyFormat::Body(body) => body.held(),
        };
        format + self.parser.assembler.held()
    }

    /// Whether a chunk had content, a refusal, reasoning, a tool call or audio. A role alone is not a token, and a body has no first token.
    pub fn saw_token(&self) -> bool {
        self.parser.assembler.has_token()
    }

    /// Ends the reply.
    pub fn finish(self) -> FinishedReply {
        let stopped = self.decoder.stopped();
        let mut finished = self.parser.finish();
        finished.reply.cut |= stopped == Some(DecodeStop::Cut);
        finished.reply.undecodable = stopped == Some(DecodeStop::Undecodable);
        finished
    }
}

impl ReplyParser {
    fn push(&mut self, mut bytes: &[u8]) {
        if let ReplyFormat::Unknown(head) = &mut self.format {
            if head.is_empty() {
                bytes = bytes.trim_ascii_start();
                if let Some(events) = are_events(bytes, self.promised_events) {
                    self.decide(events);
                    return self.parse(bytes);
                }
            }
            head.extend_from_slice(bytes);
            let Some(events) = are_events(head, self.promised_events) else {
                return;
            };
            let head = std::mem::take(head);
            self.decide(events);
            return self.parse(&head);
        }
        self.parse(bytes);
    }

    fn decide(&mut self, events: bool) {
        self.format = if events {
            ReplyFormat::Events(SseFramer::new(self.limit))
        } else {
            ReplyFormat::Body(BufferedBody::default())
        };
    }

    fn parse(&mut self, bytes: &[u8]) {
        match &mut self.format {
            ReplyFormat::Unknown(_) => {}
            ReplyFormat::Events(framer) => framer.push(bytes, |frame| self.assembler.frame(&frame)),
            ReplyFormat::Body(body) => body.push(bytes, self.limit),
        }
    }

    fn finish(mut self) -> FinishedReply {
        if let ReplyFormat::Unknown(head) = &mut self.format {
            let head = std::mem::take(head);
            self.decide(self.promised_events);
            self.parse(&head);
        }
        let (cut, ended) = match self.format {
            ReplyFormat::Unknown(_) => (false, false),
            ReplyFormat::Events(framer) => {
                // A frame without its end has content, but no end of the protocol.
                let end = (framer.skipped() > 0, self.assembler.has_ended());
                framer.finish(|frame| self.assembler.frame(&frame));
                end
            }
            ReplyFormat::Body(body) => (body.is_cut(), body.finish(&mut self.assembler)),
        };
        let mut reply = self.assembler.finish();
        reply.cut |= cut;
        if ended && !reply.choices.iter().any(Choice::has_content) {
            // A whole reply of empty choices is a reply without a choice.
            reply.choices.clear();
        }
        FinishedReply { reply, ended }
    }
}

/// Whether bytes with this beginning are events; none while both are possible.
fn are_events(head: &[u8], promised: bool) -> Option<bool> {
    let text = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head);
    if text.is_empty() || BYTE_ORDER_MARK.starts_with(text) {
        None
    } else if text.starts_with(b"{") || text.starts_with(b"[") {
        Some(false)
    } else if promised || FIELDS.iter().any(|field| text.starts_with(field)) {
        Some(true)
    } else if FIELDS.iter().any(|field| field.starts_with(text)) {
        None
    } else {
        Some(false)
    }
}

#[cfg(test)]
mod tests;
