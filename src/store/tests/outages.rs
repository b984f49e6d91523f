//! A disk that takes nothing for a while: late, read-only, away, stuck, too small. Memory bridges it.

use std::sync::Weak;

use super::faults::{all_written, long, numbers_of, open, open_small, small, until};
use super::faulty_disk::{FaultyDisk, StuckCall};
use super::restart::{begin, end, recovered, written};
use super::*;

#[tokio::test]
async fn a_disk_that_appears_late_joins_what_was_made_before() {
    let disk = FaultyDisk::default();
    let (store, writing) = open_small(&disk);
    store.add(made(1, 10));
    store.add(made(2, 10));
    loaded(store.take(1, usize::MAX).unwrap()).settle(&accepted());
    end(&store, writing);
    disk.be_away(true);

    let (store, writing) = open_small(&disk);
    assert!(store.state().failing.is_some());
    store.add(made(3, 10));
    assert_eq!(numbers_of(&store).await, [3]);
    disk.be_away(false);
    all_written(&store).await;
    assert!(store.state().failing.is_none());
    assert_eq!(numbers_of(&store).await, [2, 3]);
    assert_adds_up(&store);
    end(&store, writing);
    let (store, writing) = open_small(&disk);
    assert_eq!(numbers_of(&store).await, [2, 3]);
    end(&store, writing);
}

#[tokio::test]
async fn on_a_disk_that_takes_nothing_since_the_start_what_waits_is_still_read() {
    let disk = FaultyDisk::default();
    let (store, writing) = open_small(&disk);
    store.add(made(1, 10));
    end(&store, writing);
    disk.be_read_only(true);
    let (store, writing) = open_small(&disk);
    assert_eq!(numbers_of(&store).await, [1]);
    store.add(made(2, 10));
    written(&store).await;
    assert!(store.state().failing.is_some());
    assert_eq!(numbers_of(&store).await, [1, 2]);
    assert_eq!(store.unsaved_count(), 1);
    disk.be_read_only(false);
    all_written(&store).await;
    end(&store, writing);
    let (store, writing) = open_small(&disk);
    assert_eq!(numbers_of(&store).await, [1, 2]);
    end(&store, writing);
}

#[tokio::test]
async fn a_disk_that_gave_nothing_for_a_while_gives_what_waits_again() {
    let disk = FaultyDisk::default();
    let (store, writing) = open_small(&disk);
    store.add(made(1, 10));
    end(&store, writing);
    let (store, writing) = open_small(&disk);
    disk.be_away(true);
    let batch = store.take(9, usize::MAX).unwrap();
    assert!(batch.load().await.is_none());
    assert!(store.state().failing.is_some());
    assert!(
        store.take(9, usize::MAX).is_none(),
        "nothing can be had now"
    );
    assert_eq!(store.counts().pending, 1);
    disk.be_away(false);
    until(|| store.state().failing.is_none()).await;
    assert_eq!(numbers_of(&store).await, [1]);
    end(&store, writing);
}

#[tokio::test]
async fn what_is_too_old_goes_and_is_counted_where_it_waited() {
    let disk = FaultyDisk::default();
    let (store, writing) = open(
        &disk,
        &Settings {
            max_age: Duration::from_millis(100),
            ..small(1 << 20)
        },
    );
    store.add(long(1, 5_000));
    store.add(long(2, 5_000));
    loaded(store.take(1, usize::MAX).unwrap()).settle(&accepted());
    until(|| store.counts().pending == 0).await;
    let counts = store.counts();
    assert_eq!((counts.exported, counts.dropped(DropReason::Age)), (1, 1));
    assert_adds_up(&store);
    end(&store, writing);
}

#[tokio::test]
async fn the_end_of_a_run_is_said_after_its_spans_are_written_also_where_the_disk_fails() {
    let disk = FaultyDisk::default();
    let (store, writing) = open_small(&disk);
    let exchange = exchange("Why?", "because");
    begin(&store, &exchange);
    written(&store).await;
    disk.be_read_only(true);
    store.ended(&exchange);
    store.add(call(&exchange));
    store.finished(vec![exchange.meta.id]);
    written(&store).await;
    assert_eq!(store.unsaved_count(), 1);
    let while_it_failed = disk.after_kill();
    end(&store, writing);

    let (store, writing) = open_small(&while_it_failed);
    let told = recovered(&store);
    assert_eq!(told.len(), 1);
    store.ended(&Arc::new(told.into_iter().next().unwrap()));
    written(&store).await;
    while_it_failed.be_read_only(true);
    store.add(call(&exchange));
    store.finished(vec![exchange.meta.id]);
    written(&store).await;
    while_it_failed.be_read_only(false);
    all_written(&store).await;
    let after = while_it_failed.after_kill();
    end(&store, writing);

    let (store, writing) = open_small(&after);
    assert!(recovered(&store).is_empty());
    assert_eq!(store.counts().pending, 1);
    end(&store, writing);
}

#[tokio::test]
async fn segments_that_hold_nothing_do_not_gather_on_a_disk_that_fails_again_and_again() {
    let disk = FaultyDisk::default();
    let (store, writing) = open_small(&disk);
    for _ in 0..20 {
        disk.tear_write(5_000);
        store.add(long(1, 20_000));
        all_written(&store).await;
        assert!(disk.is_torn());
    }
    let holding = numbers_of(&store).await.len();
    assert_eq!(holding, 20);
    assert!(
        disk.segments().len() <= holding + 1,
        "{:?}",
        disk.segments()
    );
    end(&store, writing);
}

#[tokio::test]
async fn while_the_disk_is_stuck_memory_is_bounded_and_all_that_it_holds_is_written_then() {
    let disk = FaultyDisk::default();
    let settings = Settings {
        max_memory: 8 << 20,
        ..small(1 << 30)
    };
    let (store, writing) = open(&disk, &settings);
    disk.stick_at(StuckCall::Any);
    store.add(made(1, 10));
    disk.wait_for_stuck_call();
    let text = "x".repeat(1 << 20);
    let mut alive: Vec<Weak<Exchange>> = Vec::new();
    for _ in 0..120 {
        let exchange = exchange(&text, "because");
        begin(&store, &exchange);
        store.ended(&exchange);
        store.add(call(&exchange));
        store.finished(vec![exchange.meta.id]);
        alive.push(Arc::downgrade(&exchange));
    }
    alive.retain(|exchange| exchange.strong_count() > 0);
    let held: usize = alive
        .iter()
        .filter_map(Weak::upgrade)
        .map(|exchange| exchange.size_estimate())
        .sum();
    assert!(held <= (64 << 20) + settings.max_memory, "{held}");
    assert!(store.counts().dropped(DropReason::Memory) > 0);
    assert_adds_up(&store);
    disk.stick_at(StuckCall::None);
    all_written(&store).await;
    // What was dropped may have been written before.
    let (pending, stored) = (store.counts().pending, store.read_index().spans().len());
    assert!(stored as u64 >= pending);
    end(&store, writing);
    let (store, writing) = open(&disk, &settings);
    assert_eq!(store.counts().pending, stored as u64);
    end(&store, writing);
}

#[tokio::test]
async fn where_making_room_takes_the_records_of_an_exchange_they_are_written_anew() {
    let disk = FaultyDisk::default();
    let (store, writing) = open_small(&disk);
    for round in 0..40 {
        let exchange = exchange("Why?", &"long ".repeat(fastrand::usize(0..2_000)));
        begin(&store, &exchange);
        written(&store).await;
        // Nearly all of the disk is somebody else's: each new segment takes the place of the one before.
        disk.limit(Some(disk.used() + (80 << 10)));
        store.add(long(200, fastrand::usize(0..60_000)));
        store.ended(&exchange);
        store.add(call(&exchange));
        written(&store).await;
        disk.limit(None);
        all_written(&store).await;
        let last = store
            .read_index()
            .spans()
            .iter()
            .next_back()
            .map(|(_, entry)| *entry);
        let read = reader::read_span(&store.index, last.unwrap(), true);
        assert_eq!(read.unwrap().span(), call(&exchange).span(), "{round}");
    }
    assert_adds_up(&store);
    end(&store, writing);
}

#[tokio::test]
async fn whoever_asks_how_the_store_does_waits_for_no_disk() {
    let disk = FaultyDisk::default();
    let (store, writing) = open_small(&disk);
    store.add(long(1, 5_000));
    written(&store).await;
    for call in [StuckCall::Truncate, StuckCall::Sync, StuckCall::Any] {
        disk.stick_at(call);
        // More than a segment takes.
        for _ in 0..8 {
            store.add(long(1, 20_000));
        }
        disk.wait_for_stuck_call();
        assert_eq!(store.state().kept, 0);
        assert!(store.refused(9).is_empty());
        let reader = SpanReader::new(&store);
        assert!(!reader.after(0, 1).unwrap().is_empty());
        store.add(made(2, 10));
        assert_adds_up(&store);
        disk.stick_at(StuckCall::None);
        all_written(&store).await;
    }
    end(&store, writing);
}

#[tokio::test]
async fn a_read_that_does_not_return_holds_up_no_write() {
    let disk = FaultyDisk::default();
    let (store, writing) = open_small(&disk);
    store.add(call(&exchange("Why?", "because")));
    end(&store, writing);
    let (store, writing) = open_small(&disk);
    let batch = store.take(1, usize::MAX).unwrap();
    disk.stick_at(StuckCall::Read);
    let mut loading = std::pin::pin!(batch.load());
    assert!(futures_util::poll!(&mut loading).is_pending());
    disk.wait_for_stuck_call();
    store.add(made(2, 10));
    assert!(store.handled().await.is_some());
    assert_eq!(store.unsaved_count(), 0);
    disk.stick_at(StuckCall::None);
    assert_eq!(loading.await.unwrap().count(), 1);
    end(&store, writing);
}
