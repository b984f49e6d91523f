//! The kind of caller that a request shows: an agent, a team's own machinery, or a client without AutoGen.
//!
//! The fixed words are those of autogen-agentchat 0.7: `SelectorGroupChat`'s default prompt, `MagenticOneOrchestrator`'s prompts
//! (`_magentic_one/_prompts.py`), and `SocietyOfMindAgent`, whose summary ends in a system message.

use super::autogen::is_selector;
use super::transcript::{Author, Transcript};

/// The caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallerKind {
    /// An agent.
    Agent,
    /// A `SelectorGroupChat` that chooses the next speaker.
    Selector,
    /// Magentic-One's orchestrator.
    Orchestrator,
    /// A `SocietyOfMindAgent` that summarises the messages of its inner team.
    Society,
    /// A client used by itself, without any trait of an agent.
    Bare,
}

const ORCHESTRATOR: &str = "MagenticOneOrchestrator";
const ORCHESTRATOR_OPENINGS: [&str; 6] = [
    "Below I will present you a request.",
    "Fantastic. To address this request",
    "Recall we are working on the following request",
    "As a reminder, we are working to solve",
    "Please briefly explain what went wrong",
    "We are working on the following task:",
];
/// `SelectorGroupChat` complains with these words before it asks again.
const UNUSABLE: [&str; 3] = [
    "No valid name was mentioned. Please select from:",
    "Expected exactly one name to be mentioned. Please select only one from:",
    "Repeated speaker is not allowed, please select a different name from:",
];
impl CallerKind {
    /// `may_be_agent` means that the client is the one that agents use.
    pub(super) fn of(transcript: &Transcript<'_>, may_be_agent: bool) -> Self {
        let Some(last) = transcript.entries.last() else {
            // A selector is sent instructions alone, whatever its prompt says.
            return if is_selector(&transcript.system)
                || may_be_agent && !transcript.system.is_empty()
            {
                CallerKind::Selector
            } else {
                CallerKind::Bare
            };
        };
        let first = &transcript.entries[0];
        if is_selector(&transcript.system)
            || transcript.system.is_empty() && is_selector(first.text())
            || asks_again(transcript)
        {
            return CallerKind::Selector;
        }
        if transcript.ends_in_system {
            return CallerKind::Society;
        }
        let orchestrates = |text: &str| {
            ORCHESTRATOR_OPENINGS
                .iter()
                .any(|opening| text.starts_with(opening))
        };
        if transcript.system.is_empty()
            && last.agent() == Some(ORCHESTRATOR)
            && orchestrates(last.text())
        {
            return CallerKind::Orchestrator;
        }
        if is_bare(transcript, may_be_agent) {
            CallerKind::Bare
        } else {
            CallerKind::Agent
        }
    }
}

/// Whether a selector is asked again because its answer was no name.
fn asks_again(transcript: &Transcript<'_>) -> bool {
    let answered = transcript.entries.iter().rev().nth(1);
    let complaint = transcript.entries.last();
    answered.is_some_and(|answered| answered.author == Author::Own)
        && complaint.is_some_and(|complaint| {
            UNUSABLE
                .iter()
                .any(|words| complaint.text().starts_with(words))
        })
}

/// Whether the request lacks every trait of an agent: tools, names other than `user`, and instructions. Instructions count only where the
/// client or a name is AutoGen's.
fn is_bare(transcript: &Transcript<'_>, may_be_agent: bool) -> bool {
    let entries = &transcript.entries;
    let is_autogens = may_be_agent || entries.iter().any(|entry| entry.name.is_some());
    (transcript.system.is_empty() || !is_autogens)
        && transcript.tools.is_empty()
        && transcript.rounds.is_empty()
        && entries.iter().all(|entry| entry.agent().is_none())
}
