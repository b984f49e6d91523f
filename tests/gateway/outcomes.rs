//! Watches over completeness: Respan gets one span of every exchange, with its outcome, and the counts of spans always add up.

use serde_json::json;

use crate::harness::{
    Call, ClientRequest, Gateway, Protocol, Reply, Respan, Setup, Span, Upstream, chat_events,
    chat_reply, chat_request, json_reply, request_id, value,
};

const EVENTS: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn ask(stream: bool) -> ClientRequest {
    ClientRequest::post("/v1/chat/completions", chat_request("What is it?", stream))
        .header("authorization", "Bearer sk-client-secret")
}

async fn parts() -> (Upstream, Respan, Gateway) {
    let upstream = Upstream::listen().await;
    let respan = Respan::start().await;
    let gateway = Setup::between(&upstream, &respan).start().await;
    (upstream, respan, gateway)
}

/// One exchange answered with these bytes, and its span.
async fn exchange(reply: impl AsRef<[u8]>, stream: bool, closes: bool) -> (Reply, Span) {
    let (mut upstream, respan, gateway) = parts().await;
    gateway.metrics().await.expect_balanced();
    let call = Call::begin(Protocol::One, gateway.address, &ask(stream)).await;
    let mut peer = upstream.next_request().await;
    peer.send(reply).await;
    if closes {
        peer.finish().await;
    }
    let reply = call.reply().await;
    gateway.metrics().await.expect_balanced();
    let span = respan
        .span_of(request_id(&reply.headers).expect("an id"))
        .await;
    gateway.metrics().await.expect_balanced();
    assert_eq!(respan.spans().len(), 1, "one span for one call");
    assert_eq!(
        (
            span.text("respan.entity.log_type").as_str(),
            span.text("llm.request.type").as_str()
        ),
        ("chat", "chat")
    );
    assert_eq!(
        (
            span.trace_id.len(),
            span.span_id.len(),
            span.parent.as_deref()
        ),
        (32, 16, None)
    );
    assert!(span.end >= span.start && span.start > 1_600_000_000_000_000_000);
    (reply, span)
}

fn chunked(events: &[String], last: bool) -> Vec<u8> {
    let chunks = events
        .iter()
        .map(|event| format!("{:x}\r\n{event}\r\n", event.len()))
        .collect::<Vec<_>>()
        .concat();
    format!("{EVENTS}{chunks}{}", if last { "0\r\n\r\n" } else { "" }).into_bytes()
}

#[track_caller]
fn expect_error(span: &Span, outcome: &str, status_code: Option<&str>) {
    assert_eq!(
        (span.outcome().as_str(), span.status),
        (outcome, 2),
        "{span:?}"
    );
    assert!(!span.text("error.message").is_empty(), "{span:?}");
    if let Some(code) = status_code {
        assert_eq!(span.text("status_code"), code, "{span:?}");
    }
}

#[tokio::test]
async fn a_whole_reply_is_complete() {
    let (_, span) = exchange(chat_reply("It is fine."), false, false).await;
    assert_eq!(span.outcome(), "complete");
    assert!(span.name.starts_with("llm.gpt-4o-mini"), "{}", span.name);
    assert_ne!(span.status, 2);
    for (key, wanted) in [
        ("gen_ai.request.model", "gpt-4o-mini"),
        ("gen_ai.response.model", "gpt-4o-mini-2024-07-18"),
        ("gen_ai.response.id", "chatcmpl-1"),
        ("gen_ai.prompt.0.role", "system"),
        ("gen_ai.prompt.0.content", "Be brief."),
        ("gen_ai.prompt.1.role", "user"),
        ("gen_ai.prompt.1.content", "What is it?"),
        ("gen_ai.completion.0.role", "assistant"),
        ("gen_ai.completion.0.content", "It is fine."),
        ("gen_ai.completion.0.finish_reason", "stop"),
        ("gen_ai.usage.prompt_tokens", "11"),
        ("gen_ai.usage.input_tokens", "11"),
        ("gen_ai.usage.completion_tokens", "3"),
        ("gen_ai.usage.output_tokens", "3"),
        ("llm.usage.total_tokens", "14"),
        ("status_code", "200"),
        ("llm.is_streaming", "false"),
    ] {
        assert_eq!(span.text(key), wanted, "{key}");
    }
    assert_eq!(
        span.text("traceloop.entity.input"),
        "",
        "content is there once"
    );
}

#[tokio::test]
async fn a_whole_stream_is_complete() {
    let (_, span) = exchange(
        chunked(&chat_events(&["It ", "is ", "fine."]), true),
        true,
        false,
    )
    .await;
    assert_eq!(span.outcome(), "complete");
    for (key, wanted) in [
        ("gen_ai.completion.0.content", "It is fine."),
        ("gen_ai.completion.0.finish_reason", "stop"),
        ("gen_ai.usage.prompt_tokens", "11"),
        ("llm.usage.total_tokens", "14"),
        ("llm.is_streaming", "true"),
        ("gen_ai.response.id", "chatcmpl-2"),
    ] {
        assert_eq!(span.text(key), wanted, "{key}");
    }
    assert!(
        span.text("llm.openai.chat_completions.streaming_time_to_first_token")
            .parse::<f64>()
            .is_ok_and(|seconds| seconds >= 0.0)
    );
}

#[tokio::test]
async fn a_client_that_leaves_after_done_is_complete() {
    for protocol in Protocol::BOTH {
        let (mut upstream, respan, gateway) = parts().await;
        let mut call = Call::begin(protocol, gateway.address, &ask(true)).await;
        let mut peer = upstream.next_request().await;
        let events = chat_events(&["It ", "is."]);
        peer.send(chunked(&events, false)).await;
        call.head().await;
        call.expect(events.concat().as_bytes()).await;
        call.leave().await;
        peer.left().await;
        assert_eq!(
            respan.wait_for_spans(1).await[0].outcome(),
            "complete",
            "{protocol:?}"
        );
    }
}

#[tokio::test]
async fn a_client_that_leaves_mid_stream_has_left() {
    for protocol in Protocol::BOTH {
        let (mut upstream, respan, gateway) = parts().await;
        let mut call = Call::begin(protocol, gateway.address, &ask(true)).await;
        let mut peer = upstream.next_request().await;
        let events = chat_events(&["It ", "is ", "fine."]);
        peer.send(chunked(&events[..3], false)).await;
        call.head().await;
        call.expect(events[..3].concat().as_bytes()).await;
        call.leave().await;
        peer.left().await;
        let span = &respan.wait_for_spans(1).await[0];
        expect_error(span, "client_left", Some("499"));
        assert_eq!(
            span.text("gen_ai.completion.0.content"),
            "It is ",
            "what had come is kept"
        );
        gateway.metrics().await.expect_balanced();
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_first_byte_has_left() {
    for protocol in Protocol::BOTH {
        let (mut upstream, respan, gateway) = parts().await;
        let mut call = Call::begin(protocol, gateway.address, &ask(true)).await;
        let mut peer = upstream.next_request().await;
        call.leave().await;
        peer.left().await;
        let span = &respan.wait_for_spans(1).await[0];
        expect_error(span, "client_left", Some("499"));
        assert_eq!(span.text("gen_ai.prompt.1.content"), "What is it?");
    }
}

#[tokio::test]
async fn a_stream_that_the_upstream_breaks_off_is_broken() {
    let events = chat_events(&["It ", "is ", "fine."]);
    let (reply, span) = exchange(chunked(&events[..3], false), true, true).await;
    assert_ne!(reply.end, crate::harness::End::Clean);
    expect_error(&span, "upstream_broke", None);
    assert_eq!(span.text("gen_ai.completion.0.content"), "It is ");
}

#[tokio::test]
async fn an_upstream_that_breaks_before_its_head_is_broken() {
    let (reply, span) = exchange("", false, true).await;
    assert_eq!(reply.status, 502);
    expect_error(&span, "upstream_broke", Some("502"));
}

#[tokio::test]
async fn an_error_event_in_a_stream_is_a_stream_error() {
    let mut events = chat_events(&["It "]);
    events.truncate(2);
    events.push(format!("data: {}\n\n", json!({"error": {"message": "The server had an error", "type": "server_error", "param": null, "code": null}})));
    let (reply, span) = exchange(chunked(&events, true), true, false).await;
    assert_eq!((reply.status, reply.end), (200, crate::harness::End::Clean));
    expect_error(&span, "stream_error", None);
    assert!(
        span.text("error.message")
            .contains("The server had an error"),
        "{span:?}"
    );
}

#[tokio::test]
async fn an_error_status_is_a_refusal() {
    let body = json!({"error": {"message": "Rate limit reached", "type": "requests", "param": null, "code": "rate_limit_exceeded"}}).to_string();
    let (reply, span) = exchange(json_reply("429 Too Many Requests", &body), false, false).await;
    assert_eq!((reply.status, reply.body), (429, body.into_bytes()));
    expect_error(&span, "refused", Some("429"));
    assert!(
        span.text("error.message").contains("Rate limit reached"),
        "{span:?}"
    );
}

#[tokio::test]
async fn a_key_that_an_error_repeats_stays_out_of_the_span() {
    let body = json!({"error": {"message": "Incorrect API key provided: sk-client-****cret."}})
        .to_string();
    let (reply, span) = exchange(json_reply("401 Unauthorized", &body), false, false).await;
    assert_eq!((reply.status, reply.body), (401, body.into_bytes()));
    expect_error(&span, "refused", Some("401"));
    assert_eq!(
        span.text("error.message"),
        "Incorrect API key provided: [redacted]"
    );
}

#[tokio::test]
async fn an_upstream_that_does_not_listen_is_unreachable() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port that is free again");
    let respan = Respan::start().await;
    let gateway = Setup::before(&format!("http://{nobody}/v1"))
        .exporting(&respan)
        .start()
        .await;
    gateway.ask(&ask(false)).await.expect_own_error(502);
    expect_error(
        &respan.wait_for_spans(1).await[0],
        "unreachable",
        Some("502"),
    );
}

#[tokio::test]
async fn a_silent_upstream_is_a_timeout() {
    let mut upstream = Upstream::listen().await;
    let respan = Respan::start().await;
    let gateway = Setup::between(&upstream, &respan)
        .set("upstream.idle_timeout", "200ms")
        .start()
        .await;
    let (reply, _peer) = tokio::join!(async { gateway.ask(&ask(false)).await }, upstream.next());
    reply.expect_own_error(504);
    expect_error(&respan.wait_for_spans(1).await[0], "timeout", Some("504"));
    let mut call = Call::begin(Protocol::One, gateway.address, &ask(true)).await;
    let mut peer = upstream.next_request().await;
    peer.send(chunked(&chat_events(&["It "])[..2], false)).await;
    call.head().await;
    call.rest().await;
    expect_error(&respan.wait_for_spans(2).await[1], "timeout", None);
}

#[tokio::test]
async fn other_endpoints_get_a_task_span() {
    let upstream = Upstream::always(json_reply("200 OK", r#"{"object":"list","data":[]}"#)).await;
    let respan = Respan::start().await;
    let gateway = Setup::between(&upstream, &respan).start().await;
    for (method, path) in [
        ("POST", "/v1/embeddings"),
        ("GET", "/v1/models?limit=2"),
        ("DELETE", "/v1/files/1"),
        ("POST", "/v1/unheard/of"),
    ] {
        let reply = gateway.ask(&ClientRequest::new(method, path)).await;
        let id = request_id(&reply.headers).expect("an id").to_owned();
        let plain = path.split('?').next().unwrap_or_default();
        let ours = |span: &Span| {
            span.attributes.values().any(|value| {
                value
                    .as_str()
                    .is_some_and(|text| text.contains(plain) || text == id)
            })
        };
        let span = respan
            .wait_for(path, |spans| spans.iter().find(|span| ours(span)).cloned())
            .await;
        assert_eq!(span.text("respan.entity.log_type"), "task", "{span:?}");
        assert_eq!(span.text("status_code"), "200", "{span:?}");
        assert_eq!(
            span.text("llm.request.type"),
            "",
            "a task is not billed as a model call: {span:?}"
        );
    }
    assert_eq!(respan.spans().len(), 4);
}

#[tokio::test]
async fn health_checks_leave_no_span() {
    let upstream = Upstream::always(chat_reply("It is.")).await;
    let respan = Respan::start().await;
    let mut gateway = Setup::between(&upstream, &respan).start().await;
    for target in ["/healthz", "/readyz"] {
        gateway.ask(&ClientRequest::new("GET", target)).await;
    }
    gateway.ask(&ask(false)).await;
    assert_eq!(gateway.stop().await.code(), Some(0));
    assert_eq!(respan.spans().len(), 1);
}

#[tokio::test]
async fn a_compressed_reply_is_readable_on_the_span_and_untouched_for_the_client() {
    use std::io::Write as _;
    let body = chat_reply("It is packed.");
    let at = body
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a head")
        + 4;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&body[at..]).expect("memory");
    let packed = encoder.finish().expect("memory");
    let mut reply = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", packed.len()).into_bytes();
    reply.extend(&packed);
    let (got, span) = exchange(reply, false, false).await;
    assert_eq!(
        (value(&got.headers, "content-encoding"), got.body),
        (Some("gzip"), packed)
    );
    assert_eq!(span.text("gen_ai.completion.0.content"), "It is packed.");
}

/// What an SDK sends again when it is told to try later.
#[tokio::test]
async fn attempts_of_one_call_are_one_span() {
    let (mut upstream, respan, gateway) = parts().await;
    let mut ids = Vec::new();
    let late = json!({"error": {"message": "try later"}}).to_string();
    let replies = [
        json_reply("503 Service Unavailable", &late),
        json_reply("429 Too Many Requests", &late),
        chat_reply("It is Rust."),
    ];
    for (attempt, answer) in replies.into_iter().enumerate() {
        let again = ask(false).header("x-stainless-retry-count", &attempt.to_string());
        let call = Call::begin(Protocol::One, gateway.address, &again).await;
        let mut peer = upstream.next_request().await;
        peer.send(answer).await;
        let reply = call.reply().await;
        ids.push(request_id(&reply.headers).expect("an id").to_owned());
        gateway.metrics().await.expect_balanced();
    }
    let span = respan.span_of(&ids[2]).await;
    assert_eq!(respan.spans().len(), 1, "one span for one call");
    assert_eq!(
        (span.outcome().as_str(), span.text("status_code").as_str()),
        ("complete", "200")
    );
    let failed: Vec<&str> = span
        .events
        .iter()
        .map(|event| event["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(failed, ["attempt failed", "attempt failed"]);
    assert!(
        span.events[0].to_string().contains(&ids[0])
            && span.events[1].to_string().contains(&ids[1])
    );
}
