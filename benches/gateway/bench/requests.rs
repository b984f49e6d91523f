//! CPU time of a request, with all that it causes later.

use super::Bench;
use crate::checks::Before;
use crate::load::{self, Plan};
use crate::proxies::{Proxy, Variant};

/// What came of all turns of one variant.
#[derive(Clone, Default)]
struct Sum {
    answered: f64,
    seconds: f64,
    /// Microseconds of CPU time: until the last answer, and until all was over.
    loaded: f64,
    settled: f64,
    spans: f64,
    lost: f64,
}

impl Bench {
    pub(super) async fn requests(&mut self, name: &str, plan: &Plan) {
        let turns = self.options.turns();
        let warm = Plan {
            requests: plan.requests / 20 + plan.connections,
            ..plan.clone()
        };
        let turn = Plan {
            requests: plan.requests / turns,
            ..plan.clone()
        };
        let proxies = self.start_all(false).await;
        for proxy in &proxies {
            let done = load::ask(proxy.target, &warm).await;
            self.checks
                .replies(name, proxy, warm.requests, done.answered, done.wrong);
            self.checks.settle(name, proxy).await;
        }
        let mut sums = vec![Sum::default(); proxies.len()];
        for _ in 0..turns {
            for (proxy, sum) in proxies.iter().zip(&mut sums) {
                self.turn(name, proxy, &turn, sum).await;
            }
        }
        for (proxy, sum) in proxies.iter().zip(sums) {
            self.tell(name, proxy.variant, &sum);
        }
    }

    async fn turn(&mut self, name: &str, proxy: &Proxy, plan: &Plan, sum: &mut Sum) {
        let (before, cpu) = (Before::look(proxy, &self.respan).await, proxy.cpu());
        let done = load::ask(proxy.target, plan).await;
        sum.loaded += proxy.cpu() - cpu;
        self.checks.settle(name, proxy).await;
        sum.settled += proxy.cpu() - cpu;
        sum.answered += done.answered as f64;
        sum.seconds += done.took.as_secs_f64();
        self.checks
            .replies(name, proxy, plan.requests, done.answered, done.wrong);
        let spans = self
            .checks
            .spans(name, proxy, &self.respan, &before, plan.requests)
            .await;
        sum.spans += spans.made as f64;
        sum.lost += spans.lost as f64;
    }

    fn tell(&mut self, name: &str, variant: Variant, sum: &Sum) {
        let each = |all: f64| all / sum.answered;
        let row = format!("{name}: CPU µs/request");
        self.table.cost(&row, variant, each(sum.settled));
        if variant == Variant::On {
            let facts = [
                ("of that after the load, µs", each(sum.settled - sum.loaded)),
                ("spans/request", each(sum.spans)),
                ("spans lost, %", 100.0 * sum.lost / sum.spans),
            ];
            for (what, figure) in facts {
                self.table.fact(&format!("{name}: {what}"), variant, figure);
            }
        }
        let row = format!("{name}: requests/s");
        self.table.fact(&row, variant, sum.answered / sum.seconds);
    }
}
