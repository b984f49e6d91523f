//! JSON that others wrote, read member by member so that one bad member costs only itself.
//!
//! Libraries read into types that fail as a whole on a repeated key or a wrong type. Here a type takes its members one at a time into itself,
//! so what was read before the bytes ended or went bad is still there. It is one pass that leaps from quote to quote, because nearly all of a
//! long history is the inside of its texts; and what no type asks for is passed over without recursion, so depth is no danger. The grammar is
//! RFC 8259, as strict as `serde_json` is, but for lone surrogates: those are text that cannot be shown, not an error.

mod escapes;

use std::borrow::Cow;
use std::ops::Range;

use crate::special::first_special;

use escapes::escaped;
pub(super) use escapes::{Escapes, plain};

/// The text is no JSON, or ends before its value does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

pub(super) type Read = Result<(), Malformed>;

/// Something that is read from the members of a JSON object.
pub(super) trait Members<'a> {
    /// Takes the value of the member `name`, which is next in `json`, exactly once.
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read;
}

/// Reads the object that `text` begins with. On an error, what came before it was read.
pub(super) fn read<'a>(text: &'a str, into: &mut impl Members<'a>) -> Read {
    Json::new(text).object(into)
}

/// Reads the object that `text` begins with, and gives what follows it.
pub(super) fn read_first<'a>(
    text: &'a str,
    into: &mut impl Members<'a>,
) -> Result<&'a str, Malformed> {
    let mut json = Json::new(text);
    json.object(into)?;
    Ok(&text[json.at..])
}

/// The string that `text` is, if it is one and nothing else.
pub(super) fn lone_text(text: &str) -> Option<Cow<'_, str>> {
    let mut json = Json::new(text);
    let value = json.value().ok()?;
    self::text(value).filter(|_| json.left() == 0)
}

/// The inside of the string whose first quote is just before `text`, and what follows it, its last quote first.
pub(super) fn inside(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut json = Json::new(text);
    let escapes = json.inside().ok()?;
    let (inner, rest) = text.split_at(json.at);
    Some((plain(inner, escapes), rest))
}

/// The elements of the array that `text` is; none where it is no array or breaks off.
pub(super) fn elements(text: &str) -> Vec<Raw<'_>> {
    let mut elements = Vec::new();
    match Json::new(text).each(|json| {
        elements.push(json.value()?);
        Ok(())
    }) {
        Ok(()) => elements,
        Err(Malformed) => Vec::new(),
    }
}

/// A value as it was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a> {
    written: &'a str,
    /// In it, if it is a string.
    escapes: Escapes,
}

impl<'a> Raw<'a> {
    /// Whether it is a string.
    pub(super) fn is_text(self) -> bool {
        self.written.starts_with('"')
    }

    /// Its JSON.
    pub(super) fn get(self) -> &'a str {
        self.written
    }
}

/// A string; lone surrogates become U+FFFD.
pub(super) fn text(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    let inner = raw.written.strip_prefix('"')?.strip_suffix('"')?;
    Some(plain(inner, raw.escapes))
}

/// A string as it was written, without its quotes, and what escapes it has.
pub(super) fn quoted(raw: Raw<'_>) -> Option<(&str, Escapes)> {
    let inner = raw.written.strip_prefix('"')?.strip_suffix('"')?;
    Some((inner, raw.escapes))
}

/// Any value but null, as it was written.
pub(super) fn written(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    (raw.written != "null").then_some(Cow::Borrowed(raw.written))
}

/// A value that says something: anything but null, false, zero, and texts, lists and objects with nothing in them.
pub(super) fn filled(raw: Raw<'_>) -> Option<Raw<'_>> {
    let written = raw.written;
    let is_empty = match written.as_bytes() {
        [b'{' | b'[' | b'"', inner @ .., b'}' | b']' | b'"'] => inner.trim_ascii().is_empty(),
        _ => matches!(written, "null" | "false") || number(raw) == Some(0.0),
    };
    (!is_empty).then_some(raw)
}

/// A string as its text, any other value but null as it was written.
pub(super) fn text_or_written(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    text(raw).or_else(|| written(raw))
}

/// A finite number.
pub(super) fn number(raw: Raw<'_>) -> Option<f64> {
    let number: f64 = raw.written.parse().ok()?;
    number.is_finite().then_some(number)
}

/// A whole number, also if it was written as `12.0`.
pub(super) fn whole(raw: Raw<'_>) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a whole number below 2^53 is exact in both"
    )]
    let from_float =
        |float: f64| (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64);
    let written = raw.written.parse().ok();
    written.or_else(|| number(raw).and_then(from_float))
}

/// A whole number that is not negative.
pub(super) fn count(raw: Raw<'_>) -> Option<u64> {
    whole(raw).and_then(|number| u64::try_from(number).ok())
}

/// True or false.
pub(super) fn flag(raw: Raw<'_>) -> Option<bool> {
    raw.written.parse().ok()
}

/// A JSON text, and how far it was read.
#[derive(Debug)]
pub(super) struct Json<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Json<'a> {
    fn new(text: &'a str) -> Self {
        Json { text, at: 0 }
    }

    /// Takes the next value into `slot`, if it is what `meaning` can use. A value of another type changes nothing.
    pub(super) fn take<T>(
        &mut self,
        slot: &mut Option<T>,
        meaning: impl FnOnce(Raw<'a>) -> Option<T>,
    ) -> Read {
        if let Some(value) = meaning(self.value()?) {
            *slot = Some(value);
        }
        Ok(())
    }

    /// Reads an object's members into a value; anything but an object is passed over.
    pub(super) fn object(&mut self, into: &mut impl Members<'a>) -> Read {
        if self.next()? != b'{' {
            return self.skip();
        }
        if !self.opens(b'}')? {
            return Ok(());
        }
        loop {
            let (name, escapes) = self.name()?;
            into.member(&plain(name, escapes), self)?;
            if !self.goes_on(b'}')? {
                return Ok(());
            }
        }
    }

    /// Reads an array, one value for each element, whatever it is, so that places keep their numbers; anything but an array is passed over.
    ///
    /// Elements that were there before are dropped: of a repeated key the last one counts.
    pub(super) fn array<T: Members<'a> + Default>(
        &mut self,
        into: &mut Vec<T>,
        broken: Broken,
    ) -> Read {
        if self.next()? == b'[' {
            into.clear();
        }
        self.each(|json| {
            let mut element = T::default();
            let read = json.object(&mut element);
            if read.is_ok() || broken == Broken::Kept {
                into.push(element);
            }
            read
        })
    }

    /// Reads an array as [`array`](Self::array) does, and an object that stands in place of one as its only element.
    pub(super) fn array_or_one<T: Members<'a> + Default>(&mut self, into: &mut Vec<T>) -> Read {
        if self.next()? != b'{' {
            return self.array(into, Broken::Kept);
        }
        into.clear();
        let mut only = T::default();
        let read = self.object(&mut only);
        into.push(only);
        read
    }

    /// Has `element` take each element of an array; anything but an array is passed over.
    fn each(&mut self, mut element: impl FnMut(&mut Self) -> Read) -> Read {
        if self.next()? != b'[' {
            return self.skip();
        }
        if !self.opens(b']')? {
            return Ok(());
        }
        loop {
            element(self)?;
            if !self.goes_on(b']')? {
                return Ok(());
            }
        }
    }

    /// The next value, whatever it is.
    pub(super) fn value(&mut self) -> Result<Raw<'a>, Malformed> {
        let first = self.next()?;
        let start = self.at;
        let escapes = if first == b'"' {
            self.string()?.1
        } else {
            self.skip()?;
            Escapes::None
        };
        Ok(Raw {
            written: &self.text[start..self.at],
            escapes,
        })
    }

    /// Passes over the next value.
    pub(super) fn skip(&mut self) -> Read {
        // What ends each of the values around, outermost first. Does not allocate for a value with nothing in it.
        let mut around: Vec<u8> = Vec::new();
        loop {
            match self.next()? {
                b'"' => _ = self.string()?,
                b'{' => {
                    if self.opens(b'}')? {
                        around.push(b'}');
                        self.name()?;
                        continue;
                    }
                }
                b'[' => {
                    if self.opens(b']')? {
                        around.push(b']');
                        continue;
                    }
                }
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                _ => self.digits()?,
            }
            loop {
                let Some(&end) = around.last() else {
                    return Ok(());
                };
                if self.goes_on(end)? {
                    if end == b'}' {
                        self.name()?;
                    }
                    break;
                }
                around.pop();
            }
        }
    }

    /// How many bytes are still to be read.
    pub(super) fn left(&self) -> usize {
        self.text.len() - self.at
    }

    /// Where in the whole the inside of the string is that was read last.
    pub(super) fn inside_of(&self, last: Raw<'a>) -> Range<usize> {
        self.at + 1 - last.written.len()..self.at - 1
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// The next byte that is no blank.
    fn next(&mut self) -> Result<u8, Malformed> {
        loop {
            match self.bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(&byte) => return Ok(byte),
                None => return Err(Malformed),
            }
        }
    }

    /// Passes over the beginning of an object or an array, and over its end where nothing is in it; whether something is.
    fn opens(&mut self, end: u8) -> Result<bool, Malformed> {
        self.at += 1;
        let is_empty = self.next()? == end;
        self.at += usize::from(is_empty);
        Ok(!is_empty)
    }

    /// Passes over the comma after a member or an element, or over the end; whether it was a comma.
    fn goes_on(&mut self, end: u8) -> Result<bool, Malformed> {
        let byte = self.next()?;
        if byte != b',' && byte != end {
            return Err(Malformed);
        }
        self.at += 1;
        Ok(byte == b',')
    }

    /// A member's name and the colon after it.
    fn name(&mut self) -> Result<(&'a str, Escapes), Malformed> {
        if self.next()? != b'"' {
            return Err(Malformed);
        }
        let name = self.string()?;
        if self.next()? != b':' {
            return Err(Malformed);
        }
        self.at += 1;
        Ok(name)
    }

    /// The inside of the string that begins here, and the escapes in it.
    fn string(&mut self) -> Result<(&'a str, Escapes), Malformed> {
        self.at += 1;
        let (start, escapes) = (self.at, self.inside()?);
        let inner = &self.text[start..self.at];
        self.at += 1;
        Ok((inner, escapes))
    }

    /// Goes on to the quote that ends the string around; what escapes there were before it.
    fn inside(&mut self) -> Result<Escapes, Malformed> {
        let rest = &self.bytes()[self.at..];
        let first = first_special(rest).ok_or(Malformed)?;
        let (length, escapes) = match rest[first] {
            b'"' => (first, Escapes::None),
            b'\\' => {
                let (length, escapes) = escaped(&rest[first..])?;
                (first + length, escapes)
            }
            _ => return Err(Malformed),
        };
        self.at += length;
        Ok(escapes)
    }

    fn word(&mut self, word: &str) -> Read {
        if !self.bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(Malformed);
        }
        self.at += word.len();
        Ok(())
    }

    /// A number.
    fn digits(&mut self) -> Read {
        let bytes = self.bytes();
        self.at += usize::from(bytes[self.at] == b'-');
        let leading_zero = bytes.get(self.at) == Some(&b'0');
        if self.run_of_digits()? > 1 && leading_zero {
            return Err(Malformed);
        }
        if bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.run_of_digits()?;
        }
        if let Some(b'e' | b'E') = bytes.get(self.at) {
            self.at += 1;
            self.at += usize::from(matches!(bytes.get(self.at), Some(b'+' | b'-')));
            self.run_of_digits()?;
        }
        Ok(())
    }

    /// At least one digit; how many there are.
    fn run_of_digits(&mut self) -> Result<usize, Malformed> {
        let rest = &self.bytes()[self.at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        if digits == 0 {
            return Err(Malformed);
        }
        Ok(digits)
    }
}

/// What becomes of an array's element that the text breaks off in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    Kept,
    Dropped,
}

#[cfg(test)]
mod tests;
