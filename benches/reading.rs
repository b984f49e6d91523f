//! What tracing costs the thread that reads copies: a request's body and its attributes, a call's place among runs, a reply, whole or a
//! stream's events, a batch in each encoding.
//!
//! `cargo bench --bench reply` runs all; `-- 1KB` after it, those with that in their name.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use spangate::internals::export::OtlpEncoding;
use spangate::internals::openai::{ChatRequest, ReplyReader};
use spangate::internals::runs::{self, Runs};
use spangate::internals::span::Span;
use spangate::internals::span::chat::{reply_attributes, request_attributes};

use answers::{span, stream, whole};
use samples::{exchange, request};
use words::Words;

#[path = "parts/answers.rs"]
mod answers;
#[path = "parts/samples.rs"]
mod samples;
#[path = "parts/words.rs"]
mod words;

/// Sizes of prompts, in bytes.
const SIZES: [(&str, usize); 3] = [("1KB", 1 << 10), ("20KB", 20 << 10), ("200KB", 200 << 10)];

/// Spans of a batch, each with a prompt of 20 KB: about as much as one post holds.
const SPANS: u8 = 50;

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request");
    for (name, size) in SIZES {
        let body = request(&mut Words::new(), size);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("parse", name), &body, |bencher, body| {
            bencher.iter(|| ChatRequest::parse(black_box(body.as_bytes())).is_ok());
        });
        group.bench_with_input(
            BenchmarkId::new("parse_and_attributes", name),
            &body,
            |bencher, body| {
                bencher.iter(|| {
                    let mut attributes = Vec::with_capacity(48);
                    if let Ok(request) = ChatRequest::parse(black_box(body.as_bytes())) {
                        request_attributes(&request, request.stream, true, &mut attributes);
                    }
                    attributes
                });
            },
        );
    }
    group.finish();
}

/// A call takes its place, and the oldest run is closed and told, while so many are open.
fn grouping(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("grouping");
    for open in [10_usize, 10_000] {
        for (name, size) in SIZES {
            let settings = runs::Settings {
                infer: true,
                idle: Duration::from_hours(1),
                max_open: open,
                max_memory: 4 << 30,
                max_age: Duration::from_hours(1),
            };
            let runs = Runs::new(settings, Vec::new(), 1);
            let (now, mut number) = (Instant::now(), 0);
            let mut words = Words::new();
            let history = request(&mut words, size);
            // Each run has a first message of its own.
            let mut next = |size: usize| {
                number += 1;
                let own = format!(
                    r#""You help."}},{{"role":"user","name":"user","content":"Task {number}"}}"#
                );
                let body = if size == 0 {
                    request(&mut words, 1 << 10)
                } else {
                    history.clone()
                };
                exchange(number, body.replacen(r#""You help."}"#, &own, 1))
            };
            for _ in 0..open {
                runs.settled(next(0), now);
            }
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::new(name, format!("{open}_open")), |bencher| {
                bencher.iter_batched(
                    || next(size),
                    |exchange| runs.settled(exchange, now),
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.finish();
}

fn replies(criterion: &mut Criterion) {
    let mut words = Words::new();
    let (whole, events) = (whole(&mut words).into_bytes(), stream(&mut words));
    let mut group = criterion.benchmark_group("reply");
    group.throughput(Throughput::Bytes(whole.len() as u64));
    group.bench_function("assemble_1KB", |bencher| {
        bencher.iter(|| assemble("application/json", std::slice::from_ref(black_box(&whole))));
    });
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("assemble_100_events", |bencher| {
        bencher.iter(|| assemble("text/event-stream", black_box(&events)));
    });
    group.finish();
}

fn assemble(content_type: &str, pieces: &[Vec<u8>]) -> usize {
    let mut reader = ReplyReader::new(Some(content_type), None, 4 << 20);
    for piece in pieces {
        reader.push(piece);
    }
    let mut attributes = Vec::with_capacity(48);
    reply_attributes(&reader.finish().reply, true, &mut attributes);
    attributes.len()
}

fn batches(criterion: &mut Criterion) {
    let mut words = Words::new();
    let spans: Vec<Span> = (0..SPANS).map(|number| span(&mut words, number)).collect();
    let mut group = criterion.benchmark_group("batch");
    for (name, encoding) in [
        ("json", OtlpEncoding::Json),
        ("protobuf", OtlpEncoding::Protobuf),
    ] {
        let body = encoding.encode(spans.iter());
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| encoding.encode(black_box(&spans).iter()));
        });
    }
    group.finish();
}

criterion_group!(reply, requests, grouping, replies, batches);
criterion_main!(reply);
