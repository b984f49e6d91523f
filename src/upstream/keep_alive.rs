//! Estimates the upstream's keep-alive timeout, so that no call goes out on a connection that the upstream is about to close.
//!
//! Many servers close a connection that was idle for a fixed time (uvicorn after 5 s, and so vLLM, SGLang and LiteLLM). A request that goes
//! out at that moment is lost: bytes of it were written, so it must not be repeated. Node's servers announce the time
//! (`Keep-Alive: timeout=5`). For other servers the pool learns it: [`KeepAliveEstimate`] is the shortest idle time after which the upstream
//! closed a connection. A connection that was idle for nearly that long takes no further call.
//!
//! Such a connection stays open for a while all the same, because it tests the estimate: the upstream closes it in time, or it outlives the
//! estimate. So a chance close, as at the upstream's restart, is forgotten after a few such connections. The first estimate is the commonest
//! timeout, so that no request is lost for learning that one.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};

/// A connection that was idle for this long is closed, before a firewall on the way forgets it.
pub(super) const MAX_IDLE: Duration = Duration::from_mins(1);
/// A connection that the upstream closed sooner was not closed because it was idle.
pub(super) const MIN_TIMEOUT: Duration = Duration::from_millis(20);
/// The margin before a timeout is an eighth of it, and at most this.
const MAX_MARGIN: Duration = Duration::from_secs(2);
/// The default of uvicorn, Node and Apache.
const USUAL: Duration = Duration::from_secs(5);
/// The connections in a row that have to outlive an estimate before it is forgotten.
const REFUTATIONS: u32 = 8;

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// The estimate of the upstream's timeout for idle connections.
#[derive(Debug)]
pub(super) struct KeepAliveEstimate {
    /// None where connections outlived every estimate.
    estimate: Option<Duration>,
    refutations: u32,
    /// The shortest wait before a close among the refutations: the next estimate.
    next: Option<Duration>,
}

impl Default for KeepAliveEstimate {
    fn default() -> Self {
        Self {
            estimate: Some(USUAL),
            refutations: 0,
            next: None,
        }
    }
}

impl KeepAliveEstimate {
    /// How long a connection may be idle and still take a call.
    pub(super) fn usable_for(&self) -> Duration {
        self.estimate.map_or(MAX_IDLE, usable_for)
    }

    /// The idle time with which an open connection refutes the estimate.
    pub(super) fn refuted_after(&self) -> Option<Duration> {
        self.estimate.map(|estimate| estimate + margin(estimate))
    }

    /// Learns from a connection that the upstream closed after it was `idle` for that long.
    pub(super) fn closed_after(&mut self, idle: Duration) {
        if idle <= MIN_TIMEOUT {
            return;
        }
        let shortest = |known: Option<Duration>| Some(known.map_or(idle, |known| known.min(idle)));
        if self.refuted_after().is_some_and(|most| idle > most) {
            self.next = shortest(self.next);
            return self.outlived();
        }
        self.estimate = shortest(self.estimate);
        self.refutations = 0;
        self.next = None;
    }

    /// Learns from a connection that is open although it was idle for longer than [`Self::refuted_after`].
    pub(super) fn outlived(&mut self) {
        self.refutations += 1;
        if self.refutations == REFUTATIONS {
            let usual = self.estimate.filter(|estimate| *estimate < USUAL);
            self.estimate = self.next.take().or(usual.map(|_| USUAL));
            self.refutations = 0;
        }
    }
}

/// The part of a timeout in which a request still arrives in time.
pub(super) fn usable_for(timeout: Duration) -> Duration {
    timeout.saturating_sub(margin(timeout))
}

/// Covers a request's time on the way, and a response's: the two sides start their clocks at its different ends.
fn margin(timeout: Duration) -> Duration {
    (timeout / 8).clamp(MIN_TIMEOUT, MAX_MARGIN)
}

/// The timeout that a response announces: `Keep-Alive: timeout=5, max=100`, in seconds.
pub(super) fn announced(headers: &HeaderMap) -> Option<Duration> {
    let mut parameters = headers
        .get_all(&KEEP_ALIVE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let seconds = value.trim().trim_matches('"').parse().ok()?;
        let is_timeout = name.trim().eq_ignore_ascii_case("timeout");
        is_timeout.then_some(Duration::from_secs(seconds))
    })
}

/// The time since which a connection is idle. The pool shares it with the connection's task, which sees the upstream close it.
#[derive(Debug, Default)]
pub(super) struct IdleSince(Mutex<Option<Instant>>);

impl IdleSince {
    pub(super) fn begin(&self, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// Ends the idle time and gives it. None after the first call.
    pub(super) fn end(&self) -> Option<Duration> {
        let since = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        since.map(|since| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn refuted(mut timeout: KeepAliveEstimate) -> KeepAliveEstimate {
        for _ in 0..REFUTATIONS {
            timeout.outlived();
        }
        timeout
    }

    #[test]
    fn the_usual_timeout_counts_until_enough_connections_outlived_it() {
        let usual = KeepAliveEstimate::default();
        assert_eq!(usual.usable_for(), millis(4375));
        assert_eq!(refuted(usual).usable_for(), MAX_IDLE);
    }

    #[test]
    fn a_connection_is_used_for_less_than_the_time_after_which_others_were_closed() {
        for closed in [60, 400, 2000, 8000, 30_000] {
            let mut timeout = refuted(KeepAliveEstimate::default());
            for late in [2, 0, 3] {
                timeout.closed_after(millis(closed + late));
            }
            assert!(timeout.usable_for() + MIN_TIMEOUT <= millis(closed));
            assert!(timeout.usable_for() >= millis(closed / 2));
        }
    }

    #[test]
    fn a_chance_close_is_forgotten_once_enough_connections_outlived_it() {
        let mut timeout = KeepAliveEstimate::default();
        timeout.closed_after(millis(300));
        for _ in 1..REFUTATIONS {
            timeout.outlived();
            assert!(timeout.usable_for() < millis(300));
        }
        timeout.outlived();
        assert_eq!(timeout.usable_for(), millis(4375));
    }

    #[test]
    fn closes_that_refute_an_estimate_become_the_next_one() {
        let mut timeout = KeepAliveEstimate::default();
        for _ in 0..REFUTATIONS {
            timeout.closed_after(Duration::from_secs(8));
        }
        assert_eq!(timeout.usable_for(), Duration::from_secs(7));
    }

    #[test]
    fn closes_that_confirm_an_estimate_keep_it_whatever_outlives_it_between_them() {
        let mut timeout = KeepAliveEstimate::default();
        for _ in 0..100 {
            timeout.closed_after(USUAL);
            timeout.outlived();
        }
        assert_eq!(timeout.usable_for(), millis(4375));
    }

    #[test]
    fn a_connection_that_is_closed_at_once_changes_no_estimate() {
        let mut timeout = KeepAliveEstimate::default();
        timeout.closed_after(MIN_TIMEOUT);
        assert_eq!(timeout.usable_for(), usable_for(USUAL));
    }

    #[test]
    fn an_announced_timeout_is_read_in_every_spelling() {
        let read = |value: &str| {
            let headers = [(KEEP_ALIVE.clone(), value.parse().unwrap())];
            announced(&headers.into_iter().collect())
        };
        for value in ["timeout=5", "max=100, Timeout = 5", "timeout=\"5\",max=1"] {
            assert_eq!(read(value), Some(USUAL), "{value}");
        }
        for value in ["", "5", "timeout", "timeout=soon", "max=5", "timeout=-1"] {
            assert_eq!(read(value), None, "{value}");
        }
        assert_eq!(usable_for(read("timeout=0").unwrap()), Duration::ZERO);
        assert!(usable_for(read(&format!("timeout={}", u64::MAX)).unwrap()) > MAX_IDLE);
    }
}
