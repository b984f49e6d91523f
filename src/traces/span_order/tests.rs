//! For any parents, pages have every span once, and each behind its parent.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn id(number: u8) -> SpanId {
    SpanId([number; 8])
}

fn nodes() -> impl Strategy<Value = Vec<SpanNode>> {
    // Some parents are missing, some spans are their own parents, and some are in circles.
    let one = (proptest::option::of(1..40u8), 0..20u64);
    proptest::collection::vec(one, 0..30).prop_map(|spans| {
        let numbered = spans.into_iter().zip(1..);
        numbered
            .map(|((parent, start_ns), number)| SpanNode {
                span_id: id(number),
                parent: parent.map(id),
                start_ns,
                rank: u64::from(number),
            })
            .collect()
    })
}

fn is_in_circle(nodes: &[SpanNode], node: &SpanNode) -> bool {
    let mut at = node;
    for _ in 0..=nodes.len() {
        let above = nodes.iter().find(|other| Some(other.span_id) == at.parent);
        let Some(above) = above else { return false };
        at = above;
    }
    true
}

proptest! {
    #[test]
    fn pages_hold_every_span_once_behind_its_parent(nodes in nodes(), limit in 1..7usize) {
        let mut seen = BTreeSet::new();
        let mut cursor = None;
        loop {
            let (page, more) = page(&nodes, &SpanQuery { parent: None, cursor, limit });
            prop_assert!(page.len() <= limit);
            for number in page {
                let node = &nodes[number];
                let has_parent = nodes.iter().any(|other| Some(other.span_id) == node.parent);
                prop_assert!(!has_parent || is_in_circle(&nodes, node) || seen.contains(&node.parent.unwrap()));
                prop_assert!(seen.insert(node.span_id));
            }
            let Some(more) = more else { break };
            prop_assert_eq!(more.spans, nodes.len() - seen.len());
            prop_assert_eq!(more.cursor.to_string().parse(), Ok(more.cursor));
            cursor = Some(more.cursor);
        }
        prop_assert_eq!(seen.len(), nodes.len());
    }

    #[test]
    fn the_children_of_each_parent_are_all_of_its_spans(nodes in nodes(), limit in 1..7usize, parent in 1..40u8) {
        let mut seen = BTreeSet::new();
        let mut cursor = None;
        loop {
            let (page, more) = page(&nodes, &SpanQuery { parent: Some(id(parent)), cursor, limit });
            seen.extend(page.iter().map(|number| nodes[*number].span_id));
            let Some(more) = more else { break };
            cursor = Some(more.cursor);
        }
        let children = nodes.iter().filter(|node| node.parent == Some(id(parent)));
        prop_assert_eq!(seen, children.map(|node| node.span_id).collect::<BTreeSet<_>>());
    }

    #[test]
    fn later_spans_move_none_across_a_cursor(nodes in nodes(), cut in 0..30usize, limit in 1..7usize) {
        // No newer span is the parent of an older one.
        let cut = cut.min(nodes.len());
        let first: Vec<SpanNode> = nodes[..cut].to_vec();
        let (before, more) = page(&first, &SpanQuery { parent: None, cursor: None, limit });
        let mut seen: BTreeSet<_> = before.iter().map(|number| first[*number].span_id).collect();
        let orphans: Vec<SpanNode> = nodes[cut..].iter().map(|node| SpanNode { parent: None, span_id: SpanId([node.span_id.0[0] + 100; 8]), ..*node }).collect();
        let grown = [&first[..], &orphans].concat();
        if let Some(more) = more {
            let query = SpanQuery { parent: None, cursor: Some(more.cursor), limit: usize::MAX };
            for number in page(&grown, &query).0 {
                prop_assert!(seen.insert(grown[number].span_id));
            }
            for node in &first {
                prop_assert!(seen.contains(&node.span_id));
            }
        }
    }
}

#[test]
fn of_spans_with_one_start_the_outer_ones_come_first() {
    let node = |number, parent: Option<u8>, start_ns| SpanNode {
        span_id: id(number),
        parent: parent.map(id),
        start_ns,
        rank: 100 - u64::from(number),
    };
    let nodes = [
        node(1, Some(2), 5),
        node(2, Some(3), 5),
        node(3, None, 5),
        node(4, None, 4),
    ];
    let (order, more) = page(&nodes, &SpanQuery::default());
    assert_eq!((order, more), (vec![3, 2, 1, 0], None));
}

#[test]
fn siblings_with_one_start_have_the_order_of_the_store() {
    // The tools of one reply, whose ids are hashes.
    let tool = |number, rank| SpanNode {
        span_id: id(number),
        parent: Some(id(1)),
        start_ns: 5,
        rank,
    };
    let nodes = [tool(9, 11), tool(3, 12), tool(7, OPEN), tool(5, 10)];
    assert_eq!(page(&nodes, &SpanQuery::default()).0, [3, 0, 1, 2]);
}

#[test]
fn a_parent_with_a_later_start_comes_before_its_children() {
    let nodes = [
        SpanNode {
            span_id: id(1),
            parent: Some(id(2)),
            start_ns: 1,
            rank: 1,
        },
        SpanNode {
            span_id: id(2),
            parent: None,
            start_ns: 9,
            rank: 2,
        },
    ];
    assert_eq!(page(&nodes, &SpanQuery::default()).0, [1, 0]);
}

#[test]
fn a_chain_of_many_spans_is_ordered_without_recursion() {
    let many = 200_000_u64;
    let id = |number: u64| SpanId((number + 1).to_be_bytes());
    let nodes: Vec<SpanNode> = (0..many)
        .map(|number| SpanNode {
            span_id: id(number),
            parent: number.checked_sub(1).map(id),
            start_ns: many - number,
            rank: number,
        })
        .collect();
    let (order, more) = page(&nodes, &SpanQuery::default());
    assert_eq!(order, (0..MOST_SPANS).collect::<Vec<_>>());
    assert_eq!(more.map(|more| more.spans), Some(nodes.len() - MOST_SPANS));
}

#[test]
fn an_invalid_cursor_is_refused() {
    for text in [
        "",
        "1",
        "1.2",
        "1.2.3",
        "1.2.3.4",
        "x.1.1.0101010101010101",
        "1.1.1.0101010101010101.1",
    ] {
        assert_eq!(text.parse::<SpanCursor>(), Err(()), "{text}");
    }
}
