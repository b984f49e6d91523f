//! What is found again after a crash or an end.

use std::fs;
use std::io::ErrorKind;
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
        exports: true,
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
            match fs::copy(entry.path(), copy.path().join(entry.file_name())) {
                // A file of values that nothing has any more may go at any time.
                Err(error) if error.kind() == ErrorKind::NotFound => (),
                copied => drop(copied.unwrap()),
            }
        }
    }
    copy
}

pub(super) fn begin(store: &Store, exchange: &Arc<Exchange>) {
    let request = exchange.request.bytes();
    store.began(Begun::whole(
        Arc::clone(&exchange.meta),
        exchange.started_ns,
        CapturedBody::new(request.to_vec().into(), false),
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
            .map(FinishedSpan::span)
            .collect(),
    }
}

pub(super) fn end(store: &Store, writing: Writing) {
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
    let expected: Vec<Span> = all.iter().map(FinishedSpan::span).collect();
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
async fn a_history_that_comes_again_is_found_whole_and_takes_its_room_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(settings(dir.path()));
    let text: String = std::iter::repeat_with(fastrand::alphanumeric)
        .take(100_000)
        .collect();
    let calls: Vec<_> = (0..10)
        .map(|number| {
            exchange(
                &format!(r#"{text}"}},{{"content":"and {number}"#),
                "because",
            )
        })
        .collect();
    for exchange in &calls {
        begin(&store, exchange);
        store.ended(exchange);
        store.add(call(exchange));
    }
    written(&store).await;
    assert!(store.state().bytes < 400_000, "{}", store.state().bytes);
    let expected: Vec<Span> = calls.iter().map(|exchange| call(exchange).span()).collect();
    let copy = crashed(dir.path());
    let (again, writing_again) = open(settings(copy.path()));
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
        store.released(vec![exchange.meta.id]);
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
    store.released(vec![done.meta.id]);
    written(&store).await;
    let copy = crashed(dir.path());
    end(&store, writing);

    let (again, writing) = open(settings(copy.path()));
    assert_eq!(again.state().recovered, 2);
    let last = again
        .last_moment()
        .map(|last| (last.steady_ns, last.wall_offset_ns));
    assert_eq!(last, Some((done.ended_ns(), done.meta.wall_offset_ns)));
    let told = recovered(&again);
    let ids: Vec<_> = told.iter().map(|told| told.meta.id).collect();
    assert_eq!(ids, [held.meta.id, cut.meta.id]);
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
    assert_eq!(first.outcome, Outcome::Recovered);
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
    store.released(vec![exchange.meta.id]);
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
        Arc::clone(&exchange.meta),
        exchange.started_ns,
    ));
    written(&store).await;
    store.asked(&exchange.meta, exchange.request.clone());
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
    Arc::get_mut(&mut exchange.meta).unwrap().content = false;
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
    assert_eq!(store.replay(Replay::Refused).await, Some(1));
    assert_eq!(store.counts().created, 1);
    assert_eq!(spans(&store).await, [span(1, 10)]);
    assert!(store.refused(9).await.unwrap().is_empty());
    end(&store, writing);
}
