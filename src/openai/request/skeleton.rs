//! A body that is longer than what is kept of one, without the middles of its long texts.
//!
//! [`Skeleton`] takes a JSON object in pieces and holds at most so many bytes of it. Every member, message and short text stays; a long text
//! keeps its head and its tail around a [cut mark](cut_mark) with its length. Where that is not enough, an array of the object keeps its first
//! and its newest elements, and one thing alone that is too large leaves a note of its size.
//!
//! The result is a JSON object where the body is one, whatever the pieces it came in, and is broken where the body is broken. One text is cut
//! in one way, so a history that comes again can be recognised.
//!
//! ```text
//!  kept: {"messages":[ first elements, │ recent: newest elements,│ unit: the element or member under way
//!        never dropped                 │ the oldest is dropped   │ dropped when it alone is too large
//! ```

mod text;

use std::collections::VecDeque;

pub(in crate::openai) use text::cut_mark;
use text::{Lengths, LongText};

use crate::special::first_special;

/// The object as far as it came.
#[derive(Debug)]
pub(crate) struct Skeleton {
    /// Most bytes of `kept`, `recent` and `unit` together.
    limit: usize,
    place: Place,
    /// How many objects and arrays are open.
    depth: usize,
    /// An array that is a member of the object is open: its elements are units.
    in_array: bool,
    /// Members and elements that stay.
    kept: Vec<u8>,
    recent: Recent,
    unit: Unit,
    text: LongText,
}

/// Where in the JSON the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Between,
    Text,
    /// After a backslash.
    Escape,
    /// In an escape's hexadecimal digits, of which so many are to come.
    Digits(u8),
    /// After the object.
    End,
}

/// The element or member under way.
#[derive(Debug, Default)]
struct Unit {
    bytes: Vec<u8>,
    /// Bytes of all of it, the ones not kept included.
    length: usize,
    /// Where a member's value begins; 0 in an element.
    value: usize,
    /// It was too large.
    dropped: bool,
}

/// The newest elements of an array, each with a comma after it.
#[derive(Debug, Default)]
struct Recent {
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

impl Skeleton {
    /// Of the body that begins with these bytes, of at most `limit` bytes; nothing where that is no object.
    pub(crate) fn of(beginning: &[u8], limit: usize) -> Option<Self> {
        let mut skeleton = Skeleton {
            limit,
            place: Place::Between,
            depth: 0,
            in_array: false,
            kept: Vec::new(),
            recent: Recent::default(),
            unit: Unit::default(),
            text: LongText::new(Lengths::within(limit)),
        };
        skeleton.push(object(beginning)?);
        Some(skeleton)
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            match self.place {
                Place::End => return,
                Place::Between => {
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
                Place::Text => bytes = self.inside(bytes),
                Place::Escape | Place::Digits(_) => {
                    self.escape(first);
                    bytes = rest;
                }
            }
        }
    }

    /// All that is kept.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.place != Place::End {
            // The body broke off: what came whole before that stays, and nothing closes what was open.
            self.end_array();
        }
        self.kept.shrink_to_fit();
        self.kept
    }

    /// A byte between texts. Blanks are left out.
    fn structure(&mut self, byte: u8) {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => {}
            b'"' => self.place = Place::Text,
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
            self.place = Place::End;
        }
    }

    /// Whether a comma or a bracket here is after a unit.
    fn ends_unit(&self) -> bool {
        self.depth == 1 + usize::from(self.in_array)
    }

    /// The inside of a text up to its end or its next escape; gives what follows.
    fn inside<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let special = first_special(bytes).unwrap_or(bytes.len());
        let (plain, rest) = bytes.split_at(special);
        self.text.push(plain);
        match rest.split_first() {
            None => rest,
            Some((b'"', rest)) => {
                self.place = Place::Between;
                let mut text = std::mem::take(&mut self.text);
                text.end(|piece| self.put(piece));
                self.text = text;
                rest
            }
            Some((byte, rest)) => {
                if *byte == b'\\' {
                    self.place = Place::Escape;
                }
                // A control character has no place in a text, but does not end it.
                self.text.push(&[*byte]);
                rest
            }
        }
    }

    fn escape(&mut self, byte: u8) {
        let left = match self.place {
            Place::Escape if byte == b'u' => 4,
            Place::Digits(left) => left - 1,
            _ => 0,
        };
        self.text.push_escaped(byte, left);
        self.place = if left == 0 {
            Place::Text
        } else {
            Place::Digits(left)
        };
    }

    /// Adds to the unit under way.
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

    /// Bytes that there is room for beside what is kept.
    fn room(&self) -> usize {
        self.limit
            .saturating_sub(self.kept.len() + self.recent.weight())
    }

    fn end_unit(&mut self) {
        let mut unit = std::mem::take(&mut self.unit);
        if unit.length == 0 {
            return;
        }
        if unit.dropped {
            let note = format!("\"[{} bytes are left out here]\"", unit.length);
            let note = if self.in_array {
                // An object, for whoever reads elements expects those.
                format!("{{\"content\":{note}}}")
            } else {
                note
            };
            unit.bytes.extend_from_slice(note.as_bytes());
            if unit.value == 0 && !self.in_array || unit.bytes.len() > self.room() / 2 {
                return;
            }
        }
        let is_first = !self.recent.has_begun();
        if !self.in_array || is_first && self.kept.len() + unit.bytes.len() <= self.limit / 4 {
            self.keep(&unit.bytes);
        } else {
            self.recent.push(&unit.bytes);
            let most = self.limit.saturating_sub(self.kept.len()) / 2;
            self.recent.shrink(most);
        }
    }

    /// Adds a member or an element to what stays.
    fn keep(&mut self, unit: &[u8]) {
        if !matches!(self.kept.last(), Some(b'{' | b'[')) {
            self.kept.push(b',');
        }
        self.kept.extend_from_slice(unit);
    }

    /// The newest elements stay, too.
    fn end_array(&mut self) {
        let recent = std::mem::take(&mut self.recent);
        if recent.dropped > 0 {
            let note = format!(
                "{{\"content\":\"[{} elements of {} bytes are left out here]\"}}",
                recent.dropped, recent.dropped_bytes
            );
            self.keep(note.as_bytes());
        }
        let (front, back) = recent.bytes.as_slices();
        if !recent.bytes.is_empty() {
            self.keep(front);
            self.kept.extend_from_slice(back);
            // The comma after the last of them.
            self.kept.pop();
        }
    }
}

impl Unit {
    /// What came by now is a member's name and the colon after it.
    fn begin_value(&mut self) {
        if self.value == 0 && !self.dropped {
            self.value = self.bytes.len();
        }
    }

    /// Nothing of a member's value has come.
    fn awaits_value(&self) -> bool {
        self.value > 0 && self.value == self.bytes.len() && !self.dropped
    }
}

impl Recent {
    fn has_begun(&self) -> bool {
        self.dropped > 0 || !self.lengths.is_empty()
    }

    fn weight(&self) -> usize {
        self.bytes.len() + self.lengths.len() * size_of::<u32>()
    }

    fn push(&mut self, element: &[u8]) {
        self.bytes.extend(element);
        self.bytes.push_back(b',');
        let length = u32::try_from(element.len() + 1).unwrap_or(u32::MAX);
        self.lengths.push_back(length);
    }

    /// Drops the oldest until there are at most so many bytes.
    fn shrink(&mut self, most: usize) {
        while self.weight() > most {
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
