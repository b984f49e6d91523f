//! Watches over keys: a key from anywhere comes out nowhere, neither on the disk nor in spans, the log or the metrics.

use std::fs;

use crate::harness::{
    ClientRequest, Gateway, KEY, Respan, Setup, Upstream, chat_request, json_reply,
};

const CANARIES: [&str; 9] = [
    "sk-canary0authorization0000000000001",
    "canary0apikeyheader00000000000000002",
    "canary0query000000000000000000000003",
    "canary0websocket00000000000000000004",
    "sk-canary0errorbody00000000000000005",
    "sk-canary0plainerror0000000000000006",
    "canary0clientkey00000000000000000007",
    "canary0upstreamkey000000000000000008",
    KEY,
];

/// Everything that the gateway wrote anywhere.
async fn written(gateway: &mut Gateway, respan: &Respan) -> Vec<(String, Vec<u8>)> {
    let metrics = ClientRequest::new("GET", "/metrics")
        .to(gateway.admin)
        .await
        .body;
    let health = ClientRequest::new("GET", "/api/health")
        .to(gateway.admin)
        .await
        .body;
    assert!(gateway.stop().await.success());
    let mut all = vec![
        ("metrics".to_owned(), metrics),
        ("health".to_owned(), health),
        ("log".to_owned(), gateway.log().into_bytes()),
    ];
    for directory in [gateway.store(), gateway.store().join("log-1")] {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                all.push((path.display().to_string(), fs::read(path).expect("a file")));
            }
        }
    }
    let posts = respan.posts().into_iter().map(|post| post.body);
    all.extend(posts.map(|body| ("post".to_owned(), body)));
    all
}

fn expect_none(written: &[(String, Vec<u8>)], canaries: &[&str]) {
    for (place, bytes) in written {
        let text = String::from_utf8_lossy(bytes);
        for canary in canaries {
            assert!(!text.contains(canary), "{canary} is in {place}");
        }
    }
}

#[tokio::test]
async fn no_key_is_written_anywhere() {
    let (upstream, respan) = (
        Upstream::answering(|request| {
            let asked = String::from_utf8_lossy(&request.body);
            if asked.contains("json") {
                json_reply(
                    "401 Unauthorized",
                    &format!(r#"{{"error":{{"message":"Incorrect API key provided: {}","type":"invalid_request_error"}}}}"#, CANARIES[4]),
                )
            } else {
                let body = format!("go away, {}", CANARIES[5]);
                format!(
                    "HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                )
                .into_bytes()
            }
        })
        .await,
        Respan::start().await,
    );
    let mut gateway = Setup::between(&upstream, &respan)
        .set("server.client_keys", CANARIES[6])
        .set("upstream.api_key", CANARIES[7])
        .set("log.level", "debug")
        .start()
        .await;
    for question in ["json", "plain"] {
        let target = format!("/v1/chat/completions?api-key={}", CANARIES[2]);
        let ask = ClientRequest::post(&target, chat_request(question, false))
            .header("authorization", &format!("Bearer {}", CANARIES[6]))
            .header("api-key", CANARIES[1])
            .header(
                "sec-websocket-protocol",
                &format!("realtime, openai-insecure-api-key.{}", CANARIES[3]),
            );
        assert!(gateway.ask(&ask).await.status >= 400);
    }
    let stranger = ClientRequest::post("/v1/chat/completions", chat_request("json", false))
        .header("authorization", &format!("Bearer {}", CANARIES[0]));
    assert_eq!(gateway.ask(&stranger).await.status, 401);
    respan.wait_for_spans(2).await;
    let written = written(&mut gateway, &respan).await;
    assert!(
        written
            .iter()
            .any(|(place, bytes)| place.contains("/store/") && !bytes.is_empty()),
        "the store is on the disk"
    );
    expect_none(&written, &CANARIES);
}

#[tokio::test]
async fn no_file_holds_content_that_may_not_be_recorded() {
    let (upstream, respan) = (
        Upstream::always(crate::harness::chat_reply("a private answer")).await,
        Respan::start().await,
    );
    let mut gateway = Setup::between(&upstream, &respan).start().await;
    let ask = ClientRequest::post(
        "/v1/chat/completions",
        chat_request("a private question", false),
    )
    .header("x-respan-log", "metadata");
    assert_eq!(gateway.ask(&ask).await.status, 200);
    respan.wait_for_spans(1).await;
    let written = written(&mut gateway, &respan).await;
    expect_none(&written, &["a private answer", "a private question"]);
}

/// Keys without a known beginning, each where a client or the gateway has it, and in every form in which an upstream may repeat it.
#[tokio::test]
async fn a_key_in_an_error_of_the_upstream_is_written_nowhere() {
    const KEYS: [&str; 4] = [
        "correct/horse\"battery&staple",
        "azure-words-without-a-beginning",
        "query+words/without=beginning",
        "words-of-the-gateway-itself",
    ];
    let escaped = |key: &str| {
        let quoted = serde_json::to_string(key).expect("a text");
        let percent: Vec<String> = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, key);
        [
            key.to_owned(),
            quoted.trim_matches('"').to_owned(),
            percent.concat(),
            base64,
        ]
    };
    let all: Vec<String> = KEYS.iter().flat_map(|key| escaped(key)).collect();
    let said = format!("refused: {}", all.join(" , "));
    let error = serde_json::json!({"error": {"message": said, "type": said, "code": said}});
    let (whole, event, page) = (
        error.to_string(),
        format!("data: {error}\n\ndata: [DONE]\n\n"),
        format!("<p>{said}</p>"),
    );
    let (upstream, respan) = (
        Upstream::answering(move |request| {
            let asked = String::from_utf8_lossy(&request.body).into_owned();
            let (status, kind, body) = if asked.contains("streamed") {
                ("200 OK", "text/event-stream", &event)
            } else if asked.contains("page") {
                ("502 Bad Gateway", "text/html", &page)
            } else {
                ("401 Unauthorized", "application/json", &whole)
            };
            format!(
                "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nx-request-id: {}\r\ncontent-length: {}\r\n\r\n{body}",
                KEYS[1],
                body.len()
            )
            .into_bytes()
        })
        .await,
        Respan::start().await,
    );
    let mut gateway = Setup::between(&upstream, &respan)
        .set("upstream.api_key", KEYS[3])
        .set("log.level", "debug")
        .start()
        .await;
    let basic = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("user:{}", KEYS[0]),
    );
    let query = "query%2Bwords%2Fwithout%3Dbeginning";
    let mut calls = 0;
    for (path, question) in [
        ("chat/completions", "whole"),
        ("chat/completions", "streamed"),
        ("chat/completions", "page"),
        ("embeddings", "whole"),
    ] {
        let target = format!("/v1/{path}?subscription-key={query}");
        let ask = ClientRequest::post(&target, chat_request(question, question == "streamed"))
            .header("authorization", &format!("Basic {basic}"))
            .header("api-key", KEYS[1]);
        gateway.ask(&ask).await;
        calls += 1;
    }
    let spans = respan.wait_for_spans(calls).await;
    for span in &spans {
        assert!(
            span.text("error.message").contains("refused: [redacted]"),
            "{span:?}"
        );
    }
    let traces = ClientRequest::new("GET", &format!("/api/traces/{}", spans[0].trace_id));
    let viewer = traces.to(gateway.admin).await.body;
    let mut written = written(&mut gateway, &respan).await;
    written.push(("viewer".to_owned(), viewer));
    let canaries: Vec<&str> = all.iter().map(String::as_str).chain([&*basic]).collect();
    expect_none(&written, &canaries);
}
