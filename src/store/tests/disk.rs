//! What is found again after a crash or an end, and what becomes of a file that is not what it should be.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

pub(super) fn settings(dir: &Path) -> Settings {
    Settings {
        dir: Some(dir.to_owned()),
        max_size: 1 << 30,
        max_age: Duration::from_hours(24),
        max_memory: 1 << 26,
    }
}

pub(super) fn open(settings: Settings) -> (Arc<Store>, Writing) {
    Store::open(settings).unwrap()
}

/// Returns once everything that was told is written.
pub(super) async fn written(store: &Store) {
    store.refused(1).await;
}

/// The same directory as a process that is killed now would leave it.
pub(super) fn crashed(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "spangate.db-shm" {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    copy
}

pub(super) fn begin(store: &Store, exchange: &Arc<Exchange>) {
    let request = exchange.request.bytes();
    store.began(Begun::whole(
        Arc::clone(&exchange.opening),
        exchange.started_ns,
        Kept::new(request.to_vec().into(), false),
    ));
}

pub(super) fn recovered(store: &Store) -> Vec<Exchange> {
    let mut told = Vec::new();
    store.recover(|found| {
        if let Recovered::Ended(exchange) = found {
            told.push(exchange);
        }
    });
    told
}

pub(super) async fn spans(store: &Arc<Store>) -> Vec<Span> {
    match store.take(usize::MAX, usize::MAX) {
        None => Vec::new(),
        Some(batch) => batch
            .load()
            .await
            .unwrap()
            .spans()
            .map(Made::span)
            .collect(),
    }
}

fn end(store: &Store, writing: Writing) {
    store.close();
    writing.finish();
}

#[tokio::test]
async fn a_span_that_is_found_again_is_the_same_span() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(settings(dir.path()));
    let long = exchange(&"a long question ".repeat(1000), "because");
    let all = [call(&long), call(&exchange("Why?", "")), made(7, 100)];
    for made in &all {
        store.add(made.clone());
    }
    let expected: Vec<Span> = all.iter().map(Made::span).collect();
    written(&store).await;
    let copy = crashed(dir.path());
    let (again, writing_again) = open(settings(copy.path()));
    let counts = again.counts();
    assert_eq!((counts.created, counts.pending), (3, 3));
    assert_eq!(spans(&again).await, expected);
    end(&again, writing_again);
    end(&store, writing);
}

#[tokio::test]
async fn what_was_settled_is_not_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(settings(dir.path()));
    for number in 1..=3 {
        store.add(made(number, 10));
    }
    let batch = store.take(2, usize::MAX).unwrap().load().await.unwrap();
    batch.settle(&accepted());
    end(&store, writing);
    let (again, writing) = open(settings(dir.path()));
    assert_eq!(again.counts().pending, 1);
    assert_eq!(spans(&again).await[0].span_id.0[0], 3);
    end(&again, writing);
}

#[tokio::test]
async fn what_settles_and_is_released_in_any_order_takes_a_row_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(settings(dir.path()));
    let all: Vec<_> = (0..20).map(|_| exchange("Why?", "")).collect();
    for exchange in &all {
        begin(&store, exchange);
        store.ended(exchange);
        store.add(call(exchange));
    }
    let mut batches = Vec::new();
    while let Some(batch) = store.take(3, usize::MAX) {
        batches.push(batch.load().await.unwrap());
    }
    let (odd, even): (Vec<_>, Vec<_>) = batches
        .into_iter()
        .enumerate()
        .partition(|(number, _)| number % 2 == 1);
    for (_, batch) in odd.into_iter().chain(even) {
        batch.settle(&accepted());
        written(&store).await;
    }
    for exchange in all.iter().rev() {
        store.released(vec![exchange.opening.id]);
    }
    end(&store, writing);
    let database = Connection::open(dir.path().join("spangate.db")).unwrap();
    for table in ["settled", "released"] {
        let range: (i64, i64) = database
            .query_row(&format!("SELECT first, last FROM {table}"), [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!(range, (1, 20), "{table}");
        let rows: i64 = database
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(rows, 1, "{table}");
    }
}

#[tokio::test]
async fn an_exchange_without_an_end_is_told_as_recovered_and_one_with_an_end_as_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(settings(dir.path()));
    let (cut, held, done) = (exchange("1", ""), exchange("2", "two"), exchange("3", ""));
    for exchange in [&cut, &held, &done] {
        begin(&store, exchange);
    }
    store.ended(&held);
    store.ended(&done);
    store.add(call(&done));
    store.released(vec![done.opening.id]);
    written(&store).await;
    let copy = crashed(dir.path());
    end(&store, writing);

    let (again, writing) = open(settings(copy.path()));
    assert_eq!(again.state().recovered, 2);
    let told = recovered(&again);
    let ids: Vec<_> = told.iter().map(|told| told.opening.id).collect();
    assert_eq!(ids, [held.opening.id, cut.opening.id]);
    assert_eq!(
        call(&Arc::new(told.into_iter().next().unwrap())).span(),
        call(&held).span()
    );
    end(&again, writing);
}

#[tokio::test]
async fn a_recovered_exchange_is_the_same_after_the_next_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(settings(dir.path()));
    begin(&store, &exchange("1", ""));
    written(&store).await;
    let copy = crashed(dir.path());
    end(&store, writing);

    let (store, writing) = open(settings(copy.path()));
    let first = Arc::new(recovered(&store).remove(0));
    assert_eq!(first.ending, Ending::Recovered);
    store.ended(&first);
    // Another one moves the time at which the gateway was last seen.
    let later = Arc::new(Exchange {
        started_ns: first.started_ns + 1_000_000_000,
        ..Arc::try_unwrap(exchange("2", "")).unwrap()
    });
    begin(&store, &later);
    written(&store).await;
    let copy = crashed(copy.path());
    end(&store, writing);

    let (store, writing) = open(settings(copy.path()));
    let second = Arc::new(recovered(&store).remove(0));
    assert_eq!(call(&second).span(), call(&first).span());
    end(&store, writing);
}

#[tokio::test]
async fn a_span_that_is_made_again_of_what_is_told_again_is_not_sent_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(settings(dir.path()));
    let exchange = exchange("1", "one");
    begin(&store, &exchange);
    store.ended(&exchange);
    store.add(call(&exchange));
    let batch = store.take(1, usize::MAX).unwrap().load().await.unwrap();
    batch.settle(&accepted());
    written(&store).await;
    let copy = crashed(dir.path());
    end(&store, writing);

    let (store, writing) = open(settings(copy.path()));
    let told = recovered(&store);
    assert_eq!(told.len(), 1);
    store.add(call(&Arc::new(told.into_iter().next().unwrap())));
    assert_eq!(store.counts(), Counts::default());
    end(&store, writing);
}

#[tokio::test]
async fn an_exchange_that_no_span_tells_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(settings(dir.path()));
    let exchange = exchange("1", "one");
    begin(&store, &exchange);
    store.ended(&exchange);
    store.released(vec![exchange.opening.id]);
    end(&store, writing);
    let database = Connection::open(dir.path().join("spangate.db")).unwrap();
    for table in ["begun", "asked", "ended", "spans"] {
        let rows: i64 = database
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(rows, 0, "{table}");
    }
}

#[tokio::test]
async fn a_body_that_came_late_is_written_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(settings(dir.path()));
    let exchange = exchange("a late question", "");
    store.began(Begun::growing(
        Arc::clone(&exchange.opening),
        exchange.started_ns,
    ));
    written(&store).await;
    store.asked(&exchange.opening, exchange.request.clone());
    written(&store).await;
    let copy = crashed(dir.path());
    end(&store, writing);
    let (store, writing) = open(settings(copy.path()));
    let told = recovered(&store).remove(0);
    assert_eq!(told.request.bytes(), exchange.request.bytes());
    end(&store, writing);
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(settings(dir.path()));
    let Err(error) = Store::open(settings(dir.path())) else {
        panic!("two have one directory")
    };
    assert!(error.to_string().contains("store.dir"), "{error}");
    end(&store, writing);
    let (store, writing) = open(settings(dir.path()));
    end(&store, writing);
}

#[tokio::test]
async fn where_content_may_not_be_recorded_none_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(settings(dir.path()));
    let mut exchange = Arc::try_unwrap(exchange("a secret question", "a secret answer")).unwrap();
    Arc::get_mut(&mut exchange.opening).unwrap().content = false;
    let exchange = Arc::new(exchange);
    begin(&store, &exchange);
    store.ended(&exchange);
    store.add(call(&exchange));
    end(&store, writing);
    for entry in fs::read_dir(dir.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("secret"));
    }
    let (store, writing) = open(settings(dir.path()));
    assert_eq!(spans(&store).await, [call(&exchange).span()]);
    end(&store, writing);
}

#[tokio::test]
async fn what_is_refused_is_kept_apart_and_can_be_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(settings(dir.path()));
    store.add(made(1, 10));
    let batch = store.take(1, usize::MAX).unwrap().load().await.unwrap();
    batch.settle(&Settled {
        rejected: 1,
        reason: Some("it is bad".to_owned()),
    });
    end(&store, writing);
    let (store, writing) = open(settings(dir.path()));
    assert_eq!(store.counts().pending, 0);
    let refused = store.refused(9).await.unwrap();
    assert_eq!(
        (refused[0].span_id, refused[0].reason.as_str()),
        (SpanId([1; 8]), "it is bad")
    );
    assert_eq!(store.replay(9).await, Some(1));
    assert_eq!(store.counts().created, 1);
    assert_eq!(spans(&store).await, [span(1, 10)]);
    assert!(store.refused(9).await.unwrap().is_empty());
    end(&store, writing);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_moved_aside() {
    for junk in [vec![], b"junk".repeat(1000), vec![0; 10_000]] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("spangate.db.damaged-1"), "an older one").unwrap();
        fs::write(dir.path().join("spangate.db"), &junk).unwrap();
        let (store, writing) = open(settings(dir.path()));
        assert_eq!(store.state().failing, None);
        store.add(made(1, 10));
        end(&store, writing);
        let (store, writing) = open(settings(dir.path()));
        assert_eq!(store.counts().pending, 1);
        end(&store, writing);
        let aside = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .find(|entry| entry.file_name().to_str().unwrap().contains("damaged"));
        // An empty file is a new database; of those moved aside the newest is kept.
        let aside = fs::read(aside.unwrap().path()).unwrap();
        assert_eq!(aside.starts_with(b"an older one"), junk.is_empty());
    }
}

#[tokio::test]
async fn a_database_of_somebody_else_or_of_a_later_version_is_moved_aside() {
    for change in [
        "CREATE TABLE theirs (a)",
        "PRAGMA application_id = 1936744814; PRAGMA user_version = 99",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let theirs = Connection::open(dir.path().join("spangate.db")).unwrap();
        theirs.execute_batch(change).unwrap();
        drop(theirs);
        let (store, writing) = open(settings(dir.path()));
        assert_eq!(store.state().failing, None, "{change}");
        end(&store, writing);
        assert_eq!(
            fs::read_dir(dir.path())
                .unwrap()
                .filter(|entry| {
                    let name = entry.as_ref().unwrap().file_name();
                    name.to_str().unwrap().contains("damaged")
                })
                .count(),
            1
        );
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_costs_nothing_and_is_used_as_soon_as_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("data");
    fs::write(&inner, "in the way").unwrap();
    let (store, writing) = open(settings(&inner));
    assert!(store.state().failing.is_some());
    store.add(made(1, 10));
    store.add(call(&exchange("Why?", "because")));
    fs::remove_file(&inner).unwrap();
    while store.state().failing.is_some() {
        tokio::task::yield_now().await;
    }
    end(&store, writing);
    let (store, writing) = open(settings(&inner));
    assert_eq!(store.counts().pending, 2);
    assert_eq!(spans(&store).await.len(), 2);
    end(&store, writing);
}

#[tokio::test]
async fn what_was_done_with_in_a_transaction_that_failed_is_not_told_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(settings(dir.path()));
    let (done, other) = (exchange("Why?", "because"), exchange("How?", "so"));
    begin(&store, &done);
    store.ended(&done);
    store.add(call(&done));
    written(&store).await;
    let file = Connection::open(dir.path().join("spangate.db")).unwrap();
    file.execute_batch(
        "CREATE TRIGGER full BEFORE INSERT ON ended BEGIN SELECT RAISE(ABORT, 'full'); END",
    )
    .unwrap();
    store.released(vec![done.opening.id]);
    begin(&store, &other);
    store.ended(&other);
    while store.state().failing.is_none() {
        tokio::task::yield_now().await;
    }
    file.execute_batch("DROP TRIGGER full").unwrap();
    while store.state().failing.is_some() {
        tokio::task::yield_now().await;
    }
    end(&store, writing);
    let (store, writing) = open(settings(dir.path()));
    let told = recovered(&store);
    assert!(told.iter().all(|told| told.opening.id != done.opening.id));
    end(&store, writing);
}

#[tokio::test]
async fn a_file_that_is_taken_away_while_it_is_used_costs_no_span() {
    taken_away(|_| true).await;
    taken_away(|name| name == "spangate.db").await;
}

/// Takes away the files whose names `are_taken`; all of them, where all that was written is in files that are open.
async fn taken_away(are_taken: fn(&str) -> bool) {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(Settings {
        // So that most spans are in the database alone, and in several segments where some stay.
        max_memory: 20_000,
        max_size: if are_taken("spangate.db-values-1") {
            1 << 30
        } else {
            1 << 20
        },
        ..settings(dir.path())
    });
    for number in 1..=50 {
        store.add(made(number, 4000));
        written(&store).await;
    }
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        if are_taken(entry.file_name().to_str().unwrap()) {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    while !dir.path().join("spangate.db").exists() {
        tokio::task::yield_now().await;
    }
    let found = loop {
        let found = spans(&store).await;
        if !found.is_empty() {
            break found;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(found.len(), 50);
    assert_eq!(store.counts().dropped_in_all(), 0);
    end(&store, writing);
    let (store, writing) = open(settings(dir.path()));
    assert_eq!(store.counts().pending, 50);
    end(&store, writing);
}

#[tokio::test]
async fn a_range_that_runs_into_another_is_no_reason_to_believe_either() {
    for ranges in ["(1, 100), (50, 60)", "(1, 4), (5, 9)", "(7, 3)"] {
        let dir = tempfile::tempdir().unwrap();
        let (store, writing) = open(settings(dir.path()));
        end(&store, writing);
        let file = Connection::open(dir.path().join("spangate.db")).unwrap();
        file.execute_batch(&format!("INSERT INTO settled VALUES {ranges}"))
            .unwrap();
        drop(file);

        let (store, writing) = open(settings(dir.path()));
        assert_eq!(store.state().failing, None);
        let aside = fs::read_dir(dir.path()).unwrap().any(|entry| {
            let name = entry.unwrap().file_name();
            name.to_string_lossy().starts_with("spangate.db.damaged")
        });
        assert!(aside, "{ranges}");
        end(&store, writing);
    }
}
