//! The answers of the worker about a real store.

use std::path::Path;

use super::*;
use crate::runs::FinishedSpan;
use crate::span::{Span, Status, Value, key};
use crate::store::{Settings, Store, Writing};
use crate::traces::span_order::{MOST_SPANS, SpanQuery};

fn open(dir: Option<&Path>) -> (Arc<Store>, Writing) {
    let settings = Settings {
        dir: dir.map(Path::to_owned),
        max_size: 1 << 30,
        max_age: Duration::from_hours(24),
        max_memory: 1 << 26,
        exports: true,
    };
    Store::open(&settings).unwrap()
}

fn query_worker(store: &Arc<Store>) -> QueryWorker {
    QueryWorker::new(SpanReader::new(store), Arc::default())
}

fn span(trace: u8, number: u8, output: &str) -> FinishedSpan {
    FinishedSpan::from(plain(trace, number, output))
}

fn plain(trace: u8, number: u8, output: &str) -> Span {
    Span {
        trace_id: TraceId([trace; 16]),
        span_id: SpanId([number; 8]),
        parent_span_id: None,
        name: "agent.writer".to_owned(),
        start_ns: u64::from(number) * 1000,
        end_ns: u64::from(number) * 1000 + 10,
        status: Status::Ok,
        attributes: vec![
            (key::LOG_TYPE.into(), Value::Text("agent".to_owned())),
            (key::ENTITY_OUTPUT.into(), Value::Text(output.to_owned())),
        ],
        events: Vec::new(),
    }
}

fn traces(page: &TraceList) -> Vec<u8> {
    page.traces
        .iter()
        .map(|summary| summary.trace_id.0[0])
        .collect()
}

/// The list, as soon as its traces have `spans` spans.
fn listed(worker: &mut QueryWorker, spans: usize) -> TraceList {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let page = worker.list(&TraceQuery::default()).unwrap();
        let found: usize = page.traces.iter().map(|summary| summary.stats.spans).sum();
        if found == spans {
            return page;
        }
        assert!(Instant::now() < until, "{page:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_store_on_the_disk_and_one_in_memory_are_read_alike() {
    let dir = tempfile::tempdir().unwrap();
    for dir in [None, Some(dir.path())] {
        let (store, writing) = open(dir);
        let mut worker = query_worker(&store);
        assert!(
            worker
                .list(&TraceQuery::default())
                .unwrap()
                .traces
                .is_empty()
        );
        store.add(span(1, 1, "Owls fly."));
        store.add(span(2, 2, "Cats do not."));
        assert_eq!(traces(&listed(&mut worker, 2)), [2, 1]);
        store.add(span(1, 3, "At night."));
        assert_eq!(traces(&listed(&mut worker, 3)), [1, 2]);
        let page = worker
            .trace_page(TraceId([1; 16]), &SpanQuery::default())
            .unwrap()
            .unwrap();
        assert_eq!(page.spans.len(), 2);
        let (json, left) = worker
            .spans(page.spans, SpanFormat::Api { content: true })
            .unwrap();
        assert!(left.is_empty() && String::from_utf8_lossy(&json).contains("At night."));
        store.close();
        writing.finish();
    }
}

#[test]
fn a_search_reads_content_and_continues_where_it_stopped() {
    let (store, writing) = open(None);
    for number in 1..=40 {
        let output = if number == 3 {
            "Owls FLY."
        } else {
            "Cats do not."
        };
        store.add(span(number, number, output));
    }
    let mut worker = query_worker(&store);
    listed(&mut worker, 40);
    let mut query = TraceQuery {
        text: Some("owls fly".to_owned()),
        ..TraceQuery::default()
    };
    let (mut found, mut pages) = (Vec::new(), 0);
    loop {
        let page = worker.list_until(&query, Instant::now()).unwrap();
        found.extend(traces(&page));
        pages += 1;
        assert!(pages < 100, "each page reads a span");
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(found, [3]);
    assert!(pages > 10, "{pages}: out of time, a page is one span");
    store.close();
    writing.finish();
}

#[test]
fn removed_spans_are_left_out_and_a_trace_without_spans_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        dir: Some(dir.path().to_owned()),
        max_size: 1 << 30,
        max_age: Duration::from_secs(1),
        max_memory: 1 << 26,
        exports: true,
    };
    let (store, writing) = Store::open(&settings).unwrap();
    store.add(span(1, 1, "Owls fly."));
    let mut worker = query_worker(&store);
    listed(&mut worker, 1);
    listed(&mut worker, 0);
    assert!(
        worker
            .trace_page(TraceId([1; 16]), &SpanQuery::default())
            .unwrap()
            .is_none()
    );
    store.close();
    writing.finish();
}

#[test]
fn a_long_trace_is_given_in_pages_and_listed_as_a_whole() {
    let (store, writing) = open(None);
    let many = u32::try_from(MOST_SPANS + 100).unwrap();
    let id = |number: u32| {
        let mut id = [1; 8];
        id[..4].copy_from_slice(&number.to_be_bytes());
        SpanId(id)
    };
    for number in 0..many {
        store.add(FinishedSpan::from(Span {
            span_id: id(number),
            // The root is written last, as that of a run is.
            parent_span_id: (number + 1 < many).then(|| id(many - 1)),
            start_ns: u64::from(number) + 1,
            ..plain(1, 1, "Owls fly.")
        }));
    }
    let mut worker = query_worker(&store);
    let page = listed(&mut worker, many as usize);
    assert_eq!(page.traces.len(), 1);
    let trace = TraceId([1; 16]);
    let first = worker
        .trace_page(trace, &SpanQuery::default())
        .unwrap()
        .unwrap();
    let more = first.more.unwrap();
    assert_eq!((first.spans.len(), more.spans), (MOST_SPANS, 100));
    let root = format!("\"span_id\":\"{}\"", id(many - 1));
    let (json, _) = worker
        .spans(first.spans, SpanFormat::Api { content: false })
        .unwrap();
    assert!(String::from_utf8_lossy(&json[..200]).contains(&root));
    let next = SpanQuery {
        cursor: Some(more.cursor),
        ..SpanQuery::default()
    };
    let next = worker.trace_page(trace, &next).unwrap().unwrap();
    assert_eq!((next.spans.len(), next.more), (100, None));
    assert_eq!(next.summary.stats.spans, many as usize);
    let children = SpanQuery {
        parent: Some(id(many - 1)),
        limit: 7,
        ..SpanQuery::default()
    };
    let children = worker.trace_page(trace, &children).unwrap().unwrap();
    assert_eq!(children.more.unwrap().spans, many as usize - 8);
    let all = worker.trace_page(trace, &SpanQuery::ALL).unwrap().unwrap();
    assert_eq!((all.spans.len(), all.more), (many as usize, None));
    store.close();
    writing.finish();
}
