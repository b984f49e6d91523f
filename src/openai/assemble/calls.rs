//! Assembles the tool calls of one choice from their deltas.
//!
//! OpenAI numbers its calls and names each once. Other servers give all of them index 0, null or no index, repeat the name with each delta, or
//! continue under a new id. The rule: a delta begins a call where its candidate has a name and whole arguments, or another name.

use super::text_budget::TextBudget;
use crate::openai::chunk::{FunctionDelta, ToolCallDelta};
use crate::openai::json::ValueEnd;
use crate::openai::reply::{CallKind, ToolCall};

/// Limit of the number of calls in one choice: finding one takes a walk over all.
const MAX_CALLS: usize = 1024;

/// Bytes of the limit that an empty call takes.
const CALL_COST: usize = 256;

/// The state of the calls that they do not have themselves, in their order.
#[derive(Debug, Default)]
pub(super) struct CallTracker {
    calls: Vec<TrackedCall>,
}

#[derive(Debug, Default)]
struct TrackedCall {
    index: Option<u64>,
    /// Scans all arguments, also those beyond the limit.
    arguments_end: ValueEnd,
}

impl CallTracker {
    /// Adds the deltas of one chunk.
    pub(super) fn add_deltas(
        &mut self,
        calls: &mut Vec<ToolCall>,
        deltas: Vec<ToolCallDelta<'_>>,
        budget: &mut TextBudget,
    ) {
        let known = calls.len();
        for delta in deltas.into_iter().filter(ToolCallDelta::has_content) {
            match self.target(calls, &delta, known) {
                DeltaTarget::Call(at) => self.extend(at, calls, delta, budget),
                DeltaTarget::NewCall => self.begin(calls, delta, budget),
                DeltaTarget::Repetition => {}
            }
        }
    }

    /// Adds whole calls, none of which continues another.
    pub(super) fn add_whole(
        &mut self,
        calls: &mut Vec<ToolCall>,
        whole: Vec<ToolCallDelta<'_>>,
        budget: &mut TextBudget,
    ) {
        for call in whole.into_iter().filter(ToolCallDelta::has_content) {
            self.begin(calls, call, budget);
        }
    }

    pub(super) fn clear(&mut self, calls: &mut Vec<ToolCall>, budget: &mut TextBudget) {
        self.calls.clear();
        for call in calls.drain(..) {
            budget.give_back(CALL_COST + call.id.len() + call.name.len() + call.arguments.len());
        }
    }

    fn begin(
        &mut self,
        calls: &mut Vec<ToolCall>,
        delta: ToolCallDelta<'_>,
        budget: &mut TextBudget,
    ) {
        if calls.len() >= MAX_CALLS || !budget.take(CALL_COST) {
            return budget.mark_cut();
        }
        calls.push(ToolCall::default());
        self.calls.push(TrackedCall {
            index: delta.index,
            ..TrackedCall::default()
        });
        self.extend(calls.len() - 1, calls, delta, budget);
    }

    fn extend(
        &mut self,
        at: usize,
        calls: &mut [ToolCall],
        delta: ToolCallDelta<'_>,
        budget: &mut TextBudget,
    ) {
        let (call, tracked) = (&mut calls[at], &mut self.calls[at]);
        if let (true, Some(id)) = (call.id.is_empty(), delta.id) {
            budget.append(&mut call.id, &id);
        }
        call.kind = delta.kind.unwrap_or(call.kind);
        if let Some(arguments) = &delta.function.arguments {
            if is_placeholder(call, arguments) {
                budget.give_back(call.arguments.len());
                call.arguments.clear();
                tracked.arguments_end = ValueEnd::default();
            }
            tracked.arguments_end.scan(arguments.as_bytes());
        }
        extend(budget, &mut call.name, &mut call.arguments, delta.function);
    }

    /// The call that a delta belongs to. The first `known` of the calls are older than its chunk.
    fn target(&self, calls: &[ToolCall], delta: &ToolCallDelta<'_>, known: usize) -> DeltaTarget {
        let filled = |text: Option<&str>| text.is_some_and(|text| !text.is_empty());
        let id = delta.id.as_deref().filter(|id| !id.is_empty());
        let name = delta
            .function
            .name
            .as_deref()
            .filter(|name| !name.is_empty());
        let arguments = delta.function.arguments.as_deref();
        let Some(at) = self.candidate(calls, delta, id, name) else {
            return DeltaTarget::NewCall;
        };
        let call = &calls[at];
        let other_id = id.is_some_and(|id| !call.id.is_empty() && call.id != id);
        let begins = match name {
            // A name under another id, while the candidate has nothing but an id.
            Some(_) if call.name.is_empty() => other_id,
            Some(name) if call.name != name => {
                // A name may come in pieces, before any argument.
                let is_continued = at < known
                    && !other_id
                    && delta.kind.is_none()
                    && call.arguments.is_empty()
                    && !filled(arguments);
                !is_continued
            }
            _ if !self.is_whole(at, call) => false,
            // Some servers send deltas without arguments after a whole call.
            _ if arguments.is_none_or(|more| more.trim().is_empty()) => name.is_some() && other_id,
            _ if id == Some(&*call.id) && arguments == Some(&*call.arguments) => {
                return DeltaTarget::Repetition;
            }
            // A delta without a name, an id or an index of its own is text that the model wrote after the arguments.
            None if id.is_none()
                && delta
                    .index
                    .is_none_or(|index| self.calls[at].index == Some(index)) =>
            {
                false
            }
            _ => true,
        };
        if begins {
            DeltaTarget::NewCall
        } else {
            DeltaTarget::Call(at)
        }
    }

    /// The call that a delta may continue: the one of its index, the one of its id, or the last one.
    fn candidate(
        &self,
        calls: &[ToolCall],
        delta: &ToolCallDelta<'_>,
        id: Option<&str>,
        name: Option<&str>,
    ) -> Option<usize> {
        let by_id = || id.and_then(|id| calls.iter().rposition(|call| call.id == id));
        let last = calls.len().checked_sub(1);
        let Some(index) = delta.index else {
            return by_id().or(last);
        };
        let has_index = |tracked: &TrackedCall| tracked.index == Some(index);
        let by_both = id.and_then(|id| {
            let mut both = self.calls.iter().zip(calls);
            both.rposition(|(tracked, call)| has_index(tracked) && call.id == id)
        });
        let by_index = || self.calls.iter().rposition(has_index);
        match by_both.or_else(by_index) {
            Some(at) => Some(at),
            // A new index begins a call, unless the delta has nothing but arguments.
            None if name.is_none() && delta.function.arguments.is_some() => by_id().or(last),
            None => None,
        }
    }

    /// Whether a call has a name and all of its arguments. Those of a custom tool are any text.
    fn is_whole(&self, at: usize, call: &ToolCall) -> bool {
        !call.name.is_empty()
            && call.kind == CallKind::Function
            && self.calls[at].arguments_end.is_over()
    }
}

enum DeltaTarget {
    /// The delta continues the call at this position.
    Call(usize),
    NewCall,
    /// The delta repeats a whole call.
    Repetition,
}

/// Whether the arguments of a call are a placeholder: some servers begin all calls with `{}`.
fn is_placeholder(call: &ToolCall, more: &str) -> bool {
    call.arguments == "{}" && more.starts_with('{')
}

/// Appends a delta to a name and its arguments. A name may come in pieces before any argument; some servers repeat it whole each time.
pub(super) fn extend(
    budget: &mut TextBudget,
    name: &mut String,
    arguments: &mut String,
    delta: FunctionDelta<'_>,
) {
    if let Some(more) = delta
        .name
        .filter(|more| arguments.is_empty() && **more != **name)
    {
        budget.append(name, &more);
    }
    if let Some(more) = delta.arguments {
        budget.append(arguments, &more);
    }
}
