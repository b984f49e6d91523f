//! Results of tools: which text is whose, and whether it says that the tool failed.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde_json::value::RawValue;

use super::call::{Call, CallId, RunId, Speaker};
use super::evidence::Scene;
use super::hash::{self, Hash, Map};
use super::link::{Link, To};
use super::transcript::{Entry, Transcript};
use crate::openai::ToolCall;
use crate::span::operation::Came;

/// The longest name of a tool, and what AutoGen's client writes in place of the characters that OpenAI refuses (autogen-ext 0.7,
/// `normalize_name`).
const LONGEST_NAME: usize = 64;

/// A tool round as a request shows it: calls of one reply, and what came of them.
#[derive(Debug)]
pub(super) struct Round<'a> {
    /// How many texts stand before it.
    pub(super) at: usize,
    /// Of these texts, and of the rounds between them.
    pub(super) history: Hash,
    /// In the order of the reply. A result whose call was left out is a call of its own, without a name.
    pub(super) calls: Vec<ShownCall<'a>>,
}

/// A tool call as a request shows it.
#[derive(Debug)]
pub(super) struct ShownCall<'a> {
    pub(super) id: Cow<'a, str>,
    pub(super) name: Cow<'a, str>,
    /// A JSON string, nearly always.
    pub(super) arguments: Option<&'a RawValue>,
    pub(super) result: Option<Cow<'a, str>>,
}

impl<'a> Round<'a> {
    /// Gives each result to the first call of its id that has none: some servers give all calls of a reply the same id.
    pub(super) fn answer(&mut self, results: Vec<(&'a str, Cow<'a, str>)>) {
        let mut waiting: Map<Cow<'a, str>, VecDeque<usize>> = Map::default();
        for (at, call) in self.calls.iter().enumerate() {
            waiting.entry(call.id.clone()).or_default().push_back(at);
        }
        for (id, text) in results {
            let call = waiting.get_mut(id).and_then(VecDeque::pop_front);
            match call.and_then(|at| self.calls.get_mut(at)) {
                Some(call) => call.result = Some(text),
                None => self.calls.push(ShownCall {
                    id: Cow::Borrowed(id),
                    name: Cow::Borrowed(""),
                    arguments: None,
                    result: Some(text),
                }),
            }
        }
    }

    /// Of all rounds up to this one, by that of those before it.
    pub(super) fn hash_after(&self, before: Hash) -> Hash {
        self.calls.iter().fold(before, |hash, call| {
            let arguments = call.arguments.map_or("", RawValue::get);
            let result = call.result.as_deref().unwrap_or_default();
            [&*call.id, &*call.name, arguments, result]
                .into_iter()
                .map(hash::of_escaped)
                .fold(hash, hash::then)
        })
    }

    /// Which of a reply's tools its calls are: some or all of them, in the reply's order. None where they are another reply's.
    pub(super) fn asked_of(&self, call: &Call) -> Option<Vec<usize>> {
        let mut tools = call.reply.tools.iter().enumerate();
        let mut which = |shown: &ShownCall<'_>| {
            let found = tools.find(|(_, asked)| shown.is(&asked.call));
            found.map(|(tool, _)| tool)
        };
        self.calls.iter().map(&mut which).collect()
    }

    /// Whether it shows what the reply of `call` passed to these tools.
    pub(super) fn shows_arguments_of(&self, call: &Call, tools: &[usize]) -> bool {
        let mut pairs = self.calls.iter().zip(tools);
        pairs.all(|(shown, tool)| shown.passes(&call.reply.tools[*tool].call.arguments))
    }
}

impl ShownCall<'_> {
    fn is(&self, asked: &ToolCall) -> bool {
        let written = |character: char| match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => character,
            _ => '_',
        };
        self.id == asked.id
            && (self.name.is_empty()
                || self.name == asked.name
                || asked
                    .name
                    .chars()
                    .take(LONGEST_NAME)
                    .map(written)
                    .eq(self.name.chars()))
    }

    fn passes(&self, arguments: &str) -> bool {
        let Some(shown) = self.arguments else {
            return false;
        };
        let shown: Cow<'_, str> = serde_json::from_str::<String>(shown.get())
            .map_or(Cow::Borrowed(shown.get()), Cow::Owned);
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        shown == arguments || value(&shown).is_some_and(|shown| value(arguments) == Some(shown))
    }
}

/// A tool whose result a request shows.
pub(super) struct Over {
    pub(super) call: CallId,
    /// Which of its reply's tools.
    pub(super) tool: usize,
    /// None where results came as one text that cannot be told apart.
    pub(super) text: Option<String>,
}

/// Tools whose results the request shows, in the order they were called: in the rounds that `askers` asked for, or as the text that the
/// others of a team see.
pub(super) fn over(
    scene: &Scene<'_>,
    link: Link,
    run: Option<RunId>,
    speaker: &Speaker,
    askers: &[Option<&Call>],
) -> Vec<Over> {
    let transcript = scene.transcript;
    let mut over: Vec<Over> = Vec::new();
    for (round, call) in transcript.rounds.iter().zip(askers) {
        let Some(call) = call.filter(|call| Some(call.run) == run || call.speaker.is(speaker))
        else {
            continue;
        };
        let tools = round.asked_of(call).unwrap_or_default();
        over.extend(round.calls.iter().zip(tools).filter_map(|(shown, tool)| {
            let text = shown.result.as_deref()?;
            (!call.reply.tools[tool].told).then(|| Over {
                call: call.id,
                tool,
                text: Some(text.to_owned()),
            })
        }));
    }
    if let To::Call(call) | To::Conversation(call) = link.to
        && let Some(call) = scene.known.get(call)
        && let Some(heard) = heard(call, link, transcript)
    {
        let tools = call.reply.tools.iter();
        let handoff = tools
            .clone()
            .position(|asked| hands_over_to(&asked.call.name).is_some());
        let split = split_summary(heard.text(), call.reply.tools.len());
        let parts: Vec<(usize, Option<&str>)> = match (handoff, split) {
            (Some(tool), _) => vec![(tool, Some(heard.text()))],
            (None, Some(parts)) => parts.into_iter().map(Some).enumerate().collect(),
            (None, None) => (0..tools.len()).map(|tool| (tool, None)).collect(),
        };
        for (tool, text) in parts {
            if !call.reply.tools[tool].told {
                let text = text.map(str::to_owned);
                over.push(Over {
                    call: call.id,
                    tool,
                    text,
                });
            }
        }
    }
    over.sort_by_key(|over| (over.call, over.tool));
    over.dedup_by_key(|over| (over.call, over.tool));
    over
}

/// The message by which others hear of the tools that `call` asked for, to a request that is linked to it: right after its own request, or,
/// where it handed over, after what it thought and what its other tools gave.
pub(super) fn heard<'t>(
    call: &Call,
    link: Link,
    transcript: &'t Transcript<'t>,
) -> Option<&'t Entry<'t>> {
    let mut since = transcript.entries.get(call.length..)?.iter();
    if call.hands_over_now() {
        since.find(|entry| entry.agent().is_some())
    } else {
        let follows = link.rule.starts_with("chain") && !call.reply.tools.is_empty();
        since
            .next()
            .filter(|entry| follows && entry.agent().is_some())
    }
}

/// What came of a call, by the text that came back. AutoGen's `is_error` never reaches the wire, only its own sentences do (autogen-agentchat
/// 0.7, `AssistantAgent._execute_tool_call`; autogen-core 0.7, `StaticWorkbench.call_tool`).
pub(super) fn came<'t>(call: &ToolCall, text: &'t str) -> Came<'t> {
    let name = &call.name;
    let not_found = text == format!("Tool {name} not found.")
        || text == format!("Error: tool '{name}' not found in any workbench");
    // What the parser of the arguments said.
    let unreadable = text.starts_with("Error: ")
        && serde_json::from_str::<serde_json::Value>(&call.arguments).is_err();
    if not_found || unreadable {
        Came::Error(text)
    } else {
        Came::Result(text)
    }
}

/// The results of `tools` tools that came back as one text, as the others of a team see them: joined by newlines (`ToolCallSummaryMessage`).
/// None where they cannot be told apart.
pub(super) fn split_summary(summary: &str, tools: usize) -> Option<Vec<&str>> {
    if tools == 1 {
        return Some(vec![summary]);
    }
    let parts: Vec<&str> = summary.split('\n').collect();
    (parts.len() == tools).then_some(parts)
}

/// Whom a tool hands over to, by AutoGen's names for such tools (`Handoff`).
pub(super) fn hands_over_to(tool: &str) -> Option<&str> {
    tool.strip_prefix("transfer_to_")
        .filter(|target| !target.is_empty())
}

/// Whether this is how a `Handoff` tells of itself, unless the program has words of its own (autogen-agentchat 0.7, `Handoff.message`).
pub(super) fn is_handoff_text(text: &str) -> bool {
    text.strip_prefix("Transferred to ")
        .is_some_and(|rest| rest.ends_with(" immediately."))
}

/// Whether a tool with these arguments can be an `AgentTool` or a `TeamTool`, which take a task and nothing else.
pub(super) fn takes_a_task(arguments: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(arguments)
        .is_ok_and(|arguments| arguments.len() == 1 && arguments.contains_key("task"))
}
