//! Spans that are no exchange's: a team's run, an agent's turn, a tool's execution. Their names follow Respan's scheme: `workflow`,
//! `agent.<name>`, `tool.<name>` (respan-ai 4.2, semantic span names).

use std::borrow::Cow;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::chat;
use super::exchange::plain;
use super::identity;
use super::json::Json;
use super::{Key, Span, SpanId, Status, TraceId, Value, key};
use crate::exchange::{ExchangeId, RequestMeta};
use crate::identity::Credential;

/// The name of an agent that is not known.
const UNKNOWN: &str = "unknown";

/// What all of them have.
#[derive(Debug)]
pub struct Operation<'o> {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// What it happened in; none for a root.
    pub parent_span_id: Option<SpanId>,
    /// Nanoseconds of [`crate::clock`].
    pub start_ns: u64,
    /// Nanoseconds of [`crate::clock`], never before `start_ns`.
    pub end_ns: u64,
    /// The first request of its run: for whom it was, and how the wall's clock stood.
    pub meta: &'o RequestMeta,
    /// What was said may be told.
    pub content: bool,
    /// How it was found.
    pub rule: Option<&'o str>,
    /// Why it came to nothing; none where it went well.
    pub failure: Option<&'o str>,
}

impl Operation<'_> {
    /// The run of a team whose class, or whose name by a header, is `name`. Texts are what it was asked and what it came to.
    pub fn workflow(self, name: &str, input: Option<&str>, output: Option<&str>) -> Span {
        let mut attributes = Vec::with_capacity(16);
        named(&mut attributes, "workflow", name, "");
        self.content(
            &mut attributes,
            input.map(|task| {
                written(task.len(), |json| {
                    json.object(|members| members.text("task", Some(task)));
                })
            }),
            output.map(json),
        );
        let status = self.status(&mut attributes);
        self.span("workflow".to_owned(), status, attributes)
    }

    /// One turn of an agent.
    pub fn agent(self, name: Option<&str>, input: Option<&str>, output: Option<&str>) -> Span {
        let name = name.unwrap_or(UNKNOWN);
        let mut attributes = Vec::with_capacity(16);
        let path = if self.parent_span_id.is_some() {
            name
        } else {
            ""
        };
        named(&mut attributes, "agent", name, path);
        if name != UNKNOWN {
            set(&mut attributes, key::AGENT_NAME, name.to_owned());
        }
        self.content(&mut attributes, input.map(json), output.map(json));
        let status = self.status(&mut attributes);
        self.span(format!("agent.{}", plain(name)), status, attributes)
    }

    /// One execution of a tool. `arguments` are JSON, or what the model wrote instead.
    pub fn tool(self, name: &str, arguments: &str, came: &Came<'_>) -> Span {
        let mut attributes = Vec::with_capacity(16);
        named(&mut attributes, "tool", name, name);
        let output = match came {
            Came::Result(text) | Came::Error(text) => Some(json(text)),
            Came::Together | Came::Nothing => None,
        };
        self.content(&mut attributes, Some(tool_input(name, arguments)), output);
        let status = match came {
            Came::Error(text) => {
                let text = if self.content {
                    *text
                } else {
                    "the tool failed"
                };
                failed(&mut attributes, text)
            }
            Came::Result(_) | Came::Together => Status::Ok,
            Came::Nothing => {
                set(&mut attributes, key::UNANSWERED, "true".to_owned());
                Status::Ok
            }
        };
        self.span(format!("tool.{}", plain(name)), status, attributes)
    }

    /// A call of the model that is under way: what is known of it before its reply.
    pub fn call(self, model: Option<&str>) -> Span {
        let mut attributes = Vec::with_capacity(16);
        chat::kind_attributes(self.meta.system, &mut attributes);
        if let Some(model) = model {
            set(&mut attributes, key::REQUEST_MODEL, model.to_owned());
        }
        let name = plain(model.unwrap_or(UNKNOWN));
        self.span(format!("llm.{name}"), Status::Ok, attributes)
    }

    fn content(&self, put: &mut Vec<(Key, Value)>, input: Option<String>, output: Option<String>) {
        if !self.content {
            return;
        }
        for (key, text) in [(key::ENTITY_INPUT, input), (key::ENTITY_OUTPUT, output)] {
            if let Some(text) = text {
                set(put, key, text);
            }
        }
    }

    fn status(&self, put: &mut Vec<(Key, Value)>) -> Status {
        self.failure.map_or(Status::Ok, |why| failed(put, why))
    }

    fn span(self, name: String, status: Status, mut attributes: Vec<(Key, Value)>) -> Span {
        identity::attributes_of_run(&self.meta.identity, &mut attributes);
        if let Some(rule) = self.rule {
            set(&mut attributes, key::RULE, rule.to_owned());
        }
        let offset = self.meta.wall_offset_ns;
        let wall_ns = |steady_ns: u64| steady_ns.saturating_add_signed(offset);
        Span {
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent_span_id: self.parent_span_id,
            name,
            start_ns: wall_ns(self.start_ns),
            end_ns: wall_ns(self.end_ns.max(self.start_ns)),
            status,
            attributes,
            events: Vec::new(),
        }
    }
}

/// What came of a tool's execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came<'t> {
    /// Its result.
    Result(&'t str),
    /// One of AutoGen's own sentences that say that it failed.
    Error(&'t str),
    /// A result, in one text with those of other tools.
    Together,
    /// Nothing that was seen.
    Nothing,
}

fn failed(put: &mut Vec<(Key, Value)>, why: &str) -> Status {
    set(put, key::ERROR_MESSAGE, why.to_owned());
    Status::Error(why.to_owned())
}

fn named(put: &mut Vec<(Key, Value)>, log_type: &str, name: &str, path: &str) {
    set(put, key::LOG_TYPE, log_type.to_owned());
    set(put, key::ENTITY_NAME, name.to_owned());
    set(put, key::ENTITY_PATH, path.to_owned());
}

fn tool_input(name: &str, arguments: &str) -> String {
    // JSON stays as the model wrote it.
    let written = serde_json::from_str::<&RawValue>(arguments)
        .map_or_else(|_| json(arguments), |raw| raw.get().to_owned());
    let name = json(name);
    format!(r#"{{"name":{name},"arguments":{written}}}"#)
}

/// A text as JSON.
fn json(text: &str) -> String {
    written(text.len(), |json| json.text(text))
}

/// JSON about texts of so many bytes.
fn written(bytes: usize, write: impl FnOnce(&mut Json<'_>)) -> String {
    let mut json = Vec::with_capacity(bytes + bytes / 16 + 16);
    write(&mut Json::new(&mut json, false));
    String::from_utf8(json).unwrap_or_default()
}

fn set(put: &mut Vec<(Key, Value)>, key: &'static str, text: String) {
    put.push((Cow::Borrowed(key), Value::Text(text)));
}

/// The id of the workflow that a trace has at its top. The same on every replica, and different for those who must not meet.
pub fn workflow_id(trace: TraceId, credential: &Credential, thread: Option<&str>) -> SpanId {
    span_id(&[
        b"spangate workflow",
        &trace.0,
        &credential.0,
        thread.unwrap_or_default().as_bytes(),
    ])
}

/// The id of an agent's turn that begins with this exchange.
pub fn agent_id(first: ExchangeId) -> SpanId {
    span_id(&[b"spangate agent", first.as_bytes()])
}

/// The id of a tool's execution: of the reply that asked, the tool call of this number.
pub fn tool_id(asked_by: ExchangeId, number: usize) -> SpanId {
    span_id(&[b"spangate tool", asked_by.as_bytes(), &number.to_be_bytes()])
}

/// The id of the workflow that runs within a tool, or within a society that this exchange sums up.
pub fn inner_workflow_id(exchange: ExchangeId, number: Option<usize>) -> SpanId {
    let number = number.map_or([0xff; 8], |number| (number as u64).to_be_bytes());
    span_id(&[b"spangate inner workflow", exchange.as_bytes(), &number])
}

fn span_id(parts: &[&[u8]]) -> SpanId {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let mut id = [0; 8];
    id.copy_from_slice(&hash[..8]);
    // An id of zeros only is invalid.
    id[7] |= 1;
    SpanId(id)
}
