//! The agent that makes some of a conversation's calls, and how its name was learned.

use std::sync::{Arc, OnceLock};

/// An agent. Its name may be learned later than its calls; all clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Speaker(Arc<OnceLock<AgentName>>);

/// A name, and how it was learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AgentName {
    pub(super) text: Arc<str>,
    pub(super) rule: NameRule,
}

/// How a name was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameRule {
    /// A header gives it.
    Explicit,
    /// A reply came back under it.
    Echo,
    /// A selector chose it.
    Selected,
    /// Magentic-One's ledger named it.
    Ledger,
    /// A tool that hands over named it.
    Handoff,
    /// The agent is a tool, and this is the tool's name.
    AgentTool,
    /// An agent with the same system message has it.
    SystemMessage,
}

impl NameRule {
    /// The rule's name in a span.
    pub(super) fn word(self) -> &'static str {
        match self {
            NameRule::Explicit => "told",
            NameRule::Echo => "name_echo",
            NameRule::Selected => "name_selected",
            NameRule::Ledger => "name_ledger",
            NameRule::Handoff => "name_handoff",
            NameRule::AgentTool => "name_agent_tool",
            NameRule::SystemMessage => "name_system_message",
        }
    }
}

impl Speaker {
    pub(super) fn name(&self) -> Option<&AgentName> {
        self.0.get()
    }

    pub(super) fn is(&self, other: &Speaker) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A number that no other living speaker has.
    pub(super) fn key(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// The first name that is learned stays.
    pub(super) fn learn(&self, text: &str, rule: NameRule) {
        self.0.get_or_init(|| AgentName {
            text: text.into(),
            rule,
        });
    }
}
