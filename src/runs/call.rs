//! One logical call of the model: what later ones are compared with.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::hash::{self, Hash};
use super::kind::Kind;
use super::known::Key;
use super::prompts::Prompt;
use super::tool::hands_over_to;
use crate::exchange::{CallKey, ExchangeId};
use crate::openai::{ChatReply, ToolCall};

/// Names a call within its scope, in order of arrival.
pub(super) type CallId = u64;
/// Names a run within its scope, in the order they began.
pub(super) type RunId = u64;

/// Shortest text within a JSON answer that can be a message of its own.
const SHORTEST_PART: usize = 4;
/// Most texts within a JSON answer that are known by themselves, the outermost first. Each takes as much memory as a long line.
const MOST_PARTS: usize = 256;
/// Most texts among a tool call's arguments that can be the task of an agent.
const MOST_PASSED: usize = 64;

/// A call.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that do not depend on each other"
)]
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: CallId,
    /// Of its first attempt.
    pub(super) exchange: ExchangeId,
    pub(super) started_ns: u64,
    /// None while it is under way.
    pub(super) ended_ns: Option<u64>,
    pub(super) kind: Kind,
    /// Its system message.
    pub(super) system: Hash,
    /// How many texts its request had, and what they were.
    pub(super) length: usize,
    pub(super) beginning: Hash,
    /// What they were without the last, where those are results of tools: for others the reply takes their place.
    pub(super) before_results: Option<Hash>,
    /// The first of them.
    pub(super) meta: Hash,
    /// The last of them, but for results of tools at the end.
    pub(super) last: Hash,
    /// What will stand before the results of its tools.
    pub(super) history: Hash,
    /// The tools on offer.
    pub(super) offer: Hash,
    /// The model that it asked for.
    pub(super) model: Option<Arc<str>>,
    /// The first thing that came from outside.
    pub(super) task: Option<Arc<str>>,
    /// What a selector was shown, until its choice was followed.
    pub(super) prompt: Option<Arc<str>>,
    /// The names of others who speak in it, sorted.
    pub(super) heard: Vec<Hash>,
    /// It can hand over to another agent.
    pub(super) hands_over: bool,
    /// What was said may be told.
    pub(super) content: bool,
    /// By which its agent's name is known to other runs.
    pub(super) known_by: Option<Prompt>,
    pub(super) speaker: Speaker,
    /// Which rule put it where it is, and whether other runs could have claimed it.
    pub(super) rule: &'static str,
    pub(super) ambiguous: bool,
    pub(super) run: RunId,
    /// Which of its run's levels it is on.
    pub(super) level: usize,
    /// Which of its run's turns it is part of.
    pub(super) turn: Option<usize>,
    pub(super) reply: Reply,
    /// When something last went on with it that could have gone on with other runs.
    pub(super) contested_ns: u64,
    /// To whom the reply was passed on by now: system messages, sorted.
    pub(super) delivered: Vec<Hash>,
    /// Its last attempt failed, and may be repeated as this.
    pub(super) failed_as: Option<CallKey>,
    /// The results of its tools came back.
    pub(super) answered: bool,
    /// Of its turn's texts and names.
    pub(super) told_bytes: usize,
    /// Under which it is found.
    pub(super) keys: Vec<Key>,
}

/// What a call came to.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// Without the thoughts before it, unless there is nothing else.
    pub(super) text: Arc<str>,
    pub(super) hash: Hash,
    /// Together with them.
    whole: Hash,
    /// The text with and without them, and where it is JSON the texts in it: a team may pass on one member of a structured answer.
    pub(super) parts: Vec<Hash>,
    pub(super) tools: Vec<Asked>,
    /// Why it is none, or not whole.
    pub(super) failure: Option<Arc<str>>,
}

/// A tool that a reply asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) call: ToolCall,
    /// The texts among its arguments.
    pub(super) passed: Vec<PassedText>,
    /// It was an agent or a team, and this is its level.
    pub(super) level: Option<usize>,
    /// Its span was made.
    pub(super) told: bool,
}

/// A text that was passed to a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PassedText {
    pub(super) first_line: Hash,
    pub(super) whole: Hash,
}

/// Whoever makes the calls of one conversation. Its name may be learned later than its calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Speaker(Arc<OnceLock<Name>>);

/// A name, and how it was learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) text: Arc<str>,
    pub(super) rule: NameRule,
}

/// How a name was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameRule {
    /// A header told it.
    Told,
    /// A reply came back under it.
    Echo,
    /// A selector chose it.
    Selected,
    /// Magentic-One's ledger named it.
    Ledger,
    /// A tool that hands over named it.
    Handoff,
    /// The tool that it is was called.
    AgentTool,
    /// An agent of the same system message has it.
    SystemMessage,
}

impl NameRule {
    /// As a span says it.
    pub(super) fn word(self) -> &'static str {
        match self {
            NameRule::Told => "told",
            NameRule::Echo => "name_echo",
            NameRule::Selected => "name_selected",
            NameRule::Ledger => "name_ledger",
            NameRule::Handoff => "name_handoff",
            NameRule::AgentTool => "name_agent_tool",
            NameRule::SystemMessage => "name_system_message",
        }
    }
}

impl Speaker {
    pub(super) fn name(&self) -> Option<&Name> {
        self.0.get()
    }

    pub(super) fn is(&self, other: &Speaker) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Tells it from others.
    pub(super) fn key(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// The first name that is learned stays.
    pub(super) fn learn(&self, text: &str, rule: NameRule) {
        self.0.get_or_init(|| Name {
            text: text.into(),
            rule,
        });
    }
}

impl Call {
    /// How many bytes it takes, about.
    pub(super) fn weight(&self) -> usize {
        let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
        let tools: usize = self
            .reply
            .tools
            .iter()
            .map(|asked| {
                size_of::<Asked>()
                    + asked.passed.len() * size_of::<PassedText>()
                    + asked.call.id.len()
                    + asked.call.name.len()
                    + asked.call.arguments.len()
            })
            .sum();
        // A key is here, in the index, and has a list there.
        let keys = self.keys.len() * (2 * size_of::<Key>() + 64);
        size_of::<Call>()
            + 512
            + self.told_bytes
            + self.delivered.len() * size_of::<Hash>()
            + text(&self.model)
            + text(&self.task)
            + text(&self.prompt)
            + text(&self.reply.failure)
            + self.heard.len() * size_of::<Hash>()
            + self.reply.text.len()
            + tools
            + keys
    }

    /// Whether its reply was passed on to whoever has this system message.
    pub(super) fn is_delivered_to(&self, system: Hash) -> bool {
        self.delivered.binary_search(&system).is_ok()
    }

    /// Whether its reply hands over to another agent.
    pub(super) fn hands_over_now(&self) -> bool {
        let mut tools = self.reply.tools.iter();
        tools.any(|asked| hands_over_to(&asked.call.name).is_some())
    }

    /// Whether somebody else of this name speaks in it: then whoever asked has another.
    pub(super) fn hears(&self, name: &str) -> bool {
        self.heard.binary_search(&hash::of(name)).is_ok()
    }
}

impl Reply {
    /// Whether it is the text of this hash, with or without the thoughts before it.
    pub(super) fn is(&self, text: Hash) -> bool {
        self.hash == text || self.whole == text
    }

    pub(super) fn of(reply: &ChatReply) -> Self {
        let Some(choice) = reply.choices.first() else {
            return Reply::default();
        };
        let all = choice.content.as_deref().unwrap_or_default().trim();
        let text = without_thoughts(all);
        let hash = hash::of_said(text);
        let whole = if text.len() == all.len() {
            hash
        } else {
            hash::of_said(all)
        };
        Reply {
            text: text.into(),
            hash,
            whole,
            parts: parts(text, hash, whole),
            tools: choice
                .tool_calls
                .iter()
                .map(|call| Asked {
                    call: call.clone(),
                    passed: argument_texts(call)
                        .iter()
                        .map(|text| PassedText::of(text))
                        .collect(),
                    level: None,
                    told: false,
                })
                .collect(),
            failure: None,
        }
    }
}

impl PassedText {
    pub(super) fn of(text: &str) -> Self {
        PassedText {
            first_line: hash::of_first_line(text),
            whole: hash::of_said(text),
        }
    }
}

/// What a reply says after the thoughts before it, which clients leave out of the history: AutoGen's of the family `r1` (autogen-ext 0.7,
/// `parse_r1_content`), and others. Some servers leave out the meta tag.
fn without_thoughts(text: &str) -> &str {
    const QUOTES: [char; 3] = ['`', '"', '\''];
    match text.split_once("</think>") {
        // An answer may speak of the tag.
        Some((_, said)) if said.trim().is_empty() || said.starts_with(QUOTES) => text,
        Some((_, said)) => said.trim(),
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
                    parts.push(hash::of_said(text.trim()));
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
