//! Watches over the identity of spans: customer, thread, session, metadata and trace of the request's headers, and opting out of content.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::harness::{
    ClientRequest, Gateway, Respan, Setup, Span, Upstream, chat_reply, chat_request, request_id,
};

/// Names and values.
type Pairs<'a> = &'a [(&'a str, &'a str)];

async fn parts(set: &[(&str, &str)]) -> (Respan, Gateway, Upstream) {
    let upstream = Upstream::always(chat_reply("The answer is hidden-reply.")).await;
    let respan = Respan::start().await;
    let setup = set
        .iter()
        .fold(Setup::between(&upstream, &respan), |setup, (key, value)| {
            setup.set(key, value)
        });
    (respan, setup.start().await, upstream)
}

fn ask() -> ClientRequest {
    ClientRequest::post(
        "/v1/chat/completions",
        chat_request("What is hidden-prompt?", false),
    )
    .header("authorization", "Bearer sk-client-secret")
}

async fn span(respan: &Respan, gateway: &Gateway, ask: ClientRequest) -> Span {
    let reply = gateway.ask(&ask).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    respan
        .span_of(request_id(&reply.headers).expect("an id"))
        .await
}

fn packed(value: &Value) -> String {
    STANDARD.encode(value.to_string())
}

#[tokio::test]
async fn single_headers_become_attributes() {
    let (respan, gateway, _upstream) = parts(&[]).await;
    let ask = ask()
        .header("X-Respan-Customer-Identifier", "customer-1")
        .header("X-Respan-Customer-Name", "Ada")
        .header("X-Respan-Customer-Email", "ada@example.test")
        .header("X-Respan-Thread-Identifier", "thread-1")
        .header("X-Respan-Session-Identifier", "session-1")
        .header("X-Respan-Custom-Identifier", "custom-1")
        .header("X-Respan-Trace-Group-Identifier", "group-1")
        .header("X-Respan-Environment", "staging")
        .header(
            "X-Respan-Metadata",
            r#"{"team": "blue", "attempt": 2, "deep": {"a": 1}}"#,
        );
    let span = span(&respan, &gateway, ask).await;
    for (key, wanted) in [
        ("respan.customer_params.customer_identifier", "customer-1"),
        ("respan.customer_params.name", "Ada"),
        ("respan.customer_params.email", "ada@example.test"),
        ("respan.threads.thread_identifier", "thread-1"),
        ("respan.sessions.session_identifier", "session-1"),
        ("respan.span_params.custom_identifier", "custom-1"),
        ("respan.trace.trace_group_identifier", "group-1"),
        ("respan.environment", "staging"),
    ] {
        assert_eq!(span.text(key), wanted, "{key}");
    }
    assert_eq!(
        span.attributes.get("respan.metadata.team"),
        Some(&json!("blue"))
    );
    assert_eq!(
        span.attributes.get("respan.metadata.attempt"),
        Some(&json!("2")),
        "values are texts"
    );
    assert_eq!(
        span.attributes.get("respan.metadata.deep"),
        Some(&json!("{\"a\":1}"))
    );
}

#[tokio::test]
async fn the_packed_headers_mean_the_same_and_single_ones_win() {
    let (respan, gateway, _upstream) = parts(&[]).await;
    let params = packed(&json!({
        "customer_params": {"customer_identifier": "customer-2", "name": "Bob", "email": "bob@example.test"},
        "thread_identifier": "thread-2", "metadata": {"team": "red", "only": "here"}, "trace_unique_id": "0af7651916cd43dd8448eb211c80319c",
    }));
    for name in ["X-Data-Respan-Params", "X-Data-Keywordsai-Params"] {
        let span = span(
            &respan,
            &gateway,
            ask()
                .header(name, &params)
                .header("X-Respan-Thread-Identifier", "thread-3"),
        )
        .await;
        assert_eq!(
            span.text("respan.customer_params.customer_identifier"),
            "customer-2",
            "{name}"
        );
        assert_eq!(span.text("respan.customer_params.name"), "Bob");
        assert_eq!(span.text("respan.threads.thread_identifier"), "thread-3");
        assert_eq!(
            (
                span.text("respan.metadata.team"),
                span.text("respan.metadata.only")
            ),
            ("red".to_owned(), "here".to_owned())
        );
        assert_eq!(span.trace_id, "0af7651916cd43dd8448eb211c80319c");
    }
}

#[tokio::test]
async fn configured_defaults_give_way_key_by_key() {
    let defaults = [
        ("respan.customer_identifier", "house"),
        ("respan.metadata", r#"{"team": "grey", "region": "eu"}"#),
        ("respan.environment", "production"),
    ];
    let (respan, gateway, _upstream) = parts(&defaults).await;
    let plain = span(&respan, &gateway, ask()).await;
    assert_eq!(
        plain.text("respan.customer_params.customer_identifier"),
        "house"
    );
    assert_eq!(
        (
            plain.text("respan.metadata.team"),
            plain.text("respan.environment")
        ),
        ("grey".to_owned(), "production".to_owned())
    );
    let own = ask()
        .header("X-Respan-Customer-Identifier", "customer-1")
        .header("X-Respan-Metadata", r#"{"team": "blue"}"#);
    let told = span(&respan, &gateway, own).await;
    assert_eq!(
        told.text("respan.customer_params.customer_identifier"),
        "customer-1"
    );
    assert_eq!(
        (
            told.text("respan.metadata.team"),
            told.text("respan.metadata.region")
        ),
        ("blue".to_owned(), "eu".to_owned())
    );
}

#[tokio::test]
async fn an_unreadable_header_fails_nothing() {
    let (respan, gateway, _upstream) = parts(&[]).await;
    for (name, value) in [
        ("X-Respan-Metadata", "{not json"),
        ("X-Respan-Metadata", "[1, 2]"),
        ("X-Data-Respan-Params", "%%% not base64"),
        ("X-Data-Respan-Params", "bm90IGpzb24="),
        ("X-Data-Respan-Params", ""),
        ("X-Data-Keywordsai-Params", "W10="),
        ("X-Respan-Log", "perhaps"),
        ("traceparent", "00-zz-00"),
        ("X-Respan-Trace-Id", ""),
    ] {
        let span = span(
            &respan,
            &gateway,
            ask()
                .header(name, value)
                .header("X-Respan-Customer-Identifier", "customer-1"),
        )
        .await;
        assert_eq!(
            span.text("respan.customer_params.customer_identifier"),
            "customer-1",
            "{name}: the others still count"
        );
        assert_eq!(span.outcome(), "complete");
    }
}

#[tokio::test]
async fn the_same_trace_id_is_the_same_trace() {
    let (respan, gateway, _upstream) = parts(&[]).await;
    let told = |id: &str| ask().header("X-Respan-Trace-Id", id);
    let [one, two, other] = [
        span(&respan, &gateway, told("run 1")).await,
        span(&respan, &gateway, told("run 1")).await,
        span(&respan, &gateway, told("run 2")).await,
    ];
    assert_eq!(one.trace_id, two.trace_id);
    assert_ne!(one.span_id, two.span_id);
    assert_ne!(one.trace_id, other.trace_id);
    let exact = span(&respan, &gateway, told("0af7651916cd43dd8448eb211c80319c")).await;
    assert_eq!(exact.trace_id, "0af7651916cd43dd8448eb211c80319c");
    let stranger = ClientRequest::post("/v1/chat/completions", chat_request("?", false))
        .header("authorization", "Bearer sk-another");
    let stranger = stranger.header("X-Respan-Trace-Id", "run 1");
    assert_ne!(
        span(&respan, &gateway, stranger).await.trace_id,
        one.trace_id,
        "another credential's run of the same name is another run"
    );
}

#[tokio::test]
async fn calls_without_a_trace_have_their_own_traces() {
    let (respan, gateway, _upstream) = parts(&[("runs.infer", "false")]).await;
    let [one, two] = [
        span(&respan, &gateway, ask()).await,
        span(&respan, &gateway, ask()).await,
    ];
    assert_ne!(one.trace_id, two.trace_id);
}

#[tokio::test]
async fn a_traceparent_is_honoured_and_passed_on_and_gives_way_to_a_trace_id() {
    let (respan, gateway, upstream) = parts(&[]).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let child = span(&respan, &gateway, ask().header("traceparent", parent)).await;
    assert_eq!(
        (child.trace_id.as_str(), child.parent.as_deref()),
        ("0af7651916cd43dd8448eb211c80319c", Some("b7ad6b7169203331"))
    );
    let named = span(
        &respan,
        &gateway,
        ask()
            .header("traceparent", parent)
            .header("X-Respan-Trace-Id", "run 1"),
    )
    .await;
    assert_ne!(named.trace_id, child.trace_id);
    assert!(
        upstream
            .seen()
            .iter()
            .all(|request| crate::harness::value(&request.headers, "traceparent") == Some(parent))
    );
}

#[tokio::test]
async fn log_off_makes_no_span() {
    let (respan, mut gateway, _upstream) = parts(&[]).await;
    for name in ["X-Respan-Log", "x-respan-log"] {
        assert_eq!(gateway.ask(&ask().header(name, "off")).await.status, 200);
    }
    span(&respan, &gateway, ask()).await;
    gateway.metrics().await.expect_balanced();
    assert_eq!(gateway.stop().await.code(), Some(0));
    assert_eq!(respan.spans().len(), 1);
}

#[tokio::test]
async fn content_metadata_exports_no_content() {
    let disabled = packed(&json!({"disable_log": true}));
    let cases: [(Pairs<'_>, Pairs<'_>); 3] = [
        (&[("capture.content", "metadata")], &[]),
        (&[], &[("X-Respan-Log", "metadata")]),
        (&[], &[("X-Data-Respan-Params", &disabled)]),
    ];
    for (set, headers) in cases {
        let (respan, gateway, _upstream) = parts(set).await;
        let ask = headers
            .iter()
            .fold(ask(), |ask, (name, value)| ask.header(name, value));
        let span = span(&respan, &gateway, ask).await;
        assert_eq!(
            (
                span.text("gen_ai.usage.prompt_tokens").as_str(),
                span.text("gen_ai.request.model").as_str()
            ),
            ("11", "gpt-4o-mini")
        );
        let posted: Vec<u8> = respan
            .posts()
            .into_iter()
            .flat_map(|post| post.body)
            .collect();
        let posted = String::from_utf8_lossy(&posted).into_owned();
        assert!(
            !posted.contains("hidden-prompt") && !posted.contains("hidden-reply"),
            "{set:?} {headers:?}: {posted}"
        );
    }
}

#[tokio::test]
async fn configured_entity_content_is_exported() {
    let (respan, gateway, _upstream) = parts(&[("respan.entity_content", "true")]).await;
    let span = span(&respan, &gateway, ask()).await;
    assert!(
        span.text("traceloop.entity.input")
            .contains("hidden-prompt")
    );
    assert!(
        span.text("traceloop.entity.output")
            .contains("hidden-reply")
    );
}
