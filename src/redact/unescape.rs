//! Unescapes texts: JSON's escapes, percent-encoding and HTML's entities, also one within another.

use std::ops::Range;

/// How many times a text may be escaped: an error body in JSON that quotes a URL.
const MAX_DEPTH: usize = 2;

/// A text after none or some of its escapes are undone.
pub(super) struct UnescapedText {
    bytes: Vec<u8>,
    /// The offset of each byte in the original text, and at last the length of that text.
    offsets: Vec<usize>,
}

/// Reads an escape at the beginning of a text.
type Unescape = fn(&[u8]) -> Option<(char, usize)>;

/// `text` itself, and its readings with escapes undone.
pub(super) fn readings(text: &str) -> Vec<UnescapedText> {
    let mut readings = vec![UnescapedText::of(text)];
    let ways: [(u8, Unescape); 3] = [(b'\\', backslash), (b'%', percent), (b'&', entity)];
    let mut last = 0;
    for _ in 0..MAX_DEPTH {
        let next = readings.len();
        for at in last..next {
            for (mark, unescape) in ways {
                readings.extend(readings[at].unescaped(mark, unescape));
            }
        }
        last = next;
    }
    readings
}

/// The text of a part of a URL.
pub(super) fn percent_decoded(text: &str) -> String {
    let text = UnescapedText::of(text);
    let text = text.unescaped(b'%', percent).unwrap_or(text);
    String::from_utf8_lossy(&text.bytes).into_owned()
}

impl UnescapedText {
    fn of(text: &str) -> Self {
        UnescapedText {
            bytes: text.as_bytes().to_vec(),
            offsets: (0..=text.len()).collect(),
        }
    }

    /// Its bytes in lower case.
    pub(super) fn lower_case(&self) -> Vec<u8> {
        self.bytes.to_ascii_lowercase()
    }

    /// The range in the original text that a range of this one comes from.
    pub(super) fn original_range(&self, range: &Range<usize>) -> Range<usize> {
        self.offsets[range.start]..self.offsets[range.end]
    }

    /// Undoes one kind of escape; none where there is none of it.
    fn unescaped(&self, mark: u8, unescape: Unescape) -> Option<UnescapedText> {
        memchr::memchr(mark, &self.bytes)?;
        let mut unescaped = UnescapedText {
            bytes: Vec::with_capacity(self.bytes.len()),
            offsets: Vec::with_capacity(self.offsets.len()),
        };
        let mut at = 0;
        while let Some(rest) = self.bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let escaped = (rest[0] == mark).then(|| unescape(rest)).flatten();
            let length = if let Some((character, length)) = escaped {
                let mut buffer = [0; 4];
                // Percent-encoding escapes bytes, which may be parts of a character.
                let bytes = match u8::try_from(character) {
                    Ok(byte) if mark == b'%' => {
                        buffer[0] = byte;
                        &buffer[..1]
                    }
                    _ => character.encode_utf8(&mut buffer).as_bytes(),
                };
                unescaped.bytes.extend_from_slice(bytes);
                length
            } else {
                unescaped.bytes.push(rest[0]);
                1
            };
            unescaped
                .offsets
                .resize(unescaped.bytes.len(), self.offsets[at]);
            at += length;
        }
        unescaped.offsets.push(self.offsets[at]);
        (unescaped.bytes != self.bytes).then_some(unescaped)
    }
}

/// An escape at the beginning of `text`: its character and its length in bytes.
fn backslash(text: &[u8]) -> Option<(char, usize)> {
    let character = match text.get(1)? {
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'u' => return Some((char::from_u32(hex(text.get(2..6)?)?)?, 6)),
        b'x' => return Some((char::from_u32(hex(text.get(2..4)?)?)?, 4)),
        other if other.is_ascii_punctuation() => char::from(*other),
        _ => return None,
    };
    Some((character, 2))
}

fn percent(text: &[u8]) -> Option<(char, usize)> {
    Some((char::from_u32(hex(text.get(1..3)?)?)?, 3))
}

fn entity(text: &[u8]) -> Option<(char, usize)> {
    const MAX_LENGTH: usize = 10;
    let text = &text[..text.len().min(MAX_LENGTH)];
    let end = memchr::memchr(b';', text)?;
    let name = std::str::from_utf8(&text[1..end]).ok()?;
    let character = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let number = match number.strip_prefix(['x', 'X']) {
                Some(digits) => hex(digits.as_bytes())?,
                None => number.parse().ok()?,
            };
            char::from_u32(number)?
        }
    };
    Some((character, end + 1))
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits
        .iter()
        .try_fold(0_u32, |number, digit| {
            let digit = char::from(*digit).to_digit(16)?;
            number.checked_mul(16)?.checked_add(digit)
        })
        .filter(|_| !digits.is_empty())
}
