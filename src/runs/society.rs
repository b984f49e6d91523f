//! Inner teams: a `SocietyOfMindAgent` has a team of its own speak, and then sums up what it said (autogen-agentchat 0.7). Its request shows
//! whose replies they were, and only then do they turn out to be a team within the team.

use super::call::{CallId, RunId};
use super::evidence::Scene;
use super::kind::Kind;
use super::known::{Key, Known};
use super::run::{Extent, Run, Society};
use super::scope::Arrival;
use crate::span::operation::inner_workflow_id;

/// Whose replies a society sums up.
pub(super) fn members(scene: &Scene<'_>, run: Option<RunId>) -> Vec<CallId> {
    if scene.kind != Kind::Society {
        return Vec::new();
    }
    let entries = scene.transcript.entries.iter();
    entries
        .flat_map(|entry| {
            scene
                .known
                .found(Key::Says(entry.hash), scene.started_ns)
                .filter(|call| {
                    Some(call.run) == run && call.kind == Kind::Agent && call.reply.is(entry.hash)
                })
                .map(|call| call.id)
        })
        .collect()
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
            span_id: inner_workflow_id(arrival.opening.id, None),
            level,
            span,
            told: false,
        });
    }
}
