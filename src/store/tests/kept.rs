//! What is made while there is no destination stays, until somebody asks for it.

use super::restart::{begin, crashed, end, open, recovered, settings, spans, written};
use super::*;

fn without_destination(dir: &std::path::Path) -> Settings {
    Settings {
        exports: false,
        ..settings(dir)
    }
}

/// A span that begins now.
fn made_now(number: u8) -> FinishedSpan {
    let start_ns = unix_nanoseconds();
    FinishedSpan::from(Span {
        start_ns,
        end_ns: start_ns,
        ..span(number, 10)
    })
}

#[track_caller]
fn assert_counts(store: &Store, kept: u64, created: u64, pending: u64) {
    let counts = store.counts();
    assert_eq!(
        (counts.kept, counts.created, counts.pending),
        (kept, created, pending)
    );
    assert_eq!(counts.dropped_in_all(), 0);
    assert_adds_up(store);
}

fn ids(spans: &[Span]) -> Vec<u8> {
    spans.iter().map(|span| span.span_id.0[0]).collect()
}

#[tokio::test]
async fn what_is_made_without_a_destination_is_kept_through_restarts_until_it_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(&without_destination(dir.path()));
    (1..=3).for_each(|number| store.add(made_now(number)));
    assert_counts(&store, 3, 0, 0);
    assert!(store.take(9, usize::MAX).is_none());
    end(&store, writing);

    let (store, writing) = open(&settings(dir.path()));
    assert_counts(&store, 3, 0, 0);
    store.add(made_now(4));
    assert_counts(&store, 3, 1, 1);
    end(&store, writing);

    let (store, writing) = open(&settings(dir.path()));
    assert_counts(&store, 3, 1, 1);
    assert_eq!(ids(&spans(&store).await), [4]);
    assert_eq!(store.replay(Replay::Refused).await, Some(0));
    assert_eq!(store.replay(Replay::Kept).await, Some(3));
    assert_eq!(store.replay(Replay::Kept).await, Some(0));
    assert_counts(&store, 3, 4, 4);
    assert_eq!(store.state().kept, 0);
    end(&store, writing);

    let (store, writing) = open(&settings(dir.path()));
    assert_counts(&store, 0, 4, 4);
    assert_eq!(ids(&spans(&store).await), [1, 2, 3, 4]);
    end(&store, writing);
}

#[tokio::test]
async fn a_destination_is_for_what_begins_after_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(&without_destination(dir.path()));
    let began_before = made_now(1);
    store.set_exports(true);
    store.add(began_before);
    store.add(made_now(2));
    assert_counts(&store, 1, 1, 1);
    // What was made with a destination waits for the next one.
    store.set_exports(false);
    store.add(made_now(3));
    assert_counts(&store, 2, 1, 1);
    assert_eq!(ids(&spans(&store).await), [2]);
    end(&store, writing);
}

#[test]
fn a_call_has_a_destination_by_the_wall_clock_however_that_was_set() {
    const HOUR: i64 = 3_600_000_000_000;
    for offset in [-HOUR, HOUR] {
        let call_now = || {
            let wall_ns = unix_nanoseconds();
            let mut made = call(&exchange("Why?", "because"));
            if let FinishedSpan::Call { place, .. } = &mut made {
                place.start_steady_ns = wall_ns.saturating_add_signed(-offset);
                place.wall_offset_ns = offset;
            }
            made
        };
        let store = Store::volatile(1 << 20);
        store.set_exports(false);
        let began_before = call_now();
        store.set_exports(true);
        store.add(began_before);
        store.add(call_now());
        assert_counts(&store, 1, 1, 1);
    }
}

#[tokio::test]
async fn what_a_crash_left_under_way_without_a_destination_does_not_leave_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(&without_destination(dir.path()));
    let exchange = exchange("Why?", "because");
    begin(&store, &exchange);
    written(&store).await;
    let copy = crashed(dir.path());
    end(&store, writing);

    let (store, writing) = open(&settings(copy.path()));
    let found: Vec<_> = recovered(&store).into_iter().map(Arc::new).collect();
    assert_eq!(found.len(), 1);
    for found in &found {
        store.add(call(found));
    }
    assert_counts(&store, 1, 0, 0);
    end(&store, writing);
}

#[tokio::test]
async fn a_crash_with_a_destination_changes_nothing_for_what_was_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(&settings(dir.path()));
    begin(&store, &exchange("Why?", "because"));
    written(&store).await;
    let copy = crashed(dir.path());
    end(&store, writing);

    let (store, writing) = open(&settings(copy.path()));
    for found in recovered(&store) {
        store.add(call(&Arc::new(found)));
    }
    assert_counts(&store, 0, 1, 1);
    end(&store, writing);
}

#[tokio::test]
async fn a_replay_takes_all_of_them_and_none_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(&without_destination(dir.path()));
    (0..2_500).for_each(|_| store.add(made_now(1)));
    store.set_exports(true);
    assert_eq!(store.replay(Replay::Kept).await, Some(2_500));
    let batch = store.take(usize::MAX, usize::MAX).unwrap();
    let batch = batch.load().await.unwrap();
    assert_eq!(batch.count(), 2_500);
    batch.settle(&Settled {
        rejected: u64::MAX,
        reason: Some("bad".to_owned()),
    });
    assert_eq!(store.replay(Replay::Refused).await, Some(2_500));
    assert_counts_of_replayed(&store);
    end(&store, writing);
}

#[track_caller]
fn assert_counts_of_replayed(store: &Store) {
    let counts = store.counts();
    assert_eq!((counts.created, counts.rejected), (5_000, 2_500));
    assert_eq!(counts.pending, 2_500);
    assert_adds_up(store);
}

#[tokio::test]
async fn where_the_disk_takes_nothing_they_go_uncounted_the_oldest_first() {
    let dir = tempfile::tempdir().unwrap();
    // A file in the place of the directory.
    let place = dir.path().join("store");
    std::fs::write(&place, "").unwrap();
    let (store, writing) = open(&Settings {
        max_memory: 4 * span(0, 10).size_estimate(),
        ..without_destination(&place)
    });
    (1..=9).for_each(|number| store.add(made_now(number)));
    assert_counts(&store, 9, 0, 0);
    assert_eq!(store.unsaved_count(), 4);
    store.lock().check(&[]);
    assert_eq!(store.replay(Replay::Kept).await, None);
    std::fs::remove_file(&place).unwrap();
    while store.unsaved_count() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.replay(Replay::Kept).await, Some(4));
    assert_eq!(ids(&spans(&store).await), [6, 7, 8, 9]);
    end(&store, writing);
}

#[tokio::test]
async fn what_is_kept_makes_room_and_is_not_counted_as_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let small = || Settings {
        max_size: 1 << 20,
        ..without_destination(dir.path())
    };
    let (mut store, mut writing) = open(&small());
    for number in 1..=100 {
        // Nothing that could be compressed.
        let name = std::iter::repeat_with(fastrand::alphanumeric).take(40_000);
        store.add(FinishedSpan::from(Span {
            name: name.collect(),
            ..span(number, 0)
        }));
        written(&store).await;
    }
    assert_counts(&store, 100, 0, 0);
    loop {
        assert_eq!(store.counts().dropped_in_all(), 0);
        end(&store, writing);
        // What a start counts is what there is.
        (store, writing) = open(&small());
        assert_ne!(store.counts().kept, 0);
        if store.counts().kept < 50 {
            break;
        }
        written(&store).await;
    }
    end(&store, writing);
}
