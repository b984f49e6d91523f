//! The escapes of JSON strings: finds them, and replaces them by their characters.

use std::borrow::Cow;

use crate::json_escape::{ByteMasks, EscapeRuns, SCAN_BLOCK, find_escapable};

/// The kinds of escapes in a string, each kind including those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Escapes {
    None,
    /// Two bytes each, and only where JSON needs an escape: `serde_json` writes the same.
    Needed,
    /// `\/`, too, which every reader of JSON understands.
    Simple,
    /// UTF-16 units (`\u00e9`), too, which may be lone surrogates.
    Units,
}

/// Scans the rest of a string from its first escape to its last quote. Returns the length of the rest and the kind of its escapes, and nothing
/// where the string is malformed.
pub(super) fn scan_string(rest: &[u8]) -> Option<(usize, Escapes)> {
    let (blocks, tail) = rest.as_chunks::<SCAN_BLOCK>();
    let mut last = [b' '; SCAN_BLOCK];
    last[..tail.len()].copy_from_slice(tail);
    let (mut runs, mut escapes) = (EscapeRuns::default(), Escapes::Needed);
    for (place, block) in blocks.iter().chain([&last]).enumerate() {
        let masks = ByteMasks::of(block);
        let after_backslash = runs.escaped(masks.backslashes);
        let end = masks.quotes & !after_backslash;
        let within = end.wrapping_sub(1) & !end;
        if masks.controls & within != 0 {
            return None;
        }
        // Nearly all escapes are quotes and line ends.
        let mut others = after_backslash & within & !(masks.quotes | masks.ns);
        while others != 0 {
            let at = place * SCAN_BLOCK + others.trailing_zeros() as usize;
            match rest.get(at) {
                Some(b'\\' | b'b' | b'f' | b'r' | b't') => {}
                Some(b'/') => escapes = escapes.max(Escapes::Simple),
                Some(b'u') if unit(&rest[at + 1..]).is_some() => escapes = Escapes::Units,
                _ => return None,
            }
            others &= others - 1;
        }
        if end != 0 {
            return Some((place * SCAN_BLOCK + end.trailing_zeros() as usize, escapes));
        }
    }
    None
}

/// The character that an escape of two bytes stands for, by its second byte. A table has no branches for a processor to mispredict.
const CHARACTERS: [u8; 256] = {
    let mut characters = [0; 256];
    let known = *b"\"\"\\\\//b\x08f\x0cn\nr\rt\t";
    let (pairs, _) = known.as_chunks::<2>();
    let mut at = 0;
    while at < pairs.len() {
        characters[pairs[at][0] as usize] = pairs[at][1];
        at += 1;
    }
    characters
};

/// The text of a string whose `inner` part has escapes of this kind.
#[inline]
pub(crate) fn unescape(inner: &str, escapes: Escapes) -> Cow<'_, str> {
    // Nearly all strings are names and short texts without escapes.
    if escapes == Escapes::None {
        Cow::Borrowed(inner)
    } else {
        Cow::Owned(replace_escapes(inner))
    }
}

fn replace_escapes(inner: &str) -> String {
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    // The inside of a string has no quotes and control characters, only backslashes.
    while let Some(at) = find_escapable(rest.as_bytes()) {
        text.push_str(&rest[..at]);
        let (code, after) = rest.as_bytes()[at + 1..].split_at(1);
        rest = &rest[at + 2..];
        text.push(if code == b"u" {
            let (character, length) = unicode_escape(after);
            rest = &rest[length..];
            character
        } else {
            char::from(CHARACTERS[usize::from(code[0])])
        });
    }
    text.push_str(rest);
    text
}

/// The character of an escape, and the length of the escape after its `\u`. A character beyond U+FFFF is a pair of escapes.
fn unicode_escape(after: &[u8]) -> (char, usize) {
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

/// The UTF-16 unit of four hexadecimal digits.
fn unit(digits: &[u8]) -> Option<u16> {
    let four = digits.get(..4)?;
    four.iter().try_fold(0, |unit, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(value).ok()?)
    })
}
