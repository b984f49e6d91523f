//! Watches over connections that are used again: on both sides, and that one which died in the pool costs nobody a request.

use crate::harness::{Ask, Gateway, Protocol, Upstream, Wire};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const GET: &str = "GET /v1/models HTTP/1.1\r\nHost: g\r\n\r\n";

#[tokio::test]
async fn a_client_makes_many_requests_on_one_connection() {
    let upstream = Upstream::always(OK).await;
    let gateway = Gateway::before(&upstream).await;
    let mut client = Wire::connect(gateway.address).await;
    for _ in 0..20 {
        client.send(GET).await;
        assert_eq!(client.reply("GET").await.status, 200);
    }
}

#[tokio::test]
async fn errors_of_the_gateways_own_leave_the_connection_open() {
    let upstream = Upstream::always(OK).await;
    let gateway = Gateway::before(&upstream).await;
    let mut client = Wire::connect(gateway.address).await;
    for (target, status) in [
        ("/v2/x", 404),
        ("/v1/models", 200),
        ("/nothing", 404),
        ("/v1/models", 200),
    ] {
        client
            .send(format!("GET {target} HTTP/1.1\r\nHost: g\r\n\r\n"))
            .await;
        assert_eq!(client.reply("GET").await.status, status);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_turn() {
    let upstream = Upstream::answering(|request| {
        let body = &request.target;
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    })
    .await;
    let gateway = Gateway::before(&upstream).await;
    let mut client = Wire::connect(gateway.address).await;
    let requests = (0..5)
        .map(|n| format!("GET /v1/{n} HTTP/1.1\r\nHost: g\r\n\r\n"))
        .collect::<Vec<_>>()
        .concat();
    client.send(requests).await;
    for n in 0..5 {
        assert_eq!(
            client.reply("GET").await.body,
            format!("/v1/{n}").into_bytes()
        );
    }
}

#[tokio::test]
async fn an_upstream_connection_is_used_again() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let mut client = Wire::connect(gateway.address).await;
    client.send(GET).await;
    let mut peer = upstream.next().await;
    peer.request().await;
    peer.send(OK).await;
    assert_eq!(client.reply("GET").await.status, 200);
    for _ in 0..3 {
        client.send(GET).await;
        peer.request().await;
        peer.send(OK).await;
        assert_eq!(client.reply("GET").await.status, 200);
    }
}

#[tokio::test]
async fn a_connection_that_died_in_the_pool_is_replaced() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    for protocol in Protocol::BOTH {
        for _ in 0..10 {
            let ask = Ask::post("/v1/chat/completions", "{\"a\": 1}");
            let (reply, ()) = tokio::join!(ask.over(protocol, gateway.address), async {
                let mut peer = upstream.next().await;
                assert_eq!(peer.request().await.body, b"{\"a\": 1}");
                peer.send(OK).await;
                // Close, and wait until the gateway has closed its side too: only then is it a connection that was found dead.
                peer.finish().await;
                peer.left().await;
            });
            assert_eq!(reply.status, 200, "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_whose_reply_was_not_read_to_its_end_is_not_used_again() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let mut client = Wire::connect(gateway.address).await;
    client.send(GET).await;
    let mut peer = upstream.next().await;
    peer.request().await;
    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        .await;
    client.reply_head("GET").await;
    drop(client);
    peer.left().await;
    let (reply, ()) = tokio::join!(
        async { Ask::new("GET", "/v1/models").to(gateway.address).await },
        async {
            let mut peer = upstream.next().await;
            peer.request().await;
            peer.send(OK).await;
        }
    );
    assert_eq!(reply.body, b"ok");
}
