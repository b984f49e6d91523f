//! The spans of one trace in pages: in the order in which they began, and none before its parent.
//!
//! A span may be said to begin after what is below it (clocks differ, and parents are told in headers). So a span counts from the earliest
//! start of all that is below it; among those of one start the outer ones come first, then those that were written first, which is the order in
//! which a reply asked for its tools. A page goes on behind the place of the last span
//! before it ([`SpanCursor`]), so it neither leaves out nor repeats what was there, though the trace grows.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use crate::span::SpanId;

/// Most spans of a page.
pub const MOST_SPANS: usize = 2000;

/// Which spans of a trace are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanQuery {
    /// The children of this span alone.
    pub parent: Option<SpanId>,
    /// Those behind this place.
    pub cursor: Option<SpanCursor>,
    /// At most so many.
    pub limit: usize,
}

/// Where a span stands in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpanCursor {
    /// The earliest start of the span and of all below it.
    start_ns: u64,
    depth: u32,
    rank: u64,
    span_id: SpanId,
}

/// What a page left for the next ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MoreSpans {
    /// Where the next one begins.
    pub cursor: SpanCursor,
    /// How many there are behind it.
    pub spans: usize,
}

/// What the order of a span depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanNode {
    pub span_id: SpanId,
    pub parent: Option<SpanId>,
    pub start_ns: u64,
    /// Which comes first of those of one start and depth: a span's number in the store. Those under way come behind, from [`UNDER_WAY`] on.
    pub rank: u64,
}

/// The rank of the first span under way.
pub(super) const UNDER_WAY: u64 = 1 << 63;

impl SpanQuery {
    /// All spans, in one page.
    pub const ALL: SpanQuery = SpanQuery {
        parent: None,
        cursor: None,
        limit: usize::MAX,
    };
}

impl Default for SpanQuery {
    fn default() -> Self {
        SpanQuery {
            limit: MOST_SPANS,
            ..SpanQuery::ALL
        }
    }
}

/// The numbers of the nodes that make the page, in its order.
pub(super) fn page(nodes: &[SpanNode], query: &SpanQuery) -> (Vec<usize>, Option<MoreSpans>) {
    let wanted = |node: &SpanNode| query.parent.is_none() || node.parent == query.parent;
    let places = places(nodes).into_iter().zip(0..);
    let mut places: Vec<(SpanCursor, usize)> = places
        .filter(|(place, number)| wanted(&nodes[*number]) && query.cursor < Some(*place))
        .collect();
    let left = places.len().saturating_sub(query.limit);
    if left > 0 {
        places.select_nth_unstable(query.limit);
        places.truncate(query.limit);
    }
    places.sort_unstable();
    let last = places.last().filter(|_| left > 0);
    let more = last.map(|(cursor, _)| MoreSpans {
        cursor: *cursor,
        spans: left,
    });
    (places.into_iter().map(|(_, number)| number).collect(), more)
}

/// Where each node stands.
fn places(nodes: &[SpanNode]) -> Vec<SpanCursor> {
    let numbers = nodes.iter().zip(0..);
    let numbers: HashMap<SpanId, usize> = numbers
        .map(|(node, number)| (node.span_id, number))
        .collect();
    let mut places: Vec<SpanCursor> = nodes
        .iter()
        .map(|node| SpanCursor {
            start_ns: node.start_ns,
            depth: UNKNOWN,
            rank: node.rank,
            span_id: node.span_id,
        })
        .collect();
    // From the outside in.
    let mut inwards = Vec::with_capacity(nodes.len());
    let mut path: Vec<usize> = Vec::new();
    let mut parents: Vec<Option<usize>> = vec![None; nodes.len()];
    for number in 0..nodes.len() {
        let mut next = Some(number);
        while let Some(at) = next.filter(|at| places[*at].depth == UNKNOWN) {
            // Until its depth is known: spans in a circle meet it, and one of them counts as a root.
            places[at].depth = BEING_FOUND;
            path.push(at);
            next = nodes[at].parent.and_then(|id| numbers.get(&id).copied());
        }
        let mut above = next.filter(|at| places[*at].depth != BEING_FOUND);
        while let Some(at) = path.pop() {
            places[at].depth = above.map_or(1, |above| places[above].depth + 1);
            parents[at] = above;
            inwards.push(at);
            above = Some(at);
        }
    }
    // Every span is behind its parent there.
    for at in inwards.into_iter().rev() {
        if let Some(parent) = parents[at] {
            places[parent].start_ns = places[parent].start_ns.min(places[at].start_ns);
        }
    }
    places
}

/// A depth that was not looked for yet, and one that is being found. A root has 1.
const UNKNOWN: u32 = 0;
const BEING_FOUND: u32 = u32::MAX;

impl fmt::Display for SpanCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:x}.{:x}.{:x}.{}",
            self.start_ns, self.depth, self.rank, self.span_id
        )
    }
}

impl serde::Serialize for SpanCursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for SpanCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(4, '.');
        let mut next = || parts.next().ok_or(());
        Ok(SpanCursor {
            start_ns: u64::from_str_radix(next()?, 16).map_err(|_| ())?,
            depth: u32::from_str_radix(next()?, 16).map_err(|_| ())?,
            rank: u64::from_str_radix(next()?, 16).map_err(|_| ())?,
            span_id: SpanId::parse(next()?.as_bytes()).ok_or(())?,
        })
    }
}

#[cfg(test)]
mod tests;
