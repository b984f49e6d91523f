//! Bytes that a JSON string cannot have as they are. Readers of JSON look for them, and writers: many bytes at once, as few are such.

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

/// A bit for each byte, the first one the lowest.
fn marks(block: &[u8; BLOCK]) -> u32 {
    let lanes = block.as_chunks::<LANES>().0.iter();
    lanes.rev().fold(0, |later, lanes| {
        let bytes = u8x16::new(*lanes);
        let is = |byte| bytes.simd_eq(u8x16::splat(byte));
        let control = bytes.min(u8x16::splat(b' ' - 1)).simd_eq(bytes);
        later << LANES | (control | is(b'"') | is(b'\\')).to_bitmask()
    })
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
}
