//! What the desk answers about a store that is really there.

use std::path::Path;

use rusqlite::Connection;

use super::*;
use crate::runs::FinishedSpan;
use crate::span::{Span, Status, Value, key};
use crate::store::{Settings, Store, Writing};
use crate::traces::pages::{MOST_SPANS, SpanQuery};

fn open(dir: Option<&Path>) -> (Arc<Store>, Writing) {
    let settings = Settings {
        dir: dir.map(Path::to_owned),
        max_size: 1 << 30,
        max_age: Duration::from_hours(24),
        max_memory: 1 << 26,
        exports: true,
    };
    Store::open(settings).unwrap()
}

fn desk(store: &Arc<Store>) -> Desk {
    Desk::new(Reader::new(Arc::clone(store)), Arc::default())
}

fn span(trace: u8, number: u8, said: &str) -> FinishedSpan {
    FinishedSpan::from(plain(trace, number, said))
}

fn plain(trace: u8, number: u8, said: &str) -> Span {
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
            (key::ENTITY_OUTPUT.into(), Value::Text(said.to_owned())),
        ],
        events: Vec::new(),
    }
}

fn traces(page: &Page) -> Vec<u8> {
    page.traces
        .iter()
        .map(|listed| listed.trace_id.0[0])
        .collect()
}

/// The list, as soon as it has so many spans in all.
fn listed(desk: &mut Desk, spans: usize) -> Page {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let page = desk.list(&Query::default()).unwrap();
        let found: usize = page.traces.iter().map(|listed| listed.facts.spans).sum();
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
        let mut desk = desk(&store);
        assert!(desk.list(&Query::default()).unwrap().traces.is_empty());
        store.add(span(1, 1, "Owls fly."));
        store.add(span(2, 2, "Cats do not."));
        assert_eq!(traces(&listed(&mut desk, 2)), [2, 1]);
        store.add(span(1, 3, "At night."));
        assert_eq!(traces(&listed(&mut desk, 3)), [1, 2]);
        let outline = desk
            .outline(TraceId([1; 16]), &SpanQuery::default())
            .unwrap()
            .unwrap();
        assert_eq!(outline.items.len(), 2);
        let (json, left) = desk
            .spans(outline.items, Form::Plain { content: true })
            .unwrap();
        assert!(left.is_empty() && String::from_utf8_lossy(&json).contains("At night."));
        store.close();
        writing.finish();
    }
}

#[test]
fn rows_of_an_older_file_are_summed_up_when_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(Some(dir.path()));
    store.add(span(1, 1, "Owls fly."));
    store.close();
    writing.finish();
    let file = Connection::open(dir.path().join("spangate.db")).unwrap();
    file.execute("UPDATE spans SET summary = NULL", []).unwrap();
    drop(file);
    let (store, writing) = open(Some(dir.path()));
    let page = listed(&mut desk(&store), 1);
    assert_eq!(page.traces[0].facts.name(), "agent.writer");
    store.close();
    writing.finish();
}

#[test]
fn a_search_reads_what_was_said_and_goes_on_where_it_stopped() {
    let (store, writing) = open(None);
    for number in 1..=40 {
        let said = if number == 3 {
            "Owls FLY."
        } else {
            "Cats do not."
        };
        store.add(span(number, number, said));
    }
    let mut desk = desk(&store);
    listed(&mut desk, 40);
    let mut query = Query {
        text: Some("owls fly".to_owned()),
        ..Query::default()
    };
    let (mut found, mut pages) = (Vec::new(), 0);
    loop {
        let page = desk.list_until(&query, Instant::now()).unwrap();
        found.extend(traces(&page));
        pages += 1;
        assert!(pages < 100, "each page gets on");
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
fn spans_that_went_are_left_out_and_a_trace_without_any_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        dir: Some(dir.path().to_owned()),
        max_size: 1 << 30,
        max_age: Duration::from_secs(1),
        max_memory: 1 << 26,
        exports: true,
    };
    let (store, writing) = Store::open(settings).unwrap();
    store.add(span(1, 1, "Owls fly."));
    let mut desk = desk(&store);
    listed(&mut desk, 1);
    listed(&mut desk, 0);
    assert!(
        desk.outline(TraceId([1; 16]), &SpanQuery::default())
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
    let mut desk = desk(&store);
    let page = listed(&mut desk, many as usize);
    assert_eq!(page.traces.len(), 1);
    let trace = TraceId([1; 16]);
    let first = desk.outline(trace, &SpanQuery::default()).unwrap().unwrap();
    let more = first.more.unwrap();
    assert_eq!((first.items.len(), more.spans), (MOST_SPANS, 100));
    let root = format!("\"span_id\":\"{}\"", id(many - 1));
    let (json, _) = desk
        .spans(first.items, Form::Plain { content: false })
        .unwrap();
    assert!(String::from_utf8_lossy(&json[..200]).contains(&root));
    let next = SpanQuery {
        cursor: Some(more.cursor),
        ..SpanQuery::default()
    };
    let next = desk.outline(trace, &next).unwrap().unwrap();
    assert_eq!((next.items.len(), next.more), (100, None));
    assert_eq!(next.listed.facts.spans, many as usize);
    let children = SpanQuery {
        parent: Some(id(many - 1)),
        limit: 7,
        ..SpanQuery::default()
    };
    let children = desk.outline(trace, &children).unwrap().unwrap();
    assert_eq!(children.more.unwrap().spans, many as usize - 8);
    let all = desk.outline(trace, &SpanQuery::ALL).unwrap().unwrap();
    assert_eq!((all.items.len(), all.more), (many as usize, None));
    store.close();
    writing.finish();
}
