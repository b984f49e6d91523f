//! What comes out of runs: spans that are complete, each as what it is made of until somebody wants it whole.

use std::sync::Arc;

use crate::exchange::Exchange;
use crate::span::exchange::{self, span_id};
use crate::span::{Collect, Placement, Sink, Span, SpanId, Tell};

/// A span that is complete.
#[derive(Clone, Debug)]
pub enum FinishedSpan {
    /// The span of an exchange, and where it stands.
    Call {
        /// The exchange; of a call that was tried several times, the last.
        exchange: Arc<Exchange>,
        /// Where its span stands.
        place: Placement,
    },
    /// A span that is no exchange's.
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
            FinishedSpan::Call { exchange, place } => exchange::tell(exchange, place, Collect),
            FinishedSpan::Span(span) => Span::clone(span),
        }
    }

    /// When the span begins, in nanoseconds since the Unix epoch.
    pub fn start_ns(&self) -> u64 {
        match self {
            FinishedSpan::Call { place, .. } => place.wall_ns(place.start_ns),
            FinishedSpan::Span(span) => span.start_ns,
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

impl Tell for FinishedSpan {
    fn tell<S: Sink>(&self, sink: S) -> S::Told {
        match self {
            FinishedSpan::Call { exchange, place } => exchange::tell(exchange, place, sink),
            FinishedSpan::Span(span) => span.tell(sink),
        }
    }

    fn size_hint(&self) -> usize {
        match self {
            // What was said goes out twice, and grows where it is escaped. Room that stays empty costs less than moving what is there.
            FinishedSpan::Call { exchange, .. } => 5 * exchange.weight() / 2,
            FinishedSpan::Span(span) => span.size_hint(),
        }
    }
}
