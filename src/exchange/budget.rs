//! Growing copies of bodies, and how many bytes all of them together may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::openai::Skeleton;

/// A limit in bytes that all copies share.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    held: AtomicUsize,
    /// What is taken here is taken there, too.
    parent: Option<Arc<Budget>>,
}

impl Budget {
    /// Room for `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Budget {
            limit,
            held: AtomicUsize::new(0),
            parent: None,
        })
    }

    /// Room for at most `limit` bytes of `parent`'s: what one reply may hold at a time.
    pub(crate) fn within(parent: &Arc<Budget>, limit: usize) -> Arc<Self> {
        Arc::new(Budget {
            limit,
            held: AtomicUsize::new(0),
            parent: Some(Arc::clone(parent)),
        })
    }

    /// Room for what an exchange takes beside its bodies. There is a quarter more than for bodies, so that no body can keep an exchange from
    /// being told.
    pub(crate) fn facts(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        let taken = self.take_up_to(bytes, self.limit.saturating_add(self.limit / 4));
        taken.then(|| Reservation {
            held: bytes,
            budget: Arc::clone(self),
        })
    }

    /// Bytes left of what one reply may hold; of a budget that many share nobody can tell.
    fn own_room(&self) -> usize {
        match self.parent {
            Some(_) => self.limit.saturating_sub(self.held.load(Ordering::Relaxed)),
            None => usize::MAX,
        }
    }

    fn take(&self, bytes: usize) -> bool {
        if !self.take_up_to(bytes, self.limit) {
            return false;
        }
        let taken = self.parent.as_ref().is_none_or(|parent| parent.take(bytes));
        if !taken {
            self.held.fetch_sub(bytes, Ordering::Relaxed);
        }
        taken
    }

    /// Never takes more than there is, not even for a moment: another thread's copy would be cut for it.
    fn take_up_to(&self, bytes: usize, limit: usize) -> bool {
        let taken = |held: usize| held.checked_add(bytes).filter(|held| *held <= limit);
        let (set, read) = (Ordering::Relaxed, Ordering::Relaxed);
        self.held.fetch_update(set, read, taken).is_ok()
    }

    /// Takes what is there already, whatever the limit.
    fn take_anyway(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.take_anyway(bytes);
        }
    }

    fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.give_back(bytes);
        }
    }
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    held: usize,
    budget: Arc<Budget>,
}

impl Reservation {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Reservation { held: 0, budget }
    }

    /// For bytes that are held already, in the same budget.
    pub(crate) fn beside(&self, bytes: usize) -> Self {
        self.budget.take_anyway(bytes);
        Reservation {
            held: bytes,
            budget: Arc::clone(&self.budget),
        }
    }

    /// Makes it `more` bytes larger, if the budget has room for that and for what exchanges take beside bodies.
    pub(crate) fn add_facts(&mut self, more: usize) -> bool {
        let limit = self.budget.limit;
        let fits = self
            .budget
            .take_up_to(more, limit.saturating_add(limit / 4));
        if fits {
            self.held += more;
        }
        fits
    }

    /// Makes it `more` bytes larger for what is held already.
    pub(crate) fn add_anyway(&mut self, more: usize) {
        self.budget.take_anyway(more);
        self.held += more;
    }

    /// Makes it at least `bytes` large, if the budget has room for that.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
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
        self.budget.give_back(self.held);
    }
}

impl Budget {
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// A growing copy of a body, cut where its limit or the shared budget ends.
#[derive(Debug)]
pub(crate) struct BudgetedBuffer {
    bytes: Vec<u8>,
    cut: bool,
    limit: usize,
    reserved: Reservation,
}

impl BudgetedBuffer {
    pub(crate) fn new(limit: usize, budget: Arc<Budget>) -> Self {
        BudgetedBuffer {
            bytes: Vec::new(),
            cut: false,
            limit,
            reserved: Reservation::new(budget),
        }
    }

    /// Room made at once for a body of a told length, but not for one that only claims to be huge. What does not come does not count.
    pub(crate) fn expect(&mut self, length: usize) {
        let length = length.min(self.limit).min(256 * 1024);
        self.bytes
            .reserve_exact(length.saturating_sub(self.bytes.len()));
    }

    /// Room made and counted at once for what comes in many small parts. Without room in the budget none is made, and each part counts alone.
    pub(crate) fn claim(&mut self, length: usize) {
        if length > self.bytes.capacity() && self.reserved.grow(length) {
            self.bytes.reserve_exact(length - self.bytes.len());
        }
    }

    /// Takes what fits; after a cut, nothing more: what follows a gap means nothing.
    pub(crate) fn push(&mut self, data: &[u8]) {
        if self.cut {
            return;
        }
        let own_room = self.reserved.budget.own_room();
        let room = own_room.saturating_add(self.reserved.held) - self.bytes.len();
        let fitting = data.len().min(self.room()).min(room);
        let affordable = self.reserved.grow(self.bytes.len() + fitting);
        if affordable {
            self.bytes.extend_from_slice(&data[..fitting]);
        }
        self.cut = !affordable || fitting < data.len();
    }

    /// Bytes until it is cut.
    pub(crate) fn room(&self) -> usize {
        self.limit - self.bytes.len()
    }

    /// Goes on as a skeleton of what was copied, in the room of a whole copy. The copy itself takes nothing more until it is
    /// [filled](Self::fill). None where there is no room, or the body has no skeleton. For as long as this takes, there are both.
    pub(crate) fn as_skeleton(&mut self) -> Option<Skeleton> {
        if self.cut || !self.reserved.grow(self.limit) {
            return None;
        }
        let skeleton = Skeleton::of(&self.bytes, self.limit)?;
        self.bytes = Vec::new();
        self.cut = true;
        Some(skeleton)
    }

    /// Holds what a skeleton came to.
    pub(crate) fn fill(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
    }

    /// Whether most of what one reply may hold is taken.
    pub(crate) fn is_short_of_room(&self) -> bool {
        let budget = &self.reserved.budget;
        budget.own_room() < budget.limit / 2
    }

    /// Counts what is held beside its bytes, once no more of them come. Without room it is cut.
    pub(crate) fn weigh(&mut self, beside: usize) {
        self.cut |= !self.reserved.grow(self.reserved.held + beside);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }

    /// All of it, which no longer grows.
    pub(crate) fn into_parts(self) -> (Vec<u8>, bool, Reservation) {
        (self.bytes, self.cut, self.reserved)
    }

    /// What was copied; an empty copy with what is left of the limit stays behind, cut if this one was.
    pub(crate) fn take(&mut self) -> BudgetedBuffer {
        let reserved = Reservation::new(Arc::clone(&self.reserved.budget));
        let next = BudgetedBuffer {
            bytes: Vec::new(),
            cut: self.cut,
            limit: self.limit - self.bytes.len(),
            reserved,
        };
        std::mem::replace(self, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_cut_at_its_limit_and_says_so() {
        let mut copy = BudgetedBuffer::new(5, Budget::new(100));
        copy.push(b"abc");
        assert!(!copy.is_cut());
        copy.push(b"def");
        copy.push(b"g");
        assert_eq!((copy.bytes(), copy.is_cut()), (&b"abcde"[..], true));
    }

    #[test]
    fn a_budget_within_another_takes_from_both_and_gives_back_to_both() {
        let all = Budget::new(10);
        let one = Budget::within(&all, 6);
        let held = || {
            (
                all.held.load(Ordering::Relaxed),
                one.held.load(Ordering::Relaxed),
            )
        };
        let mut first = BudgetedBuffer::new(usize::MAX, Arc::clone(&one));
        first.push(&[0; 5]);
        let mut second = BudgetedBuffer::new(usize::MAX, Arc::clone(&one));
        second.push(&[0; 2]);
        // As much of a reply as there is room for.
        assert_eq!((second.is_cut(), second.bytes().len()), (true, 1));
        drop(second);
        assert_eq!(held(), (5, 5));
        let mut other = BudgetedBuffer::new(usize::MAX, Arc::clone(&all));
        other.push(&[0; 5]);
        let mut third = BudgetedBuffer::new(usize::MAX, Arc::clone(&one));
        third.push(&[0; 1]);
        assert_eq!((third.is_cut(), held()), (true, (10, 5)));
        drop((first, other));
        assert_eq!(held(), (0, 0));
    }

    #[test]
    fn facts_have_room_that_bodies_do_not_have() {
        let budget = Budget::new(100);
        let mut body = BudgetedBuffer::new(usize::MAX, Arc::clone(&budget));
        body.push(&[0; 100]);
        let mut facts = budget.facts(20).unwrap();
        assert!(budget.facts(6).is_none() && !facts.add_facts(6));
        assert!(facts.add_facts(5));
        body.push(&[0]);
        assert!(body.is_cut());
        drop(facts);
        assert_eq!(budget.held.load(Ordering::Relaxed), 100);
    }

    #[test]
    fn copies_share_a_budget_and_give_back_what_they_held() {
        let budget = Budget::new(4);
        let mut first = BudgetedBuffer::new(10, Arc::clone(&budget));
        let mut second = BudgetedBuffer::new(10, Arc::clone(&budget));
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
        let mut first = BudgetedBuffer::new(usize::MAX, Arc::clone(&budget));
        first.claim(2048);
        first.push(&[0; 300]);
        assert_eq!(held(), 2048);
        let mut second = BudgetedBuffer::new(usize::MAX, Arc::clone(&budget));
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
        let mut copy = BudgetedBuffer::new(usize::MAX, Arc::clone(&budget));
        copy.expect(1000);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
        copy.push(b"abc");
        assert_eq!(budget.held.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn taking_leaves_an_empty_copy_behind() {
        let budget = Budget::new(10);
        let mut copy = BudgetedBuffer::new(10, Arc::clone(&budget));
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
