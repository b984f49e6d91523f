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
/// `AssistantAgent`'s own system message begins so (autogen-agentchat 0.7): it says nothing of who has it.
const DEFAULT: &str = "You are a helpful AI assistant. Solve tasks using your tools.";

/// A system message of somebody's agents, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
        if system.is_empty() || system.starts_with(DEFAULT) {
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

    /// The name of all agents with this system message.
    pub(super) fn name(&self, prompt: Prompt) -> Option<&str> {
        self.names.get(&prompt)?.as_deref()
    }

    /// What was learned since this was asked last; none for a name where several have it.
    pub(super) fn learned(&mut self) -> Vec<(Prompt, Option<String>)> {
        std::mem::take(&mut self.learned)
    }
}
