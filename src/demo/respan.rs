//! In Respan's place: takes OTLP in JSON and shows the traces as trees.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::sync::Notify;
use tower::Service;

use super::model::Reply;
use crate::tree;

/// The demo's own are fewer; who plays on with the gateway gets no more of them shown.
const MOST_SPANS: usize = 1000;

/// Keeps every span it is sent. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Respan {
    spans: Arc<Mutex<Vec<Value>>>,
    came: Arc<Notify>,
}

impl Service<Request<Incoming>> for Respan {
    type Response = Response<Reply>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let respan = self.clone();
        Box::pin(async move {
            let batch = super::whole(request.into_body())
                .await
                .ok()
                .and_then(|body| serde_json::from_slice::<Value>(&body).ok());
            respan.take(&batch.unwrap_or_default());
            Ok(Response::new(Either::Left(Full::from("{}"))))
        })
    }
}

impl Respan {
    fn take(&self, batch: &Value) {
        let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
        let resources = list(batch, "resourceSpans");
        let scopes = resources
            .iter()
            .flat_map(|resource| list(resource, "scopeSpans"));
        let spans = scopes.flat_map(|scope| list(&scope, "spans"));
        let mut kept = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST_SPANS.saturating_sub(kept.len());
        kept.extend(spans.take(room));
        drop(kept);
        self.came.notify_waiters();
    }

    pub(super) fn count(&self) -> usize {
        self.spans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Waits for `count` spans.
    pub(super) async fn has(&self, count: usize) {
        loop {
            let came = self.came.notified();
            if self.count() >= count {
                return;
            }
            came.await;
        }
    }

    /// Every trace, in the order they began.
    pub(super) fn trees(&self) -> String {
        let mut spans = self
            .spans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
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
            let told = |key: &str| attributes.get(key).cloned().unwrap_or_default();
            let _ = writeln!(
                out,
                "trace {trace}  thread {}  customer {}",
                told("respan.threads.thread_identifier"),
                told("respan.customer_params.customer_identifier")
            );
            let ids: Vec<(&Value, Option<&Value>)> = members
                .iter()
                .map(|span| (&span["spanId"], span.get("parentSpanId")))
                .collect();
            for place in tree::layout(&ids) {
                let _ = writeln!(out, "{}{}", place.branches, line(members[place.span]));
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

/// Tokens, how it was answered, and with what; of a team its class, of a tool what went in and what came out.
fn summary(attributes: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let told = |key: &str| attributes.get(key).map_or("", String::as_str);
    match told("respan.entity.log_type") {
        "workflow" => {
            let _ = write!(out, "  {}", told("traceloop.entity.name"));
        }
        "tool" => {
            let (input, output) = (
                told("traceloop.entity.input"),
                told("traceloop.entity.output"),
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
