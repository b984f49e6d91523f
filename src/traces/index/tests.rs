//! The index does not depend on the order in which rows are added, and its pages neither leave out nor repeat a trace.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::store::SpanKind;

/// Spans of a block: so few that a short trace has several blocks.
const FEW: usize = 4;

fn row(seq: u64, trace: u8, kind: SpanKind, parent: bool, start: u64) -> SpanRow {
    let mut span = [0; 8];
    span.copy_from_slice(&seq.to_be_bytes());
    let summary = SpanSummary {
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
    SpanRow {
        seq,
        trace_id: TraceId([trace; 16]),
        summary: summary.json(),
    }
}

fn rows() -> impl Strategy<Value = Vec<SpanRow>> {
    let kinds = [
        SpanKind::Workflow,
        SpanKind::Agent,
        SpanKind::Chat,
        SpanKind::Tool,
        SpanKind::Task,
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

fn index<'r>(rows: impl IntoIterator<Item = &'r SpanRow>, newer: bool) -> TraceIndex {
    let mut index = TraceIndex::with_blocks_of(FEW);
    for row in rows {
        index.add(row, newer);
    }
    index
}

/// The contents of the index, without the limits of blocks.
fn contents(index: &TraceIndex) -> BTreeMap<TraceId, (TraceStats, Vec<IndexedSpan>)> {
    let traces = index.traces.iter().map(|(id, trace)| {
        let entries: Vec<IndexedSpan> = trace.entries().copied().collect();
        assert_eq!(index.by_first.get(&entries[0].seq), Some(id));
        assert_eq!(index.by_last.get(&entries[entries.len() - 1].seq), Some(id));
        assert_eq!(trace.spans, entries.len());
        (*id, (trace.stats(), entries))
    });
    let contents: BTreeMap<_, _> = traces.collect();
    assert_eq!(
        (index.by_first.len(), index.by_last.len()),
        (contents.len(), contents.len())
    );
    let spans: usize = contents.values().map(|(_, entries)| entries.len()).sum();
    assert_eq!(index.spans, spans);
    contents
}

fn all(index: &TraceIndex, mut page: PageCursor, limit: usize) -> Vec<TraceId> {
    let mut seen = Vec::new();
    loop {
        let traces: Vec<_> = index.from(page).take(limit).collect();
        let Some((last, _)) = traces.last() else {
            return seen;
        };
        page.below = *last;
        seen.extend(traces.iter().map(|(_, id)| *id));
    }
}

proptest! {
    #[test]
    fn an_index_built_from_the_newest_row_equals_one_that_grew(rows in rows(), cut in 0..60usize) {
        let cut = cut.min(rows.len());
        let grown = index(&rows, true);
        prop_assert_eq!(contents(&index(rows.iter().rev(), false)), contents(&grown));
        let mut halves = index(rows[..cut].iter().rev(), false);
        for row in &rows {
            halves.add(row, true);
        }
        prop_assert_eq!(contents(&halves), contents(&grown));
    }

    #[test]
    fn pages_hold_every_trace_once_while_traces_grow_and_come(rows in rows(), cut in 0..60usize, limit in 1..4usize) {
        let cut = cut.min(rows.len());
        let before = index(&rows[..cut], true);
        let page = PageCursor { as_of: cut as u64, below: u64::MAX };
        let then = all(&before, page, limit);
        let unique: BTreeSet<_> = then.iter().collect();
        prop_assert_eq!(unique.len(), then.len());
        let there: BTreeSet<_> = rows[..cut].iter().map(|row| &row.trace_id).collect();
        prop_assert_eq!(unique, there);
        prop_assert_eq!(all(&index(&rows, true), page, limit), then);
    }

    #[test]
    fn an_index_without_its_oldest_rows_equals_one_that_never_had_them(rows in rows(), cut in 0..60u64) {
        let mut less = index(&rows, true);
        let kept: Vec<SpanRow> = rows.iter().filter(|row| row.seq >= cut).cloned().collect();
        for id in less.remove_below(cut) {
            let block = less.block(id, 0);
            let own: Vec<SpanRow> = kept.iter().filter(|row| block.contains(&row.seq)).cloned().collect();
            less.recount(id, 0, &own);
        }
        prop_assert_eq!(contents(&less), contents(&index(&kept, true)));
    }

    #[test]
    fn an_index_checked_block_by_block_equals_one_of_the_rows_that_are_left(rows in rows(), gone in proptest::collection::vec(any::<bool>(), 60)) {
        let mut less = index(&rows, true);
        let kept: Vec<SpanRow> = rows.iter().zip(&gone).filter(|(_, gone)| !**gone).map(|(row, _)| row.clone()).collect();
        // When a block is removed, its neighbour is checked after the next removals.
        for removed in 1..20 {
            for (id, (_, entries)) in contents(&less) {
                let mut looks = 0;
                while let Some(place) = less.next_unchecked(id, removed) {
                    let block = less.block(id, place);
                    let own: Vec<SpanRow> = kept.iter().filter(|row| block.contains(&row.seq)).cloned().collect();
                    less.recount(id, place, &own);
                    looks += 1;
                }
                prop_assert!(looks <= entries.len(), "it ends");
            }
        }
        prop_assert_eq!(contents(&less), contents(&index(&kept, true)));
    }

    #[test]
    fn since_a_number_gives_the_traces_with_a_later_row(rows in rows(), cut in 0..60u64) {
        let index = index(&rows, true);
        let grown: BTreeSet<_> = index.since(cut).map(|(_, id)| id).collect();
        let expected: BTreeSet<_> = rows.iter().filter(|row| row.seq > cut).map(|row| row.trace_id).collect();
        prop_assert_eq!(grown, expected);
        prop_assert!(index.since(cut).map(|(seq, ..)| seq).is_sorted());
    }
}

#[test]
fn a_full_index_evicts_the_trace_whose_latest_span_is_oldest() {
    let id = |number: u64| {
        let mut id = [1; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        TraceId(id)
    };
    let mut index = TraceIndex::default();
    let most = MOST_TRACES as u64;
    let of = |seq: u64, trace: u64| SpanRow {
        trace_id: id(trace),
        ..row(seq, 1, SpanKind::Chat, false, seq)
    };
    for seq in 1..=most {
        index.add(&of(seq, seq), true);
    }
    // The first trace has a new span, so the second is evicted.
    index.add(&of(most + 1, 1), true);
    index.add(&of(most + 2, most + 2), true);
    assert_eq!(index.get(id(1)).unwrap().spans, 2);
    assert!(index.get(id(2)).is_none());
    assert!(index.get(id(3)).is_some());
    // A full index takes no older row.
    index.add(&of(0, most + 3), false);
    assert!(index.get(id(most + 3)).is_none());
    assert_eq!(index.traces.len(), MOST_TRACES);
}

#[test]
fn a_change_in_a_trace_of_300_000_spans_moves_one_block_at_most() {
    let many = 300_000;
    // The index is built from the newest row.
    let mut index = TraceIndex::default();
    for seq in (1..=many).rev() {
        index.add(&row(seq, 1, SpanKind::Chat, true, seq), false);
    }
    // It grows, and its oldest spans are removed.
    for seq in many + 1..=many + 3000 {
        index.add(&row(seq, 1, SpanKind::Chat, true, seq), true);
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
    assert_eq!(index.remove_below(2000), [id]);
    let again = index.block(id, 0);
    assert!(again.len() <= BLOCK);
    let again = again.into_iter();
    let again: Vec<SpanRow> = again
        .map(|seq| row(seq, 1, SpanKind::Chat, true, seq))
        .collect();
    index.recount(id, 0, &again);
    let stats = index.get(id).unwrap().stats();
    assert_eq!(stats.spans, usize::try_from(many + 3000 - 1999).unwrap());
    assert_eq!((stats.agents().len(), stats.models().len()), (3, 2));
}

#[test]
fn a_full_index_evicts_the_oldest_spans() {
    let mut index = TraceIndex {
        most_entries: 10,
        ..TraceIndex::with_blocks_of(FEW)
    };
    for seq in 1..=9 {
        index.add(&row(seq, 1, SpanKind::Chat, true, seq), true);
    }
    for seq in 10..=12 {
        index.add(&row(seq, 2, SpanKind::Chat, true, seq), true);
    }
    let trace = |id| index.get(TraceId([id; 16])).map_or(0, |trace| trace.spans);
    assert_eq!((trace(1), trace(2)), (9 - FEW, 3));
    index.add(&row(0, 1, SpanKind::Chat, true, 0), false);
    contents(&index);
}
