//! Evidence from selectors: which conversation a selector's prompt shows, and whom a selector has chosen.
//!
//! A prompt shows a whole conversation, and many calls can begin with the same line (`{`, three backticks). So a reply is compared with the
//! prompt only where its first line stands, from the end of the prompt on: the reply that stands last decides, and the rest is not read.

use std::cell::{OnceCell, RefCell};

use memchr::memmem;

use super::call::{Call, RunId};
use super::evidence::{Found, Scene};
use super::hash::{self, Hash, Map, Set};
use super::kind::{Kind, is_name};
use super::known::Key;
use super::lines;
use super::prompts::Prompt;
use super::run::Turn;
use super::transcript::{Author, NOTHING};
use super::work::{LOOK, WorkBudget};

/// The latest turns of a run tell who its agents are.
const TURNS: usize = 64;
/// Marks a reply as delivered to the selectors of its team, who differ in their system messages.
pub(super) const SELECTORS: Hash = 0;

/// A selector's prompt, and which tasks it shows.
struct SelectorPrompt<'p> {
    text: &'p str,
    work: &'p WorkBudget,
    /// By their hashes, whether it shows them.
    tasks: RefCell<Map<Hash, bool>>,
    /// What each line would be as the meta of a conversation.
    openings: OnceCell<Set<Hash>>,
}

impl SelectorPrompt<'_> {
    /// Whether it shows what the conversation of `call` began with: a task, or what another agent said.
    fn shows_opening_of(&self, call: &Call) -> bool {
        let Some(task) = &call.task else {
            return call.length == 0 || self.openings().contains(&call.meta);
        };
        let mut tasks = self.tasks.borrow_mut();
        *tasks
            .entry(hash::of(task))
            .or_insert_with(|| self.work.holds(self.text, task))
    }

    fn openings(&self) -> &Set<Hash> {
        self.openings.get_or_init(|| {
            let lines = lines::from_last(self.text);
            lines
                .take_while(|(_, line)| {
                    self.work.spend_on_lines(1) && self.work.spend_on_search(line.len())
                })
                .map(|(_, line)| hash::then(NOTHING, hash::of_said(line)))
                .collect()
        })
    }
}

impl<'s> Scene<'s> {
    /// **Selector prompt.** A selector's prompt holds the whole conversation: the last reply in it, else its task, tells which.
    pub(super) fn shown_to_selector(&self) -> Option<Found> {
        if self.kind != Kind::Selector {
            return None;
        }
        if let Some(before) = self.asked_again() {
            return Some(before);
        }
        let whole = self.transcript.whole();
        let prompt = SelectorPrompt {
            text: &whole,
            work: &self.known.work,
            tasks: RefCell::default(),
            openings: OnceCell::new(),
        };
        let mut spoke: Map<Hash, Vec<&'s Call>> = Map::default();
        let mut working: Vec<&'s Call> = Vec::new();
        for (at, line) in lines::of_prompt(&whole) {
            if !prompt.work.spend_on_lines(1) {
                break;
            }
            let line = hash::of(line);
            let (says, works_on) = (Key::Says(line), Key::WorksOn(line));
            if !self.known.has(says) && !self.known.has(works_on) {
                continue;
            }
            let calls = spoke.entry(line).or_insert_with(|| {
                working.extend(self.found(works_on));
                let speaking = self.speaking(says);
                speaking
                    .filter(|call| !call.reply.text.is_empty())
                    .collect()
            });
            let here =
                calls.extract_if(.., |call| prompt.work.stands(&whole, at, &call.reply.text));
            let here = here.filter(|call| prompt.shows_opening_of(call));
            if let Some(found) = newest(&here.collect::<Vec<_>>()) {
                return Some(found);
            }
        }
        working.sort_unstable_by_key(|call| call.id);
        working.dedup_by_key(|call| call.id);
        working.retain(|call| prompt.shows_opening_of(call));
        // A task alone is what every run of the same program begins with: only tools that wait tell which run this is.
        newest(&working).filter(|found| {
            let call = self.known.get(found.call);
            call.is_some_and(|call| call.kind != Kind::Selector && !call.reply.tools.is_empty())
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
        let Some(last) = self.transcript.entries.last() else {
            return Vec::new();
        };
        self.found(Key::Shown(last.first_line()))
            .filter(|call| call.ended_ns.is_some_and(|ended| ended >= not_before_ns))
            .filter(|call| {
                call.prompt.as_deref().is_some_and(|prompt| {
                    is_name(&call.reply.text)
                        && self.is_shown_in(call, prompt)
                        && self.known.work.holds(prompt, &call.reply.text)
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
        let prompt = self
            .memo
            .prompt
            .get_or_init(|| Prompt::of(self.credential, &self.transcript.system));
        let known = prompt.and_then(|prompt| self.shared.prompts.name(prompt));
        !self.transcript.hears(name)
            && known.is_none_or(|known| known == name)
            && self.runs.get(&run).is_none_or(|run| {
                let mut turns = run.turns.iter().rev().take(TURNS);
                !turns.any(|turn| self.known.work.spend(LOOK) && is_others(turn))
            })
    }

    /// The one of `selections` that fits best.
    pub(super) fn best_selection(&self, selections: &[&'s Call]) -> Option<Found> {
        self.best(selections)
    }

    /// Whether the `prompt` of a selector's `call` shows all entries in their order. Selectors of alike runs have the same prompt.
    fn is_shown_in(&self, call: &Call, prompt: &str) -> bool {
        let mut shown_in = self.memo.shown_in.borrow_mut();
        let shown = shown_in.entry((call.system, call.beginning));
        *shown.or_insert_with(|| {
            let (entries, size) = (&self.transcript.entries, self.transcript.size());
            let work = &self.known.work;
            let mut rest = prompt;
            work.spend(entries.len() * LOOK)
                && work.spend_on_search(prompt.len() + size)
                && entries.iter().all(|entry| {
                    let text = entry.text();
                    let at = memmem::find(rest.as_bytes(), text.as_bytes());
                    at.is_some_and(|at| {
                        rest = &rest[at + text.len()..];
                        true
                    })
                })
        })
    }
}

/// The call that selectors of its team have not seen yet, then the one that ended last.
fn newest(calls: &[&Call]) -> Option<Found> {
    let rank = |call: &Call| {
        (
            call.kind != Kind::Selector,
            !call.is_delivered_to(SELECTORS),
        )
    };
    let best = calls
        .iter()
        .max_by_key(|call| (rank(call), call.ended_ns))?;
    Some(Found {
        call: best.id,
        ambiguous: calls
            .iter()
            .any(|call| call.run != best.run && rank(call) == rank(best)),
    })
}
