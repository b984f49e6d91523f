//! Evidence from selectors: the conversation that a selector's prompt shows, and the agent that a selector has chosen.
//!
//! A prompt shows a whole conversation, and many calls can begin with the same line (`{`, three backticks). So a reply is compared with the
//! prompt only where its first line stands, from the end of the prompt on. The last reply decides, and the rest is not read.

use std::cell::{OnceCell, RefCell};

use memchr::memmem;

use super::super::autogen::is_name;
use super::super::call::{Call, RunId};
use super::super::call_index::IndexKey;
use super::super::caller_kind::CallerKind;
use super::super::lines;
use super::super::run::Turn;
use super::super::text_hash::{self, Hash, Map, Set};
use super::super::transcript::{Author, NOTHING};
use super::super::work_budget::{LOOK, WorkBudget};
use super::{Match, RequestContext, RunNames};

/// Most turns of a run that are compared, the latest ones.
const TURNS: usize = 64;
/// The recipient of replies that were sent to selectors of a team, whose system messages differ.
pub(crate) const SELECTORS: Hash = 0;

/// A selector's prompt, and the tasks that it shows.
struct SelectorPrompt<'p> {
    text: &'p str,
    work: &'p WorkBudget,
    /// Whether it shows a task, by the task's hash.
    tasks: RefCell<Map<Hash, bool>>,
    /// Each line, as the opening of a conversation.
    openings: OnceCell<Set<Hash>>,
}

impl SelectorPrompt<'_> {
    /// Whether it shows the opening of the conversation of `call`: a task, or the message of another agent.
    fn shows_opening_of(&self, call: &Call) -> bool {
        let Some(task) = &call.task else {
            return call.length == 0 || self.openings().contains(&call.opening);
        };
        let mut tasks = self.tasks.borrow_mut();
        *tasks
            .entry(text_hash::of(task))
            .or_insert_with(|| self.work.holds(self.text, task))
    }

    fn openings(&self) -> &Set<Hash> {
        self.openings.get_or_init(|| {
            let lines = lines::from_last(self.text);
            lines
                .take_while(|(_, line)| {
                    self.work.spend_on_lines(1) && self.work.spend_on_search(line.len())
                })
                .map(|(_, line)| text_hash::then(NOTHING, text_hash::of_message(line)))
                .collect()
        })
    }
}

impl<'s> RequestContext<'s> {
    /// **Selector prompt.** A selector's prompt holds the whole conversation: the last reply in it identifies it, else its task.
    pub(crate) fn shown_to_selector(&self) -> Option<Match> {
        if self.kind != CallerKind::Selector {
            return None;
        }
        if let Some(before) = self.asked_again() {
            return Some(before);
        }
        let whole = self.transcript.whole();
        let prompt = SelectorPrompt {
            text: &whole,
            work: &self.work,
            tasks: RefCell::default(),
            openings: OnceCell::new(),
        };
        let mut spoke: Map<Hash, Vec<&'s Call>> = Map::default();
        let mut working: Vec<&'s Call> = Vec::new();
        for (at, line) in lines::of_prompt(&whole) {
            if !prompt.work.spend_on_lines(1) {
                break;
            }
            let line = text_hash::of(line);
            let (says, works_on) = (IndexKey::Reply(line), IndexKey::Task(line));
            if !self.index.has(says) && !self.index.has(works_on) {
                continue;
            }
            let calls = spoke.entry(line).or_insert_with(|| {
                working.extend(self.find(works_on));
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
        // Every run of the same program begins with the task: only waiting tools tell them apart.
        newest(&working).filter(|found| {
            let call = self.index.get(found.call);
            call.is_some_and(|call| {
                call.kind != CallerKind::Selector && !call.reply.tools.is_empty()
            })
        })
    }

    /// A selector asks once more after an unusable answer: the same prompt, that answer, and a complaint.
    fn asked_again(&self) -> Option<Match> {
        let mut entries = self.transcript.entries.iter();
        let at = entries.rposition(|entry| entry.author == Author::Own)?;
        let answered = IndexKey::ReplyAfter(
            self.transcript.beginning(at),
            self.transcript.entries[at].hash,
        );
        let before: Vec<_> = self
            .find(answered)
            .filter(|call| call.system == self.system && call.length == at)
            .collect();
        self.best(&before)
    }

    /// **Selection.** Selectors that saw all that this agent is sent, and whose choice no request has followed yet.
    pub(crate) fn selection(&self, not_before_ns: u64) -> Vec<&'s Call> {
        let Some(last) = self.transcript.entries.last() else {
            return Vec::new();
        };
        self.find(IndexKey::SelectorLine(last.first_line()))
            .filter(|call| call.ended_ns.is_some_and(|ended| ended >= not_before_ns))
            .filter(|call| {
                call.prompt.as_deref().is_some_and(|prompt| {
                    is_name(&call.reply.text)
                        && self.is_shown_in(call, prompt)
                        && self.work.holds(prompt, &call.reply.text)
                })
            })
            .filter(|call| self.can_be_called(&call.reply.text, call.run))
            .collect()
    }

    /// Whether the caller can have this name in that run: the agent of this name has the caller's instructions and tools, and agents with the
    /// caller's instructions have no other name.
    fn can_be_called(&self, name: &str, run: RunId) -> bool {
        let is_others = |turn: &Turn| {
            turn.speaker
                .name()
                .is_some_and(|known| *known.text == *name)
                && turn
                    .calls
                    .first()
                    .and_then(|call| self.index.get(*call))
                    .is_some_and(|call| {
                        (call.system, call.offer) != (self.system, self.transcript.offer())
                    })
        };
        let run = self.runs.get(&run);
        let names = RunNames {
            own: self.own_names,
            shared: self.shared_names,
            began_ns: run.map_or(self.started_ns, |run| run.began_ns),
        };
        let known = self.prompt_hash().and_then(|prompt| names.get(prompt));
        !self.transcript.hears(name)
            && known.is_none_or(|known| *known == *name)
            && run.is_none_or(|run| {
                let mut turns = run.turns.iter().rev().take(TURNS);
                !turns.any(|turn| self.work.spend(LOOK) && is_others(turn))
            })
    }

    /// Whether the `prompt` of a selector's `call` shows all entries in their order. Selectors of alike runs have the same prompt.
    fn is_shown_in(&self, call: &Call, prompt: &str) -> bool {
        let mut shown_in = self.cache.shown_in.borrow_mut();
        let shown = shown_in.entry((call.system, call.beginning));
        *shown.or_insert_with(|| {
            let (entries, size) = (&self.transcript.entries, self.transcript.size());
            let work = &self.work;
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

/// The call that selectors of its team have not seen yet, else the one that ended last.
fn newest(calls: &[&Call]) -> Option<Match> {
    let rank = |call: &Call| {
        (
            call.kind != CallerKind::Selector,
            !call.is_delivered_to(SELECTORS),
        )
    };
    let best = calls
        .iter()
        .max_by_key(|call| (rank(call), call.ended_ns))?;
    Some(Match {
        call: best.id,
        ambiguous: calls
            .iter()
            .any(|call| call.run != best.run && rank(call) == rank(best)),
    })
}
