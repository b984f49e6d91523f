//! Watches over what one process leaves to the next, and that there is one at a time.

use crate::harness::{
    ClientRequest, Gateway, Respan, Setup, Upstream, chat_reply, chat_request, json_reply, refusal,
    request_id, until,
};

async fn ask(gateway: &Gateway, question: &str) -> String {
    let ask = ClientRequest::post("/v1/chat/completions", chat_request(question, false));
    let reply = gateway.ask(&ask).await;
    request_id(&reply.headers).expect("an id").to_owned()
}

#[tokio::test]
async fn what_could_not_be_sent_at_the_end_is_sent_after_the_next_start() {
    let (upstream, respan) = (
        Upstream::always(chat_reply("It is fine.")).await,
        Respan::start().await,
    );
    respan.answer_always(Some(json_reply("401 Unauthorized", "{}")));
    let mut gateway = Setup::between(&upstream, &respan).start().await;
    let ids = [ask(&gateway, "One?").await, ask(&gateway, "Two?").await];
    assert!(gateway.stop().await.success());
    assert!(respan.spans().is_empty());
    respan.answer_always(None);
    gateway.restart().await;
    for id in ids {
        assert_eq!(respan.span_of(&id).await.outcome(), "complete");
    }
    let metrics = gateway
        .counts("both to be counted", |metrics| {
            metrics.total("spangate_spans_exported_total") > 1.5
        })
        .await;
    assert!((metrics.total("spangate_spans_created_total") - 2.0).abs() < 0.5);
}

#[tokio::test]
async fn a_second_process_on_the_same_directory_is_refused() {
    let upstream = Upstream::always(chat_reply("It is fine.")).await;
    let gateway = Gateway::before(&upstream).await;
    let store = gateway.store();
    let environment = [
        ("SPANGATE_STORE_DIR", store.to_str().expect("a plain path")),
        ("SPANGATE_SERVER_LISTEN", "127.0.0.1:0"),
        ("SPANGATE_SERVER_ADMIN", "127.0.0.1:0"),
    ];
    let (code, said) = refusal(&["serve"], None, &environment).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.lines().next().unwrap().contains("store.dir"), "{said}");
    ask(&gateway, "Are you still there?").await;
}

#[tokio::test]
async fn a_span_that_was_refused_is_listed_and_can_be_sent_again() {
    let (upstream, respan) = (
        Upstream::always(chat_reply("It is fine.")).await,
        Respan::start().await,
    );
    respan.answer_next(json_reply(
        "400 Bad Request",
        r#"{"detail":"no such thing"}"#,
    ));
    let mut gateway = Setup::between(&upstream, &respan).start().await;
    let id = ask(&gateway, "Why?").await;
    gateway
        .counts("the refusal to be counted", |metrics| {
            metrics.total("spangate_spans_rejected_total") > 0.5
        })
        .await;
    let listed = async |gateway: &Gateway| {
        until("the refusal to be listed", async || {
            let health = ClientRequest::new("GET", "/api/health")
                .to(gateway.admin)
                .await;
            let health = health.json();
            health["refused"].get(0).is_some().then_some(health)
        })
        .await
    };
    listed(&gateway).await;
    gateway.kill();
    gateway.restart().await;
    let health = listed(&gateway).await;
    let refused = &health["refused"][0];
    assert!(
        refused["reason"]
            .as_str()
            .unwrap()
            .contains("no such thing"),
        "{health}"
    );
    assert_eq!(health["store"]["up"], true);
    let plain = ClientRequest::new("POST", "/api/refused/replay")
        .to(gateway.admin)
        .await;
    assert_eq!(plain.status, 415);
    let replay = ClientRequest::new("POST", "/api/refused/replay")
        .header("content-type", "Application/JSON; charset=utf-8");
    assert_eq!(replay.to(gateway.admin).await.json()["replayed"], 1);
    let span = respan.span_of(&id).await;
    assert_eq!(span.span_id, refused["span_id"].as_str().unwrap());
    gateway
        .counts("it to be counted as made and sent", |metrics| {
            metrics.total("spangate_spans_created_total") > 0.5
                && metrics.total("spangate_spans_exported_total") > 0.5
        })
        .await;
}

#[tokio::test]
async fn files_of_another_version_stay_and_the_start_says_so() {
    let upstream = Upstream::always(chat_reply("It is fine.")).await;
    let mut gateway = Gateway::before(&upstream).await;
    assert!(gateway.stop().await.success());
    let older = gateway.store().join("spangate.db");
    std::fs::write(&older, "of another version").expect("a file");
    gateway.restart().await;
    ask(&gateway, "Are you there?").await;
    assert!(gateway.stop().await.success());
    let line = gateway.log();
    assert!(line.contains("files of another version") && line.contains("spangate.db"));
    assert_eq!(std::fs::read(older).unwrap(), b"of another version");
}
