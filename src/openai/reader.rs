//! The bytes of a reply, from the wire's copy to a [`ChatReply`].
//!
//! The rule: a stream is read as it comes and only the reply is kept; a body is collected up to the limit and read once. Which of the two it
//! is, the bytes decide where they are clear, and `Content-Type` where they are not, for it is wrong often enough: an error in JSON after a
//! head that promised events, events that a server calls `text/plain`.

use super::assemble::Assembly;
use super::body::Body;
use super::media::Media;
use super::reply::{ChatReply, Choice};
use crate::encoding::{Decoder, Stopped};
use crate::media_type;
use crate::sse::Framer;

/// Beginnings of the lines that event streams begin with.
const FIELDS: [&[u8]; 6] = [b"data:", b"event:", b"id:", b"retry:", b"error:", b":"];

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Reads one reply, piece by piece.
#[derive(Debug)]
pub struct ReplyReader {
    decoder: Decoder,
    reading: Reading,
}

/// What was read.
#[derive(Debug)]
pub struct Finished {
    /// The reply, as far as it came.
    pub reply: ChatReply,
    /// The protocol's own end was seen: `[DONE]`, or every choice's finish reason after all that it said, or the end of the JSON value.
    pub ended: bool,
}

/// What becomes of decoded bytes.
#[derive(Debug)]
struct Reading {
    form: Form,
    /// `Content-Type` says that these are events.
    promised_events: bool,
    limit: usize,
    assembly: Assembly,
}

#[derive(Debug)]
enum Form {
    /// Not known yet, and the bytes so far, blanks at the start left out.
    Unknown(Vec<u8>),
    Events(Framer),
    Body(Body),
}

impl ReplyReader {
    /// A reader for a reply with these headers. It keeps at most `limit` bytes of the reply's texts, and while it reads, of a stream one event
    /// of at most `limit` bytes, of a body the first `limit` bytes. Of media it keeps the size.
    pub fn new(content_type: Option<&str>, content_encoding: Option<&str>, limit: usize) -> Self {
        Self::with_media(content_type, content_encoding, limit, Media::Size)
    }

    /// The same, with as much of media as `media` asks for.
    pub fn with_media(
        content_type: Option<&str>,
        content_encoding: Option<&str>,
        limit: usize,
        media: Media,
    ) -> Self {
        let promised_events =
            content_type.is_some_and(|text| media_type::is(text, media_type::EVENT_STREAM));
        Self {
            // The limit is for what is kept, and of a stream little is: what bounds the decoder is the ratio to what came over the wire.
            decoder: Decoder::new(content_encoding, usize::MAX),
            reading: Reading {
                form: Form::Unknown(Vec::new()),
                promised_events,
                limit,
                assembly: Assembly::new(limit, media),
            },
        }
    }

    /// Takes the next bytes of the body, as they came over the wire.
    pub fn push(&mut self, bytes: &[u8]) {
        let reading = &mut self.reading;
        self.decoder.push(bytes, |decoded| reading.push(decoded));
    }

    /// Bytes that are kept of the reply so far.
    pub fn held(&self) -> usize {
        let form = match &self.reading.form {
            Form::Unknown(head) => head.len(),
            Form::Events(framer) => framer.held(),
            Form::Body(body) => body.held(),
        };
        form + self.reading.assembly.held()
    }

    /// Whether a chunk of a stream had something to say: content, refusal, reasoning, a tool call or audio. A role alone is not a token, and a
    /// body that is no stream has no first token.
    pub fn saw_token(&self) -> bool {
        self.reading.assembly.saw_token()
    }

    /// There are no more bytes.
    pub fn finish(self) -> Finished {
        let stopped = self.decoder.stopped();
        let mut finished = self.reading.finish();
        finished.reply.cut |= stopped == Some(Stopped::Cut);
        finished.reply.undecodable = stopped == Some(Stopped::Undecodable);
        finished
    }
}

impl Reading {
    fn push(&mut self, mut bytes: &[u8]) {
        if let Form::Unknown(head) = &mut self.form {
            if head.is_empty() {
                bytes = bytes.trim_ascii_start();
                if let Some(events) = are_events(bytes, self.promised_events) {
                    self.decide(events);
                    return self.read(bytes);
                }
            }
            head.extend_from_slice(bytes);
            let Some(events) = are_events(head, self.promised_events) else {
                return;
            };
            let head = std::mem::take(head);
            self.decide(events);
            return self.read(&head);
        }
        self.read(bytes);
    }

    fn decide(&mut self, events: bool) {
        self.form = if events {
            Form::Events(Framer::new(self.limit))
        } else {
            Form::Body(Body::default())
        };
    }

    fn read(&mut self, bytes: &[u8]) {
        match &mut self.form {
            Form::Unknown(_) => {}
            Form::Events(framer) => framer.push(bytes, |frame| self.assembly.frame(&frame)),
            Form::Body(body) => body.push(bytes, self.limit),
        }
    }

    fn finish(mut self) -> Finished {
        if let Form::Unknown(head) = &mut self.form {
            let head = std::mem::take(head);
            self.decide(self.promised_events);
            self.read(&head);
        }
        let (cut, ended) = match self.form {
            Form::Unknown(_) => (false, false),
            Form::Events(framer) => {
                // A frame without its end is read, but ends nothing.
                let end = (framer.skipped() > 0, self.assembly.ended());
                framer.finish(|frame| self.assembly.frame(&frame));
                end
            }
            Form::Body(body) => (body.cut(), body.finish(&mut self.assembly)),
        };
        let mut reply = self.assembly.finish();
        reply.cut |= cut;
        if ended && !reply.choices.iter().any(Choice::says_something) {
            // As much as a reply without a choice.
            reply.choices.clear();
        }
        Finished { reply, ended }
    }
}

/// Whether bytes with this beginning are events; none while they may still become either.
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
mod odd;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
