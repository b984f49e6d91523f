//! What tells which call a request follows, each kind of evidence by itself. [`super::link`] says which of them counts.
//!
//! Everything here looks at replies that had ended when the request began, and at nothing else: what came later is no cause.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::Shared;
use super::call::{Call, CallId, RunId, Speaker, argument_texts};
use super::hash::{self, Hash, Map, Set};
use super::kind::{Kind, is_choice};
use super::known::{Key, Known};
use super::lines::{self, Plain};
use super::prompts::Prompt;
use super::run::{Run, Turn};
use super::transcript::{Author, Entry, NOTHING, Transcript};
use crate::identity::Credential;

/// Shortest reply, in bytes, that is recognised within a longer text.
const SHORTEST_WITHIN: usize = 20;
/// Shortest reply that says whose it is when nothing around it fits.
const SHORTEST_ALONE: usize = 4;

/// What was caused by replies that ended within so many nanoseconds comes in their order.
const SAME_MOMENT_NS: u64 = 100_000_000;
/// The latest turns of a run tell who its agents are.
const TURNS: usize = 64;

/// A request that looks for what it follows.
#[derive(Debug)]
pub(super) struct Scene<'s> {
    pub(super) transcript: &'s Transcript<'s>,
    pub(super) kind: Kind,
    pub(super) system: Hash,
    pub(super) started_ns: u64,
    pub(super) known: &'s Known,
    pub(super) runs: &'s BTreeMap<RunId, Box<Run>>,
    pub(super) credential: &'s Credential,
    pub(super) shared: &'s Shared,
}

/// A call that the request follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) call: CallId,
    /// Calls of other runs fit as well.
    pub(super) ambiguous: bool,
}

/// How well a call fits: not delivered to who asks yet, and how much of the history is the same.
type Rank = (bool, usize);

impl<'s> Scene<'s> {
    pub(super) fn found(&self, key: Key) -> impl Iterator<Item = &'s Call> {
        self.known.found(key, self.started_ns)
    }

    pub(super) fn speaking(&self, key: Key) -> impl Iterator<Item = &'s Call> {
        self.known.found_speaking(key, self.started_ns)
    }

    fn rank(&self, call: &Call) -> Rank {
        (!call.delivered.contains(&self.system), self.shared(call))
    }

    /// How many texts the request has in common with that of `call`, from the first on.
    fn shared(&self, call: &Call) -> usize {
        let same = |length: usize, beginning| {
            length <= self.transcript.entries.len()
                && self.transcript.beginning(length) == beginning
        };
        if same(call.length, call.beginning) {
            call.length
        } else {
            usize::from(call.length > 0 && same(1, call.opening))
        }
    }

    /// A reply is delivered once to each agent; then the longest shared history counts. Of runs that are alike so far, the one whose reply
    /// ended first goes on first, unless it ended so long before the others that it was probably its run's last.
    pub(super) fn best(&self, calls: &[&'s Call]) -> Option<Found> {
        let rank = calls.iter().map(|call| self.rank(call)).max()?;
        let alike = || calls.iter().filter(|call| self.rank(call) == rank);
        let latest = alike().filter_map(|call| call.ended_ns).max()?;
        let best = alike()
            .filter(|call| at_the_same_moment(call, latest))
            .min_by_key(|call| call.ended_ns)?;
        // Whatever went on with another of them before may as well have been this one's.
        let contested = |call: &&&Call| {
            best.ended_ns
                .is_some_and(|ended_ns| ended_ns <= call.contested_ns)
                && self.shared(call) == rank.1
        };
        Some(Found {
            call: best.id,
            ambiguous: alike()
                .chain(calls.iter().filter(contested))
                .any(|call| call.run != best.run),
        })
    }

    /// **Transcript chain.** The request begins with another, and goes on with its reply. The longest wins; its length is given, the reply
    /// included.
    pub(super) fn chain(&self) -> Option<(usize, Found)> {
        let entries = &self.transcript.entries;
        (0..entries.len()).rev().find_map(|at| {
            let (entry, beginning) = (&entries[at], self.transcript.beginning(at));
            let said = self
                .speaking(Key::Said(beginning, entry.hash))
                .filter(|call| call.reply.tools.is_empty() && self.can_be_heard(call, entry, true));
            // The others see what its tools gave: any text, unless ids tell.
            let called = self.speaking(Key::CalledTools(beginning)).filter(|call| {
                let thought = call.hands_over_now() && call.reply.is(entry.hash);
                thought || self.shows_tools_of(call, at) || self.can_be_heard(call, entry, false)
            });
            let calls: Vec<_> = said.chain(called).collect();
            self.best(&calls).map(|found| (at + 1, found))
        })
    }

    /// **Delivery.** The latest message that is, or holds, a reply: what is left where histories are cut short or rewritten. Gives how many
    /// entries there are up to it.
    pub(super) fn delivery(&self) -> Option<(usize, Found)> {
        let task = self.transcript.tasks().next();
        let entries = self.transcript.entries.iter().enumerate();
        entries.rev().find_map(|(at, entry)| {
            if entry.is_from_outside() {
                return None;
            }
            let whole = self
                .found(Key::Says(entry.hash))
                .filter(|call| call.reply.parts.binary_search(&entry.hash).is_ok());
            let lines = entry.lines(&self.shared.digests);
            let within = lines
                .iter()
                .map(|line| Key::Says(*line))
                .filter(|key| self.known.has(*key))
                .flat_map(|key| self.found(key))
                .filter(|call| holds(entry.text(), call));
            let mut calls: Vec<_> = whole
                .chain(within)
                .filter(|call| {
                    call.reply.text.len() >= SHORTEST_ALONE
                        && self.can_be_heard(call, entry, false)
                        && !other_task(call, task)
                })
                .collect();
            calls.sort_unstable_by_key(|call| call.id);
            calls.dedup_by_key(|call| call.id);
            self.best(&calls).map(|found| (at + 1, found))
        })
    }

    /// **Selector prompt.** A selector's prompt holds the whole conversation: the replies in it, else its task, tell which.
    pub(super) fn shown_to_selector(&self) -> Option<Found> {
        if self.kind != Kind::Selector {
            return None;
        }
        if let Some(before) = self.asked_again() {
            return Some(before);
        }
        let prompt = self.transcript.whole();
        let mut calls: Vec<_> = Vec::new();
        for line in lines::of_prompt(&prompt) {
            let line = hash::of(line);
            calls.extend(
                self.speaking(Key::Says(line)).filter(|call| {
                    !call.reply.text.is_empty() && prompt.contains(&*call.reply.text)
                }),
            );
            calls.extend(self.found(Key::WorksOn(line)));
        }
        // What the conversation began with is in it: a task, or what another agent said.
        let openings: Set<Hash> = lines::all::<Plain>(&prompt)
            .map(|line| hash::then(NOTHING, hash::of_said(line)))
            .collect();
        calls.retain(|call| match &call.task {
            Some(task) => prompt.contains(&**task),
            None => call.length == 0 || openings.contains(&call.opening),
        });
        calls.sort_unstable_by_key(|call| call.id);
        calls.dedup_by_key(|call| call.id);
        // How much of a conversation the prompt holds tells whether it is this one; which selectors saw it, whether it was told before.
        let rank = |call: &Call| {
            let at = (!call.reply.text.is_empty())
                .then(|| prompt.rfind(&*call.reply.text))
                .flatten();
            (
                at.is_some(),
                at,
                call.kind != Kind::Selector,
                !call.delivered.contains(&SELECTORS),
            )
        };
        let ranked: Vec<_> = calls.iter().map(|call| (rank(call), *call)).collect();
        let (best_rank, best) = ranked
            .iter()
            .max_by_key(|(rank, call)| (*rank, call.ended_ns))?;
        // A task alone is what every run of the same program begins with.
        let (spoken, ..) = best_rank;
        if !spoken && (best.kind == Kind::Selector || best.reply.tools.is_empty()) {
            return None;
        }
        let ambiguous = ranked
            .iter()
            .any(|(rank, call)| call.run != best.run && rank == best_rank);
        Some(Found {
            call: best.id,
            ambiguous,
        })
    }

    /// A selector asks once more after an answer that it could not use: the same prompt, that answer, and what is wrong with it.
    fn asked_again(&self) -> Option<Found> {
        let mut entries = self.transcript.entries.iter();
        let at = entries.rposition(|entry| entry.author == Author::Own)?;
        let answered = Key::Said(
            self.transcript.beginning(at),
            self.transcript.entries[at].hash,
        );
        let before: Vec<_> = self
            .found(answered)
            .filter(|call| call.system == self.system && call.length == at)
            .collect();
        self.best(&before)
    }

    /// **Selection.** A selector that saw all that this agent is sent, and whose choice nobody has followed yet.
    pub(super) fn selection(&self, not_before_ns: u64) -> Vec<&'s Call> {
        let entries = &self.transcript.entries;
        let Some(last) = entries.last() else {
            return Vec::new();
        };
        self.found(Key::Shown(last.first_line()))
            .filter(|call| call.ended_ns.is_some_and(|ended| ended >= not_before_ns))
            .filter(|call| {
                call.prompt.as_deref().is_some_and(|prompt| {
                    in_order(entries, prompt) && is_choice(prompt, &call.reply.text)
                })
            })
            .filter(|call| self.can_be_called(&call.reply.text, call.run))
            .collect()
    }

    /// Whether who asks can have this name in that run, by what is known of both: the agent of this name has the same instructions and tools,
    /// and whoever has these instructions has no other name.
    fn can_be_called(&self, name: &str, run: RunId) -> bool {
        let is_others = |turn: &Turn| {
            turn.speaker
                .name()
                .is_some_and(|known| *known.text == *name)
                && turn
                    .calls
                    .first()
                    .and_then(|call| self.known.get(*call))
                    .is_some_and(|call| {
                        (call.system, call.offer) != (self.system, self.transcript.offer())
                    })
        };
        let prompt = Prompt::of(self.credential, &self.transcript.system);
        let known = prompt.and_then(|prompt| self.shared.prompts.name(prompt));
        !self.transcript.hears(name)
            && known.is_none_or(|known| known == name)
            && self.runs.get(&run).is_none_or(|run| {
                let mut turns = run.turns.iter().rev().take(TURNS);
                !turns.any(is_others)
            })
    }

    /// The one of `selections` that fits best.
    pub(super) fn best_selection(&self, selections: &[&'s Call]) -> Option<Found> {
        self.best(selections)
    }

    /// **Society.** A summary shows what the members of the inner team said: the run of which it shows most, and the last of it.
    pub(super) fn summed_up(&self) -> Option<Found> {
        if self.kind != Kind::Society {
            return None;
        }
        let mut shown: Map<RunId, (usize, &Call)> = Map::default();
        for entry in &self.transcript.entries {
            let mut runs = Set::default();
            for call in self.speaking(Key::Says(entry.hash)) {
                // Whatever a run said several times is shown once for each time.
                if call.reply.is(entry.hash) && runs.insert(call.run) {
                    let (replies, last) = shown.entry(call.run).or_insert((0, call));
                    *replies += 1;
                    if last.ended_ns < call.ended_ns {
                        *last = call;
                    }
                }
            }
        }
        let most = shown.values().map(|(replies, _)| *replies).max()?;
        let last: Vec<_> = shown
            .into_values()
            .filter(|(replies, _)| *replies == most)
            .map(|(_, last)| last)
            .collect();
        self.best(&last)
    }

    /// **Agent as tool.** The request's task was passed to a tool that has not answered yet. Gives which of the reply's tools it is.
    pub(super) fn passed_to_tool(&self, task: Option<&Entry<'_>>) -> Option<(Found, usize)> {
        let task = match (self.kind, task) {
            (Kind::Agent | Kind::Bare, Some(task)) => Cow::Borrowed(task.text()),
            (Kind::Selector | Kind::Orchestrator, _) => Cow::Owned(self.transcript.whole()),
            _ => return None,
        };
        let task = &*task;
        let whole = matches!(self.kind, Kind::Agent | Kind::Bare);
        let first = whole.then(|| lines::first::<Plain>(task));
        let of_prompt = (!whole)
            .then(|| lines::of_prompt(task))
            .into_iter()
            .flatten();
        let mut fits: Vec<(&Call, usize)> = Vec::new();
        for line in first.into_iter().chain(of_prompt) {
            for call in self
                .found(Key::Passes(hash::of(line)))
                .filter(|call| !call.answered)
            {
                let tools = call.reply.tools.iter().enumerate();
                fits.extend(
                    tools
                        .filter(|(_, asked)| asked.level.is_none() && !asked.told)
                        .filter(|(_, asked)| {
                            argument_texts(&asked.call).iter().any(|text| {
                                if whole {
                                    text == task.trim()
                                } else {
                                    text.len() >= SHORTEST_ALONE && task.contains(&**text)
                                }
                            })
                        })
                        .map(|(tool, _)| (call, tool)),
                );
            }
        }
        // Old calls may never be answered, so the latest counts; of those at about the same moment the first, as it began first.
        let latest = fits.iter().filter_map(|(call, _)| call.ended_ns).max()?;
        let (first, tool) = fits
            .iter()
            .filter(|(call, _)| at_the_same_moment(call, latest))
            .min_by_key(|(call, tool)| (call.ended_ns, *tool))?;
        Some((
            Found {
                call: first.id,
                ambiguous: fits.iter().any(|(call, _)| call.run != first.run),
            },
            *tool,
        ))
    }

    /// The speaker whose reply an entry of the conversation is, where only one can be meant.
    pub(super) fn speaker_of(&self, at: usize, run: RunId) -> Option<&'s Speaker> {
        let entry = &self.transcript.entries[at];
        let calls: Vec<_> = self
            .known
            .found_in_run(Key::Says(entry.hash), self.started_ns, run)
            .filter(|call| {
                matches!(call.kind, Kind::Agent | Kind::Society) && call.reply.is(entry.hash)
            })
            .collect();
        let first = calls.first()?;
        if calls.iter().all(|call| call.speaker.is(&first.speaker)) {
            return Some(&first.speaker);
        }
        // Several said the same: only the place in the conversation tells them apart.
        let mut here = calls
            .iter()
            .filter(|call| call.length == at && call.beginning == self.transcript.beginning(at));
        let only = here.next()?;
        here.all(|call| call.speaker.is(&only.speaker))
            .then_some(&only.speaker)
    }

    /// Whether an entry can be the reply of `call`: whoever asks sees himself as the assistant, and everybody else by name. Where clients
    /// leave names out (`include_name_in_message`), a reply `word_for_word` in its place is one all the same.
    fn can_be_heard(&self, call: &Call, entry: &Entry<'_>, word_for_word: bool) -> bool {
        match (entry.author, entry.agent()) {
            (Author::Own, _) => call.system == self.system,
            (Author::Other, Some(name)) => {
                call.speaker.name().is_none_or(|known| *known.text == *name)
            }
            (Author::Other, None) => {
                word_for_word && entry.name.is_none() && call.system != self.system
            }
            (Author::System, _) => true,
        }
    }
}

/// Marks a reply as delivered to the selectors of its team, who differ in their system messages.
pub(super) const SELECTORS: Hash = 0;

fn at_the_same_moment(call: &Call, latest_ns: u64) -> bool {
    call.ended_ns
        .is_some_and(|ended_ns| ended_ns.saturating_add(SAME_MOMENT_NS) >= latest_ns)
}

fn holds(text: &str, call: &Call) -> bool {
    call.reply.text.len() > SHORTEST_WITHIN && text.contains(&*call.reply.text)
}

/// Both show their task, and it is not the same.
fn other_task(call: &Call, task: Option<&Entry<'_>>) -> bool {
    call.kind == Kind::Agent
        && matches!((&call.task, task), (Some(one), Some(other)) if **one != *other.text())
}

fn in_order(entries: &[Entry<'_>], mut text: &str) -> bool {
    entries.iter().all(|entry| {
        let Some(at) = text.find(entry.text()) else {
            return false;
        };
        text = &text[at + entry.text().len()..];
        true
    })
}
