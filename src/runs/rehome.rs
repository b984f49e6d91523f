//! A tool's result came although the agent that was taken for it is still at work: of several tools that were given the same task at once,
//! it is another one. As long as nothing of that agent was told, it can move there.

use super::call::CallId;
use super::known::Key;
use super::run::{Level, Turn};
use super::scope::Scope;
use crate::span::operation::{inner_workflow_id, tool_id};

impl Scope {
    /// Moves the one call that is under way within this tool to another tool with the same task that has not answered.
    pub(super) fn move_on(&mut self, asked_by: CallId, tool: usize) {
        if let Some(inner) = self.under_way(asked_by, tool)
            && let Some(started_ns) = self.known.get(inner).map(|call| call.started_ns)
            && let Some((other, other_tool)) = self.same_task(asked_by, tool, started_ns)
        {
            self.move_to(inner, other, other_tool);
        }
    }

    /// The call within a tool, where there is but one, and it is under way.
    fn under_way(&self, asked_by: CallId, tool: usize) -> Option<CallId> {
        let asking = self.known.get(asked_by)?;
        let level = asking.reply.tools.get(tool)?.level?;
        let run = self.runs.get(&asking.run)?;
        let [only] = run.levels.get(level)?.calls[..] else {
            return None;
        };
        let call = self.known.get(only)?;
        (call.ended_ns.is_none() && call.turn.is_some()).then_some(only)
    }

    /// Another tool that had been given the same task by then and has not answered, one without an agent before one with.
    fn same_task(&self, asked_by: CallId, tool: usize, started_ns: u64) -> Option<(CallId, usize)> {
        let passed = &self.known.get(asked_by)?.reply.tools.get(tool)?.passed;
        let key = Key::Passes(passed.first()?.first_line);
        self.known
            .found(key, started_ns)
            .filter(|call| !call.answered)
            .take_while(|call| self.known.work.spend_on_ids(call.reply.tools.len()))
            .flat_map(|call| {
                call.reply
                    .tools
                    .iter()
                    .enumerate()
                    .map(move |(at, other)| (call.id, at, other))
            })
            .filter(|(call, at, other)| {
                (*call, *at) != (asked_by, tool) && !other.told && other.passed == *passed
            })
            .min_by_key(|(call, _, other)| (other.level.is_some(), *call))
            .map(|(call, at, _)| (call, at))
    }

    fn move_to(&mut self, inner: CallId, other: CallId, tool: usize) {
        let Some((from, level, turn, exchange)) = self
            .known
            .get(inner)
            .and_then(|call| Some((call.run, call.level, call.turn?, call.exchange)))
        else {
            return;
        };
        let target = self.known.get(other).map(|call| (call.run, call.exchange));
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
        old.told = true;
        let moved = Turn {
            speaker: old.speaker.clone(),
            explicit_name: old.explicit_name.take(),
            calls: std::mem::take(&mut old.calls),
            input: old.input.take(),
            output: None,
            society: None,
            told: false,
            ..*old
        };
        let Some(to) = self.runs.get_mut(&to) else {
            return;
        };
        let asked = self.known.get_mut(other);
        let asked = asked.and_then(|call| call.reply.tools.get_mut(tool));
        let before = asked.as_ref().and_then(|asked| asked.level);
        let level = before.unwrap_or_else(|| {
            to.levels.push(Level {
                asked_by: Some((other, tool)),
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
        if std::mem::replace(&mut to.closed, false) {
            self.open += 1;
        }
        let (run, turn) = (to.id, to.turns.len() - 1);
        if let Some(call) = self.known.get_mut(inner) {
            (call.run, call.level, call.turn) = (run, level, Some(turn));
            call.ambiguous = true;
        }
    }
}

/// Removes the one that is looked for, which came lately.
fn remove_last<T: PartialEq>(from: &mut Vec<T>, one: &T) {
    if let Some(place) = from.iter().rposition(|other| other == one) {
        from.remove(place);
    }
}
