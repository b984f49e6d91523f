//! Watches over SIGHUP: keys change without a restart and without a request lost; a file that has become wrong changes nothing.

use rustix::process::Signal;

use crate::harness::{
    Call, ClientRequest, End, Protocol, Respan, Setup, Upstream, chat_reply, chat_request,
    json_reply, until, value,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn keys(client: &str, upstream: &str) -> String {
    format!("[server]\nclient_keys = [\"{client}\"]\n[upstream]\napi_key = \"{upstream}\"\n")
}

fn ask(key: &str) -> ClientRequest {
    ClientRequest::post("/v1/chat/completions", "{}")
        .header("authorization", &format!("Bearer {key}"))
}

#[tokio::test]
async fn new_keys_are_taken_while_a_stream_goes_on() {
    let mut upstream = Upstream::listen().await;
    let gateway = Setup::before(&upstream.url("/v1"))
        .file(&keys("ck-old", "sk-old"))
        .start()
        .await;
    let mut call = Call::begin(Protocol::One, gateway.address, &ask("ck-old")).await;
    let mut peer = upstream.next().await;
    assert_eq!(
        value(&peer.request().await.headers, "authorization"),
        Some("Bearer sk-old")
    );
    peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    call.head().await;
    gateway.ask(&ask("ck-new")).await.expect_own_error(401);
    gateway.write("spangate.toml", &keys("ck-new", "sk-new"));
    gateway.signal(Signal::HUP);
    until("the old key to be refused", async || {
        let mut call = Call::begin(Protocol::One, gateway.address, &ask("ck-old")).await;
        tokio::select! {
            (status, _) = call.head() => (status == 401).then_some(()),
            _peer = upstream.next() => None,
        }
    })
    .await;
    let (reply, ()) = tokio::join!(async { gateway.ask(&ask("ck-new")).await }, async {
        loop {
            let mut peer = upstream.next().await;
            let request = peer.request().await;
            if value(&request.headers, "authorization") == Some("Bearer sk-new") {
                return peer.send(OK).await;
            }
        }
    });
    assert_eq!(reply.status, 200);
    peer.send_chunk(b"still here").await;
    call.expect(b"still here").await;
    peer.send("0\r\n\r\n").await;
    assert_eq!(call.rest().await.2, End::Clean);
}

#[tokio::test]
async fn a_file_that_has_become_wrong_changes_nothing() {
    let upstream = Upstream::always(OK).await;
    let mut gateway = Setup::before(&upstream.url("/v1"))
        .file(&keys("ck-old", "sk-old"))
        .start()
        .await;
    gateway.write(
        "spangate.toml",
        "[server]\nclient_keys = [\"ck-new\"]\nwrong = 1\n",
    );
    gateway.signal(Signal::HUP);
    until("the complaint", async || {
        gateway.log().contains("wrong").then_some(())
    })
    .await;
    assert_eq!(gateway.ask(&ask("ck-old")).await.status, 200);
    gateway.ask(&ask("ck-new")).await.expect_own_error(401);
    assert_eq!(gateway.stop().await.code(), Some(0));
}

#[tokio::test]
async fn an_export_that_waits_for_a_better_key_wakes_up_for_it() {
    let upstream = Upstream::always(chat_reply("It is fine.")).await;
    let respan = Respan::start().await;
    respan.answer_next(json_reply(
        "401 Unauthorized",
        "{\"detail\":\"Your API key is invalid\"}",
    ));
    let file = |key: &str| {
        format!(
            "[respan]\napi_key = \"{key}\"\nbase_url = \"{}\"\n",
            respan.url()
        )
    };
    let gateway = Setup::before(&upstream.url("/v1"))
        .file(&file("rk-old"))
        .start()
        .await;
    gateway
        .ask(&ClientRequest::post(
            "/v1/chat/completions",
            chat_request("What is it?", false),
        ))
        .await;
    until("the refused post", async || {
        (respan.posts().len() == 1).then_some(())
    })
    .await;
    gateway.write("spangate.toml", &file("rk-new"));
    gateway.signal(Signal::HUP);
    let spans = respan.wait_for_spans(1).await;
    assert_eq!(spans.len(), 1);
    let posts = respan.posts();
    assert_eq!(
        value(&posts[0].headers, "authorization"),
        Some("Bearer rk-old")
    );
    assert_eq!(
        value(&posts[posts.len() - 1].headers, "authorization"),
        Some("Bearer rk-new")
    );
    gateway.metrics().await.expect_balanced();
}

#[tokio::test]
async fn a_key_file_is_read_again() {
    let upstream = Upstream::always(chat_reply("It is fine.")).await;
    let respan = Respan::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("key");
    std::fs::write(&path, "rk-old\n").expect("a file");
    let setup = Setup::before(&upstream.url("/v1")).set("respan.base_url", &respan.url());
    let gateway = setup
        .set("respan.api_key_file", path.to_str().expect("UTF-8"))
        .start()
        .await;
    let chat = ClientRequest::post("/v1/chat/completions", chat_request("What is it?", false));
    gateway.ask(&chat).await;
    respan.wait_for_spans(1).await;
    assert_eq!(
        value(&respan.posts()[0].headers, "authorization"),
        Some("Bearer rk-old"),
        "the line's end is not part of it"
    );
    std::fs::write(&path, "rk-new\n").expect("a file");
    gateway.signal(Signal::HUP);
    until("a post with the new key", async || {
        let before = respan.spans().len();
        gateway.ask(&chat).await;
        respan.wait_for_spans(before + 1).await;
        respan
            .posts()
            .last()
            .is_some_and(|post| value(&post.headers, "authorization") == Some("Bearer rk-new"))
            .then_some(())
    })
    .await;
}
