//! The spans of a run that is over: agents, workflows, tools without an answer. What they are shows only in the end. A lone agent is a root of its
//! own, a team is a workflow, and the agent or team that a tool is hangs under the tool.

use super::agent_names::{NameLesson, RunNames};
use super::call::{Call, CallId};
use super::call_index::CallIndex;
use super::caller_kind::CallerKind;
use super::run::{Run, TimeRange};
use super::speaker::NameRule;
use super::text_hash::{self, Map, Set};
use super::turn_names::{SpokenNames, TurnName, all_on_level, first_call};
use crate::span::operation::{Operation, ToolOutcome, tool_id};
use crate::span::{Span, SpanId};

/// The outcome of a level.
#[derive(Clone, Copy, Debug)]
struct LevelOutcome {
    /// Its workflow's span, where it is a team.
    workflow: Option<SpanId>,
    /// The span above it: a tool's, or one that the program named.
    above: Option<SpanId>,
}

/// The part of a run that a span is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpanOwner {
    Level(usize),
    Society(usize),
    Turn(usize),
}

/// The spans of `run` that were not emitted before. The run teaches its names.
pub(super) fn close(run: &mut Run, index: &mut CallIndex, mut lesson: NameLesson<'_>) -> Vec<Span> {
    extend(run, index);
    let mut spans = Vec::new();
    tools(run, index, &mut spans);
    let spoken = SpokenNames::of(run, index);
    spoken.teach(run, index, &mut lesson);
    let levels = levels(run, index);
    let operations = operations(run, index, &spoken, lesson.names(), &levels);
    spans.extend(operations.into_iter().map(|(_, span)| span));
    for (level, outcome) in run.levels.iter_mut().zip(&levels) {
        level.emitted |= outcome.workflow.is_some();
    }
    for society in &mut run.societies {
        society.emitted = true;
    }
    for turn in &mut run.turns {
        turn.emitted = true;
    }
    run.is_lone |= levels[0].workflow.is_none();
    spans
}

/// Workflows and agents of a run that is still open: the spans that [`close`] would emit now.
pub(super) fn so_far(run: &Run, index: &CallIndex, names: RunNames<'_>) -> Vec<(SpanOwner, Span)> {
    let mut run = run.clone();
    extend(&mut run, index);
    let levels = levels(&run, index);
    operations(&run, index, &SpokenNames::of(&run, index), names, &levels)
}

/// Workflows and agents that were not emitted before.
fn operations(
    run: &Run,
    index: &CallIndex,
    spoken: &SpokenNames<'_>,
    names: RunNames<'_>,
    levels: &[LevelOutcome],
) -> Vec<(SpanOwner, Span)> {
    let mut spans = Vec::new();
    let is_team = |level: usize| levels[level].workflow.is_some();
    let names = spoken.of_turns(run, index, is_team, names);
    for (at, outcome) in levels.iter().enumerate() {
        let level = &run.levels[at];
        if let Some(workflow) = outcome.workflow.filter(|_| !level.emitted) {
            let explicit = run.explicit_name.as_deref().filter(|_| at == 0);
            let operation = Operation {
                trace_id: run.trace_id,
                span_id: workflow,
                parent_span_id: outcome.above,
                start_ns: level.span.start_ns,
                end_ns: level.span.end_ns,
                meta: &run.meta,
                content: level.content,
                rule: explicit.is_none().then_some("team"),
                failure: failure(on_level(run, index, at)),
            };
            let name = explicit.unwrap_or_else(|| class(run, index, at, &names));
            let (input, output) = (level.input.as_deref(), level.output.as_deref());
            spans.push((
                SpanOwner::Level(at),
                operation.workflow(name, input, output),
            ));
        }
    }
    let societies: Set<usize> = run.turns.iter().filter_map(|turn| turn.society).collect();
    for (number, society) in run.societies.iter().enumerate() {
        if society.emitted || !societies.contains(&number) {
            continue;
        }
        let level = &levels[society.level];
        let operation = Operation {
            trace_id: run.trace_id,
            span_id: society.span_id,
            parent_span_id: level.workflow.or(level.above),
            start_ns: society.span.start_ns,
            end_ns: society.span.end_ns,
            meta: &run.meta,
            content: run.levels[society.level].content,
            rule: Some("society"),
            failure: None,
        };
        let span = operation.workflow("RoundRobinGroupChat.run_stream", None, None);
        spans.push((SpanOwner::Society(number), span));
    }
    for (number, (turn, name)) in run.turns.iter().zip(names).enumerate() {
        if turn.emitted {
            continue;
        }
        let level = levels[turn.level];
        let society = turn.society.map(|society| run.societies[society].span_id);
        let rule = match &name {
            Some((_, rule)) => rule.map(NameRule::word),
            None => Some("turn"),
        };
        let explicit_parent = turn.explicit_parent.filter(|_| turn.level == 0);
        let operation = Operation {
            trace_id: run.trace_id,
            span_id: turn.span_id,
            parent_span_id: society
                .or(level.workflow)
                .or(explicit_parent)
                .or(level.above),
            start_ns: turn.span.start_ns,
            end_ns: turn.span.end_ns,
            meta: &run.meta,
            content: turn.content,
            rule,
            failure: failure(turn.calls.iter().filter_map(|call| index.get(*call))),
        };
        let name = name.as_ref().map(|(name, _)| name.as_str());
        let (input, output) = (turn.input.as_deref(), turn.output.as_deref());
        spans.push((
            SpanOwner::Turn(number),
            operation.agent(name, input, output),
        ));
    }
    spans
}

/// The outcome of each level.
fn levels(run: &Run, index: &CallIndex) -> Vec<LevelOutcome> {
    (0..run.levels.len())
        .map(|at| {
            let level = &run.levels[at];
            let is_first_look = !(level.emitted || at == 0 && run.is_lone);
            let team = level.emitted || level.is_parent || is_first_look && is_team(run, index, at);
            let parent = run
                .meta
                .identity
                .parent
                .filter(|_| run.meta.identity.trace.is_some());
            let above = level.above.or_else(|| parent.filter(|_| team && at == 0));
            LevelOutcome {
                workflow: team.then_some(level.span_id),
                above,
            }
        })
        .collect()
}

/// The calls on one level, without clients used by themselves.
fn on_level<'k>(run: &Run, index: &'k CallIndex, level: usize) -> impl Iterator<Item = &'k Call> {
    all_on_level(run, index, level).filter(|call| call.kind != CallerKind::Bare)
}

/// The failure of the last of `calls`: then all that they belong to failed.
fn failure<'k>(calls: impl Iterator<Item = &'k Call>) -> Option<&'k str> {
    let ended = calls.filter(|call| call.ended_ns.is_some());
    let last = ended.max_by_key(|call| call.ended_ns)?;
    last.reply.failure.as_deref()
}

fn is_team(run: &Run, index: &CallIndex, level: usize) -> bool {
    let calls = || on_level(run, index, level);
    let is_named = level == 0 && run.explicit_name.is_some();
    let who = |call: &Call| match call.speaker.name() {
        Some(name) => text_hash::of(&name.text),
        None => call.system,
    };
    let mut agents = calls()
        .filter(|call| call.kind == CallerKind::Agent)
        .map(who);
    let several = agents
        .next()
        .is_some_and(|first| agents.any(|other| other != first));
    is_named
        || several
        || calls()
            .any(|call| call.kind != CallerKind::Agent || !call.heard.is_empty() || call.hands_over)
}

/// The team's class and method, by what shows on the wire; `GroupChat` where several fit.
fn class(run: &Run, index: &CallIndex, level: usize, names: &[TurnName]) -> &'static str {
    let calls: Vec<&Call> = on_level(run, index, level)
        .filter(|call| {
            call.turn
                .is_none_or(|turn| run.turns[turn].society.is_none())
        })
        .collect();
    let any = |kind| calls.iter().any(|call| call.kind == kind);
    if any(CallerKind::Selector) {
        return "SelectorGroupChat.run_stream";
    }
    if any(CallerKind::Orchestrator) {
        return "MagenticOneGroupChat.run_stream";
    }
    if calls.iter().any(|call| call.hands_over) {
        return "Swarm.run_stream";
    }
    // Calls of different turns at once: only a graph does that.
    let mut busy: Option<(u64, Option<usize>)> = None;
    let mut by_start: Vec<&&Call> = calls.iter().collect();
    by_start.sort_by_key(|call| call.started_ns);
    for call in by_start {
        if busy.is_some_and(|(until, turn)| call.started_ns < until && call.turn != turn) {
            return "GraphFlow.run_stream";
        }
        let until = call.ended_ns.unwrap_or(call.started_ns);
        if busy.is_none_or(|(before, _)| before < until) {
            busy = Some((until, call.turn));
        }
    }
    let turns = run.levels[level].turns.iter();
    let mut turns: Vec<_> = turns
        .map(|turn| (&run.turns[*turn], &names[*turn]))
        .filter(|(turn, _)| turn.society.is_none())
        .collect();
    turns.sort_by_key(|(turn, _)| turn.span.start_ns);
    // Agents of one system message are told apart by their names.
    let speakers: Vec<_> = turns
        .iter()
        .map(|(turn, name)| match name {
            Some((name, _)) => Some(text_hash::of(name)),
            None => first_call(turn, index).map(|call| call.system),
        })
        .collect();
    let members = speakers.iter().collect::<Set<_>>().len();
    let in_rounds = speakers
        .iter()
        .zip(speakers.iter().skip(members))
        .all(|(before, after)| before == after);
    // Until an agent speaks again, any team may have this order.
    if in_rounds && speakers.len() > members {
        "RoundRobinGroupChat.run_stream"
    } else {
        "GroupChat.run_stream"
    }
}

/// Tools whose results no request showed.
fn tools(run: &mut Run, index: &mut CallIndex, spans: &mut Vec<Span>) {
    let within: Map<(CallId, usize), TimeRange> = run
        .levels
        .iter()
        .filter_map(|level| Some((level.requested_by?, level.span)))
        .collect();
    for id in &run.calls {
        let Some(call) = index.get_mut(*id) else {
            continue;
        };
        let (Some(turn), Some(ended_ns)) = (call.turn, call.ended_ns) else {
            continue;
        };
        for (number, requested) in call.reply.tools.iter_mut().enumerate() {
            if std::mem::replace(&mut requested.emitted, true) {
                continue;
            }
            let inner = within
                .get(&(*id, number))
                .copied()
                .unwrap_or(TimeRange::NOTHING);
            let end_ns = ended_ns.max(inner.end_ns);
            run.turns[turn].span.cover(TimeRange {
                start_ns: ended_ns,
                end_ns,
            });
            spans.push(
                Operation {
                    trace_id: run.trace_id,
                    span_id: tool_id(call.exchange, number),
                    parent_span_id: Some(run.turns[turn].span_id),
                    start_ns: ended_ns,
                    end_ns,
                    meta: &run.meta,
                    content: call.content,
                    rule: Some("tool_unanswered"),
                    failure: None,
                }
                .tool(
                    &requested.call.name,
                    &requested.call.arguments,
                    &ToolOutcome::Unseen,
                ),
            );
        }
    }
}

/// Extends each parent over its children: tools' turns over inner levels, levels over turns, the inmost first.
fn extend(run: &mut Run, index: &CallIndex) {
    for at in (0..run.levels.len()).rev() {
        let level = &mut run.levels[at];
        for turn in &level.turns {
            level.span.cover(run.turns[*turn].span);
        }
        let span = level.span;
        if let Some((call, _)) = level.requested_by
            && let Some(turn) = index.get(call).and_then(|call| call.turn)
        {
            run.turns[turn].span.cover(span);
        }
    }
    for turn in &run.turns {
        if let Some(society) = turn.society {
            run.societies[society].span.cover(turn.span);
        }
    }
}
