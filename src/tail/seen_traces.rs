//! The traces that were seen, with their states, so that a later list shows the changes. The oldest are evicted.

use std::collections::HashMap;

use super::trace::ListedTrace;

/// Most traces that are remembered. Eviction leaves half of them.
const MOST: usize = 20_000;

#[derive(Default)]
pub(super) struct SeenTraces {
    traces: HashMap<String, SeenTrace>,
    count: usize,
}

struct SeenTrace {
    number: usize,
    spans: u64,
    end: String,
    live: bool,
    printed: bool,
}

impl SeenTrace {
    fn is_unchanged(&self, trace: &ListedTrace) -> bool {
        (self.spans, &self.end, self.live) == (trace.spans, &trace.end, trace.live)
    }
}

impl SeenTraces {
    /// Whether the trace was seen in its present state.
    pub(super) fn has_seen(&self, trace: &ListedTrace) -> bool {
        let seen = self.traces.get(&trace.trace_id);
        seen.is_some_and(|seen| seen.is_unchanged(trace))
    }

    /// Whether the trace was printed in its present state.
    pub(super) fn has_printed(&self, trace: &ListedTrace) -> bool {
        let seen = self.traces.get(&trace.trace_id);
        seen.is_some_and(|seen| seen.printed && seen.is_unchanged(trace))
    }

    /// Remembers the trace in its present state.
    pub(super) fn insert(&mut self, trace: &ListedTrace, printed: bool) {
        let printed = printed || self.has_printed(trace);
        self.count += 1;
        let seen = SeenTrace {
            number: self.count,
            spans: trace.spans,
            end: trace.end.clone(),
            live: trace.live,
            printed,
        };
        self.traces.insert(trace.trace_id.clone(), seen);
        if self.traces.len() > MOST {
            let oldest = self.count.saturating_sub(MOST / 2);
            self.traces.retain(|_, seen| seen.number > oldest);
        }
    }
}
