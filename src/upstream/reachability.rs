//! Whether the upstream can be reached, for whoever asks and for the log.
//!
//! The log gets a line when that changes, and at most one a minute while the upstream cannot be reached.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::CallError;
use crate::redact::redact;

const LINE_EVERY: Duration = Duration::from_mins(1);

/// Whether the upstream can be reached, as its calls show.
#[derive(Debug, Default)]
pub struct Reachability {
    /// Looked at by every call that goes well; all else is behind the lock.
    is_reachable: AtomicBool,
    record: Mutex<ReachabilityRecord>,
}

/// What is known of it at one moment.
#[derive(Clone, Debug, Default)]
pub struct ReachState {
    /// Whether the last call reached it; none before the first.
    pub reachable: Option<bool>,
    /// Since when that is so.
    pub since: Option<SystemTime>,
    /// When it last could not be reached, and why.
    pub last_error: Option<(SystemTime, String)>,
    /// Calls in a row that did not reach it.
    pub failures: u64,
}

#[derive(Debug, Default)]
struct ReachabilityRecord {
    state: ReachState,
    last_line: Option<Instant>,
    /// Failures since then.
    untold: u64,
}

impl Reachability {
    /// What is known of it now.
    pub fn state(&self) -> ReachState {
        self.lock().state.clone()
    }

    /// A call was answered.
    pub(crate) fn answered(&self) {
        if self.is_reachable.load(Ordering::Relaxed) {
            return;
        }
        let mut record = self.lock();
        self.is_reachable.store(true, Ordering::Relaxed);
        if record.state.reachable.replace(true) == Some(true) {
            return;
        }
        record.state.since = Some(SystemTime::now());
        record.last_line = None;
        record.untold = 0;
        let failures = std::mem::take(&mut record.state.failures);
        if failures > 0 {
            tracing::info!(failures, "the upstream can be reached again");
        }
    }

    /// A call got no answer. Only where there was no connection does that say something of the upstream's reachability.
    pub(crate) fn failed(&self, error: &CallError) {
        let (CallError::Unreachable(_) | CallError::ConnectTimeout) = error else {
            return;
        };
        let text = error.to_string();
        let error = redact(&text).into_owned();
        let mut record = self.lock();
        self.is_reachable.store(false, Ordering::Relaxed);
        let now = SystemTime::now();
        if record.state.reachable.replace(false) != Some(false) {
            record.state.since = Some(now);
        }
        record.state.failures += 1;
        record.untold += 1;
        let is_due = |line: Instant| line.elapsed() >= LINE_EVERY;
        if record.last_line.is_none_or(is_due) {
            record.last_line = Some(Instant::now());
            let failures = std::mem::take(&mut record.untold);
            tracing::warn!(failures, error, "requests do not reach the upstream");
        }
        record.state.last_error = Some((now, error));
    }

    fn lock(&self) -> MutexGuard<'_, ReachabilityRecord> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(reachability: &Reachability) -> (Option<bool>, u64, bool) {
        let state = reachability.state();
        (state.reachable, state.failures, state.last_error.is_some())
    }

    #[test]
    fn the_last_call_says_whether_the_upstream_can_be_reached() {
        let reachability = Reachability::default();
        assert_eq!(known(&reachability), (None, 0, false));
        for number in 1..=2 {
            reachability.failed(&CallError::Unreachable("refused".to_owned()));
            assert_eq!(known(&reachability), (Some(false), number, true));
        }
        let since = reachability.state().since;
        reachability.failed(&CallError::ConnectTimeout);
        assert_eq!(reachability.state().since, since);
        reachability.answered();
        assert_eq!(known(&reachability), (Some(true), 0, true));
        assert!(reachability.state().since >= since);
        reachability.failed(&CallError::Unreachable("refused".to_owned()));
        assert_eq!(known(&reachability), (Some(false), 1, true));
    }

    #[test]
    fn an_upstream_that_took_the_connection_was_reached() {
        let reachability = Reachability::default();
        for error in [CallError::Silent, CallError::Broke("reset".to_owned())] {
            reachability.failed(&error);
            assert_eq!(known(&reachability), (None, 0, false));
        }
    }

    #[test]
    fn the_log_is_told_of_many_failures_at_most_once_a_minute() {
        let reachability = Reachability::default();
        for _ in 0..1000 {
            reachability.failed(&CallError::ConnectTimeout);
        }
        assert_eq!(reachability.lock().untold, 999);
    }
}
