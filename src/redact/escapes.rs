//! Texts that were escaped on their way, read as what they were before: JSON's escapes, percent-encoding, HTML's entities, one within another.

use std::ops::Range;

/// So often can a text have been escaped: an error body in JSON that quotes a URL.
const DEPTH: usize = 2;

/// A text, or what it reads as.
pub(super) struct Layer {
    bytes: Vec<u8>,
    /// Where in the original each byte comes from, and where that ends.
    places: Vec<usize>,
}

type Unescape = fn(&[u8]) -> Option<(char, usize)>;

/// `text` itself, and all that it reads as.
pub(super) fn layers(text: &str) -> Vec<Layer> {
    let mut layers = vec![Layer::of(text)];
    let ways: [(u8, Unescape); 3] = [(b'\\', backslash), (b'%', percent), (b'&', entity)];
    let mut last = 0;
    for _ in 0..DEPTH {
        let next = layers.len();
        for at in last..next {
            for (mark, unescape) in ways {
                layers.extend(layers[at].unescaped(mark, unescape));
            }
        }
        last = next;
    }
    layers
}

/// What a part of a URL reads as.
pub(super) fn percent_decoded(text: &str) -> String {
    let layer = Layer::of(text);
    let layer = layer.unescaped(b'%', percent).unwrap_or(layer);
    String::from_utf8_lossy(&layer.bytes).into_owned()
}

impl Layer {
    fn of(text: &str) -> Self {
        Layer {
            bytes: text.as_bytes().to_vec(),
            places: (0..=text.len()).collect(),
        }
    }

    /// Its bytes, for a search without regard to case.
    pub(super) fn lower_case(&self) -> Vec<u8> {
        self.bytes.to_ascii_lowercase()
    }

    /// Where in the original this part of it stands.
    pub(super) fn place(&self, part: &Range<usize>) -> Range<usize> {
        self.places[part.start]..self.places[part.end]
    }

    /// None where nothing is escaped this way.
    fn unescaped(&self, mark: u8, unescape: Unescape) -> Option<Layer> {
        memchr::memchr(mark, &self.bytes)?;
        let mut layer = Layer {
            bytes: Vec::with_capacity(self.bytes.len()),
            places: Vec::with_capacity(self.places.len()),
        };
        let mut at = 0;
        while let Some(rest) = self.bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let escaped = (rest[0] == mark).then(|| unescape(rest)).flatten();
            let length = if let Some((character, length)) = escaped {
                let mut buffer = [0; 4];
                // Percent-encoding has bytes, which may be parts of a character.
                let bytes = match u8::try_from(character) {
                    Ok(byte) if mark == b'%' => {
                        buffer[0] = byte;
                        &buffer[..1]
                    }
                    _ => character.encode_utf8(&mut buffer).as_bytes(),
                };
                layer.bytes.extend_from_slice(bytes);
                length
            } else {
                layer.bytes.push(rest[0]);
                1
            };
            layer.places.resize(layer.bytes.len(), self.places[at]);
            at += length;
        }
        layer.places.push(self.places[at]);
        (layer.bytes != self.bytes).then_some(layer)
    }
}

/// Each gives the character that stands at the beginning of `text`, and how many bytes it takes there.
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
    const LONGEST: usize = 10;
    let text = &text[..text.len().min(LONGEST)];
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
