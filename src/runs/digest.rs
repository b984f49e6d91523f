//! What grouping wants to know of a long text, worked out once. A history comes again with every call of its run, to each agent of a team;
//! reading, taking apart and hashing all of it anew would be most of the work there is.
//!
//! Texts are known again by their [`Mark`].

use std::mem;
use std::sync::{Arc, OnceLock};

use super::hash::{Hash, Map};
use super::said::Said;
use crate::openai::Mark;

/// What a text is to grouping.
#[derive(Debug)]
pub(super) struct Digest {
    /// Of what it says.
    pub(super) hash: Hash,
    /// Whether a `Handoff` tells of itself so.
    pub(super) tells_of_handoff: bool,
    /// As [`Said::lines`] has them; made when first asked for, which is seldom.
    lines: OnceLock<Box<[Hash]>>,
    /// No fewer than there are.
    most_lines: usize,
}

impl Digest {
    pub(super) fn of(said: &Said<'_>) -> Self {
        Digest {
            hash: said.hash(),
            tells_of_handoff: said.tells_of_handoff(),
            lines: OnceLock::new(),
            most_lines: said.most_lines(),
        }
    }

    /// Of the lines of `said`, of which it is the digest.
    pub(super) fn lines(&self, said: &Said<'_>) -> &[Hash] {
        self.lines.get_or_init(|| said.lines())
    }

    /// About how many bytes it takes at most, with its place in a table.
    fn weight(&self) -> usize {
        128 + self.most_lines * size_of::<Hash>()
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
    digests: Map<Mark, Arc<Digest>>,
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
        mark: Mark,
        make: impl FnOnce() -> Option<Digest>,
    ) -> Option<Arc<Digest>> {
        if let Some(digest) = self.recent.digests.get(&mark) {
            return Some(Arc::clone(digest));
        }
        let digest = match self.before.digests.get(&mark) {
            Some(digest) => Arc::clone(digest),
            None => Arc::new(make()?),
        };
        // One that would drive out the others is not worth them.
        if digest.weight() > self.max_memory / 8 {
            return Some(digest);
        }
        if self.recent.weight + digest.weight() > self.max_memory / 2 {
            self.before = mem::take(&mut self.recent);
        }
        self.recent.weight += digest.weight();
        self.recent.digests.insert(mark, Arc::clone(&digest));
        Some(digest)
    }

    /// About how many bytes all of them take.
    pub(super) fn weight(&self) -> usize {
        self.recent.weight + self.before.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Short texts have none.
    fn mark(written: &str) -> Mark {
        Mark::of(&format!("{written:>1000}")).unwrap()
    }

    fn plain(text: &str) -> Said<'_> {
        Said::Plain(text.into())
    }

    fn digests_of(digests: &mut Digests, written: &str) -> (Arc<Digest>, bool) {
        let mut made = false;
        let digest = digests.of(mark(written), || {
            made = true;
            Some(Digest::of(&plain(written)))
        });
        (digest.unwrap(), made)
    }

    #[test]
    fn a_text_is_read_once_as_long_as_it_comes_again() {
        let mut digests = Digests::new(2000);
        let (first, made) = digests_of(&mut digests, "a\nb");
        assert!(made);
        for other in 0..100 {
            let (again, made) = digests_of(&mut digests, "a\nb");
            assert!(!made && Arc::ptr_eq(&first, &again));
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
}
