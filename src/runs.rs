//! The runs of AutoGen programs, rebuilt from their calls: which run, which turn of which agent, which tool.
//!
//! ```text
//!  a request is complete ──► conversation (one caller: credential, thread, explicit trace)
//!                                │ in order of arrival
//!   transcript, evidence ──► attribution ──► apply: run, level, turn, names, finished tools
//!                                │
//!  an exchange settled ──────────┴──► its span's placement ──► attempts of one call are one span ──► RunUpdate
//!                                │
//!           idle, or the next message ──► close: agents, workflows, tools without an answer ──► RunUpdate
//! ```
//!
//! Plain data and plain functions of exchanges and times: no clock, no sockets, no threads. Several workers may call at once. The calls of one
//! conversation come from one worker, in order; [`partition`] chooses it. Runs do not depend on the number of workers: what conversations share is
//! names, and a name counts elsewhere only for runs that begin after it was learned.
//!
//! A call keeps its place for good; only names are filled in later. All ids derive from the ids of exchanges, so a replay after a crash gives
//! the same spans.

mod agent_names;
mod apply;
mod attempts;
mod attribution;
mod autogen;
mod call;
mod call_index;
mod caller_kind;
mod close;
mod conversation;
mod digest_cache;
mod evidence;
mod finished;
mod limits;
mod lines;
mod message_text;
mod open_spans;
mod reassign;
mod run;
mod shared;
mod speaker;
#[cfg(test)]
mod tests;
mod text_hash;
mod tool_round;
mod transcript;
mod turn_names;
mod work_budget;
mod worker;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use rapidhash::fast::RandomState;

use crate::exchange::{CapturedBody, Exchange, ExchangeId, RequestMeta};
use crate::span::exchange::explicit_placement;

use apply::attribute_until;
use call::RunId;
use call_index::CLOSE_NS;
use conversation::{Conversation, ConversationKey, Effects, PendingRequest, RunRef};
use limits::{ExcessRun, RunLimits};
use shared::SharedState;
use worker::WorkerState;

pub(crate) use agent_names::{LearnedName, PromptHash};
pub(crate) use conversation::partition;
pub use finished::{FinishedSpan, RunUpdate};
pub(crate) use open_spans::{OpenSpan, OpenSpanCursor, RunChange};
pub(crate) use shared::RunCounts;

/// A request that did not settle by then is attributed all the same: the call that it follows has ended long ago.
const ATTRIBUTED_AFTER: Duration = Duration::from_secs(1);

/// Runs that a worker closes at once because they are idle.
const MOST_CLOSED: usize = 1024;

/// One part in so many of the memory for runs may be digests of texts.
const DIGESTS: usize = 16;

/// Parts of the table of conversations. Two workers seldom want the same one.
const SHARDS: usize = 256;

/// How runs are found, and how much is kept of them.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Find runs where no header names them.
    pub infer: bool,
    /// A run with nothing in flight this long is over.
    pub idle: Duration,
    /// Most runs open at once; beyond it the oldest is closed.
    pub max_open: usize,
    /// Most bytes of all calls and runs; beyond it the oldest are forgotten, closed ones first.
    pub max_memory: usize,
    /// Older runs are forgotten.
    pub max_age: Duration,
}

/// The conversations, and their runs.
///
/// Locks are taken in this order: a worker's state, a conversation, and then names or queues for a moment. Nobody holds two conversations.
#[derive(Debug)]
pub struct Runs {
    settings: Settings,
    shared: SharedState,
    limits: RunLimits,
    workers: Box<[Mutex<WorkerState>]>,
    /// By worker, exchanges that another worker finished by a bound of all runs.
    handed_over: Box<[Mutex<Vec<ExchangeId>>]>,
    conversations: DashMap<Arc<ConversationKey>, Conversation, RandomState>,
}

impl Runs {
    /// Knows nothing but the names of agents that earlier processes learned. `workers` is the number of workers that call, at least one.
    pub fn new(
        settings: Settings,
        names: impl IntoIterator<Item = LearnedName>,
        workers: usize,
    ) -> Self {
        let workers = workers.max(1);
        let max_digests = settings.max_memory / DIGESTS / workers;
        let worker = || Mutex::new(WorkerState::new(max_digests));
        Runs {
            settings,
            shared: SharedState::new(names),
            limits: RunLimits::new(settings.max_open, settings.max_memory, settings.max_age),
            workers: std::iter::repeat_with(worker).take(workers).collect(),
            handed_over: std::iter::repeat_with(Mutex::default)
                .take(workers)
                .collect(),
            conversations: DashMap::with_hasher_and_shard_amount(RandomState::new(), SHARDS),
        }
    }

    /// A request has come in whole. The requests of a conversation may come in any order, but before the end of any exchange that began later.
    pub fn request_complete(
        &self,
        meta: Arc<RequestMeta>,
        started_ns: u64,
        body: CapturedBody,
        now: Instant,
    ) {
        if !meta.chat {
            return;
        }
        let key = ConversationKey::of(&meta);
        if !self.is_grouped(&meta) {
            // It may repeat an attempt that failed.
            self.in_known(&key, |conversation| {
                conversation.claim_attempt(&meta, started_ns, &body);
            });
            return;
        }
        let mut worker = self.worker(self.number_of(partition(&meta)));
        let key = self.in_conversation(key, |conversation| {
            conversation.claim_attempt(&meta, started_ns, &body);
            conversation.receive(PendingRequest {
                meta,
                started_ns,
                body,
            });
            Arc::clone(&conversation.key)
        });
        let due = now + ATTRIBUTED_AFTER;
        worker.pending.push_back((due, key, started_ns));
    }

    /// An exchange is over. Gives the spans that are complete by it: its own, unless more attempts of its call may follow, those of tools that it
    /// shows to be finished, and those of runs that it ends.
    pub fn settled(&self, exchange: Arc<Exchange>, now: Instant) -> RunUpdate {
        let mut effects = Effects::default();
        let worker = self.number_of(partition(&exchange.meta));
        if exchange.meta.chat {
            self.settle_chat(&exchange, worker, now, &mut effects);
        } else {
            effects.update.finished.push(exchange.meta.id);
            let place = explicit_placement(&exchange);
            let span = FinishedSpan::Call { exchange, place };
            effects.update.spans.push(span);
        }
        self.keep_within_limits(effects, worker, now)
    }

    fn settle_chat(
        &self,
        exchange: &Arc<Exchange>,
        number: usize,
        now: Instant,
        effects: &mut Effects,
    ) {
        let meta = &exchange.meta;
        let (started_ns, ended_ns) = (exchange.started_ns, exchange.ended_ns());
        let worker = &mut *self.worker(number);
        self.hand_over(worker, number, effects);
        let digest_bytes = worker.digests.size_estimate();
        let is_grouped = self.is_grouped(meta);
        self.in_conversation(ConversationKey::of(meta), |conversation| {
            conversation.claim_attempt(meta, started_ns, &exchange.request);
            if is_grouped {
                conversation.receive(PendingRequest {
                    meta: Arc::clone(meta),
                    started_ns,
                    body: exchange.request.clone(),
                });
                // Everything is known that can have caused a request before the exchange ended.
                let until = started_ns.max(ended_ns.saturating_sub(CLOSE_NS));
                let state = (&self.shared, &mut worker.digests);
                attribute_until(conversation, until, ended_ns, state, effects);
            }
            let waits = (self.settings.idle, now);
            let timers = conversation.settle(exchange, &self.shared, waits, &mut effects.update);
            if let Some(due) = timers.retry {
                let due = (due, conversation.number);
                worker.attempts.insert(due, Arc::clone(&conversation.key));
            }
            if let Some((run, since_ns)) = timers.idle {
                let idle = (Arc::clone(&conversation.key), since_ns);
                worker.idle.insert((now + self.settings.idle, run), idle);
            }
        });
        let digests = &self.shared.digest_bytes;
        digests.replace(digest_bytes, worker.digests.size_estimate());
    }

    /// Emits the spans of a worker's conversations that nothing more is waited for at `now`.
    pub fn expire(&self, worker: usize, now: Instant) -> RunUpdate {
        let mut effects = Effects::default();
        self.run_timers(worker, now, &mut effects);
        self.keep_within_limits(effects, worker, now)
    }

    fn run_timers(&self, number: usize, now: Instant, effects: &mut Effects) {
        let shared = &self.shared;
        let worker = &mut *self.worker(number);
        self.hand_over(worker, number, effects);
        while let Some((number, key)) = worker.next_attempts(now) {
            let next = self.in_known(&key, |conversation| {
                conversation.expire_attempts(now, shared, &mut effects.update)
            });
            if let Some(next) = next.flatten() {
                worker.attempts.insert((next, number), key);
            }
        }
        let digest_bytes = worker.digests.size_estimate();
        while let Some((key, started_ns)) = worker.next_pending(now) {
            let at_ns = started_ns.saturating_add(nanoseconds(ATTRIBUTED_AFTER));
            self.in_known(&key, |conversation| {
                let state = (shared, &mut worker.digests);
                attribute_until(conversation, started_ns, at_ns, state, effects);
            });
        }
        let digests = &shared.digest_bytes;
        digests.replace(digest_bytes, worker.digests.size_estimate());
        // Many at once would keep the worker from what clients send meanwhile: it comes again for the rest.
        for _ in 0..MOST_CLOSED {
            let Some((key, run, since_ns)) = worker.next_idle(now) else {
                break;
            };
            let at_ns = since_ns.saturating_add(nanoseconds(self.settings.idle));
            self.in_known(&key, |conversation| {
                let known = conversation.runs.get(&run);
                if known.is_some_and(|run| run.in_flight == 0 && run.last_ns == since_ns) {
                    conversation.close(run, at_ns, shared, effects);
                }
            });
        }
    }

    /// When [`Runs::expire`] will have something to do for a worker, unless something happens before.
    pub fn next_expiry(&self, worker: usize) -> Option<Instant> {
        self.worker(worker).next_expiry()
    }

    /// How many runs there are.
    pub fn counts(&self) -> RunCounts {
        self.shared.counts()
    }

    /// Emits everything that is left, at the end. The exchanges of open runs are not finished: replayed at the next start, the runs go on.
    pub fn close(&self) -> RunUpdate {
        let mut effects = Effects::default();
        for number in 0..self.workers.len() {
            let foreign = std::mem::take(&mut self.worker(number).foreign);
            let finished = foreign.into_iter().map(|(_, exchange)| exchange);
            effects.update.finished.extend(finished);
            effects
                .update
                .finished
                .append(&mut self.handed_over_to(number));
        }
        let worker = &mut *self.worker(0);
        for mut conversation in self.conversations.iter_mut() {
            let conversation = conversation.value_mut();
            conversation.close_attempts(&self.shared, &mut effects.update);
            let finished = effects.update.finished.len();
            let state = (&self.shared, &mut worker.digests);
            attribute_until(conversation, u64::MAX, u64::MAX, state, &mut effects);
            let runs: Vec<RunId> = conversation.runs.keys().copied().collect();
            for run in runs {
                conversation.close(run, u64::MAX, &self.shared, &mut effects);
            }
            effects.update.finished.truncate(finished);
        }
        effects.update
    }

    /// Tells what changed in open runs since the cursor saw them.
    pub fn open_spans(&self, cursor: &mut OpenSpanCursor) -> Vec<RunChange> {
        let mut changes = Vec::new();
        for conversation in &self.conversations {
            cursor.visit(&conversation, &self.shared, &mut changes);
        }
        cursor.finish(&mut changes);
        changes
    }

    fn is_grouped(&self, meta: &RequestMeta) -> bool {
        meta.chat && (self.settings.infer || meta.identity.trace.is_some())
    }

    fn worker(&self, worker: usize) -> MutexGuard<'_, WorkerState> {
        let worker = &self.workers[worker % self.workers.len()];
        worker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number_of(&self, partition: u64) -> usize {
        usize::try_from(partition % self.workers.len() as u64).unwrap_or_default()
    }

    fn handed_over_to(&self, worker: usize) -> MutexGuard<'_, Vec<ExchangeId>> {
        let handed_over = &self.handed_over[worker % self.workers.len()];
        handed_over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker calls again, so the spans of its last update are stored. An exchange that another worker finished may have spans in updates of
    /// both. It is finished once both have called again.
    fn hand_over(&self, worker: &mut WorkerState, number: usize, effects: &mut Effects) {
        for (owner, exchange) in worker.foreign.drain(..) {
            self.handed_over_to(owner).push(exchange);
        }
        let finished = &mut effects.update.finished;
        finished.append(&mut self.handed_over_to(number));
    }

    /// Works on a conversation, which begins if it is not known.
    fn in_conversation<T>(
        &self,
        key: ConversationKey,
        work: impl FnOnce(&mut Conversation) -> T,
    ) -> T {
        let known = self.conversations.get_mut(&key);
        let mut conversation = known.unwrap_or_else(|| {
            let (key, number) = (Arc::new(key), self.shared.next_conversation());
            let entry = self.conversations.entry(Arc::clone(&key));
            entry.or_insert_with(|| Conversation::new(key, number))
        });
        let (result, is_empty) = self.count(&mut conversation, work);
        let key = is_empty.then(|| Arc::clone(&conversation.key));
        drop(conversation);
        if let Some(key) = key {
            self.remove(&key);
        }
        result
    }

    /// Works on a conversation if it is known.
    fn in_known<T>(
        &self,
        key: &ConversationKey,
        work: impl FnOnce(&mut Conversation) -> T,
    ) -> Option<T> {
        let mut conversation = self.conversations.get_mut(key)?;
        let (result, is_empty) = self.count(&mut conversation, work);
        drop(conversation);
        if is_empty {
            self.remove(key);
        }
        Some(result)
    }

    /// Works on a conversation, and counts the changes. Gives also whether it is empty.
    fn count<T>(
        &self,
        conversation: &mut Conversation,
        work: impl FnOnce(&mut Conversation) -> T,
    ) -> (T, bool) {
        let (bytes, open) = (conversation.size_estimate(), conversation.open);
        let result = work(conversation);
        let shared = &self.shared;
        shared.bytes.replace(bytes, conversation.size_estimate());
        shared.open.replace(open, conversation.open);
        (result, conversation.is_empty())
    }

    fn remove(&self, key: &ConversationKey) {
        let removed = self
            .conversations
            .remove_if(key, |_, known| known.is_empty());
        if let Some((_, conversation)) = removed {
            self.shared.bytes.replace(conversation.size_estimate(), 0);
        }
    }

    /// Closes and forgets runs until all bounds hold.
    fn keep_within_limits(&self, mut effects: Effects, worker: usize, now: Instant) -> RunUpdate {
        self.limits.record(&mut effects, now);
        while let Some(excess) = self.limits.next_excess(now, &self.shared) {
            let (
                RunRef {
                    run, conversation, ..
                },
                is_forgotten,
            ) = match excess {
                ExcessRun::Close(run) => (run, false),
                ExcessRun::Forget(run) => (run, true),
            };
            let finished = effects.update.finished.len();
            let owner = self.number_of(conversation.partition());
            self.in_known(&conversation, |conversation| {
                let at_ns = conversation.runs.get(&run).map_or(0, |run| run.last_ns);
                if conversation.close(run, at_ns, &self.shared, &mut effects) {
                    self.shared.count_closed_early();
                }
                if is_forgotten {
                    conversation.forget(run);
                }
            });
            self.limits.record(&mut effects, now);
            if owner != worker {
                let foreign = effects.update.finished.drain(finished..);
                let foreign = foreign.map(|exchange| (owner, exchange));
                self.worker(worker).foreign.extend(foreign);
            }
        }
        effects.update
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
