//! Rounds: in each, every variant is started anew and does every workload, one beside the other in time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::checks::{Before, Checks};
use crate::load::{self, Plan};
use crate::options::Options;
use crate::proxies::{Installed, Proxy, Variant};
use crate::respan::Respan;
use crate::table::Table;
use crate::traffic::Pool;
use crate::upstream;

pub(crate) struct Bench {
    options: Options,
    upstream: SocketAddr,
    respan: Respan,
    variants: Vec<Variant>,
    table: Table,
    checks: Checks,
}

impl Bench {
    pub(crate) fn new(options: Options, installed: &Installed) -> Self {
        let mut variants = vec![Variant::Haproxy, Variant::Nginx, Variant::Off, Variant::On];
        variants.retain(|variant| installed.nginx || *variant != Variant::Nginx);
        Bench {
            options,
            upstream: upstream::start(),
            respan: Respan::start(),
            variants,
            table: Table::default(),
            checks: Checks::default(),
        }
    }

    /// Prints the table; gives whether everything held.
    pub(crate) async fn run(mut self) -> bool {
        let loads = self.loads();
        for round in 1..=self.options.rounds {
            let began = Instant::now();
            for (name, plan) in &loads {
                self.requests(name, plan).await;
            }
            eprintln!(
                "round {round} of {}: {:.0?}",
                self.options.rounds,
                began.elapsed()
            );
        }
        self.table.print();
        for failed in &self.checks.failed {
            println!("\nCHECK FAILED: {failed}");
        }
        self.checks.failed.is_empty()
    }

    /// What is asked in each round, by name.
    fn loads(&self) -> Vec<(String, Plan)> {
        let scale = if self.options.quick { 4 } else { 1 };
        let mut loads = Vec::new();
        if self.options.wants("requests") {
            let pool = Arc::new(Pool::new(256, 2, 1_000, false));
            for connections in [1, 16, 64, 256] {
                let requests = if connections == 1 { 20_000 } else { 60_000 };
                let plan = Plan {
                    pool: Arc::clone(&pool),
                    connections,
                    requests: requests / scale,
                    rate: None,
                };
                loads.push((format!("1 KB, c={connections}"), plan));
            }
        }
        if self.options.wants("history") {
            let pool = Arc::new(Pool::new(64, 4, 20_000, false));
            let plan = Plan {
                pool,
                connections: 16,
                requests: 20_000 / scale,
                rate: None,
            };
            loads.push(("20 KB, c=16".to_owned(), plan));
            let pool = Arc::new(Pool::new(64, 4, 200_000, false));
            let plan = Plan {
                pool,
                connections: 32,
                requests: 5_000 / scale,
                rate: Some(1_000.0),
            };
            loads.push(("200 KB, 1000/s".to_owned(), plan));
        }
        loads
    }

    /// CPU time of one request, with all that it causes later.
    async fn requests(&mut self, name: &str, plan: &Plan) {
        let warm = Plan {
            requests: plan.requests / 20 + plan.connections,
            ..plan.clone()
        };
        for variant in self.variants.clone() {
            let proxy = Proxy::start(variant, self.upstream, self.respan.address).await;
            let done = load::ask(proxy.target, &warm).await;
            self.checks
                .replies(name, &proxy, warm.requests, done.answered, done.wrong);
            self.checks.settle(name, &proxy).await;

            let (before, cpu) = (Before::look(&proxy, &self.respan).await, proxy.cpu());
            let done = load::ask(proxy.target, plan).await;
            let now = proxy.cpu();
            self.checks.settle(name, &proxy).await;
            let all = proxy.cpu();
            self.checks
                .replies(name, &proxy, plan.requests, done.answered, done.wrong);
            let calls = plan.requests;
            self.checks
                .spans(name, &proxy, &self.respan, &before, calls)
                .await;

            let each = |time: Duration| time.as_secs_f64() * 1e6 / done.answered as f64;
            self.table
                .cost(&format!("{name}: CPU µs/request"), variant, each(all - cpu));
            if variant == Variant::On {
                let row = format!("{name}: of that after the load, µs");
                self.table.fact(&row, variant, each(all - now));
            }
            let rate = done.answered as f64 / done.took.as_secs_f64();
            self.table
                .fact(&format!("{name}: requests/s"), variant, rate);
        }
    }
}
