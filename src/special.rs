//! Bytes that a JSON string cannot have as they are. Readers of JSON look for them, and writers: several bytes at once, as nearly none is one.

/// So many bytes are looked at at once.
pub(crate) const WORD: usize = 8;

/// Whether a JSON string cannot have it as it is: quotes, backslashes, and control characters.
pub(crate) fn is_special(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

/// How many bytes come before the first special one.
pub(crate) fn plain_length(word: [u8; WORD]) -> usize {
    const fn each(byte: u8) -> u64 {
        u64::from_le_bytes([byte; WORD])
    }
    // Sets the highest bit of each byte below `end`, exact up to the first: from there a borrow may run on.
    let below = |word: u64, end: u8| word.wrapping_sub(each(end)) & !word;
    let word = u64::from_le_bytes(word);
    let control = below(word, b' ');
    let quote = below(word ^ each(b'"'), 1);
    let backslash = below(word ^ each(b'\\'), 1);
    let found = (control | quote | backslash) & each(0x80);
    found.trailing_zeros() as usize / 8
}

/// Where the first special byte is, when it is among the first few: most strings are names and words.
pub(crate) fn near(bytes: &[u8]) -> Option<usize> {
    let words = bytes.as_chunks().0.iter().take(2);
    words.enumerate().find_map(|(place, word)| {
        let plain = plain_length(*word);
        (plain < WORD).then_some(place * WORD + plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_special_byte_is_found_where_it_is() {
        for byte in 0..=u8::MAX {
            for place in 0..WORD {
                let mut word = *b"ab\x7f\x80\xff!#]";
                word[place] = byte;
                let first = word.iter().position(|byte| is_special(*byte));
                assert_eq!(plain_length(word), first.unwrap_or(WORD), "{word:?}");
                let twice = [*b"12345678", word].concat();
                assert_eq!(near(&twice), first.map(|first| WORD + first));
            }
        }
    }

    #[test]
    fn what_is_far_is_not_looked_for() {
        assert_eq!(near(b"0123456789abcdef\""), None);
        assert_eq!(near(b"0123\""), None);
    }
}
