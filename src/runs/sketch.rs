//! What can be said of runs before they are over, for those who watch: agents and workflows as they are known by now, calls under way, tools
//! waited for. Each has the id that its span will have.
//!
//! Nothing here changes anything: a run that was sketched is told as if it had not been.

use super::Runs;
use super::call::{Asked, Call, CallId, RunId};
use super::hash::{Map, Set};
use super::kind::Kind;
use super::run::Run;
use super::scope::Scope;
use super::tree::{self, Of};
use crate::exchange::ExchangeId;
use crate::span::exchange::span_id;
use crate::span::operation::{Came, Operation, tool_id};
use crate::span::{Span, SpanId, TraceId, key};

/// Most spans of one sketch, the latest of them.
const MOST: usize = 1000;

/// A span that is not complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Sketch {
    /// What is known of it by now.
    pub span: Span,
    /// It goes on: its end is when something was last heard of it.
    pub open: bool,
}

/// What became of a run since it was sketched last.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// This is what is known of it now.
    Goes {
        /// Names the run in this process.
        run: u64,
        /// Its trace.
        trace_id: TraceId,
        /// What is not complete of it.
        spans: Vec<Sketch>,
    },
    /// It is not open any more.
    Over {
        /// Names the run in this process.
        run: u64,
    },
}

/// The runs that were sketched, and as what they were.
#[derive(Debug, Default)]
pub struct Sketches(Map<RunId, Stamp>);

/// What changes whenever a sketch would.
type Stamp = (usize, usize, usize, u64);

impl Runs {
    /// Sketches the open runs that changed since they were sketched last.
    pub fn sketch(&self, sketches: &mut Sketches) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut open = Set::default();
        for scope in self.scopes.values() {
            let mut under_way: Option<Map<CallId, ExchangeId>> = None;
            for run in scope.runs.values().filter(|run| !run.closed) {
                open.insert(run.id);
                let stamp = (
                    run.calls.len(),
                    run.exchanges.len(),
                    run.in_flight,
                    run.last_ns,
                );
                if sketches.0.insert(run.id, stamp) == Some(stamp) {
                    continue;
                }
                let under_way = under_way.get_or_insert_with(|| {
                    let attempts = scope.attempts.iter();
                    attempts
                        .map(|(exchange, call)| (*call, *exchange))
                        .collect()
                });
                changes.push(Change::Goes {
                    run: run.id,
                    trace_id: run.trace_id,
                    spans: self.sketched(run, scope, under_way),
                });
            }
        }
        sketches.0.retain(|run, _| {
            let goes = open.contains(run);
            if !goes {
                changes.push(Change::Over { run: *run });
            }
            goes
        });
        changes
    }

    fn sketched(
        &self,
        run: &Run,
        scope: &Scope,
        under_way: &Map<CallId, ExchangeId>,
    ) -> Vec<Sketch> {
        let calls = || {
            let calls = run.calls.iter().rev().take(MOST);
            calls.filter_map(|call| scope.known.get(*call))
        };
        let mut spans = Vec::new();
        let mut busy = Set::default();
        for call in calls() {
            if let Some(exchange) = under_way.get(&call.id) {
                busy.extend(call.turn);
                spans.push(open(of_call(run, call, *exchange)));
            }
            for (number, asked) in call.reply.tools.iter().enumerate() {
                if !asked.told
                    && let Some(span) = of_tool(run, call, number, asked)
                {
                    busy.extend(call.turn);
                    spans.push(open(span));
                }
            }
        }
        let so_far = tree::so_far(run, &scope.known, &self.shared.prompts);
        let last = |at: usize| run.levels[run.turns[at].level].turns.last() == Some(&at);
        let less = so_far.len().saturating_sub(MOST);
        for (number, (of, span)) in so_far.into_iter().enumerate() {
            let open = match of {
                Of::Level(at) => run.levels[at].asked_by.is_none_or(|(call, tool)| {
                    let call = scope.known.get(call);
                    call.and_then(|call| call.reply.tools.get(tool))
                        .is_some_and(|asked| !asked.told)
                }),
                Of::Society(_) => true,
                Of::Turn(at) => busy.contains(&at) || last(at),
            };
            if number >= less || matches!(of, Of::Level(_)) {
                spans.push(Sketch { span, open });
            }
        }
        spans
    }
}

fn open(span: Span) -> Sketch {
    Sketch { span, open: true }
}

/// The attempt that is under way.
fn of_call(run: &Run, call: &Call, exchange: ExchangeId) -> Span {
    let level = &run.levels[call.level];
    let identity = &run.meta.identity;
    let parent_span_id = match (call.kind, call.turn) {
        (_, Some(turn)) => Some(run.turns[turn].span_id),
        (Kind::Bare, None) if call.level == 0 && run.explicit_name.is_none() => {
            identity.parent.filter(|_| identity.trace.is_some())
        }
        (Kind::Bare, None) if level.above.is_some() => level.above,
        _ => Some(level.span_id),
    };
    operation(
        run,
        call,
        span_id(exchange),
        parent_span_id,
        call.started_ns,
    )
    .call(call.model.as_deref())
}

/// A tool whose result was not seen yet.
fn of_tool(run: &Run, call: &Call, number: usize, asked: &Asked) -> Option<Span> {
    let turn = &run.turns[call.turn?];
    let (id, parent) = (tool_id(call.exchange, number), Some(turn.span_id));
    let mut span = operation(run, call, id, parent, call.ended_ns?).tool(
        &asked.call.name,
        &asked.call.arguments,
        &Came::Nothing,
    );
    // It may still come.
    span.attributes.retain(|(name, _)| name != key::UNANSWERED);
    Some(span)
}

fn operation<'r>(
    run: &'r Run,
    call: &Call,
    span_id: SpanId,
    parent_span_id: Option<SpanId>,
    start_ns: u64,
) -> Operation<'r> {
    Operation {
        trace_id: run.trace_id,
        span_id,
        parent_span_id,
        start_ns,
        end_ns: start_ns,
        meta: &run.meta,
        content: call.content,
        rule: None,
        failure: None,
    }
}
