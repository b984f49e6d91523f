//! The order of a trace's spans, and its pages: spans by their starts, and none before its parent.
//!
//! A span may start after its children, since clocks differ and headers name parents. So the earliest start of a span and all spans below it
//! counts. Of spans with one start the outer ones come first, then those with the lower number in the store: a reply's tools have that order.
//! A page begins behind a [`SpanCursor`], so pages neither leave out nor repeat a span while the trace grows.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use crate::span::SpanId;

/// Most spans of a page.
pub(crate) const MOST_SPANS: usize = 2000;

/// A query of one trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanQuery {
    /// The parent of the wanted spans; none for all spans.
    pub parent: Option<SpanId>,
    /// Where the page begins; none for the first span.
    pub cursor: Option<SpanCursor>,
    /// Most spans of the page.
    pub limit: usize,
}

/// The place of a span in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpanCursor {
    /// The earliest start of the span and of all below it.
    start_ns: u64,
    depth: u32,
    rank: u64,
    span_id: SpanId,
}

/// The spans behind a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MoreSpans {
    /// Where the next one begins.
    pub cursor: SpanCursor,
    /// How many spans are left.
    pub spans: usize,
}

/// The facts of a span that decide its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanNode {
    pub span_id: SpanId,
    pub parent: Option<SpanId>,
    pub start_ns: u64,
    /// Decides among spans of one start and depth: the number in the store, or from [`OPEN`] on for open spans.
    pub rank: u64,
}

/// The least rank of an open span.
pub(super) const OPEN: u64 = 1 << 63;

impl SpanQuery {
    /// All spans in one page.
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

/// The indexes of the page's nodes in their order, and the nodes that are left.
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

/// The place of each node.
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
    // Parents before their children.
    let mut parents_first = Vec::with_capacity(nodes.len());
    let mut path: Vec<usize> = Vec::new();
    let mut parents: Vec<Option<usize>> = vec![None; nodes.len()];
    for number in 0..nodes.len() {
        let mut next = Some(number);
        while let Some(at) = next.filter(|at| places[*at].depth == UNKNOWN) {
            // A circle of parents comes back to this span, which then counts as a root.
            places[at].depth = VISITING;
            path.push(at);
            next = nodes[at].parent.and_then(|id| numbers.get(&id).copied());
        }
        let mut above = next.filter(|at| places[*at].depth != VISITING);
        while let Some(at) = path.pop() {
            places[at].depth = above.map_or(1, |above| places[above].depth + 1);
            parents[at] = above;
            parents_first.push(at);
            above = Some(at);
        }
    }
    for at in parents_first.into_iter().rev() {
        if let Some(parent) = parents[at] {
            places[parent].start_ns = places[parent].start_ns.min(places[at].start_ns);
        }
    }
    places
}

/// Marks for a depth that is not computed yet, and for one that is being computed. A root has depth 1.
const UNKNOWN: u32 = 0;
const VISITING: u32 = u32::MAX;

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
