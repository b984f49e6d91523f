//! Every byte that JSON escapes is found at every place, and every escaped byte after backslashes.

use super::*;

#[test]
fn every_escapable_byte_is_found_at_every_place() {
    for byte in 0..=u8::MAX {
        let is_escapable = byte < b' ' || byte == b'"' || byte == b'\\';
        for length in 1..3 * BLOCK {
            for place in [0, length / 2, length - 1] {
                let mut bytes = b"ab\x7f\x80\xff!#]".repeat(BLOCK);
                bytes.truncate(length);
                bytes[place] = byte;
                assert_eq!(find_escapable(&bytes), is_escapable.then_some(place));
                // The first of several is found.
                bytes[length - 1] = b'"';
                let first = if is_escapable { place } else { length - 1 };
                assert_eq!(find_escapable(&bytes), Some(first));
            }
        }
    }
    assert_eq!(find_escapable(b""), None);
}

#[test]
fn all_escapable_bytes_are_emitted_in_order() {
    for length in 0..4 * BLOCK {
        let bytes: Vec<u8> = (0..length)
            .map(|_| *fastrand::choice(b"ab\"\\\n\0 \xff").unwrap())
            .collect();
        let is_escapable = |at: &usize| find_escapable(&bytes[*at..=*at]).is_some();
        let expected: Vec<_> = (0..length).filter(is_escapable).collect();
        let mut emitted = Vec::new();
        scan_escapable(&bytes, |at| emitted.push(at));
        assert_eq!(emitted, expected, "{bytes:?}");
    }
}

#[test]
fn every_byte_of_a_wide_block_is_marked_as_what_it_is() {
    for byte in 0..=u8::MAX {
        for place in 0..SCAN_BLOCK {
            let mut block = [b'x'; SCAN_BLOCK];
            block[place] = byte;
            let masks = ByteMasks::of(&block);
            let bit = |is| u64::from(is) << place;
            assert_eq!(masks.quotes, bit(byte == b'"'));
            assert_eq!(masks.backslashes, bit(byte == b'\\'));
            assert_eq!(masks.controls, bit(byte < b' '));
            assert_eq!(masks.ns, bit(byte == b'n'));
        }
    }
}

#[test]
fn the_byte_after_an_odd_run_of_backslashes_is_escaped() {
    for _ in 0..2000 {
        let bytes: Vec<u8> = (0..3 * SCAN_BLOCK)
            .map(|_| if fastrand::u8(..3) > 0 { b'\\' } else { b'x' })
            .collect();
        let mut runs = EscapeRuns::default();
        let mut before = false;
        for block in bytes.as_chunks::<SCAN_BLOCK>().0 {
            let found = runs.escaped(ByteMasks::of(block).backslashes);
            for (place, byte) in block.iter().enumerate() {
                assert_eq!(found >> place & 1 == 1, before, "{bytes:?}");
                before = !before && *byte == b'\\';
            }
        }
    }
}
