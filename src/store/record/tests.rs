//! A blob that is not what was written is found out.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn a_blob_reads_as_what_was_written(value in proptest::collection::vec(any::<u8>(), 0..9_000)) {
        prop_assert_eq!(read_blob(&blob(&value)), Ok(Some(value)));
    }

    #[test]
    fn a_flipped_bit_is_found(at in 0..600_usize, bit in 0..8_u32) {
        for value in [&b"short"[..], &b"it repeats itself ".repeat(500)] {
            let mut written = blob(value);
            let at = at % written.len();
            written[at] ^= 1 << bit;
            prop_assert_ne!(read_blob(&written), Ok(Some(value.to_vec())));
        }
    }

    #[test]
    fn junk_is_no_danger(junk in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = read_blob(&junk);
    }
}
