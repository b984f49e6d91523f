//! A scripted Respan: takes OTLP posts, JSON or protobuf, answers as the test says, keeps every accepted span.
//!
//! The rule: the raw bytes of every post stay readable too, so that a test can check for secrets.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use super::{Request, Wire, value, within};

/// The key the gateway posts with.
pub(crate) const KEY: &str = "rk-0123456789abcdef";

/// One span as it was posted.
#[expect(clippy::struct_field_names, reason = "the names of OTLP")]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) parent: Option<String>,
    pub(crate) name: String,
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// 0 unset, 1 ok, 2 error.
    pub(crate) status: i64,
    pub(crate) attributes: BTreeMap<String, Value>,
    pub(crate) events: Vec<Value>,
}

impl Span {
    /// An attribute as text, numbers and booleans written out; empty when it is not there.
    pub(crate) fn text(&self, key: &str) -> String {
        match self.attributes.get(key) {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    /// Whether it is an exchange's, and not what the gateway made of several.
    pub(crate) fn is_call(&self) -> bool {
        !self.text("respan.metadata.spangate_exchange").is_empty()
    }

    /// How the exchange ended.
    pub(crate) fn outcome(&self) -> String {
        self.text("respan.metadata.spangate_outcome")
    }
}

#[derive(Debug, Default)]
struct RespanState {
    answers: VecDeque<Vec<u8>>,
    always: Option<Vec<u8>>,
    silent: bool,
    posts: Vec<Request>,
    spans: Vec<Span>,
    problems: Vec<String>,
}

/// A listening Respan.
#[derive(Debug)]
pub(crate) struct Respan {
    address: SocketAddr,
    state: Arc<Mutex<RespanState>>,
    changed: watch::Receiver<usize>,
    _tasks: JoinSet<()>,
}

impl Respan {
    /// Starts one that accepts everything.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(Mutex::new(RespanState::default()));
        let (tell, changed) = watch::channel(0);
        let (tell, shared) = (Arc::new(tell), state.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, tell) = (shared.clone(), tell.clone());
                serving.spawn(async move {
                    let mut wire = Wire::new(stream);
                    while wire.begins().await {
                        let post = wire.request().await;
                        let (answer, silent) = shared.lock().unwrap().take(post);
                        tell.send_modify(|posts| *posts += 1);
                        if silent {
                            wire.left().await;
                            return;
                        }
                        wire.send(answer).await;
                    }
                });
            }
        });
        Self {
            address,
            state,
            changed,
            _tasks: tasks,
        }
    }

    /// For `respan.base_url`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/api", self.address)
    }

    /// Answers the next post with these bytes, and does not keep its spans unless they say 200. May be called several times.
    pub(crate) fn answer_next(&self, reply: impl Into<Vec<u8>>) {
        self.state.lock().unwrap().answers.push_back(reply.into());
    }

    /// Answers every post like that, where nothing else is said by [`Respan::answer_next`]; with nothing, accepts them again.
    pub(crate) fn answer_always(&self, reply: Option<Vec<u8>>) {
        self.state.lock().unwrap().always = reply;
    }

    /// Takes posts and keeps their spans, but answers none, until told otherwise.
    pub(crate) fn be_silent(&self, silent: bool) {
        self.state.lock().unwrap().silent = silent;
    }

    /// The spans accepted so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let state = self.state.lock().unwrap();
        assert!(state.problems.is_empty(), "{:?}", state.problems);
        state.spans.clone()
    }

    /// Every post so far, whatever was answered.
    pub(crate) fn posts(&self) -> Vec<Request> {
        self.state.lock().unwrap().posts.clone()
    }

    /// Waits until this finds what it looks for in what has been accepted.
    pub(crate) async fn wait_for<T>(
        &self,
        what: &str,
        mut found: impl FnMut(&[Span]) -> Option<T>,
    ) -> T {
        let mut changed = self.changed.clone();
        within(what, async {
            loop {
                changed.mark_unchanged();
                {
                    let state = self.state.lock().unwrap();
                    assert!(state.problems.is_empty(), "{:?}", state.problems);
                    if let Some(value) = found(&state.spans) {
                        return value;
                    }
                }
                changed.changed().await.expect("this Respan listens");
            }
        })
        .await
    }

    /// Waits until this many spans have been accepted.
    pub(crate) async fn wait_for_spans(&self, count: usize) -> Vec<Span> {
        self.wait_for(&format!("{count} spans"), |spans| {
            (spans.len() >= count).then(|| spans.to_vec())
        })
        .await
    }

    /// Waits for the one span of the exchange with this id.
    pub(crate) async fn span_of(&self, exchange: &str) -> Span {
        let ours = |span: &&Span| span.text("respan.metadata.spangate_exchange") == exchange;
        self.wait_for(&format!("the span of {exchange}"), |spans| {
            spans.iter().find(ours).cloned()
        })
        .await
    }
}

/// Traces as trees of names, a workflow with its entity's, children in the order they began.
pub(crate) fn trees(spans: &[Span]) -> String {
    use std::fmt::Write as _;

    fn write(spans: &[Span], parent: Option<&Span>, depth: usize, into: &mut String) {
        let is_known = |id: Option<&String>| spans.iter().any(|span| Some(&span.span_id) == id);
        let is_child = |span: &&Span| {
            parent.map_or(!is_known(span.parent.as_ref()), |parent| {
                span.parent.as_ref() == Some(&parent.span_id) && span.trace_id == parent.trace_id
            })
        };
        let mut children: Vec<&Span> = spans.iter().filter(is_child).collect();
        children.sort_by_key(|span| (span.start, span.end));
        for child in children {
            let entity = child.text("traceloop.entity.name");
            let of_team = if child.name == "workflow" {
                format!(" {entity}")
            } else {
                String::new()
            };
            let indent = 2 * depth;
            writeln!(into, "{:indent$}{}{of_team}", "", child.name).expect("it is a text");
            write(spans, Some(child), depth + 1, into);
        }
    }
    let mut text = String::new();
    write(spans, None, 0, &mut text);
    text
}

impl RespanState {
    fn take(&mut self, post: Request) -> (Vec<u8>, bool) {
        let accepted = super::json_reply("200 OK", r#"{"partialSuccess":{}}"#);
        let next = self.answers.pop_front().or_else(|| self.always.clone());
        let answer = next.unwrap_or(accepted);
        if answer.starts_with(b"HTTP/1.1 200") {
            assert_eq!(post.target, "/api/v2/traces");
            let protobuf =
                value(&post.headers, "content-type").is_some_and(|kind| kind.contains("protobuf"));
            let batch = if protobuf {
                let message = ExportTraceServiceRequest::decode(post.body.as_slice())
                    .expect("OTLP in protobuf");
                serde_json::to_value(message).expect("OTLP has a JSON form")
            } else {
                serde_json::from_slice(&post.body).expect("OTLP in JSON")
            };
            self.spans.extend(spans(&batch, &mut self.problems));
        }
        self.posts.push(post);
        (answer, self.silent)
    }
}

fn spans(batch: &Value, problems: &mut Vec<String>) -> Vec<Span> {
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let mut all = Vec::new();
    for resource in list(batch, "resourceSpans") {
        for scope in list(&resource, "scopeSpans") {
            all.extend(
                list(&scope, "spans")
                    .iter()
                    .map(|value| span(value, problems)),
            );
        }
    }
    all
}

fn span(value: &Value, problems: &mut Vec<String>) -> Span {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| {
        value[key]
            .as_str()
            .and_then(|digits| digits.parse().ok())
            .unwrap_or_else(|| panic!("{key} in {value}"))
    };
    let attributes = value["attributes"].as_array().cloned().unwrap_or_default();
    let mut named = BTreeMap::new();
    for attribute in &attributes {
        let key = attribute["key"]
            .as_str()
            .expect("an attribute has a name")
            .to_owned();
        if named.insert(key, plain(&attribute["value"])).is_some() {
            problems.push(format!("an attribute came twice: {attribute}"));
        }
    }
    Span {
        trace_id: text("traceId"),
        span_id: text("spanId"),
        parent: Some(text("parentSpanId")).filter(|id| !id.is_empty()),
        name: text("name"),
        start: number("startTimeUnixNano"),
        end: number("endTimeUnixNano"),
        status: value["status"]["code"].as_i64().unwrap_or_default(),
        events: value["events"].as_array().cloned().unwrap_or_default(),
        attributes: named,
    }
}

/// OTLP's wrapped value as a plain one; its whole numbers are texts on the wire.
fn plain(wrapped: &Value) -> Value {
    let Some((kind, value)) = wrapped.as_object().and_then(|object| object.iter().next()) else {
        return Value::Null;
    };
    match (kind.as_str(), value) {
        ("intValue", Value::String(digits)) => {
            digits.parse::<i64>().map_or(Value::Null, Value::from)
        }
        ("arrayValue", value) => value["values"]
            .as_array()
            .into_iter()
            .flatten()
            .map(plain)
            .collect(),
        (_, value) => value.clone(),
    }
}
