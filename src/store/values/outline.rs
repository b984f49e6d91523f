//! A value whose long texts are written beside it: each text once in a segment, however many values of the segment have it. A history comes
//! again with every call of its run, and would be most of what is written.
//!
//! ```text
//!  before each text, and after the last one   how many bytes there are (u32), these bytes
//!  in the place of each text                  its offset in the segment (u32)
//! ```
//!
//! Numbers are little-endian. A text is written like a value, but belongs to no row, and has no outline itself.

/// What a value consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Bytes(&'a [u8]),
    /// The text at this offset.
    Text(u32),
}

/// An outline that is written.
#[derive(Debug, Default)]
pub(super) struct Outline(Vec<u8>);

impl Outline {
    /// Goes on with bytes and the text behind them.
    pub(super) fn text(&mut self, before: &[u8], offset: u32) {
        self.bytes(before);
        self.0.extend_from_slice(&offset.to_le_bytes());
    }

    /// Ends with bytes.
    pub(super) fn end(mut self, rest: &[u8]) -> Vec<u8> {
        self.bytes(rest);
        self.0
    }

    fn bytes(&mut self, bytes: &[u8]) {
        // A value that is longer cannot be written at all.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(bytes);
    }
}

/// Reads an outline. Of one that is not whole, what comes before the damage.
pub(super) fn parts(outline: &[u8]) -> impl Iterator<Item = Part<'_>> {
    let mut rest = outline;
    let mut text_is_next = false;
    std::iter::from_fn(move || {
        let (number, after) = rest.split_first_chunk()?;
        let number = u32::from_le_bytes(*number);
        let part = if text_is_next {
            rest = after;
            Part::Text(number)
        } else {
            let (bytes, after) = after.split_at_checked(number as usize)?;
            rest = after;
            Part::Bytes(bytes)
        };
        text_is_next = !text_is_next;
        Some(part)
    })
}
