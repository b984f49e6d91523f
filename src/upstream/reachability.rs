//! Tracks whether the upstream can be reached, for the admin API and the log.
//!
//! The log gets a line when that changes, and at most one a minute while the upstream cannot be reached.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::error::CallError;
use crate::redact::redact;

const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Whether the upstream can be reached, as its calls show.
#[derive(Debug, Default)]
pub(crate) struct Reachability {
    /// Every successful call reads this without the lock.
    is_reachable: AtomicBool,
    record: Mutex<ReachabilityRecord>,
}

/// The state of a [`Reachability`] at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReachState {
    /// Whether the last call reached it; none before the first.
    pub reachable: Option<bool>,
    /// The time of the last change.
    pub since: Option<SystemTime>,
    /// The last time at which a call could not reach it, and why.
    pub last_error: Option<(SystemTime, String)>,
    /// Calls in a row that did not reach it.
    pub failures: u64,
}

#[derive(Debug, Default)]
struct ReachabilityRecord {
    state: ReachState,
    last_logged: Option<Instant>,
    /// Failures since that line.
    unlogged: u64,
}

impl Reachability {
    /// The state now.
    pub(crate) fn state(&self) -> ReachState {
        self.lock().state.clone()
    }

    /// Notes that a call got a response.
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
        record.last_logged = None;
        record.unlogged = 0;
        let failures = std::mem::take(&mut record.state.failures);
        if failures > 0 {
            tracing::info!(failures, "the upstream can be reached again");
        }
    }

    /// Notes that a call got no response. Only an error without a connection counts: another one reached the upstream.
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
        record.unlogged += 1;
        let is_due = |logged: Instant| logged.elapsed() >= LOG_INTERVAL;
        if record.last_logged.is_none_or(is_due) {
            record.last_logged = Some(Instant::now());
            let failures = std::mem::take(&mut record.unlogged);
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
    fn failures_are_logged_at_most_once_a_minute() {
        let reachability = Reachability::default();
        for _ in 0..1000 {
            reachability.failed(&CallError::ConnectTimeout);
        }
        assert_eq!(reachability.lock().unlogged, 999);
    }
}
