//! What each answer does to the spans of a post.

use super::*;

#[tokio::test]
async fn a_good_post_is_the_end_of_it() {
    let mut scene = Scene::new().await;
    scene.add([1]);
    let post = scene.post().await;
    assert_eq!(
        (
            post.path.as_str(),
            post.authorization.as_str(),
            post.spans()
        ),
        ("/api/v2/traces", "Bearer key", vec![1])
    );
    assert_eq!(scene.exporter.watch().state().posts, 1);
    post.answer(200);
    assert_eq!(scene.settled().await.exported, 1);
    assert!(scene.exporter.watch().state().last_success.is_some());
    assert!(
        scene
            .metrics
            .render(&scene.store)
            .contains("spangate_export_posts_total{outcome=\"accepted\"} 1\n")
    );
}

#[tokio::test]
async fn a_batch_is_sent_again_byte_for_byte_until_it_is_accepted() {
    let mut scene = Scene::new().await;
    scene.add([1, 2]);
    let first = scene.post().await;
    let body = first.body.clone();
    first.answer(500);
    for status in [503, 408, 404, 302] {
        let again = scene.post().await;
        assert_eq!(again.body, body);
        again.answer_with(status, (status == 302).then_some("0"), "");
    }
    let broken_off = scene.post().await;
    drop(broken_off);
    let last = scene.post().await;
    assert_eq!(last.body, body);
    last.answer(200);
    assert_eq!(scene.settled().await.exported, 2);
}

#[tokio::test]
async fn a_full_batch_does_not_wait_for_the_interval() {
    let mut scene = Scene::with(Some("key"), Duration::from_hours(1), pace()).await;
    scene.add((0..BATCH_SPANS).map(|_| 1));
    let post = scene.post().await;
    assert_eq!(post.spans().len(), BATCH_SPANS);
    let big = Span {
        name: "x".repeat(BATCH_BYTES),
        ..span(9)
    };
    scene.store.add(FinishedSpan::from(big));
    assert_eq!(scene.post().await.spans(), [9]);
}

#[tokio::test]
async fn a_server_that_asks_to_be_left_alone_gets_every_span_later() {
    let mut scene = Scene::new().await;
    scene.add([1]);
    scene.post().await.answer_with(429, Some("0"), "{}");
    scene.post().await.answer_with(
        429,
        None,
        r#"{"detail":"Rate limit exceeded","retry_after":0.001}"#,
    );
    scene.post().await.answer(200);
    assert_eq!(scene.settled().await.exported, 1);
}

#[tokio::test]
async fn a_told_delay_is_a_lower_bound_beside_the_backoff_and_never_instead_of_it() {
    let hour = Duration::from_hours(1);
    let patient = RetryTimings {
        backoff_base: hour,
        backoff_cap: hour,
        ..pace()
    };
    let mut scene = Scene::with(Some("key"), Duration::ZERO, patient).await;
    scene.add([1]);
    scene
        .post()
        .await
        .answer_with(503, Some("0"), r#"{"retry_after":0}"#);
    // An hour's backoff is over at once only in one of a million runs.
    let again = tokio::time::timeout(Duration::from_millis(50), scene.post()).await;
    assert!(again.is_err(), "it was posted again at once");
}

#[tokio::test]
async fn what_says_nothing_about_the_spans_keeps_all_of_them_and_probes() {
    for status in [402, 403, 407, 451] {
        let mut scene = Scene::new().await;
        scene.add([1, 2]);
        scene.post().await.answer(status);
        while !scene.exporter.watch().state().key_refused {
            tokio::task::yield_now().await;
        }
        scene.new_key(Some("another"));
        let probe = scene.post().await;
        assert_eq!(probe.spans(), [1, 2], "{status}: as one");
        probe.answer(200);
        let counts = scene.settled().await;
        assert_eq!((counts.exported, counts.rejected), (2, 0), "{status}");
    }
}

#[tokio::test]
async fn nothing_is_posted_while_the_server_asks_to_be_left_alone_but_new_settings_end_that() {
    let mut scene = Scene::new().await;
    scene.add([1]);
    scene.post().await.answer_with(429, Some("600"), "{}");
    while scene.exporter.watch().state().last_error.is_none() {
        tokio::task::yield_now().await;
    }
    scene.add([2]);
    scene.new_key(Some("another"));
    let mut keys = Vec::new();
    for _ in 0..2 {
        let post = scene.post().await;
        keys.push(post.authorization.clone());
        post.answer(200);
    }
    assert_eq!(keys, ["Bearer another", "Bearer another"]);
    assert_eq!(scene.settled().await.exported, 2);
}

#[tokio::test]
async fn a_refused_key_keeps_everything_until_there_is_a_better_one() {
    let mut scene = Scene::new().await;
    scene.add([1]);
    scene.post().await.answer(401);
    while !scene.exporter.watch().state().key_refused {
        tokio::task::yield_now().await;
    }
    scene.add([2]);
    scene.new_key(Some("still wrong"));
    let probe = scene.post().await;
    assert_eq!(probe.authorization, "Bearer still wrong");
    probe.answer(403);
    scene.new_key(Some("right"));
    let probe = scene.post().await;
    assert_eq!(probe.authorization, "Bearer right");
    probe.answer(200);
    let counts = scene.settled().await;
    assert_eq!((counts.exported, counts.dropped_in_all()), (2, 0));
    assert!(!scene.exporter.watch().state().key_refused);
}

#[tokio::test]
async fn a_refused_key_is_tried_again_by_itself() {
    let mut scene = Scene::with(
        Some("key"),
        Duration::ZERO,
        RetryTimings {
            probe_every: Duration::from_millis(1),
            ..pace()
        },
    )
    .await;
    scene.add([1]);
    scene.post().await.answer(401);
    scene.post().await.answer(403);
    scene.post().await.answer(200);
    assert_eq!(scene.settled().await.exported, 1);
}

#[tokio::test]
async fn a_post_that_is_too_large_is_halved_and_a_span_that_is_too_large_refused() {
    let mut scene = Scene::with(Some("key"), Duration::from_hours(1), pace()).await;
    scene.add((0..BATCH_SPANS).map(|number| u8::from(number == 0)));
    scene.post().await.answer(413);
    assert_eq!(scene.post().await.spans().len(), BATCH_SPANS / 2);
    drop(scene);

    let mut scene = Scene::new().await;
    scene.add([1]);
    scene.post().await.answer(413);
    assert_eq!(scene.settled().await.rejected, 1);
}

#[tokio::test]
async fn one_poisonous_span_costs_none_of_its_neighbours() {
    let mut scene = Scene::with(Some("key"), Duration::from_hours(1), pace()).await;
    scene.add((0..BATCH_SPANS).map(|number| if number == 300 { 66 } else { 1 }));
    let mut posts = 0;
    while scene.store.counts().pending > 0 {
        tokio::select! {
            post = scene.posts.recv() => {
                let post = post.unwrap();
                posts += 1;
                let status = if post.spans().contains(&66) { 422 } else { 200 };
                post.answer(status);
            }
            () = tokio::task::yield_now() => {}
        }
    }
    let counts = scene.store.counts();
    assert_eq!(
        (counts.exported, counts.rejected),
        (BATCH_SPANS as u64 - 1, 1)
    );
    assert!(posts <= 2 * 9 + 1, "{posts} posts");
}

#[tokio::test]
async fn a_span_that_makes_the_server_fail_is_found_while_others_are_accepted() {
    let mut scene = Scene::with(Some("key"), Duration::from_hours(1), pace()).await;
    scene.add((0..BATCH_SPANS).map(|number| if number == 7 { 66 } else { 1 }));
    let mut poisoned = scene.post().await;
    scene.add((0..BATCH_SPANS).map(|_| 2));
    scene.post().await.answer(200);
    // Once it is alone, everything else has been accepted; it is tried on.
    while poisoned.spans() != [66] {
        let status = if poisoned.spans().contains(&66) {
            500
        } else {
            200
        };
        poisoned.answer(status);
        poisoned = scene.post().await;
    }
    poisoned.answer(500);
    scene.add((0..BATCH_SPANS).map(|_| 3));
    assert_eq!(scene.settled().await.exported, 3 * BATCH_SPANS as u64);
}

#[tokio::test]
async fn spans_that_always_make_the_server_fail_stop_no_other_however_many_there_are() {
    let mut scene = Scene::new().await;
    let poison = u8::try_from(BATCHES).unwrap() + 4;
    let mut seen = std::collections::BTreeSet::new();
    // One after the other, so that each is a batch of its own and together they take every place.
    for number in 1..=poison {
        scene.add([number]);
        while !seen.contains(&number) {
            let post = scene.post().await;
            seen.extend(post.spans());
            post.answer(500);
        }
    }
    scene.add([100]);
    while scene.store.counts().exported == 0 {
        let post = scene.post().await;
        let status = if post.spans().contains(&100) {
            200
        } else {
            500
        };
        post.answer(status);
        tokio::task::yield_now().await;
        if status == 200 {
            break;
        }
    }
    // It was the server after all.
    assert_eq!(scene.settled().await.exported, u64::from(poison) + 1);
}

#[tokio::test]
async fn what_was_set_aside_is_tried_once_more_at_the_end() {
    let mut scene = Scene::new().await;
    scene.add([1]);
    for _ in 0..3 {
        scene.post().await.answer(500);
    }
    scene.add([2]);
    let mut failures = 3;
    while failures < 6 {
        let post = scene.post().await;
        let status = if post.spans() == [1] { 500 } else { 200 };
        failures += u32::from(status == 500);
        post.answer(status);
    }
    assert_eq!(scene.drained(200).await, 0);
}

#[tokio::test]
async fn a_partial_success_is_counted_and_never_sent_again() {
    let mut scene = Scene::with(Some("key"), Duration::from_hours(1), pace()).await;
    scene.add((0..BATCH_SPANS).map(|_| 1));
    scene.post().await.answer_with(
        200,
        None,
        r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"no"}}"#,
    );
    let counts = scene.settled().await;
    assert_eq!(
        (counts.exported, counts.rejected),
        (BATCH_SPANS as u64 - 3, 3)
    );
    assert_eq!(scene.drained(500).await, 0);
}

#[tokio::test]
async fn a_post_that_hangs_stops_no_other() {
    let mut scene = Scene::new().await;
    scene.add([1]);
    let hanging = scene.post().await;
    for number in 2..10 {
        scene.add([number]);
        let post = scene.post().await;
        assert_eq!(post.spans(), [number]);
        post.answer(200);
    }
    assert_eq!(hanging.spans(), [1]);
    hanging.answer(200);
    assert_eq!(scene.settled().await.exported, 9);
}

#[tokio::test]
async fn a_post_without_an_answer_is_tried_again() {
    let mut scene = Scene::with(
        Some("key"),
        Duration::ZERO,
        RetryTimings {
            try_timeout: Duration::from_millis(50),
            ..pace()
        },
    )
    .await;
    scene.add([1]);
    let hanging = scene.post().await;
    let again = scene.post().await;
    assert_eq!(again.body, hanging.body);
    again.answer(200);
    assert_eq!(scene.settled().await.exported, 1);
}

#[tokio::test]
async fn a_key_that_respan_repeats_is_shown_nowhere() {
    const SAID: &str = r#"{"detail":"no account has words-that-begin-as-no-key"}"#;
    let key = "words-that-begin-as-no-key";
    let mut scene = Scene::with(Some(key), Duration::from_millis(10), pace()).await;
    scene.add([1]);
    scene.post().await.answer_with(500, None, SAID);
    scene.post().await.answer_with(422, None, SAID);
    assert_eq!(scene.settled().await.rejected, 1);
    let (_, shown) = scene.exporter.watch().state().last_error.unwrap();
    assert!(shown.contains("no account has [redacted]"), "{shown}");
}
