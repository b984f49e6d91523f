//! Server-sent events out of captured bytes: a bounded framer in front of `eventsource-stream`.
//!
//! The rule: whatever the bytes are and however they are cut into pieces, the same frames come out, in time linear in the bytes and with
//! at most one event in memory. `eventsource-stream` knows the grammar (WHATWG HTML, section 9.2.6) but, fed raw, panics on a byte order
//! mark, is quadratic in the length of an event, stalls on an invalid byte and loses a last event without its blank line. So this framer
//! finds where an event ends, turns every line end into LF and bad UTF-8 into U+FFFD, and hands over one whole event at a time, line by line.
//! An event that is one line of data, as OpenAI's all are, needs no grammar: its data is what the line holds.

use std::borrow::Cow;
use std::convert::Infallible;
use std::iter;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use eventsource_stream::{Event, EventStream};
use futures_util::Stream;
use futures_util::stream;

use crate::encoding::readable;

/// The usual limit of one event, in bytes.
pub const EVENT_LIMIT: usize = 1 << 20;

/// How much of a buffer is kept from one event to the next, in bytes.
const KEPT_CAPACITY: usize = 16 << 10;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// What lies between two blank lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'f> {
    /// An event with data.
    Event {
        /// Its type: `message` where it names none.
        kind: Cow<'f, str>,
        /// Its lines of data, with an LF between them.
        data: Cow<'f, str>,
        /// Its own id, empty where it has none: ids are not carried over from earlier events.
        id: Cow<'f, str>,
    },
    /// JSON or other text that was written into the stream without any field's name before it. No grammar has it, yet some servers, and
    /// proxies before them, report an error so, after a head that promised events.
    Stray(Cow<'f, str>),
}

/// The fields of the grammar; a line that begins with a colon is a comment.
const FIELDS: [&str; 5] = ["data", "event", "id", "retry", ""];

/// llama.cpp's field for an error, which the grammar has not.
const ERROR_FIELD: &str = "error:";

/// Cuts a stream of server-sent events into frames.
#[derive(Debug)]
pub struct Framer {
    limit: usize,
    /// The event so far: whole lines, each with an LF, then the line under way.
    event: Vec<u8>,
    /// Where in `event` the line under way begins.
    line: usize,
    /// A CR was the last byte: an LF right after it belongs to it.
    after_cr: bool,
    /// How much of a byte order mark was seen at the stream's start; none once the start is over.
    mark: Option<usize>,
    /// The event under way is over the limit: its lines are dropped until it ends.
    skipping: bool,
    /// While skipping: whether the line under way has any byte.
    skipped_line: bool,
    skipped: u64,
}

impl Framer {
    /// A framer for events of at most `limit` bytes, line ends included.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            event: Vec::new(),
            line: 0,
            after_cr: false,
            mark: Some(0),
            skipping: false,
            skipped_line: false,
            skipped: 0,
        }
    }

    /// Bytes of the event under way.
    pub fn held(&self) -> usize {
        self.event.len()
    }

    /// How many events were over the limit and left out so far.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Takes the next bytes and hands each frame that they complete to `each`.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame<'_>)) {
        while let (Some(seen), Some((&first, rest))) = (self.mark, bytes.split_first()) {
            if first == BYTE_ORDER_MARK[seen] {
                bytes = rest;
                self.mark = Some(seen + 1).filter(|&seen| seen < BYTE_ORDER_MARK.len());
            } else {
                self.begin(seen, &mut each);
            }
        }
        self.lines(bytes, &mut each);
    }

    /// Ends the stream and hands over what is left, whether or not a blank line ended it.
    pub fn finish(mut self, mut each: impl FnMut(Frame<'_>)) {
        if let Some(seen) = self.mark {
            self.begin(seen, &mut each);
        }
        if self.event.len() > self.line {
            self.end_line(&mut each);
        }
        self.end_event(&mut each);
    }

    /// The stream does not begin with a byte order mark, so the `seen` bytes of one are bytes like others.
    fn begin(&mut self, seen: usize, each: &mut impl FnMut(Frame<'_>)) {
        self.mark = None;
        self.lines(&BYTE_ORDER_MARK[..seen], each);
    }

    fn lines(&mut self, mut bytes: &[u8], each: &mut impl FnMut(Frame<'_>)) {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            if let Some((data, rest)) = self.whole(bytes) {
                each(message(readable(data)));
                bytes = rest;
                continue;
            }
            let end = memchr::memchr2(b'\n', b'\r', bytes);
            self.keep(&bytes[..end.unwrap_or(bytes.len())]);
            let Some(end) = end else { return };
            self.after_cr = bytes[end] == b'\r';
            self.end_line(each);
            bytes = &bytes[end + 1..];
        }
    }

    /// The data of an event that is all here and one line of it, and what follows: as they nearly all come.
    fn whole<'b>(&self, bytes: &'b [u8]) -> Option<(&'b [u8], &'b [u8])> {
        if self.skipping || !self.event.is_empty() {
            return None;
        }
        let line = bytes.strip_prefix(b"data:")?;
        let end = memchr::memchr2(b'\n', b'\r', line)?;
        let rest = line[end..].strip_prefix(b"\n\n")?;
        let data = &line[..end];
        // As it counts where it is kept: with the end of its line.
        let length = b"data:".len() + end + 1;
        (length < self.limit).then(|| (data.strip_prefix(b" ").unwrap_or(data), rest))
    }

    /// Adds to the line under way.
    fn keep(&mut self, part: &[u8]) {
        if !self.skipping && self.event.len() + part.len() >= self.limit {
            self.skipping = true;
            self.skipped += 1;
            self.skipped_line = self.event.len() > self.line;
            self.event = Vec::new();
            self.line = 0;
        }
        if self.skipping {
            self.skipped_line |= !part.is_empty();
        } else {
            self.event.extend_from_slice(part);
        }
    }

    fn end_line(&mut self, each: &mut impl FnMut(Frame<'_>)) {
        if self.skipping {
            self.skipping = std::mem::take(&mut self.skipped_line);
            return;
        }
        let line = &self.event[self.line..];
        if line.is_empty() {
            return self.end_event(each);
        }
        // Stray JSON need not have blank lines around it.
        let stray = self.event.starts_with(b"{") || self.event.starts_with(b"[");
        if self.line > 0
            && (if stray {
                line.starts_with(b"data:")
            } else {
                line.starts_with(b"{") || line.starts_with(b"[")
            })
        {
            let line = self.event.split_off(self.line);
            self.end_event(each);
            self.event = line;
        }
        self.event.push(b'\n');
        self.line = self.event.len();
    }

    fn end_event(&mut self, each: &mut impl FnMut(Frame<'_>)) {
        if self.event.is_empty() {
            return;
        }
        let text = readable(&self.event);
        if text.starts_with(['{', '[']) {
            each(Frame::Stray(text));
        } else if let Some(data) = one_line(&text) {
            each(message(data.into()));
        } else {
            let (lines, error) = text.split_at(error_field(&text).unwrap_or(text.len()));
            if let Some(event) = parse(lines) {
                each(Frame::Event {
                    kind: event.event.into(),
                    data: event.data.into(),
                    id: event.id.into(),
                });
            } else if !lines.is_empty() && !lines.lines().any(is_field) {
                each(Frame::Stray(lines.into()));
            }
            if !error.is_empty() {
                each(Frame::Event {
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

/// An event of this data and no type of its own.
fn message(data: Cow<'_, str>) -> Frame<'_> {
    Frame::Event {
        kind: "message".into(),
        data,
        id: "".into(),
    }
}

/// The data of an event that is one line of it, LF included.
fn one_line(event: &str) -> Option<&str> {
    let data = event.strip_prefix("data:")?.strip_suffix('\n')?;
    let several = memchr::memchr(b'\n', data.as_bytes()).is_some();
    (!several).then(|| data.strip_prefix(' ').unwrap_or(data))
}

/// Where in an event its error begins, in a field of its own.
fn error_field(event: &str) -> Option<usize> {
    if event.starts_with(ERROR_FIELD) {
        return Some(0);
    }
    Some(event.find("\nerror:")? + 1)
}

/// What an error says that has a field of its own, and lines that may have none.
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

/// One event out of its lines, each of which ends with an LF; none if it has no data.
fn parse(lines: &str) -> Option<Event> {
    // A line at a time, for the parser moves what is left of its buffer at each of them. The empty line first is for its check of a
    // byte order mark, which panics when it finds one: ours was stripped, and one in the middle of a stream is text.
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
        // Nothing to wait for, nothing to fail: the lines are here and are UTF-8.
        Poll::Ready(Some(Err(_)) | None) | Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests;
