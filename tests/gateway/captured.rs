//! Watches over what is kept of requests: long ones with all that is short in them, media as its size, and calls for which there is no room.

use serde_json::{Value, json};

use crate::harness::{
    Call, ClientRequest, Protocol, Respan, Setup, Upstream, chat_events, chat_reply, request_id,
    until,
};

/// So many bytes as base64, of a PNG by their beginning. Nothing in it comes again, so that no store can compress it.
fn png(bytes: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state: u64 = 1;
    let letters = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(LETTERS[(state >> 58) as usize])
    });
    "iVBORw0KGgo"
        .chars()
        .chain(letters)
        .take(bytes / 3 * 4)
        .collect()
}

fn chat(body: &Value) -> ClientRequest {
    ClientRequest::post("/v1/chat/completions", body.to_string())
        .header("user-agent", "AsyncOpenAI/Python 1.99.9")
}

/// Streams an answer whatever is asked.
async fn streaming() -> Upstream {
    let events = chat_events(&["A ", "cat."]).concat();
    let length = events.len();
    Upstream::always(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n{events}"
    ))
    .await
}

#[tokio::test]
async fn of_a_request_beyond_the_limit_all_but_long_texts_is_on_the_span() {
    let upstream = streaming().await;
    let respan = Respan::start().await;
    let gateway = Setup::between(&upstream, &respan)
        .set("capture.max_body", "64KiB")
        .start()
        .await;
    let long = format!("First words. {}Last words.", "and so on, ".repeat(100_000));
    let body = json!({
        "messages": [
            {"role": "system", "content": "You help."},
            {"role": "user", "content": long},
            {"role": "user", "content": [
                {"type": "text", "text": "What is on it?"},
                {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{}", png(1_500_000))}}]},
            {"role": "user", "name": "ann", "content": "Quickly."}],
        "model": "gpt-4o-mini",
        "tools": [{"type": "function", "function": {"name": "weather"}}],
        "stream": true,
    });
    let reply = gateway.ask(&chat(&body)).await;
    assert_eq!(upstream.seen()[0].body, body.to_string().as_bytes());
    let span = respan.span_of(request_id(&reply.headers).unwrap()).await;
    assert_eq!(span.text("gen_ai.request.model"), "gpt-4o-mini");
    assert_eq!(span.attributes["llm.is_streaming"], json!(true));
    assert!(span.text("llm.request.functions").contains("weather"));
    assert!(
        span.attributes
            .contains_key("llm.openai.chat_completions.streaming_time_to_first_token")
    );
    assert_eq!(span.text("gen_ai.prompt.0.content"), "You help.");
    let cut = span.text("gen_ai.prompt.1.content");
    assert!(
        cut.starts_with("First words. and") && cut.ends_with("Last words.") && cut.len() < 2000
    );
    assert!(cut.contains(&format!("[of {} bytes", long.len())), "{cut}");
    let parts = span.text("gen_ai.prompt.2.content");
    assert!(
        parts.contains("What is on it?") && parts.contains("\"[image image/png, 1.5 MB]\""),
        "{parts}"
    );
    assert_eq!(span.text("gen_ai.prompt.3.content"), "Quickly.");
    assert_eq!(span.text("gen_ai.prompt.3.name"), "ann");
    assert_eq!(span.text("respan.metadata.spangate_cut"), "request");
}

#[tokio::test]
async fn a_body_whose_stream_flag_nobody_saw_is_known_to_stream_by_its_answer() {
    let upstream = streaming().await;
    let respan = Respan::start().await;
    let gateway = Setup::between(&upstream, &respan).start().await;
    for body in ["{\"model\": \"m\", \"messages\": [", "no JSON at all"] {
        let reply = gateway
            .ask(&ClientRequest::post("/v1/chat/completions", body))
            .await;
        let span = respan.span_of(request_id(&reply.headers).unwrap()).await;
        let streaming = span.attributes.get("llm.is_streaming");
        // Nothing is said of a request that cannot be read, but when its first token came.
        assert!(streaming.is_none_or(|streaming| *streaming == json!(true)));
        assert!(
            span.attributes
                .contains_key("llm.openai.chat_completions.streaming_time_to_first_token"),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_history_that_is_cut_is_recognised_in_the_next_request() {
    let upstream = Upstream::always(chat_reply("It is.")).await;
    let respan = Respan::start().await;
    let gateway = Setup::between(&upstream, &respan)
        .set("capture.max_body", "64KiB")
        .start()
        .await;
    let ask = async |middle: &str, further: &[Value]| {
        let same = "the same ".repeat(10_000);
        let mut messages = vec![
            json!({"role": "system", "content": "You help."}),
            json!({"role": "user", "name": "user", "content": format!("{same}{middle}{same}")}),
        ];
        messages.extend_from_slice(further);
        let body = json!({"messages": messages, "model": "m",
            "tools": [{"type": "function", "function": {"name": "f"}}]});
        let reply = gateway.ask(&chat(&body)).await;
        let span = respan.span_of(request_id(&reply.headers).unwrap()).await;
        span.trace_id
    };
    let further = [
        json!({"role": "assistant", "content": "It is."}),
        json!({"role": "user", "name": "critic", "content": "Is it?"}),
    ];
    let first = ask("one", &[]).await;
    let other = ask("two", &[]).await;
    assert_ne!(first, other, "texts that differ in their middle alone");
    assert_eq!(ask("one", &further).await, first);
    assert_eq!(ask("two", &further).await, other);
}

#[tokio::test]
async fn media_is_left_out_of_spans_and_the_store_unless_it_is_asked_for() {
    let url = format!("data:image/png;base64,{}", png(30_000));
    let body = json!({"model": "m", "messages": [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}},
            {"type": "input_audio", "input_audio": {"data": png(3_000), "format": "wav"}}]},
        {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "draw", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": format!("Drawn: {url} (new)")}]});
    for (media, is_left_out) in [("size", true), ("full", false)] {
        let upstream = Upstream::always(chat_reply("A cat.")).await;
        let respan = Respan::start().await;
        let mut gateway = Setup::between(&upstream, &respan)
            .set("capture.media", media)
            .start()
            .await;
        let reply = gateway.ask(&chat(&body)).await;
        assert_eq!(upstream.seen()[0].body, body.to_string().as_bytes());
        let span = respan.span_of(request_id(&reply.headers).unwrap()).await;
        let parts = span.text("gen_ai.prompt.0.content");
        let result = span.text("gen_ai.prompt.2.content");
        if is_left_out {
            assert!(parts.contains("\"[image image/png, 30 kB]\""), "{parts}");
            assert!(parts.contains("\"[audio audio/wav, 3 kB]\""), "{parts}");
            assert_eq!(result, "Drawn: [image image/png, 30 kB] (new)");
        } else {
            assert!(parts.contains(&url) && parts.contains(&png(3_000)));
            assert_eq!(result, format!("Drawn: {url} (new)"));
        }
        gateway.stop().await;
        let data = &png(30_000)[5_000..5_060];
        let posted = respan
            .spans()
            .iter()
            .any(|span| format!("{span:?}").contains(data));
        assert_eq!(posted, !is_left_out);
        let stored = std::fs::read_dir(gateway.store().join("log-1"))
            .unwrap()
            .any(|entry| {
                let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
                bytes
                    .windows(data.len())
                    .any(|window| window == data.as_bytes())
            });
        assert_eq!(stored, !is_left_out);
    }
}

#[tokio::test]
async fn only_what_was_cut_counts_as_cut() {
    let upstream = Upstream::always(chat_reply("It is.")).await;
    let respan = Respan::start().await;
    let gateway = Setup::between(&upstream, &respan)
        .set("capture.max_body", "64KiB")
        .start()
        .await;
    let long =
        json!({"model": "m", "messages": [{"role": "user", "content": "long ".repeat(20_000)}]});
    gateway
        .ask(&ClientRequest::post("/v1/embeddings", long.to_string()))
        .await;
    gateway
        .ask(&ClientRequest::post("/v1/responses", "{}"))
        .await;
    gateway
        .ask(&chat(&json!({"model": "m", "messages": []})))
        .await;
    let counted = async |spans: usize| {
        respan.wait_for_spans(spans).await;
        gateway.metrics().await.total("spangate_capture_cut_total")
    };
    assert!(counted(3).await < 0.5);
    gateway.ask(&chat(&long)).await;
    assert!((counted(4).await - 1.0).abs() < 0.5);
}

#[tokio::test]
async fn a_call_without_room_is_served_and_counts_as_a_span_that_was_dropped() {
    const CALLS: u32 = 150;
    let mut upstream = Upstream::listen().await;
    let respan = Respan::start().await;
    let gateway = Setup::between(&upstream, &respan)
        .set("capture.max_memory", "1MiB")
        .set("capture.max_body", "64KiB")
        .start()
        .await;
    // What is known of one from its head alone takes 16 KiB, for as long as it is under way.
    let value = "v".repeat(3_900);
    let metadata = json!({"a": value, "b": value, "c": value, "d": value});
    let ask =
        ClientRequest::new("GET", "/v1/models").header("x-respan-metadata", &metadata.to_string());
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        let call = Call::begin(Protocol::One, gateway.address, &ask).await;
        let mut peer = upstream.next().await;
        peer.request().await;
        calls.push((call, peer));
    }
    for (call, mut peer) in calls {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await;
        assert_eq!(call.reply().await.status, 200);
    }
    let metrics = until("every call to be exported or dropped", async || {
        let now = gateway.metrics().await;
        let done =
            now.total("spangate_spans_exported_total") + now.total("spangate_spans_dropped_total");
        (done > f64::from(CALLS) - 0.5).then_some(now)
    })
    .await;
    metrics.expect_balanced();
    let dropped = metrics.total("spangate_capture_dropped_total{reason=\"memory\"}");
    assert!(dropped > 20.0, "{metrics:?}");
    let lost = metrics.total("spangate_spans_dropped_total{reason=\"capture\"}");
    assert!((dropped - lost).abs() < 0.5);
    assert!(gateway.log().contains("spangate_capture_dropped_total"));
    // There is room again.
    let before = respan.spans().len();
    let call = Call::begin(Protocol::One, gateway.address, &ask).await;
    let mut peer = upstream.next().await;
    peer.request().await;
    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        .await;
    call.reply().await;
    respan.wait_for_spans(before + 1).await;
}
