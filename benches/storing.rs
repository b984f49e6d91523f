//! What writing down costs: groups of exchanges, from their beginning until their spans are accepted, in a store on the disk.
//!
//! The rule: a group is told as the capture and the exporter would tell it, and is over when the disk has all of it. The store is small
//! enough to be full soon, so that making room is part of it, as it is in a gateway that has run for a day.
//!
//! Two lines behind the criterion part say how long a start takes with 1 GiB in the store: of long requests, and of very many small ones.
//!
//! `cargo bench --bench storing` runs all; `-- 1KB` after it, those with that in their name; `-- start`, the starts alone.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench that cannot go on says why and stops"
)]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use spangate::internals::capture::{Capture, CaptureSettings, ExchangeSink};
use spangate::internals::exchange::{Budget, CapturedBody, Exchange, ExchangeId, RequestMeta};
use spangate::internals::runs::FinishedSpan;
use spangate::internals::span::{Placement, TraceId};
use spangate::internals::store::{Replay, Settings, Settled, Store};
use tokio::runtime::Runtime;

use samples::{exchange, meta, request};
use words::Words;

#[path = "parts/samples.rs"]
mod samples;
#[path = "parts/words.rs"]
mod words;

const SIZES: [(&str, usize); 3] = [("1KB", 1 << 10), ("20KB", 20 << 10), ("200KB", 200 << 10)];

/// Exchanges that are told together: what gathers while the writer lingers, at some thousands a second.
const GROUP: u64 = 32;

/// Keeps the meta that the capture gives a store.
#[derive(Clone, Default)]
struct Beginnings(Arc<Mutex<Option<Started>>>);

type Started = (Arc<RequestMeta>, u64, CapturedBody);

/// Exchanges are made by hand here, so nothing is done with the ones that the capture makes.
impl ExchangeSink for Beginnings {
    fn recover(&self) {}

    fn started(&self, meta: &Arc<RequestMeta>, started_ns: u64, body: Option<CapturedBody>) {
        if let Some(body) = body {
            let started = (Arc::clone(meta), started_ns, body);
            *self.0.lock().unwrap() = Some(started);
        }
    }

    fn request_complete(&self, _: Arc<RequestMeta>, _: u64, _: CapturedBody) {}

    fn settled(&self, _: Exchange) {}

    fn on_idle(&self, _: usize) -> Option<Instant> {
        None
    }

    fn close(&self) {}
}

/// Makes groups of exchanges that begin with a capture of their own.
struct Source {
    body: Bytes,
    number: u64,
}

/// An exchange from both its ends.
type Told = (Started, Arc<Exchange>);

impl Source {
    fn new(size: usize) -> Self {
        Source {
            body: request(&mut Words::new(), size).into(),
            number: 0,
        }
    }

    fn group(&mut self) -> Vec<Told> {
        (0..GROUP).map(|_| self.one()).collect()
    }

    fn one(&mut self) -> Told {
        self.number += 1;
        let beginnings = Beginnings::default();
        let settings = CaptureSettings {
            budget: Budget::new(1 << 30),
            workers: 1,
            partition: |_| 0,
            last_moment: None,
            on_dropped: Box::new(|| ()),
        };
        let (capture, workers) = Capture::start(settings, beginnings.clone()).unwrap();
        let (mut asked, answered) = capture.open(meta(), Some(self.body.len() as u64));
        asked.data(&self.body);
        asked.complete();
        drop(answered);
        workers.finish();
        let started = beginnings.0.lock().unwrap().take().unwrap();
        let text = String::from_utf8(self.body.to_vec()).unwrap();
        let mut exchange = Arc::into_inner(exchange(self.number, text)).unwrap();
        exchange.meta = Arc::clone(&started.0);
        (started, Arc::new(exchange))
    }
}

/// Tells the store all of a group, and waits until it is written and, where it `is_posted`, accepted.
async fn tell(store: &Arc<Store>, group: Vec<Told>, is_posted: bool) {
    let mut ids: Vec<ExchangeId> = Vec::with_capacity(group.len());
    for ((meta, started_ns, body), exchange) in group {
        store.started(&meta, started_ns, Some(body));
        store.ended(&exchange);
        ids.push(exchange.meta.id);
        let place = Placement {
            trace_id: TraceId([1; 16]),
            parent_span_id: None,
            start_steady_ns: exchange.started_ns,
            wall_offset_ns: 0,
            events: Vec::new(),
            notes: Vec::new(),
            model: None,
            task: None,
        };
        store.add(FinishedSpan::Call { exchange, place });
    }
    store.finished(ids);
    written(store).await;
    while is_posted && let Some(batch) = store.take(512, 1 << 20) {
        if let Some(loaded) = batch.load().await {
            loaded.settle(&Settled::default());
        }
    }
    written(store).await;
}

/// A replay of nothing waits until everything that was told before is written.
async fn written(store: &Store) {
    while store.replay(Replay::Refused).await.is_none() {}
}

fn settings(dir: &Path, max_size: u64) -> Settings {
    Settings {
        dir: Some(dir.to_owned()),
        max_size,
        max_age: Duration::from_hours(24),
        max_memory: 64 << 20,
        exports: true,
    }
}

fn runtime() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().build().unwrap()
}

fn groups(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("store");
    group.sample_size(20);
    for (name, size) in SIZES {
        let dir = tempfile::tempdir().unwrap();
        let (store, writing) = Store::open(&settings(dir.path(), 256 << 20)).unwrap();
        let mut source = Source::new(size);
        group.throughput(Throughput::Elements(GROUP));
        group.bench_function(BenchmarkId::new("32_exchanges", name), |bencher| {
            bencher.iter_batched(
                || source.group(),
                |group| runtime.block_on(tell(&store, group, true)),
                BatchSize::PerIteration,
            );
        });
        let counts = store.counts();
        assert_eq!(
            counts.created, counts.exported,
            "all were written and accepted"
        );
        store.close();
        writing.finish();
    }
    group.finish();
}

/// Starts with a full store whose spans wait: one run to fill it, and the best of three starts.
fn starts(_: &mut Criterion) {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    if !wanted.starts_with("--") && !wanted.is_empty() && !"start".contains(&wanted) {
        return;
    }
    for (name, size) in [SIZES[0], SIZES[2]] {
        let dir = tempfile::tempdir().unwrap();
        let settings = || settings(dir.path(), 1 << 30);
        let (store, writing) = Store::open(&settings()).unwrap();
        let mut source = Source::new(size);
        while store.state().bytes < 1000 << 20 {
            runtime().block_on(tell(&store, source.group(), false));
        }
        store.close();
        writing.finish();
        let mut best = (Duration::MAX, 0);
        for _ in 0..3 {
            let began = Instant::now();
            let (store, writing) = Store::open(&settings()).unwrap();
            best = best.min((began.elapsed(), store.counts().pending));
            store.close();
            writing.finish();
        }
        let (time, spans) = best;
        println!("start with 1 GiB, {name}: {time:.1?}, {spans} spans wait");
    }
}

criterion_group!(storing, groups, starts);
criterion_main!(storing);
