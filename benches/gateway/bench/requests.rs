//! CPU time of a request, with all that it causes later.

use super::Bench;
use crate::checks::Before;
use crate::load::{self, Plan};
use crate::proxies::Variant;

impl Bench {
    pub(super) async fn requests(&mut self, name: &str, plan: &Plan) {
        let warm = Plan {
            requests: plan.requests / 20 + plan.connections,
            ..plan.clone()
        };
        for variant in self.variants.clone() {
            let proxy = self.start(variant).await;
            let done = load::ask(proxy.target, &warm).await;
            self.checks
                .replies(name, &proxy, warm.requests, done.answered, done.wrong);
            self.checks.settle(name, &proxy).await;

            let (before, cpu) = (Before::look(&proxy, &self.respan).await, proxy.cpu());
            let done = load::ask(proxy.target, plan).await;
            let after_load = proxy.cpu();
            self.checks.settle(name, &proxy).await;
            let settled = proxy.cpu();
            self.checks
                .replies(name, &proxy, plan.requests, done.answered, done.wrong);
            let calls = plan.requests;
            let spans = self
                .checks
                .spans(name, &proxy, &self.respan, &before, calls)
                .await;

            let each = |time: f64| time / done.answered as f64;
            let row = format!("{name}: CPU µs/request");
            self.table.cost(&row, variant, each(settled - cpu));
            if variant == Variant::On {
                let row = format!("{name}: of that after the load, µs");
                self.table.fact(&row, variant, each(settled - after_load));
                let row = format!("{name}: spans/request");
                let spans = spans as f64 / done.answered as f64;
                self.table.fact(&row, variant, spans);
            }
            let rate = done.answered as f64 / done.took.as_secs_f64();
            let row = format!("{name}: requests/s");
            self.table.fact(&row, variant, rate);
        }
    }
}
