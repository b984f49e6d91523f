//! A request's messages as AutoGen's agents see them: the caller's instructions, the history that all agents of a team share, and the tool rounds
//! in it.
//!
//! An `AssistantAgent` (autogen-agentchat 0.7) sends its system message, then the history. Its own replies are `assistant`, other agents' are
//! `user` with their `name`, the task is `user` named `user`. Other agents see a tool round as the reflection after it, or as its results, joined.
//! So a request becomes a list of texts that is the same for all agents of a team. One call follows another when its list begins with the other's
//! and that one's reply.

use std::borrow::Cow;
use std::cell::OnceCell;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::autogen::{handoff_target, is_handoff_text};
use super::digest_cache::{DigestCache, TextDigest};
use super::message_text::{MessageText, without_prefix, words};
use super::text_hash::{self, Hash, Set};
use super::tool_round::{ShownToolCall, ToolRound};
use crate::openai::{ChatRequest, Content, ContentHash, Message};

/// AutoGen's `ListMemory` begins its messages so (autogen-core 0.7, `ListMemory.update_context`).
const MEMORY: &str = "Relevant memory content";

/// The messages of a request.
#[derive(Debug)]
pub(super) struct Transcript<'a> {
    /// The system messages at the beginning.
    pub(super) system: Cow<'a, str>,
    /// The texts after them, as all agents of the team saw them.
    pub(super) entries: Vec<TranscriptEntry<'a>>,
    /// The tool rounds, oldest first.
    pub(super) rounds: Vec<ToolRound<'a>>,
    /// No message follows the last of them.
    pub(super) ends_in_round: bool,
    /// The hash of all rounds so far.
    shown: Hash,
    /// It ends in a system message that no memory wrote.
    pub(super) ends_in_system: bool,
    /// It ends in the results of tools: for other agents the reply takes their place.
    pub(super) reflects: bool,
    /// The names of the tools on offer.
    pub(super) tools: Vec<Cow<'a, str>>,
    offer: OnceCell<Hash>,
    heard: OnceCell<Vec<Hash>>,
}

/// One text of the history.
#[derive(Debug)]
pub(super) struct TranscriptEntry<'a> {
    content: MessageText<'a>,
    mark: Option<ContentHash>,
    pub(super) hash: Hash,
    /// It is a `Handoff`'s message.
    pub(super) is_handoff: bool,
    /// It is no message: other agents see it in place of a tool round.
    pub(super) is_of_round: bool,
    pub(super) author: Author,
    pub(super) name: Option<Cow<'a, str>>,
    /// The hash of all texts up to this one, itself included.
    pub(super) beginning: Hash,
}

/// The author of a message, to the request's caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Author {
    /// The caller.
    Own,
    /// The user, or another agent.
    Other,
    /// The program, in a system message.
    System,
}

/// The hash of a history without texts.
pub(super) const NOTHING: Hash = 0;

impl TranscriptEntry<'_> {
    /// Its words, without space around them.
    pub(super) fn text(&self) -> &str {
        self.content.text()
    }

    /// The hash of its first line.
    pub(super) fn first_line(&self) -> Hash {
        self.content.first_line()
    }

    /// The hashes of its lines: [`MessageText::lines`].
    pub(super) fn lines<'d>(&self, digests: &'d DigestCache) -> Cow<'d, [Hash]> {
        digests.lines(self.mark, &self.content)
    }

    /// Whether it is the user's, or a task: of no agent of the team.
    pub(super) fn is_from_outside(&self) -> bool {
        self.author == Author::Other && self.name.as_deref().is_none_or(|name| name == "user")
    }

    /// The name of the other agent that is its author.
    pub(super) fn agent(&self) -> Option<&str> {
        self.name
            .as_deref()
            .filter(|name| self.author == Author::Other && *name != "user")
    }
}

impl<'a> Transcript<'a> {
    /// Reads a request. Long texts are read only if their digests are not cached.
    pub(super) fn of(request: &'a ChatRequest<'a>, digests: &mut DigestCache) -> Self {
        let messages = &request.messages;
        let systems = messages
            .iter()
            .take_while(|message| is_system(message))
            .count();
        let (first, rest) = messages.split_at(systems);
        let system = match first {
            [only] => text(only),
            several => Cow::Owned(several.iter().map(text).collect::<Vec<_>>().join("\n")),
        };
        let body: Vec<&Message<'_>> = rest
            .iter()
            .filter(|message| !(is_system(message) && text(message).starts_with(MEMORY)))
            .collect();
        let mut transcript = Transcript {
            system,
            entries: Vec::with_capacity(body.len()),
            rounds: Vec::new(),
            ends_in_round: false,
            shown: NOTHING,
            ends_in_system: body.last().is_some_and(|last| is_system(last)),
            reflects: false,
            tools: request
                .tools
                .as_deref()
                .map(offered_tools)
                .unwrap_or_default(),
            offer: OnceCell::new(),
            heard: OnceCell::new(),
        };
        transcript.read(&body, digests);
        transcript
    }

    fn read(&mut self, body: &[&'a Message<'a>], digests: &mut DigestCache) {
        let mut at = 0;
        while let Some(message) = body.get(at) {
            at += 1;
            if message.role.as_deref() == Some("tool") {
                // Its call is missing, where a history is cut short.
                self.show(
                    self.entries.len(),
                    Vec::new(),
                    &[message],
                    vec![text(message)],
                );
                continue;
            }
            let Some(calls) = called(message) else {
                let author = match message.role.as_deref() {
                    Some("assistant") => Author::Own,
                    Some("system" | "developer") => Author::System,
                    _ => Author::Other,
                };
                self.message(message, author, digests);
                continue;
            };
            let answers = body[at..]
                .iter()
                .take_while(|message| message.role.as_deref() == Some("tool"))
                .count();
            let answers = &body[at..at + answers];
            at += answers.len();
            let is_last = at == body.len();
            let next = body.get(at).and_then(|next| next.role.as_deref());
            self.round(message, calls, answers, next == Some("assistant"), is_last);
        }
    }

    /// A tool round: calls, results, and perhaps a reflection after them.
    fn round(
        &mut self,
        message: &'a Message<'a>,
        calls: Vec<AssistantToolCall<'a>>,
        answers: &[&'a Message<'a>],
        reflected: bool,
        is_last: bool,
    ) {
        let at = self.entries.len();
        let texts: Vec<_> = answers.iter().map(|answer| text(answer)).collect();
        let handing_over: Set<&str> = calls
            .iter()
            .filter(|call| handoff_target(&call.function.name).is_some())
            .map(|call| &*call.id)
            .collect();
        let is_handoff = |answer: &Message<'_>, text: &str| {
            let id = answer.tool_call_id.as_deref();
            is_handoff_text(text) || id.is_some_and(|id| handing_over.contains(id))
        };
        let handoff = answers
            .iter()
            .zip(&texts)
            .position(|(answer, text)| is_handoff(answer, text));
        if let Some(handoff) = handoff {
            // It ends the turn. Other agents see the thoughts or the results of other tools, and then the handoff.
            let others: Vec<&str> = (0..texts.len())
                .filter(|at| *at != handoff)
                .map(|at| &*texts[at])
                .collect();
            let thought = text(message);
            if !others.is_empty() {
                self.push_of_round(Cow::Owned(others.join("\n")));
            } else if !thought.is_empty() {
                self.push_of_round(thought);
            }
            self.push_of_round(texts[handoff].clone());
        } else if !reflected {
            self.push_of_round(Cow::Owned(texts.join("\n")));
            self.reflects = is_last;
        }
        self.show(at, calls, answers, texts);
        self.ends_in_round = is_last;
    }

    /// Adds a tool round after the first `at` texts.
    fn show(
        &mut self,
        at: usize,
        calls: Vec<AssistantToolCall<'a>>,
        answers: &[&'a Message<'a>],
        texts: Vec<Cow<'a, str>>,
    ) {
        let mut round = ToolRound {
            at,
            history: text_hash::then(self.beginning(at), self.shown),
            calls: calls.into_iter().map(AssistantToolCall::shown).collect(),
        };
        let ids = answers
            .iter()
            .map(|answer| answer.tool_call_id.as_deref().unwrap_or_default());
        round.answer(ids.zip(texts).collect());
        self.shown = round.hash_after(self.shown);
        self.rounds.push(round);
    }

    /// A message without tool calls. The digest of a long one is cached. One with a name before it, which only some programs write, has none.
    fn message(&mut self, message: &'a Message<'a>, author: Author, digests: &mut DigestCache) {
        let name = message.name.as_deref();
        let Some(Content::Text(written)) = message.content else {
            return self.push(text(message), author, name);
        };
        let content = MessageText::of(written);
        let digest = written.content_hash().and_then(|mark| {
            digests.of(mark, || {
                (!content.has_prefix()).then(|| TextDigest::of(&content))
            })
        });
        let (hash, is_handoff) = match digest {
            Some(digest) => (digest.hash, digest.is_handoff),
            None if content.has_prefix() => return self.push(content.into_text(), author, name),
            None => (content.hash(), content.is_handoff()),
        };
        self.add(TranscriptEntry {
            content,
            mark: written.content_hash(),
            hash,
            is_handoff,
            is_of_round: false,
            author,
            name: name.map(Cow::Borrowed),
            beginning: NOTHING,
        });
    }

    /// The text that other agents see in place of a tool round.
    fn push_of_round(&mut self, text: Cow<'a, str>) {
        self.push(text, Author::Own, None);
        if let Some(entry) = self.entries.last_mut() {
            entry.is_of_round = true;
        }
    }

    fn push(&mut self, text: Cow<'a, str>, author: Author, name: Option<&'a str>) {
        let prefixed = match author {
            Author::Other => without_prefix(&text, name),
            Author::Own | Author::System => None,
        };
        let (name, text) = match prefixed {
            // The prefix ends in a line end, which JSON escapes: the text is never the body's own.
            Some((name, text)) => (Some(name.to_owned().into()), text.to_owned().into()),
            None => (name.map(Cow::Borrowed), text),
        };
        self.add(TranscriptEntry {
            hash: text_hash::of_message(&text),
            is_handoff: is_handoff_text(&text),
            is_of_round: false,
            content: MessageText::Plain(text),
            mark: None,
            author,
            name,
            beginning: NOTHING,
        });
    }

    fn add(&mut self, mut entry: TranscriptEntry<'a>) {
        entry.beginning = text_hash::then(self.beginning(self.entries.len()), entry.hash);
        self.entries.push(entry);
    }

    /// The hash of its first `length` texts.
    pub(super) fn beginning(&self, length: usize) -> Hash {
        match length.checked_sub(1).map(|last| self.entries.get(last)) {
            Some(Some(last)) => last.beginning,
            _ => NOTHING,
        }
    }

    /// The number of its texts without results of tools at its end: for other agents the reply takes their place.
    pub(super) fn length_before_results(&self) -> usize {
        self.entries.len() - usize::from(self.reflects)
    }

    /// The [`ToolRound::history`] of the tools that the reply requests.
    pub(super) fn history_of_next_round(&self) -> Hash {
        text_hash::then(self.beginning(self.length_before_results()), self.shown)
    }

    /// The hash of the tools on offer.
    pub(super) fn offer(&self) -> Hash {
        *self.offer.get_or_init(|| {
            let names = self.tools.iter().map(|name| text_hash::of(name));
            names.fold(NOTHING, text_hash::then)
        })
    }

    /// Whether another agent of this name speaks in it. The caller then has a different name.
    pub(super) fn hears(&self, name: &str) -> bool {
        self.heard().binary_search(&text_hash::of(name)).is_ok()
    }

    /// The names of the other agents in it, hashed and sorted.
    pub(super) fn heard(&self) -> &[Hash] {
        self.heard.get_or_init(|| {
            let names = self.entries.iter().filter_map(TranscriptEntry::agent);
            let mut heard: Vec<Hash> = names.map(text_hash::of).collect();
            heard.sort_unstable();
            heard.dedup();
            heard
        })
    }

    /// All of it as one text, as a selector is sent it.
    pub(super) fn whole(&self) -> String {
        let mut whole = self.system.to_string();
        for entry in &self.entries {
            whole.push('\n');
            whole.push_str(entry.text());
        }
        whole
    }

    /// About how many bytes its texts and tool rounds have in the request.
    pub(super) fn size(&self) -> usize {
        let entries = self.entries.iter().map(|entry| entry.content.size());
        let rounds = self.rounds.iter().map(ToolRound::size);
        self.system.len() + entries.chain(rounds).sum::<usize>()
    }

    /// Whether agents hand over to each other: a handoff is on offer, or a message tells of one.
    pub(super) fn shows_handoffs(&self) -> bool {
        let mut tools = self.tools.iter();
        let mut entries = self.entries.iter();
        tools.any(|tool| handoff_target(tool).is_some())
            || entries.any(|entry| entry.agent().is_some() && entry.is_handoff)
    }

    /// The messages from outside the team, first to last.
    pub(super) fn tasks(&self) -> impl DoubleEndedIterator<Item = &TranscriptEntry<'a>> {
        self.entries.iter().filter(|entry| entry.is_from_outside())
    }
}

/// The names of the tools that a request offers, in its order.
fn offered_tools(json: &str) -> Vec<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct OfferedFunction<'n> {
        #[serde(borrow)]
        name: Cow<'n, str>,
    }
    #[derive(Deserialize)]
    struct OfferedTool<'n> {
        #[serde(borrow)]
        function: Option<OfferedFunction<'n>>,
        #[serde(borrow)]
        custom: Option<OfferedFunction<'n>>,
    }
    let tools: Vec<OfferedTool<'_>> = serde_json::from_str(json).unwrap_or_default();
    tools
        .into_iter()
        .filter_map(|tool| tool.function.or(tool.custom))
        .map(|function| function.name)
        .collect()
}

fn is_system(message: &Message<'_>) -> bool {
    matches!(message.role.as_deref(), Some("system" | "developer"))
}

/// The words of a message, without space around them; of several parts, the texts.
fn text<'a>(message: &'a Message<'a>) -> Cow<'a, str> {
    #[derive(Deserialize)]
    struct TextPart<'p> {
        #[serde(borrow)]
        text: Option<Cow<'p, str>>,
    }
    match &message.content {
        None => Cow::Borrowed(""),
        Some(Content::Text(text)) => words(*text),
        Some(Content::Json(json)) => {
            let parts: Vec<TextPart<'_>> = serde_json::from_str(json).unwrap_or_default();
            let texts: Vec<_> = parts.into_iter().filter_map(|part| part.text).collect();
            Cow::Owned(texts.join("\n").trim().to_owned())
        }
    }
}

/// A tool call of an assistant's message.
#[derive(Deserialize)]
struct AssistantToolCall<'c> {
    #[serde(borrow, default)]
    id: Cow<'c, str>,
    #[serde(borrow, default)]
    function: CalledFunction<'c>,
}

#[derive(Default, Deserialize)]
struct CalledFunction<'c> {
    #[serde(borrow, default)]
    name: Cow<'c, str>,
    #[serde(borrow)]
    arguments: Option<&'c RawValue>,
}

impl<'c> AssistantToolCall<'c> {
    fn shown(self) -> ShownToolCall<'c> {
        ShownToolCall {
            id: self.id,
            name: self.function.name,
            arguments: self.function.arguments,
            result: None,
        }
    }
}

/// The tool calls of an assistant's message, if there are any.
fn called<'a>(message: &'a Message<'a>) -> Option<Vec<AssistantToolCall<'a>>> {
    let json = message
        .tool_calls
        .as_deref()
        .filter(|_| message.role.as_deref() == Some("assistant"))?;
    let calls: Vec<AssistantToolCall<'_>> = serde_json::from_str(json).ok()?;
    (!calls.is_empty()).then_some(calls)
}

#[cfg(test)]
mod tests;
