//! What grouping wants to know of a long text, worked out once. A history comes again with every call of its run, to each agent of a team;
//! reply, taking apart and hashing all of it anew would be most of the work there is.
//!
//! Texts are known again by their [`ContentHash`].

use std::borrow::Cow;
use std::mem;
use std::sync::OnceLock;

use super::hash::{Hash, Map};
use super::said::Said;
use crate::openai::ContentHash;

/// What a text is to grouping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digest {
    /// Of what it says.
    pub(super) hash: Hash,
    /// Whether a `Handoff` tells of itself so.
    pub(super) tells_of_handoff: bool,
    /// No fewer than it has.
    most_lines: usize,
}

impl Digest {
    pub(super) fn of(said: &Said<'_>) -> Self {
        Digest {
            hash: said.hash(),
            tells_of_handoff: said.tells_of_handoff(),
            most_lines: said.most_lines(),
        }
    }
}

/// A digest that is remembered, in the table itself: of most texts nothing else is wanted.
#[derive(Debug)]
struct Remembered {
    digest: Digest,
    /// As [`Said::lines`] has them; made when first asked for, which is seldom.
    lines: OnceLock<Vec<Hash>>,
}

impl Remembered {
    /// About how many bytes it takes at most, with its place in a table.
    fn weight(&self) -> usize {
        // Two places: the table may have just grown.
        2 * size_of::<(ContentHash, Self)>() + 32 + self.digest.most_lines * size_of::<Hash>()
    }
}

/// Those of texts that were seen lately. What was not seen for as long as it takes to fill half of the room is forgotten.
#[derive(Debug)]
pub(super) struct Digests {
    recent: Generation,
    before: Generation,
    max_memory: usize,
}

#[derive(Debug, Default)]
struct Generation {
    digests: Map<ContentHash, Remembered>,
    weight: usize,
}

impl Digests {
    pub(super) fn new(max_memory: usize) -> Self {
        Digests {
            recent: Generation::default(),
            before: Generation::default(),
            max_memory,
        }
    }

    /// The digest of the text with this mark: remembered, or made, where `make` makes one.
    pub(super) fn of(
        &mut self,
        mark: ContentHash,
        make: impl FnOnce() -> Option<Digest>,
    ) -> Option<Digest> {
        if let Some(remembered) = self.recent.digests.get(&mark) {
            return Some(remembered.digest);
        }
        let remembered = match self.before.take(mark) {
            Some(remembered) => remembered,
            None => Remembered {
                digest: make()?,
                lines: OnceLock::new(),
            },
        };
        let (digest, weight) = (remembered.digest, remembered.weight());
        // One that would drive out the others is not worth them.
        if weight > self.max_memory / 8 {
            return Some(digest);
        }
        if self.recent.weight + weight > self.max_memory / 2 {
            self.before = mem::take(&mut self.recent);
        }
        self.recent.weight += weight;
        self.recent.digests.insert(mark, remembered);
        Some(digest)
    }

    /// The lines of `said`, as [`Said::lines`] has them; they are remembered if the digest under its mark is.
    pub(super) fn lines(&self, mark: Option<ContentHash>, said: &Said<'_>) -> Cow<'_, [Hash]> {
        let remembered = mark.and_then(|mark| {
            let recent = self.recent.digests.get(&mark);
            recent.or_else(|| self.before.digests.get(&mark))
        });
        match remembered {
            Some(Remembered { digest, lines }) => {
                Cow::Borrowed(lines.get_or_init(|| said.lines(digest.most_lines)))
            }
            None => Cow::Owned(said.lines(0)),
        }
    }

    /// About how many bytes all of them take.
    pub(super) fn weight(&self) -> usize {
        self.recent.weight + self.before.weight
    }
}

impl Generation {
    /// Takes one out. Its place in the table stays until the generation goes.
    fn take(&mut self, mark: ContentHash) -> Option<Remembered> {
        let remembered = self.digests.remove(&mark)?;
        self.weight -= remembered.weight();
        Some(remembered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Short texts have none.
    fn mark(written: &str) -> ContentHash {
        ContentHash::of(&format!("{written:>1000}")).unwrap()
    }

    fn plain(text: &str) -> Said<'_> {
        Said::Plain(text.into())
    }

    fn digests_of(digests: &mut Digests, written: &str) -> (Hash, bool) {
        let mut made = false;
        let digest = digests.of(mark(written), || {
            made = true;
            Some(Digest::of(&plain(written)))
        });
        (digest.unwrap().hash, made)
    }

    #[test]
    fn a_text_is_read_once_as_long_as_it_comes_again() {
        let mut digests = Digests::new(2000);
        let (first, made) = digests_of(&mut digests, "a\nb");
        assert!(made);
        for other in 0..100 {
            let (again, made) = digests_of(&mut digests, "a\nb");
            assert_eq!((again, made), (first, false));
            assert!(digests_of(&mut digests, &format!("other {other}")).1);
            assert!(digests.weight() <= 2000);
        }
        let (_, made) = digests_of(&mut digests, "other 0");
        assert!(made);
    }

    #[test]
    fn one_that_takes_much_of_the_room_is_not_remembered() {
        let mut digests = Digests::new(2000);
        let lines = "line\n".repeat(100);
        for _ in 0..2 {
            assert!(digests_of(&mut digests, &lines).1);
            assert_eq!(digests.weight(), 0);
        }
    }

    #[test]
    fn what_none_is_made_of_is_asked_for_again() {
        let mut digests = Digests::new(2000);
        assert!(digests.of(mark("a"), || None).is_none());
        assert!(digests_of(&mut digests, "a").1);
    }

    #[test]
    fn lines_are_remembered_with_the_digest_and_are_the_same_without() {
        let mut digests = Digests::new(2000);
        let text = "a\nwriter: b";
        let (said, other) = (plain(text), plain("c\nd"));
        let lines = said.lines(0);
        digests_of(&mut digests, text);
        assert_eq!(*digests.lines(Some(mark(text)), &said), lines);
        // Whoever asks for them again need not have the text.
        let remembered = |digests: &Digests| *digests.lines(Some(mark(text)), &other) == *lines;
        let mut turn = 0;
        while digests.recent.digests.contains_key(&mark(text)) {
            assert!(remembered(&digests));
            turn += 1;
            digests_of(&mut digests, &format!("other {turn}"));
        }
        assert!(remembered(&digests), "in the generation before");
        digests_of(&mut digests, text);
        assert!(digests.recent.digests.contains_key(&mark(text)));
        assert!(remembered(&digests), "moved to the next");
        assert_eq!(*digests.lines(Some(mark("forgotten")), &said), lines);
        assert_eq!(*digests.lines(None, &said), lines);
    }
}
