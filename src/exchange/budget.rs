//! Growing copies of bodies, and how many bytes all of them together may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::openai::JsonTruncator;

/// A limit in bytes that all copies share.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    held: AtomicUsize,
    /// Every byte that this budget gives, its parent gives, too.
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

    /// Room for at most `limit` bytes of `parent`'s, for one reply.
    pub(crate) fn within(parent: &Arc<Budget>, limit: usize) -> Arc<Self> {
        Arc::new(Budget {
            limit,
            held: AtomicUsize::new(0),
            parent: Some(Arc::clone(parent)),
        })
    }

    /// Room for an exchange beside its bodies. There is a quarter more of it than for bodies, so that no body can keep an exchange from being
    /// observed.
    pub(crate) fn facts(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        let taken = self.take_up_to(bytes, self.limit.saturating_add(self.limit / 4));
        taken.then(|| Reservation {
            held: bytes,
            budget: Arc::clone(self),
        })
    }

    /// Bytes that one reply may still take; no bound where many share the budget.
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

    /// Another of the same budget; none where there is no room.
    pub(crate) fn beside(&self, bytes: usize) -> Option<Self> {
        let mut reserved = Reservation::new(Arc::clone(&self.budget));
        reserved.grow(bytes).then_some(reserved)
    }

    /// Gives back all beyond `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let less = self.held.saturating_sub(bytes);
        if less > 0 {
            self.budget.give_back(less);
            self.held -= less;
        }
    }

    /// Makes it `more` bytes larger, if the budget has room for it, with the quarter that bodies have not.
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

/// Room that is made for a body before it comes, in bytes: a declared length may be a lie.
const MOST_EXPECTED: usize = 256 << 10;

/// A growing copy of a body, cut where its limit or the shared budget ends. All the memory that it has counts, not only its bytes.
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

    /// Makes room for a body of a declared length, as far as the budget has any.
    pub(crate) fn expect(&mut self, length: usize) {
        self.claim(length.min(self.limit).min(MOST_EXPECTED));
    }

    /// Makes room for `length` bytes at once. Whether the budget had any; otherwise nothing changes.
    pub(crate) fn claim(&mut self, length: usize) -> bool {
        if length <= self.bytes.capacity() {
            return true;
        }
        let has_room = self.reserved.grow(length);
        if has_room {
            self.bytes.reserve_exact(length - self.bytes.len());
        }
        has_room
    }

    /// Copies as much as fits. After a cut it copies nothing more: bytes after a gap mean nothing.
    pub(crate) fn push(&mut self, data: &[u8]) {
        if self.cut {
            return;
        }
        let own_room = self.reserved.budget.own_room();
        let room = own_room.saturating_add(self.reserved.held) - self.bytes.len();
        let fitting = data.len().min(self.room()).min(room);
        let length = self.bytes.len() + fitting;
        // Twice the room each time, as a vector makes it for itself, or else as little as is needed.
        let twice = self.bytes.capacity().saturating_mul(2).min(self.limit);
        let affordable =
            length <= self.bytes.capacity() || self.claim(twice.max(length)) || self.claim(length);
        if affordable {
            self.bytes.extend_from_slice(&data[..fitting]);
        }
        self.cut = !affordable || fitting < data.len();
    }

    /// Bytes until it is cut.
    pub(crate) fn room(&self) -> usize {
        self.limit - self.bytes.len()
    }

    /// Goes on as a skeleton of the copy, in the room of a whole copy. The copy itself takes nothing more until it is
    /// [filled](Self::fill). None where there is no room, or the body has no skeleton. For as long as this takes, there are both.
    pub(crate) fn as_truncator(&mut self) -> Option<JsonTruncator> {
        if self.cut || !self.reserved.grow(self.limit) {
            return None;
        }
        let skeleton = JsonTruncator::of(&self.bytes, self.limit)?;
        self.bytes = Vec::new();
        self.cut = true;
        Some(skeleton)
    }

    /// Takes over the bytes that a skeleton gave.
    pub(crate) fn fill(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
    }

    /// Whether more than half of the room of one reply is taken.
    pub(crate) fn is_short_of_room(&self) -> bool {
        let budget = &self.reserved.budget;
        budget.own_room() < budget.limit / 2
    }

    /// Counts `beside` bytes that are held with the copy, once it grows no more. Without room it is cut.
    pub(crate) fn weigh(&mut self, beside: usize) {
        self.cut |= !self.reserved.grow(self.reserved.held + beside);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Bytes of memory that it has.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// All of it, which no longer grows.
    pub(crate) fn into_parts(self) -> (Vec<u8>, bool, Reservation) {
        (self.bytes, self.cut, self.reserved)
    }

    /// The copy; an empty one with the rest of the limit stays behind, cut if this one was.
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
    fn room_for_a_declared_length_counts_at_once_as_far_as_it_is_believed() {
        for (limit, length, held) in [
            (1000, 999, 999),
            (1000, 1001, 0),
            (1 << 20, 1 << 30, 1 << 18),
        ] {
            let budget = Budget::new(limit);
            let mut copy = BudgetedBuffer::new(usize::MAX, Arc::clone(&budget));
            copy.expect(length);
            assert_eq!(budget.held(), held);
            copy.push(b"abc");
            assert_eq!((budget.held(), copy.is_cut()), (held.max(3), false));
        }
    }

    #[test]
    fn all_the_room_of_a_copy_counts() {
        let budget = Budget::new(2000);
        let mut copy = BudgetedBuffer::new(usize::MAX, Arc::clone(&budget));
        while !copy.is_cut() {
            copy.push(&[0; 7]);
            assert_eq!(budget.held(), copy.bytes.capacity());
        }
        // Where twice the room is not to be had, as much is copied as there is.
        assert!(copy.bytes().len() > 1990);
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
