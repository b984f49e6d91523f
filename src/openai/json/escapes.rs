//! The escapes of JSON strings: where they are, and what they mean.

use std::borrow::Cow;

use super::Malformed;
use crate::special::{Escaped, Marks, WIDE, first_special};

/// What kind of escapes a string has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::openai) enum Escapes {
    /// None: it says what is written.
    None,
    /// Only those of what cannot stand as it is, each of two bytes: `serde_json` would have written the same.
    Needed,
    /// Only those that every reader of JSON understands in the same way.
    Simple,
    /// Code units too, which may be half of a character.
    Units,
}

/// How long the rest of a string is that goes on with an escape, and what escapes are in it.
pub(super) fn escaped(rest: &[u8]) -> Result<(usize, Escapes), Malformed> {
    let (blocks, tail) = rest.as_chunks::<WIDE>();
    let mut last = [b' '; WIDE];
    last[..tail.len()].copy_from_slice(tail);
    let (mut runs, mut escapes) = (Escaped::default(), Escapes::Needed);
    for (place, block) in blocks.iter().chain([&last]).enumerate() {
        let marks = Marks::of(block);
        let literal = runs.of(marks.backslashes);
        let end = marks.quotes & !literal;
        let within = end.wrapping_sub(1) & !end;
        if marks.controls & within != 0 {
            return Err(Malformed);
        }
        // Quotes and line ends are nearly all that is escaped.
        let mut others = literal & within & !(marks.quotes | marks.ns);
        while others != 0 {
            let at = place * WIDE + others.trailing_zeros() as usize;
            match rest.get(at) {
                Some(b'\\' | b'b' | b'f' | b'r' | b't') => {}
                Some(b'/') => escapes = escapes.max(Escapes::Simple),
                Some(b'u') if unit(&rest[at + 1..]).is_some() => escapes = Escapes::Units,
                _ => return Err(Malformed),
            }
            others &= others - 1;
        }
        if end != 0 {
            return Ok((place * WIDE + end.trailing_zeros() as usize, escapes));
        }
    }
    Err(Malformed)
}

/// What escapes of one character mean, by that character: quotes, backslashes and slashes themselves. A table, for they come in no order
/// that a processor could foresee.
const MEANS: [u8; 256] = {
    let mut means = [0; 256];
    let known = *b"\"\"\\\\//b\x08f\x0cn\nr\rt\t";
    let (pairs, _) = known.as_chunks::<2>();
    let mut at = 0;
    while at < pairs.len() {
        means[pairs[at][0] as usize] = pairs[at][1];
        at += 1;
    }
    means
};

/// The inside of a string as its text.
#[inline]
pub(in crate::openai) fn plain(inner: &str, escapes: Escapes) -> Cow<'_, str> {
    // Nearly all strings are names and short texts without escapes.
    if escapes == Escapes::None {
        Cow::Borrowed(inner)
    } else {
        Cow::Owned(unescaped(inner))
    }
}

fn unescaped(inner: &str) -> String {
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    // Of what is special, only backslashes are within.
    while let Some(at) = first_special(rest.as_bytes()) {
        text.push_str(&rest[..at]);
        let (code, after) = rest.as_bytes()[at + 1..].split_at(1);
        rest = &rest[at + 2..];
        text.push(if code == b"u" {
            let (character, length) = unicode(after);
            rest = &rest[length..];
            character
        } else {
            char::from(MEANS[usize::from(code[0])])
        });
    }
    text.push_str(rest);
    text
}

/// The character of an escape after its `\u`, and how many bytes of it are there: two escapes are one character beyond U+FFFF.
fn unicode(after: &[u8]) -> (char, usize) {
    let first = unit(after).unwrap_or_default();
    let second = after
        .get(4..)
        .and_then(|rest| rest.strip_prefix(br"\u"))
        .and_then(unit);
    let mut pair = char::decode_utf16([first].into_iter().chain(second));
    match pair.next() {
        Some(Ok(character)) if character > '\u{FFFF}' => (character, 10),
        Some(Ok(character)) => (character, 4),
        _ => (char::REPLACEMENT_CHARACTER, 4),
    }
}

/// The UTF-16 unit that four hexadecimal digits are.
fn unit(digits: &[u8]) -> Option<u16> {
    let four = digits.get(..4)?;
    four.iter().try_fold(0, |unit, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(value).ok()?)
    })
}
