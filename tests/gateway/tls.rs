//! Watches over TLS on both sides: ALPN decides between HTTP/1.1 and HTTP/2, and the promises of plain connections hold.

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{
    Call, Certificate, ClientRequest, End, Gateway, Piece, Protocol, Setup, Upstream, Wire, value,
    within,
};

const ALPN: [(Protocol, &str); 2] = [(Protocol::One, "http/1.1"), (Protocol::Two, "h2")];

async fn call(
    gateway: &Gateway,
    certificate: &Certificate,
    protocol: Protocol,
    offered: &[&str],
    ask: &ClientRequest,
) -> (Call, Option<Vec<u8>>) {
    let stream = TcpStream::connect(gateway.address)
        .await
        .expect("it listens");
    let name = "localhost".try_into().expect("a name");
    let stream = within(
        "a handshake",
        certificate.client(offered).connect(name, stream),
    )
    .await
    .expect("it is trusted");
    let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    (
        Call::over(protocol, Box::new(stream), "https", "localhost", ask).await,
        agreed,
    )
}

async fn listening(upstream: &Upstream, certificate: &Certificate) -> Gateway {
    let (cert, key) = (certificate.file(), certificate.key_file());
    let setup =
        Setup::before(&upstream.url("/v1")).set("server.tls_cert", cert.to_str().expect("UTF-8"));
    setup
        .set("server.tls_key", key.to_str().expect("UTF-8"))
        .start()
        .await
}

#[tokio::test]
async fn the_listening_side_speaks_either_protocol_by_alpn() {
    let mut upstream = Upstream::listen().await;
    let certificate = Certificate::make();
    let gateway = listening(&upstream, &certificate).await;
    for (protocol, name) in ALPN {
        let (mut call, agreed) = call(
            &gateway,
            &certificate,
            protocol,
            &[name],
            &ClientRequest::post("/v1/chat/completions", "{\"a\": 1}"),
        )
        .await;
        assert_eq!(agreed.as_deref(), Some(name.as_bytes()));
        let mut peer = upstream.next().await;
        assert_eq!(peer.request().await.body, b"{\"a\": 1}");
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        assert_eq!(call.head().await.0, 200);
        for piece in [b"data: 1\n\n", b"data: 2\n\n"] {
            peer.send_chunk(piece).await;
            call.expect(piece).await;
        }
        peer.send("0\r\n\r\n").await;
        assert_eq!(call.piece().await, Piece::End(End::Clean, Vec::new()));
        upstream.keep(peer);
    }
}

#[tokio::test]
async fn alpn_prefers_http_2_and_defaults_to_http_1() {
    let upstream = Upstream::always("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let certificate = Certificate::make();
    let gateway = listening(&upstream, &certificate).await;
    let (both, agreed) = call(
        &gateway,
        &certificate,
        Protocol::Two,
        &["h2", "http/1.1"],
        &ClientRequest::new("GET", "/v1/models"),
    )
    .await;
    assert_eq!(
        (agreed.as_deref(), both.reply().await.status),
        (Some(b"h2".as_slice()), 200)
    );
    let (none, agreed) = call(
        &gateway,
        &certificate,
        Protocol::One,
        &[],
        &ClientRequest::new("GET", "/v1/models"),
    )
    .await;
    assert_eq!((agreed, none.reply().await.status), (None, 200));
}

#[tokio::test]
async fn a_break_is_a_break_over_tls_and_a_client_that_leaves_is_seen() {
    let mut upstream = Upstream::listen().await;
    let certificate = Certificate::make();
    let gateway = listening(&upstream, &certificate).await;
    for (protocol, name) in ALPN {
        for leaves in [true, false] {
            let (mut call, _) = call(
                &gateway,
                &certificate,
                protocol,
                &[name],
                &ClientRequest::post("/v1/chat/completions", "{}"),
            )
            .await;
            let mut peer = upstream.next_request().await;
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
                .await;
            call.head().await;
            call.expect(b"half").await;
            if leaves {
                call.leave().await;
                peer.left().await;
            } else {
                peer.finish().await;
                assert_ne!(call.rest().await.2, End::Clean, "{protocol:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_unfinished_handshake_is_cut_off_and_delays_nobody() {
    let upstream = Upstream::always("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let certificate = Certificate::make();
    let (cert, key) = (certificate.file(), certificate.key_file());
    let setup = Setup::before(&upstream.url("/v1"))
        .set("server.tls_cert", cert.to_str().expect("UTF-8"))
        .set("limits.first_byte_timeout", "1s");
    let gateway = setup
        .set("limits.header_timeout", "1s")
        .set("server.tls_key", key.to_str().expect("UTF-8"))
        .start()
        .await;
    let mut silent = Wire::connect(gateway.address).await;
    let mut halting = Wire::connect(gateway.address).await;
    halting.send([0x16, 3, 1, 2, 0, 1]).await;
    let (other, _) = call(
        &gateway,
        &certificate,
        Protocol::One,
        &["http/1.1"],
        &ClientRequest::new("GET", "/v1/models"),
    )
    .await;
    assert_eq!(other.reply().await.status, 200);
    silent.left().await;
    halting.left().await;
}

/// A gateway before an upstream with this certificate, and the upstream's listener.
async fn secured(certificate: &Certificate) -> (Gateway, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    let file = certificate.file();
    let setup = Setup::before(&format!("https://localhost:{port}/v1"))
        .set("upstream.ca_file", file.to_str().expect("UTF-8"));
    (setup.start().await, listener)
}

#[tokio::test]
async fn an_upstream_that_offers_http_2_is_spoken_to_in_http_2() {
    let certificate = Certificate::make();
    for protocol in Protocol::BOTH {
        let (gateway, listener) = secured(&certificate).await;
        let ask = ClientRequest::post("/v1/chat/completions?x=%2F", "{\"a\": 1}")
            .header("x-b", "1")
            .header("x-a", "2")
            .header("x-respan-log", "full")
            .header("te", "trailers");
        let mut call = Call::begin(protocol, gateway.address, &ask).await;
        let (stream, _) = within("a connection", listener.accept())
            .await
            .expect("a connection");
        let stream = certificate
            .server(&["h2", "http/1.1"])
            .accept(stream)
            .await
            .expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        let (request, mut respond) = within("a request", connection.accept())
            .await
            .expect("a request")
            .expect("a good one");
        let mut driver = tokio::task::JoinSet::new();
        driver.spawn(async move { while connection.accept().await.is_some() {} });
        let (head, mut body) = request.into_parts();
        assert_eq!(
            (
                head.method.as_str(),
                head.uri
                    .path_and_query()
                    .map(ToString::to_string)
                    .as_deref()
            ),
            ("POST", Some("/v1/chat/completions?x=%2F"))
        );
        assert_eq!(head.uri.host(), Some("localhost"));
        let names: Vec<_> = head
            .headers
            .keys()
            .map(http::HeaderName::as_str)
            .filter(|name| !matches!(*name, "te" | "host"))
            .collect();
        assert_eq!(names, ["content-type", "x-b", "x-a", "content-length"]);
        assert_eq!(
            within("a body", body.data())
                .await
                .expect("a piece")
                .expect("whole"),
            "{\"a\": 1}"
        );
        let reply = http::Response::builder()
            .header("x-z", "1")
            .header("x-y", "2")
            .header("trailer", "x-sum")
            .body(())
            .expect("a reply");
        let mut sending = respond.send_response(reply, false).expect("it can be sent");
        let (status, headers) = call.head().await;
        assert_eq!(
            (status, value(&headers, "x-z"), value(&headers, "x-y")),
            (200, Some("1"), Some("2"))
        );
        for piece in ["data: 1\n\n", "data: 2\n\n"] {
            sending
                .send_data(Bytes::from_static(piece.as_bytes()), false)
                .expect("it can be sent");
            call.expect(piece.as_bytes()).await;
        }
        let trailers = [(
            "x-sum".parse().expect("a name"),
            "9".parse().expect("a value"),
        )];
        sending
            .send_trailers(trailers.into_iter().collect::<http::HeaderMap>())
            .expect("it can be sent");
        assert_eq!(
            call.piece().await,
            Piece::End(End::Clean, vec![("x-sum".to_owned(), "9".to_owned())]),
            "{protocol:?}"
        );
        drop(driver);
    }
}

#[tokio::test]
async fn an_http_2_upstream_that_resets_is_a_break_and_one_that_is_left_sees_a_reset() {
    let certificate = Certificate::make();
    for protocol in Protocol::BOTH {
        for (leaves, before_head, reason) in [
            (true, true, None),
            (true, false, None),
            (false, true, Some(h2::Reason::INTERNAL_ERROR)),
            (false, false, Some(h2::Reason::INTERNAL_ERROR)),
            (false, false, Some(h2::Reason::CANCEL)),
            // Not an error, and not an end either.
            (false, false, Some(h2::Reason::NO_ERROR)),
        ] {
            let reason = reason.unwrap_or(h2::Reason::NO_ERROR);
            let (gateway, listener) = secured(&certificate).await;
            let mut call = gateway.call(protocol).await;
            let (stream, _) = within("a connection", listener.accept())
                .await
                .expect("a connection");
            let stream = certificate
                .server(&["h2"])
                .accept(stream)
                .await
                .expect("a handshake");
            let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
            let (_request, mut respond) = within("a request", connection.accept())
                .await
                .expect("a request")
                .expect("a good one");
            let mut driver = tokio::task::JoinSet::new();
            driver.spawn(async move { while connection.accept().await.is_some() {} });
            if before_head {
                if leaves {
                    call.leave().await;
                    within(
                        "a reset",
                        std::future::poll_fn(|context| respond.poll_reset(context)),
                    )
                    .await
                    .expect("a code");
                } else {
                    respond.send_reset(reason);
                    call.reply().await.expect_own_error(502);
                }
            } else {
                let mut sending = respond
                    .send_response(http::Response::new(()), false)
                    .expect("it can be sent");
                sending
                    .send_data(Bytes::from_static(b"half"), false)
                    .expect("it can be sent");
                call.head().await;
                call.expect(b"half").await;
                if leaves {
                    call.leave().await;
                    within(
                        "a reset",
                        std::future::poll_fn(|context| sending.poll_reset(context)),
                    )
                    .await
                    .expect("a code");
                } else {
                    sending.send_reset(reason);
                    assert_ne!(call.rest().await.2, End::Clean, "{protocol:?} {reason}");
                }
            }
            drop(driver);
        }
    }
}

#[tokio::test]
async fn an_upstream_that_offers_http_1_only_is_spoken_to_in_http_1() {
    let certificate = Certificate::make();
    let (gateway, listener) = secured(&certificate).await;
    for protocol in Protocol::BOTH {
        let call = Call::begin(
            protocol,
            gateway.address,
            &ClientRequest::post("/v1/chat/completions", "{\"a\": 1}"),
        )
        .await;
        let (stream, _) = within("a connection", listener.accept())
            .await
            .expect("a connection");
        let stream = certificate
            .server(&["http/1.1"])
            .accept(stream)
            .await
            .expect("a handshake");
        let mut peer = Wire::new(stream);
        assert_eq!(peer.request().await.body, b"{\"a\": 1}");
        peer.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
            .await;
        peer.finish().await;
        assert_eq!(call.reply().await.body, b"ok");
    }
}

#[tokio::test]
async fn a_websocket_goes_to_a_secure_upstream_in_http_1() {
    let certificate = Certificate::make();
    let (gateway, listener) = secured(&certificate).await;
    let mut client = Wire::connect(gateway.address).await;
    client.send("GET /v1/realtime HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a2V5\r\n\r\n").await;
    let (stream, _) = within("a connection", listener.accept())
        .await
        .expect("a connection");
    let stream = certificate
        .server(&["h2", "http/1.1"])
        .accept(stream)
        .await
        .expect("a handshake");
    let mut peer = Wire::new(stream);
    assert_eq!(
        value(&peer.request().await.headers, "sec-websocket-key"),
        Some("a2V5")
    );
    peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello").await;
    assert_eq!(client.reply_head("GET").await.0, 101);
    assert_eq!(client.exactly(5).await, b"hello");
}
