//! CPU time of an event of a stream, and how much later it arrives than without a proxy.

use std::time::Duration;

use super::Bench;
use crate::checks::Before;
use crate::proxies::Variant;
use crate::streams::{self, Done, EVENTS, Plan};

impl Bench {
    pub(super) async fn streams(&mut self, name: &str, plan: &Plan) {
        let warm = Plan {
            streams: 32,
            interval: Duration::from_millis(1),
            ..plan.clone()
        };
        let proxies = self.start_all(true).await;
        for proxy in &proxies {
            streams::ask(proxy.target, &warm).await;
            self.checks.settle(name, proxy).await;
        }
        let mut sums: Vec<(Done, f64)> = proxies.iter().map(|_| (Done::default(), 0.0)).collect();
        for _ in 0..plan.turns {
            for (proxy, (sum, cpu)) in proxies.iter().zip(&mut sums) {
                let before = Before::look(proxy, &self.respan).await;
                *cpu -= proxy.cpu();
                let done = streams::ask(proxy.target, plan).await;
                self.checks.settle(name, proxy).await;
                *cpu += proxy.cpu();
                self.checks
                    .replies(name, proxy, plan.streams, done.streams, done.wrong);
                self.checks
                    .spans(name, proxy, &self.respan, &before, plan.streams)
                    .await;
                sum.add(done);
            }
        }
        for (sum, _) in &mut sums {
            sum.delays.sort_unstable();
        }
        for (proxy, (sum, cpu)) in proxies.iter().zip(&sums) {
            let variant = proxy.variant;
            if variant != Variant::Direct {
                let each = cpu / (sum.streams * EVENTS) as f64;
                self.table
                    .cost(&format!("{name}: CPU µs/event"), variant, each);
            }
            let delays = &sums[0].0.delays;
            self.added(
                &format!("{name}: added delay"),
                variant,
                &sum.delays,
                delays,
            );
            // More than a hundred intervals, and the machine could not keep up.
            let each = sum.took.as_secs_f64() / sum.streams as f64;
            self.table.fact(&format!("{name}: s/stream"), variant, each);
        }
    }
}
