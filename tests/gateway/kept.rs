//! Watches over what is made while no key is set: it never leaves by itself, and is sent when somebody asks for it.

use rustix::process::Signal;

use crate::harness::{
    Call, ClientRequest, Gateway, KEY, Metrics, Protocol, Respan, Setup, Upstream, chat_reply,
    chat_request, has_started, json_reply, log_records, refusal, request_id, until,
};

async fn parts() -> (Upstream, Respan) {
    let upstream = Upstream::always(chat_reply("It is fine.")).await;
    (upstream, Respan::start().await)
}

async fn without_key(upstream: &Upstream, respan: &Respan) -> Gateway {
    Setup::between(upstream, respan).without_key().start().await
}

async fn ask(gateway: &Gateway, question: &str) -> String {
    let ask = ClientRequest::post("/v1/chat/completions", chat_request(question, false));
    let reply = gateway.ask(&ask).await;
    request_id(&reply.headers).expect("an id").to_owned()
}

/// Waits until so many spans are counted as kept.
async fn keeps(gateway: &Gateway, spans: f64) -> Metrics {
    gateway
        .counts("the spans to be kept", |metrics| {
            (metrics.total("spangate_spans_kept_total") - spans).abs() < 0.5
        })
        .await
}

#[track_caller]
fn expect_none_but_kept(metrics: &Metrics) {
    for name in ["created_total", "pending", "dropped_total"] {
        let name = format!("spangate_spans_{name}");
        assert!(metrics.total(&name) < 0.5, "{name}: {metrics:?}");
    }
}

/// `spangate replay` of these; its exit code, and what it said on stderr.
async fn replay(gateway: &Gateway, words: &[&str]) -> (Option<i32>, String) {
    let admin = format!("http://{}", gateway.admin);
    let words = [&["replay", "--admin", &admin], words].concat();
    refusal(&words, None, &[]).await
}

/// How many spans `/api/health` says are kept.
async fn kept_now(gateway: &Gateway) -> u64 {
    let health = ClientRequest::new("GET", "/api/health")
        .to(gateway.admin)
        .await;
    health.json()["export"]["kept"].as_u64().expect("a number")
}

#[tokio::test]
async fn what_is_made_without_a_key_leaves_only_on_a_replay() {
    let (upstream, respan) = parts().await;
    let mut gateway = without_key(&upstream, &respan).await;
    let first = [ask(&gateway, "One?").await, ask(&gateway, "Two?").await];
    expect_none_but_kept(&keeps(&gateway, 2.0).await);
    assert!(gateway.stop().await.success());

    gateway.restart_as(|setup| setup.exporting(&respan)).await;
    expect_none_but_kept(&keeps(&gateway, 2.0).await);
    let later = ask(&gateway, "Three?").await;
    respan.span_of(&later).await;
    assert!(gateway.stop().await.success());
    gateway.restart().await;
    assert_eq!(respan.spans().len(), 1, "no other span has left");
    until("the kept spans to be told", async || {
        (kept_now(&gateway).await == 2).then_some(())
    })
    .await;

    let (code, said) = replay(&gateway, &["--kept"]).await;
    assert_eq!(code, Some(0), "{said}");
    for id in &first {
        assert_eq!(respan.span_of(id).await.outcome(), "complete");
    }
    let metrics = gateway
        .counts("them to be counted as made and sent", |metrics| {
            metrics.total("spangate_spans_exported_total") > 1.5
        })
        .await;
    assert!((metrics.total("spangate_spans_created_total") - 2.0).abs() < 0.5);
    assert_eq!(kept_now(&gateway).await, 0);
    assert_eq!(respan.spans().len(), 3, "each is sent once");
}

#[tokio::test]
async fn a_key_that_comes_with_sighup_is_for_what_begins_after_it() {
    let (upstream, respan) = parts().await;
    let file = |key: &str| format!("[respan]\nbase_url = \"{}\"\n{key}", respan.url());
    let mut gateway = Setup::before(&upstream.url("/v1"))
        .file(&file(""))
        .start()
        .await;
    ask(&gateway, "One?").await;
    keeps(&gateway, 1.0).await;
    gateway.write("spangate.toml", &file(&format!("api_key = \"{KEY}\"\n")));
    gateway.signal(Signal::HUP);
    until("the key to be taken", async || {
        gateway
            .log()
            .contains("took the configuration anew")
            .then_some(())
    })
    .await;
    let later = ask(&gateway, "Two?").await;
    respan.span_of(&later).await;
    assert!(gateway.stop().await.success());
    assert_eq!(respan.spans().len(), 1);
}

#[tokio::test]
async fn what_was_under_way_without_a_key_when_it_was_killed_does_not_leave_after_it() {
    let mut upstream = Upstream::listen().await;
    let respan = Respan::start().await;
    let mut gateway = without_key(&upstream, &respan).await;
    let request = ClientRequest::post("/v1/chat/completions", chat_request("Why?", true));
    let mut call = Call::begin(Protocol::One, gateway.address, &request).await;
    let mut peer = upstream.next().await;
    peer.request().await;
    peer.send(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    )
    .await;
    let (_, headers) = call.head().await;
    let id = request_id(&headers).expect("an id");
    until("its beginning to be written", async || {
        has_started(&log_records(&gateway.store()), id).then_some(())
    })
    .await;
    gateway.kill();
    gateway.restart_as(|setup| setup.exporting(&respan)).await;
    expect_none_but_kept(&keeps(&gateway, 1.0).await);
    assert!(gateway.stop().await.success());
    assert!(respan.posts().is_empty());
}

#[tokio::test]
async fn without_a_key_a_replay_says_what_to_do_and_changes_nothing() {
    let (upstream, respan) = parts().await;
    let gateway = without_key(&upstream, &respan).await;
    ask(&gateway, "One?").await;
    keeps(&gateway, 1.0).await;
    let (code, said) = replay(&gateway, &["--kept"]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("respan.api_key"), "{said}");
    expect_none_but_kept(&keeps(&gateway, 1.0).await);
}

#[tokio::test]
async fn refused_spans_are_sent_again_from_the_command_line() {
    let (upstream, respan) = parts().await;
    respan.answer_next(json_reply("400 Bad Request", "{}"));
    let gateway = Setup::between(&upstream, &respan).start().await;
    let id = ask(&gateway, "Why?").await;
    gateway
        .counts("the refusal to be counted", |metrics| {
            metrics.total("spangate_spans_rejected_total") > 0.5
        })
        .await;
    let (code, said) = replay(&gateway, &["--refused", "--kept"]).await;
    assert_eq!(code, Some(0), "{said}");
    respan.span_of(&id).await;
}

#[tokio::test]
async fn a_replay_that_cannot_be_asked_for_says_why() {
    let (code, said) = refusal(&["replay"], None, &[]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("--refused") && said.contains("--kept"),
        "{said}"
    );

    let nobody = format!("http://{}", crate::harness::free_address());
    let (code, said) = refusal(&["replay", "--kept", "--admin", &nobody], None, &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("start the gateway"), "{said}");

    let (upstream, respan) = parts().await;
    let gateway = Setup::between(&upstream, &respan)
        .set("server.admin_token", "at-1")
        .start()
        .await;
    let (code, said) = replay(&gateway, &["--kept"]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("server.admin_token"), "{said}");
    let token = [("SPANGATE_SERVER_ADMIN_TOKEN", "at-1")];
    let admin = format!("http://{}", gateway.admin);
    let words = ["replay", "--kept", "--admin", &admin];
    let (code, said) = refusal(&words, None, &token).await;
    assert_eq!(code, Some(0), "{said}");
}
