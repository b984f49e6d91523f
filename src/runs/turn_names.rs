//! The names of a run's agents, by all that its requests show of them.

use super::agent_names::{NameLesson, PromptHash, RunNames};
use super::autogen::takes_a_task;
use super::call::Call;
use super::call_index::CallIndex;
use super::caller_kind::CallerKind;
use super::run::{Run, Turn};
use super::speaker::{AgentName, NameRule};
use super::text_hash::{self, Hash, Map, Set};

/// The name of a turn's agent, and how it was learned unless a header gives it.
pub(super) type TurnName = Option<(String, Option<NameRule>)>;

/// All calls on one level.
pub(super) fn all_on_level<'k>(
    run: &Run,
    index: &'k CallIndex,
    level: usize,
) -> impl Iterator<Item = &'k Call> {
    let calls = run.levels[level].calls.iter();
    calls.filter_map(|call| index.get(*call))
}

/// The first call of a turn.
pub(super) fn first_call<'k>(turn: &Turn, index: &'k CallIndex) -> Option<&'k Call> {
    turn.calls.first().and_then(|call| index.get(*call))
}

/// The names that the requests of a run show, and whose they are.
pub(super) struct SpokenNames<'r> {
    /// The names of other agents in the calls of a speaker, and of all agents with one system message.
    heard_by_speaker: Set<(usize, Hash)>,
    heard_by_prompt: Set<(PromptHash, Hash)>,
    /// The names of each system message, and the reverse; both sorted, each pair once.
    by_prompt: Vec<(PromptHash, &'r str)>,
    by_name: Vec<(&'r str, Option<PromptHash>)>,
}

impl<'r> SpokenNames<'r> {
    /// A lone agent without a name costs no memory.
    pub(super) fn of(run: &'r Run, index: &CallIndex) -> Self {
        let mut spoken = SpokenNames {
            heard_by_speaker: Set::default(),
            heard_by_prompt: Set::default(),
            by_prompt: Vec::new(),
            by_name: Vec::new(),
        };
        for turn in &run.turns {
            let speaker = turn.speaker.key();
            for call in turn.calls.iter().filter_map(|call| index.get(*call)) {
                for heard in &call.heard {
                    spoken.heard_by_speaker.insert((speaker, *heard));
                    if let Some(prompt) = call.prompt_hash {
                        spoken.heard_by_prompt.insert((prompt, *heard));
                    }
                }
            }
        }
        for turn in &run.turns {
            if let (Some(name), Some(call)) = (spoken.name(turn), first_call(turn, index)) {
                spoken.by_name.push((&name.text, call.prompt_hash));
                if let Some(prompt) = call.prompt_hash {
                    spoken.by_prompt.push((prompt, &name.text));
                }
            }
        }
        spoken.by_prompt.sort_unstable();
        spoken.by_prompt.dedup();
        spoken.by_name.sort_unstable();
        spoken.by_name.dedup();
        spoken
    }

    /// Whether the turn's speaker was shown this name as another agent's.
    fn is_heard(&self, turn: &Turn, name: &str) -> bool {
        !self.heard_by_speaker.is_empty()
            && self
                .heard_by_speaker
                .contains(&(turn.speaker.key(), text_hash::of(name)))
    }

    /// The learned name of the turn's speaker, unless it is shown to be another agent's.
    fn name(&self, turn: &'r Turn) -> Option<&'r AgentName> {
        let name = turn.speaker.name()?;
        (name.rule == NameRule::Explicit || !self.is_heard(turn, &name.text)).then_some(name)
    }

    /// The name that an agent of this run, or else of an earlier one, has with this system message, where only one has it.
    fn name_with<'n>(&'n self, prompt: PromptHash, earlier: Option<&'n str>) -> Option<&'n str> {
        let start = self.by_prompt.partition_point(|(other, _)| *other < prompt);
        let mut names = self.by_prompt[start..]
            .iter()
            .take_while(|(other, _)| *other == prompt)
            .map(|(_, name)| *name);
        let name = names.next().or(earlier)?;
        let start = self.by_name.partition_point(|(other, _)| *other < name);
        let mut prompts = self.by_name[start..]
            .iter()
            .take_while(|(other, _)| *other == name);
        let is_shared = names.next().is_some()
            || self
                .heard_by_prompt
                .contains(&(prompt, text_hash::of(name)))
            || prompts.any(|(_, other)| *other != Some(prompt));
        (!is_shared).then_some(name)
    }

    /// Other runs learn these names by their system messages, unless an agent of the same system message has another name.
    pub(super) fn teach(&self, run: &'r Run, index: &CallIndex, lesson: &mut NameLesson<'_>) {
        for turn in &run.turns {
            if let (Some(name), Some(call)) = (self.name(turn), first_call(turn, index))
                && let Some(prompt) = call.prompt_hash
            {
                lesson.learn(prompt, &name.text);
            }
        }
        for (prompt, heard) in &self.heard_by_prompt {
            let name = lesson.names().get(*prompt);
            if name.is_some_and(|name| text_hash::of(&name) == *heard) {
                lesson.unlearn(*prompt);
            }
        }
    }

    /// The names of all turns. `is_team` tells of a level whether it is a team.
    pub(super) fn of_turns(
        &self,
        run: &'r Run,
        index: &CallIndex,
        is_team: impl Fn(usize) -> bool,
        names: RunNames<'_>,
    ) -> Vec<TurnName> {
        let mut tools: Map<usize, Option<String>> = Map::default();
        let name = |turn: &'r Turn| {
            if let Some(explicit) = &turn.explicit_name {
                return Some((explicit.clone(), None));
            }
            if let Some(name) = self.name(turn) {
                let rule = Some(name.rule).filter(|rule| *rule != NameRule::Explicit);
                return Some((name.text.to_string(), rule));
            }
            let tool = tools
                .entry(turn.level)
                .or_insert_with(|| tool_of(run, index, turn.level));
            if let Some(tool) = tool.as_ref().filter(|tool| !self.is_heard(turn, tool)) {
                return Some((tool.clone(), Some(NameRule::AgentTool)));
            }
            let prompt = first_call(turn, index)?.prompt_hash?;
            // Names are learned in teams; a lone agent may be another one with the same instructions.
            let earlier = is_team(turn.level).then(|| names.get(prompt)).flatten();
            let name = self.name_with(prompt, earlier.as_deref())?;
            Some((name.to_owned(), Some(NameRule::SystemMessage)))
        };
        run.turns.iter().map(name).collect()
    }
}

/// The tool that an agent alone on its level is: `AgentTool` takes its agent's name.
fn tool_of(run: &Run, index: &CallIndex, level: usize) -> Option<String> {
    let (call, tool) = run.levels[level].requested_by?;
    let mut on_level = all_on_level(run, index, level);
    let first = on_level.next()?;
    let alone = first.kind == CallerKind::Agent
        && on_level.all(|call| call.kind == CallerKind::Agent && call.system == first.system);
    let requested = index.get(call)?.reply.tools.get(tool)?;
    (alone && takes_a_task(&requested.call.arguments)).then(|| requested.call.name.clone())
}
