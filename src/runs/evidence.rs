//! The evidence that a request gives of the call that it follows, each kind by itself. [`super::attribution`] weighs them.
//!
//! Evidence is taken only from replies that had ended when the request began: later ones cannot have caused it.

pub(super) mod names;
pub(super) mod selector;
pub(super) mod tool_results;
mod tool_rounds;

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::agent_names::{ConversationNames, PromptHash, RunNames, SharedNames};
use super::call::{Call, CallId, PassedText, RequestedTool, RunId, argument_texts};
use super::call_index::{CallIndex, IndexKey};
use super::caller_kind::CallerKind;
use super::digest_cache::DigestCache;
use super::lines;
use super::message_text::{MOST_LINES, cut};
use super::run::Run;
use super::speaker::Speaker;
use super::text_hash::{self, Hash, Map, Set};
use super::transcript::{Author, Transcript, TranscriptEntry};
use super::work_budget::WorkBudget;
use crate::identity::Credential;

/// Shortest reply, in bytes, that is recognised within a longer text.
const SHORTEST_WITHIN: usize = 20;
/// Shortest reply, in bytes, that identifies its call when nothing around it fits.
const SHORTEST_ALONE: usize = 4;

/// Replies that ended within so many nanoseconds are followed in their order.
const SAME_MOMENT_NS: u64 = 100_000_000;

/// A request, and the state of its conversation that it is compared with.
#[derive(Debug)]
pub(super) struct RequestContext<'s> {
    pub(super) transcript: &'s Transcript<'s>,
    pub(super) kind: CallerKind,
    /// The caller's system message.
    pub(super) system: Hash,
    pub(super) started_ns: u64,
    pub(super) index: &'s CallIndex,
    pub(super) runs: &'s BTreeMap<RunId, Box<Run>>,
    pub(super) credential: &'s Credential,
    pub(super) digests: &'s DigestCache,
    pub(super) own_names: &'s ConversationNames,
    pub(super) shared_names: &'s SharedNames,
    /// Every look at a call or a text takes from it.
    pub(super) work: WorkBudget,
    pub(super) cache: ContextCache<'s>,
}

/// Calls of one lookup.
type FoundCalls<'s> = Rc<[&'s Call]>;

/// Results that are requested for more than once.
#[derive(Debug, Default)]
pub(super) struct ContextCache<'s> {
    replies_in_run: RefCell<Map<(RunId, Hash), FoundCalls<'s>>>,
    prompt_hash: OnceCell<Option<PromptHash>>,
    /// Whether a selector's prompt shows all of the request, by the prompt's system message and texts.
    shown_in: RefCell<Map<(Hash, Hash), bool>>,
}

/// What a request follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttributionTarget {
    /// Nothing: a run begins.
    Nothing,
    /// A call, in its run.
    Call(CallId),
    /// A call of an earlier run of the same conversation.
    Conversation(CallId),
    /// The tool of this number that a call requested.
    Tool(CallId, usize),
}

/// The strongest evidence of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Evidence {
    pub(super) target: AttributionTarget,
    /// The rule's name in a span.
    pub(super) rule: &'static str,
    /// Other runs could have claimed the request.
    pub(super) ambiguous: bool,
    /// The selector's call that chose the caller.
    pub(super) selected_by: Option<CallId>,
}

/// A call that the request may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) call: CallId,
    /// Calls of other runs fit as well.
    pub(super) ambiguous: bool,
}

/// How well a call fits: its reply was not sent to the caller before, and so many texts are shared.
type MatchRank = (bool, usize);

impl Evidence {
    /// The call whose reply the caller was sent.
    pub(super) fn followed(&self) -> Option<CallId> {
        match self.target {
            AttributionTarget::Call(call) | AttributionTarget::Conversation(call) => Some(call),
            AttributionTarget::Nothing | AttributionTarget::Tool(..) => None,
        }
    }
}

impl<'s> RequestContext<'s> {
    fn find(&self, key: IndexKey) -> impl Iterator<Item = &'s Call> {
        self.index.find(key, self.started_ns, &self.work)
    }

    /// The calls under `key` whose replies go to a team.
    fn speaking(&self, key: IndexKey) -> impl Iterator<Item = &'s Call> {
        self.find(key).filter(|call| {
            matches!(
                call.kind,
                CallerKind::Agent | CallerKind::Orchestrator | CallerKind::Bare
            )
        })
    }

    /// The hash by which other runs know the caller.
    pub(super) fn prompt_hash(&self) -> Option<PromptHash> {
        let make = || PromptHash::of(self.credential, &self.transcript.system);
        *self.cache.prompt_hash.get_or_init(make)
    }

    fn rank(&self, call: &Call) -> MatchRank {
        (!call.is_delivered_to(self.system), self.shared_texts(call))
    }

    /// The number of texts that the request shares with that of `call`, from the first on.
    fn shared_texts(&self, call: &Call) -> usize {
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
    pub(super) fn best(&self, calls: &[&'s Call]) -> Option<Match> {
        let rank = calls.iter().map(|call| self.rank(call)).max()?;
        let alike = || calls.iter().filter(|call| self.rank(call) == rank);
        let latest = alike().filter_map(|call| call.ended_ns).max()?;
        let best = alike()
            .filter(|call| at_the_same_moment(call, latest))
            .min_by_key(|call| call.ended_ns)?;
        // A request that followed another of them since then may have been this one's.
        let contested = |call: &&&Call| {
            best.ended_ns
                .is_some_and(|ended_ns| ended_ns <= call.contested_ns)
                && self.shared_texts(call) == rank.1
        };
        Some(Match {
            call: best.id,
            ambiguous: alike()
                .chain(calls.iter().filter(contested))
                .any(|call| call.run != best.run),
        })
    }

    /// **Transcript chain.** The request begins with another request and that one's reply. The longest wins; its length comes with it, the
    /// reply included.
    pub(super) fn chain(&self) -> Option<(usize, Match)> {
        let entries = &self.transcript.entries;
        (0..entries.len()).rev().find_map(|at| {
            let (entry, beginning) = (&entries[at], self.transcript.beginning(at));
            let replied = self
                .speaking(IndexKey::ReplyAfter(beginning, entry.hash))
                .filter(|call| call.reply.tools.is_empty() && self.can_be_heard(call, entry, true));
            // Other agents see what its tools gave: any text, unless ids tell.
            let called = self
                .speaking(IndexKey::ToolsAfter(beginning))
                .filter(|call| {
                    if !self.work.spend_on_ids(call.reply.tools.len()) {
                        return false;
                    }
                    let thought = call.requests_handoff() && call.reply.is(entry.hash);
                    thought
                        || self.shows_tools_of(call, at)
                        || self.can_be_heard(call, entry, false)
                });
            let calls: Vec<_> = replied.chain(called).collect();
            self.best(&calls).map(|found| (at + 1, found))
        })
    }

    /// **Delivery.** The latest message that is, or holds, a reply, where histories are cut short or rewritten. The number of entries up to it
    /// comes with it.
    pub(super) fn delivery(&self) -> Option<(usize, Match)> {
        let task = self.transcript.tasks().next();
        let entries = self.transcript.entries.iter().enumerate();
        let mut tried = Set::default();
        entries.rev().find_map(|(at, entry)| {
            if entry.is_from_outside() {
                return None;
            }
            let lines = self.lines(entry);
            let is_known = |line: &Hash| self.index.has(IndexKey::Reply(*line));
            // A repeated text that is no reply is looked at once.
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
                .find(IndexKey::Reply(entry.hash))
                .filter(|call| call.reply.parts.binary_search(&entry.hash).is_ok() && fits(call))
                .collect();
            calls.extend(self.held(entry, &lines, fits));
            calls.sort_unstable_by_key(|call| call.id);
            calls.dedup_by_key(|call| call.id);
            self.best(&calls).map(|found| (at + 1, found))
        })
    }

    /// The lines of an entry, as many as the budget allows to look up.
    fn lines<'e>(&'e self, entry: &TranscriptEntry<'_>) -> Cow<'e, [Hash]> {
        let work = &self.work;
        if !work.spend(1) {
            return Cow::Borrowed(&[]);
        }
        let lines = entry.lines(self.digests);
        if lines.len() == MOST_LINES {
            work.exceeded();
        }
        work.spend_on_lines(lines.len());
        lines
    }

    /// Calls that fit and whose replies stand within an entry. A reply is compared only where its first line stands.
    fn held(
        &self,
        entry: &TranscriptEntry<'_>,
        lines: &[Hash],
        fits: impl Fn(&&Call) -> bool,
    ) -> Vec<&'s Call> {
        let mut sought: Map<Hash, Vec<&'s Call>> = Map::default();
        for line in lines {
            if self.index.has(IndexKey::Reply(*line)) {
                sought.entry(*line).or_insert_with(|| {
                    self.find(IndexKey::Reply(*line))
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
            if !self.work.spend_on_lines(1) {
                break;
            }
            if let Some(calls) = sought.get_mut(&text_hash::of(line)) {
                held.extend(calls.extract_if(.., |call| {
                    let work = &self.work;
                    work.stands(entry.text(), at, &call.reply.text)
                }));
            }
        }
        held
    }

    /// **Society.** A summary shows the replies of an inner team: the run of which it shows most, and the last reply of that.
    pub(super) fn summed_up(&self) -> Option<Match> {
        if self.kind != CallerKind::Society {
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
            for call in self.speaking(IndexKey::Reply(text)) {
                // A text that a run said several times is shown once for each time.
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

    /// **Agent as tool.** The request's task was passed to a tool that has not answered yet. The tool's number comes with it.
    pub(super) fn passed_to_tool(
        &self,
        task: Option<&TranscriptEntry<'_>>,
    ) -> Option<(Match, usize)> {
        let fits = match (self.kind, task) {
            (CallerKind::Agent | CallerKind::Bare, Some(task)) => self.passed_as_task(task),
            (CallerKind::Selector | CallerKind::Orchestrator, _) => {
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
            Match {
                call: first.id,
                ambiguous: fits.iter().any(|(call, _)| call.run != first.run),
            },
            *tool,
        ))
    }

    /// Waiting tools to which all of `task` was passed.
    fn passed_as_task(&self, task: &TranscriptEntry<'_>) -> Vec<(&'s Call, usize)> {
        let task = PassedText {
            first_line: task.first_line(),
            whole: task.hash,
        };
        let mut fits = Vec::new();
        for call in self.find(IndexKey::ToolArgument(task.first_line)) {
            let tools = self.waiting_tools(call);
            fits.extend(
                tools
                    .filter(|(_, requested)| requested.passed.contains(&task))
                    .map(|(tool, _)| (call, tool)),
            );
        }
        fits
    }

    /// Waiting tools to which a text within `text` was passed.
    fn passed_within(&self, text: &str) -> Vec<(&'s Call, usize)> {
        let mut sought: Map<Hash, Vec<(&'s Call, usize, String)>> = Map::default();
        let mut fits = Vec::new();
        for (at, line) in lines::of_prompt(text) {
            if !self.work.spend_on_lines(1) {
                break;
            }
            let line = text_hash::of(line);
            if !self.index.has(IndexKey::ToolArgument(line)) {
                continue;
            }
            let passed = sought.entry(line).or_insert_with(|| {
                let calls = self.find(IndexKey::ToolArgument(line));
                let tools =
                    calls.flat_map(|call| self.waiting_tools(call).map(move |tool| (call, tool)));
                tools
                    .filter(|(_, (_, requested))| {
                        requested.passed.iter().any(|text| text.first_line == line)
                            && self.work.spend_on_search(requested.call.arguments.len())
                    })
                    .flat_map(|(call, (tool, requested))| {
                        let texts = argument_texts(&requested.call).into_iter();
                        texts.map(move |text| (call, tool, text))
                    })
                    .filter(|(.., text)| {
                        text.len() >= SHORTEST_ALONE && text_hash::of_first_line(text) == line
                    })
                    .collect()
            });
            let here = passed.extract_if(.., |(.., passed)| self.work.stands(text, at, passed));
            fits.extend(here.map(|(call, tool, _)| (call, tool)));
        }
        fits
    }

    /// The tools of a call that may be at work.
    fn waiting_tools(&self, call: &'s Call) -> impl Iterator<Item = (usize, &'s RequestedTool)> {
        let waits = !call.answered && self.work.spend_on_ids(call.reply.tools.len());
        let tools = call.reply.tools.iter().enumerate();
        tools.filter(move |(_, requested)| waits && requested.level.is_none() && !requested.emitted)
    }

    /// The speaker of an entry, where only one can be meant.
    pub(super) fn speaker_of(&self, at: usize, run: RunId) -> Option<&'s Speaker> {
        let entry = &self.transcript.entries[at];
        let replies = self.replies_in_run(entry.hash, run)?;
        let calls = || {
            let calls = replies.iter().copied();
            calls.filter(|call| matches!(call.kind, CallerKind::Agent | CallerKind::Society))
        };
        let first = calls().next()?;
        if calls().all(|call| call.speaker.is(&first.speaker)) {
            return Some(&first.speaker);
        }
        // Several speakers said the same: only the place in the history tells them apart.
        let mut here = calls()
            .filter(|call| call.length == at && call.beginning == self.transcript.beginning(at));
        let only = here.next()?;
        here.all(|call| call.speaker.is(&only.speaker))
            .then_some(&only.speaker)
    }

    /// The calls of a run whose reply is this text; none where the text is no reply of it.
    pub(super) fn replies_in_run(&self, text: Hash, run: RunId) -> Option<FoundCalls<'s>> {
        let key = IndexKey::ReplyInRun(run, text);
        if !self.index.has(key) {
            return None;
        }
        let mut replies = self.cache.replies_in_run.borrow_mut();
        let calls = replies.entry((run, text)).or_insert_with(|| {
            let calls = self.find(key);
            calls.filter(|call| call.reply.is(text)).collect()
        });
        Some(Rc::clone(calls))
    }

    /// Whether both show a task, and the tasks differ.
    pub(super) fn has_other_task(&self, call: &Call, task: Option<&TranscriptEntry<'_>>) -> bool {
        let (CallerKind::Agent, Some(one), Some(other)) = (call.kind, &call.task, task) else {
            return false;
        };
        let other = cut(other.text());
        one.len() != other.len() || !self.work.stands(other, 0, one)
    }

    /// Whether an entry can be the reply of `call`: an agent sees itself as the assistant, and the others by name. Where clients leave names out
    /// (`include_name_in_message`), a reply `word_for_word` in its place counts all the same.
    fn can_be_heard(&self, call: &Call, entry: &TranscriptEntry<'_>, word_for_word: bool) -> bool {
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

    /// The calls of a run whose replies a society summarises.
    pub(super) fn members(&self, run: Option<RunId>) -> Vec<CallId> {
        let (CallerKind::Society, Some(run)) = (self.kind, run) else {
            return Vec::new();
        };
        let mut texts = Set::default();
        let mut members = Vec::new();
        for entry in &self.transcript.entries {
            if texts.insert(entry.hash)
                && let Some(replies) = self.replies_in_run(entry.hash, run)
            {
                let agents = replies.iter().filter(|call| call.kind == CallerKind::Agent);
                members.extend(agents.map(|call| call.id));
            }
        }
        members
    }
}

fn at_the_same_moment(call: &Call, latest_ns: u64) -> bool {
    call.ended_ns
        .is_some_and(|ended_ns| ended_ns.saturating_add(SAME_MOMENT_NS) >= latest_ns)
}
