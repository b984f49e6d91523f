//! The calls of one scope, and under what they are found: every piece of evidence is a lookup, not a search.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use super::call::{Call, CallId, Reply, RunId};
use super::hash::{self, Hash, Map};
use super::kind::Kind;
use super::lines;
use super::work::{LOOK, WorkBudget};

/// Of several calls found under one key, the latest so many are looked at: beyond that they are alike.
const MOST: usize = 64;
/// Of the lines that a selector was shown, it is found under the last so many: what was said last is near the end.
const MOST_SHOWN: usize = 4096;
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
    /// It is of this run, and said this.
    SaysInRun(RunId, Hash),
    /// It called a tool under this id.
    Asks(Hash),
    /// It called a tool, and this is what will stand before its result, and the tool call's id.
    AsksAfter(Hash, Hash),
    /// It passed a text with this first line to a tool.
    Passes(Hash),
    /// It is a selector that was shown this line.
    Shown(Hash),
    /// It works on a task with this first line.
    WorksOn(Hash),
}

/// Calls that are found under one key. Nearly always there is but one, and it takes no memory of its own.
#[derive(Debug)]
enum List {
    One(CallId),
    /// The one that came last at the end.
    Several(VecDeque<CallId>),
}

/// The calls of one scope.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Each in a place of its own: a table of them would be moved whole whenever it grows.
    calls: Map<CallId, Box<Call>>,
    found_by: Map<Key, List>,
    weight: usize,
    /// For the call that is placed now: every call that is looked at takes from it.
    pub(super) work: WorkBudget,
}

impl Known {
    /// About how many bytes it takes.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    pub(super) fn get(&self, id: CallId) -> Option<&Call> {
        self.calls.get(&id).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, id: CallId) -> Option<&mut Call> {
        self.calls.get_mut(&id).map(Box::as_mut)
    }

    /// Whether any call is found under `key`.
    pub(super) fn has(&self, key: Key) -> bool {
        self.found_by.contains_key(&key)
    }

    /// Takes in a call that has just come.
    pub(super) fn insert(&mut self, call: Call) {
        let id = call.id;
        let mut keys = Vec::new();
        if let Some(task) = &call.task {
            keys.push(Key::WorksOn(hash::of_first_line(task)));
        }
        if let Some(prompt) = &call.prompt {
            let lines =
                lines::within_lines(prompt).chain(lines::from_last(prompt).take(MOST_SHOWN));
            keys.extend(lines.map(|(_, line)| Key::Shown(hash::of(line))));
        }
        self.weight += call.weight();
        self.calls.insert(id, Box::new(call));
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
            keys.push(Key::SaysInRun(call.run, *part));
        }
        if !reply.text.is_empty() {
            keys.push(Key::Says(hash::of_first_line(&reply.text)));
        }
        if reply.text.is_empty() && call.kind == Kind::Selector {
            // It is asked again.
            keys.push(Key::Said(call.beginning, reply.hash));
        }
        if !reply.tools.is_empty() {
            keys.push(Key::CalledTools(call.beginning));
        }
        for asked in &reply.tools {
            let id = hash::of(&asked.call.id);
            keys.push(Key::AsksAfter(call.history, id));
            if !asked.call.id.is_empty() {
                keys.push(Key::Asks(id));
            }
            let passed = asked.passed.iter();
            keys.extend(passed.map(|text| Key::Passes(text.first_line)));
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
        keys.retain(|key| match self.found_by.entry(*key) {
            Entry::Vacant(place) => {
                place.insert(List::One(id));
                true
            }
            Entry::Occupied(mut list) => list.get_mut().push(id),
        });
        self.weight -= call.weight();
        call.keys.extend(keys);
        self.weight += call.weight();
    }

    /// The reply of a call was passed on to whoever has this system message.
    pub(super) fn delivered(&mut self, id: CallId, to: Hash) {
        if let Some(call) = self.calls.get_mut(&id)
            && let Err(place) = call.delivered.binary_search(&to)
        {
            call.delivered.insert(place, to);
            self.weight += size_of::<Hash>();
        }
    }

    /// A selector's choice was followed: nobody else follows it.
    pub(super) fn followed(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        // Only a selector's prompt was shown to anybody.
        if call.prompt.is_none() {
            return;
        }
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
            if let Entry::Occupied(mut list) = self.found_by.entry(key)
                && list.get_mut().remove(id)
            {
                list.remove();
            }
        }
    }

    /// Calls found under `key` that had ended when something that started at `started_ns` did, the latest first.
    pub(super) fn found(&self, key: Key, started_ns: u64) -> impl Iterator<Item = &Call> {
        let listed = self.found_by.get(&key);
        listed
            .into_iter()
            .flat_map(List::latest)
            .take_while(|_| self.work.spend(LOOK))
            .filter_map(|id| self.get(id))
            .filter(move |call| {
                call.ended_ns
                    .is_some_and(|ended_ns| ended_ns <= started_ns.saturating_add(CLOSE_NS))
            })
            .take(MOST)
    }

    /// Of the calls found under `key`, the ones that agents made.
    pub(super) fn found_speaking(&self, key: Key, started_ns: u64) -> impl Iterator<Item = &Call> {
        self.found(key, started_ns)
            .filter(|call| matches!(call.kind, Kind::Agent | Kind::Orchestrator | Kind::Bare))
    }
}

impl List {
    /// Adds a call; whether it was not the last already.
    fn push(&mut self, id: CallId) -> bool {
        match self {
            List::One(last) if *last == id => return false,
            List::One(first) => *self = List::Several([*first, id].into()),
            List::Several(ids) if ids.back() == Some(&id) => return false,
            List::Several(ids) => ids.push_back(id),
        }
        true
    }

    /// Takes out a call; whether nothing is left.
    fn remove(&mut self, id: CallId) -> bool {
        match self {
            List::One(only) => *only == id,
            List::Several(ids) => {
                // What goes came last, or first.
                if ids.back() == Some(&id) {
                    ids.pop_back();
                } else if let Some(place) = ids.iter().position(|listed| *listed == id) {
                    ids.remove(place);
                }
                ids.is_empty()
            }
        }
    }

    /// The latest first.
    fn latest(&self) -> impl Iterator<Item = CallId> {
        let (one, several) = match self {
            List::One(only) => (Some(*only), None),
            List::Several(ids) => (None, Some(ids)),
        };
        let several = several
            .into_iter()
            .flat_map(|ids| ids.iter().rev().copied());
        one.into_iter().chain(several)
    }
}
