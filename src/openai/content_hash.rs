//! Content hashes: how a long text is recognised that comes again with every call of a run, to each agent of a team.

use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZero;
use std::sync::LazyLock;

use highway::{HighwayBuildHasher, HighwayHash as _, Key};

/// Shortest text that has a content hash, in bytes as written.
const MIN_LENGTH: usize = 512;

/// HighwayHash under a key that each process draws at random: without the key, nobody can construct two texts with one hash.
pub(crate) static KEYED_HASH: LazyLock<HighwayBuildHasher> = LazyLock::new(|| {
    // The standard library draws its own key from the system, and its SipHash makes four words of that key.
    let random = RandomState::new();
    HighwayBuildHasher::new(Key([0, 1, 2, 3].map(|word: u64| random.hash_one(word))))
});

/// A keyed hash of a text as written, 128 bits long: texts with one content hash are the same. It means nothing to another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentHash {
    // Two words and not one, for a word of 128 bits would align everything around it to 16 bytes.
    high: NonZero<u64>,
    low: u64,
}

impl ContentHash {
    /// The hash of a text or of JSON as written; none where that is shorter than 512 bytes.
    pub fn of(written: &str) -> Option<Self> {
        (written.len() >= MIN_LENGTH).then(|| {
            let [low, high] = KEYED_HASH.build_hasher().hash128(written.as_bytes());
            let high = NonZero::new(high).unwrap_or(NonZero::<u64>::MIN);
            ContentHash { high, low }
        })
    }

    /// All of its bits.
    pub fn as_u128(self) -> u128 {
        u128::from(self.high.get()) << 64 | u128::from(self.low)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn equal_texts_alone_have_equal_hashes_in_both_words() {
        let text = "a".repeat(MIN_LENGTH);
        let hash = |text: &str| ContentHash::of(text).unwrap();
        assert_eq!(hash(&text), hash(&text.clone()));
        let (mut high, mut low) = (HashSet::new(), HashSet::new());
        for at in 0..text.len() {
            let mut other = text.clone();
            other.replace_range(at..=at, "b");
            let hash = hash(&other).as_u128();
            high.insert(hash >> 64);
            low.insert(hash & u128::from(u64::MAX));
        }
        assert_eq!((high.len(), low.len()), (text.len(), text.len()));
        assert_eq!(ContentHash::of(&text[1..]), None);
    }

    #[test]
    fn an_optional_hash_takes_no_more_memory_than_a_hash() {
        assert_eq!(size_of::<Option<ContentHash>>(), 16);
    }
}
