//! The output of runs: complete spans, exchanges that are finished, names that were learned.

use std::sync::Arc;

use super::agent_names::LearnedName;
use crate::exchange::{Exchange, ExchangeId};
use crate::span::exchange::{self, span_id};
use crate::span::{Placement, Span, SpanCollector, SpanEncode, SpanEncoder, SpanId, TraceId};

/// What an event of a conversation changed outside of it.
#[derive(Debug, Default)]
pub struct RunUpdate {
    /// Complete spans.
    pub spans: Vec<FinishedSpan>,
    /// Exchanges of which no further span will be made. They must not be replayed once the spans are stored.
    pub finished: Vec<ExchangeId>,
    /// Names of agents that later processes should know. Once several agents share a system message, they do for good.
    pub learned: Vec<LearnedName>,
    /// The model that the settled exchange asked for, where its request was read for grouping.
    pub model: Option<Arc<str>>,
}

/// A span that is complete, kept as its parts until it is encoded.
#[derive(Clone, Debug)]
pub enum FinishedSpan {
    /// The span of an exchange.
    Call {
        /// The exchange; of a call with several attempts, the last.
        exchange: Arc<Exchange>,
        /// Where its span stands.
        place: Placement,
    },
    /// An agent's, a workflow's or a tool's span.
    Span(Arc<Span>),
}

impl From<Span> for FinishedSpan {
    fn from(span: Span) -> Self {
        FinishedSpan::Span(Arc::new(span))
    }
}

impl FinishedSpan {
    /// The span itself.
    pub fn span(&self) -> Span {
        match self {
            FinishedSpan::Call { exchange, place } => {
                exchange::emit(exchange, place, SpanCollector)
            }
            FinishedSpan::Span(span) => Span::clone(span),
        }
    }

    /// When the span begins, in nanoseconds since the Unix epoch.
    pub fn start_ns(&self) -> u64 {
        match self {
            FinishedSpan::Call { place, .. } => place.wall_ns(place.start_steady_ns),
            FinishedSpan::Span(span) => span.start_ns,
        }
    }

    /// The trace it belongs to.
    pub fn trace_id(&self) -> TraceId {
        match self {
            FinishedSpan::Call { place, .. } => place.trace_id,
            FinishedSpan::Span(span) => span.trace_id,
        }
    }

    /// The span's id.
    pub fn span_id(&self) -> SpanId {
        match self {
            FinishedSpan::Call { exchange, .. } => span_id(exchange.meta.id),
            FinishedSpan::Span(span) => span.span_id,
        }
    }
}

impl SpanEncode for FinishedSpan {
    fn emit<S: SpanEncoder>(&self, sink: S) -> S::Output {
        match self {
            FinishedSpan::Call { exchange, place } => exchange::emit(exchange, place, sink),
            FinishedSpan::Span(span) => span.emit(sink),
        }
    }

    fn size_hint(&self) -> usize {
        match self {
            // Content is exported twice, and grows where it is escaped. An empty reserve costs less than a reallocation.
            FinishedSpan::Call { exchange, .. } => 5 * exchange.size_estimate() / 2,
            FinishedSpan::Span(span) => span.size_hint(),
        }
    }
}
