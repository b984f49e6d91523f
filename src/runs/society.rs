//! Inner teams: a `SocietyOfMindAgent` has a team of its own speak, and then sums up what it said (autogen-agentchat 0.7). Its request shows
//! whose replies they were, and only then do they turn out to be a team within the team.

use super::call::{CallId, RunId};
use super::evidence::Scene;
use super::hash::Set;
use super::kind::Kind;
use super::known::Known;
use super::run::{Extent, Run, Society};
use super::scope::Arrival;
use crate::span::operation::inner_workflow_id;

/// Whose replies a society sums up.
pub(super) fn members(scene: &Scene<'_>, run: Option<RunId>) -> Vec<CallId> {
    let (Kind::Society, Some(run)) = (scene.kind, run) else {
        return Vec::new();
    };
    let mut texts = Set::default();
    let mut members = Vec::new();
    for entry in &scene.transcript.entries {
        if texts.insert(entry.hash)
            && let Some(said) = scene.said_in_run(entry.hash, run)
        {
            let agents = said.iter().filter(|call| call.kind == Kind::Agent);
            members.extend(agents.map(|call| call.id));
        }
    }
    members
}

impl Run {
    /// A society sums up what `members` said: they were an inner team.
    pub(super) fn sum_up(
        &mut self,
        members: &[CallId],
        level: usize,
        arrival: &Arrival,
        known: &Known,
    ) {
        let number = self.societies.len();
        let mut span = Extent::NOTHING;
        let turns: Vec<usize> = members
            .iter()
            .filter_map(|call| known.get(*call)?.turn)
            .collect();
        for turn in turns {
            let turn = &mut self.turns[turn];
            if turn.society.is_none() && !turn.told {
                turn.society = Some(number);
                span.cover(turn.span);
            }
        }
        self.societies.push(Society {
            span_id: inner_workflow_id(arrival.meta.id, None),
            level,
            span,
            told: false,
        });
    }
}
