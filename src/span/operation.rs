//! Spans of operations that are no exchange: the run of a team, the turn of an agent, the execution of a tool.
//!
//! Their names follow Respan's scheme: `workflow`, `agent.<name>`, `tool.<name>` (respan-ai 4.2, semantic span names).

use std::borrow::Cow;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::chat;
use super::exchange::plain;
use super::identity;
use super::json::JsonWriter;
use super::{AttributeKey, Span, SpanId, Status, TraceId, Value, key};
use crate::exchange::{ExchangeId, RequestMeta};
use crate::identity::Credential;

/// The name of an unknown agent.
const UNKNOWN: &str = "unknown";

/// The parts that all operations have.
#[derive(Debug)]
pub struct Operation<'o> {
    /// The trace of its run.
    pub trace_id: TraceId,
    /// One of this module's derived ids.
    pub span_id: SpanId,
    /// None for a root.
    pub parent_span_id: Option<SpanId>,
    /// Nanoseconds of [`crate::clock`].
    pub start_ns: u64,
    /// Nanoseconds of [`crate::clock`], never before `start_ns`.
    pub end_ns: u64,
    /// The run's first request: it gives the identity and the offset of the wall clock.
    pub meta: &'o RequestMeta,
    /// Whether texts may be in the span.
    pub content: bool,
    /// The rule of inference that found the operation.
    pub rule: Option<&'o str>,
    /// The reason of a failure; none for success.
    pub failure: Option<&'o str>,
}

impl Operation<'_> {
    /// The run of a team. `name` is its class or its explicit name, `input` its task, `output` its last message.
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

    /// One execution of a tool. `arguments` are JSON, or any text that the model wrote instead.
    pub fn tool(self, name: &str, arguments: &str, outcome: &ToolOutcome<'_>) -> Span {
        let mut attributes = Vec::with_capacity(16);
        named(&mut attributes, "tool", name, name);
        let output = match outcome {
            ToolOutcome::Result(text) | ToolOutcome::Error(text) => Some(json(text)),
            ToolOutcome::Merged | ToolOutcome::Unseen => None,
        };
        self.content(&mut attributes, Some(tool_input(name, arguments)), output);
        let status = match outcome {
            ToolOutcome::Error(text) => {
                let text = if self.content {
                    *text
                } else {
                    "the tool failed"
                };
                failed(&mut attributes, text)
            }
            ToolOutcome::Result(_) | ToolOutcome::Merged => Status::Ok,
            ToolOutcome::Unseen => {
                set(&mut attributes, key::UNANSWERED, "true".to_owned());
                Status::Ok
            }
        };
        self.span(format!("tool.{}", plain(name)), status, attributes)
    }

    /// A model call whose reply is not complete.
    pub fn call(self, model: Option<&str>) -> Span {
        let mut attributes = Vec::with_capacity(16);
        chat::kind_attributes(self.meta.system, &mut attributes);
        if let Some(model) = model {
            set(&mut attributes, key::REQUEST_MODEL, model.to_owned());
        }
        let name = plain(model.unwrap_or(UNKNOWN));
        self.span(format!("llm.{name}"), Status::Ok, attributes)
    }

    fn content(
        &self,
        out: &mut Vec<(AttributeKey, Value)>,
        input: Option<String>,
        output: Option<String>,
    ) {
        if !self.content {
            return;
        }
        for (key, text) in [(key::ENTITY_INPUT, input), (key::ENTITY_OUTPUT, output)] {
            if let Some(text) = text {
                set(out, key, text);
            }
        }
    }

    fn status(&self, out: &mut Vec<(AttributeKey, Value)>) -> Status {
        self.failure.map_or(Status::Ok, |why| failed(out, why))
    }

    fn span(
        self,
        name: String,
        status: Status,
        mut attributes: Vec<(AttributeKey, Value)>,
    ) -> Span {
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

/// The outcome of a tool's execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolOutcome<'t> {
    /// The result of this tool alone.
    Result(&'t str),
    /// A sentence by which AutoGen itself reports a failure.
    Error(&'t str),
    /// A result that stands in one text with those of other tools.
    Merged,
    /// No request showed a result.
    Unseen,
}

fn failed(out: &mut Vec<(AttributeKey, Value)>, why: &str) -> Status {
    set(out, key::ERROR_MESSAGE, why.to_owned());
    Status::Error(why.to_owned())
}

fn named(out: &mut Vec<(AttributeKey, Value)>, log_type: &str, name: &str, path: &str) {
    set(out, key::LOG_TYPE, log_type.to_owned());
    set(out, key::ENTITY_NAME, name.to_owned());
    set(out, key::ENTITY_PATH, path.to_owned());
}

fn tool_input(name: &str, arguments: &str) -> String {
    // JSON keeps the spelling of the model.
    let arguments = serde_json::from_str::<&RawValue>(arguments)
        .map_or_else(|_| json(arguments), |raw| raw.get().to_owned());
    let name = json(name);
    format!(r#"{{"name":{name},"arguments":{arguments}}}"#)
}

/// A text as JSON.
fn json(text: &str) -> String {
    written(text.len(), |json| json.text(text))
}

/// The JSON that `write` writes, with room for texts of `bytes`.
fn written(bytes: usize, write: impl FnOnce(&mut JsonWriter<'_>)) -> String {
    let mut json = Vec::with_capacity(bytes + bytes / 16 + 16);
    write(&mut JsonWriter::new(&mut json, false));
    String::from_utf8(json).unwrap_or_default()
}

fn set(out: &mut Vec<(AttributeKey, Value)>, key: &'static str, text: String) {
    out.push((Cow::Borrowed(key), Value::Text(text)));
}

/// The id of a trace's root workflow: equal on every replica, different for each credential and thread.
pub fn workflow_id(trace: TraceId, credential: &Credential, thread: Option<&str>) -> SpanId {
    span_id(&[
        b"spangate workflow",
        &trace.0,
        &credential.0,
        thread.unwrap_or_default().as_bytes(),
    ])
}

/// The id of the agent's turn that begins with this exchange.
pub fn agent_id(first: ExchangeId) -> SpanId {
    span_id(&[b"spangate agent", first.as_bytes()])
}

/// The id of a tool's execution: the tool call of this number in the reply of `asked_by`.
pub fn tool_id(asked_by: ExchangeId, number: usize) -> SpanId {
    span_id(&[b"spangate tool", asked_by.as_bytes(), &number.to_be_bytes()])
}

/// The id of a workflow within a tool, or within a society that this exchange sums up.
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
    // OTLP forbids an id of zeros.
    id[7] |= 1;
    SpanId(id)
}
