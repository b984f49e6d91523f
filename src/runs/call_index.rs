//! The calls of one conversation, and the keys that find them: every piece of evidence is a lookup, not a search.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use super::call::{Call, CallId, CallReply, RunId};
use super::caller_kind::CallerKind;
use super::lines;
use super::text_hash::{self, Hash, Map};
use super::work_budget::{LOOK, WorkBudget};

/// Of several calls under one key, so many of the latest are looked at: beyond that they are alike.
const MOST: usize = 64;
/// A selector's call is found under so many of its prompt's last lines: the latest message is near the end.
const MOST_SELECTOR_LINES: usize = 4096;
/// A reply and the request that it causes may be stamped in the wrong order, by so many nanoseconds.
pub(super) const CLOSE_NS: u64 = 2_000_000;
/// About how many bytes a key takes: it is kept with its call and in the table, and has a list there.
const KEY_BYTES: usize = 2 * size_of::<IndexKey>() + 64;

/// A fact about a call that finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum IndexKey {
    /// After this request came this reply.
    ReplyAfter(Hash, Hash),
    /// After this request came tool calls.
    ToolsAfter(Hash),
    /// The reply, or its first line.
    Reply(Hash),
    /// The reply, in this run.
    ReplyInRun(RunId, Hash),
    /// The id of a tool call in the reply.
    ToolCall(Hash),
    /// The history before the tool's result, and the id of the tool call.
    ToolCallAfter(Hash, Hash),
    /// The first line of a text among a tool call's arguments.
    ToolArgument(Hash),
    /// A line of a selector's prompt.
    SelectorLine(Hash),
    /// The first line of the task.
    Task(Hash),
}

/// The calls under one key. Nearly always there is but one, and it takes no memory of its own.
#[derive(Debug)]
enum CallList {
    One(CallId),
    /// The latest at the end.
    Several(VecDeque<CallId>),
}

#[derive(Debug)]
struct IndexedCall {
    call: Call,
    keys: Vec<IndexKey>,
}

/// The calls of one conversation.
#[derive(Debug, Default)]
pub(super) struct CallIndex {
    /// Boxed, because a growing table moves all that it holds.
    calls: Map<CallId, Box<IndexedCall>>,
    by_key: Map<IndexKey, CallList>,
    size: usize,
}

impl CallIndex {
    /// About how many bytes it takes.
    pub(super) fn size_estimate(&self) -> usize {
        self.size
    }

    pub(super) fn get(&self, id: CallId) -> Option<&Call> {
        self.calls.get(&id).map(|indexed| &indexed.call)
    }

    pub(super) fn get_mut(&mut self, id: CallId) -> Option<&mut Call> {
        self.calls.get_mut(&id).map(|indexed| &mut indexed.call)
    }

    /// Whether any call is found under `key`.
    pub(super) fn has(&self, key: IndexKey) -> bool {
        self.by_key.contains_key(&key)
    }

    /// Adds a call that has just begun.
    pub(super) fn insert(&mut self, call: Call) {
        let id = call.id;
        let mut keys = Vec::new();
        if let Some(task) = &call.task {
            keys.push(IndexKey::Task(text_hash::of_first_line(task)));
        }
        if let Some(prompt) = &call.prompt {
            let last = lines::from_last(prompt).take(MOST_SELECTOR_LINES);
            let lines = lines::within_lines(prompt).chain(last);
            keys.extend(lines.map(|(_, line)| IndexKey::SelectorLine(text_hash::of(line))));
        }
        self.size += call.size_estimate();
        let keys = list(&mut self.by_key, id, keys);
        self.size += keys.len() * KEY_BYTES;
        self.calls.insert(id, Box::new(IndexedCall { call, keys }));
    }

    /// A call ended with this reply. A call that is retried ends once more with each attempt.
    pub(super) fn settle(&mut self, id: CallId, ended_ns: u64, reply: CallReply) {
        let Some(IndexedCall { call, keys: known }) = self.calls.get_mut(&id).map(Box::as_mut)
        else {
            return;
        };
        let mut keys = Vec::new();
        for part in &reply.parts {
            keys.push(IndexKey::ReplyAfter(call.beginning, *part));
            let before = call.before_results;
            keys.extend(before.map(|before| IndexKey::ReplyAfter(before, *part)));
            keys.push(IndexKey::Reply(*part));
            keys.push(IndexKey::ReplyInRun(call.run, *part));
        }
        if !reply.text.is_empty() {
            keys.push(IndexKey::Reply(text_hash::of_first_line(&reply.text)));
        }
        if reply.text.is_empty() && call.kind == CallerKind::Selector {
            // It is asked again.
            keys.push(IndexKey::ReplyAfter(call.beginning, reply.hash));
        }
        if !reply.tools.is_empty() {
            keys.push(IndexKey::ToolsAfter(call.beginning));
        }
        for requested in &reply.tools {
            let id = text_hash::of(&requested.call.id);
            keys.push(IndexKey::ToolCallAfter(call.history, id));
            if !requested.call.id.is_empty() {
                keys.push(IndexKey::ToolCall(id));
            }
            let passed = requested.passed.iter();
            keys.extend(passed.map(|text| IndexKey::ToolArgument(text.first_line)));
        }
        self.size -= call.size_estimate();
        call.ended_ns = Some(ended_ns);
        call.reply = reply;
        let keys = list(&mut self.by_key, id, keys);
        self.size += call.size_estimate() + keys.len() * KEY_BYTES;
        known.extend(keys);
    }

    /// The reply of a call was sent to an agent with this system message.
    pub(super) fn deliver(&mut self, id: CallId, to: Hash) {
        if let Some(call) = self.get_mut(id)
            && let Err(place) = call.delivered.binary_search(&to)
        {
            call.delivered.insert(place, to);
            self.size += size_of::<Hash>();
        }
    }

    /// A selector's choice was followed: no other request follows it.
    pub(super) fn follow(&mut self, id: CallId) {
        let Some(IndexedCall { call, keys }) = self.calls.get_mut(&id).map(Box::as_mut) else {
            return;
        };
        // Only selectors have a prompt.
        let Some(prompt) = call.prompt.take() else {
            return;
        };
        let shown = keys.extract_if(.., |key| matches!(key, IndexKey::SelectorLine(_)));
        let shown: Vec<IndexKey> = shown.collect();
        self.size -= prompt.len() + shown.len() * KEY_BYTES;
        self.unlist(id, shown);
    }

    pub(super) fn remove(&mut self, id: CallId) {
        if let Some(indexed) = self.calls.remove(&id) {
            self.size -= indexed.call.size_estimate() + indexed.keys.len() * KEY_BYTES;
            self.unlist(id, indexed.keys);
        }
    }

    fn unlist(&mut self, id: CallId, keys: Vec<IndexKey>) {
        for key in keys {
            if let Entry::Occupied(mut list) = self.by_key.entry(key)
                && list.get_mut().remove(id)
            {
                list.remove();
            }
        }
    }

    /// The calls under `key` that had ended at `started_ns`, the latest first. Each look costs the budget.
    pub(super) fn find(
        &self,
        key: IndexKey,
        started_ns: u64,
        work: &WorkBudget,
    ) -> impl Iterator<Item = &Call> {
        let listed = self.by_key.get(&key);
        listed
            .into_iter()
            .flat_map(CallList::latest)
            .take_while(|_| work.spend(LOOK))
            .filter_map(|id| self.get(id))
            .filter(move |call| {
                call.ended_ns
                    .is_some_and(|ended_ns| ended_ns <= started_ns.saturating_add(CLOSE_NS))
            })
            .take(MOST)
    }
}

/// Lists a call under these keys. Gives the ones that it was not listed under before.
fn list(
    by_key: &mut Map<IndexKey, CallList>,
    id: CallId,
    mut keys: Vec<IndexKey>,
) -> Vec<IndexKey> {
    keys.retain(|key| match by_key.entry(*key) {
        Entry::Vacant(vacant) => {
            vacant.insert(CallList::One(id));
            true
        }
        Entry::Occupied(mut list) => list.get_mut().push(id),
    });
    keys
}

impl CallList {
    /// Adds a call; whether it was not the last already.
    fn push(&mut self, id: CallId) -> bool {
        match self {
            CallList::One(last) if *last == id => return false,
            CallList::One(first) => *self = CallList::Several([*first, id].into()),
            CallList::Several(ids) if ids.back() == Some(&id) => return false,
            CallList::Several(ids) => ids.push_back(id),
        }
        true
    }

    /// Takes out a call; whether nothing is left.
    fn remove(&mut self, id: CallId) -> bool {
        match self {
            CallList::One(only) => *only == id,
            CallList::Several(ids) => {
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
            CallList::One(only) => (Some(*only), None),
            CallList::Several(ids) => (None, Some(ids)),
        };
        let several = several
            .into_iter()
            .flat_map(|ids| ids.iter().rev().copied());
        one.into_iter().chain(several)
    }
}
