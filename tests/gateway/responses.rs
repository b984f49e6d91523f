//! Watches over transparency on the way down: the same reply, read straight from the upstream and through the gateway, is the same
//! reply, on HTTP/1.1 and on HTTP/2.

use crate::harness::{
    Call, ClientRequest, End, Gateway, Headers, Protocol, Reply, Upstream, grouped, request_id,
    value, without,
};

/// Headers of one connection, and the one header that the gateway adds.
const NOT_COMPARED: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-respan-gateway-request-id",
];

/// What the upstream does with the connection after its reply.
#[derive(Clone, Copy)]
enum ConnectionEnd {
    KeepAlive,
    Close,
}

async fn reply_of(
    upstream: &mut Upstream,
    address: std::net::SocketAddr,
    protocol: Protocol,
    ask: &ClientRequest,
    reply: &[u8],
    after: ConnectionEnd,
) -> Reply {
    let call = Call::begin(protocol, address, ask).await;
    let mut peer = upstream.next_request().await;
    peer.send(reply).await;
    match after {
        ConnectionEnd::Close => peer.finish().await,
        ConnectionEnd::KeepAlive => upstream.keep(peer),
    }
    call.reply().await
}

fn compared(reply: &Reply) -> (u16, Headers, String, &Headers, End) {
    let body = reply.body.iter().copied().map(char::from).collect();
    (
        reply.status,
        grouped(&without(&reply.headers, NOT_COMPARED)),
        body,
        &reply.trailers,
        reply.end,
    )
}

/// Checks that the reply is the same straight and through the gateway, on either protocol.
async fn same_everywhere(
    ask: ClientRequest,
    reply: impl AsRef<[u8]>,
    after: ConnectionEnd,
) -> Reply {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let straight = upstream.address;
    let direct = reply_of(
        &mut upstream,
        straight,
        Protocol::One,
        &ask,
        reply.as_ref(),
        after,
    )
    .await;
    for protocol in Protocol::BOTH {
        let through = reply_of(
            &mut upstream,
            gateway.address,
            protocol,
            &ask,
            reply.as_ref(),
            after,
        )
        .await;
        assert_eq!(compared(&through), compared(&direct), "{protocol:?}");
        let ids = through
            .headers
            .iter()
            .filter(|(name, _)| name == "x-respan-gateway-request-id")
            .count();
        assert_eq!(ids, 1, "{through:?}");
    }
    direct
}

fn get() -> ClientRequest {
    ClientRequest::new("GET", "/v1/models")
}

#[tokio::test]
async fn a_reply_with_a_length_is_the_same() {
    let reply = "HTTP/1.1 200 OK\r\nServer: u\r\nContent-Type: application/json\r\nContent-Length: 11\r\nX-Late: 1\r\n\r\n{\"a\": \"b\"}\n";
    let direct = same_everywhere(get(), reply, ConnectionEnd::KeepAlive).await;
    assert_eq!(value(&direct.headers, "content-length"), Some("11"));
    assert_eq!((direct.body.len(), direct.end), (11, End::Clean));
}

#[tokio::test]
async fn a_chunked_reply_is_the_same() {
    let reply = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n7;x=y\r\n second\r\n0\r\n\r\n";
    let direct = same_everywhere(get(), reply, ConnectionEnd::KeepAlive).await;
    assert_eq!(direct.body, b"first second");
}

#[tokio::test]
async fn a_reply_that_ends_with_its_connection_is_the_same() {
    let direct = same_everywhere(
        get(),
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nuntil the end",
        ConnectionEnd::Close,
    )
    .await;
    assert_eq!(
        (direct.body.as_slice(), direct.end),
        (b"until the end".as_slice(), End::Clean)
    );
}

#[tokio::test]
async fn an_upstream_of_http_1_0_is_understood() {
    let direct = same_everywhere(
        get(),
        "HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nold",
        ConnectionEnd::Close,
    )
    .await;
    assert_eq!(direct.body, b"old");
}

#[tokio::test]
async fn a_reply_that_closes_its_connection_is_the_same() {
    same_everywhere(
        get(),
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        ConnectionEnd::Close,
    )
    .await;
}

#[tokio::test]
async fn a_head_request_gets_the_length_of_the_body() {
    let ask = ClientRequest::new("HEAD", "/v1/files/1");
    let direct = same_everywhere(
        ask,
        "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\netag: \"e\"\r\n\r\n",
        ConnectionEnd::KeepAlive,
    )
    .await;
    assert_eq!(
        (value(&direct.headers, "content-length"), direct.body.len()),
        (Some("1234"), 0)
    );
}

#[tokio::test]
async fn a_head_request_without_a_length_gets_none() {
    let direct = same_everywhere(
        ClientRequest::new("HEAD", "/v1/files/1"),
        "HTTP/1.1 200 OK\r\netag: \"e\"\r\n\r\n",
        ConnectionEnd::KeepAlive,
    )
    .await;
    assert_eq!(value(&direct.headers, "content-length"), None);
}

#[tokio::test]
async fn no_content_stays_without_content() {
    let direct = same_everywhere(
        ClientRequest::new("DELETE", "/v1/files/1"),
        "HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n",
        ConnectionEnd::KeepAlive,
    )
    .await;
    assert_eq!((direct.status, direct.body.len()), (204, 0));
}

#[tokio::test]
async fn not_modified_keeps_the_length_of_the_body() {
    let ask = get().header("if-none-match", "\"e\"");
    let direct = same_everywhere(
        ask,
        "HTTP/1.1 304 Not Modified\r\netag: \"e\"\r\ncontent-length: 1234\r\n\r\n",
        ConnectionEnd::KeepAlive,
    )
    .await;
    assert_eq!(
        (
            direct.status,
            value(&direct.headers, "content-length"),
            direct.body.len()
        ),
        (304, Some("1234"), 0)
    );
}

#[tokio::test]
async fn an_empty_body_with_a_length_is_the_same() {
    let direct = same_everywhere(
        get(),
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ConnectionEnd::KeepAlive,
    )
    .await;
    assert_eq!(value(&direct.headers, "content-length"), Some("0"));
}

#[tokio::test]
async fn an_empty_body_in_chunks_is_the_same() {
    same_everywhere(
        get(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ConnectionEnd::KeepAlive,
    )
    .await;
}

#[tokio::test]
async fn an_interim_reply_is_consumed_and_the_final_one_is_the_same() {
    let reply = "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-length: 2\r\n\r\nok";
    let direct = same_everywhere(get(), reply, ConnectionEnd::KeepAlive).await;
    assert_eq!((direct.status, value(&direct.headers, "link")), (200, None));
}

#[tokio::test]
async fn repeated_headers_keep_their_order_and_number() {
    let reply = "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nX-Z: z1\r\nSet-Cookie: b=2\r\nx-a: a1\r\nset-cookie: a=1; Path=/\r\nX-Z: \r\n\
        Warning: 199 - \"x, y\"\r\nContent-Length: 0\r\nConnection: x-own\r\nX-Last: 1\r\n\r\n";
    let direct = same_everywhere(get(), reply, ConnectionEnd::KeepAlive).await;
    assert_eq!(
        direct
            .headers
            .iter()
            .filter(|(name, _)| name == "set-cookie")
            .count(),
        3
    );
}

#[tokio::test]
async fn hop_by_hop_headers_of_a_reply_are_not_passed_on() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let reply = b"HTTP/1.1 200 OK\r\nx-a: 1\r\nConnection: X-Own, keep-alive\r\nX-Own: secret\r\nkeep-alive: timeout=5\r\nproxy-authenticate: Basic\r\n\
        x-b: 2\r\ncontent-length: 2\r\n\r\nok";
    for protocol in Protocol::BOTH {
        let through = reply_of(
            &mut upstream,
            gateway.address,
            protocol,
            &get(),
            reply,
            ConnectionEnd::KeepAlive,
        )
        .await;
        for gone in ["x-own", "keep-alive"] {
            assert_eq!(value(&through.headers, gone), None, "{protocol:?} {gone}");
        }
        let names: Vec<_> = through
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| name.starts_with("x-") && name.len() == 3)
            .collect();
        assert_eq!(names, ["x-a", "x-b"]);
    }
}

#[tokio::test]
async fn a_date_is_the_upstreams_or_there_is_none() {
    let direct = same_everywhere(
        get(),
        "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: 0\r\n\r\n",
        ConnectionEnd::KeepAlive,
    )
    .await;
    assert_eq!(
        value(&direct.headers, "date"),
        Some("Sun, 06 Nov 1994 08:49:37 GMT")
    );
    let direct = same_everywhere(
        get(),
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ConnectionEnd::KeepAlive,
    )
    .await;
    assert_eq!(value(&direct.headers, "date"), None);
}

#[tokio::test]
async fn bytes_above_ascii_in_a_header_are_the_same() {
    let reply = b"HTTP/1.1 200 OK\r\nx-name: caf\xc3\xa9 \xff\r\ncontent-length: 0\r\n\r\n";
    let direct = same_everywhere(get(), reply, ConnectionEnd::KeepAlive).await;
    assert_eq!(
        value(&direct.headers, "x-name").map(str::len),
        Some("caf\u{c3}\u{a9} \u{ff}".len())
    );
}

#[tokio::test]
async fn more_headers_than_hypers_usual_hundred_are_the_same() {
    let fields = (0..200)
        .map(|n| format!("x-field-{n}: {n}\r\n"))
        .collect::<Vec<_>>()
        .concat();
    let direct = same_everywhere(
        get(),
        format!("HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n"),
        ConnectionEnd::KeepAlive,
    )
    .await;
    assert_eq!(direct.headers.len(), 201);
}

#[tokio::test]
async fn a_compressed_body_stays_compressed() {
    let packed: Vec<u8> = [0x1f, 0x8b, 8, 0]
        .into_iter()
        .chain((0..=255).cycle().take(2000))
        .collect();
    let mut reply = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nvary: accept-encoding\r\ncontent-length: {}\r\n\r\n", packed.len()).into_bytes();
    reply.extend(&packed);
    let direct = same_everywhere(
        get().header("accept-encoding", "gzip, deflate"),
        reply,
        ConnectionEnd::KeepAlive,
    )
    .await;
    assert_eq!(
        (value(&direct.headers, "content-encoding"), direct.body),
        (Some("gzip"), packed)
    );
}

#[tokio::test]
async fn a_binary_download_is_the_same() {
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\ncontent-type: audio/mpeg\r\ncontent-range: bytes 0-{}/*\r\n",
        bytes.len() - 1
    );
    let mut reply = format!("{head}content-length: {}\r\n\r\n", bytes.len()).into_bytes();
    reply.extend(&bytes);
    let direct = same_everywhere(
        ClientRequest::new("POST", "/v1/audio/speech"),
        reply,
        ConnectionEnd::KeepAlive,
    )
    .await;
    assert_eq!(direct.body, bytes);
}

#[tokio::test]
async fn announced_trailers_come_after_the_body() {
    let ask = get().header("te", "trailers");
    let reply = "HTTP/1.1 200 OK\r\ntrailer: x-sum, x-more\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 9\r\nx-more: a\r\n\r\n";
    let direct = same_everywhere(ask, reply, ConnectionEnd::KeepAlive).await;
    assert_eq!(
        direct.trailers,
        [
            ("x-sum".to_owned(), "9".to_owned()),
            ("x-more".to_owned(), "a".to_owned())
        ]
    );
}

#[tokio::test]
async fn every_status_of_an_upstream_is_passed_on() {
    for status in [
        "201 Created",
        "202 Accepted",
        "301 Moved Permanently",
        "400 Bad Request",
        "401 Unauthorized",
        "404 Not Found",
        "418 Teapot",
        "429 Too Many Requests",
        "500 Internal Server Error",
        "503 Service Unavailable",
        "529 Overloaded",
        "599 Odd",
    ] {
        let reply = format!(
            "HTTP/1.1 {status}\r\nretry-after: 7\r\nlocation: http://evil.test/\r\ncontent-length: 4\r\n\r\nbody"
        );
        same_everywhere(get(), reply, ConnectionEnd::KeepAlive).await;
    }
}

#[tokio::test]
async fn an_id_sent_by_the_upstream_gives_way_to_the_gateways() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let reply = b"HTTP/1.1 200 OK\r\nx-respan-gateway-request-id: theirs\r\nx-respan-log-id: log-1\r\ncontent-length: 0\r\n\r\n";
    let through = reply_of(
        &mut upstream,
        gateway.address,
        Protocol::One,
        &get(),
        reply,
        ConnectionEnd::KeepAlive,
    )
    .await;
    assert_ne!(request_id(&through.headers), Some("theirs"));
    assert_eq!(
        through
            .headers
            .iter()
            .filter(|(name, _)| name == "x-respan-gateway-request-id")
            .count(),
        1
    );
    assert_eq!(
        value(&through.headers, "x-respan-log-id"),
        Some("log-1"),
        "a log id is relayed"
    );
}

#[tokio::test]
async fn every_exchange_has_an_id_of_its_own() {
    let upstream = Upstream::always("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let gateway = Gateway::before(&upstream).await;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let reply = gateway.ask(&get()).await;
        assert!(
            value(&reply.headers, "x-respan-log-id").is_none(),
            "a log id is never made up"
        );
        ids.insert(request_id(&reply.headers).expect("an id").to_owned());
    }
    assert_eq!(ids.len(), 20);
}
