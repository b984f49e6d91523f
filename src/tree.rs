//! Spans as the lines of a tree, for the terminal.
//!
//! Every span has one line: a span with an unknown parent is a root, and a circle of parents is cut at its earliest span.

use std::collections::HashMap;
use std::hash::Hash;

use crate::span::key;

/// The line of a span.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TreeLine {
    /// The span's index.
    pub(crate) span: usize,
    /// The branches that are drawn before it.
    pub(crate) branches: String,
}

/// Lays out spans, given by their ids and those of their parents in the order of their starts.
pub(crate) fn layout<Id: Eq + Hash>(spans: &[(Id, Option<Id>)]) -> Vec<TreeLine> {
    let numbers = spans
        .iter()
        .enumerate()
        .map(|(number, (id, _))| (id, number));
    let numbers: HashMap<&Id, usize> = numbers.collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
    let mut roots = Vec::new();
    for (number, (_, parent)) in spans.iter().enumerate() {
        match parent.as_ref().and_then(|parent| numbers.get(parent)) {
            Some(&parent) => children[parent].push(number),
            None => roots.push(number),
        }
    }
    cut_circles(&mut children, &mut roots);
    let mut lines = Vec::with_capacity(spans.len());
    let mut unvisited: Vec<(usize, String, bool)> = Vec::new();
    push_siblings(&mut unvisited, &roots, "");
    while let Some((span, before, is_last)) = unvisited.pop() {
        let (own, below) = if is_last {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        push_siblings(&mut unvisited, &children[span], &format!("{before}{below}"));
        lines.push(TreeLine {
            span,
            branches: format!("{before}{own}"),
        });
    }
    lines
}

fn push_siblings(unvisited: &mut Vec<(usize, String, bool)>, siblings: &[usize], before: &str) {
    let last = siblings.last().copied();
    let siblings = siblings.iter().rev();
    unvisited.extend(siblings.map(|&span| (span, before.to_owned(), Some(span) == last)));
}

/// Makes roots of spans that no root leads to.
fn cut_circles(children: &mut [Vec<usize>], roots: &mut Vec<usize>) {
    let mut is_reached = vec![false; children.len()];
    let mut unvisited = roots.clone();
    let mut next = 0;
    loop {
        while let Some(span) = unvisited.pop() {
            is_reached[span] = true;
            unvisited.extend(&children[span]);
        }
        let Some(unreached) = (next..children.len()).find(|&span| !is_reached[span]) else {
            return;
        };
        next = unreached;
        for siblings in &mut *children {
            siblings.retain(|&span| span != unreached);
        }
        roots.push(unreached);
        unvisited.push(unreached);
    }
}

/// The tokens of a call and the time to its first one, as far as its attributes have them.
pub(crate) fn cost(attribute: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut cost = Vec::new();
    if let (Some(input), Some(output)) = (
        attribute(key::PROMPT_TOKENS),
        attribute(key::COMPLETION_TOKENS),
    ) {
        cost.push(format!("{input} + {output} tokens"));
    }
    let first = attribute(key::TIME_TO_FIRST_TOKEN).and_then(|text| text.parse::<f64>().ok());
    if let Some(seconds) = first {
        cost.push(format!("first after {:.0} ms", seconds * 1000.0));
    }
    cost
}

#[cfg(test)]
mod tests {
    use super::layout;

    fn drawn(spans: &[(&str, Option<&str>)]) -> String {
        let lines = layout(spans).into_iter();
        let lines = lines.map(|line| format!("{}{}\n", line.branches, spans[line.span].0));
        lines.collect()
    }

    #[test]
    fn children_stand_below_their_parents_in_their_order() {
        let spans = [
            ("workflow", None),
            ("writer", Some("workflow")),
            ("first call", Some("writer")),
            ("tool", Some("writer")),
            ("nested", Some("tool")),
            ("second call", Some("writer")),
            ("critic", Some("workflow")),
            ("third call", Some("critic")),
        ];
        insta::assert_snapshot!(drawn(&spans), @r"
        └─ workflow
           ├─ writer
           │  ├─ first call
           │  ├─ tool
           │  │  └─ nested
           │  └─ second call
           └─ critic
              └─ third call
        ");
    }

    #[test]
    fn a_parent_that_is_not_there_and_a_circle_leave_no_span_out() {
        let spans = [
            ("lost", Some("nobody")),
            ("one", Some("two")),
            ("two", Some("one")),
            ("own", Some("own")),
        ];
        insta::assert_snapshot!(drawn(&spans), @r"
        ├─ lost
        ├─ one
        │  └─ two
        └─ own
        ");
    }

    #[test]
    fn a_very_deep_tree_is_laid_out() {
        let spans: Vec<(usize, Option<usize>)> =
            (0..2000_usize).map(|n| (n, n.checked_sub(1))).collect();
        assert_eq!(layout(&spans).len(), 2000);
    }
}
