//! Watches over the export: every span arrives once, with any responses of Respan in between, and no secret goes with it.

use crate::harness::{
    ClientRequest, Gateway, KEY, Respan, Setup, Upstream, chat_reply, chat_request, json_reply,
    request_id, value,
};

fn ask() -> ClientRequest {
    ClientRequest::post("/v1/chat/completions", chat_request("What is it?", false))
        .header("authorization", "Bearer sk-client-secret")
}

async fn parts(set: &[(&str, &str)]) -> (Upstream, Respan, Gateway) {
    let upstream = Upstream::always(chat_reply("It is fine.")).await;
    let respan = Respan::start().await;
    let setup = set
        .iter()
        .fold(Setup::between(&upstream, &respan), |setup, (key, value)| {
            setup.set(key, value)
        });
    let gateway = setup.start().await;
    (upstream, respan, gateway)
}

#[tokio::test]
async fn a_post_has_the_key_the_kind_and_the_path() {
    for (encoding, kind) in [
        ("json", "application/json"),
        ("protobuf", "application/x-protobuf"),
    ] {
        let (_upstream, respan, gateway) = parts(&[("respan.encoding", encoding)]).await;
        let reply = gateway.ask(&ask()).await;
        let span = respan
            .span_of(request_id(&reply.headers).expect("an id"))
            .await;
        assert_eq!(span.text("gen_ai.completion.0.content"), "It is fine.");
        assert_eq!(span.text("gen_ai.usage.prompt_tokens"), "11");
        let post = &respan.posts()[0];
        assert_eq!(
            (post.method.as_str(), post.target.as_str()),
            ("POST", "/api/v2/traces")
        );
        assert_eq!(
            value(&post.headers, "authorization"),
            Some(format!("Bearer {KEY}").as_str())
        );
        assert_eq!(value(&post.headers, "content-type"), Some(kind));
        gateway
            .counts("the span to be counted as exported", |metrics| {
                metrics.total("spangate_spans_exported_total") > 0.5
            })
            .await;
    }
}

#[tokio::test]
async fn a_failed_post_is_made_again_and_is_the_same() {
    for failure in [
        json_reply("500 Internal Server Error", "{\"detail\":\"no\"}"),
        json_reply("503 Service Unavailable", "{}"),
        json_reply(
            "429 Too Many Requests",
            "{\"detail\":\"slow down\",\"retry_after\":0}",
        ),
        json_reply("408 Request Timeout", "{}"),
        b"HTTP/1.1 502 Bad Gateway\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n".to_vec(),
    ] {
        let (_upstream, respan, gateway) = parts(&[]).await;
        respan.answer_next(failure);
        gateway.ask(&ask()).await;
        let spans = respan.wait_for_spans(1).await;
        assert_eq!(spans.len(), 1);
        let posts = respan.posts();
        assert_eq!(posts.len(), 2);
        assert_eq!(posts[0].body, posts[1].body);
        gateway
            .counts("nothing to be pending", |metrics| {
                metrics.total("spangate_spans_pending") < 0.5
            })
            .await;
    }
}

#[tokio::test]
async fn a_span_that_respan_rejects_is_counted_and_not_sent_again() {
    let (_upstream, respan, gateway) = parts(&[]).await;
    respan.answer_next(json_reply(
        "200 OK",
        r#"{"partialSuccess":{"rejectedSpans":"1","errorMessage":"no"}}"#,
    ));
    gateway.ask(&ask()).await;
    gateway
        .counts("the rejection to be counted", |metrics| {
            metrics.total("spangate_spans_rejected_total") > 0.5
        })
        .await;
    gateway.ask(&ask()).await;
    respan.wait_for_spans(2).await;
    assert_eq!(respan.posts().len(), 2);
}

#[tokio::test]
async fn a_refused_batch_does_not_hold_up_the_next() {
    let (_upstream, respan, gateway) = parts(&[]).await;
    respan.answer_next(json_reply("400 Bad Request", "{\"detail\":\"no\"}"));
    gateway.ask(&ask()).await;
    gateway
        .counts("the span to be given up", |metrics| {
            metrics.total("spangate_spans_dropped_total")
                + metrics.total("spangate_spans_rejected_total")
                > 0.5
        })
        .await;
    let reply = gateway.ask(&ask()).await;
    respan
        .span_of(request_id(&reply.headers).expect("an id"))
        .await;
}

#[tokio::test]
async fn a_response_that_is_not_about_the_spans_costs_none() {
    for status in [
        "402 Payment Required",
        "403 Forbidden",
        "407 Proxy Authentication Required",
        "451 Unavailable For Legal Reasons",
    ] {
        let (_upstream, respan, mut gateway) = parts(&[]).await;
        respan.answer_always(Some(json_reply(status, r#"{"detail":"pay first"}"#)));
        for _ in 0..20 {
            gateway.ask(&ask()).await;
        }
        let metrics = gateway
            .counts("the spans to wait", |metrics| {
                metrics.total("spangate_spans_pending") > 19.5
            })
            .await;
        assert_eq!(gateway.stop().await.code(), Some(0));
        assert!(
            metrics.total("spangate_spans_rejected_total") < 0.5,
            "{status}"
        );
        let posts = respan.posts().len();
        assert!(posts < 20, "{status}: {posts} posts");
        respan.answer_always(None);
        gateway.restart().await;
        respan.wait_for_spans(20).await;
    }
}

#[tokio::test]
async fn a_dead_respan_costs_the_client_nothing() {
    let upstream = Upstream::always(chat_reply("It is fine.")).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port that is free again");
    let setup = Setup::before(&upstream.url("/v1"))
        .set("respan.api_key", KEY)
        .set("respan.base_url", &format!("http://{nobody}"));
    let gateway = setup.start().await;
    for _ in 0..20 {
        assert_eq!(gateway.ask(&ask()).await.status, 200);
    }
    gateway
        .counts("the spans to be pending", |metrics| {
            metrics.total("spangate_spans_created_total") > 19.5
        })
        .await;
    assert!(
        (gateway
            .metrics()
            .await
            .total("spangate_spans_exported_total"))
            < 0.5
    );
}

#[tokio::test]
async fn a_stop_right_after_the_last_replies_delivers_their_spans() {
    for encoding in ["json", "protobuf"] {
        let (_upstream, respan, mut gateway) = parts(&[
            ("respan.flush_interval", "60s"),
            ("respan.encoding", encoding),
        ])
        .await;
        for _ in 0..10 {
            gateway.ask(&ask()).await;
        }
        assert_eq!(gateway.stop().await.code(), Some(0));
        let spans = respan.spans();
        assert_eq!(spans.len(), 10, "{encoding}");
        let ids: std::collections::BTreeSet<_> = spans.iter().map(|span| &span.span_id).collect();
        assert_eq!(ids.len(), 10);
    }
}

#[tokio::test]
async fn a_stop_waits_for_a_respan_that_fails_first() {
    let (_upstream, respan, mut gateway) = parts(&[("respan.flush_interval", "60s")]).await;
    respan.answer_next(json_reply("500 Internal Server Error", "{}"));
    gateway.ask(&ask()).await;
    assert_eq!(gateway.stop().await.code(), Some(0));
    assert_eq!(respan.spans().len(), 1);
}

#[tokio::test]
async fn no_secret_is_exported_or_logged() {
    let upstream = Upstream::always(json_reply("401 Unauthorized", r#"{"error":{"message":"Incorrect API key","type":"invalid_request_error","param":null,"code":null}}"#)).await;
    let respan = Respan::start().await;
    let setup = Setup::between(&upstream, &respan)
        .set("upstream.api_key", "sk-upstream-secret")
        .set("server.client_keys", "ck-client-secret");
    let mut gateway = setup
        .set("server.admin_token", "at-admin-secret")
        .set("log.level", "trace")
        .start()
        .await;
    let ask = ask()
        .target("/v1/chat/completions?api-key=query-secret")
        .header("cookie", "session=cookie-secret")
        .header("api-key", "azure-secret");
    for authorization in ["Bearer ck-client-secret", "Bearer ck-wrong-secret"] {
        let ask = ClientRequest::post(
            "/v1/chat/completions?api-key=query-secret",
            chat_request("What?", false),
        )
        .header("authorization", authorization);
        gateway
            .ask(
                &ask.header("cookie", "session=cookie-secret")
                    .header("api-key", "azure-secret"),
            )
            .await;
    }
    gateway.ask(&ask).await;
    assert_eq!(gateway.stop().await.code(), Some(0));
    assert!(!respan.spans().is_empty());
    let exported: Vec<u8> = respan
        .posts()
        .into_iter()
        .flat_map(|post| post.body)
        .collect();
    let log = gateway.log();
    for secret in [
        "sk-upstream-secret",
        "ck-client-secret",
        "ck-wrong-secret",
        "sk-client-secret",
        "at-admin-secret",
        "cookie-secret",
        "azure-secret",
        "query-secret",
        KEY,
    ] {
        assert!(
            !String::from_utf8_lossy(&exported).contains(secret),
            "{secret} was exported"
        );
        assert!(!log.contains(secret), "{secret} was logged");
    }
}

#[tokio::test]
async fn bodies_are_never_logged() {
    let (_upstream, respan, mut gateway) = parts(&[("log.level", "trace")]).await;
    gateway.ask(&ask()).await;
    respan.wait_for_spans(1).await;
    gateway.stop().await;
    let log = gateway.log();
    assert!(
        !log.contains("What is it?") && !log.contains("It is fine."),
        "{log}"
    );
}

#[tokio::test]
async fn without_a_key_nothing_is_posted() {
    let upstream = Upstream::always(chat_reply("It is fine.")).await;
    let respan = Respan::start().await;
    let mut gateway = Setup::before(&upstream.url("/v1"))
        .set("respan.base_url", &respan.url())
        .start()
        .await;
    gateway.ask(&ask()).await;
    gateway.metrics().await.expect_balanced();
    assert_eq!(gateway.stop().await.code(), Some(0));
    assert!(respan.posts().is_empty());
}
