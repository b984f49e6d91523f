//! The bounds of all runs together: their age, their number, their memory. The oldest run goes first, whatever conversation it is of.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::conversation::{Effects, RunRef};
use super::shared::SharedState;

/// Runs in the order in which bounds hit them.
#[derive(Debug)]
pub(super) struct RunLimits {
    max_open: usize,
    max_memory: usize,
    max_age: Duration,
    queues: Mutex<RunQueues>,
}

#[derive(Debug, Default)]
struct RunQueues {
    /// All runs in the order they began, for their age.
    begun: VecDeque<(Instant, RunRef)>,
    /// The same, for the number of open ones. Runs that were closed since are skipped.
    opened: VecDeque<RunRef>,
    /// In the order they were closed. Runs that were opened again are skipped.
    closed: VecDeque<RunRef>,
}

/// A run that has to go.
#[derive(Debug)]
pub(super) enum ExcessRun {
    /// It is closed, and stays known.
    Close(RunRef),
    /// It is closed if it is open, and then forgotten.
    Forget(RunRef),
}

impl RunLimits {
    pub(super) fn new(max_open: usize, max_memory: usize, max_age: Duration) -> Self {
        RunLimits {
            max_open,
            max_memory,
            max_age,
            queues: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, RunQueues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of runs that began and were closed.
    pub(super) fn record(&self, effects: &mut Effects, now: Instant) {
        if effects.begun.is_empty() && effects.closed.is_empty() {
            return;
        }
        let mut queues = self.lock();
        for run in effects.begun.drain(..) {
            queues.opened.push_back(run.clone());
            queues.begun.push_back((now, run));
        }
        queues.closed.extend(effects.closed.drain(..));
    }

    /// The next run that has to go.
    pub(super) fn next_excess(&self, now: Instant, shared: &SharedState) -> Option<ExcessRun> {
        let queues = &mut *self.lock();
        while let Some((began, run)) = queues.begun.front() {
            let is_old = *began + self.max_age <= now;
            if !is_old && !run.state.is_forgotten() {
                break;
            }
            let (_, run) = queues.begun.pop_front()?;
            if !run.state.is_forgotten() {
                return Some(ExcessRun::Forget(run));
            }
        }
        let too_many = shared.open.get() > self.max_open;
        if let Some(run) = next(&mut queues.opened, |run| run.state.is_open(), too_many) {
            return Some(ExcessRun::Close(run));
        }
        let too_large = shared.size_estimate() > self.max_memory;
        if let Some(run) = next(&mut queues.closed, |run| run.state.is_closed(), too_large) {
            return Some(ExcessRun::Forget(run));
        }
        let (_, run) = too_large.then(|| queues.begun.pop_front())??;
        Some(ExcessRun::Forget(run))
    }
}

/// Takes the first run that `counts`, if it is `wanted`. Runs before it are dropped.
fn next(
    queue: &mut VecDeque<RunRef>,
    counts: impl Fn(&RunRef) -> bool,
    wanted: bool,
) -> Option<RunRef> {
    while queue.front().is_some_and(|run| !counts(run)) {
        queue.pop_front();
    }
    wanted.then(|| queue.pop_front())?
}
