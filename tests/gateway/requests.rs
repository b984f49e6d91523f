//! Watches over transparency on the way up: what the upstream sees is what the client sent, less what belongs to the connection and
//! to the gateway, and nothing more.

use crate::harness::{
    Call, ClientRequest, Framing, Gateway, Headers, Payload, Protocol, Request, Setup, Upstream,
    Wire, grouped, value, without,
};

/// What belongs to one connection. `content-length` is not among them.
const NOT_COMPARED: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
];
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn through(ask: ClientRequest, protocol: Protocol) -> Request {
    let upstream = Upstream::always(OK).await;
    let gateway = Gateway::before(&upstream).await;
    let reply = ask.over(protocol, gateway.address).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let mut seen = upstream.seen();
    assert_eq!(seen.len(), 1);
    let request = seen.remove(0);
    assert_eq!(
        value(&request.headers, "host"),
        Some(upstream.address.to_string().as_str())
    );
    request
}

async fn straight(ask: &ClientRequest) -> Request {
    let upstream = Upstream::always(OK).await;
    ask.to(upstream.address).await;
    upstream.seen().remove(0)
}

fn compared(request: &Request) -> (String, String, Headers, String) {
    let body = request.body.iter().copied().map(char::from).collect();
    (
        request.method.clone(),
        request.target.clone(),
        grouped(&without(&request.headers, NOT_COMPARED)),
        body,
    )
}

/// The request must reach the upstream through the gateway, on either protocol, as it does without it.
async fn same_everywhere(ask: ClientRequest) -> Request {
    let direct = straight(&ask).await;
    for protocol in Protocol::BOTH {
        let seen = through(ask.clone(), protocol).await;
        assert_eq!(compared(&seen), compared(&direct), "{protocol:?}");
    }
    direct
}

#[tokio::test]
async fn headers_arrive_in_their_order_and_number_and_none_is_added() {
    let ask = ClientRequest::post("/v1/chat/completions", "{\"model\": \"m\"}")
        .header("x-b", "1")
        .header("authorization", "Bearer sk-secret")
        .header("x-a", "2")
        .header("x-b", "3")
        .header("accept-encoding", "gzip, deflate")
        .header("x-stainless-retry-count", "0")
        .header(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        .header("cookie", "a=b")
        .header("x-empty", "");
    same_everywhere(ask).await;
}

#[tokio::test]
async fn a_get_gets_no_body_and_no_length() {
    let direct = same_everywhere(ClientRequest::new("GET", "/v1/models")).await;
    assert_eq!(direct.headers.len(), 1, "the host alone: {direct:?}");
}

#[tokio::test]
async fn a_post_without_a_body_gets_no_body_and_no_length() {
    let direct = same_everywhere(ClientRequest::new("POST", "/v1/batches/1/cancel")).await;
    assert_eq!(value(&direct.headers, "content-length"), None);
}

#[tokio::test]
async fn a_length_of_zero_is_kept() {
    let direct = same_everywhere(ClientRequest::post("/v1/batches/1/cancel", "")).await;
    assert_eq!(value(&direct.headers, "content-length"), Some("0"));
}

#[tokio::test]
async fn odd_methods_pass_with_and_without_a_body() {
    for method in [
        "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "PROPFIND", "QUERY", "X-OWN",
    ] {
        same_everywhere(ClientRequest::new(method, "/v1/assistants/1")).await;
    }
    for method in ["PUT", "PATCH", "DELETE", "GET", "QUERY"] {
        let direct = same_everywhere(
            ClientRequest::new(method, "/v1/assistants/1")
                .payload(Payload::Whole(b"{\"a\": 1}".to_vec())),
        )
        .await;
        assert_eq!(direct.body, b"{\"a\": 1}");
    }
}

#[tokio::test]
async fn a_body_in_chunks_passes_with_any_method() {
    for method in ["POST", "GET", "DELETE", "PATCH"] {
        for protocol in Protocol::BOTH {
            let mut upstream = Upstream::listen().await;
            let gateway = Gateway::before(&upstream).await;
            let mut call = Call::begin(
                protocol,
                gateway.address,
                &ClientRequest::new(method, "/v1/odd").payload(Payload::Open),
            )
            .await;
            call.send(b"one ").await;
            call.send(b"two").await;
            call.finish().await;
            let mut peer = upstream.next().await;
            let request = peer.request().await;
            assert_eq!(
                (request.method.as_str(), request.body.as_slice()),
                (method, b"one two".as_slice()),
                "{protocol:?}"
            );
            assert_eq!(value(&request.headers, "content-length"), None);
            peer.send(OK).await;
            assert_eq!(call.reply().await.status, 200);
        }
    }
}

#[tokio::test]
async fn trailers_of_a_request_arrive() {
    for protocol in Protocol::BOTH {
        let mut upstream = Upstream::listen().await;
        let gateway = Gateway::before(&upstream).await;
        let ask = ClientRequest::new("POST", "/v1/odd")
            .header("trailer", "x-sum")
            .payload(Payload::Open);
        let mut call = Call::begin(protocol, gateway.address, &ask).await;
        call.send(b"body").await;
        call.finish_with(&[("x-sum", "9")]).await;
        let mut peer = upstream.next().await;
        let request = peer.request().await;
        assert_eq!(
            (request.body.as_slice(), request.trailers),
            (
                b"body".as_slice(),
                vec![("x-sum".to_owned(), "9".to_owned())]
            ),
            "{protocol:?}"
        );
        peer.send(OK).await;
        assert_eq!(call.reply().await.status, 200);
    }
}

#[tokio::test]
async fn a_multipart_upload_arrives_byte_for_byte() {
    let mut body =
        b"--b0und\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n"
            .to_vec();
    body.extend((0..=255).cycle().take(40_000));
    body.extend(b"\r\n--b0und--\r\n");
    let ask = ClientRequest::new("POST", "/v1/audio/transcriptions")
        .header("content-type", "multipart/form-data; boundary=b0und");
    let direct = same_everywhere(ask.payload(Payload::Whole(body.clone()))).await;
    assert_eq!(direct.body, body);
}

#[tokio::test]
async fn a_target_is_not_normalised() {
    for target in [
        "/v1/a%2Fb?x=%2f&y=a+b&&z",
        "/v1//double//slash/",
        "/v1/a/../b/./c",
        "/v1/%2e%2e/x",
        "/v1/chat/completions?api-version=2024-10-21",
        "/v1/",
        "/v1/x?",
        "/v1/a;b=c,d:e@f!$'()*",
        "/v1/~%7E%00",
        "/v1/x?u=http://evil.test/%23",
    ] {
        same_everywhere(ClientRequest::new("GET", target)).await;
    }
}

#[tokio::test]
async fn the_path_of_the_base_url_takes_the_place_of_v1_and_of_api() {
    for (base, sent, arrives) in [
        (
            "/v1",
            "/api/chat/completions?x=1",
            "/v1/chat/completions?x=1",
        ),
        ("/v1/", "/v1/models", "/v1/models"),
        ("", "/v1/models", "/models"),
        ("/", "/v1/models", "/models"),
        (
            "/openai/deployments/a%20b",
            "/v1/chat//completions",
            "/openai/deployments/a%20b/chat//completions",
        ),
        (
            "/openai/deployments/a%20b",
            "/api/v1/x",
            "/openai/deployments/a%20b/v1/x",
        ),
    ] {
        let upstream = Upstream::always(OK).await;
        let gateway = Setup::before(&upstream.url(base)).start().await;
        for protocol in Protocol::BOTH {
            assert_eq!(
                ClientRequest::new("GET", sent)
                    .over(protocol, gateway.address)
                    .await
                    .status,
                200
            );
        }
        assert!(
            upstream
                .seen()
                .iter()
                .all(|request| request.target == arrives),
            "{base} {sent}: {:?}",
            upstream.seen()
        );
    }
}

#[tokio::test]
async fn headers_of_the_connection_and_of_the_gateway_are_not_passed_on() {
    let headers = [
        ("connection", "keep-alive, X-Mine, te"),
        ("x-mine", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic eA=="),
        ("te", "trailers"),
        ("x-respan-customer-identifier", "c"),
        ("X-Respan-Anything-At-All", "c"),
        ("X-Data-Respan-Params", "e30="),
        ("X-Data-Keywordsai-Params", "not base64"),
        ("x-respanish", "stays"),
        ("x-stays", "2"),
    ];
    let ask = headers.iter().fold(
        ClientRequest::new("GET", "/v1/models"),
        |ask, (name, value)| ask.header(name, value),
    );
    let seen = through(ask, Protocol::One).await;
    let left: Vec<_> = without(&seen.headers, &["host", "connection", "te"])
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(left, ["x-respanish", "x-stays"]);
    assert!(
        !seen
            .headers
            .iter()
            .any(|(name, value)| name == "connection" && value.to_lowercase().contains("x-mine")),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_target_never_changes_where_a_request_goes() {
    let elsewhere = Upstream::always(OK).await;
    let upstream = Upstream::always(OK).await;
    let gateway = Gateway::before(&upstream).await;
    let other = elsewhere.address;
    for line in [
        format!("GET http://{other}/v1/models HTTP/1.1\r\nHost: {other}"),
        format!("GET //{other}/v1/models HTTP/1.1\r\nHost: {other}"),
        format!("GET /v1/@{other}/models HTTP/1.1\r\nHost: {other}"),
        format!("GET /v1/models HTTP/1.1\r\nHost: {other}\r\nX-Forwarded-Host: {other}"),
    ] {
        let mut wire = Wire::connect(gateway.address).await;
        wire.send(format!("{line}\r\n\r\n")).await;
        wire.reply("GET").await;
    }
    assert_eq!(elsewhere.requests(), 0);
    assert!(
        upstream.requests() >= 2,
        "what is under /v1/ went to the upstream"
    );
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let mut client = Wire::connect(gateway.address).await;
    client.send("POST /v1/files HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    let (mut peer, interim) = tokio::join!(
        async {
            let mut peer = upstream.next().await;
            let (request, mut framing) = peer.request_head().await;
            if value(&request.headers, "expect").is_some() {
                peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            }
            let body = peer.rest(&mut framing).await;
            assert_eq!(body.0, b"body");
            peer
        },
        async {
            let interim = client.head().await.expect("an interim reply");
            client.send("body").await;
            interim
        }
    );
    assert!(interim.0.starts_with("HTTP/1.1 100"), "{interim:?}");
    peer.send(OK).await;
    assert_eq!(client.reply("POST").await.status, 200);
}

#[tokio::test]
async fn a_client_of_http_1_0_is_served() {
    let upstream = Upstream::always(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    )
    .await;
    let gateway = Gateway::before(&upstream).await;
    let mut client = Wire::connect(gateway.address).await;
    client
        .send("GET /v1/models HTTP/1.0\r\nHost: g\r\n\r\n")
        .await;
    let (line, headers) = client.head().await.expect("a reply");
    assert!(line.contains(" 200 "), "{line}");
    assert_eq!(
        value(&headers, "transfer-encoding"),
        None,
        "HTTP/1.0 knows no chunks"
    );
    assert_eq!(client.rest(&mut Framing::UntilClose).await.0, b"abc");
}

/// The preface of HTTP/2 is a head of HTTP/1 as far as its second line.
#[tokio::test]
async fn the_protocol_is_detected_from_first_bytes_that_are_cut_anywhere() {
    const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let upstream = Upstream::always(OK).await;
    let gateway = Gateway::before(&upstream).await;
    for cut in [1, 4, PREFACE.len() - 1, PREFACE.len()] {
        let settings = [&[0; 3][..], &[4], &[0; 5]].concat();
        let mut wire = Wire::connect(gateway.address).await;
        wire.send(&PREFACE[..cut]).await;
        wire.send(&PREFACE[cut..]).await;
        wire.send(settings).await;
        assert_eq!(wire.exactly(9).await[3], 4, "settings come first");
    }
    for (first, rest) in [
        ("P", "RI /v1/models HTTP/1.1\r\nHost: g\r\n\r\n"),
        ("PRI /", "v1/models HTTP/1.1\r\nHost: g\r\n\r\n"),
        ("PRI /v1/models HTTP/1.1\r\nHost: g\r\n\r\n", ""),
    ] {
        let mut wire = Wire::connect(gateway.address).await;
        wire.send(first).await;
        wire.send(rest).await;
        assert_eq!(wire.reply("PRI").await.status, 200, "{first:?}");
    }
    assert_eq!(upstream.requests(), 3);
}
