//! A tool round as a request shows it: the calls of one reply, and their results.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde_json::value::RawValue;

use super::text_hash::{self, Hash, Map};
use crate::openai::ToolCall;

/// Most characters of a tool's name. AutoGen's client replaces the characters that OpenAI refuses (autogen-ext 0.7, `normalize_name`).
const LONGEST_TOOL_NAME: usize = 64;

/// Calls of one reply and their results, as a request shows them.
#[derive(Debug)]
pub(super) struct ToolRound<'a> {
    /// The number of texts before it.
    pub(super) at: usize,
    /// These texts, and the rounds between them.
    pub(super) history: Hash,
    /// In the reply's order. A result without its call is a call of its own, without a name.
    pub(super) calls: Vec<ShownToolCall<'a>>,
}

/// A tool call as a request shows it.
#[derive(Debug)]
pub(super) struct ShownToolCall<'a> {
    pub(super) id: Cow<'a, str>,
    pub(super) name: Cow<'a, str>,
    /// Nearly always a JSON string.
    pub(super) arguments: Option<&'a RawValue>,
    pub(super) result: Option<Cow<'a, str>>,
}

impl<'a> ToolRound<'a> {
    /// Each result goes to the first call of its id that has none: some servers give all calls of a reply the same id.
    pub(super) fn answer(&mut self, results: Vec<(&'a str, Cow<'a, str>)>) {
        let mut waiting: Map<Cow<'a, str>, VecDeque<usize>> = Map::default();
        for (at, call) in self.calls.iter().enumerate() {
            waiting.entry(call.id.clone()).or_default().push_back(at);
        }
        for (id, text) in results {
            let call = waiting.get_mut(id).and_then(VecDeque::pop_front);
            match call.and_then(|at| self.calls.get_mut(at)) {
                Some(call) => call.result = Some(text),
                None => self.calls.push(ShownToolCall {
                    id: Cow::Borrowed(id),
                    name: Cow::Borrowed(""),
                    arguments: None,
                    result: Some(text),
                }),
            }
        }
    }

    /// The hash of all rounds up to this one; `before` is that of the rounds before it.
    pub(super) fn hash_after(&self, before: Hash) -> Hash {
        self.calls.iter().fold(before, |hash, call| {
            let arguments = call.arguments.map_or("", RawValue::get);
            let result = call.result.as_deref().unwrap_or_default();
            [&*call.id, &*call.name, arguments, result]
                .into_iter()
                .map(text_hash::of_escaped)
                .fold(hash, text_hash::then)
        })
    }

    /// About how many bytes of the request it is.
    pub(super) fn size(&self) -> usize {
        let size = |call: &ShownToolCall<'_>| {
            let result = call.result.as_ref().map_or(0, |text| text.len());
            let arguments = call.arguments.map_or(0, |arguments| arguments.get().len());
            call.id.len() + call.name.len() + arguments + result
        };
        self.calls.iter().map(size).sum()
    }
}

impl ShownToolCall<'_> {
    /// Whether it shows this tool call of a reply.
    pub(super) fn is(&self, requested: &ToolCall) -> bool {
        let written = |character: char| match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => character,
            _ => '_',
        };
        self.id == requested.id
            && (self.name.is_empty()
                || self.name == requested.name
                || requested
                    .name
                    .chars()
                    .take(LONGEST_TOOL_NAME)
                    .map(written)
                    .eq(self.name.chars()))
    }

    /// Whether it shows these arguments, in any spelling of the same JSON.
    pub(super) fn passes(&self, arguments: &str) -> bool {
        let Some(shown) = self.arguments else {
            return false;
        };
        let shown: Cow<'_, str> = serde_json::from_str::<String>(shown.get())
            .map_or(Cow::Borrowed(shown.get()), Cow::Owned);
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        shown == arguments || value(&shown).is_some_and(|shown| value(arguments) == Some(shown))
    }
}
