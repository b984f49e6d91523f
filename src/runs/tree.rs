//! A run is over: the spans that could not be told before, because what they are shows only in the end. A lone agent is a root of its own;
//! a team is a workflow; what a tool was hangs under the tool.

use super::call::{Call, CallId, Name, NameRule};
use super::hash::{self, Hash, Map, Set};
use super::kind::Kind;
use super::known::Known;
use super::prompts::{Prompt, Prompts};
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
    let names = names(run, known, levels, prompts);
    for (at, found) in levels.iter().enumerate() {
        let level = &run.levels[at];
        if let Some(workflow) = found.workflow.filter(|_| !level.told) {
            let told = run.explicit_name.as_deref().filter(|_| at == 0);
            let operation = Operation {
                trace_id: run.trace_id,
                span_id: workflow,
                parent_span_id: found.above,
                start_ns: level.span.start_ns,
                end_ns: level.span.end_ns,
                meta: &run.meta,
                content: level.content,
                rule: told.is_none().then_some("team"),
                failure: failure(on_level(run, known, at)),
            };
            let name = told.unwrap_or_else(|| class(run, known, at, &names));
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
            meta: &run.meta,
            content: run.levels[society.level].content,
            rule: Some("society"),
            failure: None,
        };
        let span = operation.workflow("RoundRobinGroupChat.run_stream", None, None);
        spans.push((Of::Society(number), span));
    }
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
            failure: failure(turn.calls.iter().filter_map(|call| known.get(*call))),
        };
        let name = name.as_ref().map(|(name, _)| name.as_str());
        let (input, output) = (turn.input.as_deref(), turn.output.as_deref());
        spans.push((Of::Turn(number), operation.agent(name, input, output)));
    }
    spans
}

/// Who took each turn, and how it is known.
type Named = Option<(String, Option<NameRule>)>;

/// Names are known to later runs by the system messages of those who have them, unless somebody of that system message has another name.
fn learn(run: &Run, known: &Known, prompts: &mut Prompts) {
    let spoken = Spoken::of(run, known);
    for turn in &run.turns {
        if let (Some(name), Some(call)) = (spoken.name(turn), first(turn, known))
            && let Some(prompt) = call.known_by
        {
            prompts.learn(prompt, &name.text);
        }
    }
    for (prompt, heard) in &spoken.heard_by_prompt {
        let is_heard = |name: &str| hash::of(name) == *heard;
        if prompts.name(*prompt).is_some_and(is_heard) {
            prompts.unlearn(*prompt);
        }
    }
}

/// All calls on one level.
fn all_on_level<'k>(run: &Run, known: &'k Known, level: usize) -> impl Iterator<Item = &'k Call> {
    let calls = run.levels[level].calls.iter();
    calls.filter_map(|call| known.get(*call))
}

fn first<'k>(turn: &Turn, known: &'k Known) -> Option<&'k Call> {
    turn.calls.first().and_then(|call| known.get(*call))
}

/// Which names are whose, by all that a run showed.
struct Spoken<'r> {
    /// Names of others that the calls of a speaker, or of all with one system message, show.
    heard_by_speaker: Set<(usize, Hash)>,
    heard_by_prompt: Set<(Prompt, Hash)>,
    /// Who has which system message, and the reverse; both sorted, each pair once.
    names: Vec<(Prompt, &'r str)>,
    prompts: Vec<(&'r str, Option<Prompt>)>,
}

impl<'r> Spoken<'r> {
    /// What a lone agent without a name shows takes no memory.
    fn of(run: &'r Run, known: &Known) -> Self {
        let mut spoken = Spoken {
            heard_by_speaker: Set::default(),
            heard_by_prompt: Set::default(),
            names: Vec::new(),
            prompts: Vec::new(),
        };
        for turn in &run.turns {
            let speaker = turn.speaker.key();
            for call in turn.calls.iter().filter_map(|call| known.get(*call)) {
                for heard in &call.heard {
                    spoken.heard_by_speaker.insert((speaker, *heard));
                    if let Some(prompt) = call.known_by {
                        spoken.heard_by_prompt.insert((prompt, *heard));
                    }
                }
            }
        }
        for turn in &run.turns {
            if let (Some(name), Some(call)) = (spoken.name(turn), first(turn, known)) {
                spoken.prompts.push((&name.text, call.known_by));
                if let Some(prompt) = call.known_by {
                    spoken.names.push((prompt, &name.text));
                }
            }
        }
        spoken.names.sort_unstable();
        spoken.names.dedup();
        spoken.prompts.sort_unstable();
        spoken.prompts.dedup();
        spoken
    }

    /// Whether a speaker was shown this name as somebody else's.
    fn is_heard(&self, turn: &Turn, name: &str) -> bool {
        !self.heard_by_speaker.is_empty()
            && self
                .heard_by_speaker
                .contains(&(turn.speaker.key(), hash::of(name)))
    }

    /// The name of who took a turn, as it was learned, unless it is shown to be somebody else's.
    fn name(&self, turn: &'r Turn) -> Option<&'r Name> {
        let name = turn.speaker.name()?;
        (name.rule == NameRule::Told || !self.is_heard(turn, &name.text)).then_some(name)
    }

    /// The name that an agent of this run, or else of an earlier one, has with this system message, where only one has it.
    fn name_with(&self, prompt: Prompt, earlier: Option<&'r str>) -> Option<&'r str> {
        let start = self.names.partition_point(|(other, _)| *other < prompt);
        let mut names = self.names[start..]
            .iter()
            .take_while(|(other, _)| *other == prompt)
            .map(|(_, name)| *name);
        let name = names.next().or(earlier)?;
        let start = self.prompts.partition_point(|(other, _)| *other < name);
        let mut prompts = self.prompts[start..]
            .iter()
            .take_while(|(other, _)| *other == name);
        let is_shared = names.next().is_some()
            || self.heard_by_prompt.contains(&(prompt, hash::of(name)))
            || prompts.any(|(_, other)| *other != Some(prompt));
        (!is_shared).then_some(name)
    }
}

fn names(run: &Run, known: &Known, levels: &[Found], prompts: &Prompts) -> Vec<Named> {
    let spoken = Spoken::of(run, known);
    let mut tools: Map<usize, Option<String>> = Map::default();
    run.turns
        .iter()
        .map(|turn| {
            if let Some(told) = &turn.explicit_name {
                return Some((told.clone(), None));
            }
            if let Some(name) = spoken.name(turn) {
                let rule = Some(name.rule).filter(|rule| *rule != NameRule::Told);
                return Some((name.text.to_string(), rule));
            }
            let tool = tools
                .entry(turn.level)
                .or_insert_with(|| tool_of(run, known, turn.level));
            if let Some(tool) = tool.as_ref().filter(|tool| !spoken.is_heard(turn, tool)) {
                return Some((tool.clone(), Some(NameRule::AgentTool)));
            }
            let prompt = first(turn, known)?.known_by?;
            // Names are learned in teams; whoever speaks alone may be somebody else with the same instructions.
            let is_in_team = levels[turn.level].workflow.is_some();
            let earlier = prompts.name(prompt).filter(|_| is_in_team);
            let name = spoken.name_with(prompt, earlier)?;
            Some((name.to_owned(), Some(NameRule::SystemMessage)))
        })
        .collect()
}

/// The tool that an agent alone on its level is: `AgentTool` takes its agent's name.
fn tool_of(run: &Run, known: &Known, level: usize) -> Option<String> {
    let (call, tool) = run.levels[level].asked_by?;
    let mut on_level = all_on_level(run, known, level);
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
                .meta
                .identity
                .parent
                .filter(|_| run.meta.identity.trace.is_some());
            let above = level.above.or_else(|| parent.filter(|_| team && at == 0));
            Found {
                workflow: team.then_some(level.span_id),
                above,
            }
        })
        .collect()
}

/// The calls on one level; a client used by itself says nothing of it.
fn on_level<'k>(run: &Run, known: &'k Known, level: usize) -> impl Iterator<Item = &'k Call> {
    all_on_level(run, known, level).filter(|call| call.kind != Kind::Bare)
}

/// Why the last of `calls` did not go well: then what they were for came to nothing.
fn failure<'k>(calls: impl Iterator<Item = &'k Call>) -> Option<&'k str> {
    let ended = calls.filter(|call| call.ended_ns.is_some());
    let last = ended.max_by_key(|call| call.ended_ns)?;
    last.reply.failure.as_deref()
}

fn is_team(run: &Run, known: &Known, level: usize) -> bool {
    let calls = || on_level(run, known, level);
    let told = level == 0 && run.explicit_name.is_some();
    let who = |call: &Call| match call.speaker.name() {
        Some(name) => hash::of(&name.text),
        None => call.system,
    };
    let mut agents = calls().filter(|call| call.kind == Kind::Agent).map(who);
    let several = agents
        .next()
        .is_some_and(|first| agents.any(|other| other != first));
    told || several
        || calls().any(|call| call.kind != Kind::Agent || !call.heard.is_empty() || call.hands_over)
}

/// The team's class and method, by what shows on the wire; `GroupChat` where several fit.
fn class(run: &Run, known: &Known, level: usize, names: &[Named]) -> &'static str {
    let calls: Vec<&Call> = on_level(run, known, level)
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
        .map(|turn| (&run.turns[*turn], &names[*turn]))
        .filter(|(turn, _)| turn.society.is_none())
        .collect();
    turns.sort_by_key(|(turn, _)| turn.span.start_ns);
    // Agents of one system message are told apart by their names.
    let speakers: Vec<_> = turns
        .iter()
        .map(|(turn, name)| match name {
            Some((name, _)) => Some(hash::of(name)),
            None => first(turn, known).map(|call| call.system),
        })
        .collect();
    let members = speakers.iter().collect::<Set<_>>().len();
    let in_rounds = speakers
        .iter()
        .zip(speakers.iter().skip(members))
        .all(|(before, after)| before == after);
    // As long as nobody has spoken again, any team may have had them speak in this order.
    if in_rounds && speakers.len() > members {
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
                    meta: &run.meta,
                    content: call.content,
                    rule: Some("tool_unanswered"),
                    failure: None,
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
