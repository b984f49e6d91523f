//! A value that may be long, as it is written: in a row of the database, or beside it.
//!
//! ```text
//!  byte 0      how it is written: 0 as it is, 1 lz4 (length first, as `lz4_flex` has it), 2 gone to make room, 3 as an outline, whose texts
//!              stand beside it (`values` fills them in)
//!  bytes 1-4   CRC-32 of the rest, little-endian: a byte that flips within a value is seen by nobody else
//!  the rest    the value
//! ```
//!
//! A value is a text as it came, or facts: MessagePack with the names of the fields.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Shorter values are written as they are: the codec would cost more than it saves. Of a long value's texts it is asked once for all.
const WORTH_COMPRESSING: usize = 4096;
/// Of a value longer than this, a sample tells whether compressing pays: prose costs more time than it saves in writing.
const WORTH_A_SAMPLE: usize = 8 << 10;
const SAMPLE: usize = 4 << 10;
/// Bytes before the value.
pub(super) const HEAD: usize = 5;
const PLAIN: u8 = 0;
const LZ4: u8 = 1;
const GONE: u8 = 2;
const OUTLINE: u8 = 3;

/// What does not read as what it should be: its bytes changed on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blob<'a> {
    coding: u8,
    rest: Cow<'a, [u8]>,
}

impl<'a> Blob<'a> {
    pub(super) fn of(value: impl Into<Cow<'a, [u8]>>) -> Self {
        let value = value.into();
        if value.len() >= WORTH_COMPRESSING && promises_to_shrink(&value) {
            Self::shrunk(value)
        } else {
            Self::plain(value)
        }
    }

    /// As it is.
    pub(super) fn plain(value: impl Into<Cow<'a, [u8]>>) -> Self {
        Blob {
            coding: PLAIN,
            rest: value.into(),
        }
    }

    /// Compressed, if it is shorter so.
    pub(super) fn shrunk(value: impl Into<Cow<'a, [u8]>>) -> Self {
        let value = value.into();
        match compressed(&value) {
            Some(rest) => Blob {
                coding: LZ4,
                rest: rest.into(),
            },
            None => Self::plain(value),
        }
    }

    /// In the place of a value whose texts stand beside it.
    pub(super) fn outline(outline: Vec<u8>) -> Self {
        Blob {
            coding: OUTLINE,
            rest: outline.into(),
        }
    }

    /// Facts, with their names.
    pub(super) fn facts(facts: &impl Serialize) -> Self {
        let mut written = Vec::with_capacity(2048);
        if rmp_serde::encode::write_named(&mut written, facts).is_err() {
            written.clear();
        }
        Self::of(written)
    }

    /// In the place of one that had to go.
    pub(super) fn gone() -> Self {
        Blob {
            coding: GONE,
            rest: Cow::Borrowed(&[]),
        }
    }

    /// How many bytes it is written with.
    pub(super) fn length(&self) -> usize {
        HEAD + self.rest.len()
    }

    /// What stands before the value.
    pub(super) fn head(&self) -> [u8; HEAD] {
        let [a, b, c, d] = crc32fast::hash(&self.rest).to_le_bytes();
        [self.coding, a, b, c, d]
    }

    /// The value as it is written.
    pub(super) fn rest(&self) -> &[u8] {
        &self.rest
    }

    /// All of it.
    pub(super) fn written(&self) -> Vec<u8> {
        [&self.head(), self.rest()].concat()
    }
}

/// The value in a shorter form.
fn compressed(value: &[u8]) -> Option<Vec<u8>> {
    const LENGTH: usize = size_of::<u32>();
    let length = u32::try_from(value.len()).ok()?;
    let most = lz4_flex::block::get_maximum_output_size(value.len());
    let mut written = vec![0; LENGTH + most];
    let (head, rest) = written.split_at_mut(LENGTH);
    head.copy_from_slice(&length.to_le_bytes());
    let used = lz4_flex::block::compress_into(value, rest).ok()?;
    written.truncate(LENGTH + used);
    (written.len() < value.len()).then_some(written)
}

/// Whether a third of the value is likely to be saved, by its middle, where it is long.
pub(super) fn promises_to_shrink(value: &[u8]) -> bool {
    if value.len() <= WORTH_A_SAMPLE {
        return true;
    }
    let sample = &value[(value.len() - SAMPLE) / 2..][..SAMPLE];
    lz4_flex::block::compress(sample).len() <= SAMPLE / 3 * 2
}

/// How a value is written, and its bytes as they were written.
fn checked(written: &[u8]) -> Result<(u8, &[u8]), Unreadable> {
    let (&[coding, a, b, c, d], rest) = written.split_first_chunk::<HEAD>().ok_or(Unreadable)?;
    if crc32fast::hash(rest) != u32::from_le_bytes([a, b, c, d]) {
        return Err(Unreadable);
    }
    Ok((coding, rest))
}

/// The outline that stands in the place of the value, if one does.
pub(super) fn read_outline(written: &[u8]) -> Option<&[u8]> {
    // Most are none: there is no need to look at all of it.
    if written.first() != Some(&OUTLINE) {
        return None;
    }
    checked(written).ok().map(|(_, outline)| outline)
}

/// Reads a value; none when it went to make room.
pub(super) fn read(written: &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
    let (coding, rest) = checked(written)?;
    match coding {
        PLAIN => Ok(Some(rest.to_vec())),
        LZ4 => lz4_flex::block::decompress_size_prepended(rest)
            .map(Some)
            .map_err(|_| Unreadable),
        GONE => Ok(None),
        _ => Err(Unreadable),
    }
}

/// Reads facts. Older layouts have them as JSON, of which each begins like none in MessagePack.
pub(super) fn read_facts<T: DeserializeOwned>(written: &[u8]) -> Result<T, Unreadable> {
    let facts = read(written)?.ok_or(Unreadable)?;
    if facts.first() == Some(&b'{') {
        serde_json::from_slice(&facts).map_err(|_| Unreadable)
    } else {
        rmp_serde::from_slice(&facts).map_err(|_| Unreadable)
    }
}

#[cfg(test)]
mod tests;
