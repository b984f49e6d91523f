//! The lines of a store that was written by a gateway's own hands.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::runs::FinishedSpan;
use crate::span::{Span, SpanId, Status, Value as SpanValue, key};
use crate::store::{Settings, Store};

fn span(trace: u8, number: u16, parent: Option<u16>) -> Span {
    let id = |number: u16| {
        let [high, low] = number.to_be_bytes();
        SpanId([1, 0, 0, 0, 0, 0, high, low])
    };
    let thread = SpanValue::Text(format!("thread {trace}"));
    Span {
        trace_id: TraceId([trace; 16]),
        span_id: id(number),
        parent_span_id: parent.map(id),
        name: "agent.writer".to_owned(),
        start_ns: u64::from(number) * 1000,
        end_ns: u64::from(number) * 1000 + 10,
        status: Status::Ok,
        attributes: vec![(key::THREAD_IDENTIFIER.into(), thread)],
        events: Vec::new(),
    }
}

/// A store that has these spans.
fn store_of(dir: &Path, spans: impl IntoIterator<Item = Span>) {
    let settings = Settings {
        dir: Some(dir.to_owned()),
        max_size: 1 << 30,
        max_age: Duration::from_hours(24),
        max_memory: 1 << 26,
        exports: true,
    };
    let (store, writing) = Store::open(&settings).unwrap();
    for span in spans {
        store.add(FinishedSpan::from(span));
    }
    store.close();
    writing.finish();
    assert_eq!(Arc::strong_count(&store), 1);
}

fn lines(dir: &Path, began: &Range<u64>, filter: &TraceFilter) -> Vec<serde_json::Value> {
    let reader = SpanReader::open_read_only(dir).unwrap();
    let mut written = Vec::new();
    write_lines(&reader, began, filter, &mut written).unwrap();
    let written = String::from_utf8(written).unwrap();
    assert!(written.is_empty() || written.ends_with('\n'));
    let lines = written.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn threads(dir: &Path, began: &Range<u64>, filter: &TraceFilter) -> Vec<String> {
    let of = |line: &serde_json::Value| line["trace_id"].as_str().unwrap()[..2].to_owned();
    lines(dir, began, filter).iter().map(of).collect()
}

#[test]
fn traces_come_by_when_they_began_and_as_they_are_wanted() {
    let dir = tempfile::tempdir().unwrap();
    // The first trace that is heard of is not the one that began first, and a trace grows while others do.
    let spans = [
        span(3, 30, None),
        span(1, 12, None),
        span(2, 20, None),
        span(1, 10, None),
    ];
    store_of(dir.path(), spans);
    let all = TraceFilter::default();
    let thread = |thread: &str| TraceFilter {
        thread: Some(thread.to_owned()),
        ..TraceFilter::default()
    };
    let any = 0..u64::MAX;
    for (began, filter, wanted) in [
        (any.clone(), all.clone(), &["01", "02", "03"][..]),
        (10_000..20_000, all.clone(), &["01"]),
        (10_001..30_000, all.clone(), &["02"]),
        (20_000..30_001, all, &["02", "03"]),
        (any.clone(), thread("thread 2"), &["02"]),
        (any, thread("thread"), &[]),
    ] {
        assert_eq!(threads(dir.path(), &began, &filter), wanted, "{began:?}");
    }
}

#[test]
fn a_long_trace_is_one_line_with_parents_before_their_children() {
    let dir = tempfile::tempdir().unwrap();
    let count = u16::try_from(STEP * 2 + 1).unwrap();
    // Children are finished, and so written, before their parents.
    store_of(
        dir.path(),
        (0..count)
            .rev()
            .map(|number| span(1, number, number.checked_sub(1))),
    );
    let lines = lines(dir.path(), &(0..u64::MAX), &TraceFilter::default());
    let [line] = &lines[..] else {
        panic!("{} lines", lines.len())
    };
    assert_eq!(line["totals"]["spans"], count);
    assert_eq!(line["live"], false);
    let spans = line["spans"].as_array().unwrap();
    assert_eq!(spans.len(), usize::from(count));
    for pair in spans.windows(2) {
        assert_eq!(pair[1]["parent_span_id"], pair[0]["span_id"]);
    }
}
