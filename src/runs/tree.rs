//! A run is over: the spans that could not be told before, because what they are shows only in the end. A lone agent is a root of its own;
//! a team is a workflow; what a tool was hangs under the tool.

use super::call::{Call, CallId, NameRule};
use super::hash::{Map, Set};
use super::kind::Kind;
use super::known::Known;
use super::prompts::Prompts;
use super::run::{Extent, Run, Turn};
use super::tool::takes_a_task;
use crate::span::operation::{Came, Operation, tool_id};
use crate::span::{Span, SpanId};

/// What a level turned out to be.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// Its workflow's span, where it is a team.
    workflow: Option<SpanId>,
    /// The span above it: a tool's, or one that the program named.
    above: Option<SpanId>,
}

/// Of what a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Level(usize),
    Society(usize),
    Turn(usize),
}

/// The spans of `run` that were not told before.
pub(super) fn close(run: &mut Run, known: &mut Known, prompts: &mut Prompts) -> Vec<Span> {
    extend(run, known);
    learn(run, known, prompts);
    let mut spans = Vec::new();
    tools(run, known, &mut spans);
    let levels = levels(run, known);
    let untold = operations(run, known, prompts, &levels);
    spans.extend(untold.into_iter().map(|(_, span)| span));
    for (level, found) in run.levels.iter_mut().zip(&levels) {
        level.told |= found.workflow.is_some();
    }
    for society in &mut run.societies {
        society.told = true;
    }
    for turn in &mut run.turns {
        turn.told = true;
    }
    run.is_lone |= levels[0].workflow.is_none();
    spans
}

/// Workflows and agents of a run that is still open, by what is known of it now: what [`close`] would give, which is not told by that.
pub(super) fn so_far(run: &Run, known: &Known, prompts: &Prompts) -> Vec<(Of, Span)> {
    let mut run = run.clone();
    extend(&mut run, known);
    let levels = levels(&run, known);
    operations(&run, known, prompts, &levels)
}

/// Workflows and agents that were not told before.
fn operations(run: &Run, known: &Known, prompts: &Prompts, levels: &[Found]) -> Vec<(Of, Span)> {
    let mut spans = Vec::new();
    for (at, found) in levels.iter().enumerate() {
        let level = &run.levels[at];
        if let Some(workflow) = found.workflow.filter(|_| !level.told) {
            let told = run.told_name.as_deref().filter(|_| at == 0);
            let operation = Operation {
                trace_id: run.trace_id,
                span_id: workflow,
                parent_span_id: found.above,
                start_ns: level.span.start_ns,
                end_ns: level.span.end_ns,
                opening: &run.opening,
                content: level.content,
                rule: told.is_none().then_some("team"),
            };
            let name = told.unwrap_or_else(|| class(run, known, at));
            let (input, output) = (level.input.as_deref(), level.output.as_deref());
            spans.push((Of::Level(at), operation.workflow(name, input, output)));
        }
    }
    let societies: Set<usize> = run.turns.iter().filter_map(|turn| turn.society).collect();
    for (number, society) in run.societies.iter().enumerate() {
        if society.told || !societies.contains(&number) {
            continue;
        }
        let level = &levels[society.level];
        let operation = Operation {
            trace_id: run.trace_id,
            span_id: society.span_id,
            parent_span_id: level.workflow.or(level.above),
            start_ns: society.span.start_ns,
            end_ns: society.span.end_ns,
            opening: &run.opening,
            content: run.levels[society.level].content,
            rule: Some("society"),
        };
        let span = operation.workflow("RoundRobinGroupChat.run_stream", None, None);
        spans.push((Of::Society(number), span));
    }
    let names = names(run, known, levels, prompts);
    for (number, (turn, name)) in run.turns.iter().zip(names).enumerate() {
        if turn.told {
            continue;
        }
        let level = levels[turn.level];
        let society = turn.society.map(|society| run.societies[society].span_id);
        let rule = match &name {
            Some((_, rule)) => rule.map(NameRule::word),
            None => Some("turn"),
        };
        let told_parent = turn.told_parent.filter(|_| turn.level == 0);
        let operation = Operation {
            trace_id: run.trace_id,
            span_id: turn.span_id,
            parent_span_id: society.or(level.workflow).or(told_parent).or(level.above),
            start_ns: turn.span.start_ns,
            end_ns: turn.span.end_ns,
            opening: &run.opening,
            content: turn.content,
            rule,
        };
        let name = name.as_ref().map(|(name, _)| name.as_str());
        let (input, output) = (turn.input.as_deref(), turn.output.as_deref());
        spans.push((Of::Turn(number), operation.agent(name, input, output)));
    }
    spans
}

/// Who took each turn, and how it is known.
type Named = Option<(String, Option<NameRule>)>;

/// Names are known to later runs by the system messages of those who have them.
fn learn(run: &Run, known: &Known, prompts: &mut Prompts) {
    for turn in &run.turns {
        if let (Some(name), Some(call)) = (turn.speaker.name(), first(turn, known))
            && let Some(prompt) = call.known_by
        {
            prompts.learn(prompt, &name.text);
        }
    }
}

/// The calls of one level.
fn on_level<'k>(run: &Run, known: &'k Known, level: usize) -> impl Iterator<Item = &'k Call> {
    let calls = run.levels[level].calls.iter();
    calls.filter_map(|call| known.get(*call))
}

fn first<'k>(turn: &Turn, known: &'k Known) -> Option<&'k Call> {
    turn.calls.first().and_then(|call| known.get(*call))
}

fn names(run: &Run, known: &Known, levels: &[Found], prompts: &Prompts) -> Vec<Named> {
    // Of one system message, unless several have it.
    let mut by_system: Map<u64, Set<&str>> = Map::default();
    for turn in &run.turns {
        if let (Some(name), Some(call)) = (turn.speaker.name(), first(turn, known)) {
            by_system.entry(call.system).or_default().insert(&name.text);
        }
    }
    let mut tools: Map<usize, Named> = Map::default();
    run.turns
        .iter()
        .map(|turn| {
            if let Some(told) = &turn.told_name {
                return Some((told.clone(), None));
            }
            if let Some(name) = turn.speaker.name() {
                let rule = Some(name.rule).filter(|rule| *rule != NameRule::Told);
                return Some((name.text.to_string(), rule));
            }
            let call = first(turn, known)?;
            let tool = tools.entry(turn.level).or_insert_with(|| {
                let tool = tool_of(run, known, turn.level)?;
                Some((tool, Some(NameRule::AgentTool)))
            });
            if tool.is_some() {
                return tool.clone();
            }
            let same = by_system.get(&call.system);
            let name = match same.map(|names| (names.len(), names.iter().next())) {
                Some((1, Some(only))) => (*only).to_owned(),
                Some(_) => return None,
                // Names are learned in teams; whoever speaks alone may be somebody else with the same instructions.
                None => {
                    levels[turn.level].workflow?;
                    prompts.name(call.known_by?)?.to_owned()
                }
            };
            Some((name, Some(NameRule::SystemMessage)))
        })
        .collect()
}

/// The tool that an agent alone on its level is: `AgentTool` takes its agent's name.
fn tool_of(run: &Run, known: &Known, level: usize) -> Option<String> {
    let (call, tool) = run.levels[level].asked_by?;
    let mut on_level = on_level(run, known, level);
    let first = on_level.next()?;
    let alone = first.kind == Kind::Agent
        && on_level.all(|call| call.kind == Kind::Agent && call.system == first.system);
    let asked = known.get(call)?.reply.tools.get(tool)?;
    (alone && takes_a_task(&asked.call.arguments)).then(|| asked.call.name.clone())
}

/// What each level turned out to be.
fn levels(run: &Run, known: &Known) -> Vec<Found> {
    (0..run.levels.len())
        .map(|at| {
            let level = &run.levels[at];
            let is_first_look = !(level.told || at == 0 && run.is_lone);
            let team = level.told || level.is_parent || is_first_look && is_team(run, known, at);
            let parent = run
                .opening
                .identity
                .parent
                .filter(|_| run.opening.identity.trace.is_some());
            let above = level.above.or_else(|| parent.filter(|_| team && at == 0));
            Found {
                workflow: team.then_some(level.span_id),
                above,
            }
        })
        .collect()
}

fn is_team(run: &Run, known: &Known, level: usize) -> bool {
    let calls = || on_level(run, known, level).filter(|call| call.kind != Kind::Bare);
    let told = level == 0 && run.told_name.is_some();
    let who = |call: &Call| match call.speaker.name() {
        Some(name) => super::hash::of(&name.text),
        None => call.system,
    };
    let mut agents = calls().filter(|call| call.kind == Kind::Agent).map(who);
    let several = agents
        .next()
        .is_some_and(|first| agents.any(|other| other != first));
    told || several
        || calls().any(|call| call.kind != Kind::Agent || call.hears_others || call.hands_over)
}

/// The team's class and method, by what shows on the wire; `GroupChat` where several fit.
fn class(run: &Run, known: &Known, level: usize) -> &'static str {
    let calls: Vec<&Call> = on_level(run, known, level)
        .filter(|call| call.kind != Kind::Bare)
        .filter(|call| {
            call.turn
                .is_none_or(|turn| run.turns[turn].society.is_none())
        })
        .collect();
    let any = |kind| calls.iter().any(|call| call.kind == kind);
    if any(Kind::Selector) {
        return "SelectorGroupChat.run_stream";
    }
    if any(Kind::Orchestrator) {
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
        .map(|turn| &run.turns[*turn])
        .filter(|turn| turn.society.is_none())
        .collect();
    turns.sort_by_key(|turn| turn.span.start_ns);
    let speakers: Vec<_> = turns
        .iter()
        .map(|turn| {
            let system = turn.calls.first().and_then(|call| known.get(*call));
            system.map(|call| call.system)
        })
        .collect();
    let members = speakers.iter().collect::<Set<_>>().len();
    let in_rounds = speakers
        .iter()
        .zip(speakers.iter().skip(members))
        .all(|(before, after)| before == after);
    if in_rounds {
        "RoundRobinGroupChat.run_stream"
    } else {
        "GroupChat.run_stream"
    }
}

/// Tools whose results were not seen.
fn tools(run: &mut Run, known: &mut Known, spans: &mut Vec<Span>) {
    let within: Map<(CallId, usize), Extent> = run
        .levels
        .iter()
        .filter_map(|level| Some((level.asked_by?, level.span)))
        .collect();
    for id in &run.calls {
        let Some(call) = known.get_mut(*id) else {
            continue;
        };
        let (Some(turn), Some(ended_ns)) = (call.turn, call.ended_ns) else {
            continue;
        };
        for (number, asked) in call.reply.tools.iter_mut().enumerate() {
            if std::mem::replace(&mut asked.told, true) {
                continue;
            }
            let inner = within
                .get(&(*id, number))
                .copied()
                .unwrap_or(Extent::NOTHING);
            let end_ns = ended_ns.max(inner.end_ns);
            run.turns[turn].span.cover(Extent {
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
                    opening: &run.opening,
                    content: call.content,
                    rule: Some("tool_unanswered"),
                }
                .tool(&asked.call.name, &asked.call.arguments, &Came::Nothing),
            );
        }
    }
}

/// What happened within something happened during it: inner levels within their tools' turns, turns within levels, the inmost first.
fn extend(run: &mut Run, known: &Known) {
    for at in (0..run.levels.len()).rev() {
        let level = &mut run.levels[at];
        for turn in &level.turns {
            level.span.cover(run.turns[*turn].span);
        }
        let span = level.span;
        if let Some((call, _)) = level.asked_by
            && let Some(turn) = known.get(call).and_then(|call| call.turn)
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
