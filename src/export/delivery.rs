//! One batch from its first try until each of its spans is settled.
//!
//! The same spans in the same encoding are the same bytes, so every try is the same post. While the exporter drains, no wait goes
//! beyond the deadline: spans that would have to wait longer go back into the store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::respan::Verdict;
use super::{ApiKey, ExportSettings, ExporterState};
use crate::background;
use crate::metrics::PostOutcome;
use crate::store::{Batch, Loaded, Settled};

/// After each so many failed tries a part makes way for the others of its batch. If anything was accepted meanwhile, it is not Respan
/// that is down but the part that makes it fail: it is halved to find the span, and the span, once found, is set aside.
const PATIENCE: u32 = 5;

/// After so many failed tries a single span is set aside also when nothing was accepted meanwhile, if no other batch has a place: perhaps
/// it is spans like this one that hold them all.
const LONG_PATIENCE: u32 = 2 * PATIENCE;

/// How long a disk that takes its time may hold a batch up.
const DISK_TIME: Duration = Duration::from_secs(1);

/// The events that end a wait early.
pub(super) struct ExporterSignals {
    settings: watch::Receiver<Arc<ExportSettings>>,
    drain: watch::Receiver<Option<Instant>>,
    gate: watch::Receiver<()>,
}

/// Spans that are tried together: at first the whole batch, later perhaps a piece of it.
struct BatchPart {
    batch: Loaded,
    /// Tries that failed and were worth another.
    failures: u32,
    /// Posts that had been accepted, of anybody's, before the first try.
    accepted_before: u64,
}

/// How the tries of one part ended.
enum DeliveryOutcome {
    Settled(Settled),
    /// Never as a whole: each half is tried, and a single span is refused for this reason.
    Halve(String),
    /// Not yet, and it is another part's turn.
    OthersFirst,
    /// Perhaps never, and others shall not wait for it.
    SetAside,
    /// The exporter ends, and the next try would come too late.
    GivenUp,
}

impl ExporterSignals {
    pub(super) fn of(state: &ExporterState) -> Self {
        Self {
            settings: state.settings.clone(),
            drain: state.drain.subscribe(),
            gate: state.gate.changes(),
        }
    }

    pub(super) fn settings(&mut self) -> Arc<ExportSettings> {
        Arc::clone(&self.settings.borrow_and_update())
    }

    /// Until when the exporter may try; none while it does not drain.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        *self.drain.borrow_and_update()
    }

    /// Returns when the settings are replaced or the exporter begins to drain.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            () = change(&mut self.settings) => {}
            () = change(&mut self.drain) => {}
        }
    }
}

/// A sender that is gone will never change anything again.
async fn change<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl ExporterState {
    pub(super) fn gave_up(&self) -> bool {
        self.gave_up.load(Ordering::Acquire)
    }

    /// Ends when every span of the batch is settled, or (only while draining) back in the store.
    pub(super) async fn deliver(&self, batch: Batch) {
        // After a crash before that, the same exchanges may become other spans, under the same ids.
        drop(tokio::time::timeout(DISK_TIME, batch.written()).await);
        let Some(batch) = batch.load().await else {
            return;
        };
        let mut parts = VecDeque::from([self.part(batch)]);
        while let Some(mut part) = parts.pop_front() {
            match self.try_until_answered(&mut part).await {
                DeliveryOutcome::Settled(settled) => part.batch.settle(&settled),
                DeliveryOutcome::Halve(reason) => match part.batch.halve() {
                    Ok((older, newer)) => {
                        parts.push_front(self.part(newer));
                        parts.push_front(self.part(older));
                    }
                    Err(single) => {
                        self.health.remark(1, &reason);
                        single.settle(&Settled {
                            rejected: 1,
                            reason: Some(reason),
                        });
                    }
                },
                DeliveryOutcome::OthersFirst => parts.push_back(part),
                DeliveryOutcome::SetAside => part.batch.set_aside(),
                DeliveryOutcome::GivenUp => {
                    self.gave_up.store(true, Ordering::Release);
                    self.gate.wake();
                    return;
                }
            }
        }
    }

    fn accepted_count(&self) -> u64 {
        *self.accepted.borrow()
    }

    fn part(&self, batch: Loaded) -> BatchPart {
        BatchPart {
            batch,
            failures: 0,
            accepted_before: self.accepted_count(),
        }
    }

    async fn try_until_answered(&self, part: &mut BatchPart) -> DeliveryOutcome {
        let mut signals = ExporterSignals::of(self);
        loop {
            let (settings, verdict) = match self.post(&part.batch, &mut signals).await {
                Ok(answered) => answered,
                Err(ending) => return ending,
            };
            let (after, reason) = match verdict {
                Verdict::Accepted { warning } => return self.accepted(0, warning),
                Verdict::Partial { rejected, message } => {
                    return self.accepted(rejected, Some(message));
                }
                Verdict::TooLarge => {
                    self.gate.open();
                    return DeliveryOutcome::Halve("a span is larger than Respan takes".to_owned());
                }
                Verdict::Rejected { reason } => {
                    self.gate.open();
                    return DeliveryOutcome::Halve(reason);
                }
                Verdict::Unauthorised { reason } => {
                    self.gate.refuse_key(&settings, Instant::now());
                    self.health
                        .key_refused(&reason, self.store.counts().pending);
                    if signals.deadline().is_some() {
                        return DeliveryOutcome::GivenUp;
                    }
                    continue;
                }
                Verdict::Retry { after, reason } => (after, reason),
                Verdict::WrongAddress { reason } => (None, reason),
            };
            self.health.failed(&reason, self.store.counts().pending);
            let asked = after.map(|after| after + jitter(after / 10));
            if let Some(asked) = asked {
                self.gate
                    .leave_alone_until(Instant::now() + asked, &settings);
            }
            part.failures = part.failures.saturating_add(1);
            let mut wait = self.backoff(part.failures);
            if let Some(deadline) = signals.deadline()
                && !self.store.is_on_disk()
            {
                let left = deadline.saturating_duration_since(Instant::now());
                wait = before_the_end(wait, left, self.timings.backoff_base);
            }
            // The server's delay is a lower bound: a server may ask for no delay at all, again and again.
            if !pause(wait.max(asked.unwrap_or_default()), &mut signals).await {
                return DeliveryOutcome::GivenUp;
            }
            if part.failures.is_multiple_of(PATIENCE) {
                let others_pass = self.accepted_count() > part.accepted_before;
                let all_wait =
                    part.failures >= LONG_PATIENCE && self.batches.available_permits() == 0;
                return match (part.batch.count(), signals.deadline()) {
                    (2.., _) if others_pass => DeliveryOutcome::Halve(reason),
                    // While draining, a span that is set aside would be taken again at once.
                    (1, None) if others_pass || all_wait => DeliveryOutcome::SetAside,
                    _ => DeliveryOutcome::OthersFirst,
                };
            }
        }
    }

    fn accepted(&self, rejected: u64, remark: Option<String>) -> DeliveryOutcome {
        self.accepted.send_modify(|accepted| *accepted += 1);
        self.gate.open();
        self.health.succeeded();
        if let Some(remark) = &remark {
            self.health.remark(rejected, remark);
        }
        DeliveryOutcome::Settled(Settled {
            rejected,
            reason: remark,
        })
    }

    /// One try, as soon as there is a key, the gate is open and fewer than [`super::POSTS`] are under way.
    async fn post(
        &self,
        batch: &Loaded,
        signals: &mut ExporterSignals,
    ) -> Result<(Arc<ExportSettings>, Verdict), DeliveryOutcome> {
        // The semaphore is never closed, so this always waits for a turn.
        let turn = self.posts.acquire().await;
        let (settings, key) = self
            .leave_to_post(signals)
            .await
            .ok_or(DeliveryOutcome::GivenUp)?;
        let (encoding, spans) = (settings.encoding, batch.shared_spans());
        let encode = move || encoding.encode(spans.iter().map(Arc::as_ref));
        // Tried in halves, so that the span that cannot be encoded is refused and counted, and the others leave.
        let body = background::run(encode)
            .await
            .map_err(|background::Panicked| {
                DeliveryOutcome::Halve("this span cannot be encoded; please report it".to_owned())
            })?;
        let under_way = self.health.post_begins();
        let verdict = self.client.post(&settings, &key, body).await;
        drop((under_way, turn));
        self.metrics.export_post(outcome(&verdict));
        Ok((settings, verdict))
    }

    /// The settings to post with, when it is time; none when the exporter drains and there will be no such time.
    async fn leave_to_post(
        &self,
        signals: &mut ExporterSignals,
    ) -> Option<(Arc<ExportSettings>, ApiKey)> {
        loop {
            signals.gate.borrow_and_update();
            let (settings, deadline) = (signals.settings(), signals.deadline());
            if self.gave_up() {
                return None;
            }
            let Some(key) = settings.api_key.clone() else {
                if deadline.is_some() {
                    return None;
                }
                signals.changed().await;
                continue;
            };
            match self.gate.enter(&settings, Instant::now()) {
                Ok(()) => return Some((settings, key)),
                // At the deadline this task is stopped; until then another post may open the gate.
                Err(time) => tokio::select! {
                    () = tokio::time::sleep_until(time) => {}
                    () = change(&mut signals.gate) => {}
                    () = change(&mut signals.settings) => {}
                    () = change(&mut signals.drain) => {}
                },
            }
        }
    }

    /// Full jitter: anything between nothing and an upper end that doubles, so that many gateways do not come back together.
    fn backoff(&self, failures: u32) -> Duration {
        let doubled = self
            .timings
            .backoff_base
            .saturating_mul(1 << failures.saturating_sub(1).min(16));
        jitter(doubled.min(self.timings.backoff_cap))
    }
}

/// A backoff at the end, where spans that are not accepted are lost: no longer than half of the time that is `left`, until that is shorter than
/// `least`.
fn before_the_end(backoff: Duration, left: Duration, least: Duration) -> Duration {
    backoff.min((left / 2).max(least))
}

/// Waits, until new settings or the beginning of the drain end it early. Whether to try again: not when the wait would go beyond the
/// deadline of the drain.
async fn pause(wait: Duration, signals: &mut ExporterSignals) -> bool {
    if signals
        .deadline()
        .is_some_and(|deadline| Instant::now() + wait >= deadline)
    {
        return false;
    }
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = signals.changed() => {}
    }
    true
}

fn jitter(most: Duration) -> Duration {
    most.mul_f64(fastrand::f64())
}

fn outcome(verdict: &Verdict) -> PostOutcome {
    match verdict {
        Verdict::Accepted { .. } => PostOutcome::Accepted,
        Verdict::Partial { .. } => PostOutcome::Partial,
        Verdict::Retry { .. } => PostOutcome::Retry,
        Verdict::Unauthorised { .. } => PostOutcome::Unauthorised,
        Verdict::WrongAddress { .. } => PostOutcome::WrongAddress,
        Verdict::TooLarge => PostOutcome::TooLarge,
        Verdict::Rejected { .. } => PostOutcome::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_in_memory_are_tried_until_shortly_before_the_end() {
        let [second, minute] = [Duration::from_secs(1), Duration::from_mins(1)];
        let wait = |backoff, left| before_the_end(backoff, left, second / 2);
        assert_eq!(wait(second, minute), second);
        let (mut left, mut tries) = (5 * minute, 0);
        while wait(minute, left) < left {
            left -= wait(minute, left);
            tries += 1;
        }
        assert!(left <= second && tries < 20, "{left:?} after {tries}");
    }
}
