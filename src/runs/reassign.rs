//! Reassigns an agent to another tool: a tool's result came although the agent that was attributed to it is still at work. Of several tools that
//! were given the same task at once, the agent is another one. It can move as long as none of its spans was emitted.

use super::call::CallId;
use super::call_index::IndexKey;
use super::conversation::Conversation;
use super::run::{Level, Turn};
use super::work_budget::WorkBudget;
use crate::span::operation::{inner_workflow_id, tool_id};

impl Conversation {
    /// Moves the only call within this tool, if it is under way, to another tool with the same task that has not answered.
    pub(super) fn reassign_tool_call(
        &mut self,
        requested_by: CallId,
        tool: usize,
        work: &WorkBudget,
    ) {
        if let Some(inner) = self.only_call(requested_by, tool)
            && let Some(started_ns) = self.index.get(inner).map(|call| call.started_ns)
            && let Some((other, other_tool)) = self.same_task(requested_by, tool, started_ns, work)
        {
            self.move_to(inner, other, other_tool);
        }
    }

    /// The call within a tool, where there is but one, and it is under way.
    fn only_call(&self, requested_by: CallId, tool: usize) -> Option<CallId> {
        let asking = self.index.get(requested_by)?;
        let level = asking.reply.tools.get(tool)?.level?;
        let run = self.runs.get(&asking.run)?;
        let [only] = run.levels.get(level)?.calls[..] else {
            return None;
        };
        let call = self.index.get(only)?;
        (call.ended_ns.is_none() && call.turn.is_some()).then_some(only)
    }

    /// Another tool that had been given the same task at `started_ns` and has not answered. Tools without an agent come first.
    fn same_task(
        &self,
        requested_by: CallId,
        tool: usize,
        started_ns: u64,
        work: &WorkBudget,
    ) -> Option<(CallId, usize)> {
        let passed = &self.index.get(requested_by)?.reply.tools.get(tool)?.passed;
        let key = IndexKey::ToolArgument(passed.first()?.first_line);
        self.index
            .find(key, started_ns, work)
            .filter(|call| !call.answered)
            .take_while(|call| work.spend_on_ids(call.reply.tools.len()))
            .flat_map(|call| {
                call.reply
                    .tools
                    .iter()
                    .enumerate()
                    .map(move |(at, other)| (call.id, at, other))
            })
            .filter(|(call, at, other)| {
                (*call, *at) != (requested_by, tool) && !other.emitted && other.passed == *passed
            })
            .min_by_key(|(call, _, other)| (other.level.is_some(), *call))
            .map(|(call, at, _)| (call, at))
    }

    fn move_to(&mut self, inner: CallId, other: CallId, tool: usize) {
        let Some((from, level, turn, exchange)) = self
            .index
            .get(inner)
            .and_then(|call| Some((call.run, call.level, call.turn?, call.exchange)))
        else {
            return;
        };
        let target = self.index.get(other).map(|call| (call.run, call.exchange));
        let Some((to, asking)) = target.filter(|(to, _)| self.runs.contains_key(to)) else {
            return;
        };
        let Some(from) = self.runs.get_mut(&from) else {
            return;
        };
        remove_last(&mut from.calls, &inner);
        remove_last(&mut from.levels[level].calls, &inner);
        remove_last(&mut from.exchanges, &exchange);
        from.in_flight -= 1;
        let old = &mut from.turns[turn];
        old.emitted = true;
        let moved = Turn {
            speaker: old.speaker.clone(),
            explicit_name: old.explicit_name.take(),
            calls: std::mem::take(&mut old.calls),
            input: old.input.take(),
            output: None,
            society: None,
            emitted: false,
            ..*old
        };
        let Some(to) = self.runs.get_mut(&to) else {
            return;
        };
        let asked = self.index.get_mut(other);
        let asked = asked.and_then(|call| call.reply.tools.get_mut(tool));
        let before = asked.as_ref().and_then(|asked| asked.level);
        let level = before.unwrap_or_else(|| {
            to.levels.push(Level {
                requested_by: Some((other, tool)),
                above: Some(tool_id(asking, tool)),
                input: moved.input.clone(),
                ..Level::of(inner_workflow_id(asking, Some(tool)))
            });
            to.levels.len() - 1
        });
        if let Some(asked) = asked {
            asked.level = Some(level);
        }
        to.levels[level].turns.push(to.turns.len());
        to.turns.push(Turn { level, ..moved });
        to.levels[level].calls.push(inner);
        to.calls.push(inner);
        to.exchanges.push(exchange);
        to.in_flight += 1;
        self.open += usize::from(to.state.reopen());
        let (run, turn) = (to.id, to.turns.len() - 1);
        if let Some(call) = self.index.get_mut(inner) {
            (call.run, call.level, call.turn) = (run, level, Some(turn));
            call.ambiguous = true;
        }
    }
}

/// Removes `one`, which is near the end.
fn remove_last<T: PartialEq>(from: &mut Vec<T>, one: &T) {
    if let Some(place) = from.iter().rposition(|other| other == one) {
        from.remove(place);
    }
}
