//! A stand-in for Respan: takes OTLP in JSON and shows the traces as trees.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Response;
use serde_json::Value;
use tokio::sync::Notify;

use super::service::{DemoBody, JsonService, json_response};
use crate::tree;

/// Most spans that are kept. The demo has fewer; later traffic of the user may have more.
const MOST_SPANS: usize = 1000;

/// Keeps the spans of all posts. Clones share them.
#[derive(Clone, Default)]
pub(super) struct FakeRespan {
    spans: Arc<Mutex<Vec<Value>>>,
    received: Arc<Notify>,
}

impl JsonService for FakeRespan {
    async fn answer(self, batch: Value) -> Response<DemoBody> {
        self.add(&batch);
        json_response("{}")
    }
}

impl FakeRespan {
    fn lock(&self) -> MutexGuard<'_, Vec<Value>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, batch: &Value) {
        let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
        let resources = list(batch, "resourceSpans");
        let scopes = resources
            .iter()
            .flat_map(|resource| list(resource, "scopeSpans"));
        let spans = scopes.flat_map(|scope| list(&scope, "spans"));
        let mut kept = self.lock();
        let room = MOST_SPANS.saturating_sub(kept.len());
        kept.extend(spans.take(room));
        drop(kept);
        self.received.notify_waiters();
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Waits for `count` spans.
    pub(super) async fn has(&self, count: usize) {
        loop {
            let received = self.received.notified();
            if self.count() >= count {
                return;
            }
            received.await;
        }
    }

    /// All traces, in the order of their first spans.
    pub(super) fn trees(&self) -> String {
        let mut spans = self.lock().clone();
        spans.sort_by_key(|span| nanoseconds(span, "startTimeUnixNano"));
        let mut traces: Vec<&str> = Vec::new();
        for span in &spans {
            let trace = span["traceId"].as_str().unwrap_or_default();
            if !traces.contains(&trace) {
                traces.push(trace);
            }
        }
        let mut out = String::new();
        for trace in traces {
            let members: Vec<&Value> = spans
                .iter()
                .filter(|span| span["traceId"] == trace)
                .collect();
            let attributes = members
                .first()
                .map(|span| attributes(span))
                .unwrap_or_default();
            let attribute = |key: &str| attributes.get(key).cloned().unwrap_or_default();
            let _ = writeln!(
                out,
                "trace {trace}  thread {}  customer {}",
                attribute("respan.threads.thread_identifier"),
                attribute("respan.customer_params.customer_identifier")
            );
            let ids: Vec<(&Value, Option<&Value>)> = members
                .iter()
                .map(|span| (&span["spanId"], span.get("parentSpanId")))
                .collect();
            for row in tree::layout(&ids) {
                let _ = writeln!(out, "{}{}", row.branches, line(members[row.span]));
            }
        }
        out
    }
}

fn line(span: &Value) -> String {
    let milliseconds = nanoseconds(span, "endTimeUnixNano")
        .saturating_sub(nanoseconds(span, "startTimeUnixNano"))
        / 1_000_000;
    format!(
        "{}  {milliseconds} ms{}",
        span["name"].as_str().unwrap_or_default(),
        summary(&attributes(span)),
    )
}

/// The class of a team, input and output of a tool, or tokens, tool call and text of a model call.
fn summary(attributes: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let attribute = |key: &str| attributes.get(key).map_or("", String::as_str);
    match attribute("respan.entity.log_type") {
        "workflow" => {
            let _ = write!(out, "  {}", attribute("traceloop.entity.name"));
        }
        "tool" => {
            let (input, output) = (
                attribute("traceloop.entity.input"),
                attribute("traceloop.entity.output"),
            );
            let _ = write!(out, "  {input} -> {output}");
        }
        _ => {}
    }
    for cost in tree::cost(|key| attributes.get(key).cloned()) {
        let _ = write!(out, "  {cost}");
    }
    if let Some(calls) = attributes
        .get("gen_ai.completion.0.tool_calls")
        .and_then(|text| serde_json::from_str::<Value>(text).ok())
    {
        let function = &calls[0]["function"];
        let _ = write!(
            out,
            "  calls {}({})",
            function["name"].as_str().unwrap_or_default(),
            function["arguments"].as_str().unwrap_or_default()
        );
    }
    if let Some(text) = attributes
        .get("gen_ai.completion.0.content")
        .filter(|text| !text.is_empty())
    {
        let _ = write!(out, "  \"{text}\"");
    }
    out
}

fn attributes(span: &Value) -> BTreeMap<String, String> {
    let listed = span["attributes"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let texts = listed.iter().filter_map(|attribute| {
        let value = attribute["value"].as_object()?.values().next()?;
        Some((
            attribute["key"].as_str()?.to_owned(),
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned),
        ))
    });
    texts.collect()
}

fn nanoseconds(span: &Value, key: &str) -> u64 {
    span[key]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}
