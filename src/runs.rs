//! The runs of AutoGen programs, rebuilt from their calls: which run, which turn of which agent, which tool.
//!
//! ```text
//!  a request is whole ──► asked ──► scope (who asks: credential, thread, told trace)
//!                                     │ placed in order of arrival
//!   transcript: what it shows ──► link: which evidence counts ──► run, level, turn, names, tools that are over
//!                                     │
//!  an exchange is over ──► settled ──► its span's place ──► retries: attempts of one call are one span ──► FinishedSpan
//!                                     │
//!           idle, or the next message ──► tree: agents, workflows, tools without an answer ──► FinishedSpan
//! ```
//!
//! Plain data and plain functions of exchanges and times: one caller at a time, no clock, no sockets. A call stands where it was placed for
//! good; only names are filled in later. All ids are made of the ids of exchanges, so what is rebuilt after a crash is the same.

mod call;
mod digest;
mod evidence;
mod hash;
mod kind;
mod known;
mod lines;
mod link;
mod made;
mod names;
mod placing;
mod prompts;
mod rehome;
mod retries;
mod rounds;
mod run;
mod said;
mod scope;
mod selector;
mod sketch;
mod society;
#[cfg(test)]
mod tests;
mod tool;
mod transcript;
mod tree;
mod work;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::exchange::{CapturedBody, Exchange, ExchangeId, RequestMeta, RetryAttempt};
use crate::identity::Credential;
use crate::span::TraceId;
use crate::span::exchange::told_place;

use call::RunId;
use digest::Digests;
use hash::Map;
use known::CLOSE_NS;
use retries::Retries;
use run::Run;
use scope::{Arrival, Scope};

pub use made::FinishedSpan;
pub use prompts::Prompt;
use prompts::Prompts;
pub use sketch::{Change, Sketch, Sketches};

/// A request that did not settle by then is placed all the same: what it follows has ended long ago.
const PLACED_AFTER: Duration = Duration::from_secs(1);

/// One part in so many of the memory for runs may be digests of texts.
const DIGESTS: usize = 16;

/// Names a scope.
type ScopeId = u64;

/// Numbers set aside for the runs of one scope: whose a run is can be read from its number. At a thousand runs a second one scope lasts for
/// seven weeks without a pause.
const RUNS_OF_A_SCOPE: RunId = 1 << 32;

fn scope_of(run: RunId) -> ScopeId {
    run / RUNS_OF_A_SCOPE
}

/// How runs are found, and how much is kept of them.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Find runs where no header names them.
    pub infer: bool,
    /// A run with nothing in flight this long is over.
    pub idle: Duration,
    /// Most runs open at once; beyond it the oldest is closed.
    pub max_open: usize,
    /// Most bytes of all that is known of runs; beyond it the oldest are forgotten, closed ones first.
    pub max_memory: usize,
    /// What is older is forgotten.
    pub max_age: Duration,
}

/// What is known of calls and runs.
#[derive(Debug)]
pub struct Runs {
    settings: Settings,
    retries: Retries,
    shared: Shared,
    scopes: Map<ScopeId, Scope>,
    askers: Map<Asker, ScopeId>,
    /// No number comes twice.
    next_scope: ScopeId,
    /// Runs with nothing in flight, and since when they would be idle too long; the ones that went on are passed over.
    idle: BinaryHeap<Reverse<(Instant, u64, RunId)>>,
    /// Requests that may have to be placed before they settle.
    unplaced: VecDeque<(Instant, ScopeId, u64)>,
    /// Runs in the order they began, for their age, and the same for their number; and in the order they were closed.
    begun: VecDeque<(Instant, RunId)>,
    opened: VecDeque<RunId>,
    closed: VecDeque<RunId>,
    /// What has to happen before an exchange is done with.
    unreleased: Map<ExchangeId, Unreleased>,
    released: Vec<ExchangeId>,
    /// What the exchange that settled last asked for.
    model: Option<Arc<str>>,
    counts: Counts,
    /// Of all scopes.
    weight: usize,
}

/// What is known beyond one scope: nothing of it says who is whose.
#[derive(Debug)]
struct Shared {
    prompts: Prompts,
    digests: Digests,
    /// As in [`Counts`].
    capped: u64,
}

/// How many runs there are, and what was not done for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Open ones.
    pub open: usize,
    /// Those that were closed before they were over, because there were too many or too much was known of them.
    pub closed_early: u64,
    /// Calls that were placed by part of their evidence, because looking at all of it would have been too much work.
    pub capped: u64,
}

/// Whose runs can meet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asker {
    credential: Credential,
    thread: Option<Arc<str>>,
    trace: Option<TraceId>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Unreleased {
    /// Its run is open.
    run: bool,
    /// Its span was not made.
    span: bool,
}

impl Asker {
    fn of(meta: &RequestMeta) -> Self {
        let identity = &meta.identity;
        Asker {
            credential: identity.credential,
            thread: identity.thread.as_deref().map(Arc::from),
            trace: identity.trace.map(|told| told.id),
        }
    }
}

impl Runs {
    /// Knows nothing yet but the agents' names that earlier runs taught: a name for a system message, or none where several have it.
    pub fn new(
        settings: Settings,
        names: impl IntoIterator<Item = (Prompt, Option<String>)>,
    ) -> Self {
        let mut prompts = Prompts::default();
        for (prompt, name) in names {
            prompts.remember(prompt, name);
        }
        Runs {
            settings,
            retries: Retries::new(settings.idle),
            shared: Shared {
                prompts,
                digests: Digests::new(settings.max_memory / DIGESTS),
                capped: 0,
            },
            scopes: Map::default(),
            askers: Map::default(),
            next_scope: 0,
            idle: BinaryHeap::new(),
            unplaced: VecDeque::new(),
            begun: VecDeque::new(),
            opened: VecDeque::new(),
            closed: VecDeque::new(),
            unreleased: Map::default(),
            released: Vec::new(),
            model: None,
            counts: Counts::default(),
            weight: 0,
        }
    }

    /// A request has come in whole. Requests may be told in any order, but before the end of anything that began later.
    pub fn asked(
        &mut self,
        meta: Arc<RequestMeta>,
        started_ns: u64,
        body: CapturedBody,
        now: Instant,
    ) {
        if let Some(retrying) = RetryAttempt::of(&meta, started_ns, &body) {
            self.retries.claim(&retrying);
        }
        if !self.is_grouped(&meta) {
            return;
        }
        let arrival = Arrival {
            meta,
            started_ns,
            body,
        };
        let id = self.arrive(arrival);
        self.unplaced
            .push_back((now + PLACED_AFTER, id, started_ns));
    }

    /// A request has come to the scope of who asks.
    fn arrive(&mut self, arrival: Arrival) -> ScopeId {
        let asker = Asker::of(&arrival.meta);
        let id = self.askers.get(&asker).copied().unwrap_or_else(|| {
            self.next_scope += 1;
            self.askers.insert(asker.clone(), self.next_scope);
            self.next_scope
        });
        let scope = self.scopes.entry(id);
        scope
            .or_insert_with(|| Scope::new(asker, id * RUNS_OF_A_SCOPE))
            .arrive(arrival);
        id
    }

    /// An exchange is over. Gives the spans that are complete by it: its own, unless more of the same call may follow, and those of tools
    /// that it shows to be over, and of runs.
    pub fn settled(&mut self, exchange: Arc<Exchange>, now: Instant) -> Vec<FinishedSpan> {
        let mut made = Vec::new();
        let mut standing = None;
        if let Some(retrying) = exchange.retrying() {
            self.retries.claim(&retrying);
        }
        let id = exchange.meta.id;
        self.unreleased.entry(id).or_default().span = true;
        if self.is_grouped(&exchange.meta) {
            let scope = self.arrive(Arrival {
                meta: Arc::clone(&exchange.meta),
                started_ns: exchange.started_ns,
                body: exchange.request.clone(),
            });
            // All that can have caused what began before its end has been told by now.
            let known = exchange.ended_ns().saturating_sub(CLOSE_NS);
            self.place_until(scope, exchange.started_ns.max(known), now, &mut made);
            standing = self.in_scope(scope, |scope, _| scope.settle(&exchange));
        }
        let place = match standing {
            Some((run, place)) => {
                self.watch_idle(run, now);
                place
            }
            None => told_place(&exchange),
        };
        self.model.clone_from(&place.model);
        made.extend(self.retries.settle(exchange, place, now));
        self.release_told();
        self.keep_within_limits(now, &mut made);
        made
    }

    /// Spans for which nothing more is waited for at `now`.
    pub fn expired(&mut self, now: Instant) -> Vec<FinishedSpan> {
        let mut made = self.retries.expired(now);
        self.release_told();
        while let Some((due, ..)) = self.unplaced.front()
            && *due <= now
        {
            if let Some((_, scope, started_ns)) = self.unplaced.pop_front() {
                self.place_until(scope, started_ns, now, &mut made);
            }
        }
        while let Some(Reverse((due, ..))) = self.idle.peek()
            && *due <= now
        {
            if let Some(Reverse((_, last_ns, run))) = self.idle.pop() {
                let is_idle = self
                    .run(run)
                    .is_some_and(|run| run.in_flight == 0 && run.last_ns == last_ns);
                if is_idle {
                    self.close_run(run, &mut made);
                }
            }
        }
        self.keep_within_limits(now, &mut made);
        made
    }

    /// When [`Runs::expired`] will have something to do, unless something happens before.
    pub fn next_expiry(&self) -> Option<Instant> {
        let unplaced = self.unplaced.front().map(|(due, ..)| *due);
        let idle = self.idle.peek().map(|Reverse((due, ..))| *due);
        [self.retries.next_expiry(), unplaced, idle]
            .into_iter()
            .flatten()
            .min()
    }

    /// Exchanges of which nothing more will be made, since this was asked last.
    pub fn released(&mut self) -> Vec<ExchangeId> {
        std::mem::take(&mut self.released)
    }

    /// Names of agents that were learned since this was asked last: for a system message a name, or none where several have it.
    pub fn learned(&mut self) -> Vec<(Prompt, Option<String>)> {
        self.shared.prompts.learned()
    }

    /// The model that the exchange settled last asked for, where its request was read to group it: reply it again would cost as much.
    pub fn asked_model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// How many runs there are.
    pub fn counts(&self) -> Counts {
        Counts {
            capped: self.shared.capped,
            ..self.counts
        }
    }

    /// Everything that is left, at the end. Exchanges of runs that were open are not released: told again after the next start, the runs go
    /// on.
    pub fn close(&mut self) -> Vec<FinishedSpan> {
        let mut made = self.retries.close();
        self.release_told();
        for scope in self.scopes.values_mut() {
            scope.place_until(u64::MAX, &mut self.shared, &mut made, &mut Vec::new());
            let runs: Vec<RunId> = scope.runs.keys().copied().collect();
            for run in runs {
                scope.close(run, &mut self.shared.prompts, &mut made);
            }
        }
        made
    }

    fn is_grouped(&self, meta: &RequestMeta) -> bool {
        meta.chat && (self.settings.infer || meta.identity.trace.is_some())
    }

    fn place_until(
        &mut self,
        scope: ScopeId,
        started_ns: u64,
        now: Instant,
        made: &mut Vec<FinishedSpan>,
    ) {
        let mut placed = Vec::new();
        let (begun, over) = self.in_scope(scope, |scope, shared| {
            let before = scope.next_run;
            let over = scope.place_until(started_ns, shared, made, &mut placed);
            (before..scope.next_run, over)
        });
        for exchange in placed {
            let unreleased = Unreleased {
                run: true,
                span: true,
            };
            self.unreleased.insert(exchange, unreleased);
        }
        for run in begun {
            self.begun.push_back((now, run));
            self.opened.push_back(run);
        }
        for run in over {
            if self.run(run).is_some_and(|run| run.in_flight == 0) {
                self.close_run(run, made);
            }
        }
    }

    /// Works on one scope, and counts what that changes.
    fn in_scope<T: Default>(
        &mut self,
        id: ScopeId,
        work: impl FnOnce(&mut Scope, &mut Shared) -> T,
    ) -> T {
        let Some(scope) = self.scopes.get_mut(&id) else {
            return T::default();
        };
        let (weight, open) = (scope.weight(), scope.open);
        let result = work(scope, &mut self.shared);
        self.weight = (self.weight + scope.weight()).saturating_sub(weight);
        self.counts.open = (self.counts.open + scope.open).saturating_sub(open);
        if scope.is_empty() {
            self.askers.remove(&scope.asker);
            self.scopes.remove(&id);
        }
        result
    }

    /// A run that is known.
    fn run(&self, run: RunId) -> Option<&Run> {
        let run = self.scopes.get(&scope_of(run))?.runs.get(&run)?;
        Some(run)
    }

    fn watch_idle(&mut self, id: RunId, now: Instant) {
        let run = self.run(id).filter(|run| run.in_flight == 0);
        if let Some(last_ns) = run.map(|run| run.last_ns) {
            let due = now + self.settings.idle;
            self.idle.push(Reverse((due, last_ns, id)));
        }
    }

    fn close_run(&mut self, run: RunId, made: &mut Vec<FinishedSpan>) {
        let scope = scope_of(run);
        let exchanges = self.in_scope(scope, |scope, shared| {
            scope.close(run, &mut shared.prompts, made)
        });
        self.closed.push_back(run);
        for exchange in exchanges {
            self.release(exchange, |unreleased| unreleased.run = false);
        }
    }

    fn release_told(&mut self) {
        for exchange in self.retries.released() {
            self.release(exchange, |unreleased| unreleased.span = false);
        }
    }

    fn release(&mut self, exchange: ExchangeId, change: impl FnOnce(&mut Unreleased)) {
        if let Some(unreleased) = self.unreleased.get_mut(&exchange) {
            change(unreleased);
            if !unreleased.run && !unreleased.span {
                self.unreleased.remove(&exchange);
                self.released.push(exchange);
            }
        }
    }

    fn keep_within_limits(&mut self, now: Instant, made: &mut Vec<FinishedSpan>) {
        while let Some((began, run)) = self.begun.front().copied()
            && began + self.settings.max_age <= now
        {
            self.begun.pop_front();
            self.forget(run, made);
        }
        while let Some(run) = self.opened.front().copied()
            && (self.counts.open > self.settings.max_open || self.is_closed(run) != Some(false))
        {
            self.opened.pop_front();
            self.close_early(run, made);
        }
        while let Some(run) = self.closed.front().copied()
            && (self.weight() > self.settings.max_memory || self.is_closed(run) != Some(true))
        {
            self.closed.pop_front();
            if self.is_closed(run) == Some(true) {
                self.forget(run, made);
            }
        }
        while self.weight() > self.settings.max_memory
            && let Some((_, run)) = self.begun.pop_front()
        {
            self.forget(run, made);
        }
    }

    /// About how many bytes all that is known takes.
    fn weight(&self) -> usize {
        self.weight + self.shared.digests.weight()
    }

    /// Whether a run is closed; none of one that is not known any more.
    fn is_closed(&self, run: RunId) -> Option<bool> {
        self.run(run).map(|run| run.closed)
    }

    /// Closes a run that may not be over.
    fn close_early(&mut self, run: RunId, made: &mut Vec<FinishedSpan>) {
        if self.is_closed(run) == Some(false) {
            self.counts.closed_early += 1;
            self.close_run(run, made);
        }
    }

    /// Forgets a run, and tells it before if it was open.
    fn forget(&mut self, run: RunId, made: &mut Vec<FinishedSpan>) {
        self.close_early(run, made);
        self.in_scope(scope_of(run), |scope, _| scope.forget(run));
        while let Some((_, first)) = self.begun.front()
            && self.run(*first).is_none()
        {
            self.begun.pop_front();
        }
    }
}
