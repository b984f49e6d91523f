//! One run: who took part, in which turns and on which levels, and what is still to be told of it.

use std::sync::Arc;

use super::call::{CallId, RunId, Speaker};
use super::hash::{Hash, Map, Set};
use crate::exchange::{ExchangeId, RequestMeta};
use crate::span::{SpanId, TraceId};

/// A run.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) id: RunId,
    pub(super) trace_id: TraceId,
    /// What its first request said of itself.
    pub(super) meta: Arc<RequestMeta>,
    /// A name for its root, when a request told one.
    pub(super) explicit_name: Option<String>,
    pub(super) calls: Vec<CallId>,
    /// System messages of those who made them.
    pub(super) systems: Set<Hash>,
    pub(super) turns: Vec<Turn>,
    /// The first is the run itself, the others are tools that were agents or teams.
    pub(super) levels: Vec<Level>,
    pub(super) societies: Vec<Society>,
    /// Runs of the same conversation that came after it, by the messages that began them.
    pub(super) next: Map<Hash, RunId>,
    /// Its agents hand over to each other.
    pub(super) is_swarm: bool,
    /// Calls under way.
    pub(super) in_flight: usize,
    /// When something last happened in it.
    pub(super) last_ns: u64,
    pub(super) closed: bool,
    /// It was told with an agent as its root: no workflow will follow.
    pub(super) is_lone: bool,
    /// Exchanges that are told again after a crash as long as it is open.
    pub(super) exchanges: Vec<ExchangeId>,
}

impl Run {
    /// About how many bytes it takes without its calls; never changes. Its scope has the thread once more.
    pub(super) fn weight(&self) -> usize {
        let thread = self.meta.identity.thread.as_ref();
        2048 + self.meta.weight() + thread.map_or(0, String::len)
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
    /// Which of the run's societies it is a member of.
    pub(super) society: Option<usize>,
    pub(super) calls: Vec<CallId>,
    pub(super) span: Extent,
    pub(super) input: Option<Arc<str>>,
    pub(super) output: Option<Arc<str>>,
    /// What was said may be told.
    pub(super) content: bool,
    /// The span that its first request named as its parent.
    pub(super) explicit_parent: Option<SpanId>,
    pub(super) told: bool,
}

/// A team, or a lone agent: the run itself, or what a tool was.
#[derive(Clone, Debug)]
pub(super) struct Level {
    /// The workflow's span, where there is one.
    pub(super) span_id: SpanId,
    /// The call that asked, and which of its tools this is.
    pub(super) asked_by: Option<(CallId, usize)>,
    /// The span of that tool.
    pub(super) above: Option<SpanId>,
    /// The run's calls on this level, and by their numbers its turns.
    pub(super) calls: Vec<CallId>,
    pub(super) turns: Vec<usize>,
    pub(super) input: Option<Arc<str>>,
    pub(super) output: Option<Arc<str>>,
    pub(super) span: Extent,
    /// What was said may be told.
    pub(super) content: bool,
    /// A span says that the workflow is its parent.
    pub(super) is_parent: bool,
    pub(super) told: bool,
}

/// The inner team of a `SocietyOfMindAgent`, as one call of it summed it up.
#[derive(Clone, Debug)]
pub(super) struct Society {
    pub(super) span_id: SpanId,
    pub(super) level: usize,
    pub(super) span: Extent,
    pub(super) told: bool,
}

/// From when to when, in nanoseconds of [`crate::clock`]; empty as long as its end is before its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
}

impl Extent {
    pub(super) const NOTHING: Extent = Extent {
        start_ns: u64::MAX,
        end_ns: 0,
    };

    pub(super) fn at(start_ns: u64) -> Self {
        Extent {
            start_ns,
            end_ns: start_ns,
        }
    }

    pub(super) fn cover(&mut self, other: Extent) {
        self.start_ns = self.start_ns.min(other.start_ns);
        self.end_ns = self.end_ns.max(other.end_ns);
    }
}

impl Level {
    /// One of which nothing is known yet but its span.
    pub(super) fn of(span_id: SpanId) -> Self {
        Level {
            span_id,
            asked_by: None,
            above: None,
            calls: Vec::new(),
            turns: Vec::new(),
            input: None,
            output: None,
            span: Extent::NOTHING,
            content: true,
            is_parent: false,
            told: false,
        }
    }
}
