//! What is found again after a crash or an end.

use std::fs;
use std::path::Path;

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

pub(super) fn open(settings: &Settings) -> (Arc<Store>, Writing) {
    Store::open(settings).unwrap()
}

/// Returns once everything that was told is written.
pub(super) async fn written(store: &Store) {
    store.handled().await;
}

/// The same directory as a process that is killed now would leave it.
pub(super) fn crashed(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_all(dir, copy.path());
    copy
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy_all(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The files of the log.
pub(super) fn log_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let files = fs::read_dir(dir.join("log-1")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

pub(super) fn begin(store: &Store, exchange: &Arc<Exchange>) {
    let request = CapturedBody::new(exchange.request.bytes().to_vec().into(), false);
    store.started(&exchange.meta, exchange.started_ns, Some(request));
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
    let (store, writing) = open(&settings(dir.path()));
    let long = exchange(&"a long question ".repeat(1000), "because");
    let all = [call(&long), call(&exchange("Why?", "")), made(7, 100)];
    for made in &all {
        store.add(made.clone());
    }
    let expected: Vec<Span> = all.iter().map(FinishedSpan::span).collect();
    written(&store).await;
    let copy = crashed(dir.path());
    let (again, writing_again) = open(&settings(copy.path()));
    let counts = again.counts();
    assert_eq!((counts.created, counts.pending), (3, 3));
    assert_eq!(spans(&again).await, expected);
    end(&again, writing_again);
    end(&store, writing);
}

#[tokio::test]
async fn a_history_that_comes_again_is_found_whole_and_takes_its_room_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(&settings(dir.path()));
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
    let length = store.read_index().segments()[&1]
        .file
        .read_at(0, 1 << 20)
        .unwrap();
    let used = length.iter().rposition(|byte| *byte != 0).unwrap();
    assert!(used < 400_000, "{used}");
    let expected: Vec<Span> = calls.iter().map(|exchange| call(exchange).span()).collect();
    let copy = crashed(dir.path());
    let (again, writing_again) = open(&settings(copy.path()));
    assert_eq!(spans(&again).await, expected);
    end(&again, writing_again);
    end(&store, writing);
}

#[tokio::test]
async fn what_was_settled_is_not_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(&settings(dir.path()));
    for number in 1..=3 {
        store.add(made(number, 10));
    }
    let batch = store.take(2, usize::MAX).unwrap().load().await.unwrap();
    batch.settle(&accepted());
    end(&store, writing);
    let (again, writing) = open(&settings(dir.path()));
    assert_eq!(again.counts().pending, 1);
    assert_eq!(spans(&again).await[0].span_id.0[0], 3);
    end(&again, writing);
}

#[tokio::test]
async fn what_is_acked_and_finished_in_any_order_is_one_range_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(&settings(dir.path()));
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
        store.finished(vec![exchange.meta.id]);
    }
    end(&store, writing);
    let (store, writing) = open(&settings(dir.path()));
    {
        let index = store.read_index();
        for ranges in [&index.ledger.acked, &index.ledger.finished] {
            assert_eq!(ranges.iter().collect::<Vec<_>>(), [(1, 20)]);
        }
    }
    end(&store, writing);
}

#[tokio::test]
async fn an_exchange_without_an_end_is_told_as_recovered_and_one_with_an_end_as_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(&settings(dir.path()));
    let (cut, held, done) = (exchange("1", ""), exchange("2", "two"), exchange("3", ""));
    for exchange in [&cut, &held, &done] {
        begin(&store, exchange);
    }
    store.ended(&held);
    store.ended(&done);
    store.add(call(&done));
    store.finished(vec![done.meta.id]);
    written(&store).await;
    let copy = crashed(dir.path());
    end(&store, writing);

    let (again, writing) = open(&settings(copy.path()));
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
    let (store, writing) = open(&settings(dir.path()));
    begin(&store, &exchange("1", ""));
    written(&store).await;
    let copy = crashed(dir.path());
    end(&store, writing);

    let (store, writing) = open(&settings(copy.path()));
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

    let (store, writing) = open(&settings(copy.path()));
    let second = Arc::new(recovered(&store).remove(0));
    assert_eq!(call(&second).span(), call(&first).span());
    end(&store, writing);
}

#[tokio::test]
async fn a_span_that_is_made_again_of_what_is_told_again_is_not_sent_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(&settings(dir.path()));
    let exchange = exchange("1", "one");
    begin(&store, &exchange);
    store.ended(&exchange);
    store.add(call(&exchange));
    let batch = store.take(1, usize::MAX).unwrap().load().await.unwrap();
    batch.settle(&accepted());
    written(&store).await;
    let copy = crashed(dir.path());
    end(&store, writing);

    let (store, writing) = open(&settings(copy.path()));
    let told = recovered(&store);
    assert_eq!(told.len(), 1);
    store.add(call(&Arc::new(told.into_iter().next().unwrap())));
    assert_eq!(store.counts(), SpanCounts::default());
    end(&store, writing);
}

#[tokio::test]
async fn a_body_that_came_late_is_written_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(&settings(dir.path()));
    let exchange = exchange("a late question", "");
    store.started(&exchange.meta, exchange.started_ns, None);
    written(&store).await;
    store.started(
        &exchange.meta,
        exchange.started_ns,
        Some(exchange.request.clone()),
    );
    written(&store).await;
    let copy = crashed(dir.path());
    end(&store, writing);
    let (store, writing) = open(&settings(copy.path()));
    let told = recovered(&store).remove(0);
    assert_eq!(told.request.bytes(), exchange.request.bytes());
    end(&store, writing);
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(&settings(dir.path()));
    let Err(error) = Store::open(&settings(dir.path())) else {
        panic!("two have one directory")
    };
    assert!(error.to_string().contains("store.dir"), "{error}");
    end(&store, writing);
    let (store, writing) = open(&settings(dir.path()));
    end(&store, writing);
}

#[tokio::test]
async fn where_content_may_not_be_recorded_none_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(&settings(dir.path()));
    let mut exchange = Arc::try_unwrap(exchange("a secret question", "a secret answer")).unwrap();
    Arc::get_mut(&mut exchange.meta).unwrap().content = false;
    let exchange = Arc::new(exchange);
    begin(&store, &exchange);
    store.ended(&exchange);
    store.add(call(&exchange));
    end(&store, writing);
    for file in log_files(dir.path()) {
        let bytes = fs::read(file).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("secret"));
    }
    let (store, writing) = open(&settings(dir.path()));
    assert_eq!(spans(&store).await, [call(&exchange).span()]);
    end(&store, writing);
}

#[tokio::test]
async fn what_is_refused_is_kept_apart_and_can_be_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writing) = open(&settings(dir.path()));
    store.add(made(1, 10));
    let batch = store.take(1, usize::MAX).unwrap().load().await.unwrap();
    batch.settle(&Settled {
        rejected: 1,
        reason: Some("it is bad".to_owned()),
    });
    end(&store, writing);
    let (store, writing) = open(&settings(dir.path()));
    assert_eq!(store.counts().pending, 0);
    let refused = store.refused(9);
    assert_eq!(
        (refused[0].span_id, refused[0].reason.as_str()),
        (SpanId([1; 8]), "it is bad")
    );
    assert_eq!(store.replay(Replay::Refused).await, Some(1));
    assert_eq!(store.counts().created, 1);
    assert_eq!(spans(&store).await, [span(1, 10)]);
    assert!(store.refused(9).is_empty());
    end(&store, writing);
}
