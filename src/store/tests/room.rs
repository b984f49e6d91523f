//! What goes when there is no room, and in which order.

use std::io::ErrorKind;

use super::super::database::Database;
use super::super::retention::Bounds;
use super::disk::{begin, open, settings, written};
use super::*;

async fn wait_until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

/// Bytes of all files. One that is removed while they are counted has none.
fn size(dir: &std::path::Path) -> u64 {
    let files = std::fs::read_dir(dir).unwrap();
    files
        .map(|file| match file.unwrap().metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => panic!("{error}"),
        })
        .sum()
}

/// A text that does not compress.
fn noise(bytes: usize) -> String {
    (0..bytes).map(|_| fastrand::alphanumeric()).collect()
}

#[test]
fn pages_that_are_free_are_not_used() {
    let database = Database::open(None, Bounds::default()).unwrap();
    let before = database.used_bytes().unwrap();
    let rows = "CREATE TABLE rows (row BLOB); INSERT INTO rows VALUES (zeroblob(1 << 20)); DELETE FROM rows;";
    database.connection().execute_batch(rows).unwrap();
    let used = database.used_bytes().unwrap();
    assert!(used < before + (1 << 18));
    assert!(database.uses_more_than(used - 1).unwrap());
    assert!(!database.uses_more_than(used).unwrap());
}

#[tokio::test]
async fn a_small_store_keeps_its_size_whatever_is_accepted() {
    keeps_its_size(|_, _| (), String::new()).await;
}

#[tokio::test]
async fn nor_does_a_history_that_comes_again_make_it_larger() {
    let history: Vec<String> = (0..20).map(|_| noise(2_000)).collect();
    keeps_its_size(begin, history.join(r#""},{"content":""#)).await;
}

#[tokio::test]
async fn what_runs_that_are_open_would_be_rebuilt_from_goes_before_what_waits() {
    keeps_its_size(begin, String::new()).await;
}

/// Fills a small store with exchanges that begin like that, ask `question` and more, and whose spans are accepted.
async fn keeps_its_size(begins: fn(&Store, &Arc<Exchange>), question: String) {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(Settings {
        max_size: 1 << 20,
        ..settings(dir.path())
    });
    for _ in 0..500 {
        let more = noise(10_000);
        let exchange = exchange(&format!(r#"{question}"}},{{"content":"{more}"#), "");
        begins(&store, &exchange);
        store.ended(&exchange);
        store.add(call(&exchange));
        let batch = store.take(1, usize::MAX).unwrap().load().await.unwrap();
        batch.settle(&accepted());
        written(&store).await;
    }
    wait_until(|| store.state().bytes > 0 && store.state().bytes <= 1 << 20).await;
    assert_eq!(
        (store.counts().exported, store.counts().dropped_in_all()),
        (500, 0)
    );
    assert_eq!(store.state().content_shed, 0);
    store.close();
    writing.finish();
    assert!(size(dir.path()) <= 3 << 20, "{}", size(dir.path()));
}

#[tokio::test]
async fn what_was_refused_is_kept_although_all_around_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(Settings {
        max_size: 1 << 20,
        ..settings(dir.path())
    });
    for number in 0..400 {
        let exchange = exchange(&noise(10_000), "");
        begin(&store, &exchange);
        store.ended(&exchange);
        store.add(call(&exchange));
        store.released(vec![exchange.meta.id]);
        let batch = store.take(1, usize::MAX).unwrap().load().await.unwrap();
        batch.settle(&Settled {
            rejected: u64::from(number % 20 == 0),
            reason: None,
        });
        written(&store).await;
    }
    wait_until(|| store.state().bytes > 0 && store.state().bytes <= 1 << 20).await;
    store.close();
    writing.finish();
    assert!(size(dir.path()) <= 3 << 20, "{}", size(dir.path()));
    let (store, writing) = open(settings(dir.path()));
    assert_eq!(store.replay(Replay::Refused).await, Some(20));
    for span in disk::spans(&store).await {
        let mut attributes = span.attributes.iter();
        assert!(attributes.all(|(name, _)| name != crate::span::key::CUT));
    }
    store.close();
    writing.finish();
}

#[tokio::test]
async fn what_waits_loses_its_content_first_and_then_goes_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(Settings {
        max_size: 2 << 20,
        max_memory: 1 << 20,
        ..settings(dir.path())
    });
    for _ in 0..400 {
        store.add(call(&exchange(&noise(10_000), "")));
        written(&store).await;
    }
    wait_until(|| store.state().content_shed > 0).await;
    assert_adds_up(&store);
    let mut bare = 0;
    while let Some(batch) = store.take(32, usize::MAX) {
        let Some(batch) = batch.load().await else {
            continue;
        };
        bare += batch
            .spans()
            .filter(|made| {
                made.span()
                    .attributes
                    .iter()
                    .any(|(name, _)| name == crate::span::key::CUT)
            })
            .count();
        batch.settle(&accepted());
    }
    assert!(bare > 100, "{bare}");
    let counts = store.counts();
    assert_eq!(counts.exported + counts.dropped(DropReason::StoreFull), 400);
    store.close();
    writing.finish();
}

#[tokio::test]
async fn of_what_waits_no_more_loses_its_content_than_there_is_no_room_for() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(Settings {
        max_size: 4 << 20,
        max_memory: 1 << 20,
        ..settings(dir.path())
    });
    for _ in 0..1000 {
        let exchange = exchange(&noise(10_000), "");
        begin(&store, &exchange);
        store.ended(&exchange);
        store.add(call(&exchange));
        store.released(vec![exchange.meta.id]);
        written(&store).await;
    }
    wait_until(|| size(dir.path()) <= 6 << 20).await;
    let mut whole = Vec::new();
    while let Some(batch) = store.take(32, usize::MAX) {
        let batch = batch.load().await.unwrap();
        for made in batch.spans() {
            let span = made.span();
            let mut names = span.attributes.iter().map(|(name, _)| name);
            whole.push(names.all(|name| name != crate::span::key::CUT));
        }
        batch.settle(&accepted());
    }
    assert_eq!(store.counts().dropped_in_all(), 0);
    assert_eq!(whole.len(), 1000);
    let bare = whole.iter().filter(|whole| !**whole).count();
    assert!(bare <= 950, "{bare}");
    // What goes first to Respan is in memory; of the rest the oldest lose theirs.
    assert!(whole[960..].iter().all(|whole| *whole), "{bare}");
    store.close();
    writing.finish();
}

#[tokio::test]
async fn what_is_too_old_goes_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(settings(dir.path()));
    store.add(made(1, 10));
    store.add(call(&exchange("Why?", "")));
    store.close();
    writing.finish();
    // As if they had been made long ago.
    let database = rusqlite::Connection::open(dir.path().join("spangate.db")).unwrap();
    database.execute("UPDATE spans SET made = 1", []).unwrap();
    drop(database);
    let (store, writing) = open(settings(dir.path()));
    wait_until(|| store.counts().dropped(DropReason::Age) == 2).await;
    assert_eq!(store.counts().pending, 0);
    store.close();
    writing.finish();
}
