//! Resident memory: with nothing to do, with connections, and with streams that are open.

use std::sync::Arc;
use std::time::Duration;

use super::Bench;
use crate::load;
use crate::proxies::Proxy;
use crate::streams;
use crate::traffic::Pool;

/// The requests and streams, and the time between two events.
pub(super) struct Plan {
    pub(super) requests: Arc<Pool>,
    pub(super) streams: Arc<Pool>,
    pub(super) interval: Duration,
}

const CONNECTIONS: usize = 256;
const STREAMS: [usize; 2] = [500, 1_000];

const MIB: f64 = 1_048_576.0;

impl Bench {
    pub(super) async fn memory(&mut self, plan: &Plan) {
        for variant in self.variants.clone() {
            let proxy = self.start(variant).await;
            let mut row = |name: &str, bytes: u64| {
                self.table.cost(name, variant, bytes as f64 / MIB);
            };
            row("memory at rest, MiB", proxy.memory());
            let requests = load::Plan {
                pool: Arc::clone(&plan.requests),
                connections: CONNECTIONS,
                requests: 6_000,
                rate: Some(2_000.0),
            };
            let (done, most) = most(&proxy, load::ask(proxy.target, &requests)).await;
            row(
                &format!("memory, {CONNECTIONS} connections at 2000/s, MiB"),
                most,
            );
            let load = "memory";
            self.checks
                .replies(load, &proxy, requests.requests, done.answered, done.wrong);

            let proxy = self.start(variant).await;
            let mut open = [0; 2];
            for (streams, open) in STREAMS.into_iter().zip(&mut open) {
                let plan = streams::Plan {
                    pool: Arc::clone(&plan.streams),
                    streams,
                    turns: 1,
                    interval: plan.interval,
                };
                let (done, most) = self::most(&proxy, streams::ask(proxy.target, &plan)).await;
                *open = most;
                self.checks
                    .replies(load, &proxy, streams, done.streams, done.wrong);
                self.checks.settle(load, &proxy).await;
            }
            let streams = STREAMS[1];
            let name = format!("memory, {streams} open streams, MiB");
            self.table.cost(&name, variant, open[1] as f64 / MIB);
            let further = (open[1] as f64 - open[0] as f64) / (STREAMS[1] - STREAMS[0]) as f64;
            self.table.cost(
                "memory per further open stream, KiB",
                variant,
                further / 1_024.0,
            );
        }
    }
}

/// The most memory that a proxy had while this went on.
async fn most<T>(proxy: &Proxy, work: impl Future<Output = T>) -> (T, u64) {
    let mut work = std::pin::pin!(work);
    let mut most = 0;
    loop {
        tokio::select! {
            done = &mut work => return (done, most),
            () = tokio::time::sleep(Duration::from_millis(50)) => most = most.max(proxy.memory()),
        }
    }
}
