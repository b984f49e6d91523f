//! What it takes to look at a store of 10,000 traces of five spans: the first list, the next ones, a filter, a search, one trace. The same of one
//! trace of 300,000 spans: the first list, the next ones, its first page. And what the summary of a span costs the thread that writes, looked
//! at or not.
//!
//! `cargo bench --bench traces` runs all.
#![expect(
    clippy::expect_used,
    reason = "a measurement that cannot go on says so by failing"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::Method;
use spangate::internals::exchange::{
    CapturedBody, Exchange, ExchangeId, Outcome, ParsedReply, RequestMeta,
};
use spangate::internals::identity::Identity;
use spangate::internals::openai::{ChatReply, Choice, Usage};
use spangate::internals::runs::FinishedSpan;
use spangate::internals::span::exchange::explicit_placement;
use spangate::internals::span::operation::{Operation, ToolOutcome};
use spangate::internals::span::{SpanId, TraceId};
use spangate::internals::store::{Settings, SpanSummary, Store};
use spangate::internals::traces::{SpanFormat, SpanQuery, TraceFilter, TraceQuery, Traces};
use tokio::runtime::Runtime;

const TRACES: u64 = 10_000;

fn meta(number: u64) -> Arc<RequestMeta> {
    Arc::new(RequestMeta {
        id: ExchangeId::new(),
        identity: Identity {
            thread: Some(format!("conversation-{}", number / 4)),
            environment: Some("production".to_owned()),
            ..Identity::default()
        },
        method: Method::POST,
        path: "/v1/chat/completions".to_owned(),
        retry: Some(0),
        content_encoding: None,
        chat: true,
        content: true,
        entity_content: false,
        may_be_agent: true,
        media: spangate::internals::openai::Media::Size,
        max_body: 4 << 20,
        system: "openai",
        wall_offset_ns: 0,
    })
}

fn call(number: u64, trace: TraceId, parent: SpanId) -> FinishedSpan {
    let question = "Tell me how the owls of the north hunt in the snow. ".repeat(20);
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"{question}{number}"}}],"model":"gpt-4o-mini"}}"#
    );
    let reply = ChatReply {
        model: Some("gpt-4o-mini-2024-07-18".to_owned()),
        choices: vec![Choice {
            content: Some("They listen, and then they dive. ".repeat(10)),
            ..Choice::default()
        }],
        usage: Some(Usage {
            prompt: Some(300),
            completion: Some(80),
            ..Usage::default()
        }),
        ..ChatReply::default()
    };
    let exchange = Arc::new(Exchange {
        meta: meta(number),
        started_ns: number * 1_000_000,
        duration: Duration::from_millis(7),
        request: CapturedBody::new(Bytes::from(body), false),
        response: None,
        outcome: Outcome::Complete,
        reply: Some(ParsedReply {
            chat: reply,
            ended: true,
            first_token: None,
        }),
    });
    let mut place = explicit_placement(&exchange);
    (place.trace_id, place.parent_span_id) = (trace, Some(parent));
    place.model = Some("gpt-4o-mini".into());
    place.task = Some("Tell me how the owls of the north hunt in the snow.".into());
    FinishedSpan::Call { exchange, place }
}

/// A team's run: two calls and a tool of one agent.
fn run(number: u64) -> [FinishedSpan; 5] {
    let mut id = [1; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let trace = TraceId(id);
    let span = |n: u8| {
        let mut id = number.to_be_bytes();
        id[0] = n;
        SpanId(id)
    };
    let meta = meta(number);
    let operation = |n: u8, parent: Option<u8>| Operation {
        trace_id: trace,
        span_id: span(n),
        parent_span_id: parent.map(span),
        start_ns: number * 1_000_000,
        end_ns: number * 1_000_000 + 20_000_000,
        meta: &meta,
        content: true,
        rule: None,
        failure: None,
    };
    let task = Some("Tell me how the owls of the north hunt in the snow.");
    let tool =
        operation(3, Some(2)).tool("search", r#"{"for":"owls"}"#, &ToolOutcome::Result("many"));
    [
        call(number, trace, span(2)),
        FinishedSpan::from(tool),
        call(number, trace, span(2)),
        FinishedSpan::from(operation(2, Some(1)).agent(Some("writer"), task, Some("They dive."))),
        FinishedSpan::from(operation(1, None).workflow(
            "RoundRobinGroupChat.run_stream",
            task,
            None,
        )),
    ]
}

fn looking(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    let settings = Settings {
        dir: Some(dir.path().to_owned()),
        max_size: 1 << 30,
        max_age: Duration::from_hours(24),
        max_memory: 1 << 30,
        exports: true,
    };
    let (store, writing) = Store::open(&settings).expect("a store");
    for number in 1..=TRACES {
        for made in run(number) {
            store.add(made);
        }
    }
    let traces = || Traces::new(Arc::clone(&store), Arc::default());
    let filled = traces();
    let last = TraceQuery {
        filter: TraceFilter {
            thread: Some(format!("conversation-{}", TRACES / 4)),
            ..TraceFilter::default()
        },
        ..TraceQuery::default()
    };
    let is_written = || {
        let page = runtime.block_on(filled.list(last.clone())).expect("a list");
        page.traces
            .first()
            .is_some_and(|first| first.stats.spans == 5)
    };
    while !is_written() {
        std::thread::sleep(Duration::from_millis(50));
    }

    let mut group = criterion.benchmark_group("10,000 traces");
    group.sample_size(10);
    group.bench_function("first list", |bench| {
        bench.iter(|| {
            runtime
                .block_on(traces().list(TraceQuery::default()))
                .expect("a list")
        });
    });
    for (name, query) in [
        ("next list", TraceQuery::default()),
        (
            "500 of them",
            TraceQuery {
                limit: 500,
                ..TraceQuery::default()
            },
        ),
        (
            "none of an agent",
            TraceQuery {
                filter: TraceFilter {
                    agent: Some("nobody".to_owned()),
                    ..TraceFilter::default()
                },
                ..TraceQuery::default()
            },
        ),
        (
            "search in vain",
            TraceQuery {
                text: Some("nowhere".to_owned()),
                ..TraceQuery::default()
            },
        ),
    ] {
        group.bench_function(name, |bench| {
            bench.iter(|| {
                runtime
                    .block_on(filled.list(query.clone()))
                    .expect("a list")
            });
        });
    }
    group.bench_function("one trace", |bench| {
        let mut id = [1; 16];
        id[..8].copy_from_slice(&(TRACES / 2).to_be_bytes());
        bench.iter(|| {
            runtime.block_on(async {
                let page = filled
                    .trace_page(TraceId(id), SpanQuery::default())
                    .await
                    .expect("an answer");
                let spans = page.expect("it is there").spans;
                filled
                    .spans(spans, SpanFormat::Api { content: true })
                    .await
                    .expect("spans")
            })
        });
    });
    group.finish();
    store.close();
    writing.finish();
}

/// One trace that a header told of 300,000 calls.
fn looking_at_a_long_one(criterion: &mut Criterion) {
    const SPANS: u64 = 300_000;
    let runtime = Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    let settings = Settings {
        dir: Some(dir.path().to_owned()),
        max_size: 4 << 30,
        max_age: Duration::from_hours(24),
        max_memory: 1 << 30,
        exports: true,
    };
    let (store, writing) = Store::open(&settings).expect("a store");
    let trace = TraceId([7; 16]);
    for number in 1..=SPANS {
        store.add(call(number, trace, SpanId([1; 8])));
    }
    let traces = || Traces::new(Arc::clone(&store), Arc::default());
    let filled = traces();
    let list = |traces: &Traces| {
        let page = runtime.block_on(traces.list(TraceQuery::default()));
        page.expect("a list").traces
    };
    while list(&filled)
        .first()
        .is_none_or(|first| first.stats.spans as u64 != SPANS)
    {
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut group = criterion.benchmark_group("a trace of 300,000 spans");
    group.sample_size(10);
    group.bench_function("first list", |bench| bench.iter(|| list(&traces())));
    group.bench_function("next list", |bench| bench.iter(|| list(&filled)));
    group.bench_function("first page", |bench| {
        bench.iter(|| {
            let page = filled.trace_page(trace, SpanQuery::default());
            runtime.block_on(page).expect("an answer")
        });
    });
    group.finish();
    store.close();
    writing.finish();
}

fn summing_up(criterion: &mut Criterion) {
    let [call, tool, _, agent, _] = run(1);
    for (name, made) in [("a call", call), ("a tool", tool), ("an agent", agent)] {
        criterion.bench_function(&format!("summary of {name}"), |bench| {
            bench.iter(|| black_box(SpanSummary::of(black_box(&made)).json()));
        });
    }
}

criterion_group!(traces, summing_up, looking, looking_at_a_long_one);
criterion_main!(traces);
