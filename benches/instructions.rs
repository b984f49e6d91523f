//! How many instructions the work takes that every request pays for: reply it, finding its place, assembling its reply, writing its span
//! into a post.
//!
//! The rule: only what must not creep. Counts are the same on every machine, busy or not, so a change of one in a hundred shows; what the
//! counts are worth in time, `reply` says.
//!
//! `cargo bench --bench instructions` needs valgrind and gungraun's runner, and says how to get them. Each run is compared with the one before.

#![expect(
    missing_docs,
    clippy::print_stderr,
    reason = "gungraun's macros make public items without a word; a bench says what it needs"
)]

use std::hint::black_box;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gungraun::{LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use http::StatusCode;
use spangate::internals::exchange::{Exchange, ParsedReply, RequestMeta, ResponseHead};
use spangate::internals::export::OtlpEncoding;
use spangate::internals::identity::{Customer, Identity};
use spangate::internals::openai::{ChatReply, ChatRequest, ReplyReader};
use spangate::internals::runs::{self, FinishedSpan, RunUpdate, Runs};
use spangate::internals::span::Span;
use spangate::internals::span::exchange::explicit_placement;

#[path = "parts/answers.rs"]
mod answers;
#[path = "parts/samples.rs"]
mod samples;
#[path = "parts/words.rs"]
mod words;

use words::Words;

/// The binary's: the system's own has moods, which would be counted.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn body(bytes: usize) -> String {
    samples::request(&mut Words::new(), bytes)
}

fn whole() -> Vec<Vec<u8>> {
    vec![answers::whole(&mut Words::new()).into_bytes()]
}

fn stream() -> Vec<Vec<u8>> {
    answers::stream(&mut Words::new())
}

fn spans() -> Vec<Span> {
    let mut words = Words::new();
    (1..=20)
        .map(|number| answers::span(&mut words, number))
        .collect()
}

/// Calls that are over, as the export takes them: with all that a span has, and the conversation in it twice.
fn calls(bytes: usize) -> Vec<FinishedSpan> {
    let mut words = Words::new();
    (1..=20)
        .filter_map(|number| whole_call(&mut words, number, bytes))
        .collect()
}

fn whole_call(words: &mut Words, number: u64, bytes: usize) -> Option<FinishedSpan> {
    let mut reader = ReplyReader::new(Some("application/json"), None, 4 << 20);
    reader.push(answers::whole(words).as_bytes());
    let identity = Identity {
        customer: Customer {
            identifier: Some("customer-4711".to_owned()),
            ..Customer::default()
        },
        thread: Some("thread-1".to_owned()),
        environment: Some("production".to_owned()),
        metadata: [("team".to_owned(), "research".to_owned())].into(),
        ..Identity::default()
    };
    let exchange = Exchange {
        meta: Arc::new(RequestMeta {
            identity,
            entity_content: true,
            ..samples::meta()
        }),
        response: Some(ResponseHead {
            status: StatusCode::OK,
            first_byte: Duration::from_millis(1),
            content_type: Some("application/json".into()),
            content_encoding: None,
            headers: Arc::new([
                ("x-request-id", format!("req_{number:032x}")),
                ("openai-processing-ms", "412".to_owned()),
            ]),
        }),
        reply: Some(ParsedReply {
            chat: reader.finish().reply,
            ended: true,
            first_token: None,
        }),
        ..Arc::into_inner(samples::exchange(number, samples::request(words, bytes)))?
    };
    Some(FinishedSpan::Call {
        place: explicit_placement(&exchange),
        exchange: Arc::new(exchange),
    })
}

/// A hundred runs that are open, and a call that begins another, with a history of this length.
fn call(bytes: usize) -> (Runs, Arc<Exchange>, Instant) {
    let settings = runs::Settings {
        infer: true,
        idle: Duration::from_hours(1),
        max_open: 1_000,
        max_memory: 1 << 30,
        max_age: Duration::from_hours(1),
    };
    let (runs, now, body) = (
        Runs::new(settings, Vec::new(), 1),
        Instant::now(),
        body(bytes),
    );
    let task = |number: u64| {
        let own =
            format!(r#""You help."}},{{"role":"user","name":"user","content":"Task {number}"}}"#);
        samples::exchange(number, body.replacen(r#""You help."}"#, &own, 1))
    };
    for number in 0..100 {
        runs.settled(task(number), now);
    }
    (runs, task(100), now)
}

/// So many runs of a lone agent, with nothing in flight, and when they are over.
fn idle_runs(number: u64) -> (Runs, Instant) {
    let settings = runs::Settings {
        infer: true,
        idle: Duration::from_secs(1),
        max_open: 1_000,
        max_memory: 1 << 30,
        max_age: Duration::from_secs(1),
    };
    let (runs, now) = (Runs::new(settings, Vec::new(), 1), Instant::now());
    let body = body(1 << 10);
    for number in 0..number {
        let own =
            format!(r#""You help."}},{{"role":"user","name":"user","content":"Task {number}"}}"#);
        let body = body.replacen(r#""You help."}"#, &own, 1);
        runs.settled(samples::exchange(number, body), now);
    }
    (runs, now + Duration::from_secs(1))
}

// What a function is given it gives back, so that freeing it is not counted.

#[library_benchmark]
#[bench::with_1_kb(args = (1 << 10), setup = body)]
#[bench::with_20_kb(args = (20 << 10), setup = body)]
fn parse_request(body: String) -> String {
    _ = black_box(ChatRequest::parse(black_box(body.as_bytes())).is_ok());
    body
}

#[library_benchmark]
#[bench::whole(setup = whole)]
#[bench::hundred_events(setup = stream)]
fn assemble_reply(pieces: Vec<Vec<u8>>) -> (Vec<Vec<u8>>, ChatReply) {
    let content_type = if pieces.len() == 1 {
        "application/json"
    } else {
        "text/event-stream"
    };
    let mut reader = ReplyReader::new(Some(content_type), None, 4 << 20);
    for piece in &pieces {
        reader.push(black_box(piece));
    }
    (pieces, reader.finish().reply)
}

#[library_benchmark]
#[bench::with_1_kb(args = (1 << 10), setup = call)]
#[bench::with_20_kb(args = (20 << 10), setup = call)]
fn place_call(given: (Runs, Arc<Exchange>, Instant)) -> (Runs, Arc<Exchange>, RunUpdate) {
    let (runs, exchange, now) = given;
    let made = runs.settled(black_box(Arc::clone(&exchange)), now);
    (runs, exchange, made)
}

#[library_benchmark]
#[bench::hundred(args = (100), setup = idle_runs)]
fn close_runs(given: (Runs, Instant)) -> (Runs, RunUpdate) {
    let (runs, now) = given;
    let made = runs.expire(0, black_box(now));
    (runs, made)
}

#[library_benchmark]
#[bench::twenty_spans(setup = spans)]
fn encode_json(spans: Vec<Span>) -> Vec<Span> {
    black_box(OtlpEncoding::Json.encode(black_box(&spans).iter()));
    spans
}

#[library_benchmark]
#[bench::twenty_spans(setup = spans)]
fn encode_protobuf(spans: Vec<Span>) -> Vec<Span> {
    black_box(OtlpEncoding::Protobuf.encode(black_box(&spans).iter()));
    spans
}

#[library_benchmark]
#[bench::with_1_kb(args = (1 << 10), setup = calls)]
#[bench::with_20_kb(args = (20 << 10), setup = calls)]
fn post_json(calls: Vec<FinishedSpan>) -> Vec<FinishedSpan> {
    black_box(OtlpEncoding::Json.encode(black_box(&calls).iter()));
    calls
}

#[library_benchmark]
#[bench::with_1_kb(args = (1 << 10), setup = calls)]
#[bench::with_20_kb(args = (20 << 10), setup = calls)]
fn post_protobuf(calls: Vec<FinishedSpan>) -> Vec<FinishedSpan> {
    black_box(OtlpEncoding::Protobuf.encode(black_box(&calls).iter()));
    calls
}

library_benchmark_group!(
    name = every_request,
    benchmarks = [
        parse_request,
        assemble_reply,
        place_call,
        close_runs,
        encode_json,
        encode_protobuf,
        post_json,
        post_protobuf
    ]
);

/// Ends with what to install where something is missing; the harness asks for its configuration before it does anything.
fn with_tools() -> LibraryBenchmarkConfig {
    let runs = |program: &str| {
        Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok()
    };
    let mut missing = Vec::new();
    if !runs("valgrind") {
        missing.push("valgrind is not installed; on Debian: apt-get install valgrind".to_owned());
    }
    let runner = std::env::var("GUNGRAUN_RUNNER").unwrap_or_else(|_| "gungraun-runner".to_owned());
    if !runs(&runner) {
        missing.push(format!(
            "{runner} is not installed: cargo install gungraun-runner --version {}",
            gungraun_version()
        ));
    }
    if !missing.is_empty() {
        eprintln!("{}", missing.join("\n"));
        std::process::exit(1);
    }
    LibraryBenchmarkConfig::default()
}

/// The runner's version must be the library's.
fn gungraun_version() -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let after = lock.split_once("name = \"gungraun\"\nversion = \"");
    after
        .and_then(|(_, rest)| rest.split('"').next())
        .unwrap_or_default()
}

main!(
    config = with_tools(),
    library_benchmark_groups = every_request
);
