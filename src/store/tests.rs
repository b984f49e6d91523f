//! The account adds up whatever happens, and every bound holds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{HeaderMap, Method, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::exchange::{Outcome, ParsedReply, ResponseHead};
use crate::identity;
use crate::openai::{ChatReply, Choice};
use crate::span::SpanId;
use crate::span::exchange::explicit_placement;
use crate::span::{Span, Status, TraceId};

mod faults;
mod faulty_disk;
mod kept;
mod model;
mod outages;
mod restart;

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

fn made(number: u8, text: usize) -> FinishedSpan {
    FinishedSpan::from(span(number, text))
}

/// An exchange that asks `question` and is answered with `answer`, unlike any other.
pub(super) fn exchange(question: &str, answer: &str) -> Arc<Exchange> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let headers: HeaderMap = [("x-respan-thread-identifier", "thread")]
        .into_iter()
        .map(|(name, value)| {
            (
                http::HeaderName::from_static(name),
                http::HeaderValue::from_static(value),
            )
        })
        .collect();
    let body =
        format!(r#"{{"model":"gpt-4o","messages":[{{"role":"user","content":"{question}"}}]}}"#);
    let meta = RequestMeta {
        id: ExchangeId::new(),
        identity: identity::read(&headers, &identity::IdentityDefaults::default()),
        method: Method::POST,
        path: "/v1/chat/completions".to_owned(),
        retry: Some(0),
        content_encoding: None,
        chat: true,
        content: true,
        entity_content: false,
        may_be_agent: true,
        media: crate::openai::Media::Size,
        max_body: 1 << 20,
        system: "openai",
        wall_offset_ns: -5,
    };
    let reply = ChatReply {
        id: Some("chatcmpl-1".to_owned()),
        choices: vec![Choice {
            content: Some(answer.to_owned()),
            ..Choice::default()
        }],
        ..ChatReply::default()
    };
    Arc::new(Exchange {
        meta: Arc::new(meta),
        started_ns: 1_000_000_000 + number,
        duration: Duration::from_millis(7),
        request: CapturedBody::new(body.into(), false),
        response: Some(ResponseHead {
            status: StatusCode::OK,
            first_byte: Duration::from_micros(3),
            content_type: Some("application/json".into()),
            content_encoding: None,
            headers: [("x-request-id", "req_1".to_owned())].into(),
        }),
        outcome: Outcome::Complete,
        reply: Some(ParsedReply {
            chat: reply,
            ended: true,
            first_token: Some(Duration::from_micros(5)),
        }),
    })
}

pub(super) fn call(exchange: &Arc<Exchange>) -> FinishedSpan {
    FinishedSpan::Call {
        exchange: Arc::clone(exchange),
        place: explicit_placement(exchange),
    }
}

fn loaded(batch: Batch) -> Loaded {
    batch.load().now_or_never().unwrap().unwrap()
}

fn accepted() -> Settled {
    Settled::default()
}

fn assert_adds_up(store: &Store) {
    let counts = store.counts();
    assert_eq!(
        counts.created,
        counts.exported + counts.rejected + counts.dropped_in_all() + counts.pending,
        "{counts:?}"
    );
}

fn numbers(batch: Batch) -> Vec<u8> {
    loaded(batch)
        .spans()
        .map(|span| span.span_id().0[0])
        .collect()
}

#[test]
fn beyond_the_bound_the_oldest_go_and_are_counted() {
    let store = Arc::new(Store::volatile(3 * span(0, 100).size_estimate()));
    for number in 1..=5 {
        store.add(made(number, 100));
    }
    assert_eq!(store.counts().dropped(DropReason::Memory), 2);
    assert_eq!(numbers(store.take(9, usize::MAX).unwrap()), [3, 4, 5]);
}

#[test]
fn a_span_larger_than_the_store_costs_no_other_span() {
    let store = Arc::new(Store::volatile(2 * span(0, 0).size_estimate()));
    store.add(made(1, 0));
    store.add(made(2, 10_000));
    let counts = store.counts();
    assert_eq!(
        (
            counts.created,
            counts.pending,
            counts.dropped(DropReason::Oversized)
        ),
        (2, 1, 1)
    );
    assert_eq!(numbers(store.take(9, usize::MAX).unwrap()), [1]);
}

#[test]
fn spans_under_way_are_pending_and_never_dropped() {
    let store = Arc::new(Store::volatile(2 * span(0, 0).size_estimate()));
    store.add(made(1, 0));
    store.add(made(2, 0));
    let batch = store.take(9, usize::MAX).unwrap();
    store.add(made(3, 0));
    assert_eq!(store.counts().pending, 2);
    assert_eq!(store.counts().dropped(DropReason::Memory), 1);
    loaded(batch).settle(&accepted());
    assert_eq!((store.counts().exported, store.counts().pending), (2, 0));
}

#[test]
fn a_batch_that_is_dropped_is_the_next_one_again() {
    let store = Arc::new(Store::volatile(usize::MAX));
    for number in 1..=4 {
        store.add(made(number, 0));
    }
    let (older, newer) = loaded(store.take(3, usize::MAX).unwrap()).halve().unwrap();
    drop(newer);
    drop(older);
    assert_eq!(numbers(store.take(9, usize::MAX).unwrap()), [1, 2, 3, 4]);
}

#[test]
fn a_span_larger_than_a_batch_goes_alone() {
    let store = Arc::new(Store::volatile(usize::MAX));
    store.add(made(1, 0));
    store.add(made(2, 5_000));
    store.add(made(3, 0));
    let batches: Vec<_> = std::iter::from_fn(|| store.take(9, 4_000)).collect();
    let batches: Vec<_> = batches.into_iter().map(numbers).collect();
    assert_eq!(batches, [[1], [2], [3]]);
}

#[tokio::test]
async fn whoever_waits_for_spans_is_woken_by_the_last_one_needed() {
    let store = Arc::new(Store::volatile(usize::MAX));
    let mut enough = Box::pin(store.at_least(2, usize::MAX));
    assert!(futures_util::poll!(&mut enough).is_pending());
    store.add(made(1, 0));
    assert!(futures_util::poll!(&mut enough).is_pending());
    store.add(made(2, 0));
    enough.await;
    store.at_least(9, 1).await;
}

#[test]
fn a_span_that_was_set_aside_is_taken_alone_and_goes_first_when_the_store_is_full() {
    let store = Arc::new(Store::volatile(3 * span(0, 0).size_estimate()));
    for number in 1..=3 {
        store.add(made(number, 0));
        loaded(store.take(1, usize::MAX).unwrap()).set_aside();
    }
    assert!(store.take(9, usize::MAX).is_none());
    assert_eq!(store.counts().pending, 3);
    let first = loaded(store.take_aside().unwrap());
    assert_eq!(first.spans().next().unwrap().span_id().0[0], 1);
    store.add(made(4, 0));
    assert_eq!(store.counts().dropped(DropReason::Memory), 1);
    first.settle(&accepted());
    assert_adds_up(&store);
    // One of them was accepted, so the others wait like any.
    assert_eq!(numbers(store.take(9, usize::MAX).unwrap()), [3, 4]);
    assert!(store.take_aside().is_none());
}

#[derive(Clone, Debug)]
enum Step {
    Add(usize),
    Take(usize, usize),
    Settle(usize, u64),
    Halve(usize),
    SetAside(usize),
    TakeAside,
    PutBack(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..2_000_usize).prop_map(Step::Add),
        2 => (1..6_usize, 0..4_000_usize).prop_map(|(spans, bytes)| Step::Take(spans, bytes)),
        1 => (0..8_usize, 0..8_u64).prop_map(|(which, rejected)| Step::Settle(which, rejected)),
        1 => (0..8_usize).prop_map(Step::Halve),
        1 => (0..8_usize).prop_map(Step::SetAside),
        1 => Just(Step::TakeAside),
        1 => (0..8_usize).prop_map(Step::PutBack),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn the_account_adds_up_after_every_step(steps in steps(), bound in 500..10_000_usize) {
        let store = Arc::new(Store::volatile(bound));
        let mut batches: Vec<Loaded> = Vec::new();
        for step in steps {
            match step {
                Step::Add(text) => store.add(made(1, text)),
                Step::Take(spans, bytes) => batches.extend(store.take(spans, bytes).map(loaded)),
                Step::TakeAside => batches.extend(store.take_aside().map(loaded)),
                Step::Settle(which, rejected) if which < batches.len() => {
                    batches.swap_remove(which).settle(&Settled { rejected, reason: None });
                }
                Step::Halve(which) if which < batches.len() => match batches.swap_remove(which).halve() {
                    Ok((older, newer)) => batches.extend([older, newer]),
                    Err(single) => batches.push(single),
                },
                Step::SetAside(which) if which < batches.len() => batches.swap_remove(which).set_aside(),
                Step::PutBack(which) if which < batches.len() => drop(batches.swap_remove(which)),
                Step::Settle(..) | Step::Halve(_) | Step::SetAside(_) | Step::PutBack(_) => {}
            }
            let under_way: Vec<&TakenSpan> = batches.iter().flat_map(Loaded::taken).collect();
            let held = store.lock().check(&under_way);
            let under_way: usize = under_way.iter().map(|taken| taken.waiting.weight as usize).sum();
            prop_assert!(held <= bound.max(under_way));
        }
    }
}

#[test]
fn a_span_whose_file_is_gone_stays_where_memory_has_it() {
    let mut queue = SpanQueue::new();
    for number in 1..=3 {
        queue.add(Arc::new(made(number, 10)), 100, Instant::now(), 1 << 20);
    }
    queue.saved(&[3], 0);
    queue.saved(&[1, 2], usize::MAX);
    queue.is_readable = true;
    let under_way = queue.take(1, usize::MAX);
    queue.lose_files(&[1, 2, 3, 4], DropReason::Unreadable);
    assert_eq!(queue.unsaved_count(), 2);
    let again: Vec<u64> = queue
        .unsaved(0, 9, usize::MAX)
        .iter()
        .map(|span| span.seq)
        .collect();
    assert_eq!(again, [1, 2], "and is written again");
    assert_eq!(queue.counts.pending, 2);
    assert_eq!(queue.counts.dropped_in_all(), 1);
    queue.settle(&under_way, 0);
    assert_eq!(queue.unsaved_count(), 1);
}
