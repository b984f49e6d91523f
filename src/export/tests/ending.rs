//! How the exporter ends, and what it does without a key.

use super::*;

#[tokio::test]
async fn without_a_key_nothing_is_posted_until_there_is_one() {
    let mut scene = Scene::with(None, Duration::ZERO, pace()).await;
    scene.add([1]);
    scene.new_key(None);
    scene.add([2]);
    scene.new_key(Some("key"));
    let post = scene.post().await;
    assert_eq!(
        (post.authorization.as_str(), post.spans()),
        ("Bearer key", vec![1, 2])
    );
    post.answer(200);
    assert_eq!(scene.settled().await.exported, 2);
}

#[tokio::test]
async fn without_a_key_the_end_leaves_everything_in_the_store() {
    let scene = Scene::with(None, Duration::ZERO, pace()).await;
    scene.add([1, 2]);
    let store = Arc::clone(&scene.store);
    assert_eq!(scene.drained(200).await, 2);
    assert_eq!(store.take(9, usize::MAX).unwrap().count(), 2);
}

#[tokio::test]
async fn at_the_end_what_waits_is_posted_at_once() {
    let scene = Scene::with(Some("key"), Duration::from_hours(1), pace()).await;
    scene.add((0..2_000_u32).map(|_| 1));
    let store = Arc::clone(&scene.store);
    assert_eq!(scene.drained(200).await, 0);
    assert_eq!(
        (
            store.counts().exported,
            store.counts().dropped(DropReason::Memory)
        ),
        (2_000, 0)
    );
}

#[tokio::test]
async fn at_the_end_a_batch_that_waits_for_its_next_try_gets_it() {
    let hour = Duration::from_hours(1);
    let mut scene = Scene::with(
        Some("key"),
        Duration::ZERO,
        RetryTimings {
            backoff_base: hour,
            backoff_cap: hour,
            ..pace()
        },
    )
    .await;
    scene.add([1]);
    scene.post().await.answer_with(429, Some("600"), "{}");
    while scene.exporter.watch().state().last_error.is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.drained(200).await, 0);
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_key_that_is_refused() {
    let mut scene = Scene::new().await;
    scene.add([1]);
    scene.post().await.answer(401);
    scene.add([2]);
    let store = Arc::clone(&scene.store);
    assert_eq!(scene.drained(401).await, 2);
    assert_eq!(store.counts().pending, 2);
}

#[tokio::test]
async fn at_the_deadline_a_post_that_hangs_goes_back_into_the_store() {
    let mut scene = Scene::new().await;
    scene.add([1, 2]);
    let hanging = scene.post().await;
    let Scene {
        exporter,
        store,
        tasks,
        ..
    } = scene;
    assert_eq!(exporter.drain(Instant::now()).await, 2);
    assert_eq!(store.take(9, usize::MAX).unwrap().count(), 2);
    drop((hanging, tasks));
}

/// An exporter whose spans are on a disk, which gives an end no time without an accepted post.
async fn on_a_disk(dir: &std::path::Path) -> (Scene, crate::store::Writing) {
    let settings = crate::store::Settings {
        dir: Some(dir.to_owned()),
        max_size: 1 << 30,
        max_age: Duration::from_hours(1),
        max_memory: 1 << 20,
        exports: true,
    };
    let (store, writing) = Store::open(&settings).unwrap();
    let pace = RetryTimings {
        drain_patience: Duration::from_millis(1),
        ..pace()
    };
    let scene = Scene::of(store, Some("key"), Duration::ZERO, pace).await;
    (scene, writing)
}

#[tokio::test]
async fn without_an_accepted_post_the_end_leaves_to_the_disk_what_is_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut scene, writing) = on_a_disk(dir.path()).await;
    scene.add([1, 2]);
    let hanging = scene.post().await;
    let Scene {
        exporter, store, ..
    } = scene;
    let never = Instant::now() + Duration::from_hours(1);
    assert_eq!(exporter.drain(never).await, 2);
    assert_eq!(store.take(9, usize::MAX).unwrap().count(), 2);
    drop(hanging);
    store.close();
    writing.finish();
}

#[tokio::test]
async fn what_is_in_memory_alone_is_tried_until_the_deadline() {
    let pace = RetryTimings {
        drain_patience: Duration::from_millis(1),
        ..pace()
    };
    let mut scene = Scene::with(Some("key"), Duration::ZERO, pace).await;
    scene.add([1]);
    let hanging = scene.post().await;
    let Scene {
        exporter, store, ..
    } = scene;
    let never = Instant::now() + Duration::from_hours(1);
    let mut drain = Box::pin(exporter.drain(never));
    let early = tokio::time::timeout(Duration::from_millis(50), &mut drain).await;
    assert!(
        early.is_err(),
        "patience is over by far, and it still waits"
    );
    hanging.answer(200);
    assert_eq!(drain.await, 0);
    assert_eq!(store.counts().exported, 1);
}

#[test]
fn a_key_shows_itself_to_nobody() {
    let key = ApiKey::new(" secret\n").unwrap();
    assert!(!format!("{key:?}").contains("secret"));
    assert_eq!(key.authorization.to_str().unwrap(), "Bearer secret");
    assert_eq!(ApiKey::new("two\nlines"), Err(InvalidApiKey));
}
