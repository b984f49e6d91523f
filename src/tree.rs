//! Spans as the lines of a tree, for the terminal: where each stands, the branches before it, and what a call took.
//!
//! Every span has one line, whatever its parent says: one that is not there makes a root, and a circle is cut where it began first.

use std::collections::HashMap;
use std::hash::Hash;

use crate::span::key;

/// Where a span stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which span.
    pub(crate) span: usize,
    /// What is drawn before it.
    pub(crate) branches: String,
}

/// Lays out spans, each known by its id and that of its parent, in the order in which they began.
pub(crate) fn layout<Id: Eq + Hash>(spans: &[(Id, Option<Id>)]) -> Vec<Place> {
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
    let mut places = Vec::with_capacity(spans.len());
    let mut waiting: Vec<(usize, String, bool)> = Vec::new();
    stack(&mut waiting, &roots, "");
    while let Some((span, before, is_last)) = waiting.pop() {
        let (own, below) = if is_last {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        stack(&mut waiting, &children[span], &format!("{before}{below}"));
        places.push(Place {
            span,
            branches: format!("{before}{own}"),
        });
    }
    places
}

fn stack(waiting: &mut Vec<(usize, String, bool)>, siblings: &[usize], before: &str) {
    let last = siblings.last().copied();
    let siblings = siblings.iter().rev();
    waiting.extend(siblings.map(|&span| (span, before.to_owned(), Some(span) == last)));
}

/// Makes a root of a span that no root leads to.
fn cut_circles(children: &mut [Vec<usize>], roots: &mut Vec<usize>) {
    let mut is_reached = vec![false; children.len()];
    let mut waiting = roots.clone();
    let mut next = 0;
    loop {
        while let Some(span) = waiting.pop() {
            is_reached[span] = true;
            waiting.extend(&children[span]);
        }
        let Some(unreached) = (next..children.len()).find(|&span| !is_reached[span]) else {
            return;
        };
        next = unreached;
        for siblings in &mut *children {
            siblings.retain(|&span| span != unreached);
        }
        roots.push(unreached);
        waiting.push(unreached);
    }
}

/// Tokens of a call, and how long its first one took, where its attributes say so.
pub(crate) fn cost(told: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut cost = Vec::new();
    if let (Some(input), Some(output)) = (told(key::PROMPT_TOKENS), told(key::COMPLETION_TOKENS)) {
        cost.push(format!("{input} + {output} tokens"));
    }
    let first = told(key::TIME_TO_FIRST_TOKEN).and_then(|text| text.parse::<f64>().ok());
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
        let lines = lines.map(|place| format!("{}{}\n", place.branches, spans[place.span].0));
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
