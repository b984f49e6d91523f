//! Names of agents by their system messages: learned once, known in later runs.
//!
//! A name counts only as long as no second agent was seen with the same system message: unknown is better than wrong.

use sha2::{Digest, Sha256};

use super::hash::Map;
use crate::identity::Credential;

/// Most system messages whose agents are remembered; beyond that nothing new is learned.
const MOST: usize = 10_000;
/// Most bytes of a name that is remembered: names are identifiers in AutoGen, and they are kept for good.
const LONGEST: usize = 256;
/// `AssistantAgent`'s own system message begins so (autogen-agentchat 0.7), and that of AutoGen's `CodeExecutorAgent`.
const DEFAULTS: [&str; 2] = [
    "You are a helpful AI assistant. Solve tasks using your tools.",
    "You are a Code Execution Agent. Your role is to generate and execute Python code",
];
/// What examples of OpenAI and AutoGen have for any agent, but for case and a full stop.
const COMMON: [&str; 3] = [
    "you are a helpful assistant",
    "you are a helpful ai assistant",
    "you are an ai assistant",
];

/// A system message of somebody's agents, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prompt(pub [u8; 16]);

/// What is known of system messages.
#[derive(Debug, Default)]
pub(super) struct Prompts {
    /// None where several have it.
    names: Map<Prompt, Option<String>>,
    /// Since they were asked for last.
    learned: Vec<(Prompt, Option<String>)>,
}

impl Prompt {
    /// None for a message that says nothing of who has it.
    pub(super) fn of(credential: &Credential, system: &str) -> Option<Self> {
        if says_nothing(system) {
            return None;
        }
        let hash: [u8; 32] = Sha256::new()
            .chain_update(credential.0)
            .chain_update(system)
            .finalize()
            .into();
        let mut prompt = [0; 16];
        prompt.copy_from_slice(&hash[..16]);
        Some(Prompt(prompt))
    }
}

/// Whether anybody may have this system message.
fn says_nothing(system: &str) -> bool {
    let sentence = system.trim_end_matches('.');
    let mut common = COMMON.iter();
    system.is_empty()
        || DEFAULTS.iter().any(|default| system.starts_with(default))
        || common.any(|common| sentence.eq_ignore_ascii_case(common))
}

impl Prompts {
    /// What was learned before.
    pub(super) fn remember(&mut self, prompt: Prompt, name: Option<String>) {
        self.names.insert(prompt, name);
    }

    /// An agent with this system message has this name.
    pub(super) fn learn(&mut self, prompt: Prompt, name: &str) {
        let now = match self.names.get(&prompt) {
            Some(Some(known)) if known != name => None,
            None if self.names.len() < MOST && name.len() <= LONGEST => Some(name.to_owned()),
            _ => return,
        };
        self.names.insert(prompt, now.clone());
        self.learned.push((prompt, now));
    }

    /// Somebody with this system message has another name than the one that is known.
    pub(super) fn unlearn(&mut self, prompt: Prompt) {
        if let Some(name) = self.names.get_mut(&prompt)
            && name.take().is_some()
        {
            self.learned.push((prompt, None));
        }
    }

    /// The name of all agents with this system message.
    pub(super) fn name(&self, prompt: Prompt) -> Option<&str> {
        self.names.get(&prompt)?.as_deref()
    }

    /// What was learned since this was asked last; none for a name where several have it.
    pub(super) fn learned(&mut self) -> Vec<(Prompt, Option<String>)> {
        std::mem::take(&mut self.learned)
    }
}
