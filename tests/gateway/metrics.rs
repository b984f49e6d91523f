//! Watches over the metrics: calls, tokens and first tokens by model, and that `config/grafana.json` and README.md name only metrics of a
//! scrape.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::harness::{
    ClientRequest, Gateway, Metrics, Respan, Setup, Upstream, chat_events, chat_reply,
    chat_request, json_reply, until,
};

const DASHBOARD: &str = include_str!("../../config/grafana.json");
const README: &str = include_str!("../../README.md");
/// What [`chat_request`] asks for; [`chat_reply`] and [`chat_events`] answer as another.
const ASKED: &str = "gpt-4o-mini";

/// Answers by what the question says.
async fn upstream() -> Upstream {
    Upstream::answering(|request| {
        let body = String::from_utf8_lossy(&request.body);
        if body.contains("Too much?") {
            let error = json!({"error": {"message": "slow down", "type": "requests"}});
            json_reply("429 Too Many Requests", &error.to_string())
        } else if body.contains("\"stream\":true") {
            let events = chat_events(&["It ", "is."]).concat();
            let length = events.len();
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n{events}").into_bytes()
        } else if body.contains("Thought?") {
            let body = json!({
                "id": "chatcmpl-3", "object": "chat.completion", "model": "another", "choices": [],
                "usage": {"prompt_tokens": 20, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 16}, "completion_tokens_details": {"reasoning_tokens": 7}},
            });
            json_reply("200 OK", &body.to_string())
        } else {
            chat_reply("It is.")
        }
    })
    .await
}

async fn ask(gateway: &Gateway, question: &str, stream: bool) {
    let ask = ClientRequest::post("/v1/chat/completions", chat_request(question, stream));
    gateway.ask(&ask).await;
}

/// The scrape that counts so many calls of models.
async fn counted(gateway: &Gateway, calls: u32) -> Metrics {
    until("the calls to be counted", async || {
        let now = gateway.metrics().await;
        let total = now.total("spangate_model_requests_total");
        assert!(total < f64::from(calls) + 0.5, "{now:?}");
        (total > f64::from(calls) - 0.5).then_some(now)
    })
    .await
}

#[track_caller]
fn expect(metrics: &Metrics, sample: &str, wanted: u32) {
    let total = metrics.total(sample);
    let close = (total - f64::from(wanted)).abs() < 0.1;
    assert!(close, "{sample}: {total}, not {wanted}: {metrics:?}");
}

#[tokio::test]
async fn calls_tokens_and_first_tokens_are_counted_by_model() {
    let upstream = upstream().await;
    let gateway = Gateway::before(&upstream).await;
    ask(&gateway, "Is it?", false).await;
    ask(&gateway, "Is it?", true).await;
    let thought = json!({"messages": [{"role": "user", "content": "Thought?"}], "model": "o\"4"});
    let thought = ClientRequest::post("/v1/chat/completions", thought.to_string());
    gateway.ask(&thought).await;
    ask(&gateway, "Too much?", false).await;
    let metrics = counted(&gateway, 4).await;
    let of = |model: &str, rest: &str| format!("{{model=\"{model}\"{rest}}}");
    for (name, labels, wanted) in [
        // Failures and successes share a label, whatever name answered.
        (
            "model_requests_total",
            of(ASKED, ",outcome=\"complete\""),
            2,
        ),
        ("model_requests_total", of(ASKED, ",outcome=\"refused\""), 1),
        ("tokens_total", of(ASKED, ",direction=\"input\""), 22),
        ("tokens_total", of(ASKED, ",direction=\"output\""), 6),
        ("first_token_seconds_count", of(ASKED, ""), 1),
        ("tokens_total", of("o\\\"4", ",direction=\"input\""), 20),
        ("tokens_total", of("o\\\"4", ",direction=\"output\""), 9),
        ("cached_tokens_total", of("o\\\"4", ""), 16),
        ("reasoning_tokens_total", of("o\\\"4", ""), 7),
    ] {
        let sample = format!("spangate_{name}{labels}");
        assert!(metrics.has(&sample), "{sample}: {metrics:?}");
        expect(&metrics, &sample, wanted);
    }
    // Only what streams has a first token.
    expect(&metrics, "spangate_first_token_seconds_count", 1);
}

#[tokio::test]
async fn a_call_that_is_not_traced_counts_as_a_request_only() {
    let upstream = upstream().await;
    let gateway = Gateway::before(&upstream).await;
    let off = ClientRequest::post("/v1/chat/completions", chat_request("Is it?", false))
        .header("x-respan-log", "off");
    gateway.ask(&off).await;
    gateway
        .ask(&ClientRequest::post("/v1/embeddings", "{}"))
        .await;
    ask(&gateway, "Is it?", false).await;
    // They are told in order: with the last one counted, the others would be.
    let metrics = counted(&gateway, 1).await;
    expect(&metrics, "spangate_requests_total", 3);
    let input = format!("spangate_tokens_total{{model=\"{ASKED}\",direction=\"input\"}}");
    expect(&metrics, &input, 11);
}

#[tokio::test]
async fn a_call_without_a_requested_model_counts_as_unknown() {
    let upstream = upstream().await;
    let gateway = Gateway::before(&upstream).await;
    for body in ["no JSON", "{\"messages\":[]}"] {
        gateway
            .ask(&ClientRequest::post("/v1/chat/completions", body))
            .await;
    }
    let metrics = counted(&gateway, 2).await;
    let sample = r#"spangate_model_requests_total{model="unknown",outcome="complete"}"#;
    expect(&metrics, sample, 2);
}

#[tokio::test]
async fn a_call_without_a_run_counts_under_its_requested_model() {
    let upstream = upstream().await;
    let gateway = Setup::before(&upstream.url("/v1"))
        .set("runs.infer", "false")
        .start()
        .await;
    ask(&gateway, "Too much?", false).await;
    ask(&gateway, "Is it?", false).await;
    let metrics = counted(&gateway, 2).await;
    for outcome in ["refused", "complete"] {
        let sample =
            format!("spangate_model_requests_total{{model=\"{ASKED}\",outcome=\"{outcome}\"}}");
        expect(&metrics, &sample, 1);
    }
}

#[tokio::test]
async fn models_beyond_the_first_hundred_are_other() {
    let upstream = Upstream::answering(|request| {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let body =
            json!({"id": "c", "object": "chat.completion", "model": body["model"], "choices": [{"message": {"content": "Yes."}}]});
        json_reply("200 OK", &body.to_string())
    })
    .await;
    let gateway = Gateway::before(&upstream).await;
    for number in 1..=102 {
        let body = json!({"model": format!("made-up-{number}"), "messages": []}).to_string();
        gateway
            .ask(&ClientRequest::post("/v1/chat/completions", body))
            .await;
    }
    let metrics = counted(&gateway, 102).await;
    let of = |model: &str| {
        format!("spangate_model_requests_total{{model=\"{model}\",outcome=\"complete\"}}")
    };
    expect(&metrics, &of("made-up-100"), 1);
    expect(&metrics, &of("other"), 2);
}

/// A scrape as text, after traffic that gives every family a sample.
async fn scrape() -> String {
    let (upstream, respan) = (upstream().await, Respan::start().await);
    let gateway = Setup::between(&upstream, &respan).start().await;
    ask(&gateway, "Is it?", true).await;
    counted(&gateway, 1).await;
    let reply = ClientRequest::new("GET", "/metrics")
        .to(gateway.admin)
        .await;
    String::from_utf8(reply.body).expect("the text format is UTF-8")
}

/// Samples by their name, labels as they were written.
fn samples(scrape: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut samples: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in scrape.lines().filter(|line| !line.starts_with('#')) {
        let (sample, _) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let labels = labels.trim_end_matches('}');
        samples.entry(name).or_default().push(labels);
    }
    samples
}

/// `metric{matchers}` of an expression: the metric, and what is between the braces.
fn selectors(expression: &str) -> Vec<(&str, &str)> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let starts = expression.match_indices("spangate_").map(|(at, _)| at);
    let selector = |at: usize| {
        let rest = &expression[at..];
        let (name, rest) = rest.split_at(rest.find(|c| !word(c)).unwrap_or(rest.len()));
        let matchers = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        (name, matchers.map_or("", |(matchers, _)| matchers))
    };
    starts.map(selector).collect()
}

fn expressions(dashboard: &Value) -> Vec<&str> {
    let targets = |panel: &'_ Value| panel["targets"].as_array().cloned().unwrap_or_default();
    let panels = dashboard["panels"].as_array().expect("panels");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert!(!targets(panel).is_empty(), "it shows nothing: {panel}");
    }
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let expressions = targets.flatten().map(|target| target["expr"].as_str());
    expressions
        .map(|expression| expression.expect("an expression"))
        .collect()
}

#[tokio::test]
async fn the_dashboard_uses_only_what_a_scrape_has() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let scrape = scrape().await;
    let samples = samples(&scrape);
    let has = |name: &str, label: &str| {
        let label = format!(",{label}");
        let labels = samples.get(name).into_iter().flatten();
        labels
            .map(|labels| format!(",{labels}"))
            .any(|labels| labels.contains(&label))
    };
    let queries = dashboard["templating"]["list"]
        .as_array()
        .expect("variables")
        .iter()
        .filter_map(|variable| variable["query"]["query"].as_str());
    for query in queries {
        for (name, _) in selectors(query) {
            assert!(samples.contains_key(name), "{name} of {query}");
        }
    }
    let expressions = expressions(&dashboard);
    assert!(!expressions.is_empty());
    for expression in expressions {
        let selectors = selectors(expression);
        assert!(!selectors.is_empty(), "{expression}");
        for (name, matchers) in &selectors {
            assert!(samples.contains_key(name), "{name} of {expression}");
            for matcher in matchers.split(',') {
                let key = matcher.split(['=', '!']).next().unwrap_or_default();
                // Prometheus gives these two to every sample.
                if ["job", "instance"].contains(&key) {
                    continue;
                }
                let exact = matcher.contains("=\"") && !matcher.contains('!');
                let wanted = if exact {
                    matcher.to_owned()
                } else {
                    format!("{key}=")
                };
                assert!(has(name, &wanted), "{matcher} of {expression}");
            }
        }
        for by in expression.split("by (").skip(1) {
            let labels = by.split(')').next().unwrap_or_default();
            for label in labels.split(", ") {
                let wanted = format!("{label}=");
                let found = selectors.iter().any(|(name, _)| has(name, &wanted));
                assert!(found, "{label} of {expression}");
            }
        }
    }
}

#[test]
fn the_dashboard_can_be_imported_beside_others() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    assert_eq!(dashboard["uid"], "spangate");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<u64> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().expect("an id"))
        .collect();
    assert_eq!(ids.len(), panels.len(), "every panel has an id of its own");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(
            panel["datasource"]["uid"], "${datasource}",
            "whoever imports it chooses the source: {panel}"
        );
    }
    let rows = panels.iter().filter(|panel| panel["type"] == "row");
    let rows: Vec<&str> = rows.filter_map(|row| row["title"].as_str()).collect();
    let wanted = ["Traffic", "Latency", "Models", "Export", "Store", "Runs"];
    assert_eq!(rows, wanted);
}

#[tokio::test]
async fn the_readme_explains_exactly_the_metrics_of_a_scrape() {
    let scrape = scrape().await;
    let announced: BTreeSet<(&str, &str)> = scrape
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let rows = README
        .lines()
        .filter_map(|line| line.strip_prefix("| `spangate_"));
    let explained: BTreeSet<(&str, &str)> = rows
        .map(|row| {
            let mut cells = row.split(" | ");
            let name = cells.next().unwrap_or_default().trim_end_matches('`');
            (name, cells.next().unwrap_or_default())
        })
        .collect();
    let announced: BTreeSet<(&str, &str)> = announced
        .into_iter()
        .map(|(name, kind)| (name.trim_start_matches("spangate_"), kind))
        .collect();
    assert_eq!(explained, announced);
}
