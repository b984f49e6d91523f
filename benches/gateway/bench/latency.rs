//! What a proxy adds to the time until an answer, at a rate that leaves everybody time.

use super::{Bench, at};
use crate::checks::Before;
use crate::load::{self, Plan};
use crate::proxies::Variant;

impl Bench {
    pub(super) async fn latency(&mut self, name: &str, plan: &Plan) {
        let warm = Plan {
            requests: plan.requests / 10,
            ..plan.clone()
        };
        let variants: Vec<Variant> = [Variant::Direct]
            .into_iter()
            .chain(self.variants.iter().copied())
            .collect();
        let mut direct = (0.0, 0.0);
        for variant in variants {
            let proxy = self.start(variant).await;
            load::ask(proxy.target, &warm).await;
            self.checks.settle(name, &proxy).await;
            let before = Before::look(&proxy, &self.respan).await;
            let done = load::ask(proxy.target, plan).await;
            self.checks
                .replies(name, &proxy, plan.requests, done.answered, done.wrong);
            self.checks.settle(name, &proxy).await;
            let calls = plan.requests;
            self.checks
                .spans(name, &proxy, &self.respan, &before, calls)
                .await;
            let (p50, p99) = (at(&done.latencies, 500), at(&done.latencies, 990));
            let added = (p50 - direct.0, p99 - direct.1);
            if variant == Variant::Direct {
                direct = (p50, p99);
            }
            let row = format!("{name}: added p50 µs (direct: all)");
            self.table.cost(&row, variant, added.0);
            let row = format!("{name}: added p99 µs (direct: all)");
            self.table.cost(&row, variant, added.1);
        }
    }
}
