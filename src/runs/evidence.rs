//! What tells which call a request follows, each kind of evidence by itself. [`super::link`] says which of them counts.
//!
//! Everything here looks at replies that had ended when the request began, and at nothing else: what came later is no cause.

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::Shared;
use super::call::{Asked, Call, CallId, PassedText, RunId, Speaker, argument_texts};
use super::hash::{self, Hash, Map, Set};
use super::kind::Kind;
use super::known::{Key, Known};
use super::lines;
use super::prompts::Prompt;
use super::run::Run;
use super::said::{MOST_LINES, cut};
use super::transcript::{Author, Entry, Transcript};
use crate::identity::Credential;

/// Shortest reply, in bytes, that is recognised within a longer text.
const SHORTEST_WITHIN: usize = 20;
/// Shortest reply that says whose it is when nothing around it fits.
const SHORTEST_ALONE: usize = 4;

/// What was caused by replies that ended within so many nanoseconds comes in their order.
const SAME_MOMENT_NS: u64 = 100_000_000;

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
    pub(super) memo: Memo<'s>,
}

/// Calls that were found.
type Calls<'s> = Rc<[&'s Call]>;

/// What was found out about the request, and is asked for more than once.
#[derive(Debug, Default)]
pub(super) struct Memo<'s> {
    said_in_run: RefCell<Map<(RunId, Hash), Calls<'s>>>,
    /// By which other runs know whoever asks.
    pub(super) prompt: OnceCell<Option<Prompt>>,
    /// Whether prompts show all of the request, by their system message and texts.
    pub(super) shown_in: RefCell<Map<(Hash, Hash), bool>>,
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
        (!call.is_delivered_to(self.system), self.shared(call))
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
            usize::from(call.length > 0 && same(1, call.meta))
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
                if !self.known.work.spend_on_ids(call.reply.tools.len()) {
                    return false;
                }
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
        let mut tried = Set::default();
        entries.rev().find_map(|(at, entry)| {
            if entry.is_from_outside() {
                return None;
            }
            let lines = self.lines(entry);
            let is_known = |line: &Hash| self.known.has(Key::Says(*line));
            // What nobody can have said is not looked at again where it is repeated.
            if !(is_known(&entry.hash) || lines.iter().any(is_known))
                || !tried.insert((entry.hash, entry.author, entry.agent()))
            {
                return None;
            }
            let fits = |call: &&Call| {
                call.reply.text.len() >= SHORTEST_ALONE
                    && self.can_be_heard(call, entry, false)
                    && !self.has_other_task(call, task)
            };
            let mut calls: Vec<_> = self
                .found(Key::Says(entry.hash))
                .filter(|call| call.reply.parts.binary_search(&entry.hash).is_ok() && fits(call))
                .collect();
            calls.extend(self.held(entry, &lines, fits));
            calls.sort_unstable_by_key(|call| call.id);
            calls.dedup_by_key(|call| call.id);
            self.best(&calls).map(|found| (at + 1, found))
        })
    }

    /// The lines of an entry, as many as may be looked up.
    fn lines<'e>(&'e self, entry: &Entry<'_>) -> Cow<'e, [Hash]> {
        let work = &self.known.work;
        if !work.spend(1) {
            return Cow::Borrowed(&[]);
        }
        let lines = entry.lines(&self.shared.digests);
        if lines.len() == MOST_LINES {
            work.exceeded();
        }
        work.spend_on_lines(lines.len());
        lines
    }

    /// Calls that fit and whose replies stand within an entry. Each is compared only where its first line stands.
    fn held(
        &self,
        entry: &Entry<'_>,
        lines: &[Hash],
        fits: impl Fn(&&Call) -> bool,
    ) -> Vec<&'s Call> {
        let mut sought: Map<Hash, Vec<&'s Call>> = Map::default();
        for line in lines {
            if self.known.has(Key::Says(*line)) {
                sought.entry(*line).or_insert_with(|| {
                    self.found(Key::Says(*line))
                        .filter(|call| call.reply.text.len() > SHORTEST_WITHIN && fits(call))
                        .collect()
                });
            }
        }
        sought.retain(|_, calls| !calls.is_empty());
        let mut held = Vec::new();
        if sought.is_empty() {
            return held;
        }
        for (at, line) in lines::from_last(entry.text()) {
            if !self.known.work.spend_on_lines(1) {
                break;
            }
            if let Some(calls) = sought.get_mut(&hash::of(line)) {
                held.extend(calls.extract_if(.., |call| {
                    let work = &self.known.work;
                    work.stands(entry.text(), at, &call.reply.text)
                }));
            }
        }
        held
    }

    /// **Society.** A summary shows what the members of the inner team said: the run of which it shows most, and the last of it.
    pub(super) fn summed_up(&self) -> Option<Found> {
        if self.kind != Kind::Society {
            return None;
        }
        let mut shown: Map<RunId, (usize, &Call)> = Map::default();
        let mut times: Map<Hash, usize> = Map::default();
        for entry in &self.transcript.entries {
            *times.entry(entry.hash).or_default() += 1;
        }
        for text in self.transcript.entries.iter().map(|entry| entry.hash) {
            let Some(times) = times.remove(&text) else {
                continue;
            };
            let mut runs = Set::default();
            for call in self.speaking(Key::Says(text)) {
                // Whatever a run said several times is shown once for each time.
                if call.reply.is(text) && runs.insert(call.run) {
                    let (replies, last) = shown.entry(call.run).or_insert((0, call));
                    *replies += times;
                    if last.ended_ns < call.ended_ns {
                        *last = call;
                    }
                }
            }
        }
        let most = shown.values().map(|(replies, _)| *replies).max()?;
        let mut last: Vec<_> = shown
            .into_values()
            .filter(|(replies, _)| *replies == most)
            .map(|(_, last)| last)
            .collect();
        last.sort_unstable_by_key(|call| call.id);
        self.best(&last)
    }

    /// **Agent as tool.** The request's task was passed to a tool that has not answered yet. Gives which of the reply's tools it is.
    pub(super) fn passed_to_tool(&self, task: Option<&Entry<'_>>) -> Option<(Found, usize)> {
        let fits = match (self.kind, task) {
            (Kind::Agent | Kind::Bare, Some(task)) => self.passed_as_task(task),
            (Kind::Selector | Kind::Orchestrator, _) => {
                self.passed_within(&self.transcript.whole())
            }
            _ => return None,
        };
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

    /// Tools that wait, to which all of `task` was passed.
    fn passed_as_task(&self, task: &Entry<'_>) -> Vec<(&'s Call, usize)> {
        let task = PassedText {
            first_line: task.first_line(),
            whole: task.hash,
        };
        let mut fits = Vec::new();
        for call in self.found(Key::Passes(task.first_line)) {
            let tools = self.waiting_tools(call);
            fits.extend(
                tools
                    .filter(|(_, asked)| asked.passed.contains(&task))
                    .map(|(tool, _)| (call, tool)),
            );
        }
        fits
    }

    /// Tools that wait, to which a text was passed that stands within `text`.
    fn passed_within(&self, text: &str) -> Vec<(&'s Call, usize)> {
        let mut sought: Map<Hash, Vec<(&'s Call, usize, String)>> = Map::default();
        let mut fits = Vec::new();
        for (at, line) in lines::of_prompt(text) {
            if !self.known.work.spend_on_lines(1) {
                break;
            }
            let line = hash::of(line);
            if !self.known.has(Key::Passes(line)) {
                continue;
            }
            let passed = sought.entry(line).or_insert_with(|| {
                let calls = self.found(Key::Passes(line));
                let tools =
                    calls.flat_map(|call| self.waiting_tools(call).map(move |tool| (call, tool)));
                tools
                    .filter(|(_, (_, asked))| {
                        asked.passed.iter().any(|text| text.first_line == line)
                            && self.known.work.spend_on_search(asked.call.arguments.len())
                    })
                    .flat_map(|(call, (tool, asked))| {
                        let texts = argument_texts(&asked.call).into_iter();
                        texts.map(move |text| (call, tool, text))
                    })
                    .filter(|(.., text)| {
                        text.len() >= SHORTEST_ALONE && hash::of_first_line(text) == line
                    })
                    .collect()
            });
            let here =
                passed.extract_if(.., |(.., passed)| self.known.work.stands(text, at, passed));
            fits.extend(here.map(|(call, tool, _)| (call, tool)));
        }
        fits
    }

    /// The tools of a call that may be at work on what was passed to them.
    fn waiting_tools(&self, call: &'s Call) -> impl Iterator<Item = (usize, &'s Asked)> {
        let waits = !call.answered && self.known.work.spend_on_ids(call.reply.tools.len());
        let tools = call.reply.tools.iter().enumerate();
        tools.filter(move |(_, asked)| waits && asked.level.is_none() && !asked.told)
    }

    /// The speaker whose reply an entry of the conversation is, where only one can be meant.
    pub(super) fn speaker_of(&self, at: usize, run: RunId) -> Option<&'s Speaker> {
        let entry = &self.transcript.entries[at];
        let said = self.said_in_run(entry.hash, run)?;
        let calls = || {
            let calls = said.iter().copied();
            calls.filter(|call| matches!(call.kind, Kind::Agent | Kind::Society))
        };
        let first = calls().next()?;
        if calls().all(|call| call.speaker.is(&first.speaker)) {
            return Some(&first.speaker);
        }
        // Several said the same: only the place in the conversation tells them apart.
        let mut here = calls()
            .filter(|call| call.length == at && call.beginning == self.transcript.beginning(at));
        let only = here.next()?;
        here.all(|call| call.speaker.is(&only.speaker))
            .then_some(&only.speaker)
    }

    /// The calls of a run whose reply is this text; none where no call is known for it.
    pub(super) fn said_in_run(&self, text: Hash, run: RunId) -> Option<Calls<'s>> {
        let key = Key::SaysInRun(run, text);
        if !self.known.has(key) {
            return None;
        }
        let mut said = self.memo.said_in_run.borrow_mut();
        let calls = said.entry((run, text)).or_insert_with(|| {
            let calls = self.found(key);
            calls.filter(|call| call.reply.is(text)).collect()
        });
        Some(Rc::clone(calls))
    }

    /// Both show their task, and it is not the same.
    pub(super) fn has_other_task(&self, call: &Call, task: Option<&Entry<'_>>) -> bool {
        let (Kind::Agent, Some(one), Some(other)) = (call.kind, &call.task, task) else {
            return false;
        };
        let other = cut(other.text());
        one.len() != other.len() || !self.known.work.stands(other, 0, one)
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

fn at_the_same_moment(call: &Call, latest_ns: u64) -> bool {
    call.ended_ns
        .is_some_and(|ended_ns| ended_ns.saturating_add(SAME_MOMENT_NS) >= latest_ns)
}
