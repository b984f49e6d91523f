//! CPU time of an event of a stream, and how much later it arrives than without a proxy.

use super::{Bench, at};
use crate::checks::Before;
use crate::proxies::Variant;
use crate::streams::{self, EVENTS, Plan};

impl Bench {
    pub(super) async fn streams(&mut self, name: &str, plan: &Plan) {
        let warm = Plan {
            streams: 32,
            each: 1,
            interval: std::time::Duration::from_millis(1),
            ..plan.clone()
        };
        let variants: Vec<Variant> = [Variant::Direct]
            .into_iter()
            .chain(self.variants.iter().copied())
            .collect();
        let mut direct = (0.0, 0.0);
        for variant in variants {
            let proxy = self.start(variant).await;
            streams::ask(proxy.target, &warm).await;
            self.checks.settle(name, &proxy).await;
            let (before, cpu) = (Before::look(&proxy, &self.respan).await, proxy.cpu());
            let done = streams::ask(proxy.target, plan).await;
            self.checks.settle(name, &proxy).await;
            let cpu = proxy.cpu() - cpu;
            let calls = plan.streams * plan.each;
            self.checks
                .replies(name, &proxy, calls, done.streams, done.wrong);
            self.checks
                .spans(name, &proxy, &self.respan, &before, calls)
                .await;

            let events = (done.streams * EVENTS) as f64;
            if variant != Variant::Direct {
                let row = format!("{name}: CPU µs/event");
                self.table.cost(&row, variant, cpu / events);
            }
            let (p50, p99) = (at(&done.delays, 500), at(&done.delays, 990));
            let added = (p50 - direct.0, p99 - direct.1);
            if variant == Variant::Direct {
                direct = (p50, p99);
            }
            let row = format!("{name}: added delay p50 µs (direct: all)");
            self.table.cost(&row, variant, added.0);
            let row = format!("{name}: added delay p99 µs (direct: all)");
            self.table.cost(&row, variant, added.1);
            // More than a hundred intervals, and the machine could not keep up.
            let row = format!("{name}: s/stream");
            let each = done.took.as_secs_f64() / done.streams as f64;
            self.table.fact(&row, variant, each);
        }
    }
}
