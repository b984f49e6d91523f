//! The few facts of a span that a list of traces needs, written beside it, so that a list reads neither prompts nor replies.
//!
//! They are made on the thread that writes, for every span, looked at or not: so they are taken from what is at hand, and no request is read
//! for them. [`SpanSummary::of_span`] takes the same facts from the span itself, for rows that have none yet.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::exchange::Exchange;
use crate::runs::FinishedSpan;
use crate::span::exchange::{has_failed, name, span_id};
use crate::span::json::JsonWriter;
use crate::span::{Placement, Span, SpanId, Status, Value, key};

/// Characters of a preview.
const PREVIEW: usize = 200;
/// Characters of any other text: identifiers may be as long as a header.
const LONGEST: usize = 256;

/// What a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    /// The run of a team.
    Workflow,
    /// A turn of an agent.
    Agent,
    /// A call of the model.
    Chat,
    /// The execution of a tool.
    Tool,
    /// A call to any other endpoint.
    Task,
}

impl SpanKind {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            SpanKind::Workflow => "workflow",
            SpanKind::Agent => "agent",
            SpanKind::Chat => "chat",
            SpanKind::Tool => "tool",
            SpanKind::Task => "task",
        }
    }
}

/// A span in a few words.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SpanSummary<'a> {
    /// What it is.
    pub kind: SpanKind,
    /// Its id.
    pub span: SpanId,
    /// The span it happened in; none for a root.
    #[serde(default)]
    pub parent: Option<SpanId>,
    /// Its name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// The name of the agent, tool or workflow; none of a call.
    #[serde(borrow, default)]
    pub entity: Option<Cow<'a, str>>,
    /// Nanoseconds since the Unix epoch.
    pub start: u64,
    /// Nanoseconds since the Unix epoch.
    pub end: u64,
    /// It did not go well.
    #[serde(default)]
    pub failed: bool,
    /// The conversation.
    #[serde(borrow, default)]
    pub thread: Option<Cow<'a, str>>,
    /// The customer.
    #[serde(borrow, default)]
    pub customer: Option<Cow<'a, str>>,
    /// The environment.
    #[serde(borrow, default)]
    pub environment: Option<Cow<'a, str>>,
    /// The agent whose it is.
    #[serde(borrow, default)]
    pub agent: Option<Cow<'a, str>>,
    /// The model that was asked for.
    #[serde(borrow, default)]
    pub asked: Option<Cow<'a, str>>,
    /// The model that answered.
    #[serde(borrow, default)]
    pub answered: Option<Cow<'a, str>>,
    /// Tokens of the request.
    #[serde(default)]
    pub input: Option<u64>,
    /// Tokens of the answer.
    #[serde(default)]
    pub output: Option<u64>,
    /// How the task begins.
    #[serde(borrow, default)]
    pub preview: Option<Cow<'a, str>>,
}

impl<'a> SpanSummary<'a> {
    /// Of a span that is complete, without reading any request.
    pub fn of(made: &'a FinishedSpan) -> Self {
        match made {
            FinishedSpan::Call { exchange, place } => Self::of_call(exchange, place),
            FinishedSpan::Span(span) => Self::of_span(span),
        }
    }

    fn of_call(exchange: &'a Exchange, place: &'a Placement) -> Self {
        let meta = &exchange.meta;
        let identity = &meta.identity;
        let reply = exchange
            .reply
            .as_ref()
            .map(|reply| &reply.chat)
            .filter(|_| meta.chat);
        let answered = reply.and_then(|reply| reply.model.as_deref());
        let usage = reply.and_then(|reply| reply.usage.as_ref());
        let asked = place.model.as_deref().filter(|_| meta.chat);
        let short = |text: &'a Option<String>| text.as_deref().map(short);
        SpanSummary {
            kind: if meta.chat {
                SpanKind::Chat
            } else {
                SpanKind::Task
            },
            span: span_id(meta.id),
            parent: place.parent_span_id,
            name: owned(name(meta, answered.or(asked))),
            entity: (!meta.chat).then(|| owned(format!("{} {}", meta.method, meta.path))),
            start: place.wall_ns(place.start_steady_ns),
            end: place.wall_ns(exchange.ended_ns()),
            failed: has_failed(exchange),
            thread: short(&identity.thread),
            customer: short(&identity.customer.identifier),
            environment: short(&identity.environment),
            agent: short(&identity.agent_name),
            asked: asked.map(self::short),
            answered: answered.map(self::short),
            input: usage.and_then(|usage| usage.prompt),
            output: usage.and_then(|usage| usage.completion),
            preview: place.task.as_deref().filter(|_| meta.content).map(preview),
        }
    }

    /// Of a span as it is sent.
    pub fn of_span(span: &'a Span) -> Self {
        let text = |key| span.text(key).map(short);
        let number = |key| {
            span.number(key)
                .and_then(|number| u64::try_from(number).ok())
        };
        let kind = match span.text(key::LOG_TYPE) {
            Some("workflow") => SpanKind::Workflow,
            Some("agent") => SpanKind::Agent,
            Some("chat") => SpanKind::Chat,
            Some("tool") => SpanKind::Tool,
            _ => SpanKind::Task,
        };
        SpanSummary {
            kind,
            span: span.span_id,
            parent: span.parent_span_id,
            name: short(&span.name),
            entity: text(key::ENTITY_NAME).filter(|_| kind != SpanKind::Chat),
            start: span.start_ns,
            end: span.end_ns,
            failed: matches!(span.status, Status::Error(_)),
            thread: text(key::THREAD_IDENTIFIER),
            customer: text(key::CUSTOMER_IDENTIFIER),
            environment: text(key::ENVIRONMENT),
            agent: text(key::AGENT_NAME),
            asked: text(key::REQUEST_MODEL),
            answered: text(key::RESPONSE_MODEL),
            input: number(key::INPUT_TOKENS),
            output: number(key::OUTPUT_TOKENS),
            preview: match kind {
                SpanKind::Workflow | SpanKind::Agent => span.text(key::ENTITY_INPUT).and_then(task),
                SpanKind::Chat | SpanKind::Tool | SpanKind::Task => None,
            },
        }
    }

    /// As it is written: a JSON object without the members that say nothing.
    pub fn json(&self) -> String {
        let mut json = Vec::with_capacity(512);
        JsonWriter::new(&mut json, false).object(|members| {
            members.text("kind", Some(self.kind.name()));
            members.text("span", str::from_utf8(&self.span.digits()).ok());
            if let Some(parent) = self.parent {
                members.text("parent", str::from_utf8(&parent.digits()).ok());
            }
            members.text("name", Some(&self.name));
            members.text("entity", self.entity.as_deref());
            members.number("start", Some(self.start));
            members.number("end", Some(self.end));
            members.raw("failed", self.failed.then_some("true"));
            members.text("thread", self.thread.as_deref());
            members.text("customer", self.customer.as_deref());
            members.text("environment", self.environment.as_deref());
            members.text("agent", self.agent.as_deref());
            members.text("asked", self.asked.as_deref());
            members.text("answered", self.answered.as_deref());
            members.number("input", self.input);
            members.number("output", self.output);
            members.text("preview", self.preview.as_deref());
        });
        String::from_utf8(json).unwrap_or_default()
    }

    /// As it was written.
    pub fn read(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

impl Span {
    /// A text among its attributes.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.attribute(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    fn number(&self, key: &str) -> Option<i64> {
        match self.attribute(key)? {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    fn attribute(&self, key: &str) -> Option<&Value> {
        let mut attributes = self.attributes.iter();
        attributes.find_map(|(name, value)| (name == key).then_some(value))
    }
}

/// The task within the input of a workflow or an agent: JSON that is a text, or an object that has one under `task`.
fn task(input: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    #[derive(Deserialize)]
    struct Input<'a> {
        #[serde(borrow)]
        task: Text<'a>,
    }
    let Text(text) = if input.starts_with('"') {
        serde_json::from_str(input).ok()?
    } else {
        serde_json::from_str::<Input<'_>>(input).ok()?.task
    };
    Some(match text {
        Cow::Borrowed(text) => preview(text),
        Cow::Owned(text) => preview(&text).into_owned().into(),
    })
}

fn preview(text: &str) -> Cow<'_, str> {
    cut(text.trim(), PREVIEW)
}

fn short(text: &str) -> Cow<'_, str> {
    cut(text, LONGEST)
}

fn owned<'a>(text: String) -> Cow<'a, str> {
    if text.len() > LONGEST {
        short(&text).into_owned().into()
    } else {
        text.into()
    }
}

/// The first so many characters.
fn cut(text: &str, characters: usize) -> Cow<'_, str> {
    // None takes less than a byte, and most take one.
    if text.len() <= characters {
        return text.into();
    }
    if text.as_bytes()[..characters].is_ascii() {
        return text[..characters].into();
    }
    match text.char_indices().nth(characters) {
        Some((end, _)) => text[..end].into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests;
