//! How much work placing one call may cost, whatever its texts are and whatever is known already.
//!
//! Work is counted in steps and never in time: the store tells the same calls again after a crash, and they have to take the same places. The
//! budget grows with the request, so that placing is linear in it. One step is about four nanoseconds.

use std::cell::Cell;

use memchr::memmem;

/// Looking at a call that is known: two places in memory that are seldom at hand.
pub(super) const LOOK: usize = 16;
/// Looking up a line.
const LINE: usize = 8;
/// Steps for a call without any text.
pub(super) const LEAST: usize = 1 << 18;
/// Beginning to compare a reply with a text that ends like it.
const COMPARISON: usize = 3;
/// So many bytes are compared in a step.
const COMPARED: usize = 64;
/// So many bytes are searched in a step, where text and part are periodic.
const SEARCHED: usize = 8;
/// So many ids of tool calls are compared in a step.
const IDS: usize = 4;

/// What is left of the steps for the call that is placed now.
#[derive(Debug, Default)]
pub(super) struct WorkBudget {
    left: Cell<usize>,
    exceeded: Cell<bool>,
    #[cfg(test)]
    pub(super) spent: Cell<usize>,
}

impl WorkBudget {
    /// Begins anew, for a request of so many bytes.
    pub(super) fn renew(&self, bytes: usize) {
        self.left.set(LEAST + bytes);
    }

    /// Takes so many steps; whether there were as many.
    pub(super) fn spend(&self, steps: usize) -> bool {
        let Some(left) = self.left.get().checked_sub(steps) else {
            self.left.set(0);
            self.exceeded();
            return false;
        };
        self.left.set(left);
        #[cfg(test)]
        self.spent.set(self.spent.get() + steps);
        true
    }

    /// Some of the evidence is not looked at.
    pub(super) fn exceeded(&self) {
        self.exceeded.set(true);
    }

    /// Whether there was too much to do since this was asked last.
    pub(super) fn take_exceeded(&self) -> bool {
        self.exceeded.take()
    }

    /// Whether `part` stands in `text` from the byte `at` on. Parts that begin alike seldom end alike, so ends are compared first.
    pub(super) fn stands(&self, text: &str, at: usize, part: &str) -> bool {
        let part = part.as_bytes();
        let there = text.as_bytes().get(at..at + part.len());
        let Some(there) = there.filter(|_| self.spend(1)) else {
            return false;
        };
        if there.last_chunk::<8>() != part.last_chunk::<8>() {
            return false;
        }
        let mut blocks = there.chunks(COMPARED).zip(part.chunks(COMPARED));
        self.spend(COMPARISON) && blocks.all(|(there, part)| self.spend(1) && there == part)
    }

    /// Whether `part` stands anywhere in `text`.
    pub(super) fn holds(&self, text: &str, part: &str) -> bool {
        self.spend_on_search(text.len() + part.len())
            && memmem::find(text.as_bytes(), part.as_bytes()).is_some()
    }

    /// Searches so many bytes.
    pub(super) fn spend_on_search(&self, bytes: usize) -> bool {
        self.spend(bytes / SEARCHED + 1)
    }

    /// Takes a text apart into so many lines, and looks them up.
    pub(super) fn spend_on_lines(&self, lines: usize) -> bool {
        self.spend(lines * LINE)
    }

    /// Looks through so many ids of tool calls.
    pub(super) fn spend_on_ids(&self, ids: usize) -> bool {
        self.spend(ids / IDS + 1)
    }
}
