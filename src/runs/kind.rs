//! Who asks: an agent, a team's own machinery, or nobody of AutoGen.
//!
//! The fixed words are those of autogen-agentchat 0.7: `SelectorGroupChat`'s default prompt, `MagenticOneOrchestrator`'s prompts
//! (`_magentic_one/_prompts.py`), and `SocietyOfMindAgent`, whose summary ends in a system message.

use super::transcript::{Author, Transcript};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An agent.
    Agent,
    /// A `SelectorGroupChat` that chooses who speaks next.
    Selector,
    /// Magentic-One's orchestrator.
    Orchestrator,
    /// A `SocietyOfMindAgent` that sums up what its team said.
    Society,
    /// Somebody who shows nothing of an agent: a client used by itself.
    Bare,
}

const SELECTOR: [&str; 2] = ["select the next role", "Only return the role"];
const ORCHESTRATOR: &str = "MagenticOneOrchestrator";
const ORCHESTRATOR_OPENINGS: [&str; 6] = [
    "Below I will present you a request.",
    "Fantastic. To address this request",
    "Recall we are working on the following request",
    "As a reminder, we are working to solve",
    "Please briefly explain what went wrong",
    "We are working on the following task:",
];
/// What `SelectorGroupChat` says of an answer that it cannot use, before it asks again.
const UNUSABLE: [&str; 3] = [
    "No valid name was mentioned. Please select from:",
    "Expected exactly one name to be mentioned. Please select only one from:",
    "Repeated speaker is not allowed, please select a different name from:",
];
/// Most bytes of an answer that can be an agent's name: AutoGen's names are Python identifiers.
pub(super) const LONGEST_NAME: usize = 64;

impl Kind {
    /// By what a request shows. `may_be_agent` says that its client is the one that agents have.
    pub(super) fn of(transcript: &Transcript<'_>, may_be_agent: bool) -> Self {
        let Some(last) = transcript.entries.last() else {
            // Instructions alone: what a selector is sent, whatever its prompt says.
            return if is_selector(&transcript.system)
                || may_be_agent && !transcript.system.is_empty()
            {
                Kind::Selector
            } else {
                Kind::Bare
            };
        };
        let first = &transcript.entries[0];
        if is_selector(&transcript.system)
            || transcript.system.is_empty() && is_selector(first.text())
            || asks_again(transcript)
        {
            return Kind::Selector;
        }
        if transcript.ends_in_system {
            return Kind::Society;
        }
        let orchestrates = |text: &str| {
            ORCHESTRATOR_OPENINGS
                .iter()
                .any(|meta| text.starts_with(meta))
        };
        if transcript.system.is_empty()
            && last.agent() == Some(ORCHESTRATOR)
            && orchestrates(last.text())
        {
            return Kind::Orchestrator;
        }
        if is_bare(transcript, may_be_agent) {
            Kind::Bare
        } else {
            Kind::Agent
        }
    }
}

/// Whether these are the words of `SelectorGroupChat`'s default prompt.
pub(super) fn is_selector(prompt: &str) -> bool {
    SELECTOR.iter().all(|words| prompt.contains(words))
}

/// Whether somebody is asked who did not answer with a name before.
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

/// Whether a prompt lists who can be chosen, as a program's own `selector_prompt` may: `{participants}` becomes a list of Python's.
pub(super) fn lists_participants(prompt: &str) -> bool {
    prompt.match_indices("['").any(|(at, meta)| {
        let mut rest = &prompt[at + meta.len()..];
        let mut names = 0;
        // No name is longer, so that no part of the prompt is looked at for each bracket in it.
        while let Some(end) = rest
            .bytes()
            .take(LONGEST_NAME + 1)
            .position(|byte| byte == b'\'')
            && is_name(&rest[..end])
        {
            names += 1;
            let Some(next) = rest[end..].strip_prefix("', '") else {
                return names > 1 && rest[end..].starts_with("']");
            };
            rest = next;
        }
        false
    })
}

/// Nothing of it says that an agent asks: no tools, nobody who is called anything but `user`, and no instructions, unless neither the
/// client nor a name is AutoGen's.
fn is_bare(transcript: &Transcript<'_>, may_be_agent: bool) -> bool {
    let entries = &transcript.entries;
    let is_autogens = may_be_agent || entries.iter().any(|entry| entry.name.is_some());
    (transcript.system.is_empty() || !is_autogens)
        && transcript.tools.is_empty()
        && transcript.rounds.is_empty()
        && entries.iter().all(|entry| entry.agent().is_none())
}

/// Whether a selector's answer can be a choice: a name that its prompt mentions.
pub(super) fn is_choice(prompt: &str, answer: &str) -> bool {
    is_name(answer) && prompt.contains(answer)
}

/// Whether AutoGen would take this as an agent's name.
pub(super) fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    text.len() <= LONGEST_NAME
        && characters
            .next()
            .is_some_and(|first| first.is_alphabetic() || first == '_')
        && characters.all(|character| character.is_alphanumeric() || "_-".contains(character))
}
