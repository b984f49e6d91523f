//! Open spans, for viewers: agents and workflows as they are known by now, calls under way, tools without a result. Each has the id that its
//! finished span will have.
//!
//! Looking at a run never changes what is emitted of it.

use super::call::{Call, CallId, RequestedTool, RunId};
use super::caller_kind::CallerKind;
use super::close::{SpanOwner, so_far};
use super::conversation::Conversation;
use super::run::Run;
use super::shared::SharedState;
use super::text_hash::{Map, Set};
use crate::exchange::ExchangeId;
use crate::span::exchange::span_id;
use crate::span::operation::{Operation, ToolOutcome, tool_id};
use crate::span::{Span, SpanId, TraceId, key};

/// Most open spans of one run, the latest of them.
const MOST: usize = 1000;

/// A span that is not complete.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenSpan {
    /// The span as it is known by now.
    pub span: Span,
    /// It goes on: its end is the time of its last event.
    pub open: bool,
}

/// A change of a run since the last look at it.
#[derive(Clone, Debug, PartialEq)]
pub enum RunChange {
    /// It is open, and changed.
    Open {
        /// The run's number in this process.
        run: u64,
        /// Its trace.
        trace_id: TraceId,
        /// All of its spans that are not complete.
        spans: Vec<OpenSpan>,
    },
    /// It is not open any more.
    Over {
        /// The run's number in this process.
        run: u64,
    },
}

/// The open runs that were seen, and their versions.
#[derive(Debug, Default)]
pub struct OpenSpanCursor {
    runs: Map<RunId, (RunVersion, u64)>,
    /// The number of the present look.
    look: u64,
}

/// Differs whenever the open spans of a run do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RunVersion {
    calls: usize,
    exchanges: usize,
    in_flight: usize,
    last_ns: u64,
}

impl OpenSpanCursor {
    /// Adds the changes of a conversation's open runs.
    pub(super) fn visit(
        &mut self,
        conversation: &Conversation,
        shared: &SharedState,
        changes: &mut Vec<RunChange>,
    ) {
        let mut under_way: Option<Map<CallId, ExchangeId>> = None;
        for run in conversation.runs.values() {
            if !run.state.is_open() {
                continue;
            }
            let version = RunVersion {
                calls: run.calls.len(),
                exchanges: run.exchanges.len(),
                in_flight: run.in_flight,
                last_ns: run.last_ns,
            };
            let before = self.runs.insert(run.id, (version, self.look));
            if before.is_some_and(|(before, _)| before == version) {
                continue;
            }
            let under_way = under_way.get_or_insert_with(|| conversation.under_way());
            changes.push(RunChange::Open {
                run: run.id,
                trace_id: run.trace_id,
                spans: open_spans(run, conversation, shared, under_way),
            });
        }
    }

    /// Ends a look: adds the runs that are not open any more.
    pub(super) fn finish(&mut self, changes: &mut Vec<RunChange>) {
        let over = self.runs.extract_if(|_, (_, look)| *look != self.look);
        changes.extend(over.map(|(run, _)| RunChange::Over { run }));
        self.look += 1;
    }
}

fn open_spans(
    run: &Run,
    conversation: &Conversation,
    shared: &SharedState,
    under_way: &Map<CallId, ExchangeId>,
) -> Vec<OpenSpan> {
    let index = &conversation.index;
    let mut spans = Vec::new();
    let mut busy = Set::default();
    let calls = run.calls.iter().rev().take(MOST);
    for call in calls.filter_map(|call| index.get(*call)) {
        if let Some(exchange) = under_way.get(&call.id) {
            busy.extend(call.turn);
            spans.push(open(of_call(run, call, *exchange)));
        }
        for (number, requested) in call.reply.tools.iter().enumerate() {
            if !requested.emitted
                && let Some(span) = of_tool(run, call, number, requested)
            {
                busy.extend(call.turn);
                spans.push(open(span));
            }
        }
    }
    let so_far = so_far(run, index, conversation.run_names(shared, run.began_ns));
    let is_last = |at: usize| run.levels[run.turns[at].level].turns.last() == Some(&at);
    let less = so_far.len().saturating_sub(MOST);
    for (number, (owner, span)) in so_far.into_iter().enumerate() {
        let open = match owner {
            SpanOwner::Level(at) => run.levels[at].requested_by.is_none_or(|(call, tool)| {
                let call = index.get(call);
                call.and_then(|call| call.reply.tools.get(tool))
                    .is_some_and(|requested| !requested.emitted)
            }),
            SpanOwner::Society(_) => true,
            SpanOwner::Turn(at) => busy.contains(&at) || is_last(at),
        };
        if number >= less || matches!(owner, SpanOwner::Level(_)) {
            spans.push(OpenSpan { span, open });
        }
    }
    spans
}

fn open(span: Span) -> OpenSpan {
    OpenSpan { span, open: true }
}

/// The attempt of a call that is under way.
fn of_call(run: &Run, call: &Call, exchange: ExchangeId) -> Span {
    let level = &run.levels[call.level];
    let identity = &run.meta.identity;
    let parent_span_id = match (call.kind, call.turn) {
        (_, Some(turn)) => Some(run.turns[turn].span_id),
        (CallerKind::Bare, None) if call.level == 0 && run.explicit_name.is_none() => {
            identity.parent.filter(|_| identity.trace.is_some())
        }
        (CallerKind::Bare, None) if level.above.is_some() => level.above,
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

/// A tool whose result no request has shown yet.
fn of_tool(run: &Run, call: &Call, number: usize, requested: &RequestedTool) -> Option<Span> {
    let turn = &run.turns[call.turn?];
    let (id, parent) = (tool_id(call.exchange, number), Some(turn.span_id));
    let mut span = operation(run, call, id, parent, call.ended_ns?).tool(
        &requested.call.name,
        &requested.call.arguments,
        &ToolOutcome::Unseen,
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
