//! Finds the bytes that JSON escapes in strings: quotes, backslashes and control characters. Readers and writers of JSON both scan for them.
//!
//! The scan compares many bytes at once, because nearly all bytes are others. [`ByteMasks`] serves text with many escapes: it has no
//! branches, which a processor would mispredict there.

use wide::u8x16;

const LANES: usize = 16;
/// Bytes of one comparison.
const BLOCK: usize = 2 * LANES;

/// The place of the first quote, backslash or control character.
pub(crate) fn find_escapable(bytes: &[u8]) -> Option<usize> {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    for (place, block) in blocks.iter().enumerate() {
        let mask = escapable(block);
        if mask != 0 {
            return Some(place * BLOCK + mask.trailing_zeros() as usize);
        }
    }
    let mut block = [b' '; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    let mask = escapable(&block);
    (mask != 0).then(|| bytes.len() - rest.len() + mask.trailing_zeros() as usize)
}

/// Emits the places of all quotes, backslashes and control characters in order.
#[inline]
pub(crate) fn scan_escapable(bytes: &[u8], mut emit: impl FnMut(usize)) {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let mut emit_all = |start: usize, mut mask: u32| {
        while mask != 0 {
            emit(start + mask.trailing_zeros() as usize);
            mask &= mask - 1;
        }
    };
    for (place, block) in blocks.iter().enumerate() {
        emit_all(place * BLOCK, escapable(block));
    }
    let mut last = [b' '; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    emit_all(bytes.len() - rest.len(), escapable(&last));
}

/// A bit for each byte of a block, the lowest for the first byte.
#[inline]
fn escapable(block: &[u8; BLOCK]) -> u32 {
    let lanes = block.as_chunks::<LANES>().0.iter();
    lanes.rev().fold(0, |later, lanes| {
        let bytes = u8x16::new(*lanes);
        let is = |byte| bytes.simd_eq(u8x16::splat(byte));
        let control = bytes.min(u8x16::splat(b' ' - 1)).simd_eq(bytes);
        later << LANES | (control | is(b'"') | is(b'\\')).to_bitmask()
    })
}

/// Bytes of a block of [`ByteMasks`].
pub(crate) const SCAN_BLOCK: usize = 4 * LANES;

/// The bytes that matter in a string with escapes: in each mask a bit for each byte, the lowest for the first byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByteMasks {
    pub(crate) quotes: u64,
    pub(crate) backslashes: u64,
    pub(crate) controls: u64,
    /// The letter n: the second byte of nearly all escapes but those of quotes.
    pub(crate) ns: u64,
}

impl ByteMasks {
    pub(crate) fn of(block: &[u8; SCAN_BLOCK]) -> Self {
        let (lanes, _) = block.as_chunks::<LANES>();
        let lanes: [u8x16; SCAN_BLOCK / LANES] = std::array::from_fn(|at| u8x16::new(lanes[at]));
        let is = |byte| bits(lanes.map(|bytes| bytes.simd_eq(u8x16::splat(byte))));
        ByteMasks {
            quotes: is(b'"'),
            backslashes: is(b'\\'),
            controls: bits(lanes.map(|bytes| bytes.min(u8x16::splat(b' ' - 1)).simd_eq(bytes))),
            ns: is(b'n'),
        }
    }
}

fn bits(lanes: [u8x16; SCAN_BLOCK / LANES]) -> u64 {
    lanes.iter().rev().fold(0, |later, lanes| {
        later << LANES | u64::from(lanes.to_bitmask())
    })
}

/// Finds the escaped bytes in the consecutive blocks of a string.
#[derive(Debug, Default)]
pub(crate) struct EscapeRuns {
    /// Whether the first byte of the next block is escaped.
    carry: bool,
}

impl EscapeRuns {
    /// A bit for each byte of the next block that follows an unescaped backslash. An addition shows whether a run of backslashes is odd
    /// (Langdale and Lemire, *Parsing gigabytes of JSON per second*, 2019, section 3.1.1).
    pub(crate) fn escaped(&mut self, backslashes: u64) -> u64 {
        const EVEN: u64 = 0x5555_5555_5555_5555;
        let next = u64::from(self.carry);
        let backslashes = backslashes & !next;
        let follows = backslashes << 1 | next;
        let starts_on_odd = backslashes & !EVEN & !follows;
        let (ends, carry) = starts_on_odd.overflowing_add(backslashes);
        self.carry = carry;
        (EVEN ^ ends << 1) & follows
    }
}

#[cfg(test)]
mod tests;
