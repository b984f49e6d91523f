//! Resident memory: with nothing to do, with connections, and with streams that are open.

use std::sync::Arc;
use std::time::Duration;

use super::Bench;
use crate::checks::Before;
use crate::load;
use crate::proxies::{Proxy, Variant};
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

const NAME: &str = "memory";

impl Bench {
    pub(super) async fn memory(&mut self, plan: &Plan) {
        for variant in self.variants.clone() {
            self.connections(variant, plan).await;
            self.open_streams(variant, plan).await;
        }
    }

    async fn connections(&mut self, variant: Variant, plan: &Plan) {
        let proxy = self.start(variant).await;
        let at_rest = proxy.memory() as f64 / MIB;
        self.table.cost("memory at rest, MiB", variant, at_rest);
        let load = load::Plan {
            pool: Arc::clone(&plan.requests),
            connections: CONNECTIONS,
            requests: 6_000,
            rate: Some(2_000.0),
        };
        let before = Before::look(&proxy, &self.respan).await;
        let (done, most) = most(&proxy, load::ask(proxy.target, &load)).await;
        let row = format!("memory, {CONNECTIONS} connections at 2000/s, MiB");
        self.table.cost(&row, variant, most as f64 / MIB);
        self.checks
            .replies(NAME, &proxy, load.requests, done.answered, done.wrong);
        self.checks.settle(NAME, &proxy).await;
        self.checks
            .spans(NAME, &proxy, &self.respan, &before, load.requests)
            .await;
    }

    async fn open_streams(&mut self, variant: Variant, plan: &Plan) {
        let proxy = self.start(variant).await;
        let mut open = [0.0; 2];
        for (streams, open) in STREAMS.into_iter().zip(&mut open) {
            let plan = streams::Plan {
                pool: Arc::clone(&plan.streams),
                streams,
                turns: 1,
                interval: plan.interval,
            };
            let before = Before::look(&proxy, &self.respan).await;
            let (done, most) = most(&proxy, streams::ask(proxy.target, &plan)).await;
            *open = most as f64;
            self.checks
                .replies(NAME, &proxy, streams, done.streams, done.wrong);
            self.checks.settle(NAME, &proxy).await;
            self.checks
                .spans(NAME, &proxy, &self.respan, &before, streams)
                .await;
        }
        let row = format!("memory, {} open streams, MiB", STREAMS[1]);
        self.table.cost(&row, variant, open[1] / MIB);
        let further = (open[1] - open[0]) / (STREAMS[1] - STREAMS[0]) as f64;
        let row = "memory per further open stream, KiB";
        self.table.cost(row, variant, further / 1_024.0);
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
