//! What must hold besides being fast: every reply as the upstream sent it, every span at Respan, and an account that adds up.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use spangate::internals::store::DropReason;

use crate::proxies::{Proxy, Variant};
use crate::respan::Respan;

/// How long what a load left behind may take.
const PATIENCE: Duration = Duration::from_mins(3);

/// Microseconds of CPU time in a tenth of a second that are no work any more.
const IDLE: f64 = 5_000.0;

/// What did not hold.
#[derive(Default)]
pub(crate) struct Checks {
    pub(crate) failed: Vec<String>,
}

/// How far the account was before a load.
pub(crate) struct Before {
    created: u64,
    exported: u64,
    rejected: u64,
    dropped: Vec<(&'static str, u64)>,
    got: (u64, u64),
}

/// Spans that a load made, and those of them that never arrived.
#[derive(Default)]
pub(crate) struct Spans {
    pub(crate) made: u64,
    pub(crate) lost: u64,
}

impl Before {
    pub(crate) async fn look(proxy: &Proxy, respan: &Respan) -> Self {
        let metric = async |name: &str| match &proxy.gateway {
            Some(gateway) => gateway.metric(name).await,
            None => 0,
        };
        let mut dropped = Vec::new();
        for reason in DropReason::ALL {
            let reason = reason.label();
            let name = format!("spangate_spans_dropped_total{{reason=\"{reason}\"}}");
            dropped.push((reason, metric(&name).await));
        }
        Before {
            created: metric("spangate_spans_created_total").await,
            exported: metric("spangate_spans_exported_total").await,
            rejected: metric("spangate_spans_rejected_total").await,
            dropped,
            got: respan.got(),
        }
    }
}

impl Checks {
    pub(crate) fn fail(&mut self, what: String) {
        println!("CHECK FAILED: {what}");
        self.failed.push(what);
    }

    pub(crate) fn replies(
        &mut self,
        load: &str,
        proxy: &Proxy,
        wanted: usize,
        done: usize,
        wrong: usize,
    ) {
        if wrong > 0 || wanted != done {
            let name = proxy.variant.name();
            self.fail(format!(
                "{load}, {name}: {done} of {wanted} answered, {wrong} of them not as the upstream did"
            ));
        }
    }

    /// Waits until all that a load has caused is over, so that its cost is known.
    pub(crate) async fn settle(&mut self, load: &str, proxy: &Proxy) {
        let began = Instant::now();
        let mut before = proxy.cpu();
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let left = match &proxy.gateway {
                Some(gateway) => {
                    let left = ["spangate_spans_pending", "spangate_runs_open"];
                    gateway.sum(&left).await
                }
                None => 0,
            };
            let now = proxy.cpu();
            let busy = now - std::mem::replace(&mut before, now);
            if left == 0 && busy < IDLE {
                return;
            }
            if began.elapsed() > PATIENCE {
                let name = proxy.variant.name();
                self.fail(format!(
                    "{load}, {name}: {left} spans and runs were left after {PATIENCE:?}"
                ));
                return;
            }
        }
    }

    /// Whether each of so many calls is a span that arrived, and no span got lost.
    pub(crate) async fn spans(
        &mut self,
        load: &str,
        proxy: &Proxy,
        respan: &Respan,
        before: &Before,
        calls: usize,
    ) -> Spans {
        let Some(gateway) = &proxy.gateway else {
            return Spans::default();
        };
        let name = proxy.variant.name();
        let now = Before::look(proxy, respan).await;
        let made = now.created - before.created;
        let exported = now.exported - before.exported;
        let rejected = now.rejected - before.rejected;
        let (got, of_calls) = (now.got.0 - before.got.0, now.got.1 - before.got.1);
        let calls = if proxy.variant == Variant::Off {
            0
        } else {
            calls as u64
        };
        if made != exported || got != exported || of_calls != calls {
            let mut dropped = String::new();
            for ((reason, now), (_, before)) in now.dropped.iter().zip(&before.dropped) {
                if now > before {
                    _ = write!(dropped, "{} dropped ({reason}), ", now - before);
                }
            }
            self.fail(format!(
                "{load}, {name}: {calls} calls, {made} spans made, {exported} exported, {rejected} refused, \
                 {dropped}{got} at Respan, {of_calls} of these of calls"
            ));
        }
        if !gateway.balanced().await {
            self.fail(format!("{load}, {name}: the account does not add up"));
        }
        Spans {
            made,
            lost: made.saturating_sub(exported),
        }
    }
}
