//! What a proxy adds to the time until an answer, at a rate that leaves everybody time.

use super::Bench;
use crate::checks::Before;
use crate::load::{self, Plan};

impl Bench {
    pub(super) async fn latency(&mut self, name: &str, plan: &Plan) {
        let turns = self.options.turns();
        let turn = Plan {
            requests: plan.requests / turns,
            ..plan.clone()
        };
        let warm = Plan {
            requests: plan.requests / 10,
            ..plan.clone()
        };
        let proxies = self.start_all(true).await;
        for proxy in &proxies {
            load::ask(proxy.target, &warm).await;
            self.checks.settle(name, proxy).await;
        }
        let mut latencies = vec![Vec::new(); proxies.len()];
        for _ in 0..turns {
            for (proxy, latencies) in proxies.iter().zip(&mut latencies) {
                let before = Before::look(proxy, &self.respan).await;
                let done = load::ask(proxy.target, &turn).await;
                self.checks
                    .replies(name, proxy, turn.requests, done.answered, done.wrong);
                self.checks.settle(name, proxy).await;
                self.checks
                    .spans(name, proxy, &self.respan, &before, turn.requests)
                    .await;
                latencies.extend(done.latencies);
            }
        }
        for latencies in &mut latencies {
            latencies.sort_unstable();
        }
        for (proxy, own) in proxies.iter().zip(&latencies) {
            self.added(&format!("{name}: added"), proxy.variant, own, &latencies[0]);
        }
    }
}
