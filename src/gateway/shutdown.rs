//! The time that an orderly end may take. Every await of the end goes through [`ShutdownTimer`], so none can hang: each ends at the deadline,
//! and soon after a second signal.

use std::fmt::Display;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

/// The times that a deadline gives way to.
#[derive(Clone, Copy, Debug)]
struct Reserve {
    /// The least time for each part that writes or sends spans which would be lost otherwise.
    least: Duration,
    /// The same, after a second signal.
    least_in_hurry: Duration,
    /// How long all parts together may take after a second signal, beside the least time of those that write.
    hurry: Duration,
}

const RESERVE: Reserve = Reserve {
    least: Duration::from_secs(5),
    least_in_hurry: Duration::from_millis(500),
    hurry: Duration::from_secs(1),
};

/// A part that takes no longer than this is not worth a line in the log.
const UNNOTICED: Duration = Duration::from_millis(100);

/// Gives every part of the end its time.
pub(super) struct ShutdownTimer<H> {
    end: Instant,
    reserve: Reserve,
    /// Ends with the second signal; none once it came.
    hurry: Option<H>,
}

/// Why a part was not waited for any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abandoned {
    /// Its time was over.
    Late,
    /// The second signal came.
    Hurried,
}

impl<H: Future<Output = ()> + Unpin> ShutdownTimer<H> {
    /// A timer whose deadline is `end`. `hurry` ends when a second signal comes.
    pub(super) fn new(end: Instant, hurry: H) -> Self {
        Self {
            end,
            reserve: RESERVE,
            hurry: Some(hurry),
        }
    }

    /// Whether the second signal came.
    pub(super) fn is_hurried(&self) -> bool {
        self.hurry.is_none()
    }

    /// Until when parts are waited for.
    pub(super) fn end(&self) -> Instant {
        self.end
    }

    /// Moves the deadline so that some time is left for a part that writes.
    pub(super) fn leave_some(&mut self) {
        let least = if self.is_hurried() {
            self.reserve.least_in_hurry
        } else {
            self.reserve.least
        };
        self.end = self.end.max(Instant::now() + least);
    }

    /// Waits for `part`, which cannot be left out, until the deadline; a second signal brings that near. None when it came too late.
    pub(super) async fn wait<T>(
        &mut self,
        name: impl Display,
        part: impl Future<Output = T>,
    ) -> Option<T> {
        let mut part = pin!(part);
        loop {
            match self.wait_unless_hurried(&name, part.as_mut()).await {
                Ok(ended) => return Some(ended),
                Err(Abandoned::Hurried) => {}
                Err(Abandoned::Late) => return None,
            }
        }
    }

    /// Waits for `part` until the deadline or the second signal.
    ///
    /// # Errors
    /// The part did not end in time, or the second signal comes now. That it came before ends nothing but brings the deadline near.
    pub(super) async fn wait_unless_hurried<T>(
        &mut self,
        name: impl Display,
        part: impl Future<Output = T>,
    ) -> Result<T, Abandoned> {
        let end = self.end;
        let announced = pin!(announced(&name, end, part));
        tokio::select! {
            biased;
            ended = announced => return Ok(ended),
            () = signalled(&mut self.hurry) => {}
            () = sleep_until(end) => {
                tracing::warn!("the time is over: not waiting for {name} any longer");
                return Err(Abandoned::Late);
            }
        }
        tracing::warn!("told twice to stop: not waiting for {name}");
        self.hurry = None;
        self.end = self.end.min(Instant::now() + self.reserve.hurry);
        Err(Abandoned::Hurried)
    }
}

/// Ends with `part`. Where that takes time, the log says its name and how long it is waited for.
async fn announced<T>(name: impl Display, end: Instant, part: impl Future<Output = T>) -> T {
    let mut part = pin!(part);
    if let Ok(ended) = timeout(UNNOTICED, part.as_mut()).await {
        return ended;
    }
    let left = end.saturating_duration_since(Instant::now()).as_secs_f64();
    tracing::info!("stopping: waiting at most {left:.1} s for {name}");
    part.await
}

async fn signalled<H: Future<Output = ()> + Unpin>(hurry: &mut Option<H>) {
    match hurry {
        Some(hurry) => hurry.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use proptest::prelude::*;
    use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

    use super::*;

    /// Nothing is left beyond a deadline, so that no test takes time.
    const NOTHING: Reserve = Reserve {
        least: Duration::ZERO,
        least_in_hurry: Duration::ZERO,
        hurry: Duration::ZERO,
    };

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Kind {
        /// A second signal leaves it out.
        CanBeLeftOut,
        CanNot,
        /// Nor can this, and it is given time of its own.
        Writes,
    }

    #[derive(Clone, Copy, Debug)]
    struct Part {
        hangs: bool,
        kind: Kind,
        /// The second signal comes while it is waited for.
        is_hurried: bool,
    }

    fn part() -> impl Strategy<Value = Part> {
        let kind = prop_oneof![
            Just(Kind::CanBeLeftOut),
            Just(Kind::CanNot),
            Just(Kind::Writes)
        ];
        (any::<bool>(), kind, any::<bool>()).prop_map(|(hangs, kind, is_hurried)| Part {
            hangs,
            kind,
            is_hurried,
        })
    }

    fn timer(
        left: Duration,
    ) -> (
        ShutdownTimer<std::pin::Pin<Box<WaitForCancellationFutureOwned>>>,
        CancellationToken,
    ) {
        let signal = CancellationToken::new();
        let hurry = Box::pin(signal.clone().cancelled_owned());
        let mut timer = ShutdownTimer::new(Instant::now() + left, hurry);
        timer.reserve = NOTHING;
        (timer, signal)
    }

    fn on_a_runtime<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(test)
    }

    /// Goes through an end of these parts, whether it hangs or not: one that the timer lets hang does not come back.
    async fn end(parts: &[Part], left: Duration) {
        let (mut timer, signal) = timer(left);
        for part in parts {
            if part.kind == Kind::Writes {
                timer.leave_some();
            }
            let work = async {
                if part.is_hurried {
                    signal.cancel();
                }
                if part.hangs {
                    pending::<()>().await;
                }
            };
            if part.kind == Kind::CanBeLeftOut {
                let ended = timer.wait_unless_hurried("a part", work).await;
                assert_eq!(ended.is_ok(), !part.hangs);
            } else {
                assert_eq!(timer.wait("a part", work).await.is_some(), !part.hangs);
            }
            assert!(timer.end() <= Instant::now() + left);
        }
    }

    proptest! {
        #[test]
        fn whatever_hangs_the_deadline_ends_it(parts in prop::collection::vec(part(), 0..8)) {
            on_a_runtime(end(&parts, Duration::ZERO));
        }

        #[test]
        fn whatever_hangs_a_second_signal_ends_it(
            parts in prop::collection::vec(part(), 1..8),
            at in any::<prop::sample::Index>(),
        ) {
            let at = at.index(parts.len());
            let mut parts = parts;
            for (number, part) in parts.iter_mut().enumerate() {
                part.is_hurried = number == at;
                part.hangs &= number >= at;
            }
            on_a_runtime(end(&parts, Duration::from_hours(1)));
        }
    }

    #[test]
    fn a_part_that_ends_in_time_gives_what_it_came_to() {
        on_a_runtime(async {
            let (mut timer, _signal) = timer(Duration::from_hours(1));
            assert_eq!(timer.wait("it", ready(7)).await, Some(7));
            assert_eq!(timer.wait_unless_hurried("it", ready(8)).await, Ok(8));
        });
    }

    #[test]
    fn a_part_that_writes_has_time_after_the_deadline_and_after_a_second_signal() {
        on_a_runtime(async {
            let (mut timer, signal) = timer(Duration::ZERO);
            timer.reserve = Reserve {
                least: Duration::from_hours(2),
                least_in_hurry: Duration::from_hours(1),
                ..NOTHING
            };
            timer.leave_some();
            assert!(timer.end() > Instant::now() + Duration::from_mins(90));
            signal.cancel();
            let hangs = pending::<()>();
            assert_eq!(
                timer.wait_unless_hurried("it", hangs).await,
                Err(Abandoned::Hurried)
            );
            assert!(timer.end() <= Instant::now(), "what was left is over");
            timer.leave_some();
            assert!(timer.end() > Instant::now() + Duration::from_mins(30));
            assert_eq!(timer.wait("it", tokio::task::yield_now()).await, Some(()));
        });
    }
}
