//! Shortens a body that is longer than its limit by leaving out the middles of its long texts.
//!
//! [`JsonTruncator`] reads a JSON object in pieces and holds a limited number of its bytes. Every member, message and short text stays. A long
//! text keeps its head and its tail around a [cut mark](crate::openai::long_text::cut_mark) with its length. Where that is not enough, an array keeps its first and its
//! newest elements, and a single member or element that is too large leaves a note of its size.
//!
//! The result is a JSON object where the body is one, and breaks off where the body does. It does not depend on the pieces. The same text is
//! always cut in the same way, so a history that comes again is recognised.
//!
//! ```text
//!  kept: {"messages":[ first elements, │ newest: newest elements, │ unit: the element or member under way
//!        never dropped                 │ the oldest is dropped    │ dropped when it alone is too large
//! ```

use std::collections::VecDeque;

use crate::openai::long_text::{LongText, TextLimits};

use crate::json_escape::find_escapable;

/// The shortened object so far.
#[derive(Debug)]
pub(crate) struct JsonTruncator {
    /// Limit of `kept`, `newest` and `unit` together, in bytes.
    limit: usize,
    state: ScanState,
    /// How many objects and arrays are open.
    depth: usize,
    /// Whether an array that is a member of the object is open: its elements are units.
    in_array: bool,
    /// Members and elements that stay.
    kept: Vec<u8>,
    newest: NewestElements,
    unit: PendingUnit,
    text: LongText,
}

/// The position of the next byte in the JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScanState {
    BetweenStrings,
    InString,
    AfterBackslash,
    /// Before this number of an escape's hexadecimal digits.
    BeforeDigits(u8),
    AfterObject,
}

/// The element or member under way.
#[derive(Debug, Default)]
struct PendingUnit {
    bytes: Vec<u8>,
    /// Its whole length in bytes, also of a dropped one.
    length: usize,
    /// Offset of a member's value in `bytes`; 0 in an element.
    value: usize,
    /// Whether it was too large, so that its value is not kept.
    dropped: bool,
}

/// The newest elements of an array, each with a comma after it.
#[derive(Debug, Default)]
struct NewestElements {
    bytes: VecDeque<u8>,
    lengths: VecDeque<u32>,
    dropped: usize,
    dropped_bytes: usize,
}

/// The body from its first brace on.
fn object(body: &[u8]) -> Option<&[u8]> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let body = body.trim_ascii_start();
    body.starts_with(b"{").then_some(body)
}

impl JsonTruncator {
    /// Begins with the first bytes of a body; none where they do not begin an object. The result has at most `limit` bytes.
    pub(crate) fn of(beginning: &[u8], limit: usize) -> Option<Self> {
        let mut truncator = JsonTruncator {
            limit,
            state: ScanState::BetweenStrings,
            depth: 0,
            in_array: false,
            kept: Vec::new(),
            newest: NewestElements::default(),
            unit: PendingUnit::default(),
            text: LongText::new(TextLimits::within(limit)),
        };
        truncator.push(object(beginning)?);
        Some(truncator)
    }

    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            match self.state {
                ScanState::AfterObject => return,
                ScanState::BetweenStrings => {
                    let unit_ends = self.ends_unit();
                    let is_plain = |byte: &&u8| match byte {
                        b',' | b':' => !unit_ends,
                        _ => !b" \n\r\t\"{}[]".contains(byte),
                    };
                    let plain = bytes.iter().take_while(is_plain).count();
                    if plain > 0 {
                        self.put(&bytes[..plain]);
                        bytes = &bytes[plain..];
                    } else {
                        self.structure(first);
                        bytes = rest;
                    }
                }
                ScanState::InString => bytes = self.in_string(bytes),
                ScanState::AfterBackslash | ScanState::BeforeDigits(_) => {
                    self.escape(first);
                    bytes = rest;
                }
            }
        }
    }

    /// The shortened object.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.state != ScanState::AfterObject {
            // The body broke off: its whole elements stay, and open brackets stay open.
            self.end_array();
        }
        self.kept.shrink_to_fit();
        self.kept
    }

    /// Takes a byte between strings. Blanks are left out.
    fn structure(&mut self, byte: u8) {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => {}
            b'"' => self.state = ScanState::InString,
            b'{' | b'[' => self.open(byte),
            b'}' | b']' => self.close(byte),
            b',' if self.ends_unit() => self.end_unit(),
            b':' if self.depth == 1 => {
                self.put(b":");
                self.unit.begin_value();
            }
            _ => self.put(&[byte]),
        }
    }

    fn open(&mut self, byte: u8) {
        self.depth += 1;
        if self.depth == 1 {
            self.kept.push(byte);
        } else if self.depth == 2 && byte == b'[' && self.unit.awaits_value() {
            let member = std::mem::take(&mut self.unit);
            self.keep(&member.bytes);
            self.kept.push(byte);
            self.in_array = true;
        } else {
            self.put(&[byte]);
        }
    }

    fn close(&mut self, byte: u8) {
        if self.ends_unit() {
            self.end_unit();
            if self.in_array {
                self.end_array();
                self.in_array = false;
            }
            self.kept.push(byte);
        } else {
            self.put(&[byte]);
        }
        self.depth = self.depth.saturating_sub(1);
        if self.depth == 0 {
            self.state = ScanState::AfterObject;
        }
    }

    /// Whether a comma or closing bracket at this position ends a unit.
    fn ends_unit(&self) -> bool {
        self.depth == 1 + usize::from(self.in_array)
    }

    /// Takes the inside of a string up to its end or its next escape, and returns the rest.
    fn in_string<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let plain = find_escapable(bytes).unwrap_or(bytes.len());
        let (plain, rest) = bytes.split_at(plain);
        self.text.push(plain);
        match rest.split_first() {
            None => rest,
            Some((b'"', rest)) => {
                self.state = ScanState::BetweenStrings;
                let mut text = std::mem::take(&mut self.text);
                text.finish(|piece| self.put(piece));
                self.text = text;
                rest
            }
            Some((byte, rest)) => {
                if *byte == b'\\' {
                    self.state = ScanState::AfterBackslash;
                }
                // A control character is an error in a string, but does not end it.
                self.text.push(&[*byte]);
                rest
            }
        }
    }

    fn escape(&mut self, byte: u8) {
        let left = match self.state {
            ScanState::AfterBackslash if byte == b'u' => 4,
            ScanState::BeforeDigits(left) => left - 1,
            _ => 0,
        };
        self.text.push_escaped(byte, left);
        self.state = if left == 0 {
            ScanState::InString
        } else {
            ScanState::BeforeDigits(left)
        };
    }

    /// Appends to the unit under way.
    fn put(&mut self, bytes: &[u8]) {
        let room = self.room() / 2;
        let unit = &mut self.unit;
        unit.length += bytes.len();
        if unit.dropped {
            return;
        }
        if unit.bytes.len() + bytes.len() > room {
            unit.dropped = true;
            unit.bytes.truncate(unit.value);
            return;
        }
        unit.bytes.extend_from_slice(bytes);
    }

    /// Bytes that `unit` may take of the limit.
    fn room(&self) -> usize {
        self.limit
            .saturating_sub(self.kept.len() + self.newest.size_estimate())
    }

    fn end_unit(&mut self) {
        let mut unit = std::mem::take(&mut self.unit);
        if unit.length == 0 {
            return;
        }
        if unit.dropped {
            let note = format!("\"[{} bytes are left out here]\"", unit.length);
            let note = if self.in_array {
                // Readers of messages expect objects.
                format!("{{\"content\":{note}}}")
            } else {
                note
            };
            unit.bytes.extend_from_slice(note.as_bytes());
            let is_without_name = unit.value == 0 && !self.in_array;
            if is_without_name || unit.bytes.len() > self.room() / 2 {
                return;
            }
        }
        let is_first = self.newest.is_unused();
        if !self.in_array || is_first && self.kept.len() + unit.bytes.len() <= self.limit / 4 {
            self.keep(&unit.bytes);
        } else {
            self.newest.push(&unit.bytes);
            let limit = self.limit.saturating_sub(self.kept.len()) / 2;
            self.newest.shrink(limit);
        }
    }

    /// Appends a member or an element to `kept`.
    fn keep(&mut self, unit: &[u8]) {
        if !matches!(self.kept.last(), Some(b'{' | b'[')) {
            self.kept.push(b',');
        }
        self.kept.extend_from_slice(unit);
    }

    /// Appends the newest elements to `kept`.
    fn end_array(&mut self) {
        let newest = std::mem::take(&mut self.newest);
        if newest.dropped > 0 {
            let note = format!(
                "{{\"content\":\"[{} elements of {} bytes are left out here]\"}}",
                newest.dropped, newest.dropped_bytes
            );
            self.keep(note.as_bytes());
        }
        let (front, back) = newest.bytes.as_slices();
        if !newest.bytes.is_empty() {
            self.keep(front);
            self.kept.extend_from_slice(back);
            // Each element has a comma after it, the last one, too.
            self.kept.pop();
        }
    }
}

impl PendingUnit {
    /// Notes that `bytes` is a member's name and the colon after it.
    fn begin_value(&mut self) {
        if self.value == 0 && !self.dropped {
            self.value = self.bytes.len();
        }
    }

    /// Whether the next byte is the first of a member's value.
    fn awaits_value(&self) -> bool {
        self.value > 0 && self.value == self.bytes.len() && !self.dropped
    }
}

impl NewestElements {
    fn is_unused(&self) -> bool {
        self.dropped == 0 && self.lengths.is_empty()
    }

    fn size_estimate(&self) -> usize {
        self.bytes.len() + self.lengths.len() * size_of::<u32>()
    }

    fn push(&mut self, element: &[u8]) {
        self.bytes.extend(element);
        self.bytes.push_back(b',');
        let length = u32::try_from(element.len() + 1).unwrap_or(u32::MAX);
        self.lengths.push_back(length);
    }

    /// Drops the oldest elements until the others take no more than `limit` bytes.
    fn shrink(&mut self, limit: usize) {
        while self.size_estimate() > limit {
            let Some(length) = self.lengths.pop_front() else {
                return;
            };
            self.bytes.drain(..length as usize);
            self.dropped += 1;
            self.dropped_bytes += length as usize - 1;
        }
    }
}

#[cfg(test)]
mod tests;
