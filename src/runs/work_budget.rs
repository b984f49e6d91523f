//! A bound for the work of attributing one request, whatever its texts are and however many calls are known.
//!
//! Work is counted in steps and never in time: after a crash the store replays the same calls, and their attribution has to be the same. The
//! budget grows with the request, so attribution is linear in it. One step is about four nanoseconds.

use std::cell::Cell;

use memchr::memmem;

/// Steps of a look at a call: two cache misses.
pub(super) const LOOK: usize = 16;
/// Steps of the lookup of a line.
const LINE: usize = 8;
/// Steps for a request without any text.
pub(super) const LEAST: usize = 1 << 18;
/// Steps of the beginning of a comparison.
const COMPARISON: usize = 3;
/// Bytes that a step compares.
const COMPARED: usize = 64;
/// Bytes that a step searches, where text and part are periodic.
const SEARCHED: usize = 8;
/// Ids of tool calls that a step compares.
const IDS: usize = 4;

/// The steps that are left for a request.
#[derive(Debug, Default)]
pub(super) struct WorkBudget {
    left: Cell<usize>,
    exceeded: Cell<bool>,
    #[cfg(test)]
    pub(super) spent: Cell<usize>,
}

impl WorkBudget {
    /// For a request of so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        let budget = WorkBudget::default();
        budget.renew(bytes);
        budget
    }

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

    /// Some of the evidence is left out.
    pub(super) fn exceeded(&self) {
        self.exceeded.set(true);
    }

    /// Whether some of the evidence was left out.
    pub(super) fn was_exceeded(&self) -> bool {
        self.exceeded.get()
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
