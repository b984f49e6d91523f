//! Evidence of names: a selector's choice, Magentic-One's ledger, a handoff, a reply that comes back under a name.
//!
//! A name that is learned late counts for earlier calls, too. A name that the request shows as another agent's is not given to the caller.

use super::super::autogen::{handoff_target, next_speaker};
use super::super::call::RunId;
use super::super::caller_kind::CallerKind;
use super::super::speaker::{NameRule, Speaker};
use super::super::transcript::TranscriptEntry;
use super::{AttributionTarget, Evidence, RequestContext};

/// A name of an agent. The first that a speaker learns stays.
#[derive(Debug)]
pub(crate) struct NameEvidence {
    pub(crate) speaker: Speaker,
    pub(crate) name: String,
    pub(crate) rule: NameRule,
}

impl RequestContext<'_> {
    /// The names that the request shows: that of `caller`, and those of other agents of its run.
    pub(crate) fn names(
        &self,
        evidence: &Evidence,
        run: Option<RunId>,
        caller: &Speaker,
    ) -> Vec<NameEvidence> {
        let mut names = Vec::new();
        let mut add = |speaker: &Speaker, name: &str, rule| {
            if speaker.name().is_none() {
                names.push(NameEvidence {
                    speaker: speaker.clone(),
                    name: name.to_owned(),
                    rule,
                });
            }
        };
        if self.kind == CallerKind::Agent {
            self.names_by_evidence(evidence, caller, &mut add);
        }
        for (at, entry) in self.transcript.entries.iter().enumerate() {
            if let (Some(run), Some(name)) = (run, entry.agent())
                && let Some(speaker) = self.speaker_of(at, run)
                && !speaker.is(caller)
            {
                add(speaker, name, NameRule::Echo);
            }
        }
        names
    }

    fn names_by_evidence(
        &self,
        evidence: &Evidence,
        caller: &Speaker,
        add: &mut impl FnMut(&Speaker, &str, NameRule),
    ) {
        let mut add_unheard = |name: &str, rule| {
            if !self.transcript.hears(name) {
                add(caller, name, rule);
            }
        };
        let selection = evidence.selected_by.and_then(|call| self.index.get(call));
        if let Some(selection) = selection {
            add_unheard(&selection.reply.text, NameRule::Selected);
        }
        let AttributionTarget::Call(before) = evidence.target else {
            return;
        };
        let Some(before) = self.index.get(before) else {
            return;
        };
        if before.kind == CallerKind::Orchestrator
            && let Some(name) = next_speaker(&before.reply.text)
        {
            add_unheard(&name, NameRule::Ledger);
        }
        let mut tools = before.reply.tools.iter();
        let target = tools.find_map(|requested| handoff_target(&requested.call.name));
        if let Some(target) = target.filter(|_| before.system != self.system) {
            add_unheard(target, NameRule::Handoff);
        }
        // The results of its tools come back under its name.
        if before.kind == CallerKind::Agent
            && let Some(name) = self
                .summary_of(before, evidence)
                .and_then(TranscriptEntry::agent)
        {
            add(&before.speaker, name, NameRule::Echo);
        }
    }
}
