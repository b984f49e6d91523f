//! The calls of one scope, and under what they are found: every piece of evidence is a lookup, not a search.

use std::collections::VecDeque;

use super::call::{Call, CallId, Reply, RunId, argument_texts};
use super::hash::{self, Hash, Map};
use super::kind::Kind;

/// Of several calls found under one key, the latest so many are looked at: beyond that they are alike.
const MOST: usize = 64;
/// On the way to those of one run, so many others are passed.
const MOST_PASSED: usize = 1024;
/// Before a colon, what is longer is no name.
const LONGEST_NAME: usize = 128;
/// A reply and the request that it causes may be stamped in the wrong order, by so many nanoseconds.
pub(super) const CLOSE_NS: u64 = 2_000_000;

/// What a call is found under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// Its request was this, and it said that.
    Said(Hash, Hash),
    /// Its request was this, and it called tools.
    CalledTools(Hash),
    /// It said this; also the first line alone.
    Says(Hash),
    /// It called a tool under this id.
    Asks(Hash),
    /// It passed a text with this first line to a tool.
    Passes(Hash),
    /// It is a selector that was shown this line.
    Shown(Hash),
    /// It works on a task with this first line.
    WorksOn(Hash),
}

/// The calls of one scope.
#[derive(Debug, Default)]
pub(super) struct Known {
    calls: Map<CallId, Call>,
    /// The one that came last at the end.
    found_by: Map<Key, VecDeque<CallId>>,
    weight: usize,
}

impl Known {
    /// About how many bytes it takes.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    pub(super) fn get(&self, id: CallId) -> Option<&Call> {
        self.calls.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: CallId) -> Option<&mut Call> {
        self.calls.get_mut(&id)
    }

    /// Takes in a call that has just come.
    pub(super) fn insert(&mut self, call: Call) {
        let id = call.id;
        let mut keys = Vec::new();
        if let Some(task) = &call.task {
            keys.push(Key::WorksOn(hash::of_first_line(task)));
        }
        if let Some(prompt) = &call.prompt {
            keys.extend(lines(prompt).map(|line| Key::Shown(hash::of(line))));
        }
        self.weight += call.weight();
        self.calls.insert(id, call);
        self.add(id, keys);
    }

    /// A call is over, and this is what it came to; of a call that was tried again, once more.
    pub(super) fn settle(&mut self, id: CallId, ended_ns: u64, reply: Reply) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let mut keys = Vec::new();
        for part in &reply.parts {
            keys.push(Key::Said(call.beginning, *part));
            keys.extend(call.before_results.map(|before| Key::Said(before, *part)));
            keys.push(Key::Says(*part));
        }
        if !reply.text.is_empty() {
            keys.push(Key::Says(hash::of_first_line(&reply.text)));
        }
        if !reply.tools.is_empty() {
            keys.push(Key::CalledTools(call.beginning));
        }
        for asked in &reply.tools {
            keys.push(Key::Asks(hash::of(&asked.call.id)));
            for text in argument_texts(&asked.call) {
                keys.push(Key::Passes(hash::of_first_line(&text)));
            }
        }
        self.weight -= call.weight();
        call.ended_ns = Some(ended_ns);
        call.reply = reply;
        self.weight += call.weight();
        self.add(id, keys);
    }

    fn add(&mut self, id: CallId, mut keys: Vec<Key>) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        keys.retain(|key| {
            let list = self.found_by.entry(*key).or_default();
            let is_new = list.back() != Some(&id);
            if is_new {
                list.push_back(id);
            }
            is_new
        });
        self.weight -= call.weight();
        call.keys.extend(keys);
        self.weight += call.weight();
    }

    /// A selector's choice was followed: nobody else follows it.
    pub(super) fn followed(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        self.weight -= call.weight();
        call.prompt = None;
        let (gone, kept) = std::mem::take(&mut call.keys)
            .into_iter()
            .partition(|key| matches!(key, Key::Shown(_)));
        call.keys = kept;
        self.weight += call.weight();
        self.unlist(id, gone);
    }

    pub(super) fn remove(&mut self, id: CallId) {
        if let Some(call) = self.calls.remove(&id) {
            self.weight -= call.weight();
            self.unlist(id, call.keys);
        }
    }

    fn unlist(&mut self, id: CallId, keys: Vec<Key>) {
        for key in keys {
            if let Some(list) = self.found_by.get_mut(&key) {
                // What goes came last, or first.
                if list.back() == Some(&id) {
                    list.pop_back();
                } else if let Some(place) = list.iter().position(|listed| *listed == id) {
                    list.remove(place);
                }
                if list.is_empty() {
                    self.found_by.remove(&key);
                }
            }
        }
    }

    /// Of the calls found under `key`, those of one run, as [`Self::found`] gives them.
    pub(super) fn found_in_run(
        &self,
        key: Key,
        started_ns: u64,
        run: RunId,
    ) -> impl Iterator<Item = &Call> {
        self.ended_under(key, started_ns)
            .take(MOST_PASSED)
            .filter(move |call| call.run == run)
            .take(MOST)
    }

    /// Calls found under `key` that had ended when something that started at `started_ns` did, the latest first.
    pub(super) fn found(&self, key: Key, started_ns: u64) -> impl Iterator<Item = &Call> {
        self.ended_under(key, started_ns).take(MOST)
    }

    fn ended_under(&self, key: Key, started_ns: u64) -> impl Iterator<Item = &Call> {
        let listed = self.found_by.get(&key);
        listed
            .into_iter()
            .flat_map(|listed| listed.iter().rev())
            .filter_map(|id| self.calls.get(id))
            .filter(move |call| {
                call.ended_ns
                    .is_some_and(|ended_ns| ended_ns <= started_ns.saturating_add(CLOSE_NS))
            })
    }

    /// Calls whose replies ask for the tool call of this id, the latest first.
    pub(super) fn asking(&self, id: &str) -> impl Iterator<Item = &Call> {
        self.found(Key::Asks(hash::of(id)), u64::MAX)
            .filter(move |call| call.asks(id))
    }

    /// Of the calls found under `key`, the ones that agents made.
    pub(super) fn found_speaking(&self, key: Key, started_ns: u64) -> impl Iterator<Item = &Call> {
        self.found(key, started_ns)
            .filter(|call| matches!(call.kind, Kind::Agent | Kind::Orchestrator | Kind::Bare))
    }
}

/// The lines of a text, each also without a name before it: `writer: Waves roll on.`
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .flat_map(|line| {
            let said = name_end(line).map(|end| line[end + 2..].trim());
            [Some(line), said].into_iter().flatten()
        })
}

/// Where a name before a line may end.
fn name_end(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    let mut colons = memchr::memchr_iter(b':', &bytes[..bytes.len().min(LONGEST_NAME)]);
    colons.find(|colon| bytes.get(colon + 1) == Some(&b' '))
}
