//! What is asked in each round, and how much of it.

use std::sync::Arc;
use std::time::Duration;

use super::{Workload, memory};
use crate::load;
use crate::options::Options;
use crate::streams;
use crate::traffic::Pool;

/// By name, in the order in which they are done.
pub(super) fn workloads(options: &Options) -> Vec<(String, Workload)> {
    let scale = if options.quick { 4 } else { 1 };
    let short = Arc::new(Pool::new(256, 2, 1_000, false));
    let mut workloads = Vec::new();
    if options.wants("requests") {
        requests(&short, scale, &mut workloads);
    }
    if options.wants("history") {
        history(scale, &mut workloads);
    }
    if options.wants("latency") {
        for (connections, rate) in [(1, 500), (16, 2_000)] {
            let plan = load::Plan {
                pool: Arc::clone(&short),
                connections,
                requests: rate * 8 / scale,
                rate: Some(rate as f64),
            };
            let name = format!("1 KB, {rate}/s, c={connections}");
            workloads.push((name, Workload::Latency(plan)));
        }
    }
    let streamed = Arc::new(Pool::new(256, 1, 1_000, true));
    if options.wants("streams") {
        for (streams, interval) in [(500, 10), (1_000, 10), (500, 50), (1_000, 50)] {
            if options.quick && (streams, interval) != (500, 10) {
                continue;
            }
            let plan = streams::Plan {
                pool: Arc::clone(&streamed),
                streams,
                turns: if interval == 10 { options.turns() } else { 1 },
                interval: Duration::from_millis(interval),
            };
            let name = format!("{streams} streams, {interval} ms");
            workloads.push((name, Workload::Streams(plan)));
        }
    }
    if options.wants("memory") {
        let plan = memory::Plan {
            requests: short,
            streams: streamed,
            interval: Duration::from_millis(if options.quick { 20 } else { 50 }),
        };
        workloads.push(("memory".to_owned(), Workload::Memory(plan)));
    }
    workloads
}

fn requests(pool: &Arc<Pool>, scale: usize, workloads: &mut Vec<(String, Workload)>) {
    for connections in [1, 16, 64, 256] {
        let requests = if connections == 1 { 20_000 } else { 60_000 };
        let plan = load::Plan {
            pool: Arc::clone(pool),
            connections,
            requests: requests / scale,
            rate: None,
        };
        let name = format!("1 KB, c={connections}");
        workloads.push((name, Workload::Requests(plan)));
    }
}

/// Calls of a long conversation: all that was said goes up with each.
fn history(scale: usize, workloads: &mut Vec<(String, Workload)>) {
    let plan = load::Plan {
        pool: Arc::new(Pool::new(64, 4, 20_000, false)),
        connections: 16,
        requests: 20_000 / scale,
        rate: None,
    };
    workloads.push(("20 KB, c=16".to_owned(), Workload::Requests(plan)));
    let plan = load::Plan {
        pool: Arc::new(Pool::new(64, 4, 200_000, false)),
        connections: 32,
        requests: 5_000 / scale,
        rate: Some(1_000.0),
    };
    workloads.push(("200 KB, 1000/s".to_owned(), Workload::Requests(plan)));
}
