//! What becomes of a file that is not what it should be, and where the disk takes nothing.

use std::fs;

use rusqlite::Connection;

use super::disk::{begin, end, open, recovered, settings, spans, written};
use super::*;

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
    store.released(vec![done.meta.id]);
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
    assert!(told.iter().all(|told| told.meta.id != done.meta.id));
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
