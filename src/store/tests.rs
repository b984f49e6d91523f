//! The account adds up whatever happens, and the bound holds.

use proptest::prelude::*;

use super::*;
use crate::span::{SpanId, TraceId};

fn span(number: u8, text: usize) -> Span {
    Span {
        trace_id: TraceId([1; 16]),
        span_id: SpanId([number.max(1); 8]),
        parent_span_id: None,
        name: "x".repeat(text),
        start_ns: 1,
        end_ns: 2,
        status: Status::Ok,
        attributes: Vec::new(),
        events: Vec::new(),
    }
}

fn assert_adds_up(store: &Store) {
    let counts = store.counts();
    assert_eq!(
        counts.created,
        counts.exported + counts.rejected + counts.dropped_in_all() + counts.pending,
        "{counts:?}"
    );
}

fn numbers(batch: &Batch) -> Vec<u8> {
    batch.spans().map(|span| span.span_id.0[0]).collect()
}

#[test]
fn beyond_the_bound_the_oldest_go_and_are_counted() {
    let store = Arc::new(Store::new(3 * weight(&span(0, 100))));
    for number in 1..=5 {
        store.add(span(number, 100));
    }
    assert_eq!(store.counts().dropped(DropReason::Memory), 2);
    assert_eq!(numbers(&store.take(9, usize::MAX).unwrap()), [3, 4, 5]);
}

#[test]
fn a_span_larger_than_the_store_costs_no_other_span() {
    let store = Arc::new(Store::new(2 * weight(&span(0, 0))));
    store.add(span(1, 0));
    store.add(span(2, 10_000));
    let counts = store.counts();
    assert_eq!(
        (
            counts.created,
            counts.pending,
            counts.dropped(DropReason::Oversized)
        ),
        (2, 1, 1)
    );
    assert_eq!(numbers(&store.take(9, usize::MAX).unwrap()), [1]);
}

#[test]
fn spans_under_way_are_pending_and_never_dropped() {
    let store = Arc::new(Store::new(2 * weight(&span(0, 0))));
    store.add(span(1, 0));
    store.add(span(2, 0));
    let batch = store.take(9, usize::MAX).unwrap();
    store.add(span(3, 0));
    assert_eq!(store.counts().pending, 2);
    assert_eq!(store.counts().dropped(DropReason::Memory), 1);
    batch.settle(Settled { rejected: 0 });
    assert_eq!((store.counts().exported, store.counts().pending), (2, 0));
}

#[test]
fn a_batch_that_is_dropped_is_the_next_one_again() {
    let store = Arc::new(Store::new(usize::MAX));
    for number in 1..=4 {
        store.add(span(number, 0));
    }
    let (older, newer) = store.take(3, usize::MAX).unwrap().halve().unwrap();
    drop(newer);
    drop(older);
    assert_eq!(numbers(&store.take(9, usize::MAX).unwrap()), [1, 2, 3, 4]);
}

#[test]
fn a_span_larger_than_a_batch_goes_alone() {
    let store = Arc::new(Store::new(usize::MAX));
    store.add(span(1, 0));
    store.add(span(2, 5_000));
    store.add(span(3, 0));
    let batches: Vec<_> = std::iter::from_fn(|| store.take(9, 4_000)).collect();
    assert_eq!(
        batches.iter().map(numbers).collect::<Vec<_>>(),
        [[1], [2], [3]]
    );
}

#[tokio::test]
async fn whoever_waits_for_spans_is_woken_by_the_last_one_needed() {
    let store = Arc::new(Store::new(usize::MAX));
    let mut enough = Box::pin(store.at_least(2, usize::MAX));
    assert!(futures_util::poll!(&mut enough).is_pending());
    store.add(span(1, 0));
    assert!(futures_util::poll!(&mut enough).is_pending());
    store.add(span(2, 0));
    enough.await;
    store.at_least(9, 1).await;
}

#[derive(Clone, Debug)]
enum Step {
    Add(usize),
    Take(usize, usize),
    Settle(usize, u64),
    Halve(usize),
    PutBack(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..2_000_usize).prop_map(Step::Add),
        2 => (1..6_usize, 0..4_000_usize).prop_map(|(spans, bytes)| Step::Take(spans, bytes)),
        1 => (0..8_usize, 0..8_u64).prop_map(|(which, rejected)| Step::Settle(which, rejected)),
        1 => (0..8_usize).prop_map(Step::Halve),
        1 => (0..8_usize).prop_map(Step::PutBack),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn the_account_adds_up_after_every_step(steps in steps(), bound in 500..10_000_usize) {
        let store = Arc::new(Store::new(bound));
        let mut batches: Vec<Batch> = Vec::new();
        for step in steps {
            match step {
                Step::Add(text) => store.add(span(1, text)),
                Step::Take(spans, bytes) => batches.extend(store.take(spans, bytes)),
                Step::Settle(which, rejected) if which < batches.len() => batches.swap_remove(which).settle(Settled { rejected }),
                Step::Halve(which) if which < batches.len() => match batches.swap_remove(which).halve() {
                    Ok((older, newer)) => batches.extend([older, newer]),
                    Err(single) => batches.push(single),
                },
                Step::PutBack(which) if which < batches.len() => drop(batches.swap_remove(which)),
                Step::Settle(..) | Step::Halve(_) | Step::PutBack(_) => {}
            }
            assert_adds_up(&store);
            let queue = store.lock();
            prop_assert_eq!(queue.waiting_bytes, queue.waiting.iter().map(|waiting| waiting.weight).sum::<usize>());
            prop_assert!(queue.waiting_bytes + queue.under_way_bytes <= bound);
            let held = queue.waiting.len() + batches.iter().map(Batch::count).sum::<usize>();
            prop_assert_eq!(queue.counts.pending, held as u64);
        }
    }
}

#[test]
fn a_span_that_was_set_aside_is_taken_alone_and_goes_first_when_the_store_is_full() {
    let store = Arc::new(Store::new(3 * weight(&span(0, 0))));
    for number in 1..=3 {
        store.add(span(number, 0));
        store.take(1, usize::MAX).unwrap().set_aside();
    }
    assert!(store.take(9, usize::MAX).is_none());
    assert_eq!(store.counts().pending, 3);
    let first = store.take_aside().unwrap();
    assert_eq!(numbers(&first), [1]);
    store.add(span(4, 0));
    assert_eq!(store.counts().dropped(DropReason::Memory), 1);
    first.settle(Settled { rejected: 0 });
    assert_adds_up(&store);
    // One of them was accepted, so the others wait like any.
    assert_eq!(numbers(&store.take(9, usize::MAX).unwrap()), [3, 4]);
    assert!(store.take_aside().is_none());
}
