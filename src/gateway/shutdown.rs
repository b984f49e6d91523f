//! The time that an orderly end may take. Every await of the end goes through [`ShutdownTimer`], so none can hang: each ends at the deadline,
//! and soon after a second signal.

use std::fmt::Display;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

/// The least time that each part is given which writes or sends what would be lost otherwise, whatever is left of the deadline.
pub(super) const LEAST: Duration = Duration::from_secs(5);
/// The same, after a second signal.
pub(super) const LEAST_IN_HURRY: Duration = Duration::from_millis(500);
/// How long all parts together may take after a second signal, before [`LEAST_IN_HURRY`] for each that writes.
pub(super) const HURRY: Duration = Duration::from_secs(1);
/// A part that takes no longer than this is not worth a line in the log.
const UNNOTICED: Duration = Duration::from_millis(100);

/// Gives every part of the end its time.
pub(super) struct ShutdownTimer<H> {
    end: Instant,
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

    /// Moves the deadline so that at least [`LEAST`] is left, or [`LEAST_IN_HURRY`].
    pub(super) fn leave_some(&mut self) {
        let least = if self.is_hurried() {
            LEAST_IN_HURRY
        } else {
            LEAST
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
        self.end = self.end.min(Instant::now() + HURRY);
        Err(Abandoned::Hurried)
    }
}

/// Ends with `part`, and says what is waited for and how long where that takes time.
async fn announced<T>(name: impl Display, end: Instant, part: impl Future<Output = T>) -> T {
    let mut part = pin!(part);
    if let Ok(ended) = timeout(UNNOTICED, part.as_mut()).await {
        return ended;
    }
    let left = end.saturating_duration_since(Instant::now()).as_secs_f64();
    tracing::info!("stopping: waiting for {name}, at most {left:.1} s");
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
    use std::future::{Pending, pending};

    use proptest::prelude::*;
    use tokio::time::sleep;

    use super::*;

    /// How long a part of the end takes; none of one that hangs.
    fn part() -> impl Strategy<Value = Option<u64>> {
        prop_oneof![Just(None), (0..400_000_u64).prop_map(Some)]
    }

    async fn lasting(milliseconds: Option<u64>) {
        match milliseconds {
            Some(milliseconds) => sleep(Duration::from_millis(milliseconds)).await,
            None => pending().await,
        }
    }

    fn in_paused_time<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(test)
    }

    proptest! {
        #[test]
        fn whatever_hangs_an_end_keeps_to_its_deadline_and_to_a_second_signal(
            parts in prop::collection::vec((part(), any::<bool>(), any::<bool>()), 0..6),
            deadline in 0..300_000_u64,
            second in part(),
        ) {
            let took = in_paused_time(async {
                let began = Instant::now();
                let deadline = began + Duration::from_millis(deadline);
                let mut timer = ShutdownTimer::new(deadline, Box::pin(lasting(second)));
                for (part, writes, can_be_left_out) in &parts {
                    if *writes {
                        timer.leave_some();
                    }
                    if *can_be_left_out {
                        let _ = timer.wait_unless_hurried("a part", lasting(*part)).await;
                    } else {
                        let _ = timer.wait("a part", lasting(*part)).await;
                    }
                }
                began.elapsed()
            });
            let writers = u32::try_from(parts.iter().filter(|(_, writes, _)| *writes).count()).unwrap();
            let slack = Duration::from_millis(10);
            prop_assert!(took <= Duration::from_millis(deadline) + writers * LEAST + slack, "{took:?}");
            if let Some(second) = second {
                let most = Duration::from_millis(second) + HURRY + writers * LEAST_IN_HURRY;
                prop_assert!(took <= most + slack, "{took:?}");
            }
        }
    }

    #[test]
    fn a_part_that_ends_in_time_gives_what_it_came_to() {
        in_paused_time(async {
            let end = Instant::now() + Duration::from_secs(9);
            let mut timer = ShutdownTimer::<Pending<()>>::new(end, pending());
            let part = async {
                sleep(Duration::from_secs(8)).await;
                7
            };
            assert_eq!(timer.wait("it", part).await, Some(7));
            assert_eq!(timer.wait("it", pending::<()>()).await, None);
            assert_eq!(
                timer.wait_unless_hurried("it", pending::<()>()).await,
                Err(Abandoned::Late)
            );
        });
    }

    #[test]
    fn a_part_that_cannot_be_left_out_is_waited_for_after_a_second_signal_too() {
        in_paused_time(async {
            let end = Instant::now() + Duration::from_hours(1);
            let mut timer = ShutdownTimer::new(end, Box::pin(lasting(Some(1_000))));
            let part = sleep(Duration::from_millis(1_500));
            assert_eq!(timer.wait("it", part).await, Some(()));
            assert!(timer.is_hurried());
            assert_eq!(
                timer
                    .wait_unless_hurried("more", sleep(Duration::from_millis(100)))
                    .await,
                Ok(())
            );
        });
    }
}
