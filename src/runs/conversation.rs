//! One conversation: the calls and runs of one caller. Requests arrive, are attributed in order of arrival, and settle; runs close.
//!
//! A request is attributed when it settles, or when a later one does: by then every reply that it can follow is known. Later requests never
//! change its place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rapidhash::v3::rapidhash_v3;

use super::agent_names::{ConversationNames, NameLesson, RunNames};
use super::attempts::{Attempts, FinishedCall, SettledAttempt};
use super::autogen::{is_choice, is_selector, lists_participants};
use super::call::{CallId, CallReply, RunId};
use super::call_index::CallIndex;
use super::caller_kind::CallerKind;
use super::close;
use super::finished::{FinishedSpan, RunUpdate};
use super::run::{Run, RunState, TimeRange};
use super::shared::SharedState;
use super::text_hash::Map;
use crate::exchange::{CapturedBody, Exchange, ExchangeId, RequestMeta};
use crate::identity::Credential;
use crate::span::exchange::{explicit_placement, failure};
use crate::span::{AttributeKey, Placement, TraceId, Value, key};

/// A caller. Runs of different callers never meet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ConversationKey {
    credential: Credential,
    thread: Option<Arc<str>>,
    trace: Option<TraceId>,
}

/// Chooses the worker of a request: its partition modulo the number of workers. Requests that can be in one run have the same partition, in
/// every process.
pub(crate) fn partition(meta: &RequestMeta) -> u64 {
    let identity = &meta.identity;
    let trace = identity.trace.map(|trace| trace.id);
    partition_of(&identity.credential, identity.thread.as_deref(), trace)
}

fn partition_of(credential: &Credential, thread: Option<&str>, trace: Option<TraceId>) -> u64 {
    let mut bytes = Vec::with_capacity(64);
    bytes.extend(credential.0);
    bytes.extend(trace.map_or([0; 16], |trace| trace.0));
    bytes.extend(thread.unwrap_or_default().as_bytes());
    rapidhash_v3(&bytes)
}

/// A request that is whole.
#[derive(Clone, Debug)]
pub(super) struct PendingRequest {
    pub(super) meta: Arc<RequestMeta>,
    pub(super) started_ns: u64,
    pub(super) body: CapturedBody,
}

/// A run, for queues that outlive it.
#[derive(Clone, Debug)]
pub(super) struct RunRef {
    pub(super) run: RunId,
    pub(super) conversation: Arc<ConversationKey>,
    pub(super) state: Arc<RunState>,
}

/// The effects of an event outside of its conversation.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) update: RunUpdate,
    pub(super) begun: Vec<RunRef>,
    pub(super) closed: Vec<RunRef>,
}

/// What is waited for after an exchange.
#[derive(Debug)]
pub(super) struct SettledTimers {
    /// Until when its repetition may come.
    pub(super) retry: Option<Instant>,
    /// Its run, if nothing of it is in flight, and since when.
    pub(super) idle: Option<(RunId, u64)>,
}

/// The state of an exchange that is not finished.
#[derive(Debug, Default)]
struct UnfinishedExchange {
    /// Its call, as long as it is under way.
    call: Option<CallId>,
    /// Its run is open.
    run_open: bool,
    /// Its span was not made.
    span_due: bool,
}

/// The calls and runs of one caller.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) key: Arc<ConversationKey>,
    /// No other conversation of this process has it.
    pub(super) number: u64,
    pub(super) index: CallIndex,
    /// Boxed, because a tree moves its values.
    pub(super) runs: BTreeMap<RunId, Box<Run>>,
    /// The number of open runs.
    pub(super) open: usize,
    run_bytes: usize,
    /// Requests that are not attributed yet, by when they began.
    pending: BTreeMap<(u64, [u8; 16]), PendingRequest>,
    exchanges: Map<ExchangeId, UnfinishedExchange>,
    attempts: Attempts,
    pub(super) names: ConversationNames,
    pub(super) next_call: CallId,
    pub(super) next_run: RunId,
}

impl ConversationKey {
    pub(super) fn of(meta: &RequestMeta) -> Self {
        let identity = &meta.identity;
        ConversationKey {
            credential: identity.credential,
            thread: identity.thread.as_deref().map(Arc::from),
            trace: identity.trace.map(|trace| trace.id),
        }
    }

    /// That of its requests.
    pub(super) fn partition(&self) -> u64 {
        partition_of(&self.credential, self.thread.as_deref(), self.trace)
    }
}

impl Conversation {
    /// The numbers set aside for its runs. At a thousand runs a second a conversation lasts for seven weeks without a pause.
    const RUNS: RunId = 1 << 32;

    pub(super) fn new(key: Arc<ConversationKey>, number: u64) -> Self {
        Conversation {
            key,
            number,
            index: CallIndex::default(),
            runs: BTreeMap::new(),
            open: 0,
            run_bytes: 0,
            pending: BTreeMap::new(),
            exchanges: Map::default(),
            attempts: Attempts::default(),
            names: ConversationNames::default(),
            next_call: 0,
            next_run: number * Self::RUNS,
        }
    }

    /// About how many bytes its calls, runs and names take.
    pub(super) fn size_estimate(&self) -> usize {
        self.index.size_estimate() + self.run_bytes + self.names.size_estimate()
    }

    /// Nothing is known or under way.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
            && self.pending.is_empty()
            && self.exchanges.is_empty()
            && self.attempts.is_empty()
    }

    pub(super) fn run_ref(&self, run: &Run) -> RunRef {
        RunRef {
            run: run.id,
            conversation: Arc::clone(&self.key),
            state: Arc::clone(&run.state),
        }
    }

    /// The names that a run which began at that time may use.
    pub(super) fn run_names<'n>(&'n self, shared: &'n SharedState, began_ns: u64) -> RunNames<'n> {
        RunNames {
            own: &self.names,
            shared: &shared.names,
            began_ns,
        }
    }

    /// The calls that are under way, by their present attempts.
    pub(super) fn under_way(&self) -> Map<CallId, ExchangeId> {
        let exchanges = self.exchanges.iter();
        exchanges
            .filter_map(|(exchange, state)| Some((state.call?, *exchange)))
            .collect()
    }

    /// A request came. It may come a second time with its settled exchange.
    pub(super) fn receive(&mut self, request: PendingRequest) {
        let id = request.meta.id;
        let known = self.exchanges.get(&id);
        if known.is_none_or(|state| state.call.is_none()) {
            self.pending
                .insert((request.started_ns, *id.as_bytes()), request);
        }
    }

    /// The next request that began at `started_ns` or before.
    pub(super) fn next_pending(&mut self, started_ns: u64) -> Option<PendingRequest> {
        let first = self.pending.first_entry()?;
        (first.key().0 <= started_ns).then(|| first.remove())
    }

    /// A request may repeat an attempt that failed, by the rule of [`super::attempts`].
    pub(super) fn claim_attempt(
        &mut self,
        meta: &RequestMeta,
        started_ns: u64,
        body: &CapturedBody,
    ) {
        self.attempts.claim(meta, started_ns, body);
    }

    /// Whether the request is an attempt of a known call, which goes on.
    pub(super) fn continues_call(&mut self, request: &PendingRequest) -> bool {
        let id = request.meta.id;
        self.attempts
            .claim(&request.meta, request.started_ns, &request.body);
        let call = self.attempts.repeated_call(id);
        let Some(call) = call.and_then(|call| self.index.get(call)) else {
            return false;
        };
        let Some(run) = self.runs.get_mut(&call.run) else {
            return false;
        };
        self.open += usize::from(run.state.reopen());
        run.in_flight += 1;
        run.exchanges.push(id);
        let call = call.id;
        self.begin_exchange(id, call);
        true
    }

    /// An exchange was attributed to a call, and is under way.
    pub(super) fn begin_exchange(&mut self, exchange: ExchangeId, call: CallId) {
        let state = UnfinishedExchange {
            call: Some(call),
            run_open: true,
            span_due: true,
        };
        self.exchanges.insert(exchange, state);
    }

    pub(super) fn insert_run(&mut self, run: Run) {
        self.open += 1;
        self.run_bytes += run.size_estimate;
        self.next_run = run.id + 1;
        self.runs.insert(run.id, Box::new(run));
    }

    /// An exchange ended. Emits its span, unless a further attempt may follow.
    pub(super) fn settle(
        &mut self,
        exchange: &Arc<Exchange>,
        shared: &SharedState,
        waits: (Duration, Instant),
        update: &mut RunUpdate,
    ) -> SettledTimers {
        let state = self.exchanges.entry(exchange.meta.id).or_default();
        state.span_due = true;
        let call = state.call.take();
        let settled = call.and_then(|call| self.settle_call(call, exchange));
        let (run, place, call) = match settled {
            Some((run, place)) => (Some(run), place, call),
            None => (None, explicit_placement(exchange), None),
        };
        update.model.clone_from(&place.model);
        let held = &shared.held_bytes;
        let (settled, key) = self.attempts.settle(exchange, place, call, held, waits);
        if let Some(call) = call.and_then(|call| self.index.get_mut(call)) {
            call.retry_key = key;
        }
        let retry = match settled {
            SettledAttempt::Last(call) => {
                self.emit(call, update);
                None
            }
            SettledAttempt::Held(until) => Some(until),
        };
        let run = run.and_then(|run| self.runs.get(&run));
        let idle = run.filter(|run| run.in_flight == 0);
        SettledTimers {
            retry,
            idle: idle.map(|run| (run.id, run.last_ns)),
        }
    }

    /// A call ended. Gives its run, and where its span stands; none where the run is not known any more.
    fn settle_call(&mut self, id: CallId, exchange: &Exchange) -> Option<(RunId, Placement)> {
        let reply = exchange.reply.as_ref();
        let mut reply = reply
            .map(|reply| CallReply::of(&reply.chat))
            .unwrap_or_default();
        reply.failure = failure(exchange).map(Arc::from);
        let ended_ns = exchange.ended_ns();
        self.index.settle(id, ended_ns, reply);
        // A request of instructions alone was no selector's if the reply is no name.
        let chose_nobody = self.index.get(id).is_some_and(|call| {
            let prompt = call.prompt.as_deref().unwrap_or_default();
            call.kind == CallerKind::Selector
                && !call.reply.text.is_empty()
                && !is_selector(prompt)
                && !lists_participants(prompt)
                && !is_choice(prompt, &call.reply.text)
        });
        if chose_nobody {
            self.index.follow(id);
        }
        let call = self.index.get_mut(id)?;
        if chose_nobody {
            call.kind = CallerKind::Bare;
        }
        let run = self.runs.get_mut(&call.run)?;
        run.in_flight = run.in_flight.saturating_sub(1);
        run.last_ns = run.last_ns.max(ended_ns);
        let range = TimeRange {
            start_ns: call.started_ns,
            end_ns: ended_ns,
        };
        let level = &mut run.levels[call.level];
        // A part of a broken reply is no output.
        let output = Some(&call.reply.text)
            .filter(|text| !text.is_empty() && call.reply.failure.is_none())
            .cloned();
        let identity = &exchange.meta.identity;
        let parent_span_id = match (call.kind, call.turn.map(|turn| &mut run.turns[turn])) {
            (_, Some(turn)) => {
                turn.span.cover(range);
                turn.content &= call.content;
                if output.is_some() {
                    turn.output.clone_from(&output);
                }
                Some(turn.span_id)
            }
            (CallerKind::Bare, None) if call.level == 0 && run.explicit_name.is_none() => {
                identity.parent.filter(|_| identity.trace.is_some())
            }
            (CallerKind::Bare, None) if level.above.is_some() => {
                level.span.cover(range);
                level.above
            }
            _ => {
                level.is_parent = true;
                level.span.cover(range);
                Some(level.span_id)
            }
        };
        level.content &= call.content;
        let is_answer = match call.kind {
            CallerKind::Selector => false,
            CallerKind::Bare => level.is_parent,
            CallerKind::Agent | CallerKind::Orchestrator | CallerKind::Society => true,
        };
        if is_answer && output.is_some() {
            level.output = output;
        }
        let mut notes: Vec<(AttributeKey, Value)> = Vec::new();
        if call.kind != CallerKind::Bare {
            notes.push((key::RULE.into(), Value::Text(call.rule.to_owned())));
            if call.ambiguous {
                notes.push((key::AMBIGUOUS.into(), Value::Text("true".to_owned())));
            }
        }
        let place = Placement {
            trace_id: run.trace_id,
            parent_span_id,
            start_steady_ns: exchange.started_ns,
            wall_offset_ns: run.meta.wall_offset_ns,
            events: Vec::new(),
            notes,
            model: call.model.clone(),
            task: call.task.clone(),
        };
        Some((run.id, place))
    }

    /// Emits the spans of attempts that were not repeated in time. Gives when the next one expires.
    pub(super) fn expire_attempts(
        &mut self,
        now: Instant,
        shared: &SharedState,
        update: &mut RunUpdate,
    ) -> Option<Instant> {
        for call in self.attempts.expire(now, &shared.held_bytes) {
            self.emit(call, update);
        }
        self.attempts.next_expiry()
    }

    /// Emits the spans of all attempts that are held back.
    pub(super) fn close_attempts(&mut self, shared: &SharedState, update: &mut RunUpdate) {
        for call in self.attempts.close(&shared.held_bytes) {
            self.emit(call, update);
        }
    }

    fn emit(&mut self, call: FinishedCall, update: &mut RunUpdate) {
        update.spans.push(call.span);
        for exchange in call.exchanges {
            self.finish(exchange, |state| state.span_due = false, update);
        }
    }

    fn finish(
        &mut self,
        exchange: ExchangeId,
        change: impl FnOnce(&mut UnfinishedExchange),
        update: &mut RunUpdate,
    ) {
        if let Some(state) = self.exchanges.get_mut(&exchange) {
            change(state);
            if !state.run_open && !state.span_due {
                self.exchanges.remove(&exchange);
                update.finished.push(exchange);
            }
        }
    }

    /// Closes a run at `at_ns`: emits the spans that waited for its end. The run stays known, for calls that still come. Whether it was open.
    pub(super) fn close(
        &mut self,
        id: RunId,
        at_ns: u64,
        shared: &SharedState,
        effects: &mut Effects,
    ) -> bool {
        let Some(run) = self.runs.get_mut(&id).filter(|run| run.state.is_open()) else {
            return false;
        };
        run.state.close();
        self.open -= 1;
        // No request follows a choice any more.
        for call in &run.calls {
            self.index.follow(*call);
        }
        let lesson = NameLesson {
            own: &mut self.names,
            shared: &shared.names,
            began_ns: run.began_ns,
            at_ns,
            learned: &mut effects.update.learned,
        };
        let spans = close::close(run, &mut self.index, lesson);
        let spans = spans.into_iter().map(FinishedSpan::from);
        effects.update.spans.extend(spans);
        effects.closed.push(RunRef {
            run: id,
            conversation: Arc::clone(&self.key),
            state: Arc::clone(&run.state),
        });
        for exchange in std::mem::take(&mut run.exchanges) {
            self.finish(
                exchange,
                |state| state.run_open = false,
                &mut effects.update,
            );
        }
        true
    }

    pub(super) fn forget(&mut self, id: RunId) {
        let Some(run) = self.runs.remove(&id) else {
            return;
        };
        self.open -= usize::from(run.state.is_open());
        run.state.forget();
        self.run_bytes -= run.size_estimate;
        for id in run.calls {
            if let Some(key) = self.index.get(id).and_then(|call| call.retry_key) {
                self.attempts.forget(&key, id);
            }
            self.index.remove(id);
        }
    }
}
