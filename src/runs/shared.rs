//! State beyond one conversation. None of it decides which calls are in one run.

#[cfg(test)]
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering};

use super::agent_names::{LearnedName, SharedNames};
use super::attempts::HeldBytes;
use super::work_budget::WorkBudget;

/// Names, totals and bounds of all conversations.
#[derive(Debug, Default)]
pub(super) struct SharedState {
    pub(super) names: SharedNames,
    pub(super) held_bytes: HeldBytes,
    /// The number of the next conversation.
    conversations: AtomicU64,
    /// Open runs.
    pub(super) open: Total,
    closed_early: AtomicU64,
    capped: AtomicU64,
    /// Bytes of all conversations.
    pub(super) bytes: Total,
    /// Bytes of the digests of all workers.
    pub(super) digest_bytes: Total,
    #[cfg(test)]
    pub(super) steps: AtomicUsize,
}

/// A sum over conversations or workers.
#[derive(Debug, Default)]
pub(super) struct Total(AtomicIsize);

/// The number of runs, and of those that were cut short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunCounts {
    /// Open ones.
    pub open: usize,
    /// Those that were closed before they were over, because there were too many or they took too much memory.
    pub closed_early: u64,
    /// Calls that were attributed by part of their evidence, because all of it would have been too much work.
    pub capped: u64,
}

impl Total {
    pub(super) fn get(&self) -> usize {
        // A panic in between may have left a summand out.
        usize::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// A summand was `before`, and is `after` now.
    pub(super) fn replace(&self, before: usize, after: usize) {
        if before != after {
            self.0
                .fetch_add(after.wrapping_sub(before).cast_signed(), Ordering::Relaxed);
        }
    }
}

impl SharedState {
    /// With the names that earlier processes learned.
    pub(super) fn new(names: impl IntoIterator<Item = LearnedName>) -> Self {
        SharedState {
            names: SharedNames::new(names),
            ..SharedState::default()
        }
    }

    pub(super) fn next_conversation(&self) -> u64 {
        self.conversations.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn count_closed_early(&self) {
        self.closed_early.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was attributed with this budget.
    pub(super) fn count_work(&self, work: &WorkBudget) {
        if work.was_exceeded() {
            self.capped.fetch_add(1, Ordering::Relaxed);
        }
        #[cfg(test)]
        self.steps.fetch_add(work.spent.get(), Ordering::Relaxed);
    }

    /// About how many bytes all conversations and digests take.
    pub(super) fn size_estimate(&self) -> usize {
        self.bytes.get() + self.digest_bytes.get()
    }

    pub(super) fn counts(&self) -> RunCounts {
        RunCounts {
            open: self.open.get(),
            closed_early: self.closed_early.load(Ordering::Relaxed),
            capped: self.capped.load(Ordering::Relaxed),
        }
    }
}
