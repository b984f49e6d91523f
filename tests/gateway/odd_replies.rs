//! Watches over replies of servers that are not quite OpenAI, whose connections end in many ways.

use serde_json::json;

use crate::harness::{
    Call, ClientRequest, Gateway, Metrics, Protocol, Respan, Setup, Span, Upstream, chat_request,
    request_id,
};

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

/// A reply in chunks: the status, the content type and the body.
fn reply(status: &str, content_type: &str, body: &str) -> String {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    if body.is_empty() {
        return format!("{head}0\r\n\r\n");
    }
    format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

fn event(part: &str) -> String {
    format!("data: {{\"id\":\"c1\",\"model\":\"m\",\"choices\":[{{\"index\":0,{part}}}]}}\n\n")
}

/// The spans of calls that get these replies, one after the other, and the metrics after them.
async fn spans(replies: &[String]) -> (Vec<Span>, Metrics) {
    let (mut upstream, respan, gateway) = parts().await;
    let mut spans = Vec::new();
    for bytes in replies {
        let call = Call::begin(Protocol::One, gateway.address, &ask(true)).await;
        let mut peer = upstream.next_request().await;
        peer.send(bytes).await;
        peer.finish().await;
        let reply = call.reply().await;
        let id = request_id(&reply.headers).expect("an id").to_owned();
        spans.push(respan.span_of(&id).await);
    }
    let metrics = gateway.metrics().await;
    metrics.expect_balanced();
    (spans, metrics)
}

#[tokio::test]
async fn a_success_with_nothing_in_it_is_empty() {
    let events = "text/event-stream";
    let (spans, metrics) = spans(&[
        reply("200 OK", events, ": PROCESSING\n\n: PROCESSING\n\n"),
        reply("200 OK", events, "data: [DONE]\n\n"),
        reply("200 OK", events, ""),
        reply("200 OK", "application/json", r#"{"id":"c1","choices":[]}"#),
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n".to_owned(),
    ])
    .await;
    for (number, span) in spans.iter().enumerate() {
        assert_eq!(
            (span.outcome().as_str(), span.status),
            ("empty", 2),
            "{number}"
        );
        assert_eq!(
            span.text("error.message"),
            "the upstream answered with nothing",
            "{number}"
        );
        assert_eq!(span.text("status_code"), "200", "{number}");
    }
    let counted =
        metrics.total("spangate_model_requests_total{model=\"gpt-4o-mini\",outcome=\"empty\"}");
    assert!(counted > 5.5, "{counted}");
}

#[tokio::test]
async fn an_error_of_any_shape_is_on_the_span_with_its_message() {
    let list = "[{\n  \"error\": {\n    \"code\": 400,\n    \"message\": \"bad name\",\n    \"status\": \"INVALID_ARGUMENT\"\n  }\n}\n]";
    let field = "error: {\"code\":400,\"message\":\"bad name\",\"type\":\"INVALID_ARGUMENT\"}\n\ndata: [DONE]\n\n";
    for body in [list, field] {
        let (spans, _) = spans(&[
            reply("400 Bad Request", "text/event-stream", body),
            reply("200 OK", "text/event-stream", body),
            reply("200 OK", "application/json", body),
        ])
        .await;
        let words: Vec<String> = spans.iter().map(Span::outcome).collect();
        assert_eq!(words, ["refused", "stream_error", "stream_error"]);
        for span in spans {
            for (key, wanted) in [
                ("error.message", "bad name"),
                ("error.type", "INVALID_ARGUMENT"),
                ("error.code", "400"),
            ] {
                assert_eq!(span.text(key), wanted, "{key}");
            }
            assert_eq!(span.status, 2);
        }
    }
}

#[tokio::test]
async fn a_finish_reason_on_each_chunk_does_not_hide_a_client_that_leaves() {
    for protocol in Protocol::BOTH {
        let (mut upstream, respan, gateway) = parts().await;
        let mut call = Call::begin(protocol, gateway.address, &ask(true)).await;
        let mut peer = upstream.next_request().await;
        let events: String = ["It ", "is "]
            .iter()
            .map(|word| {
                let delta = json!({"role": "assistant", "content": word});
                event(&format!(r#""delta":{delta},"finish_reason":"stop""#))
            })
            .collect();
        let whole = reply("200 OK", "text/event-stream", &events);
        peer.send(whole.strip_suffix("0\r\n\r\n").expect("a last chunk"))
            .await;
        call.head().await;
        call.expect(events.as_bytes()).await;
        call.leave().await;
        peer.left().await;
        let span = &respan.wait_for_spans(1).await[0];
        assert_eq!(span.outcome(), "client_left", "{protocol:?}");
        assert_eq!(span.text("status_code"), "499");
        assert_eq!(span.text("gen_ai.completion.0.content"), "It is ");
    }
}

#[tokio::test]
async fn the_content_type_of_a_stream_is_read_in_any_case() {
    let body = format!(
        "{}{}data: [DONE]\n\n",
        event(r#""delta":{"content":"Hi"}"#),
        event(r#""delta":{},"finish_reason":"stop""#)
    );
    let types = [
        "Text/Event-Stream",
        "TEXT/EVENT-STREAM; charset=UTF-8",
        "text/event-stream ;charset=utf-8",
    ];
    let replies = types.map(|content_type| reply("200 OK", content_type, &body));
    let (spans, metrics) = spans(&replies).await;
    for span in spans {
        assert_eq!(span.outcome(), "complete");
        assert_eq!(span.text("gen_ai.completion.0.content"), "Hi");
        assert_eq!(span.text("gen_ai.completion.0.role"), "assistant");
    }
    // Only of streams a first token is counted.
    let counted = metrics.total("spangate_first_token_seconds_count");
    assert!(counted > 2.5, "{counted}");
}
