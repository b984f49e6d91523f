//! The runs of one asker: calls arrive, are placed in order of arrival, and settle; runs close.
//!
//! A call is placed when it settles, or a later one does: by then every reply that it can follow is known. Nothing that comes later changes
//! where it stands.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::call::{CallId, Reply, RunId};
use super::hash::Map;
use super::kind::{self, Kind};
use super::known::Known;
use super::prompts::Prompts;
use super::run::{Extent, Run};
use super::tree;
use super::{Asker, FinishedSpan, Shared};
use crate::exchange::{CallKey, CapturedBody, Exchange, ExchangeId, RequestMeta, RetryAttempt};
use crate::span::exchange::failure;
use crate::span::{Key, Placement, Value, key};

/// A request that is whole.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) meta: Arc<RequestMeta>,
    pub(super) started_ns: u64,
    pub(super) body: CapturedBody,
}

/// The runs of one asker.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) asker: Asker,
    pub(super) known: Known,
    /// Each in a place of its own: taking one out moves those beside it.
    pub(super) runs: BTreeMap<RunId, Box<Run>>,
    /// How many of them are not closed.
    pub(super) open: usize,
    /// About how many bytes all of them take.
    pub(super) run_bytes: usize,
    /// Not placed yet, by when they began.
    pending: BTreeMap<(u64, [u8; 16]), Arrival>,
    /// Whose attempts the exchanges under way are, and where they stand.
    pub(super) attempts: Map<ExchangeId, CallId>,
    /// Calls whose last attempt failed, and which may be tried again: which attempt it was, and when it ended.
    failed: Map<CallKey, VecDeque<(CallId, u32, u64)>>,
    pub(super) next_call: CallId,
    pub(super) next_run: RunId,
}

impl Scope {
    /// Knows nothing yet; its runs are numbered from `next_run` on.
    pub(super) fn new(asker: Asker, next_run: RunId) -> Self {
        Scope {
            asker,
            known: Known::default(),
            runs: BTreeMap::new(),
            open: 0,
            run_bytes: 0,
            pending: BTreeMap::new(),
            attempts: Map::default(),
            failed: Map::default(),
            next_call: 0,
            next_run,
        }
    }

    /// About how many bytes it takes.
    pub(super) fn weight(&self) -> usize {
        self.known.weight() + self.run_bytes
    }

    /// A request has come. Telling it twice is telling it once.
    pub(super) fn arrive(&mut self, arrival: Arrival) {
        let id = arrival.meta.id;
        if !self.attempts.contains_key(&id) {
            self.pending
                .insert((arrival.started_ns, *id.as_bytes()), arrival);
        }
    }

    /// Places what began until then. Gives the spans of tools that are known by that to be over, and the runs that are.
    /// `placed` gets the exchanges that are their runs' from now on.
    pub(super) fn place_until(
        &mut self,
        started_ns: u64,
        shared: &mut Shared,
        made: &mut Vec<FinishedSpan>,
        placed: &mut Vec<ExchangeId>,
    ) -> Vec<RunId> {
        let mut over = Vec::new();
        while let Some(entry) = self.pending.first_entry()
            && entry.key().0 <= started_ns
        {
            let arrival = entry.remove();
            let id = arrival.meta.id;
            if !self.is_repeated(&arrival) {
                over.extend(self.place(&arrival, shared, made));
            }
            if self.attempts.contains_key(&id) {
                placed.push(id);
            }
        }
        over
    }

    /// An attempt of a call that is known: it goes on.
    fn is_repeated(&mut self, arrival: &Arrival) -> bool {
        let repeats = RetryAttempt::of(&arrival.meta, arrival.started_ns, &arrival.body);
        let Some(call) = repeats.and_then(|repeats| self.take_failed(&repeats)) else {
            return false;
        };
        let Some(run) = self
            .known
            .get(call)
            .and_then(|call| self.runs.get_mut(&call.run))
        else {
            return false;
        };
        if std::mem::replace(&mut run.closed, false) {
            self.open += 1;
        }
        run.in_flight += 1;
        run.exchanges.push(arrival.meta.id);
        self.attempts.insert(arrival.meta.id, call);
        true
    }

    /// The call whose failed attempt is repeated, by the rule of [`super::retries`].
    fn take_failed(&mut self, repeats: &RetryAttempt) -> Option<CallId> {
        let waiting = self.failed.get_mut(&repeats.key)?;
        let place = waiting.iter().position(|(_, attempt, ended_ns)| {
            attempt + 1 == repeats.attempt && *ended_ns <= repeats.started_ns
        })?;
        let (call, ..) = waiting.remove(place)?;
        if waiting.is_empty() {
            self.failed.remove(&repeats.key);
        }
        if let Some(call) = self.known.get_mut(call) {
            call.failed_as = None;
        }
        Some(call)
    }

    /// It was placed, and is under way.
    pub(super) fn began(&mut self, exchange: ExchangeId, call: CallId) {
        self.attempts.insert(exchange, call);
    }

    /// An exchange is over. Gives its run, and where its span stands; none where the request could not be read.
    pub(super) fn settle(&mut self, exchange: &Exchange) -> Option<(RunId, Placement)> {
        let id = self.attempts.remove(&exchange.meta.id)?;
        let reply = exchange.reply.as_ref();
        let mut reply = reply
            .map(|reply| Reply::of(&reply.chat))
            .unwrap_or_default();
        reply.failure = failure(exchange).map(Arc::from);
        let ended_ns = exchange.ended_ns();
        let failed = exchange
            .meta
            .retry
            .filter(|_| exchange.is_repeatable())
            .map(|attempt| (exchange.call_key(), attempt));
        if let Some((key, attempt)) = failed {
            let waiting = self.failed.entry(key).or_default();
            waiting.push_back((id, attempt, ended_ns));
        }
        self.known.settle(id, ended_ns, reply);
        // Instructions alone that nobody answers with a name were no selector's.
        let chose_nobody = self.known.get(id).is_some_and(|call| {
            let prompt = call.prompt.as_deref().unwrap_or_default();
            call.kind == Kind::Selector
                && !call.reply.text.is_empty()
                && !kind::is_selector(prompt)
                && !kind::lists_participants(prompt)
                && !kind::is_choice(prompt, &call.reply.text)
        });
        if chose_nobody {
            self.known.followed(id);
        }
        let call = self.known.get_mut(id)?;
        call.failed_as = failed.map(|(key, _)| key);
        if chose_nobody {
            call.kind = Kind::Bare;
        }
        let run = self.runs.get_mut(&call.run)?;
        run.in_flight = run.in_flight.saturating_sub(1);
        run.last_ns = run.last_ns.max(ended_ns);
        let extent = Extent {
            start_ns: call.started_ns,
            end_ns: ended_ns,
        };
        let level = &mut run.levels[call.level];
        // What is left of a reply that was broken off is nobody's answer.
        let output = Some(&call.reply.text)
            .filter(|text| !text.is_empty() && call.reply.failure.is_none())
            .cloned();
        let identity = &exchange.meta.identity;
        let parent_span_id = match (call.kind, call.turn.map(|turn| &mut run.turns[turn])) {
            (_, Some(turn)) => {
                turn.span.cover(extent);
                turn.content &= call.content;
                if output.is_some() {
                    turn.output.clone_from(&output);
                }
                Some(turn.span_id)
            }
            (Kind::Bare, None) if call.level == 0 && run.explicit_name.is_none() => {
                identity.parent.filter(|_| identity.trace.is_some())
            }
            (Kind::Bare, None) if level.above.is_some() => {
                level.span.cover(extent);
                level.above
            }
            _ => {
                level.is_parent = true;
                level.span.cover(extent);
                Some(level.span_id)
            }
        };
        level.content &= call.content;
        let is_answer = match call.kind {
            Kind::Selector => false,
            Kind::Bare => level.is_parent,
            Kind::Agent | Kind::Orchestrator | Kind::Society => true,
        };
        if is_answer && output.is_some() {
            level.output = output;
        }
        let mut notes: Vec<(Key, Value)> = Vec::new();
        if call.kind != Kind::Bare {
            notes.push((key::RULE.into(), Value::Text(call.rule.to_owned())));
            if call.ambiguous {
                notes.push((key::AMBIGUOUS.into(), Value::Text("true".to_owned())));
            }
        }
        let place = Placement {
            trace_id: run.trace_id,
            parent_span_id,
            start_ns: exchange.started_ns,
            wall_offset_ns: run.meta.wall_offset_ns,
            events: Vec::new(),
            notes,
            model: call.model.clone(),
            task: call.task.clone(),
        };
        Some((call.run, place))
    }

    /// Nothing more is waited for in a run: the spans that were kept until now. What is known of it stays, for calls that come all the same.
    pub(super) fn close(
        &mut self,
        id: RunId,
        prompts: &mut Prompts,
        made: &mut Vec<FinishedSpan>,
    ) -> Vec<ExchangeId> {
        let Some(run) = self.runs.get_mut(&id).filter(|run| !run.closed) else {
            return Vec::new();
        };
        run.closed = true;
        self.open -= 1;
        // Nobody will follow a choice any more.
        for call in &run.calls {
            self.known.followed(*call);
        }
        made.extend(
            tree::close(run, &mut self.known, prompts)
                .into_iter()
                .map(FinishedSpan::from),
        );
        std::mem::take(&mut run.exchanges)
    }

    /// Forgets a run.
    pub(super) fn forget(&mut self, id: RunId) {
        let Some(run) = self.runs.remove(&id) else {
            return;
        };
        self.open -= usize::from(!run.closed);
        self.run_bytes -= run.weight();
        for id in run.calls {
            let failed_as = self.known.get(id).and_then(|call| call.failed_as);
            if let Some(waiting) = failed_as.and_then(|key| self.failed.get_mut(&key)) {
                waiting.retain(|(call, ..)| *call != id);
            }
            if let Some(key) = failed_as
                && self.failed.get(&key).is_some_and(VecDeque::is_empty)
            {
                self.failed.remove(&key);
            }
            self.known.remove(id);
        }
    }

    /// Nothing is known of it any more, and nothing under way.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.pending.is_empty() && self.attempts.is_empty()
    }
}
