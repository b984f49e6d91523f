//! What a scrape reads.

use futures_util::FutureExt as _;

use super::*;
use crate::runs::Made;
use crate::span::{Span, SpanId, Status, TraceId};
use crate::store::Settled;

/// Reads the text as a simple line parser does: `name value` or `name{labels} value`.
fn samples(text: &str) -> Vec<(&str, &str)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .inspect(|(_, value)| assert!(value.parse::<f64>().is_ok()))
        .collect()
}

fn value<'a>(text: &'a str, name: &str) -> &'a str {
    let found: Vec<_> = samples(text)
        .into_iter()
        .filter(|sample| sample.0 == name)
        .collect();
    assert_eq!(found.len(), 1, "{name} in\n{text}");
    found[0].1
}

fn span() -> Span {
    Span {
        trace_id: TraceId([1; 16]),
        span_id: SpanId([1; 8]),
        parent_span_id: None,
        name: String::new(),
        start_ns: 1,
        end_ns: 1,
        status: Status::Ok,
        attributes: Vec::new(),
        events: Vec::new(),
    }
}

#[test]
fn the_spans_of_a_scrape_add_up() {
    let (metrics, store) = (
        Metrics::default(),
        Arc::new(Store::volatile(4 * span().weight())),
    );
    for _ in 0..9 {
        store.add(Made::from(span()));
    }
    let two = store.take(2, usize::MAX).unwrap();
    two.load()
        .now_or_never()
        .unwrap()
        .unwrap()
        .settle(&Settled {
            rejected: 1,
            reason: None,
        });
    let under_way = store.take(1, usize::MAX);
    let text = metrics.render(&store);
    assert_eq!(value(&text, "spangate_spans_created_total"), "9");
    assert_eq!(value(&text, "spangate_spans_exported_total"), "1");
    assert_eq!(value(&text, "spangate_spans_rejected_total"), "1");
    assert_eq!(
        value(&text, "spangate_spans_dropped_total{reason=\"memory\"}"),
        "5"
    );
    assert_eq!(
        value(&text, "spangate_spans_dropped_total{reason=\"oversized\"}"),
        "0"
    );
    assert_eq!(value(&text, "spangate_spans_pending"), "2");
    drop(under_way);
}

#[test]
fn requests_are_counted_by_endpoint_and_status() {
    let (metrics, store) = (Metrics::default(), Store::volatile(0));
    metrics.answered(Endpoint::ChatCompletions, StatusCode::OK);
    metrics.answered(Endpoint::ChatCompletions, StatusCode::OK);
    metrics.answered(Endpoint::Other, StatusCode::from_u16(999).unwrap());
    let text = metrics.render(&store);
    assert_eq!(
        value(
            &text,
            "spangate_requests_total{endpoint=\"chat_completions\",status=\"200\"}"
        ),
        "2"
    );
    assert_eq!(
        value(
            &text,
            "spangate_requests_total{endpoint=\"other\",status=\"999\"}"
        ),
        "1"
    );
}

#[test]
fn what_is_under_way_is_counted_while_it_is() {
    let (metrics, store) = (Arc::new(Metrics::default()), Store::volatile(0));
    let (request, stream) = (metrics.request_begins().0, metrics.stream_opens());
    drop(request);
    let text = metrics.render(&store);
    assert_eq!(
        (
            value(&text, "spangate_requests_in_flight"),
            value(&text, "spangate_streams_open")
        ),
        ("0", "1")
    );
    drop(stream);
    assert_eq!(value(&metrics.render(&store), "spangate_streams_open"), "0");
}

#[test]
fn a_duration_falls_into_its_bucket_and_all_above() {
    let (metrics, store) = (Metrics::default(), Store::volatile(0));
    metrics.overhead(Duration::from_micros(10));
    metrics.overhead(Duration::from_micros(60));
    metrics.overhead(Duration::from_hours(1));
    let text = metrics.render(&store);
    let bucket = |end| {
        value(
            &text,
            &format!("spangate_overhead_seconds_bucket{{le=\"{end}\"}}"),
        )
    };
    assert_eq!(
        (
            bucket("0.00001"),
            bucket("0.00005"),
            bucket("0.0001"),
            bucket("1"),
            bucket("+Inf")
        ),
        ("1", "1", "2", "2", "3")
    );
    assert_eq!(value(&text, "spangate_overhead_seconds_count"), "3");
    assert_eq!(value(&text, "spangate_overhead_seconds_sum"), "3600.00007");
}

#[test]
fn every_family_is_announced_with_the_name_of_its_samples() {
    let text = Metrics::default().render(&Store::volatile(0));
    for (name, _) in samples(&text) {
        let name = name.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .into_iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name);
        assert!(text.contains(&format!("# TYPE {family} ")), "{name}");
    }
    insta::assert_snapshot!(
        text.lines()
            .filter(|line| line.starts_with("# TYPE"))
            .collect::<Vec<_>>()
            .join("\n")
    );
}
