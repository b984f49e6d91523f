//! Results of tools: which text is whose, and whether it says that the tool failed.

use std::borrow::Cow;

use serde::Deserialize;

use super::call::{Call, CallId, RunId, Speaker};
use super::evidence::Scene;
use super::link::{Link, To};
use super::transcript::{Entry, Transcript};
use crate::openai::ToolCall;
use crate::span::operation::Came;

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
        let tools = scene.asked_of(round, call).unwrap_or_default();
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

/// Whether agents hand over to each other here: by the tools on offer, or by what is told of one.
pub(super) fn shows_handoffs(transcript: &Transcript<'_>) -> bool {
    let told = |entry: &Entry<'_>| entry.agent().is_some() && entry.tells_of_handoff;
    let mut tools = transcript.tools.iter();
    tools.any(|tool| hands_over_to(tool).is_some()) || transcript.entries.iter().any(told)
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

/// Names of the tools that a request offers, in its order.
pub(super) fn names(json: &str) -> Vec<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Named<'n> {
        #[serde(borrow)]
        name: Cow<'n, str>,
    }
    #[derive(Deserialize)]
    struct Tool<'n> {
        #[serde(borrow)]
        function: Option<Named<'n>>,
        #[serde(borrow)]
        custom: Option<Named<'n>>,
    }
    let tools: Vec<Tool<'_>> = serde_json::from_str(json).unwrap_or_default();
    tools
        .into_iter()
        .filter_map(|tool| tool.function.or(tool.custom))
        .map(|named| named.name)
        .collect()
}
