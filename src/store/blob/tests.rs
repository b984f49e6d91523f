//! A blob that is not what was written is found out.

use proptest::prelude::*;

use super::*;

/// Of so many bytes, none of which can be told from those before.
fn noise(bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(b' '..b'~'))
        .take(bytes)
        .collect()
}

#[test]
fn a_long_value_is_compressed_where_its_middle_shrinks() {
    let same = b"it repeats itself ".repeat(8_000);
    let noise = noise(same.len());
    for (value, coding) in [(&same, LZ4), (&noise, PLAIN)] {
        let written = Blob::of(value).written();
        assert_eq!(written[0], coding);
        assert_eq!(read(&written).unwrap().as_ref(), Some(value));
    }
}

proptest! {
    #[test]
    fn a_blob_reads_as_what_was_written(value in proptest::collection::vec(any::<u8>(), 0..9_000)) {
        prop_assert_eq!(read(&Blob::of(&value).written()), Ok(Some(value)));
    }

    #[test]
    fn a_flipped_bit_is_found(at in 0..600_usize, bit in 0..8_u32) {
        for value in [&b"short"[..], &b"it repeats itself ".repeat(500)] {
            let mut written = Blob::of(value).written();
            let at = at % written.len();
            written[at] ^= 1 << bit;
            prop_assert_ne!(read(&written), Ok(Some(value.to_vec())));
        }
    }

    #[test]
    fn junk_is_no_danger(junk in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = read(&junk);
    }
}
