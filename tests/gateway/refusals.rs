//! Watches over the gateway's own answers: each has its status, OpenAI's shape and an id, and nothing of it reaches the upstream.

use crate::harness::{ClientRequest, Protocol, Setup, Upstream, Wire, value};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn gateway_with_a_key(upstream: &Upstream) -> crate::harness::Gateway {
    let setup = Setup::before(&upstream.url("/v1"))
        .set("upstream.api_key", "sk-upstream")
        .set("server.client_keys", "ck-one,ck-two");
    setup.start().await
}

#[tokio::test]
async fn a_target_outside_of_v1_and_api_is_404() {
    let upstream = Upstream::always(OK).await;
    let gateway = crate::harness::Gateway::before(&upstream).await;
    for target in [
        "/",
        "/metrics",
        "/v2/models",
        "/v1",
        "/v10/models",
        "/apis/x",
        "/chat/completions",
        "/API/x",
        "/%761/models",
    ] {
        for protocol in Protocol::BOTH {
            ClientRequest::new("GET", target)
                .over(protocol, gateway.address)
                .await
                .expect_own_error(404);
        }
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn trace_and_connect_are_405() {
    let upstream = Upstream::always(OK).await;
    let gateway = crate::harness::Gateway::before(&upstream).await;
    ClientRequest::new("TRACE", "/v1/models")
        .over(Protocol::Two, gateway.address)
        .await
        .expect_own_error(405);
    for line in [
        "TRACE /v1/models",
        "CONNECT example.test:443",
        "CONNECT /v1/models",
    ] {
        let mut wire = Wire::connect(gateway.address).await;
        wire.send(format!("{line} HTTP/1.1\r\nHost: example.test\r\n\r\n"))
            .await;
        let reply = wire.reply("GET").await;
        if line == "CONNECT /v1/models" {
            assert!(matches!(reply.status, 400 | 405), "{reply:?}"); // not even well-formed
        } else {
            reply.expect_own_error(405);
        }
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_request_without_one_good_host_is_400() {
    let upstream = Upstream::always(OK).await;
    let gateway = crate::harness::Gateway::before(&upstream).await;
    for hosts in [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host: a@evil/x?y\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
    ] {
        let mut wire = Wire::connect(gateway.address).await;
        wire.send(format!("GET /v1/models HTTP/1.1\r\n{hosts}\r\n"))
            .await;
        wire.reply("GET").await.expect_own_error(400);
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_request_of_unknown_length_is_400() {
    let upstream = Upstream::always(OK).await;
    let gateway = crate::harness::Gateway::before(&upstream).await;
    for fields in [
        "Transfer-Encoding: gzip",
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: +4",
    ] {
        let mut wire = Wire::connect(gateway.address).await;
        wire.send(format!(
            "POST /v1/files HTTP/1.1\r\nHost: g\r\n{fields}\r\n\r\n0\r\n\r\n"
        ))
        .await;
        let reply = wire.reply("POST").await;
        assert_eq!(reply.status, 400, "{fields}: {reply:?}");
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_transfer_coding_beside_chunked_is_400() {
    let upstream = Upstream::always(OK).await;
    let gateway = crate::harness::Gateway::before(&upstream).await;
    for fields in [
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ] {
        let mut wire = Wire::connect(gateway.address).await;
        wire.send(format!(
            "POST /v1/files HTTP/1.1\r\nHost: g\r\n{fields}\r\n\r\n0\r\n\r\n"
        ))
        .await;
        // Passed on as chunked alone, the upstream would take the coded bytes for the body itself.
        wire.reply("POST").await.expect_own_error(400);
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_request_with_a_length_and_chunks_smuggles_nothing() {
    let upstream = Upstream::always(OK).await;
    let gateway = crate::harness::Gateway::before(&upstream).await;
    let mut wire = Wire::connect(gateway.address).await;
    let fields = "Content-Length: 4\r\nTransfer-Encoding: chunked";
    let smuggled = "GET /v1/smuggled HTTP/1.1\r\nHost: g\r\n\r\n";
    wire.send(format!(
        "POST /v1/files HTTP/1.1\r\nHost: g\r\n{fields}\r\n\r\n0\r\n\r\n{smuggled}"
    ))
    .await;
    let reply = wire.reply("POST").await;
    assert!(matches!(reply.status, 200 | 400), "{reply:?}");
    wire.left().await;
    for request in upstream.seen() {
        assert_eq!(
            (request.target.as_str(), request.body.len()),
            ("/v1/files", 0)
        );
        assert_eq!(value(&request.headers, "content-length"), None);
    }
}

#[tokio::test]
async fn dot_segments_are_400_with_a_key_of_the_gateway() {
    let upstream = Upstream::always(OK).await;
    let gateway = gateway_with_a_key(&upstream).await;
    for target in [
        "/v1/../admin",
        "/v1/a/..",
        "/v1/./a",
        "/v1/%2e%2e/a",
        "/v1/.%2E/a",
        "/v1/..%2fadmin",
        "/v1/a/..?x",
    ] {
        for protocol in Protocol::BOTH {
            ClientRequest::new("GET", target)
                .header("authorization", "Bearer ck-one")
                .over(protocol, gateway.address)
                .await
                .expect_own_error(400);
        }
    }
    assert_eq!(upstream.requests(), 0);
    let reply = ClientRequest::new("GET", "/v1/a..b/...?x=../y")
        .header("authorization", "Bearer ck-one")
        .to(gateway.address)
        .await;
    assert_eq!(reply.status, 200, "dots alone are no dot segment");
}

#[tokio::test]
async fn a_client_needs_its_own_key_with_a_key_of_the_gateway() {
    let upstream = Upstream::always(OK).await;
    let gateway = gateway_with_a_key(&upstream).await;
    for authorization in [
        None,
        Some("Bearer wrong"),
        Some("Bearer ck-onee"),
        Some("ck-one"),
        Some("Bearer ck-one,ck-two"),
        Some("Bearer "),
        Some("Basic ck-one"),
    ] {
        for protocol in Protocol::BOTH {
            let ask = ClientRequest::post("/v1/chat/completions", "{}");
            let ask = authorization
                .iter()
                .fold(ask, |ask, key| ask.header("authorization", key));
            ask.over(protocol, gateway.address)
                .await
                .expect_own_error(401);
        }
    }
    assert_eq!(upstream.requests(), 0);
    for key in ["Bearer ck-one", "bearer ck-two"] {
        let reply = ClientRequest::post("/v1/chat/completions", "{}")
            .header("authorization", key)
            .to(gateway.address)
            .await;
        assert_eq!(reply.status, 200);
    }
    for request in upstream.seen() {
        let keys: Vec<_> = request
            .headers
            .iter()
            .filter(|(name, _)| name == "authorization")
            .map(|(_, key)| key.as_str())
            .collect();
        assert_eq!(keys, ["Bearer sk-upstream"]);
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_listen_is_502() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port that is free again");
    let gateway = Setup::before(&format!("http://{nobody}/v1")).start().await;
    for protocol in Protocol::BOTH {
        ClientRequest::post("/v1/chat/completions", "{}")
            .over(protocol, gateway.address)
            .await
            .expect_own_error(502);
    }
}

#[tokio::test]
async fn an_upstream_that_has_no_address_is_502() {
    let gateway = Setup::before("http://nowhere.invalid/v1").start().await;
    ClientRequest::post("/v1/chat/completions", "{}")
        .to(gateway.address)
        .await
        .expect_own_error(502);
}

#[tokio::test]
async fn an_upstream_without_the_right_certificate_is_502() {
    let certificate = crate::harness::Certificate::make();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let acceptor = certificate.server(&["http/1.1"]);
    let gateway = Setup::before(&format!("https://{address}/v1"))
        .start()
        .await;
    let ask = ClientRequest::post("/v1/chat/completions", "{}");
    let (reply, refused) = tokio::join!(ask.to(gateway.address), async {
        let (stream, _) = listener.accept().await.expect("a connection");
        acceptor.accept(stream).await.is_err()
    });
    reply.expect_own_error(502);
    assert!(
        refused,
        "the handshake went through without a root to trust"
    );
}

#[tokio::test]
async fn a_silent_upstream_is_504() {
    let mut upstream = Upstream::listen().await;
    let gateway = Setup::before(&upstream.url("/v1"))
        .set("upstream.idle_timeout", "300ms")
        .start()
        .await;
    for protocol in Protocol::BOTH {
        let ask = ClientRequest::post("/v1/chat/completions", "{}");
        let (reply, ()) = tokio::join!(ask.over(protocol, gateway.address), async {
            let mut peer = upstream.next_request().await;
            peer.left().await;
        });
        reply.expect_own_error(504);
    }
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_cut_and_not_ended() {
    let mut upstream = Upstream::listen().await;
    let gateway = Setup::before(&upstream.url("/v1"))
        .set("upstream.idle_timeout", "300ms")
        .start()
        .await;
    for protocol in Protocol::BOTH {
        let mut call = gateway.call(protocol).await;
        let mut peer = upstream.next_request().await;
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            .await;
        call.head().await;
        call.expect(b"first").await;
        peer.left().await;
        let (rest, _, end) = call.rest().await;
        assert_eq!(rest.len(), 0);
        assert_ne!(end, crate::harness::End::Clean);
    }
}

#[tokio::test]
async fn bytes_that_are_not_http_get_a_bare_refusal_and_the_gateway_goes_on() {
    let upstream = Upstream::always(OK).await;
    let gateway = crate::harness::Gateway::before(&upstream).await;
    for bytes in [
        b"nonsense\r\n\r\n".as_slice(),
        b"GET /v1/\0 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /v1/models HTTP/9.9\r\n\r\n",
    ] {
        let mut wire = Wire::connect(gateway.address).await;
        wire.send(bytes).await;
        wire.finish().await;
        if let Ok((line, headers)) = wire.head().await {
            assert!(
                line.starts_with("HTTP/1.1 4") || line.starts_with("HTTP/1.1 505"),
                "{line}"
            );
            assert_eq!(value(&headers, "server"), None);
        }
    }
    assert_eq!(upstream.requests(), 0);
    assert_eq!(
        gateway
            .ask(&ClientRequest::new("GET", "/v1/models"))
            .await
            .status,
        200
    );
}
