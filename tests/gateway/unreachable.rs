//! Watches over calls to an unreachable upstream: the client gets its error at once, and its request is on the span, in its run.

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};

use crate::harness::{
    Call, ClientRequest, Gateway, Payload, Protocol, Respan, Setup, Span, Upstream, Wire,
    chat_reply, chat_request, free_address, request_id, until,
};

const TARGET: &str = "/v1/chat/completions";
const WARNING: &str = "requests do not reach the upstream";
const BACK: &str = "the upstream can be reached again";

async fn before_nobody() -> (Respan, Gateway) {
    let respan = Respan::start().await;
    let gateway = Setup::before(&format!("http://{}/v1", free_address()))
        .exporting(&respan)
        .start()
        .await;
    (respan, gateway)
}

fn open_ask() -> ClientRequest {
    ClientRequest::new("POST", TARGET)
        .header("content-type", "application/json")
        .payload(Payload::Open)
}

fn expect_question(span: &Span, question: &str) {
    assert_eq!(span.text("gen_ai.prompt.1.content"), question, "{span:?}");
    assert_eq!(span.name, "llm.gpt-4o-mini");
    assert_eq!(span.text("respan.metadata.spangate_cut"), "");
}

#[tokio::test]
async fn a_request_to_an_unreachable_upstream_is_on_the_span() {
    let (respan, gateway) = before_nobody().await;
    // More than any buffer on the way holds.
    let long = "long ".repeat(120_000);
    for protocol in Protocol::BOTH {
        for question in ["short", &*long] {
            let ask = ClientRequest::post(TARGET, chat_request(question, false));
            let mut call = Call::begin(protocol, gateway.address, &ask).await;
            let (status, headers) = call.head().await;
            assert_eq!(status, 502);
            let span = respan.span_of(request_id(&headers).expect("an id")).await;
            expect_question(&span, question);
            assert_eq!(span.outcome(), "unreachable");
        }
    }
}

#[tokio::test]
async fn a_client_that_still_sends_gets_its_error_at_once_and_the_rest_is_on_the_span() {
    let (respan, gateway) = before_nobody().await;
    for protocol in Protocol::BOTH {
        let mut call = Call::begin(protocol, gateway.address, &open_ask()).await;
        let body = chat_request("Which language?", false);
        let (first, rest) = body.as_bytes().split_at(30);
        call.send(first).await;
        let (status, headers) = call.head().await;
        assert_eq!(status, 502);
        call.send(rest).await;
        call.finish().await;
        let span = respan.span_of(request_id(&headers).expect("an id")).await;
        expect_question(&span, "Which language?");
    }
}

#[tokio::test]
async fn an_endless_request_is_waited_for_no_longer_than_a_second() {
    let (respan, gateway) = before_nobody().await;
    let mut wire = Wire::connect(gateway.address).await;
    let begun = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Are "#;
    wire.send(format!(
        "POST {TARGET} HTTP/1.1\r\nhost: gateway\r\ncontent-length: 1000\r\n\r\n{begun}"
    ))
    .await;
    let (status, headers, _) = wire.reply_head("POST").await;
    assert_eq!(status, 502);
    let span = respan.span_of(request_id(&headers).expect("an id")).await;
    assert_eq!(span.text("gen_ai.request.model"), "gpt-4o-mini");
    assert_eq!(span.text("respan.metadata.spangate_cut"), "request");
    let path = format!("/api/traces/{}", span.trace_id);
    let stored = ClientRequest::new("GET", &path).to(gateway.admin).await;
    let stored = String::from_utf8_lossy(&stored.body).into_owned();
    assert!(stored.contains(r#""llm.gpt-4o-mini""#), "{stored}");
    drop(wire);
}

#[tokio::test]
async fn a_request_to_a_silent_upstream_is_on_the_span() {
    let mut upstream = Upstream::listen().await;
    let respan = Respan::start().await;
    let gateway = Setup::between(&upstream, &respan)
        .set("upstream.idle_timeout", "200ms")
        .start()
        .await;
    for protocol in Protocol::BOTH {
        let mut call = Call::begin(protocol, gateway.address, &open_ask()).await;
        let body = chat_request("Which language?", false);
        let (first, rest) = body.as_bytes().split_at(30);
        call.send(first).await;
        let _peer = upstream.next().await;
        let (status, headers) = call.head().await;
        assert_eq!(status, 504);
        call.send(rest).await;
        call.finish().await;
        let span = respan.span_of(request_id(&headers).expect("an id")).await;
        expect_question(&span, "Which language?");
        assert_eq!(span.outcome(), "timeout");
    }
}

#[tokio::test]
async fn a_call_to_an_unreachable_upstream_is_in_its_run() {
    let upstream = Upstream::always(chat_reply("Owls fly.")).await;
    let respan = Respan::start().await;
    let gateway = Setup::between(&upstream, &respan).start().await;
    let body = |agent: &str, heard: &[Value]| {
        let mut messages = vec![
            json!({"role": "system", "content": format!("You are the {agent}.")}),
            json!({"role": "user", "name": "user", "content": "Write about owls."}),
        ];
        messages.extend_from_slice(heard);
        json!({"model": "gpt-4o-mini", "messages": messages}).to_string()
    };
    let first = gateway
        .ask(&ClientRequest::post(TARGET, body("writer", &[])))
        .await;
    assert_eq!(first.status, 200);
    drop(upstream);
    let heard = json!({"role": "user", "name": "writer", "content": "Owls fly."});
    let second = gateway
        .ask(&ClientRequest::post(TARGET, body("critic", &[heard])))
        .await;
    second.expect_own_error(502);
    let mut traces = Vec::new();
    for reply in [&first, &second] {
        let id = request_id(&reply.headers).expect("an id");
        let span = respan.span_of(id).await;
        traces.push((span.trace_id, span.parent.is_some()));
    }
    assert_eq!(traces[0], traces[1]);
}

#[tokio::test]
async fn health_and_the_log_say_whether_the_upstream_can_be_reached() {
    let address = free_address();
    let gateway = Setup::before(&format!("http://{address}/v1")).start().await;
    let known = async || {
        let health = ClientRequest::new("GET", "/api/health")
            .to(gateway.admin)
            .await;
        health.json()["upstream"].clone()
    };
    assert_eq!(
        known().await,
        json!({"state": "unknown", "since": null, "failures": 0, "last_error": null})
    );
    let ask = ClientRequest::post(TARGET, chat_request("Which language?", false));
    for failures in 1..=3 {
        gateway.ask(&ask).await.expect_own_error(502);
        let known = known().await;
        assert_eq!(
            (&known["state"], &known["failures"]),
            (&json!("unreachable"), &json!(failures))
        );
        let message = known["last_error"]["message"].as_str();
        assert!(message.expect("a reason").contains("cannot be reached"));
        assert!(known["since"].is_string());
    }
    assert_eq!(gateway.log().matches(WARNING).count(), 1);
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("a free address");
    socket.bind(address).expect("a free address");
    let listener: TcpListener = socket.listen(8).expect("a free address");
    let answering = async {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut wire = Wire::new(stream);
        wire.request().await;
        wire.send(chat_reply("Rust.")).await;
        wire
    };
    let (reply, _wire) = tokio::join!(gateway.ask(&ask), answering);
    assert_eq!(reply.status, 200);
    assert_eq!(known().await["state"], "reachable");
    until("a line that says so", async || {
        gateway.log().contains(BACK).then_some(())
    })
    .await;
}
