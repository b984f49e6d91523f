//! The state of one run: its levels, the turns on them, and which spans were emitted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::call::{CallId, RunId};
use super::speaker::Speaker;
use super::text_hash::{Hash, Map, Set};
use crate::exchange::{ExchangeId, RequestMeta};
use crate::span::{SpanId, TraceId};

/// A run.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) id: RunId,
    pub(super) state: Arc<RunState>,
    pub(super) trace_id: TraceId,
    /// The metadata of its first request.
    pub(super) meta: Arc<RequestMeta>,
    /// When its first request began.
    pub(super) began_ns: u64,
    /// A header's name for its root.
    pub(super) explicit_name: Option<String>,
    pub(super) calls: Vec<CallId>,
    /// The system messages of its callers.
    pub(super) systems: Set<Hash>,
    pub(super) turns: Vec<Turn>,
    /// The first is the run itself, the others are tools that were agents or teams.
    pub(super) levels: Vec<Level>,
    pub(super) societies: Vec<Society>,
    /// Later runs of the same conversation, by the messages that began them.
    pub(super) next: Map<Hash, RunId>,
    /// Its agents hand over to each other.
    pub(super) is_swarm: bool,
    /// The number of calls under way.
    pub(super) in_flight: usize,
    /// The last time at which a request began or a reply ended.
    pub(super) last_ns: u64,
    /// Its root was emitted as an agent: no workflow will follow.
    pub(super) is_lone: bool,
    /// Exchanges that are replayed after a crash as long as it is open.
    pub(super) exchanges: Vec<ExchangeId>,
    /// About how many bytes it takes without its calls.
    pub(super) size_estimate: usize,
}

/// Whether a run is open, for those who hold no lock on its conversation.
#[derive(Debug, Default)]
pub(super) struct RunState(AtomicU8);

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const FORGOTTEN: u8 = 2;

impl RunState {
    pub(super) fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OPEN
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed) == CLOSED
    }

    pub(super) fn is_forgotten(&self) -> bool {
        self.0.load(Ordering::Relaxed) == FORGOTTEN
    }

    /// Whether it was closed before.
    pub(super) fn reopen(&self) -> bool {
        self.0.swap(OPEN, Ordering::Relaxed) != OPEN
    }

    pub(super) fn close(&self) {
        self.0.store(CLOSED, Ordering::Relaxed);
    }

    pub(super) fn forget(&self) {
        self.0.store(FORGOTTEN, Ordering::Relaxed);
    }
}

/// One turn of an agent: calls of the model, and tools between them.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) span_id: SpanId,
    pub(super) speaker: Speaker,
    /// Its name by a header.
    pub(super) explicit_name: Option<String>,
    pub(super) level: usize,
    /// The number of the run's society that it is a member of.
    pub(super) society: Option<usize>,
    pub(super) calls: Vec<CallId>,
    pub(super) span: TimeRange,
    pub(super) input: Option<Arc<str>>,
    pub(super) output: Option<Arc<str>>,
    /// Its content may be exported.
    pub(super) content: bool,
    /// The span that its first request named as its parent.
    pub(super) explicit_parent: Option<SpanId>,
    pub(super) emitted: bool,
}

/// A team or a lone agent: the run itself, or one that is a tool.
#[derive(Clone, Debug)]
pub(super) struct Level {
    /// The workflow's span, where there is one.
    pub(super) span_id: SpanId,
    /// The call that requested the tool, and the tool's number.
    pub(super) requested_by: Option<(CallId, usize)>,
    /// The span of that tool.
    pub(super) above: Option<SpanId>,
    /// The run's calls on this level, and the numbers of its turns.
    pub(super) calls: Vec<CallId>,
    pub(super) turns: Vec<usize>,
    pub(super) input: Option<Arc<str>>,
    pub(super) output: Option<Arc<str>>,
    pub(super) span: TimeRange,
    /// Its content may be exported.
    pub(super) content: bool,
    /// An emitted span has the workflow as its parent.
    pub(super) is_parent: bool,
    pub(super) emitted: bool,
}

/// The inner team of a `SocietyOfMindAgent`, as one call of it summed it up.
#[derive(Clone, Debug)]
pub(super) struct Society {
    pub(super) span_id: SpanId,
    pub(super) level: usize,
    pub(super) span: TimeRange,
    pub(super) emitted: bool,
}

/// In nanoseconds of [`crate::clock`]; empty as long as its end is before its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeRange {
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
}

impl TimeRange {
    pub(super) const NOTHING: TimeRange = TimeRange {
        start_ns: u64::MAX,
        end_ns: 0,
    };

    pub(super) fn at(start_ns: u64) -> Self {
        TimeRange {
            start_ns,
            end_ns: start_ns,
        }
    }

    pub(super) fn cover(&mut self, other: TimeRange) {
        self.start_ns = self.start_ns.min(other.start_ns);
        self.end_ns = self.end_ns.max(other.end_ns);
    }
}

impl Level {
    /// A level of which only the span is known.
    pub(super) fn of(span_id: SpanId) -> Self {
        Level {
            span_id,
            requested_by: None,
            above: None,
            calls: Vec::new(),
            turns: Vec::new(),
            input: None,
            output: None,
            span: TimeRange::NOTHING,
            content: true,
            is_parent: false,
            emitted: false,
        }
    }
}
