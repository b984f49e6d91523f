//! However the rows come in, the index is the same; and pages of it hold.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::store::Kind;

/// Spans of a block: few, so that a few spans make several.
const FEW: usize = 4;

fn row(seq: u64, trace: u8, kind: Kind, parent: bool, start: u64) -> Row {
    let mut span = [0; 8];
    span.copy_from_slice(&seq.to_be_bytes());
    let summary = Summary {
        kind,
        span: SpanId(span),
        parent: parent.then_some(SpanId([9; 8])),
        name: format!("span {seq}").into(),
        entity: Some(format!("entity {seq}").into()),
        start,
        end: start + seq % 5,
        failed: seq.is_multiple_of(3),
        thread: Some(format!("thread {}", seq % 4).into()),
        customer: None,
        environment: None,
        agent: Some(format!("agent {}", seq % 3).into()),
        asked: Some(format!("model {}", seq % 2).into()),
        answered: None,
        input: Some(seq),
        output: None,
        preview: parent.then(|| format!("task {seq}").into()),
    };
    Row {
        seq,
        trace_id: TraceId([trace; 16]),
        summary: summary.json(),
    }
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let kinds = [
        Kind::Workflow,
        Kind::Agent,
        Kind::Chat,
        Kind::Tool,
        Kind::Task,
    ];
    let one = (
        1..7u8,
        proptest::sample::select(kinds.to_vec()),
        any::<bool>(),
        0..20u64,
    );
    proptest::collection::vec(one, 0..60).prop_map(|spans| {
        let numbered = spans.into_iter().zip(1..);
        numbered
            .map(|((trace, kind, parent, start), seq)| row(seq, trace, kind, parent, start))
            .collect()
    })
}

fn index<'r>(rows: impl IntoIterator<Item = &'r Row>, newer: bool) -> Index {
    let mut index = Index::with_blocks_of(FEW);
    for row in rows {
        index.add(row, newer);
    }
    index
}

/// All that it says, in whichever blocks.
fn said(index: &Index) -> BTreeMap<TraceId, (Facts, Vec<Entry>)> {
    let traces = index.traces.iter().map(|(id, trace)| {
        let entries: Vec<Entry> = trace.entries().copied().collect();
        assert_eq!(index.by_first.get(&entries[0].seq), Some(id));
        assert_eq!(index.by_last.get(&entries[entries.len() - 1].seq), Some(id));
        assert_eq!(trace.spans, entries.len());
        (*id, (trace.facts(), entries))
    });
    let said: BTreeMap<_, _> = traces.collect();
    assert_eq!(
        (index.by_first.len(), index.by_last.len()),
        (said.len(), said.len())
    );
    let spans: usize = said.values().map(|(_, entries)| entries.len()).sum();
    assert_eq!(index.spans, spans);
    said
}

fn all(index: &Index, mut place: PageCursor, limit: usize) -> Vec<TraceId> {
    let mut seen = Vec::new();
    loop {
        let page: Vec<_> = index.from(place).take(limit).collect();
        let Some((last, _)) = page.last() else {
            return seen;
        };
        place.below = *last;
        seen.extend(page.iter().map(|(_, id)| *id));
    }
}

proptest! {
    #[test]
    fn built_in_one_go_it_is_what_it_becomes_by_and_by(rows in rows(), cut in 0..60usize) {
        let cut = cut.min(rows.len());
        let by_and_by = index(&rows, true);
        prop_assert_eq!(said(&index(rows.iter().rev(), false)), said(&by_and_by));
        let mut halves = index(rows[..cut].iter().rev(), false);
        for row in &rows {
            halves.add(row, true);
        }
        prop_assert_eq!(said(&halves), said(&by_and_by));
    }

    #[test]
    fn pages_hold_every_trace_once_though_traces_grow_and_come(rows in rows(), cut in 0..60usize, limit in 1..4usize) {
        let cut = cut.min(rows.len());
        let before = index(&rows[..cut], true);
        let place = PageCursor { as_of: cut as u64, below: u64::MAX };
        let then = all(&before, place, limit);
        let unique: BTreeSet<_> = then.iter().collect();
        prop_assert_eq!(unique.len(), then.len());
        let there: BTreeSet<_> = rows[..cut].iter().map(|row| &row.trace_id).collect();
        prop_assert_eq!(unique, there);
        prop_assert_eq!(all(&index(&rows, true), place, limit), then);
    }

    #[test]
    fn what_is_gone_is_gone_and_the_rest_is_as_if_it_had_never_been(rows in rows(), cut in 0..60u64) {
        let mut less = index(&rows, true);
        let kept: Vec<Row> = rows.iter().filter(|row| row.seq >= cut).cloned().collect();
        for id in less.gone_below(cut) {
            let block = less.block(id, 0);
            let own: Vec<Row> = kept.iter().filter(|row| block.contains(&row.seq)).cloned().collect();
            less.recount(id, 0, &own);
        }
        prop_assert_eq!(said(&less), said(&index(&kept, true)));
    }

    #[test]
    fn looked_at_block_by_block_it_is_what_is_left(rows in rows(), gone in proptest::collection::vec(any::<bool>(), 60)) {
        let mut less = index(&rows, true);
        let kept: Vec<Row> = rows.iter().zip(&gone).filter(|(_, gone)| !**gone).map(|(row, _)| row.clone()).collect();
        // Where a block goes, its neighbour waits for the next removals.
        for removed in 1..20 {
            for (id, (_, entries)) in said(&less) {
                let mut looks = 0;
                while let Some(place) = less.next_unchecked(id, removed) {
                    let block = less.block(id, place);
                    let own: Vec<Row> = kept.iter().filter(|row| block.contains(&row.seq)).cloned().collect();
                    less.recount(id, place, &own);
                    looks += 1;
                }
                prop_assert!(looks <= entries.len(), "it ends");
            }
        }
        prop_assert_eq!(said(&less), said(&index(&kept, true)));
    }

    #[test]
    fn since_a_number_those_have_changed_that_have_grown(rows in rows(), cut in 0..60u64) {
        let index = index(&rows, true);
        let grown: BTreeSet<_> = index.since(cut).map(|(_, id)| id).collect();
        let expected: BTreeSet<_> = rows.iter().filter(|row| row.seq > cut).map(|row| row.trace_id).collect();
        prop_assert_eq!(grown, expected);
        prop_assert!(index.since(cut).map(|(seq, ..)| seq).is_sorted());
    }
}

#[test]
fn beyond_its_bound_the_traces_heard_of_longest_ago_fall_out() {
    let id = |number: u64| {
        let mut id = [1; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        TraceId(id)
    };
    let mut index = Index::default();
    let most = MOST_TRACES as u64;
    let of = |seq: u64, trace: u64| Row {
        trace_id: id(trace),
        ..row(seq, 1, Kind::Chat, false, seq)
    };
    for seq in 1..=most {
        index.add(&of(seq, seq), true);
    }
    // The first is heard of again, so the second goes.
    index.add(&of(most + 1, 1), true);
    index.add(&of(most + 2, most + 2), true);
    assert_eq!(index.get(id(1)).unwrap().spans, 2);
    assert!(index.get(id(2)).is_none());
    assert!(index.get(id(3)).is_some());
    // From the other end nothing more comes in.
    index.add(&of(0, most + 3), false);
    assert!(index.get(id(most + 3)).is_none());
    assert_eq!(index.traces.len(), MOST_TRACES);
}

#[test]
fn a_span_of_a_trace_of_300_000_moves_a_block_of_them_at_most() {
    let many = 300_000;
    // As the index is built: from the newest.
    let mut index = Index::default();
    for seq in (1..=many).rev() {
        index.add(&row(seq, 1, Kind::Chat, true, seq), false);
    }
    // As it grows, and as the oldest go.
    for seq in many + 1..=many + 3000 {
        index.add(&row(seq, 1, Kind::Chat, true, seq), true);
    }
    let id = TraceId([1; 16]);
    let trace = index.get(id).unwrap();
    assert!(
        trace
            .blocks
            .iter()
            .all(|block| block.entries.len() <= BLOCK)
    );
    assert!(trace.blocks.len() <= trace.spans.div_ceil(BLOCK) + 2);
    assert_eq!(index.gone_below(2000), [id]);
    let again = index.block(id, 0);
    assert!(again.len() <= BLOCK);
    let again = again.into_iter();
    let again: Vec<Row> = again
        .map(|seq| row(seq, 1, Kind::Chat, true, seq))
        .collect();
    index.recount(id, 0, &again);
    let facts = index.get(id).unwrap().facts();
    assert_eq!(facts.spans, usize::try_from(many + 3000 - 1999).unwrap());
    assert_eq!((facts.agents().len(), facts.models().len()), (3, 2));
}

#[test]
fn beyond_its_bound_the_oldest_spans_fall_out() {
    let mut index = Index {
        most_entries: 10,
        ..Index::with_blocks_of(FEW)
    };
    for seq in 1..=9 {
        index.add(&row(seq, 1, Kind::Chat, true, seq), true);
    }
    for seq in 10..=12 {
        index.add(&row(seq, 2, Kind::Chat, true, seq), true);
    }
    let trace = |id| index.get(TraceId([id; 16])).map_or(0, |trace| trace.spans);
    assert_eq!((trace(1), trace(2)), (9 - FEW, 3));
    index.add(&row(0, 1, Kind::Chat, true, 0), false);
    said(&index);
}
