//! What a long text is known again by: a history comes again with every call of its run, to each agent of a team.

use std::hash::BuildHasher as _;
use std::num::NonZero;
use std::sync::LazyLock;

use rapidhash::fast::RandomState;

/// Shortest text, in bytes as written, that gets a mark.
const SHORTEST: usize = 512;

/// FinishedSpan at random for each process: whoever may write texts for others to be taken for cannot know which have one mark.
pub(in crate::openai) static SECRETS: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// A hash of how a text was written. It means nothing to another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentHash(NonZero<u64>);

impl ContentHash {
    /// Of a text or of JSON as it was written; none of what is short.
    pub fn of(written: &str) -> Option<Self> {
        (written.len() >= SHORTEST).then(|| {
            let hash = SECRETS.hash_one(written);
            ContentHash(NonZero::new(hash).unwrap_or(NonZero::<u64>::MIN))
        })
    }
}
