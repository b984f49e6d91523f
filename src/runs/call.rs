//! One logical call of the model, as later requests are compared with it.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;

use super::agent_names::PromptHash;
use super::autogen::handoff_target;
use super::caller_kind::CallerKind;
use super::speaker::Speaker;
use super::text_hash::{self, Hash};
use crate::exchange::{CallKey, ExchangeId};
use crate::openai::{ChatReply, ToolCall};

/// Numbers the calls of a conversation in order of arrival.
pub(super) type CallId = u64;
/// Numbers runs within the process; those of one conversation in the order they began.
pub(super) type RunId = u64;

/// Shortest text within a JSON reply that can be a message of its own, in bytes.
const SHORTEST_PART: usize = 4;
/// Most texts within a JSON reply that are indexed, the outermost first. Each takes as much memory as a long line.
const MOST_PARTS: usize = 256;
/// Most texts among a tool call's arguments that can be the task of an agent.
const MOST_PASSED: usize = 64;

/// A call of the model; all its attempts are one call.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that do not depend on each other"
)]
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: CallId,
    /// The exchange of its first attempt.
    pub(super) exchange: ExchangeId,
    pub(super) started_ns: u64,
    /// None while it is under way.
    pub(super) ended_ns: Option<u64>,
    pub(super) kind: CallerKind,
    /// Its system message.
    pub(super) system: Hash,
    /// How many texts its request shows.
    pub(super) length: usize,
    /// All texts of its request.
    pub(super) beginning: Hash,
    /// The same without the last, where that is the results of tools: for other agents the reply takes their place.
    pub(super) before_results: Option<Hash>,
    /// The first text of its request.
    pub(super) opening: Hash,
    /// The last text of its request, without results of tools at the end.
    pub(super) last: Hash,
    /// The history before the results of the tools that its reply requests.
    pub(super) history: Hash,
    /// The tools on offer.
    pub(super) offer: Hash,
    /// The model that its request names.
    pub(super) model: Option<Arc<str>>,
    /// The first message from outside the team.
    pub(super) task: Option<Arc<str>>,
    /// A selector's prompt, until its choice was followed.
    pub(super) prompt: Option<Arc<str>>,
    /// The names of other agents in its request, sorted.
    pub(super) heard: Vec<Hash>,
    /// Its agent can hand over to another.
    pub(super) hands_over: bool,
    /// Its content may be exported.
    pub(super) content: bool,
    /// Other runs know its agent's name by this.
    pub(super) prompt_hash: Option<PromptHash>,
    pub(super) speaker: Speaker,
    /// The rule that attributed it.
    pub(super) rule: &'static str,
    /// Other runs could have claimed it.
    pub(super) ambiguous: bool,
    pub(super) run: RunId,
    /// Its level within the run.
    pub(super) level: usize,
    /// Its turn within the run, where an agent makes it.
    pub(super) turn: Option<usize>,
    pub(super) reply: CallReply,
    /// When a request last followed it that could have followed other runs.
    pub(super) contested_ns: u64,
    /// The system messages of those who were sent its reply, sorted.
    pub(super) delivered: Vec<Hash>,
    /// Its last attempt that failed waits for a repetition under this key.
    pub(super) retry_key: Option<CallKey>,
    /// The results of its tools came back.
    pub(super) answered: bool,
    /// How many bytes its turn's texts and names take.
    pub(super) turn_bytes: usize,
}

/// The outcome of a call.
#[derive(Debug, Default)]
pub(super) struct CallReply {
    /// Without the thoughts before it, unless it is nothing but thoughts.
    pub(super) text: Arc<str>,
    pub(super) hash: Hash,
    /// The text together with its thoughts.
    whole: Hash,
    /// The text with and without thoughts. Of JSON also the texts in it: a team may pass on one member of a structured answer. Sorted.
    pub(super) parts: Vec<Hash>,
    pub(super) tools: Vec<RequestedTool>,
    /// Why there is no reply, or only a part of one.
    pub(super) failure: Option<Arc<str>>,
}

/// A tool that a reply requests.
#[derive(Debug)]
pub(super) struct RequestedTool {
    pub(super) call: ToolCall,
    /// The texts among its arguments.
    pub(super) passed: Vec<PassedText>,
    /// The level of the agent or team that the tool is.
    pub(super) level: Option<usize>,
    /// Its span was emitted.
    pub(super) emitted: bool,
}

/// A text that was passed to a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PassedText {
    pub(super) first_line: Hash,
    pub(super) whole: Hash,
}

impl Call {
    /// About how many bytes it takes.
    pub(super) fn size_estimate(&self) -> usize {
        let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
        let tools: usize = self
            .reply
            .tools
            .iter()
            .map(|asked| {
                size_of::<RequestedTool>()
                    + asked.passed.len() * size_of::<PassedText>()
                    + asked.call.id.len()
                    + asked.call.name.len()
                    + asked.call.arguments.len()
            })
            .sum();
        size_of::<Call>()
            + 512
            + self.turn_bytes
            + self.delivered.len() * size_of::<Hash>()
            + text(&self.model)
            + text(&self.task)
            + text(&self.prompt)
            + text(&self.reply.failure)
            + self.heard.len() * size_of::<Hash>()
            + self.reply.text.len()
            + tools
    }

    /// Whether its reply was sent to an agent with this system message.
    pub(super) fn is_delivered_to(&self, system: Hash) -> bool {
        self.delivered.binary_search(&system).is_ok()
    }

    /// Whether its reply requests a handoff.
    pub(super) fn requests_handoff(&self) -> bool {
        let mut tools = self.reply.tools.iter();
        tools.any(|requested| handoff_target(&requested.call.name).is_some())
    }

    /// Whether its request shows this name as another agent's. The caller then has a different one.
    pub(super) fn hears(&self, name: &str) -> bool {
        self.heard.binary_search(&text_hash::of(name)).is_ok()
    }
}

impl CallReply {
    /// Whether the reply is the text with this hash, with or without thoughts.
    pub(super) fn is(&self, text: Hash) -> bool {
        self.hash == text || self.whole == text
    }

    pub(super) fn of(reply: &ChatReply) -> Self {
        let Some(choice) = reply.choices.first() else {
            return CallReply::default();
        };
        let all = choice.content.as_deref().unwrap_or_default().trim();
        let text = without_thoughts(all);
        let hash = text_hash::of_message(text);
        let whole = if text.len() == all.len() {
            hash
        } else {
            text_hash::of_message(all)
        };
        CallReply {
            text: text.into(),
            hash,
            whole,
            parts: parts(text, hash, whole),
            tools: choice
                .tool_calls
                .iter()
                .map(|call| RequestedTool {
                    call: call.clone(),
                    passed: argument_texts(call)
                        .iter()
                        .map(|text| PassedText::of(text))
                        .collect(),
                    level: None,
                    emitted: false,
                })
                .collect(),
            failure: None,
        }
    }
}

impl PassedText {
    pub(super) fn of(text: &str) -> Self {
        PassedText {
            first_line: text_hash::of_first_line(text),
            whole: text_hash::of_message(text),
        }
    }
}

/// The reply after its thoughts, which clients leave out of the history: AutoGen's of the family `r1` (autogen-ext 0.7,
/// `parse_r1_content`), and others. Some servers leave out the opening tag.
fn without_thoughts(text: &str) -> &str {
    const QUOTES: [char; 3] = ['`', '"', '\''];
    match text.split_once("</think>") {
        // An answer may speak of the tag.
        Some((_, rest)) if rest.trim().is_empty() || rest.starts_with(QUOTES) => text,
        Some((_, rest)) => rest.trim(),
        None => text,
    }
}

fn parts(text: &str, hash: Hash, whole: Hash) -> Vec<Hash> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut parts = vec![hash, whole];
    if text.starts_with(['{', '['])
        && let Ok(value) = serde_json::from_str::<Value>(text)
    {
        let mut rest = VecDeque::from([&value]);
        while let Some(value) = rest.pop_front()
            && parts.len() < MOST_PARTS
        {
            match value {
                Value::Object(members) => rest.extend(members.values()),
                Value::Array(elements) => rest.extend(elements),
                Value::String(text) if text.len() >= SHORTEST_PART => {
                    parts.push(text_hash::of_message(text.trim()));
                }
                _ => {}
            }
        }
    }
    parts.sort_unstable();
    parts.dedup();
    parts
}

/// The texts among a tool call's arguments.
pub(super) fn argument_texts(call: &ToolCall) -> Vec<String> {
    match serde_json::from_str(&call.arguments) {
        Ok(Value::Object(members)) => members
            .into_iter()
            .filter_map(|(_, value)| match value {
                Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
                _ => None,
            })
            .take(MOST_PASSED)
            .collect(),
        _ => Vec::new(),
    }
}
