//! The text of a scrape.

use futures_util::FutureExt as _;

use super::*;
use crate::openai::Usage;
use crate::runs::FinishedSpan;
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
        Arc::new(Store::volatile(4 * span().size_estimate())),
    );
    for _ in 0..9 {
        store.add(FinishedSpan::from(span()));
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
fn a_gauge_is_raised_while_its_guard_lives() {
    let (metrics, store) = (Arc::new(Metrics::default()), Store::volatile(0));
    let (request, stream) = (metrics.request_begins(1).unwrap(), metrics.stream_opens());
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
fn a_duration_counts_in_its_bucket_and_all_above() {
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
fn the_type_of_every_family_has_the_name_of_its_samples() {
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

fn call(model: Option<&str>) -> ModelCall<'_> {
    ModelCall {
        model,
        outcome: "complete",
        usage: None,
        first_token: None,
    }
}

fn calls_of(text: &str, model: &str) -> String {
    let name = format!("spangate_model_requests_total{{model=\"{model}\",outcome=\"complete\"}}");
    value(text, &name).to_owned()
}

#[test]
fn the_first_hundred_models_have_a_label_and_all_others_share_one() {
    let (metrics, store) = (Metrics::default(), Store::volatile(0));
    // Neither of these counts as a model.
    metrics.model_call(&call(None));
    metrics.model_call(&call(Some("other")));
    for number in 1..=103 {
        metrics.model_call(&call(Some(&format!("model-{number}"))));
    }
    metrics.model_call(&call(Some("model-100")));
    let text = metrics.render(&store);
    assert_eq!(calls_of(&text, "unknown"), "1");
    assert_eq!(calls_of(&text, "model-1"), "1");
    assert_eq!(calls_of(&text, "model-100"), "2");
    assert!(!text.contains("model-101"), "{text}");
    assert_eq!(calls_of(&text, "other"), "4");
}

#[test]
fn an_empty_or_too_long_name_is_other() {
    let (metrics, store) = (Metrics::default(), Store::volatile(0));
    let (longest, endless) = ("x".repeat(128), "y".repeat(129));
    for name in ["", &longest, &endless] {
        metrics.model_call(&call(Some(name)));
    }
    let text = metrics.render(&store);
    assert_eq!(calls_of(&text, &longest), "1");
    assert_eq!(calls_of(&text, "other"), "2");
    assert!(!text.contains("yy"), "{text}");
}

#[test]
fn the_name_of_a_model_cannot_end_its_label() {
    let (metrics, store) = (Metrics::default(), Store::volatile(0));
    metrics.model_call(&ModelCall {
        first_token: Some(Duration::from_secs(2)),
        ..call(Some("a\"} 1\nb\\c{é"))
    });
    let text = metrics.render(&store);
    let escaped = r#"a\"} 1\nb\\c{é"#;
    assert_eq!(calls_of(&text, escaped), "1");
    assert_eq!(
        value(
            &text,
            &format!("spangate_first_token_seconds_count{{model=\"{escaped}\"}}")
        ),
        "1"
    );
}

#[test]
fn tokens_of_all_replies_are_added_up() {
    let (metrics, store) = (Metrics::default(), Store::volatile(0));
    let usage = |prompt, completion, cached, reasoning| {
        let usage = Usage {
            prompt,
            completion,
            cached,
            reasoning,
            ..Usage::default()
        };
        metrics.model_call(&ModelCall {
            usage: Some(usage),
            ..call(Some("m"))
        });
    };
    usage(Some(11), Some(3), Some(8), Some(2));
    usage(Some(5), None, None, None);
    usage(None, Some(u64::MAX), None, None);
    metrics.model_call(&call(Some("m")));
    let text = metrics.render(&store);
    for (name, wanted) in [
        (r#"tokens_total{model="m",direction="input"}"#, "16"),
        (
            r#"tokens_total{model="m",direction="output"}"#,
            "18446744073709551615",
        ),
        (r#"cached_tokens_total{model="m"}"#, "8"),
        (r#"reasoning_tokens_total{model="m"}"#, "2"),
    ] {
        assert_eq!(value(&text, &format!("spangate_{name}")), wanted, "{name}");
    }
    assert_eq!(calls_of(&text, "m"), "4");
}

#[test]
fn first_tokens_are_counted_by_model() {
    let (metrics, store) = (Metrics::default(), Store::volatile(0));
    for (model, milliseconds) in [("a", 50), ("a", 400), ("b", 9_000)] {
        metrics.model_call(&ModelCall {
            first_token: Some(Duration::from_millis(milliseconds)),
            ..call(Some(model))
        });
    }
    metrics.model_call(&call(Some("b")));
    let text = metrics.render(&store);
    for (sample, wanted) in [
        (r#"bucket{model="a",le="0.05"}"#, "1"),
        (r#"bucket{model="a",le="0.5"}"#, "2"),
        (r#"bucket{model="b",le="5"}"#, "0"),
        (r#"bucket{model="b",le="+Inf"}"#, "1"),
        (r#"sum{model="a"}"#, "0.45"),
        (r#"count{model="b"}"#, "1"),
    ] {
        let name = format!("spangate_first_token_seconds_{sample}");
        assert_eq!(value(&text, &name), wanted, "{name}");
    }
}

#[test]
fn every_family_has_one_help_and_one_type() {
    let text = Metrics::default().render(&Store::volatile(0));
    let of = |word: &str| -> Vec<String> {
        let start = format!("# {word} ");
        let lines = text.lines().filter_map(|line| line.strip_prefix(&start));
        let names = lines.filter_map(|line| line.split_once(' '));
        names.map(|(name, _)| name.to_owned()).collect()
    };
    let (mut helped, typed) = (of("HELP"), of("TYPE"));
    assert_eq!(helped, typed);
    helped.sort();
    helped.dedup();
    assert_eq!(helped.len(), typed.len());
}
