//! A tolerant reader of JSON: one bad member of an object costs only itself.
//!
//! `serde_json` fails as a whole on a repeated key or a wrong type. Here a type reads its members one at a time, so it keeps those that came
//! before the bytes ended or went bad. The reader goes through the text once and leaps from quote to quote, because nearly all of a long
//! history is the inside of its strings. It skips values without recursion, so depth is no danger. The grammar is RFC 8259, as strict as in
//! `serde_json`, with one exception: a lone surrogate is U+FFFD and no error.

mod escapes;
mod value_end;

use std::borrow::Cow;
use std::ops::Range;

use crate::json_escape::find_escapable;

use escapes::scan_string;
pub(super) use escapes::{Escapes, unescape};
pub(super) use value_end::ValueEnd;

/// The text is not JSON, or it ends within a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

pub(super) type JsonResult = Result<(), Malformed>;

/// A type that reads itself from the members of a JSON object.
pub(super) trait JsonObject<'a> {
    /// Reads or skips the value of the member `name`, which is the next value in `json`, exactly once.
    fn read_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult;
}

/// Reads the object at the beginning of `text`. On an error, the members before it were read.
pub(super) fn read<'a>(text: &'a str, into: &mut impl JsonObject<'a>) -> JsonResult {
    JsonReader::new(text).object(into)
}

/// Reads the object at the beginning of `text`, and returns the rest of `text`.
pub(super) fn read_first<'a>(
    text: &'a str,
    into: &mut impl JsonObject<'a>,
) -> Result<&'a str, Malformed> {
    let mut json = JsonReader::new(text);
    json.object(into)?;
    Ok(&text[json.at..])
}

/// The text of a JSON string, if `text` is one JSON string and nothing else.
pub(super) fn lone_text(text: &str) -> Option<Cow<'_, str>> {
    let mut json = JsonReader::new(text);
    let value = json.value().ok()?;
    self::text(value).filter(|_| json.remaining() == 0)
}

/// Reads a string whose first quote stands just before `text`; the rest begins with its last quote.
pub(super) fn inside(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut json = JsonReader::new(text);
    let escapes = json.inside().ok()?;
    let (inner, rest) = text.split_at(json.at);
    Some((unescape(inner, escapes), rest))
}

/// The elements of an array; none where `text` is not a whole array.
pub(super) fn elements(text: &str) -> Vec<RawJson<'_>> {
    let mut elements = Vec::new();
    match JsonReader::new(text).each(|json| {
        elements.push(json.value()?);
        Ok(())
    }) {
        Ok(()) => elements,
        Err(Malformed) => Vec::new(),
    }
}

/// The elements of an array, or any other value as the only one.
pub(super) fn elements_or_one(raw: RawJson<'_>) -> Vec<RawJson<'_>> {
    if raw.written.starts_with('[') {
        elements(raw.written)
    } else {
        vec![raw]
    }
}

/// A value as it was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawJson<'a> {
    written: &'a str,
    /// Those of a string.
    escapes: Escapes,
}

impl<'a> RawJson<'a> {
    pub(super) fn is_text(self) -> bool {
        self.written.starts_with('"')
    }

    pub(super) fn get(self) -> &'a str {
        self.written
    }
}

/// The text of a string; lone surrogates become U+FFFD.
pub(super) fn text(raw: RawJson<'_>) -> Option<Cow<'_, str>> {
    let (inner, escapes) = quoted(raw)?;
    Some(unescape(inner, escapes))
}

/// A string as it was written, without its quotes, and the kind of its escapes.
pub(super) fn quoted(raw: RawJson<'_>) -> Option<(&str, Escapes)> {
    let inner = raw.written.strip_prefix('"')?.strip_suffix('"')?;
    Some((inner, raw.escapes))
}

/// Any value but null, as it was written.
pub(super) fn written(raw: RawJson<'_>) -> Option<Cow<'_, str>> {
    (raw.written != "null").then_some(Cow::Borrowed(raw.written))
}

/// A value that is not empty: anything but null, false, zero, and strings, arrays and objects without content.
pub(super) fn non_empty(raw: RawJson<'_>) -> Option<RawJson<'_>> {
    let written = raw.written;
    let is_empty = match written.as_bytes() {
        [b'{' | b'[' | b'"', inner @ .., b'}' | b']' | b'"'] => inner.trim_ascii().is_empty(),
        _ => matches!(written, "null" | "false") || number(raw) == Some(0.0),
    };
    (!is_empty).then_some(raw)
}

/// A string as its text, any other value but null as it was written.
pub(super) fn text_or_written(raw: RawJson<'_>) -> Option<Cow<'_, str>> {
    text(raw).or_else(|| written(raw))
}

/// A finite number.
pub(super) fn number(raw: RawJson<'_>) -> Option<f64> {
    let number: f64 = raw.written.parse().ok()?;
    number.is_finite().then_some(number)
}

/// An integer, also if it was written as `12.0`.
pub(super) fn integer(raw: RawJson<'_>) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a whole number below 2^53 is exact in both"
    )]
    let from_float =
        |float: f64| (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64);
    let written = raw.written.parse().ok();
    written.or_else(|| number(raw).and_then(from_float))
}

/// An integer that is not negative.
pub(super) fn count(raw: RawJson<'_>) -> Option<u64> {
    integer(raw).and_then(|number| u64::try_from(number).ok())
}

pub(super) fn boolean(raw: RawJson<'_>) -> Option<bool> {
    raw.written.parse().ok()
}

/// Reads one JSON text from left to right.
#[derive(Debug)]
pub(super) struct JsonReader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> JsonReader<'a> {
    fn new(text: &'a str) -> Self {
        JsonReader { text, at: 0 }
    }

    /// Reads the next value into `slot`, if `convert` accepts it. A value of another type changes nothing.
    pub(super) fn set<T>(
        &mut self,
        slot: &mut Option<T>,
        convert: impl FnOnce(RawJson<'a>) -> Option<T>,
    ) -> JsonResult {
        if let Some(value) = convert(self.value()?) {
            *slot = Some(value);
        }
        Ok(())
    }

    /// Reads the members of an object; skips any other value.
    pub(super) fn object(&mut self, into: &mut impl JsonObject<'a>) -> JsonResult {
        if self.peek()? != b'{' {
            return self.skip();
        }
        if !self.open(b'}')? {
            return Ok(());
        }
        loop {
            let (name, escapes) = self.name()?;
            into.read_member(&unescape(name, escapes), self)?;
            if !self.next_element(b'}')? {
                return Ok(());
            }
        }
    }

    /// Reads an array, one `T` for each element of any type, so that positions stay right; skips any other value.
    ///
    /// The array replaces the elements of an earlier one: the last of repeated keys counts.
    pub(super) fn array<T: JsonObject<'a> + Default>(
        &mut self,
        into: &mut Vec<T>,
        broken: BrokenElement,
    ) -> JsonResult {
        if self.peek()? == b'[' {
            into.clear();
        }
        self.each(|json| {
            let mut element = T::default();
            let read = json.object(&mut element);
            if read.is_ok() || broken == BrokenElement::Kept {
                into.push(element);
            }
            read
        })
    }

    /// Reads an array like [`array`](Self::array), and an object in place of an array as its only element.
    pub(super) fn array_or_one<T: JsonObject<'a> + Default>(
        &mut self,
        into: &mut Vec<T>,
    ) -> JsonResult {
        if self.peek()? != b'{' {
            return self.array(into, BrokenElement::Kept);
        }
        into.clear();
        let mut only = T::default();
        let read = self.object(&mut only);
        into.push(only);
        read
    }

    /// Calls `element` for each element of an array; skips any other value.
    fn each(&mut self, mut element: impl FnMut(&mut Self) -> JsonResult) -> JsonResult {
        if self.peek()? != b'[' {
            return self.skip();
        }
        if !self.open(b']')? {
            return Ok(());
        }
        loop {
            element(self)?;
            if !self.next_element(b']')? {
                return Ok(());
            }
        }
    }

    pub(super) fn value(&mut self) -> Result<RawJson<'a>, Malformed> {
        let first = self.peek()?;
        let start = self.at;
        let escapes = if first == b'"' {
            self.string()?.1
        } else {
            self.skip()?;
            Escapes::None
        };
        Ok(RawJson {
            written: &self.text[start..self.at],
            escapes,
        })
    }

    pub(super) fn skip(&mut self) -> JsonResult {
        // The closing brackets of the values around, outermost first. An empty value allocates nothing.
        let mut around: Vec<u8> = Vec::new();
        loop {
            match self.peek()? {
                b'"' => _ = self.string()?,
                b'{' => {
                    if self.open(b'}')? {
                        around.push(b'}');
                        self.name()?;
                        continue;
                    }
                }
                b'[' => {
                    if self.open(b']')? {
                        around.push(b']');
                        continue;
                    }
                }
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                _ => self.number()?,
            }
            loop {
                let Some(&end) = around.last() else {
                    return Ok(());
                };
                if self.next_element(end)? {
                    if end == b'}' {
                        self.name()?;
                    }
                    break;
                }
                around.pop();
            }
        }
    }

    /// Length of the rest in bytes.
    pub(super) fn remaining(&self) -> usize {
        self.text.len() - self.at
    }

    /// The range of the whole text that is the inside of `last`, the string that was read last.
    pub(super) fn inside_range(&self, last: RawJson<'a>) -> Range<usize> {
        self.at + 1 - last.written.len()..self.at - 1
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// Skips blanks and peeks at the byte after them.
    fn peek(&mut self) -> Result<u8, Malformed> {
        loop {
            match self.bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(&byte) => return Ok(byte),
                None => return Err(Malformed),
            }
        }
    }

    /// Skips the opening bracket of an object or array, and the closing one of an empty one; whether there is an element.
    fn open(&mut self, end: u8) -> Result<bool, Malformed> {
        self.at += 1;
        let is_empty = self.peek()? == end;
        self.at += usize::from(is_empty);
        Ok(!is_empty)
    }

    /// Skips the comma or the closing bracket after an element; whether it was a comma.
    fn next_element(&mut self, end: u8) -> Result<bool, Malformed> {
        let byte = self.peek()?;
        if byte != b',' && byte != end {
            return Err(Malformed);
        }
        self.at += 1;
        Ok(byte == b',')
    }

    /// Reads a member's name and the colon after it.
    fn name(&mut self) -> Result<(&'a str, Escapes), Malformed> {
        if self.peek()? != b'"' {
            return Err(Malformed);
        }
        let name = self.string()?;
        if self.peek()? != b':' {
            return Err(Malformed);
        }
        self.at += 1;
        Ok(name)
    }

    /// Reads a string; its inside as it was written, and the kind of its escapes.
    fn string(&mut self) -> Result<(&'a str, Escapes), Malformed> {
        self.at += 1;
        let (start, escapes) = (self.at, self.inside()?);
        let inner = &self.text[start..self.at];
        self.at += 1;
        Ok((inner, escapes))
    }

    /// Moves to the quote that ends the string around; the kind of escapes before it.
    fn inside(&mut self) -> Result<Escapes, Malformed> {
        let rest = &self.bytes()[self.at..];
        let first = find_escapable(rest).ok_or(Malformed)?;
        let (length, escapes) = match rest[first] {
            b'"' => (first, Escapes::None),
            b'\\' => {
                let (length, escapes) = scan_string(&rest[first..]).ok_or(Malformed)?;
                (first + length, escapes)
            }
            _ => return Err(Malformed),
        };
        self.at += length;
        Ok(escapes)
    }

    fn word(&mut self, word: &str) -> JsonResult {
        if !self.bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(Malformed);
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> JsonResult {
        let bytes = self.bytes();
        self.at += usize::from(bytes[self.at] == b'-');
        let leading_zero = bytes.get(self.at) == Some(&b'0');
        if self.digits()? > 1 && leading_zero {
            return Err(Malformed);
        }
        if bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = bytes.get(self.at) {
            self.at += 1;
            self.at += usize::from(matches!(bytes.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    /// Skips digits, at least one; how many there were.
    fn digits(&mut self) -> Result<usize, Malformed> {
        let rest = &self.bytes()[self.at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        if digits == 0 {
            return Err(Malformed);
        }
        Ok(digits)
    }
}

/// Whether an array keeps the element within which the text ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BrokenElement {
    Kept,
    Dropped,
}

#[cfg(test)]
mod tests;
