//! Which traces were seen, and how they stood: a list that is read anew says what is new by this. The oldest are forgotten.

use std::collections::HashMap;

use super::trace::Listed;

/// Traces that are remembered, at most; half of them at least.
const MOST: usize = 20_000;

/// Traces that were seen.
#[derive(Default)]
pub(super) struct Known {
    traces: HashMap<String, Seen>,
    count: usize,
}

struct Seen {
    number: usize,
    spans: u64,
    end: String,
    live: bool,
    printed: bool,
}

impl Seen {
    fn is(&self, listed: &Listed) -> bool {
        (self.spans, &self.end, self.live) == (listed.spans, &listed.end, listed.live)
    }
}

impl Known {
    /// Whether it was seen as it stands now.
    pub(super) fn has_seen(&self, listed: &Listed) -> bool {
        let seen = self.traces.get(&listed.trace_id);
        seen.is_some_and(|seen| seen.is(listed))
    }

    /// Whether it was printed as it stands now.
    pub(super) fn has_printed(&self, listed: &Listed) -> bool {
        let seen = self.traces.get(&listed.trace_id);
        seen.is_some_and(|seen| seen.printed && seen.is(listed))
    }

    /// Remembers how it stands.
    pub(super) fn see(&mut self, listed: &Listed, printed: bool) {
        let printed = printed || self.has_printed(listed);
        self.count += 1;
        let seen = Seen {
            number: self.count,
            spans: listed.spans,
            end: listed.end.clone(),
            live: listed.live,
            printed,
        };
        self.traces.insert(listed.trace_id.clone(), seen);
        if self.traces.len() > MOST {
            let oldest = self.count.saturating_sub(MOST / 2);
            self.traces.retain(|_, seen| seen.number > oldest);
        }
    }
}
