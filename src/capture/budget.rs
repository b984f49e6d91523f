//! Copies of bodies, and how many bytes all of them together may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::question::Question;

/// A limit in bytes that all copies share.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    held: AtomicUsize,
}

impl Budget {
    /// Room for `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Budget {
            limit,
            held: AtomicUsize::new(0),
        })
    }

    /// Never takes more than there is, not even for a moment: another thread's copy would be cut for it.
    fn take(&self, bytes: usize) -> bool {
        let taken = |held: usize| held.checked_add(bytes).filter(|held| *held <= self.limit);
        let (set, read) = (Ordering::Relaxed, Ordering::Relaxed);
        self.held.fetch_update(set, read, taken).is_ok()
    }
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    held: usize,
    budget: Arc<Budget>,
}

impl Reservation {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Reservation { held: 0, budget }
    }

    /// Makes it at least `bytes` large, if the budget has room for that.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.held);
        // The budget's counter is every thread's: it is left alone where nothing changes.
        let fits = more == 0 || self.budget.take(more);
        if fits {
            self.held += more;
        }
        fits
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

/// A growing copy of a body, cut where its limit or the shared budget ends.
#[derive(Debug)]
pub(super) struct Copied {
    bytes: Vec<u8>,
    cut: bool,
    limit: usize,
    reserved: Reservation,
}

impl Copied {
    pub(super) fn new(limit: usize, budget: Arc<Budget>) -> Self {
        Copied {
            bytes: Vec::new(),
            cut: false,
            limit,
            reserved: Reservation::new(budget),
        }
    }

    /// Room made at once for a body of a told length, but not for one that only claims to be huge. What does not come does not count.
    pub(super) fn expect(&mut self, length: usize) {
        let length = length.min(self.limit).min(256 * 1024);
        self.bytes
            .reserve_exact(length.saturating_sub(self.bytes.len()));
    }

    /// Room made and counted at once for what comes in many small parts. Without room in the budget none is made, and each part counts alone.
    pub(super) fn claim(&mut self, length: usize) {
        if length > self.bytes.capacity() && self.reserved.grow(length) {
            self.bytes.reserve_exact(length - self.bytes.len());
        }
    }

    /// Takes what fits; after a cut, nothing more: what follows a gap means nothing.
    pub(super) fn push(&mut self, data: &[u8]) {
        if self.cut {
            return;
        }
        let fitting = data.len().min(self.limit - self.bytes.len());
        let affordable = self.reserved.grow(self.bytes.len() + fitting);
        if affordable {
            self.bytes.extend_from_slice(&data[..fitting]);
        }
        self.cut = !affordable || fitting < data.len();
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// What was copied; an empty copy with what is left of the limit stays behind, cut if this one was.
    pub(super) fn take(&mut self) -> Copied {
        let reserved = Reservation::new(Arc::clone(&self.reserved.budget));
        let next = Copied {
            bytes: Vec::new(),
            cut: self.cut,
            limit: self.limit - self.bytes.len(),
            reserved,
        };
        std::mem::replace(self, next)
    }
}

/// The copy of a body that does not grow any more. Clones share its bytes.
#[derive(Clone, Debug)]
pub struct Kept {
    pub(super) bytes: Bytes,
    cut: bool,
    reserved: Option<Arc<Reservation>>,
    pub(super) question: Question,
}

impl Copied {
    pub(super) fn kept(mut self) -> Kept {
        let mut kept = Kept::new(self.bytes.into(), self.cut);
        if !self.reserved.grow(kept.weight()) {
            kept.question = Question::NOT_KEPT;
        }
        kept.reserved = Some(Arc::new(self.reserved));
        kept
    }
}

impl Kept {
    /// A copy that counts against no budget.
    pub fn new(bytes: Bytes, cut: bool) -> Self {
        Kept {
            question: Question::of(&bytes),
            bytes,
            cut,
            reserved: None,
        }
    }

    /// The bytes that were kept, from the first on.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Most bytes that it and what is read from it take.
    pub(crate) fn weight(&self) -> usize {
        self.bytes.len() + self.question.weight(&self.bytes)
    }

    /// Whether there were more.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    pub(super) fn cut_off(mut self) -> Self {
        self.cut = true;
        self
    }

    /// Counts no longer against the budget of copies: whoever has it now has a bound of its own.
    pub(super) fn leave_budget(&mut self) {
        self.reserved = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_cut_at_its_limit_and_says_so() {
        let mut copy = Copied::new(5, Budget::new(100));
        copy.push(b"abc");
        assert!(!copy.is_cut());
        copy.push(b"def");
        copy.push(b"g");
        assert_eq!((copy.bytes(), copy.is_cut()), (&b"abcde"[..], true));
    }

    #[test]
    fn what_may_be_read_of_a_long_copy_counts_or_is_not_kept() {
        let long = vec![b' '; 100_000];
        for (limit, held) in [(150_000, 150_000), (149_999, 100_000)] {
            let budget = Budget::new(limit);
            let mut copy = Copied::new(long.len(), Arc::clone(&budget));
            copy.push(&long);
            let kept = copy.kept();
            assert_eq!(budget.held.load(Ordering::Relaxed), held);
            assert_eq!((kept.weight(), kept.is_cut()), (held, false));
        }
    }

    #[test]
    fn copies_share_a_budget_and_give_back_what_they_held() {
        let budget = Budget::new(4);
        let mut first = Copied::new(10, Arc::clone(&budget));
        let mut second = Copied::new(10, Arc::clone(&budget));
        first.push(b"abc");
        second.push(b"de");
        assert_eq!(
            (first.is_cut(), second.is_cut(), second.bytes()),
            (false, true, &b""[..])
        );
        drop((first, second));
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_reservation_grows_as_far_as_the_budget_goes() {
        let budget = Budget::new(10);
        let mut reserved = Reservation::new(Arc::clone(&budget));
        assert!(reserved.grow(8) && reserved.grow(3) && reserved.grow(10));
        assert!(!reserved.grow(11));
        drop(reserved);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn claimed_room_counts_at_once_and_only_where_there_is_some() {
        let budget = Budget::new(3000);
        let held = || budget.held.load(Ordering::Relaxed);
        let mut first = Copied::new(usize::MAX, Arc::clone(&budget));
        first.claim(2048);
        first.push(&[0; 300]);
        assert_eq!(held(), 2048);
        let mut second = Copied::new(usize::MAX, Arc::clone(&budget));
        second.claim(2048);
        assert_eq!(held(), 2048);
        second.push(&[0; 300]);
        assert_eq!((held(), second.is_cut()), (2348, false));
        first.push(&[0; 2000]);
        assert_eq!((held(), first.is_cut()), (2600, false));
    }

    #[test]
    fn a_told_length_counts_when_it_comes() {
        let budget = Budget::new(10);
        let mut copy = Copied::new(usize::MAX, Arc::clone(&budget));
        copy.expect(1000);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
        copy.push(b"abc");
        assert_eq!(budget.held.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn taking_leaves_an_empty_copy_behind() {
        let budget = Budget::new(10);
        let mut copy = Copied::new(10, Arc::clone(&budget));
        copy.push(b"abc");
        let taken = copy.take();
        copy.push(b"d");
        assert_eq!((taken.bytes(), copy.bytes()), (&b"abc"[..], &b"d"[..]));
        copy.push(b"efghijk");
        assert_eq!((copy.bytes(), copy.is_cut()), (&b"defghij"[..], true));
        drop((taken, copy));
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }
}
