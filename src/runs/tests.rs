//! Watches over runs: calls go in as they came over the wire, and the trees that come out are compared as text.

mod attribution;
mod interleaved;
mod lifecycle;
mod naming;
mod open_spans;
mod outcomes;
mod programs;
mod selectors;
mod tool_rounds;
mod work_budget;
mod workers;

use std::collections::HashMap;
use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::*;
use crate::exchange::{ExchangeId, Outcome, ParsedReply, ResponseHead};
use crate::identity;
use crate::openai::{ChatReply, Choice, ReplyError, ToolCall};
use crate::span::exchange::span_id;
use crate::span::{Span, SpanId, TraceId, Value, key};

const IDLE: Duration = Duration::from_secs(30);
const SETTINGS: Settings = Settings {
    infer: true,
    idle: IDLE,
    max_open: 1000,
    max_memory: 64 << 20,
    max_age: Duration::from_hours(1),
};
/// When the first call of a test begins, in nanoseconds since the Unix epoch.
const EPOCH_NS: u64 = 1_700_000_000_000_000_000;

/// A call of the model, in microseconds since the first.
#[derive(Clone, Debug, Deserialize)]
struct Call {
    began_us: u64,
    ended_us: u64,
    request: Json,
    reply: Reply,
    #[serde(skip)]
    headers: Vec<(&'static str, String)>,
    #[serde(skip)]
    wall_offset_ns: i64,
    #[serde(skip)]
    came: Came,
}

/// How it ends.
#[derive(Clone, Copy, Debug, Default)]
enum Came {
    #[default]
    Well,
    /// With this status, and why.
    Refused(u16, &'static str),
    /// The client left in the middle of the reply.
    Left,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Reply {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    tool_calls: Vec<Json>,
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    Complete(Arc<Exchange>),
    Settled(Arc<Exchange>),
}

/// Runs, and what they made.
struct Play {
    runs: Runs,
    began: Instant,
    spans: Vec<Span>,
    finished: Vec<ExchangeId>,
    learned: Vec<LearnedName>,
}

impl Call {
    fn exchange(&self) -> Arc<Exchange> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let meta = RequestMeta {
            id: ExchangeId::new(),
            identity: identity::read(&headers, &identity::IdentityDefaults::default()),
            method: Method::POST,
            path: "/v1/chat/completions".to_owned(),
            retry: None,
            content_encoding: None,
            chat: true,
            content: true,
            entity_content: false,
            may_be_agent: true,
            media: crate::openai::Media::Size,
            max_body: 1 << 20,
            system: "openai",
            wall_offset_ns: self.wall_offset_ns,
        };
        let tool = |call: &Json| ToolCall {
            id: call["id"].as_str().unwrap().to_owned(),
            name: call["name"].as_str().unwrap().to_owned(),
            arguments: call["arguments"].as_str().unwrap().to_owned(),
            ..ToolCall::default()
        };
        let choice = Choice {
            content: self.reply.content.clone(),
            tool_calls: self.reply.tool_calls.iter().map(tool).collect(),
            ..Choice::default()
        };
        let (status, error) = match self.came {
            Came::Refused(status, why) => (status, Some(why.to_owned())),
            Came::Well | Came::Left => (200, None),
        };
        let is_left = matches!(self.came, Came::Left);
        Arc::new(Exchange {
            meta: Arc::new(meta),
            started_ns: EPOCH_NS + self.began_us * 1000,
            duration: Duration::from_micros(self.ended_us - self.began_us),
            request: CapturedBody::new(self.request.to_string().into(), false),
            response: Some(ResponseHead {
                status: StatusCode::from_u16(status).unwrap(),
                first_byte: Duration::ZERO,
                content_type: None,
                content_encoding: None,
                headers: Arc::default(),
            }),
            outcome: if is_left {
                Outcome::ClientLeft
            } else {
                Outcome::Complete
            },
            reply: Some(ParsedReply {
                chat: ChatReply {
                    model: Some("m".to_owned()),
                    choices: vec![choice],
                    error: error.map(|message| ReplyError {
                        message: Some(message),
                        ..ReplyError::default()
                    }),
                    ..ChatReply::default()
                },
                ended: !is_left,
                first_token: None,
            }),
        })
    }
}

/// What happens when these calls are made, in its order.
fn events(calls: &[Call]) -> Vec<Event> {
    let mut events: Vec<(u64, Event)> = Vec::new();
    for call in calls {
        let exchange = call.exchange();
        events.push((call.began_us, Event::Complete(Arc::clone(&exchange))));
        events.push((call.ended_us, Event::Settled(exchange)));
    }
    events.sort_by_key(|(at, event)| (*at, matches!(event, Event::Complete(_))));
    events.into_iter().map(|(_, event)| event).collect()
}

impl Play {
    fn new(settings: Settings) -> Self {
        Play::knowing(settings, Vec::new())
    }

    /// With names that earlier processes learned.
    fn knowing(settings: Settings, names: Vec<LearnedName>) -> Self {
        Play {
            runs: Runs::new(settings, names, 1),
            began: Instant::now(),
            spans: Vec::new(),
            finished: Vec::new(),
            learned: Vec::new(),
        }
    }

    /// The runs of these calls, until nothing is waited for any more.
    fn of(calls: &[Call]) -> Self {
        let mut play = Play::new(SETTINGS);
        for event in events(calls) {
            play.on(&event);
        }
        play.rest();
        play
    }

    fn now(&self, ns: u64) -> Instant {
        self.began + Duration::from_nanos(ns - EPOCH_NS)
    }

    fn on(&mut self, event: &Event) {
        match event {
            Event::Complete(exchange) => {
                let now = self.now(exchange.started_ns);
                let meta = Arc::clone(&exchange.meta);
                let body = exchange.request.clone();
                self.runs
                    .request_complete(meta, exchange.started_ns, body, now);
            }
            Event::Settled(exchange) => {
                let now = self.now(exchange.ended_ns());
                let update = self.runs.settled(Arc::clone(exchange), now);
                self.take(update);
            }
        }
    }

    fn all(&mut self, events: &[Event]) {
        for event in events {
            self.on(event);
        }
    }

    /// So much later than the first call began.
    fn later(&mut self, by: Duration) {
        let update = self.runs.expire(0, self.began + by);
        self.take(update);
    }

    fn rest(&mut self) {
        self.later(Duration::from_hours(10));
    }

    fn take(&mut self, update: RunUpdate) {
        self.spans
            .extend(update.spans.iter().map(FinishedSpan::span));
        self.finished.extend(update.finished);
        self.learned.extend(update.learned);
    }

    fn tree(&self) -> String {
        trees(&self.spans.iter().collect::<Vec<_>>())
    }
}

fn text<'s>(span: &'s Span, key: &str) -> Option<&'s str> {
    span.attributes
        .iter()
        .find_map(|(name, value)| match value {
            Value::Text(text) if name == key => Some(text.as_str()),
            _ => None,
        })
}

/// Traces as text: a line for each span, children in the order they began, a blank line between traces.
fn trees(spans: &[&Span]) -> String {
    fn write(spans: &[&Span], parent: &Span, depth: usize, into: &mut String) {
        let mut line = parent.name.clone();
        if parent.name == "workflow" {
            line = format!("{line} {}", text(parent, key::ENTITY_NAME).unwrap());
        }
        if let (Some(output), true) = (text(parent, key::ENTITY_OUTPUT), line.starts_with("tool."))
        {
            line = format!("{line} = {output}");
        }
        if text(parent, key::UNANSWERED).is_some() {
            line.push_str(" (unanswered)");
        }
        if matches!(parent.status, crate::span::Status::Error(_)) {
            line.push_str(" (error)");
        }
        writeln!(into, "{:1$}{line}", "", 2 * depth).unwrap();
        let mut children: Vec<&&Span> = spans
            .iter()
            .filter(|span| {
                span.parent_span_id == Some(parent.span_id) && span.trace_id == parent.trace_id
            })
            .collect();
        children.sort_by_key(|span| (span.start_ns, span.end_ns));
        for child in children {
            assert!(
                child.start_ns >= parent.start_ns && child.end_ns <= parent.end_ns,
                "{} outlasts {}",
                child.name,
                parent.name
            );
            write(spans, child, depth + 1, into);
        }
    }
    let is_root = |span: &&&Span| {
        span.parent_span_id
            .is_none_or(|id| !spans.iter().any(|other| other.span_id == id))
    };
    let mut roots: Vec<&&Span> = spans.iter().filter(is_root).collect();
    roots.sort_by_key(|span| (span.start_ns, span.end_ns));
    let mut all = String::new();
    let mut trace = None;
    for root in roots {
        if trace.is_some_and(|trace| trace != root.trace_id) {
            all.push('\n');
        }
        trace = Some(root.trace_id);
        write(spans, root, 0, &mut all);
    }
    all
}

/// A call from `began` to `ended`, in milliseconds. Messages are `[role, name, text]`, the name empty where there is none.
fn call(began: u64, ended: u64, messages: &[[&str; 3]], reply: &str) -> Call {
    let messages: Vec<Json> = messages
        .iter()
        .map(|[role, name, text]| match *name {
            "" => json!({"role": role, "content": text}),
            name => json!({"role": role, "name": name, "content": text}),
        })
        .collect();
    Call {
        began_us: began * 1000,
        ended_us: ended * 1000,
        request: json!({"model": "m", "messages": messages}),
        reply: Reply {
            content: Some(reply.to_owned()),
            ..Reply::default()
        },
        headers: Vec::new(),
        wall_offset_ns: 0,
        came: Came::Well,
    }
}

impl Call {
    /// Asks for this tool instead.
    fn asking(mut self, id: &str, tool: &str, arguments: &str) -> Self {
        self.reply.content = None;
        let call = json!({"id": id, "name": tool, "arguments": arguments});
        self.reply.tool_calls.push(call);
        self
    }

    /// Shows a tool call and its result after its messages.
    fn showing(self, id: &str, tool: &str, result: &str) -> Self {
        self.showing_all(&[(id, tool, "{}", result)])
    }

    /// Shows the tool calls of one reply and their results: ids, names, arguments, results.
    fn showing_all(mut self, round: &[(&str, &str, &str, &str)]) -> Self {
        let calls = round.iter().map(|(id, tool, arguments, _)| {
            json!({"id": id, "type": "function", "function": {"name": tool, "arguments": arguments}})
        });
        let calls: Vec<Json> = calls.collect();
        let results = round.iter().map(
            |(id, _, _, result)| json!({"role": "tool", "tool_call_id": id, "content": result}),
        );
        let messages = self.request["messages"].as_array_mut().unwrap();
        messages.push(json!({"role": "assistant", "content": null, "tool_calls": calls}));
        messages.extend(results);
        self
    }

    /// Has this message after all others.
    fn then(mut self, [role, name, text]: [&str; 3]) -> Self {
        let messages = self.request["messages"].as_array_mut().unwrap();
        let mut message = json!({"role": role, "content": text});
        if !name.is_empty() {
            message["name"] = json!(name);
        }
        messages.push(message);
        self
    }

    fn coming(mut self, came: Came) -> Self {
        self.came = came;
        self
    }

    /// Offers a tool.
    fn offering(mut self, tool: &str) -> Self {
        self.request["tools"] = json!([{"type": "function", "function": {"name": tool}}]);
        self
    }

    fn saying(mut self, header: &'static str, value: &str) -> Self {
        self.headers.push((header, value.to_owned()));
        self
    }
}

const WRITER: [&str; 3] = ["system", "", "You write."];
const CRITIC: [&str; 3] = ["system", "", "You criticise."];
const TASK: [&str; 3] = ["user", "user", "Write about owls."];

/// Writer, critic, writer: a team of two.
fn team() -> [Call; 3] {
    let (draft, verdict) = ("Owls fly.", "Too short.");
    [
        call(0, 10, &[WRITER, TASK], draft),
        call(20, 30, &[CRITIC, TASK, ["user", "writer", draft]], verdict),
        call(
            40,
            50,
            &[
                WRITER,
                TASK,
                ["assistant", "", draft],
                ["user", "critic", verdict],
            ],
            "Owls fly at night.",
        ),
    ]
}
