//! Tool rounds as requests show them, and whose they are.
//!
//! An id alone says little of that. Kimi on vLLM counts calls within a reply (`functions.search:0`), TGI gives all of them the id `0`, and
//! others leave it empty. So a round is known by what stands before it, and its calls by their order; an id by itself counts only where a
//! history was cut short, and no other reply has it.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde_json::value::RawValue;

use super::call::{Call, RunId};
use super::evidence::{Found, Scene};
use super::hash::{self, Hash, Map};
use super::known::Key;
use super::link::{Link, To};
use super::said::cut;
use super::transcript::Author;
use crate::openai::ToolCall;

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

    /// About how many bytes it was sent as.
    pub(super) fn size(&self) -> usize {
        let size = |call: &ShownCall<'_>| {
            let result = call.result.as_ref().map_or(0, |text| text.len());
            let arguments = call.arguments.map_or(0, |arguments| arguments.get().len());
            call.id.len() + call.name.len() + arguments + result
        };
        self.calls.iter().map(size).sum()
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

impl<'s> Scene<'s> {
    /// **Tool-call id.** The request shows a tool round: the reply that asked for it, that of the latest round.
    pub(super) fn tool_id(&self) -> Option<Found> {
        let mut rounds = self.transcript.rounds.iter().rev();
        rounds.find_map(|round| self.best(&self.askers_of(round)))
    }

    /// The calls that may have asked for what a tool round shows. An id alone says little: some servers give every reply the same ones, or
    /// none. So what stands before the round counts as well.
    fn askers_of(&self, round: &Round<'_>) -> Vec<&'s Call> {
        let Some(first) = round.calls.first() else {
            return Vec::new();
        };
        let id = hash::of(&first.id);
        let fits = |call: &'s Call| Some((call, self.asked_of(round, call)?));
        let exact = self.speaking(Key::AsksAfter(round.history, id));
        let mut askers: Vec<_> = exact.filter_map(fits).collect();
        if askers.is_empty() {
            let mut asking = self.speaking(Key::Asks(id));
            let only = asking.next().filter(|_| asking.next().is_none());
            askers.extend(
                only.filter(|call| self.is_cut_from(call, round))
                    .and_then(fits),
            );
        }
        if askers.len() > 1 {
            let rank = |(call, tools): &(&Call, Vec<usize>)| {
                (
                    call.system == self.system,
                    self.shows_arguments_of(round, call, tools),
                )
            };
            let ranks: Vec<_> = askers.iter().map(rank).collect();
            let best = ranks.iter().max().copied();
            let mut ranks = ranks.into_iter();
            askers.retain(|_| ranks.next() == best);
        }
        askers.into_iter().map(|(call, _)| call).collect()
    }

    /// Whether the request's history can be that of `call`, cut short before `round`.
    fn is_cut_from(&self, call: &Call, round: &Round<'_>) -> bool {
        let before = round
            .at
            .checked_sub(1)
            .map(|at| &self.transcript.entries[at]);
        before.is_none_or(|before| before.hash == call.last)
            || matches!((&call.task, self.transcript.tasks().next()), (Some(one), Some(other)) if **one == *cut(other.text()))
    }

    /// Who asked for each of the request's tool rounds: of several the one that the request is linked to, one of its run, one of who asks.
    pub(super) fn askers(&self, link: Link, run: Option<RunId>) -> Vec<Option<&'s Call>> {
        let linked = match link.to {
            To::Call(call) | To::Conversation(call) => self.known.get(call),
            To::Nothing | To::Tool(..) => None,
        };
        let likely = |call: &&Call| {
            (
                linked.is_some_and(|linked| linked.id == call.id),
                linked.is_some_and(|linked| linked.speaker.is(&call.speaker)),
                Some(call.run) == run,
                call.system == self.system,
                call.ended_ns,
            )
        };
        let rounds = self.transcript.rounds.iter();
        rounds
            .map(|round| self.askers_of(round).into_iter().max_by_key(likely))
            .collect()
    }

    /// A call of whoever asks, before this one: the latest whose tools it shows, else whose text. Others may have said the same.
    pub(super) fn own_before(
        &self,
        run: Option<RunId>,
        askers: &[Option<&'s Call>],
    ) -> Option<&'s Call> {
        let of_mine = |call: &&Call| {
            let name = call.speaker.name();
            call.system == self.system
                && call.kind == self.kind
                && name.is_none_or(|name| !self.transcript.hears(&name.text))
        };
        let by_round = askers.iter().rev().copied().flatten().find(of_mine);
        by_round.or_else(|| {
            let entries = self.transcript.entries.iter().rev();
            let mut own = entries.filter(|entry| entry.author == Author::Own && !entry.is_of_round);
            own.find_map(|entry| {
                let said = self.said_in_run(entry.hash, run?)?;
                said.iter()
                    .copied()
                    .filter(of_mine)
                    .filter(|call| call.reply.tools.is_empty())
                    .max_by_key(|call| call.ended_ns)
            })
        })
    }

    /// Whether tools of `call` are what stands after so many texts.
    pub(super) fn shows_tools_of(&self, call: &Call, at: usize) -> bool {
        let rounds = &self.transcript.rounds;
        rounds[rounds.partition_point(|round| round.at < at)..]
            .iter()
            .take_while(|round| round.at == at)
            .any(|round| self.asked_of(round, call).is_some())
    }

    /// As [`Round::asked_of`], as long as there is work left.
    pub(super) fn asked_of(&self, round: &Round<'_>, call: &Call) -> Option<Vec<usize>> {
        let ids = round.calls.len() + call.reply.tools.len();
        self.known.work.spend_on_ids(ids).then_some(())?;
        round.asked_of(call)
    }

    /// As [`Round::shows_arguments_of`], as long as there is work left.
    fn shows_arguments_of(&self, round: &Round<'_>, call: &Call, tools: &[usize]) -> bool {
        let tools_of = tools.iter().map(|tool| &call.reply.tools[*tool].call);
        let bytes: usize = tools_of.map(|call| call.arguments.len()).sum();
        self.known.work.spend_on_search(bytes) && round.shows_arguments_of(call, tools)
    }
}
