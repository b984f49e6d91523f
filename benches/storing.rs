//! What writing down costs: groups of exchanges, from their beginning until their spans are accepted, in a store on the disk.
//!
//! The rule: a group is told as the capture and the exporter would tell it, and is over when the disk has all of it. The store is small
//! enough to be full soon, so that making room is part of it, as it is in a gateway that has run for a day.
//!
//! `cargo bench --bench storing` runs all; `-- 1KB` after it, those with that in their name.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot go on says why and stops"
)]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use spangate::capture::worker::{self, Sink, Worker};
use spangate::capture::{Begun, Capture, Journal};
use spangate::exchange::{Budget, CapturedBody, Exchange, ExchangeId, RequestMeta};
use spangate::runs::FinishedSpan;
use spangate::span::{Placement, TraceId};
use spangate::store::{Settings, Settled, Store};

use samples::{exchange, meta, request};
use words::Words;

#[path = "parts/samples.rs"]
mod samples;
#[path = "parts/words.rs"]
mod words;

const SIZES: [(&str, usize); 3] = [("1KB", 1 << 10), ("20KB", 20 << 10), ("200KB", 200 << 10)];

/// Exchanges that are told together: what gathers while the writer lingers, at some thousands a second.
const GROUP: u64 = 32;

/// Keeps what the capture tells a store.
#[derive(Default)]
struct Beginnings(Mutex<Vec<Begun>>);

impl Journal for Beginnings {
    fn began(&self, begun: Begun) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(begun);
    }

    fn asked(&self, _: &Arc<RequestMeta>, _: CapturedBody) {}
}

/// Exchanges are made by hand here, so nothing is done with the ones that the capture makes.
struct Nobody;

impl Sink for Nobody {
    fn begin(&mut self) {}

    fn asked(&mut self, _: Arc<RequestMeta>, _: u64, _: CapturedBody) {}

    fn settled(&mut self, _: Exchange) {}

    fn rest(&mut self) -> Option<Instant> {
        None
    }

    fn close(&mut self) {}
}

/// Makes groups of exchanges that begin with a capture of their own.
struct Source {
    beginnings: Arc<Beginnings>,
    capture: Capture,
    _worker: Worker,
    body: Bytes,
    number: u64,
}

/// An exchange from both its ends.
type Told = (Begun, Arc<Exchange>);

impl Source {
    fn new(size: usize) -> Self {
        let beginnings = Arc::new(Beginnings::default());
        let journal = Arc::clone(&beginnings) as Arc<dyn Journal>;
        let (capture, worker) = worker::start(Budget::new(1 << 30), journal, Nobody).unwrap();
        Source {
            beginnings,
            capture,
            _worker: worker,
            body: request(&mut Words::new(), size).into(),
            number: 0,
        }
    }

    fn group(&mut self) -> Vec<Told> {
        (0..GROUP).map(|_| self.one()).collect()
    }

    fn one(&mut self) -> Told {
        self.number += 1;
        let (mut asked, _answered) = self.capture.open(meta(), Some(self.body.len() as u64));
        asked.data(&self.body);
        asked.complete();
        let begun = self.beginnings.0.lock().unwrap().pop().unwrap();
        let text = String::from_utf8(self.body.to_vec()).unwrap();
        let mut exchange = Arc::into_inner(exchange(self.number, text)).unwrap();
        exchange.meta = Arc::clone(&begun.meta);
        (begun, Arc::new(exchange))
    }
}

/// Tells the store all of a group, and waits until it is written.
async fn tell(store: &Arc<Store>, group: Vec<Told>) {
    let mut ids: Vec<ExchangeId> = Vec::with_capacity(group.len());
    for (begun, exchange) in group {
        store.began(begun);
        store.ended(&exchange);
        ids.push(exchange.meta.id);
        let place = Placement {
            trace_id: TraceId([1; 16]),
            parent_span_id: None,
            start_ns: exchange.started_ns,
            wall_offset_ns: 0,
            events: Vec::new(),
            notes: Vec::new(),
            model: None,
            task: None,
        };
        store.add(FinishedSpan::Call { exchange, place });
    }
    store.released(ids);
    written(store).await;
    while let Some(batch) = store.take(512, 1 << 20) {
        if let Some(loaded) = batch.load().await {
            loaded.settle(&Settled::default());
        }
    }
    written(store).await;
}

/// Questions are answered after everything that was told before is written.
async fn written(store: &Store) {
    store.refused(1).await.unwrap();
}

fn groups(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut group = criterion.benchmark_group("store");
    group.sample_size(20);
    for (name, size) in SIZES {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            dir: Some(dir.path().to_owned()),
            max_size: 256 << 20,
            max_age: Duration::from_hours(24),
            max_memory: 64 << 20,
            exports: true,
        };
        let (store, writing) = Store::open(settings).unwrap();
        let mut source = Source::new(size);
        group.throughput(Throughput::Elements(GROUP));
        group.bench_function(BenchmarkId::new("32_exchanges", name), |bencher| {
            bencher.iter_batched(
                || source.group(),
                |group| runtime.block_on(tell(&store, group)),
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

criterion_group!(storing, groups);
criterion_main!(storing);
