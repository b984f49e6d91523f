//! The copy of a body that does not grow any more. Whoever looks at it first has its media taken out, off the client's path.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::budget::{Copied, Reservation};
use super::question::Question;
use crate::openai::without_media;

/// The copy of a body. Clones share its bytes.
#[derive(Clone, Debug)]
pub struct Kept {
    /// As they came, or without media where `media` is [`Media::Gone`].
    bytes: Bytes,
    media: Media,
    cut: bool,
    broken_off: bool,
    reserved: Option<Arc<Reservation>>,
    pub(super) question: Question,
}

/// What becomes of the media in a body.
#[derive(Clone, Debug)]
enum Media {
    /// It stays, or was never there.
    Stays,
    /// It goes as soon as anybody looks; none where there is no media. With a hash of it.
    Goes(Arc<OnceLock<Option<Lean>>>),
    /// It has gone, with this hash.
    Gone(u64),
}

/// A body without its media.
#[derive(Debug)]
struct Lean {
    bytes: Bytes,
    hash: u64,
    _reserved: Option<Reservation>,
}

impl Kept {
    /// A copy that counts against no budget, and of which nothing is taken out.
    pub fn new(bytes: Bytes, cut: bool) -> Self {
        Kept {
            question: Question::of(&bytes),
            bytes,
            media: Media::Stays,
            cut,
            broken_off: false,
            reserved: None,
        }
    }

    /// What was copied. Media is taken out where it does not `stay`.
    pub(super) fn of(copied: Copied, stay: bool) -> Self {
        let (bytes, cut, mut reserved) = copied.into_parts();
        let mut kept = Kept::new(bytes.into(), cut);
        if !reserved.grow(kept.weight()) {
            kept.question = Question::NOT_KEPT;
        }
        kept.reserved = Some(Arc::new(reserved));
        if !stay && !kept.bytes.is_empty() {
            kept.media = Media::Goes(Arc::default());
        }
        kept
    }

    /// The bytes that were kept.
    pub fn bytes(&self) -> &[u8] {
        self.shared()
    }

    /// The same, to be shared.
    pub(super) fn shared(&self) -> &Bytes {
        self.lean().map_or(&self.bytes, |lean| &lean.bytes)
    }

    /// Of the media that was taken out. It means nothing to another process.
    pub(super) fn media_hash(&self) -> Option<u64> {
        match &self.media {
            Media::Gone(hash) => Some(*hash),
            Media::Stays | Media::Goes(_) => self.lean().map(|lean| lean.hash),
        }
    }

    fn lean(&self) -> Option<&Lean> {
        let Media::Goes(lean) = &self.media else {
            return None;
        };
        let make = || {
            let without = without_media(&self.bytes)?;
            let reserved = self.reserved.as_ref();
            Some(Lean {
                _reserved: reserved.map(|reserved| reserved.beside(without.json.len())),
                bytes: without.json.into(),
                hash: without.hash,
            })
        };
        lean.get_or_init(make).as_ref()
    }

    /// Most bytes that it and what is read from it take.
    pub(crate) fn weight(&self) -> usize {
        self.bytes.len() + self.question.weight(&self.bytes)
    }

    /// Whether there were more: it was cut, or broke off.
    pub fn is_cut(&self) -> bool {
        self.cut || self.broken_off
    }

    /// Whether more of it came than is kept.
    pub fn is_shortened(&self) -> bool {
        self.cut
    }

    /// Not all of it came.
    pub(super) fn broken_off(mut self) -> Self {
        self.broken_off = true;
        self
    }

    /// Counts no longer against the budget of copies, and is rid of its media for good: whoever has it now has a bound of its own.
    pub(super) fn leave_budget(&mut self) {
        if let Some(lean) = self.lean() {
            let (bytes, hash) = (lean.bytes.clone(), lean.hash);
            self.bytes = bytes;
            self.media = Media::Gone(hash);
        } else if let Media::Goes(_) = self.media {
            self.media = Media::Stays;
        }
        self.reserved = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::worker::tests::opening;
    use crate::capture::{Budget, CallKey};

    fn copied(budget: &Arc<Budget>, text: &str) -> Copied {
        let mut copied = Copied::new(text.len(), Arc::clone(budget));
        copied.push(text.as_bytes());
        copied
    }

    fn body(data: &str) -> String {
        let url = format!("data:image/png;base64,{}", data.repeat(1000));
        format!(r#"{{"messages":[{{"content":[{{"image_url":{{"url":"{url}"}}}}]}}]}}"#)
    }

    #[test]
    fn what_may_be_read_of_a_long_copy_counts_or_is_not_kept() {
        let long = " ".repeat(100_000);
        for (limit, held) in [(150_000, 150_000), (149_999, 100_000)] {
            let budget = Budget::new(limit);
            let kept = Kept::of(copied(&budget, &long), true);
            assert_eq!(budget.held(), held);
            assert_eq!((kept.weight(), kept.is_cut()), (held, false));
        }
    }

    #[test]
    fn media_goes_for_all_who_look_and_leaves_a_hash() {
        const LEAN: &str =
            r#"{"messages":[{"content":[{"image_url":{"url":"[image image/png, 3 kB]"}}]}]}"#;
        let budget = Budget::new(1 << 20);
        let [first, other] =
            ["aZ0+", "aZ0-"].map(|data| Kept::of(copied(&budget, &body(data)), false));
        let clone = first.clone();
        let held = budget.held();
        assert_eq!(first.bytes(), LEAN.as_bytes());
        assert_eq!(clone.bytes().as_ptr(), first.bytes().as_ptr(), "made once");
        assert_eq!(budget.held(), held + LEAN.len(), "and counted");
        assert_eq!(other.bytes(), first.bytes());
        let key = |kept: &Kept| CallKey::of(&opening("/"), kept);
        assert_ne!(key(&first), key(&other), "one does not repeat the other");
        let mut last = first.clone();
        last.leave_budget();
        assert_eq!((last.bytes(), last.weight()), (LEAN.as_bytes(), LEAN.len()));
        assert_eq!(key(&last), key(&first));
        drop((first, clone, other));
        assert_eq!(budget.held(), 0, "nothing holds what it was made of");
        let whole = Kept::of(copied(&budget, &body("aZ0+")), true);
        assert_eq!(
            (whole.bytes(), whole.media_hash()),
            (body("aZ0+").as_bytes(), None)
        );
    }
}
