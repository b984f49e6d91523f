//! Evidence from tool rounds: whose tools a request shows.
//!
//! An id alone says little of that. Kimi on vLLM counts calls within a reply (`functions.search:0`), TGI gives all of them the id `0`, and
//! others leave it empty. So a round is known by the history before it, and its calls by their order. An id by itself counts only where a
//! history was cut short, and no other reply has it.

use super::super::call::{Call, RunId};
use super::super::call_index::IndexKey;
use super::super::message_text::cut;
use super::super::text_hash;
use super::super::tool_round::{ShownToolCall, ToolRound};
use super::super::transcript::Author;
use super::{Match, RequestContext};

impl<'s> RequestContext<'s> {
    /// **Tool-call id.** The request shows tool rounds: the call whose reply requested the latest one.
    pub(crate) fn tool_id(&self) -> Option<Match> {
        let mut rounds = self.transcript.rounds.iter().rev();
        rounds.find_map(|round| self.best(&self.requesters_of(round)))
    }

    /// The calls whose replies may have requested a tool round. An id alone says little, so the history before the round counts as well.
    fn requesters_of(&self, round: &ToolRound<'_>) -> Vec<&'s Call> {
        let Some(first) = round.calls.first() else {
            return Vec::new();
        };
        let id = text_hash::of(&first.id);
        let fits = |call: &'s Call| Some((call, self.tools_shown(round, call)?));
        let exact = self.speaking(IndexKey::ToolCallAfter(round.history, id));
        let mut requesters: Vec<_> = exact.filter_map(fits).collect();
        if requesters.is_empty() {
            let mut asking = self.speaking(IndexKey::ToolCall(id));
            let only = asking.next().filter(|_| asking.next().is_none());
            requesters.extend(
                only.filter(|call| self.is_cut_from(call, round))
                    .and_then(fits),
            );
        }
        if requesters.len() > 1 {
            let rank = |(call, tools): &(&Call, Vec<usize>)| {
                (
                    call.system == self.system,
                    self.shows_arguments_of(round, call, tools),
                )
            };
            let ranks: Vec<_> = requesters.iter().map(rank).collect();
            let best = ranks.iter().max().copied();
            let mut ranks = ranks.into_iter();
            requesters.retain(|_| ranks.next() == best);
        }
        requesters.into_iter().map(|(call, _)| call).collect()
    }

    /// Whether the request's history can be that of `call`, cut short before `round`.
    fn is_cut_from(&self, call: &Call, round: &ToolRound<'_>) -> bool {
        let before = round
            .at
            .checked_sub(1)
            .map(|at| &self.transcript.entries[at]);
        before.is_none_or(|before| before.hash == call.last)
            || matches!((&call.task, self.transcript.tasks().next()), (Some(one), Some(other)) if **one == *cut(other.text()))
    }

    /// The call that requested each tool round of the request: of several the one that is `followed`, one of its speaker, one of the run.
    pub(crate) fn requesters(
        &self,
        followed: Option<&Call>,
        run: Option<RunId>,
    ) -> Vec<Option<&'s Call>> {
        let likely = |call: &&Call| {
            (
                followed.is_some_and(|followed| followed.id == call.id),
                followed.is_some_and(|followed| followed.speaker.is(&call.speaker)),
                Some(call.run) == run,
                call.system == self.system,
                call.ended_ns,
            )
        };
        let rounds = self.transcript.rounds.iter();
        rounds
            .map(|round| self.requesters_of(round).into_iter().max_by_key(likely))
            .collect()
    }

    /// The caller's own call before this one: the latest whose tools the request shows, else whose text. Other agents may have said the same.
    pub(crate) fn own_before(
        &self,
        run: Option<RunId>,
        requesters: &[Option<&'s Call>],
    ) -> Option<&'s Call> {
        let of_mine = |call: &&Call| {
            let name = call.speaker.name();
            call.system == self.system
                && call.kind == self.kind
                && name.is_none_or(|name| !self.transcript.hears(&name.text))
        };
        let by_round = requesters.iter().rev().copied().flatten().find(of_mine);
        by_round.or_else(|| {
            let entries = self.transcript.entries.iter().rev();
            let mut own = entries.filter(|entry| entry.author == Author::Own && !entry.is_of_round);
            own.find_map(|entry| {
                let replies = self.replies_in_run(entry.hash, run?)?;
                replies
                    .iter()
                    .copied()
                    .filter(of_mine)
                    .filter(|call| call.reply.tools.is_empty())
                    .max_by_key(|call| call.ended_ns)
            })
        })
    }

    /// Whether a round after the first `at` texts shows tools of `call`.
    pub(crate) fn shows_tools_of(&self, call: &Call, at: usize) -> bool {
        let rounds = &self.transcript.rounds;
        rounds[rounds.partition_point(|round| round.at < at)..]
            .iter()
            .take_while(|round| round.at == at)
            .any(|round| self.tools_shown(round, call).is_some())
    }

    /// The tools of `call` that a round shows: some or all of them, in the reply's order. None where the round shows another reply's, or the
    /// budget is spent.
    pub(crate) fn tools_shown(&self, round: &ToolRound<'_>, call: &Call) -> Option<Vec<usize>> {
        let ids = round.calls.len() + call.reply.tools.len();
        self.work.spend_on_ids(ids).then_some(())?;
        let mut tools = call.reply.tools.iter().enumerate();
        let mut which = |shown: &ShownToolCall<'_>| {
            let tool = tools.find(|(_, requested)| shown.is(&requested.call));
            tool.map(|(tool, _)| tool)
        };
        round.calls.iter().map(&mut which).collect()
    }

    /// Whether a round shows the arguments that `call` passed to these tools, as far as the budget allows to compare them.
    fn shows_arguments_of(&self, round: &ToolRound<'_>, call: &Call, tools: &[usize]) -> bool {
        let arguments = || {
            tools
                .iter()
                .map(|tool| &call.reply.tools[*tool].call.arguments)
        };
        let mut pairs = round.calls.iter().zip(arguments());
        self.work
            .spend_on_search(arguments().map(String::len).sum())
            && pairs.all(|(shown, arguments)| shown.passes(arguments))
    }
}
