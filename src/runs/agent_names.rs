//! Names of agents by their system messages: learned in one run, used in later ones.
//!
//! A name counts only as long as no second agent was seen with the same system message: unknown is better than wrong.
//!
//! Within a conversation a name counts as soon as it is learned. In other conversations it counts for runs that began after it was learned,
//! and so does the news that several agents share a system message. So no run depends on how far the workers of other conversations are.

use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::text_hash::Map;
use crate::identity::Credential;

/// Most system messages whose agents are remembered. Beyond it no further ones are learned.
const MOST: usize = 10_000;
/// Most bytes of a remembered name. Names are identifiers in AutoGen, and they are kept for good.
const LONGEST: usize = 256;
/// About how many bytes a conversation's own name takes beside its text.
const OWN_NAME_BYTES: usize = 128;
/// The system messages that `AssistantAgent` (autogen-agentchat 0.7) and `CodeExecutorAgent` have by default begin so.
const DEFAULTS: [&str; 2] = [
    "You are a helpful AI assistant. Solve tasks using your tools.",
    "You are a Code Execution Agent. Your role is to generate and execute Python code",
];
/// Examples of OpenAI and AutoGen give these to any agent. Case and a full stop at the end may differ.
const COMMON: [&str; 3] = [
    "you are a helpful assistant",
    "you are a helpful ai assistant",
    "you are an ai assistant",
];

/// The hash of a system message, and of the credential of the agents that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PromptHash(pub [u8; 16]);

/// A name learned for a system message; none where several agents share the message.
pub(crate) type LearnedName = (PromptHash, Option<String>);

/// The name of all agents with one system message.
#[derive(Clone, Debug, PartialEq, Eq)]
enum KnownName {
    Unknown,
    One(Arc<str>),
    Several,
}

/// The names that all conversations taught.
#[derive(Debug, Default)]
pub(super) struct SharedNames(Mutex<Map<PromptHash, NameHistory>>);

/// Since when, in nanoseconds of [`crate::clock`], one name was known for a system message, and since when more than one.
#[derive(Debug)]
struct NameHistory {
    name: Arc<str>,
    learned_ns: u64,
    several_ns: Option<u64>,
}

/// The names that one conversation taught; none where it showed several for a system message.
#[derive(Debug, Default)]
pub(super) struct ConversationNames {
    names: Map<PromptHash, Option<Arc<str>>>,
    size: usize,
}

/// The names that a run may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunNames<'n> {
    pub(super) own: &'n ConversationNames,
    pub(super) shared: &'n SharedNames,
    /// When the run began.
    pub(super) began_ns: u64,
}

/// A run that teaches names.
#[derive(Debug)]
pub(super) struct NameLesson<'n> {
    pub(super) own: &'n mut ConversationNames,
    pub(super) shared: &'n SharedNames,
    /// When the run began.
    pub(super) began_ns: u64,
    /// When the lesson takes place.
    pub(super) at_ns: u64,
    /// Takes the changes that outlive the process.
    pub(super) learned: &'n mut Vec<LearnedName>,
}

impl PromptHash {
    /// None for a system message that any agent may have.
    pub(super) fn of(credential: &Credential, system: &str) -> Option<Self> {
        if is_common(system) {
            return None;
        }
        let hash: [u8; 32] = Sha256::new()
            .chain_update(credential.0)
            .chain_update(system)
            .finalize()
            .into();
        let mut prompt = [0; 16];
        prompt.copy_from_slice(&hash[..16]);
        Some(PromptHash(prompt))
    }
}

fn is_common(system: &str) -> bool {
    let sentence = system.trim_end_matches('.');
    let mut common = COMMON.iter();
    system.is_empty()
        || DEFAULTS.iter().any(|default| system.starts_with(default))
        || common.any(|common| sentence.eq_ignore_ascii_case(common))
}

impl SharedNames {
    /// Names that earlier processes learned; every run may use them. Where a message has several entries, its agents share it.
    pub(super) fn new(learned: impl IntoIterator<Item = LearnedName>) -> Self {
        let shared = SharedNames::default();
        for (prompt, name) in learned {
            let is_shared = name.is_none();
            shared.learn(prompt, &name.unwrap_or_default().into(), 0);
            if is_shared {
                shared.unlearn(prompt, 0);
            }
        }
        shared
    }

    fn lock(&self) -> MutexGuard<'_, Map<PromptHash, NameHistory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, prompt: PromptHash, began_ns: u64) -> KnownName {
        match self.lock().get(&prompt) {
            Some(history) if history.several_ns.is_some_and(|at| at < began_ns) => {
                KnownName::Several
            }
            Some(history) if history.learned_ns < began_ns => KnownName::One(history.name.clone()),
            _ => KnownName::Unknown,
        }
    }

    /// Gives what changes for later processes. Lessons may come in any order: the history is the same.
    fn learn(&self, prompt: PromptHash, name: &Arc<str>, at_ns: u64) -> Option<LearnedName> {
        let mut names = self.lock();
        let is_full = names.len() >= MOST;
        match names.entry(prompt) {
            Entry::Vacant(_) if is_full => None,
            Entry::Vacant(vacant) => {
                vacant.insert(NameHistory {
                    name: Arc::clone(name),
                    learned_ns: at_ns,
                    several_ns: None,
                });
                Some((prompt, Some(name.to_string())))
            }
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                let first_ns = known.learned_ns.min(at_ns);
                if known.name == *name {
                    known.learned_ns = first_ns;
                    return None;
                }
                let second_ns = known.learned_ns.max(at_ns);
                if at_ns < known.learned_ns {
                    known.name = Arc::clone(name);
                }
                known.learned_ns = first_ns;
                known.share(prompt, second_ns)
            }
        }
    }

    fn unlearn(&self, prompt: PromptHash, at_ns: u64) -> Option<LearnedName> {
        self.lock().get_mut(&prompt)?.share(prompt, at_ns)
    }
}

impl NameHistory {
    /// Several agents have the system message, from `at_ns` on.
    fn share(&mut self, prompt: PromptHash, at_ns: u64) -> Option<LearnedName> {
        let before = self.several_ns;
        self.several_ns = Some(before.map_or(at_ns, |before| before.min(at_ns)));
        before.is_none().then_some((prompt, None))
    }
}

impl ConversationNames {
    /// About how many bytes they take.
    pub(super) fn size_estimate(&self) -> usize {
        self.size
    }

    fn insert(&mut self, prompt: PromptHash, name: Option<Arc<str>>) {
        let length = name.as_ref().map_or(0, |name| name.len());
        if self.names.insert(prompt, name).is_none() {
            self.size += OWN_NAME_BYTES + length;
        }
    }
}

impl RunNames<'_> {
    fn known(&self, prompt: PromptHash) -> KnownName {
        match (
            self.own.names.get(&prompt),
            self.shared.get(prompt, self.began_ns),
        ) {
            (None, shared) => shared,
            (Some(None), _) | (Some(Some(_)), KnownName::Several) => KnownName::Several,
            (Some(Some(own)), KnownName::One(shared)) if *own != shared => KnownName::Several,
            (Some(Some(own)), _) => KnownName::One(Arc::clone(own)),
        }
    }

    /// The name of all agents with this system message.
    pub(super) fn get(&self, prompt: PromptHash) -> Option<Arc<str>> {
        match self.known(prompt) {
            KnownName::One(name) => Some(name),
            KnownName::Unknown | KnownName::Several => None,
        }
    }
}

impl NameLesson<'_> {
    pub(super) fn names(&self) -> RunNames<'_> {
        RunNames {
            own: self.own,
            shared: self.shared,
            began_ns: self.began_ns,
        }
    }

    /// An agent with this system message has this name.
    pub(super) fn learn(&mut self, prompt: PromptHash, name: &Arc<str>) {
        let own = match self.names().known(prompt) {
            KnownName::Unknown if name.len() <= LONGEST => Some(Arc::clone(name)),
            KnownName::One(known) if known != *name => None,
            _ => return,
        };
        self.learned
            .extend(self.shared.learn(prompt, name, self.at_ns));
        self.own.insert(prompt, own);
    }

    /// An agent with this system message has another name than the known one.
    pub(super) fn unlearn(&mut self, prompt: PromptHash) {
        self.learned.extend(self.shared.unlearn(prompt, self.at_ns));
        self.own.insert(prompt, None);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROMPT: PromptHash = PromptHash([1; 16]);

    proptest! {
        #[test]
        fn lessons_in_any_order_have_the_same_history(
            lessons in prop::collection::vec((0_usize..3, 1_u64..9), 1..6)
                .prop_flat_map(|lessons| (Just(lessons.clone()), Just(lessons).prop_shuffle())),
        ) {
            let histories = [lessons.0, lessons.1].map(|lessons| {
                let shared = SharedNames::default();
                for (name, at_ns) in lessons {
                    // Names that are learned at one time are told apart by nothing.
                    let at_ns = 3 * at_ns + name as u64;
                    shared.learn(PROMPT, &["a", "b", "c"][name].into(), at_ns);
                }
                (0..40).map(|began_ns| shared.get(PROMPT, began_ns)).collect::<Vec<_>>()
            });
            prop_assert_eq!(&histories[0], &histories[1]);
        }
    }

    #[test]
    fn a_name_counts_elsewhere_only_for_runs_that_begin_after_it_was_learned() {
        let (shared, mut own, other) = Default::default();
        let mut learned = Vec::new();
        let mut lesson = NameLesson {
            own: &mut own,
            shared: &shared,
            began_ns: 5,
            at_ns: 10,
            learned: &mut learned,
        };
        lesson.learn(PROMPT, &"writer".into());
        assert_eq!(learned, [(PROMPT, Some("writer".to_owned()))]);
        let get = |own: &ConversationNames, began_ns| {
            let shared = &shared;
            RunNames {
                own,
                shared,
                began_ns,
            }
            .get(PROMPT)
            .is_some()
        };
        assert!(get(&own, 5) && !get(&other, 10) && get(&other, 11));
    }
}
