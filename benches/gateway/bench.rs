//! Rounds: in each, every variant is started anew for every workload, and they take turns.
//!
//! The turns are short, and their order changes from round to round: whatever else the machine does meets all variants alike, and none always
//! follows the one that leaves the disk busy.

use std::net::SocketAddr;
use std::time::Instant;

use crate::checks::Checks;
use crate::load;
use crate::machine::Ticks;
use crate::options::Options;
use crate::proxies::{Installed, Proxy, Variant};
use crate::respan::Respan;
use crate::streams;
use crate::table::Table;
use crate::upstream;

mod latency;
mod memory;
mod plans;
mod requests;
mod stream;

/// What is done in each round.
enum Workload {
    Requests(load::Plan),
    Latency(load::Plan),
    Streams(streams::Plan),
    Memory(memory::Plan),
}

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
        let workloads = plans::workloads(&self.options);
        for round in 1..=self.options.rounds {
            let (began, before) = (Instant::now(), Ticks::now());
            for (name, workload) in &workloads {
                match workload {
                    Workload::Requests(plan) => self.requests(name, plan).await,
                    Workload::Latency(plan) => self.latency(name, plan).await,
                    Workload::Streams(plan) => self.streams(name, plan).await,
                    Workload::Memory(plan) => self.memory(plan).await,
                }
            }
            self.variants.rotate_left(1);
            eprintln!(
                "round {round} of {}: {:.0?}; {}",
                self.options.rounds,
                began.elapsed(),
                Ticks::now().others_since(before)
            );
        }
        self.table.print();
        for failed in &self.checks.failed {
            println!("\nCHECK FAILED: {failed}");
        }
        self.checks.failed.is_empty()
    }

    async fn start(&self, variant: Variant) -> Proxy {
        Proxy::start(variant, self.upstream, self.respan.address).await
    }

    /// All of them, and the upstream itself first where there is something to take from theirs.
    async fn start_all(&self, direct: bool) -> Vec<Proxy> {
        let mut proxies = Vec::new();
        if direct {
            proxies.push(self.start(Variant::Direct).await);
        }
        for variant in &self.variants {
            proxies.push(self.start(*variant).await);
        }
        proxies
    }

    /// What each adds to the direct way, in the middle and at the end that one in a hundred meets.
    fn added(&mut self, what: &str, variant: Variant, sorted: &[u64], direct: &[u64]) {
        for (thousandths, label) in [(500, "p50"), (990, "p99")] {
            let base = if variant == Variant::Direct {
                0.0
            } else {
                at(direct, thousandths)
            };
            let row = format!("{what} {label} µs (direct: all of it)");
            self.table
                .cost(&row, variant, at(sorted, thousandths) - base);
        }
    }
}

/// Of sorted nanoseconds, the one that so many thousandths are below, in microseconds.
fn at(sorted: &[u64], thousandths: usize) -> f64 {
    let place = (sorted.len() * thousandths / 1_000).min(sorted.len().saturating_sub(1));
    sorted
        .get(place)
        .map_or(f64::NAN, |nanoseconds| *nanoseconds as f64 / 1_000.0)
}
