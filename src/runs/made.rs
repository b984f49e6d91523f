//! What comes out of runs: spans that are complete, each as what it is made of until somebody wants it whole.

use std::sync::Arc;

use crate::exchange::Exchange;
use crate::span::exchange::{self, span_id};
use crate::span::{Collect, Place, Sink, Span, SpanId, Tell};

/// A span that is complete.
#[derive(Clone, Debug)]
pub enum Made {
    /// The span of an exchange, and where it stands.
    Call {
        /// The exchange; of a call that was tried several times, the last.
        exchange: Arc<Exchange>,
        /// Where its span stands.
        place: Place,
    },
    /// A span that is no exchange's.
    Span(Arc<Span>),
}

impl From<Span> for Made {
    fn from(span: Span) -> Self {
        Made::Span(Arc::new(span))
    }
}

impl Made {
    /// The span itself.
    pub fn span(&self) -> Span {
        match self {
            Made::Call { exchange, place } => exchange::tell(exchange, place, Collect),
            Made::Span(span) => Span::clone(span),
        }
    }

    /// When the span begins, in nanoseconds since the Unix epoch.
    pub fn start_ns(&self) -> u64 {
        match self {
            Made::Call { place, .. } => place.wall_ns(place.start_ns),
            Made::Span(span) => span.start_ns,
        }
    }

    /// The span's id.
    pub fn span_id(&self) -> SpanId {
        match self {
            Made::Call { exchange, .. } => span_id(exchange.opening.id),
            Made::Span(span) => span.span_id,
        }
    }
}

impl Tell for Made {
    fn tell<S: Sink>(&self, sink: S) -> S::Told {
        match self {
            Made::Call { exchange, place } => exchange::tell(exchange, place, sink),
            Made::Span(span) => span.tell(sink),
        }
    }

    fn size_hint(&self) -> usize {
        match self {
            // What was said goes out twice, and grows where it is escaped. Room that stays empty costs less than moving what is there.
            Made::Call { exchange, .. } => 5 * exchange.weight() / 2,
            Made::Span(span) => span.size_hint(),
        }
    }
}
