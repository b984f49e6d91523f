//! Splits captured bytes into server-sent events: a bounded framer in front of `eventsource-stream`.
//!
//! The frames depend on the bytes and not on their pieces. The framer takes time linear in the bytes and keeps one event at most in memory.
//! `eventsource-stream` knows the grammar (WHATWG HTML, section 9.2.6). Fed raw, it panics on a byte order mark, is quadratic in the length of
//! an event, stalls on an invalid byte and loses a last event without its blank line. So this framer finds the end of each event, turns every
//! line end into LF and bad UTF-8 into U+FFFD, and passes on one whole event at a time, line by line. An event of one line of data, like all
//! of OpenAI's, needs no grammar.

use std::borrow::Cow;
use std::convert::Infallible;
use std::iter;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use eventsource_stream::{Event, EventStream};
use futures_util::Stream;
use futures_util::stream;

use crate::encoding::lossy_text;

/// The usual limit of one event in bytes.
pub(crate) const EVENT_LIMIT: usize = 1 << 20;

/// Capacity in bytes that a buffer keeps from one event to the next.
const KEPT_CAPACITY: usize = 16 << 10;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The lines between two blank lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SseFrame<'f> {
    /// An event with data.
    Event {
        /// Its type: `message` unless it names another.
        kind: Cow<'f, str>,
        /// Its lines of data, separated by LF.
        data: Cow<'f, str>,
        /// Its own id, empty where it has none. The ids of earlier events do not count.
        id: Cow<'f, str>,
    },
    /// JSON or other text without the name of a field, which the grammar does not allow. Some servers, and proxies before them, report an
    /// error so after a head that promised events.
    Stray(Cow<'f, str>),
}

/// The fields of the grammar; a line that begins with a colon is a comment.
const FIELDS: [&str; 5] = ["data", "event", "id", "retry", ""];

/// llama.cpp's field for an error, which the grammar does not have.
const ERROR_FIELD: &str = "error:";

/// Splits a stream of server-sent events into frames.
#[derive(Debug)]
pub struct SseFramer {
    limit: usize,
    /// The event so far: whole lines, each with an LF, and the line under way.
    event: Vec<u8>,
    /// Offset of the line under way in `event`.
    line: usize,
    /// Whether a CR was the last byte: an LF right after it belongs to the same line end.
    after_cr: bool,
    /// How many bytes of a byte order mark came at the start of the stream; none after the start.
    bom: Option<usize>,
    /// Whether the event under way is over the limit. Its lines are dropped until it ends.
    is_skipping: bool,
    /// Whether a dropped line under way has any byte.
    has_skipped_bytes: bool,
    skipped: u64,
}

impl SseFramer {
    /// A framer for events of at most `limit` bytes, line ends included.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            event: Vec::new(),
            line: 0,
            after_cr: false,
            bom: Some(0),
            is_skipping: false,
            has_skipped_bytes: false,
            skipped: 0,
        }
    }

    /// Length of the event under way in bytes.
    pub fn held(&self) -> usize {
        self.event.len()
    }

    /// How many events were over the limit and left out.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Reads the next bytes and emits each frame that they complete.
    pub fn push(&mut self, mut bytes: &[u8], mut emit: impl FnMut(SseFrame<'_>)) {
        while let (Some(seen), Some((&first, rest))) = (self.bom, bytes.split_first()) {
            if first == BYTE_ORDER_MARK[seen] {
                bytes = rest;
                self.bom = Some(seen + 1).filter(|&seen| seen < BYTE_ORDER_MARK.len());
            } else {
                self.begin(seen, &mut emit);
            }
        }
        self.lines(bytes, &mut emit);
    }

    /// Ends the stream and emits the last frame, also without its blank line.
    pub fn finish(mut self, mut emit: impl FnMut(SseFrame<'_>)) {
        if let Some(seen) = self.bom {
            self.begin(seen, &mut emit);
        }
        if self.event.len() > self.line {
            self.end_line(&mut emit);
        }
        self.end_event(&mut emit);
    }

    /// Reads the `seen` bytes of an incomplete byte order mark as bytes of the first line.
    fn begin(&mut self, seen: usize, emit: &mut impl FnMut(SseFrame<'_>)) {
        self.bom = None;
        self.lines(&BYTE_ORDER_MARK[..seen], emit);
    }

    fn lines(&mut self, mut bytes: &[u8], emit: &mut impl FnMut(SseFrame<'_>)) {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            if let Some((data, rest)) = self.one_line_event(bytes) {
                emit(message(lossy_text(data)));
                bytes = rest;
                continue;
            }
            let end = memchr::memchr2(b'\n', b'\r', bytes);
            self.append(&bytes[..end.unwrap_or(bytes.len())]);
            let Some(end) = end else { return };
            self.after_cr = bytes[end] == b'\r';
            self.end_line(emit);
            bytes = &bytes[end + 1..];
        }
    }

    /// The data of a whole event of one line, and the bytes after it. Nearly all events come so.
    fn one_line_event<'b>(&self, bytes: &'b [u8]) -> Option<(&'b [u8], &'b [u8])> {
        if self.is_skipping || !self.event.is_empty() {
            return None;
        }
        let line = bytes.strip_prefix(b"data:")?;
        let end = memchr::memchr2(b'\n', b'\r', line)?;
        let rest = line[end..].strip_prefix(b"\n\n")?;
        let data = &line[..end];
        // A buffered event counts with the end of its line.
        let length = b"data:".len() + end + 1;
        (length < self.limit).then(|| (data.strip_prefix(b" ").unwrap_or(data), rest))
    }

    /// Appends to the line under way.
    fn append(&mut self, part: &[u8]) {
        if !self.is_skipping && self.event.len() + part.len() >= self.limit {
            self.is_skipping = true;
            self.skipped += 1;
            self.has_skipped_bytes = self.event.len() > self.line;
            self.event = Vec::new();
            self.line = 0;
        }
        if self.is_skipping {
            self.has_skipped_bytes |= !part.is_empty();
        } else {
            self.event.extend_from_slice(part);
        }
    }

    fn end_line(&mut self, emit: &mut impl FnMut(SseFrame<'_>)) {
        if self.is_skipping {
            self.is_skipping = std::mem::take(&mut self.has_skipped_bytes);
            return;
        }
        let line = &self.event[self.line..];
        if line.is_empty() {
            return self.end_event(emit);
        }
        // Stray JSON may have no blank lines around it.
        let is_stray = self.event.starts_with(b"{") || self.event.starts_with(b"[");
        if self.line > 0
            && (if is_stray {
                line.starts_with(b"data:")
            } else {
                line.starts_with(b"{") || line.starts_with(b"[")
            })
        {
            let line = self.event.split_off(self.line);
            self.end_event(emit);
            self.event = line;
        }
        self.event.push(b'\n');
        self.line = self.event.len();
    }

    fn end_event(&mut self, emit: &mut impl FnMut(SseFrame<'_>)) {
        if self.event.is_empty() {
            return;
        }
        let text = lossy_text(&self.event);
        if text.starts_with(['{', '[']) {
            emit(SseFrame::Stray(text));
        } else if let Some(data) = one_line(&text) {
            emit(message(data.into()));
        } else {
            let (lines, error) = text.split_at(error_field(&text).unwrap_or(text.len()));
            if let Some(event) = parse(lines) {
                emit(SseFrame::Event {
                    kind: event.event.into(),
                    data: event.data.into(),
                    id: event.id.into(),
                });
            } else if !lines.is_empty() && !lines.lines().any(is_field) {
                emit(SseFrame::Stray(lines.into()));
            }
            if !error.is_empty() {
                emit(SseFrame::Event {
                    kind: "error".into(),
                    data: data_of_error(error).into(),
                    id: "".into(),
                });
            }
        }
        self.event.clear();
        self.event.shrink_to(KEPT_CAPACITY);
        self.line = 0;
    }
}

/// An event of this data without a type of its own.
fn message(data: Cow<'_, str>) -> SseFrame<'_> {
    SseFrame::Event {
        kind: "message".into(),
        data,
        id: "".into(),
    }
}

/// The data of an event that is one line.
fn one_line(event: &str) -> Option<&str> {
    let data = event.strip_prefix("data:")?.strip_suffix('\n')?;
    let several = memchr::memchr(b'\n', data.as_bytes()).is_some();
    (!several).then(|| data.strip_prefix(' ').unwrap_or(data))
}

/// The offset of llama.cpp's error field in an event.
fn error_field(event: &str) -> Option<usize> {
    if event.starts_with(ERROR_FIELD) {
        return Some(0);
    }
    Some(event.find("\nerror:")? + 1)
}

/// The text of an error field and the lines after it, which may have no field.
fn data_of_error(lines: &str) -> String {
    let data = lines.lines().map(|line| {
        let named = line
            .strip_prefix(ERROR_FIELD)
            .or_else(|| line.strip_prefix("data:"));
        named.unwrap_or(line).trim()
    });
    data.collect::<Vec<_>>().join("\n")
}

fn is_field(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default();
    FIELDS.contains(&name)
}

/// Parses the lines of one event, each with an LF; none without data.
fn parse(lines: &str) -> Option<Event> {
    // The parser moves the rest of its buffer at each line, so it gets one line at a time. Its check of a byte order mark panics when it
    // finds one, so it gets an empty line first: a mark in the middle of a stream is text.
    let lines = iter::once("\n")
        .chain(lines.split_inclusive('\n'))
        .chain(iter::once("\n"));
    let mut events = pin!(EventStream::new(stream::iter(
        lines.map(Ok::<_, Infallible>)
    )));
    match events
        .as_mut()
        .poll_next(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(Some(Ok(event))) => Some(event),
        // All lines are at hand and UTF-8, so the parser neither waits nor fails.
        Poll::Ready(Some(Err(_)) | None) | Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests;
