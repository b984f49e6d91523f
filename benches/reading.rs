//! What tracing costs the thread that reads copies: a request's body and its attributes, a call's place among runs, a stream's events, a
//! batch in each encoding.
//!
//! The rule: text like what agents send. A prompt that repeats itself, or that holds nothing to escape, makes parsing and encoding look
//! several times faster than they are.
//!
//! `cargo bench --bench reading` runs all; `-- 1KB` after it, those with that in their name.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::Method;
use spangate::capture::{Ending, Exchange, ExchangeId, Kept, Opening, Reading};
use spangate::export::Encoding;
use spangate::identity::Identity;
use spangate::openai::{ChatReply, ChatRequest, Choice, ReplyReader};
use spangate::runs::{self, Runs};
use spangate::span::chat::{reply_attributes, request_attributes};
use spangate::span::{Span, SpanId, Status, TraceId};

/// Sizes of prompts, in bytes.
const SIZES: [(&str, usize); 3] = [("1KB", 1 << 10), ("20KB", 20 << 10), ("200KB", 200 << 10)];

/// Events of a stream, each with one word.
const EVENTS: usize = 100;

/// Spans of a batch, each with a prompt of 20 KB: about as much as one post holds.
const SPANS: u8 = 50;

/// Words without end, none of them again and again, the same in every run.
struct Words(u64);

impl Words {
    /// xorshift64: its numbers need only be many.
    fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn word(&mut self) -> String {
        let number = self.number();
        let letters = (0..2 + number % 9).map(|place| {
            let letter = b'a' + u8::try_from((number >> (5 * place)) & 31).unwrap_or(0) % 26;
            char::from(letter)
        });
        let mut word: String = letters.collect();
        word.push_str(match number >> 58 {
            0..=3 => ".\n",
            4..=5 => ", \"",
            6..=7 => "\" ",
            8 => " – ",
            9 => " {é} ",
            _ => " ",
        });
        word
    }

    fn text(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 16);
        while text.len() < bytes {
            text.push_str(&self.word());
        }
        text
    }
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The body of a request whose conversation, of messages of 1 KB, is this long.
fn request(words: &mut Words, bytes: usize) -> String {
    let mut body = String::from(
        r#"{"model":"gpt-4o","stream":true,"messages":[{"role":"system","content":"You help."}"#,
    );
    let mut role = "user";
    for _ in 0..bytes >> 10 {
        let text = quoted(&words.text(1 << 10));
        _ = write!(body, r#",{{"role":"{role}","content":{text}}}"#);
        role = if role == "user" { "assistant" } else { "user" };
    }
    body + r#"],"temperature":0.2,"tools":[{"type":"function","function":{"name":"search","parameters":{"type":"object"}}}]}"#
}

/// The body of a streamed reply, one event for each word, and its end.
fn stream(words: &mut Words) -> Vec<Vec<u8>> {
    let head = r#"{"id":"chatcmpl-9yQ","object":"chat.completion.chunk","created":1764000000,"model":"gpt-4o-2024-08-06","system_fingerprint":"fp_1","choices":"#;
    let mut events: Vec<String> = (0..EVENTS)
        .map(|_| {
            let word = quoted(&words.word());
            format!(
                "data: {head}[{{\"index\":0,\"delta\":{{\"content\":{word}}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
            )
        })
        .collect();
    events.push(format!(
        "data: {head}[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\n"
    ));
    events.push("data: [DONE]\n\n".to_owned());
    events.into_iter().map(String::into_bytes).collect()
}

fn span(words: &mut Words, number: u8) -> Span {
    let body = request(words, 20 << 10);
    let mut attributes = Vec::new();
    if let Ok(request) = ChatRequest::parse(body.as_bytes()) {
        request_attributes(&request, true, &mut attributes);
    }
    Span {
        trace_id: TraceId([1; 16]),
        span_id: SpanId([number.max(1); 8]),
        parent_span_id: None,
        name: "llm.gpt-4o".to_owned(),
        start_ns: 1_764_000_000_000_000_000,
        end_ns: 1_764_000_001_000_000_000,
        status: Status::Ok,
        attributes,
        events: Vec::new(),
    }
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request");
    for (name, size) in SIZES {
        let body = request(&mut Words(0x9E37_79B9_7F4A_7C15), size);
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
                        request_attributes(&request, true, &mut attributes);
                    }
                    attributes
                });
            },
        );
    }
    group.finish();
}

/// An exchange with this request, a millisecond after the one before.
fn exchange(number: u64, body: String) -> Arc<Exchange> {
    let opening = Opening {
        id: ExchangeId::new(),
        identity: Identity::default(),
        method: Method::POST,
        path: "/v1/chat/completions".to_owned(),
        retry: None,
        content_encoding: None,
        chat: true,
        content: true,
        entity_content: false,
        may_be_agent: true,
        max_body: 4 << 20,
        system: "openai",
    };
    let choice = Choice {
        content: Some(format!("Answer {number}, and nothing more.")),
        ..Choice::default()
    };
    let reply = ChatReply {
        choices: vec![choice],
        ..ChatReply::default()
    };
    Arc::new(Exchange {
        opening: Arc::new(opening),
        started_ns: 1_764_000_000_000_000_000 + number * 1_000_000,
        duration: Duration::from_micros(500),
        request: Kept::new(body.into(), false),
        answer: None,
        ending: Ending::Complete,
        reading: Some(Reading {
            reply,
            ended: true,
            first_token: None,
        }),
    })
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
            let mut runs = Runs::new(settings, Vec::new());
            let (now, mut number) = (Instant::now(), 0);
            let mut words = Words(0x9E37_79B9_7F4A_7C15);
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

fn streams(criterion: &mut Criterion) {
    let events = stream(&mut Words(0x9E37_79B9_7F4A_7C15));
    let mut group = criterion.benchmark_group("stream");
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("assemble_100_events", |bencher| {
        bencher.iter(|| {
            let mut reader = ReplyReader::new(Some("text/event-stream"), None, 4 << 20);
            for event in &events {
                reader.push(black_box(event));
            }
            let mut attributes = Vec::with_capacity(48);
            reply_attributes(&reader.finish(), true, &mut attributes);
            attributes
        });
    });
    group.finish();
}

fn batches(criterion: &mut Criterion) {
    let mut words = Words(0x9E37_79B9_7F4A_7C15);
    let spans: Vec<Span> = (0..SPANS).map(|number| span(&mut words, number)).collect();
    let mut group = criterion.benchmark_group("batch");
    for (name, encoding) in [("json", Encoding::Json), ("protobuf", Encoding::Protobuf)] {
        let body = encoding.encode(spans.iter()).unwrap_or_default();
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| encoding.encode(black_box(&spans).iter()).is_ok());
        });
    }
    group.finish();
}

criterion_group!(reading, requests, grouping, streams, batches);
criterion_main!(reading);
