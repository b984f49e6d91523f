//! The scenarios, each with the figures that it prints.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::accounting;
use crate::gateway::Gateway;
use crate::load::{self, All};
use crate::peers::{self, Respan};

/// How long an exchange must be under way for its beginning to be on the disk.
const WRITTEN: Duration = Duration::from_millis(20);

async fn start(store: &Path, upstream: SocketAddr, respan: SocketAddr) -> Gateway {
    let settings = ["server.drain_delay=0s", "store.max_size=4GiB"];
    Gateway::start(store, upstream, respan, &settings).await
}

/// `kill -9`, and when.
fn end(gateway: Gateway) -> Instant {
    let at = Instant::now();
    drop(gateway);
    at
}

/// Resident memory, in MiB.
fn memory_of(gateway: &Gateway) -> u64 {
    accounting::memory(gateway.process()) >> 20
}

async fn drained(gateway: &Gateway) -> Duration {
    let began = Instant::now();
    while gateway.metric("spangate_spans_pending").await > 0 {
        assert!(
            began.elapsed() < Duration::from_mins(5),
            "spans still pend after five minutes"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

/// Kills at random moments under 200 requests a second, half of them streams.
pub(crate) async fn kill(kills: u32) {
    let (upstream, respan) = (peers::upstream().await, Respan::start(false).await);
    let dir = tempfile::tempdir().unwrap();
    let (seen, mut ready) = (All::default(), Vec::new());
    let (mut owed, mut total, mut unbalanced) = (Vec::new(), 0, 0);
    for _ in 0..kills {
        let gateway = start(dir.path(), upstream, respan.address).await;
        ready.push(gateway.ready_after);
        unbalanced += u32::from(!gateway.balanced().await);
        let alive = Duration::from_millis(fastrand::u64(300..2500));
        let mut clients = load::paced(gateway.address, 200, alive, true, &seen).await;
        let killed = end(gateway);
        clients.abort_all();
        let round: Vec<_> = std::mem::take(&mut *seen.lock().unwrap());
        total += round.len();
        owed.extend(
            round
                .into_iter()
                .filter(|seen| killed.saturating_duration_since(seen.began) > WRITTEN),
        );
    }
    let gateway = start(dir.path(), upstream, respan.address).await;
    // What the last kill cut off is told after the start, so that nothing pends says nothing yet.
    let patience = Instant::now() + Duration::from_secs(10);
    let arrived = || {
        let got = respan.got.lock().unwrap();
        owed.iter()
            .all(|seen| got.by_exchange.contains_key(&seen.exchange))
    };
    while !arrived() && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drained(&gateway).await;
    let got = respan.got.lock().unwrap();
    let lost = owed
        .iter()
        .filter(|seen| !got.by_exchange.contains_key(&seen.exchange));
    let (streams, plain): (Vec<_>, Vec<_>) = lost.partition(|seen| seen.streamed);
    let several = got.by_exchange.values().filter(|ids| ids.len() > 1).count();
    ready.sort_unstable();
    println!(
        "{kills} kills, {total} heads seen, {} of them from exchanges older than 20 ms at the kill",
        owed.len()
    );
    println!(
        "lost: {} plain, {} streams; exchanges with several span ids: {several}",
        plain.len(),
        streams.len()
    );
    println!(
        "spans sent twice: {} (with other content: {}); scrapes that did not add up: {unbalanced}",
        got.twice, got.changed
    );
    println!(
        "ready after: median {:?}, longest {:?}",
        ready[ready.len() / 2],
        ready.last().unwrap()
    );
}

/// Starts with a large store of spans that wait.
pub(crate) async fn large(mebibytes: u32) {
    let (upstream, respan) = (peers::upstream().await, Respan::start(true).await);
    respan.down.store(true, Ordering::Relaxed);
    let dir = tempfile::tempdir().unwrap();
    let gateway = start(dir.path(), upstream, respan.address).await;
    println!(
        "empty: ready after {:?}, {} MiB of memory",
        gateway.ready_after,
        memory_of(&gateway)
    );
    while gateway.metric("spangate_store_bytes").await < u64::from(mebibytes) << 20 {
        load::closed(gateway.address, 16, 4_000, 4_000, "").await;
    }
    // Requests at full speed outrun the thread that makes spans of them; what waits for it is in memory.
    let behind = memory_of(&gateway);
    let mut pending = 0;
    loop {
        let now = gateway.metric("spangate_spans_pending").await;
        if now == std::mem::replace(&mut pending, now) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    println!("{behind} MiB of memory while spans were made");
    let (bytes, memory) = (
        gateway.metric("spangate_store_bytes").await,
        memory_of(&gateway),
    );
    println!(
        "{pending} spans pending, {} MiB on the disk, {memory} MiB of memory",
        bytes >> 20
    );
    end(gateway);
    let gateway = start(dir.path(), upstream, respan.address).await;
    println!(
        "after a kill: ready after {:?}, {} MiB of memory, {} spans pending, adds up: {}",
        gateway.ready_after,
        memory_of(&gateway),
        gateway.metric("spangate_spans_pending").await,
        gateway.balanced().await
    );
    respan.down.store(false, Ordering::Relaxed);
    let began = Instant::now();
    drained(&gateway).await;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = pending as f64 / began.elapsed().as_secs_f64();
    println!(
        "drained at {rate:.0} spans/s; lost: {}",
        pending.saturating_sub(respan.got.lock().unwrap().spans)
    );
}

/// Respan down for some minutes at 200 requests a second.
pub(crate) async fn outage(minutes: u32) {
    let (upstream, respan) = (peers::upstream().await, Respan::start(true).await);
    let dir = tempfile::tempdir().unwrap();
    let gateway = start(dir.path(), upstream, respan.address).await;
    let phase = async |duration| {
        let seen = All::default();
        load::paced(gateway.address, 200, duration, false, &seen)
            .await
            .join_all()
            .await;
        let mut latencies: Vec<Duration> = seen
            .lock()
            .unwrap()
            .iter()
            .map(|seen| seen.head_after)
            .collect();
        latencies.sort_unstable();
        let at = |part: usize| latencies[(latencies.len() * part / 1000).min(latencies.len() - 1)];
        (latencies.len(), at(500), at(990))
    };
    let (_, p50, p99) = phase(Duration::from_secs(30)).await;
    println!(
        "before: p50 {p50:?}, p99 {p99:?}, {} MiB of memory",
        memory_of(&gateway)
    );
    let memory = memory_of(&gateway);
    respan.down.store(true, Ordering::Relaxed);
    let (requests, p50, p99) = phase(Duration::from_mins(minutes.into())).await;
    let (pending, after) = (
        gateway.metric("spangate_spans_pending").await,
        memory_of(&gateway),
    );
    println!(
        "{minutes} minutes down: {requests} requests, p50 {p50:?}, p99 {p99:?}, {after} MiB of memory ({:+} MiB), {pending} pending",
        i64::try_from(after).unwrap() - i64::try_from(memory).unwrap()
    );
    respan.down.store(false, Ordering::Relaxed);
    let first = gateway.metric("spangate_spans_exported_total").await;
    while gateway.metric("spangate_spans_exported_total").await == first {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = drained(&gateway).await;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = pending as f64 / took.as_secs_f64();
    let dropped = gateway.metric("spangate_spans_dropped_total").await;
    println!(
        "drained at {rate:.0} spans/s from the first post on; dropped {dropped}, adds up: {}",
        gateway.balanced().await
    );
    let created = gateway.metric("spangate_spans_created_total").await;
    println!(
        "lost: {}",
        created.saturating_sub(respan.got.lock().unwrap().spans)
    );
}

/// CPU time per request: untraced, traced with the store in memory, and on the disk, in turns.
pub(crate) async fn cost(rounds: u32) {
    const REQUESTS: usize = 40_000;
    let (upstream, respan) = (peers::upstream().await, Respan::start(true).await);
    let dir = tempfile::tempdir().unwrap();
    let on_disk = start(dir.path(), upstream, respan.address).await;
    let in_memory = start(Path::new(":memory:"), upstream, respan.address).await;
    let ways = [
        ("tracing off", &on_disk, "x-respan-log: off\r\n"),
        ("store in memory", &in_memory, ""),
        ("store on the disk", &on_disk, ""),
    ];
    let mut costs = vec![Vec::new(); ways.len()];
    for (_, gateway, headers) in ways {
        load::closed(gateway.address, 16, REQUESTS / 4, 800, headers).await;
    }
    for _ in 0..rounds {
        for (way, (_, gateway, headers)) in ways.into_iter().enumerate() {
            drained(gateway).await;
            let before = accounting::cpu(gateway.process());
            let answered = load::closed(gateway.address, 16, REQUESTS, 800, headers).await;
            drained(gateway).await;
            #[expect(clippy::cast_precision_loss, reason = "some ten thousand requests")]
            costs[way].push((accounting::cpu(gateway.process()) - before) / answered as f64);
        }
    }
    for ((name, gateway, _), mut costs) in ways.into_iter().zip(costs) {
        costs.sort_by(f64::total_cmp);
        println!(
            "{name}: {:.1} us per request (median of {rounds}; {:.1} to {:.1}); adds up: {}, dropped {}",
            costs[costs.len() / 2],
            costs[0],
            costs[costs.len() - 1],
            gateway.balanced().await,
            gateway.metric("spangate_spans_dropped_total").await
        );
    }
}
