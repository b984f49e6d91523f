//! Digests of long texts, made once. A history comes again with every call of its run, to each agent of a team. Most of the work would be to
//! decode, split and hash all of it anew.
//!
//! A text is recognised by its [`ContentHash`].

use std::borrow::Cow;
use std::mem;
use std::sync::OnceLock;

use super::message_text::MessageText;
use super::text_hash::{Hash, Map};
use crate::openai::ContentHash;

/// What grouping has to know of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextDigest {
    /// The hash of its words.
    pub(super) hash: Hash,
    /// Whether it is a `Handoff`'s message.
    pub(super) is_handoff: bool,
    /// An upper bound of the number of its lines.
    most_lines: usize,
}

impl TextDigest {
    pub(super) fn of(text: &MessageText<'_>) -> Self {
        TextDigest {
            hash: text.hash(),
            is_handoff: text.is_handoff(),
            most_lines: text.most_lines(),
        }
    }
}

/// A digest in the cache.
#[derive(Debug)]
struct CachedDigest {
    digest: TextDigest,
    /// The lines of [`MessageText::lines`], made when they are first wanted, which is seldom.
    lines: OnceLock<Vec<Hash>>,
}

impl CachedDigest {
    /// About how many bytes it takes at most, with its room in a table.
    fn size_estimate(&self) -> usize {
        // Twice the room: the table may have just grown.
        2 * size_of::<(ContentHash, Self)>() + 32 + self.digest.most_lines * size_of::<Hash>()
    }
}

/// The digests of recent texts. Each generation may fill half of the memory; the older one is dropped when the recent one is full.
#[derive(Debug)]
pub(super) struct DigestCache {
    recent: DigestGeneration,
    before: DigestGeneration,
    max_memory: usize,
}

#[derive(Debug, Default)]
struct DigestGeneration {
    digests: Map<ContentHash, CachedDigest>,
    size: usize,
}

impl DigestCache {
    pub(super) fn new(max_memory: usize) -> Self {
        DigestCache {
            recent: DigestGeneration::default(),
            before: DigestGeneration::default(),
            max_memory,
        }
    }

    /// The digest of the text with this hash, made by `make` if it is not cached.
    pub(super) fn of(
        &mut self,
        mark: ContentHash,
        make: impl FnOnce() -> Option<TextDigest>,
    ) -> Option<TextDigest> {
        if let Some(cached) = self.recent.digests.get(&mark) {
            return Some(cached.digest);
        }
        let cached = match self.before.take(mark) {
            Some(cached) => cached,
            None => CachedDigest {
                digest: make()?,
                lines: OnceLock::new(),
            },
        };
        let (digest, size) = (cached.digest, cached.size_estimate());
        // A digest this large would evict too many others.
        if size > self.max_memory / 8 {
            return Some(digest);
        }
        if self.recent.size + size > self.max_memory / 2 {
            self.before = mem::take(&mut self.recent);
        }
        self.recent.size += size;
        self.recent.digests.insert(mark, cached);
        Some(digest)
    }

    /// The lines of `text`, cached if its digest is.
    pub(super) fn lines(
        &self,
        mark: Option<ContentHash>,
        text: &MessageText<'_>,
    ) -> Cow<'_, [Hash]> {
        let cached = mark.and_then(|mark| {
            let recent = self.recent.digests.get(&mark);
            recent.or_else(|| self.before.digests.get(&mark))
        });
        match cached {
            Some(CachedDigest { digest, lines }) => {
                Cow::Borrowed(lines.get_or_init(|| text.lines(digest.most_lines)))
            }
            None => Cow::Owned(text.lines(0)),
        }
    }

    /// About how many bytes all of them take.
    pub(super) fn size_estimate(&self) -> usize {
        self.recent.size + self.before.size
    }
}

impl DigestGeneration {
    /// Takes one out. Its room in the table stays until the generation is dropped.
    fn take(&mut self, mark: ContentHash) -> Option<CachedDigest> {
        let cached = self.digests.remove(&mark)?;
        self.size -= cached.size_estimate();
        Some(cached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Short texts have none.
    fn mark(written: &str) -> ContentHash {
        ContentHash::of(&format!("{written:>1000}")).unwrap()
    }

    fn plain(text: &str) -> MessageText<'_> {
        MessageText::Plain(text.into())
    }

    fn digests_of(digests: &mut DigestCache, written: &str) -> (Hash, bool) {
        let mut made = false;
        let digest = digests.of(mark(written), || {
            made = true;
            Some(TextDigest::of(&plain(written)))
        });
        (digest.unwrap().hash, made)
    }

    #[test]
    fn a_text_is_read_once_as_long_as_it_comes_again() {
        let mut digests = DigestCache::new(2000);
        let (first, made) = digests_of(&mut digests, "a\nb");
        assert!(made);
        for other in 0..100 {
            let (again, made) = digests_of(&mut digests, "a\nb");
            assert_eq!((again, made), (first, false));
            assert!(digests_of(&mut digests, &format!("other {other}")).1);
            assert!(digests.size_estimate() <= 2000);
        }
        let (_, made) = digests_of(&mut digests, "other 0");
        assert!(made);
    }

    #[test]
    fn one_that_takes_much_of_the_room_is_not_remembered() {
        let mut digests = DigestCache::new(2000);
        let lines = "line\n".repeat(100);
        for _ in 0..2 {
            assert!(digests_of(&mut digests, &lines).1);
            assert_eq!(digests.size_estimate(), 0);
        }
    }

    #[test]
    fn what_none_is_made_of_is_asked_for_again() {
        let mut digests = DigestCache::new(2000);
        assert!(digests.of(mark("a"), || None).is_none());
        assert!(digests_of(&mut digests, "a").1);
    }

    #[test]
    fn lines_are_remembered_with_the_digest_and_are_the_same_without() {
        let mut digests = DigestCache::new(2000);
        let text = "a\nwriter: b";
        let (plain, other) = (plain(text), plain("c\nd"));
        let lines = plain.lines(0);
        digests_of(&mut digests, text);
        assert_eq!(*digests.lines(Some(mark(text)), &plain), lines);
        // Whoever asks for them again need not have the text.
        let cached = |digests: &DigestCache| *digests.lines(Some(mark(text)), &other) == *lines;
        let mut turn = 0;
        while digests.recent.digests.contains_key(&mark(text)) {
            assert!(cached(&digests));
            turn += 1;
            digests_of(&mut digests, &format!("other {turn}"));
        }
        assert!(cached(&digests), "in the generation before");
        digests_of(&mut digests, text);
        assert!(digests.recent.digests.contains_key(&mark(text)));
        assert!(cached(&digests), "moved to the next");
        assert_eq!(*digests.lines(Some(mark("forgotten")), &plain), lines);
        assert_eq!(*digests.lines(None, &plain), lines);
    }
}
