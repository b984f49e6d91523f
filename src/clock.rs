//! The steady clock of exchanges: it is never set, so the order of its times is the order of events.
//!
//! People and NTP set the wall clock, and it leaps when a machine wakes. So exchanges are timed by a clock that starts at the wall's time and
//! runs on steadily. Each exchange notes the offset between the two. All spans of a run use the offset of the run's first exchange: they
//! never run backwards, and the next run has the wall's new time.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A larger change of the offset means that the wall clock was set. A smaller one is the time between two readings.
const TOLERANCE_NS: u64 = 50_000_000;

/// A time of a [`Clock`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds on the steady clock, near those since the Unix epoch.
    pub steady_ns: u64,
    /// The wall clock's time minus the steady one's.
    pub wall_offset_ns: i64,
}

/// A steady clock that tracks the wall clock's offset.
#[derive(Debug)]
pub(crate) struct Clock {
    base: Instant,
    base_ns: u64,
    wall_offset_ns: AtomicI64,
}

impl Clock {
    /// Starts at the wall's time, or continues the clock of an earlier process from its `last` moment.
    pub(crate) fn new(now: Instant, wall: SystemTime, last: Option<Moment>) -> Self {
        let wall_ns = since_epoch(wall);
        let base_ns = last.map_or(wall_ns, |last| {
            let run_on = wall_ns.saturating_add_signed(last.wall_offset_ns.saturating_neg());
            run_on.max(last.steady_ns)
        });
        Clock {
            base: now,
            base_ns,
            wall_offset_ns: AtomicI64::new(difference(wall_ns, base_ns)),
        }
    }

    /// The time, from readings of the system's two clocks.
    pub(crate) fn read(&self, now: Instant, wall: SystemTime) -> Moment {
        let steady_ns = self
            .base_ns
            .saturating_add(nanoseconds(now.saturating_duration_since(self.base)));
        let measured = difference(since_epoch(wall), steady_ns);
        let known = self.wall_offset_ns.load(Ordering::Relaxed);
        let wall_offset_ns = if measured.abs_diff(known) > TOLERANCE_NS {
            self.wall_offset_ns.store(measured, Ordering::Relaxed);
            measured
        } else {
            known
        };
        Moment {
            steady_ns,
            wall_offset_ns,
        }
    }
}

fn since_epoch(wall: SystemTime) -> u64 {
    nanoseconds(wall.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn difference(wall_ns: u64, steady_ns: u64) -> i64 {
    let difference = i128::from(wall_ns) - i128::from(steady_ns);
    i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_700_000_000 * SECOND;

    /// The moments of a clock for pairs of elapsed milliseconds and the wall clock's error in milliseconds.
    fn moments(readings: &[(u64, i64)]) -> Vec<Moment> {
        let began = Instant::now();
        let clock = Clock::new(began, at(START), None);
        let read = |&(after_ms, off_ms): &(u64, i64)| {
            let steady = Duration::from_millis(after_ms);
            let wall = (START + nanoseconds(steady)).saturating_add_signed(off_ms * 1_000_000);
            clock.read(began + steady, at(wall))
        };
        readings.iter().map(read).collect()
    }

    fn at(ns: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(ns)
    }

    #[test]
    fn setting_the_wall_clock_changes_no_order_and_no_distance() {
        let hour_ms = 3_600_000;
        let read = moments(&[
            (0, 0),
            (100, -200),
            (200, hour_ms),
            (300, hour_ms),
            (400, 0),
        ]);
        let steady: Vec<u64> = read.iter().map(|moment| moment.steady_ns).collect();
        assert_eq!(steady, [0, 1, 2, 3, 4].map(|n| START + n * SECOND / 10));
        let offsets: Vec<i64> = read
            .iter()
            .map(|moment| moment.wall_offset_ns / 1_000_000)
            .collect();
        assert_eq!(offsets, [0, -200, hour_ms, hour_ms, 0]);
    }

    #[test]
    fn the_time_between_two_readings_changes_no_offset() {
        for moment in moments(&[(1, 3), (2, -3), (3, 40)]) {
            assert_eq!(moment.wall_offset_ns, 0);
        }
    }

    #[test]
    fn a_later_process_continues_from_the_last_moment_of_the_earlier_one() {
        let wall_ns = START + 60 * SECOND;
        for (offset, steady_ns, expected_ns) in [
            // The wall clock had been set forward, or back, before the restart.
            (
                3600 * SECOND.cast_signed(),
                START - 3600 * SECOND,
                wall_ns - 3600 * SECOND,
            ),
            (-200_000_000, START + 200_000_000, wall_ns + 200_000_000),
            // The wall clock was set back by an hour between the two processes.
            (0, wall_ns + 3600 * SECOND, wall_ns + 3600 * SECOND),
        ] {
            let last = Moment {
                steady_ns,
                wall_offset_ns: offset,
            };
            let began = Instant::now();
            let clock = Clock::new(began, at(wall_ns), Some(last));
            let first = clock.read(began, at(wall_ns));
            assert_eq!(first.steady_ns, expected_ns);
            assert!(first.steady_ns >= last.steady_ns);
            assert_eq!(
                first.steady_ns.saturating_add_signed(first.wall_offset_ns),
                wall_ns
            );
        }
    }
}
