//! Bytes that a JSON string cannot have as they are. Readers of JSON look for them, and writers: many bytes at once, as few are such. Where
//! many are, all that is asked of a block is answered without a branch: nobody could foresee which way it goes.

use wide::u8x16;

const LANES: usize = 16;
/// So many bytes are looked at together.
const BLOCK: usize = 2 * LANES;

/// Where the first quote, backslash or control character is.
pub(crate) fn first_special(bytes: &[u8]) -> Option<usize> {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    for (place, block) in blocks.iter().enumerate() {
        let marks = marks(block);
        if marks != 0 {
            return Some(place * BLOCK + marks.trailing_zeros() as usize);
        }
    }
    let mut block = [b' '; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    let marks = marks(&block);
    (marks != 0).then(|| bytes.len() - rest.len() + marks.trailing_zeros() as usize)
}

/// Gives where each of them is, first to last.
#[inline]
pub(crate) fn each_special(bytes: &[u8], mut give: impl FnMut(usize)) {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let mut give_all = |start: usize, mut marks: u32| {
        while marks != 0 {
            give(start + marks.trailing_zeros() as usize);
            marks &= marks - 1;
        }
    };
    for (place, block) in blocks.iter().enumerate() {
        give_all(place * BLOCK, marks(block));
    }
    let mut last = [b' '; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    give_all(bytes.len() - rest.len(), marks(&last));
}

/// A bit for each byte, the first one the lowest.
#[inline]
fn marks(block: &[u8; BLOCK]) -> u32 {
    let lanes = block.as_chunks::<LANES>().0.iter();
    lanes.rev().fold(0, |later, lanes| {
        let bytes = u8x16::new(*lanes);
        let is = |byte| bytes.simd_eq(u8x16::splat(byte));
        let control = bytes.min(u8x16::splat(b' ' - 1)).simd_eq(bytes);
        later << LANES | (control | is(b'"') | is(b'\\')).to_bitmask()
    })
}

/// So many bytes are looked at together where escapes are.
pub(crate) const WIDE: usize = 4 * LANES;

/// What is special in a wide block: a bit for each byte, the first one the lowest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks {
    pub(crate) quotes: u64,
    pub(crate) backslashes: u64,
    pub(crate) controls: u64,
    /// The letter n: of nearly all escapes the second byte, where no quote is.
    pub(crate) ns: u64,
}

impl Marks {
    pub(crate) fn of(block: &[u8; WIDE]) -> Self {
        let (lanes, _) = block.as_chunks::<LANES>();
        let lanes: [u8x16; WIDE / LANES] = std::array::from_fn(|at| u8x16::new(lanes[at]));
        let is = |byte| bits(lanes.map(|bytes| bytes.simd_eq(u8x16::splat(byte))));
        Marks {
            quotes: is(b'"'),
            backslashes: is(b'\\'),
            controls: bits(lanes.map(|bytes| bytes.min(u8x16::splat(b' ' - 1)).simd_eq(bytes))),
            ns: is(b'n'),
        }
    }
}

fn bits(lanes: [u8x16; WIDE / LANES]) -> u64 {
    lanes.iter().rev().fold(0, |later, lanes| {
        later << LANES | u64::from(lanes.to_bitmask())
    })
}

/// Which bytes are escaped, of blocks that follow each other in a string.
#[derive(Debug, Default)]
pub(crate) struct Escaped {
    /// The first byte of the next block is.
    next: bool,
}

impl Escaped {
    /// A bit for each byte of the next block that a backslash stands before which is not escaped itself. Without branches: whether a run of
    /// backslashes is even or odd is seen by adding up (Langdale and Lemire, *Parsing gigabytes of JSON per second*, 2019, section 3.1.1).
    pub(crate) fn of(&mut self, backslashes: u64) -> u64 {
        const EVEN: u64 = 0x5555_5555_5555_5555;
        let next = u64::from(self.next);
        let backslashes = backslashes & !next;
        let follows = backslashes << 1 | next;
        let starts_on_odd = backslashes & !EVEN & !follows;
        let (ends, carry) = starts_on_odd.overflowing_add(backslashes);
        self.next = carry;
        (EVEN ^ ends << 1) & follows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_byte_is_found_at_every_place() {
        for byte in 0..=u8::MAX {
            let special = byte < b' ' || byte == b'"' || byte == b'\\';
            for length in 1..3 * BLOCK {
                for place in [0, length / 2, length - 1] {
                    let mut bytes = b"ab\x7f\x80\xff!#]".repeat(BLOCK);
                    bytes.truncate(length);
                    bytes[place] = byte;
                    assert_eq!(first_special(&bytes), special.then_some(place));
                    // The first of several.
                    bytes[length - 1] = b'"';
                    let first = if special { place } else { length - 1 };
                    assert_eq!(first_special(&bytes), Some(first));
                }
            }
        }
        assert_eq!(first_special(b""), None);
    }

    #[test]
    fn all_special_bytes_are_given_in_their_order() {
        for length in 0..4 * BLOCK {
            let bytes: Vec<u8> = (0..length)
                .map(|_| *fastrand::choice(b"ab\"\\\n\0 \xff").unwrap())
                .collect();
            let special = |at: &usize| first_special(&bytes[*at..=*at]).is_some();
            let expected: Vec<_> = (0..length).filter(special).collect();
            let mut given = Vec::new();
            each_special(&bytes, |at| given.push(at));
            assert_eq!(given, expected, "{bytes:?}");
        }
    }

    #[test]
    fn every_byte_of_a_wide_block_is_marked_as_what_it_is() {
        for byte in 0..=u8::MAX {
            for place in 0..WIDE {
                let mut block = [b'x'; WIDE];
                block[place] = byte;
                let marks = Marks::of(&block);
                let bit = |is| u64::from(is) << place;
                assert_eq!(marks.quotes, bit(byte == b'"'));
                assert_eq!(marks.backslashes, bit(byte == b'\\'));
                assert_eq!(marks.controls, bit(byte < b' '));
                assert_eq!(marks.ns, bit(byte == b'n'));
            }
        }
    }

    #[test]
    fn what_follows_an_odd_run_of_backslashes_is_escaped() {
        for _ in 0..2000 {
            let bytes: Vec<u8> = (0..3 * WIDE)
                .map(|_| if fastrand::u8(..3) > 0 { b'\\' } else { b'x' })
                .collect();
            let mut escaped = Escaped::default();
            let mut before = false;
            for block in bytes.as_chunks::<WIDE>().0 {
                let found = escaped.of(Marks::of(block).backslashes);
                for (place, byte) in block.iter().enumerate() {
                    assert_eq!(found >> place & 1 == 1, before, "{bytes:?}");
                    before = !before && *byte == b'\\';
                }
            }
        }
    }
}
