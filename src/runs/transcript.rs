//! A request's messages as AutoGen's agents see them: who asks, the conversation that everyone shares, and the tool rounds in it.
//!
//! What an `AssistantAgent` (autogen-agentchat 0.7) sends: its system message, then the history. Its own replies are `assistant`, everybody
//! else's are `user` with their `name`, the task is `user` named `user`. What a tool round is to the others is what follows it: the
//! reflection where there is one, else the results, joined. So a request becomes a list of texts that is the same for all who were there, and
//! one call follows another when its list begins with the other's and goes on with the other's reply.

use std::borrow::Cow;
use std::cell::OnceCell;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::digest::{Digest, Digests};
use super::hash::{self, Hash, Set};
use super::rounds::{Round, ShownCall};
use super::said::{Said, without_prefix, words};
use super::tool::{self, hands_over_to, is_handoff_text};
use crate::openai::{ChatRequest, Content, ContentHash, Message};

/// How AutoGen's `ListMemory` begins what it adds to a request (autogen-core 0.7, `ListMemory.update_context`).
const MEMORY: &str = "Relevant memory content";

/// A request, read.
#[derive(Debug)]
pub(super) struct Transcript<'a> {
    /// The system messages at the beginning.
    pub(super) system: Cow<'a, str>,
    /// What follows them, as all who were there saw it.
    pub(super) entries: Vec<Entry<'a>>,
    /// The tool rounds that it shows, oldest first.
    pub(super) rounds: Vec<Round<'a>>,
    /// Nobody said anything after the last of them.
    pub(super) ends_in_round: bool,
    /// Of all rounds so far.
    shown: Hash,
    /// Ends in a system message that no memory wrote.
    pub(super) ends_in_system: bool,
    /// It ends in the results of tools: a reply takes their place for everybody else.
    pub(super) reflects: bool,
    /// Names of the tools on offer.
    pub(super) tools: Vec<Cow<'a, str>>,
    offer: OnceCell<Hash>,
    heard: OnceCell<Vec<Hash>>,
}

/// One thing that was said.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    said: Said<'a>,
    mark: Option<ContentHash>,
    pub(super) hash: Hash,
    /// Whether a `Handoff` tells of itself so.
    pub(super) tells_of_handoff: bool,
    /// It is no message: others see it in place of a tool round.
    pub(super) is_of_round: bool,
    pub(super) author: Author,
    pub(super) name: Option<Cow<'a, str>>,
    /// Of all texts up to this one, itself included.
    pub(super) beginning: Hash,
}

/// Whose message it is, to the one who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Author {
    /// The sender's own.
    Own,
    /// Anybody else's.
    Other,
    /// A system message's.
    System,
}

/// Of a conversation in which nothing was said.
pub(super) const NOTHING: Hash = 0;

impl Entry<'_> {
    /// What was said, without space around it.
    pub(super) fn text(&self) -> &str {
        self.said.text()
    }

    /// Of its first line.
    pub(super) fn first_line(&self) -> Hash {
        self.said.first_line()
    }

    /// As [`Said::lines`] has them.
    pub(super) fn lines<'d>(&self, digests: &'d Digests) -> Cow<'d, [Hash]> {
        digests.lines(self.mark, &self.said)
    }

    /// Of the user, or a task: nobody of the team.
    pub(super) fn is_from_outside(&self) -> bool {
        self.author == Author::Other && self.name.as_deref().is_none_or(|name| name == "user")
    }

    /// Of another agent, by name.
    pub(super) fn agent(&self) -> Option<&str> {
        self.name
            .as_deref()
            .filter(|name| self.author == Author::Other && *name != "user")
    }
}

impl<'a> Transcript<'a> {
    /// Reads a request, with what is known of its texts.
    pub(super) fn of(request: &'a ChatRequest<'a>, digests: &mut Digests) -> Self {
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
                .map(tool::names)
                .unwrap_or_default(),
            offer: OnceCell::new(),
            heard: OnceCell::new(),
        };
        transcript.read(&body, digests);
        transcript
    }

    fn read(&mut self, body: &[&'a Message<'a>], digests: &mut Digests) {
        let mut at = 0;
        while let Some(message) = body.get(at) {
            at += 1;
            if message.role.as_deref() == Some("tool") {
                // Its call was left out, where a history is cut short.
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
        calls: Vec<Called<'a>>,
        answers: &[&'a Message<'a>],
        reflected: bool,
        is_last: bool,
    ) {
        let at = self.entries.len();
        let texts: Vec<_> = answers.iter().map(|answer| text(answer)).collect();
        let handing_over: Set<&str> = calls
            .iter()
            .filter(|call| hands_over_to(&call.function.name).is_some())
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
            // It ends the turn. Others are told what was thought, or what other tools gave, and then of the handoff.
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

    /// Takes in a tool round that stands after `at` texts.
    fn show(
        &mut self,
        at: usize,
        calls: Vec<Called<'a>>,
        answers: &[&'a Message<'a>],
        texts: Vec<Cow<'a, str>>,
    ) {
        let mut round = Round {
            at,
            history: hash::then(self.beginning(at), self.shown),
            calls: calls.into_iter().map(Called::shown).collect(),
        };
        let ids = answers
            .iter()
            .map(|answer| answer.tool_call_id.as_deref().unwrap_or_default());
        round.answer(ids.zip(texts).collect());
        self.shown = round.hash_after(self.shown);
        self.rounds.push(round);
    }

    /// A message that says something. What is known of a long one is not found out again; nothing is of one with a name before it, which
    /// only some programs write.
    fn message(&mut self, message: &'a Message<'a>, author: Author, digests: &mut Digests) {
        let name = message.name.as_deref();
        let Some(Content::Text(written)) = message.content else {
            return self.push(text(message), author, name);
        };
        let said = Said::of(written);
        let digest = written
            .mark()
            .and_then(|mark| digests.of(mark, || (!said.has_prefix()).then(|| Digest::of(&said))));
        let (hash, tells_of_handoff) = match digest {
            Some(digest) => (digest.hash, digest.tells_of_handoff),
            None if said.has_prefix() => return self.push(said.into_text(), author, name),
            None => (said.hash(), said.tells_of_handoff()),
        };
        self.add(Entry {
            said,
            mark: written.mark(),
            hash,
            tells_of_handoff,
            is_of_round: false,
            author,
            name: name.map(Cow::Borrowed),
            beginning: NOTHING,
        });
    }

    /// What others see in place of a tool round.
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
        self.add(Entry {
            hash: hash::of_said(&text),
            tells_of_handoff: is_handoff_text(&text),
            is_of_round: false,
            said: Said::Plain(text),
            mark: None,
            author,
            name,
            beginning: NOTHING,
        });
    }

    fn add(&mut self, mut entry: Entry<'a>) {
        entry.beginning = hash::then(self.beginning(self.entries.len()), entry.hash);
        self.entries.push(entry);
    }

    /// Of its first `length` texts.
    pub(super) fn beginning(&self, length: usize) -> Hash {
        match length.checked_sub(1).map(|last| self.entries.get(last)) {
            Some(Some(last)) => last.beginning,
            _ => NOTHING,
        }
    }

    /// How many texts it has but for the results of tools at its end: for everybody else a reply takes their place.
    pub(super) fn length_before_results(&self) -> usize {
        self.entries.len() - usize::from(self.reflects)
    }

    /// What the tools will have before them that the reply asks for: [`Round::history`].
    pub(super) fn history_of_next_round(&self) -> Hash {
        hash::then(self.beginning(self.length_before_results()), self.shown)
    }

    /// Of the tools on offer.
    pub(super) fn offer(&self) -> Hash {
        *self.offer.get_or_init(|| {
            let names = self.tools.iter().map(|name| hash::of(name));
            names.fold(NOTHING, hash::then)
        })
    }

    /// Whether somebody else of this name speaks in it: then whoever asks has another.
    pub(super) fn hears(&self, name: &str) -> bool {
        self.heard().binary_search(&hash::of(name)).is_ok()
    }

    /// The names of others who speak in it, sorted.
    pub(super) fn heard(&self) -> &[Hash] {
        self.heard.get_or_init(|| {
            let names = self.entries.iter().filter_map(Entry::agent);
            let mut heard: Vec<Hash> = names.map(hash::of).collect();
            heard.sort_unstable();
            heard.dedup();
            heard
        })
    }

    /// All of it as one text: what a selector is shown.
    pub(super) fn whole(&self) -> String {
        let mut whole = self.system.to_string();
        for entry in &self.entries {
            whole.push('\n');
            whole.push_str(entry.text());
        }
        whole
    }

    /// About how many bytes it was sent as.
    pub(super) fn size(&self) -> usize {
        let entries = self.entries.iter().map(|entry| entry.said.size());
        let rounds = self.rounds.iter().map(Round::size);
        self.system.len() + entries.chain(rounds).sum::<usize>()
    }

    /// What came from outside, first to last.
    pub(super) fn tasks(&self) -> impl DoubleEndedIterator<Item = &Entry<'a>> {
        self.entries.iter().filter(|entry| entry.is_from_outside())
    }
}

fn is_system(message: &Message<'_>) -> bool {
    matches!(message.role.as_deref(), Some("system" | "developer"))
}

/// What a message says, without space around it; of parts, the texts.
fn text<'a>(message: &'a Message<'a>) -> Cow<'a, str> {
    #[derive(Deserialize)]
    struct Part<'p> {
        #[serde(borrow)]
        text: Option<Cow<'p, str>>,
    }
    match &message.content {
        None => Cow::Borrowed(""),
        Some(Content::Text(text)) => words(*text),
        Some(Content::Json(json)) => {
            let parts: Vec<Part<'_>> = serde_json::from_str(json).unwrap_or_default();
            let texts: Vec<_> = parts.into_iter().filter_map(|part| part.text).collect();
            Cow::Owned(texts.join("\n").trim().to_owned())
        }
    }
}

/// A tool call of an assistant's message.
#[derive(Deserialize)]
struct Called<'c> {
    #[serde(borrow, default)]
    id: Cow<'c, str>,
    #[serde(borrow, default)]
    function: Function<'c>,
}

#[derive(Default, Deserialize)]
struct Function<'c> {
    #[serde(borrow, default)]
    name: Cow<'c, str>,
    #[serde(borrow)]
    arguments: Option<&'c RawValue>,
}

impl<'c> Called<'c> {
    fn shown(self) -> ShownCall<'c> {
        ShownCall {
            id: self.id,
            name: self.function.name,
            arguments: self.function.arguments,
            result: None,
        }
    }
}

/// The tool calls of an assistant's message; none where it calls none.
fn called<'a>(message: &'a Message<'a>) -> Option<Vec<Called<'a>>> {
    let json = message
        .tool_calls
        .as_deref()
        .filter(|_| message.role.as_deref() == Some("assistant"))?;
    let calls: Vec<Called<'_>> = serde_json::from_str(json).ok()?;
    (!calls.is_empty()).then_some(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that grouping asks of an entry.
    type Shown = (String, Hash, Vec<Hash>, bool, Option<String>);

    fn shown(transcript: &Transcript<'_>, digests: &Digests) -> Vec<Shown> {
        let entries = transcript.entries.iter();
        entries
            .map(|entry| {
                (
                    entry.text().to_owned(),
                    entry.beginning,
                    entry.lines(digests).into_owned(),
                    entry.tells_of_handoff,
                    entry.name.as_deref().map(str::to_owned),
                )
            })
            .collect()
    }

    #[test]
    fn a_text_that_comes_again_is_the_same_without_being_read() {
        let long = "Waves roll on. ".repeat(50);
        let texts = [
            long.clone(),
            format!(" \n\t{long}\n\"quoted\"\r\ncritic: {long}\n "),
            serde_json::json!({"b": long, "a": [1.0, "é"]}).to_string(),
            format!("writer said:\n{long}"),
            format!("Transferred to {long} immediately."),
            "short\nand plain".to_owned(),
        ];
        for role in ["user", "assistant", "system"] {
            let messages: Vec<_> = [("system", "Be kind.")]
                .into_iter()
                .chain([("user", "first")])
                .chain(texts.iter().map(|text| (role, &**text)))
                .map(|(role, text)| serde_json::json!({"role": role, "name": "writer", "content": text}))
                .collect();
            let body = serde_json::json!({"messages": messages}).to_string();
            let request = ChatRequest::parse(body.as_bytes()).unwrap();
            let (mut none, mut digests) = (Digests::new(0), Digests::new(1 << 20));
            let read = Transcript::of(&request, &mut none);
            let read = shown(&read, &none);
            assert_eq!(none.weight(), 0);
            let first = Transcript::of(&request, &mut digests);
            let first = shown(&first, &digests);
            let weight = digests.weight();
            assert!(weight > 0);
            let again = Transcript::of(&request, &mut digests);
            let named = again.entries.iter().filter(|entry| !entry.said.is_unread());
            assert_eq!(named.count(), 1, "the one with a name before it");
            assert_eq!((digests.weight(), &first), (weight, &read));
            assert_eq!(shown(&again, &digests), read);
        }
    }
}
