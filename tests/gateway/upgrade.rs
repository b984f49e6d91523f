//! Watches over WebSocket: nothing is tunnelled before the upstream has agreed, and then everything is.

use rustix::process::Signal;

use crate::harness::{Gateway, Setup, Upstream, Wire, value};

const ASK: &str = "GET /v1/realtime?model=m HTTP/1.1\r\nHost: g\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: realtime\r\n\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: realtime\r\n\r\n";

async fn tunnel(upstream: &mut Upstream, gateway: &Gateway) -> (Wire, Wire) {
    let mut client = Wire::connect(gateway.address).await;
    client.send(ASK).await;
    let mut peer = upstream.next().await;
    let request = peer.request().await;
    assert_eq!(request.target, "/v1/realtime?model=m");
    assert_eq!(
        value(&request.headers, "sec-websocket-key"),
        Some("dGhlIHNhbXBsZSBub25jZQ==")
    );
    assert_eq!(
        value(&request.headers, "sec-websocket-protocol"),
        Some("realtime")
    );
    assert_eq!(value(&request.headers, "upgrade"), Some("websocket"));
    assert!(
        value(&request.headers, "connection")
            .is_some_and(|value| value.to_lowercase().contains("upgrade")),
        "{request:?}"
    );
    peer.send(AGREED).await;
    let (status, headers, _) = client.reply_head("GET").await;
    assert_eq!(status, 101);
    assert_eq!(
        value(&headers, "sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(value(&headers, "upgrade"), Some("websocket"));
    assert!(crate::harness::request_id(&headers).is_some());
    (client, peer)
}

#[tokio::test]
async fn bytes_pass_both_ways_after_the_upstream_has_agreed() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let (mut client, mut peer) = tunnel(&mut upstream, &gateway).await;
    for round in 0..20_u8 {
        let frame = [0x82, 0x03, round, 0xff, 0x00];
        client.send(frame).await;
        assert_eq!(peer.exactly(5).await, frame);
        peer.send(frame).await;
        assert_eq!(client.exactly(5).await, frame);
    }
}

#[tokio::test]
async fn bytes_sent_together_with_the_agreement_arrive() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let mut client = Wire::connect(gateway.address).await;
    client.send(ASK).await;
    let mut peer = upstream.next().await;
    peer.request().await;
    peer.send(format!("{AGREED}hello")).await;
    assert_eq!(client.reply_head("GET").await.0, 101);
    assert_eq!(client.exactly(5).await, b"hello");
}

#[tokio::test]
async fn a_close_of_either_side_is_seen_by_the_other() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let (client, mut peer) = tunnel(&mut upstream, &gateway).await;
    drop(client);
    peer.left().await;
    let (mut client, peer) = tunnel(&mut upstream, &gateway).await;
    drop(peer);
    client.left().await;
}

#[tokio::test]
async fn a_refused_upgrade_is_a_reply_like_any_other() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let mut client = Wire::connect(gateway.address).await;
    client.send(ASK).await;
    let mut peer = upstream.next().await;
    peer.request().await;
    peer.send("HTTP/1.1 403 Forbidden\r\nx-a: 1\r\ncontent-length: 2\r\n\r\nno")
        .await;
    let reply = client.reply("GET").await;
    assert_eq!(
        (
            reply.status,
            reply.body.as_slice(),
            value(&reply.headers, "x-a")
        ),
        (403, b"no".as_slice(), Some("1"))
    );
}

#[tokio::test]
async fn an_upstream_that_breaks_before_it_agrees_is_502() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let mut client = Wire::connect(gateway.address).await;
    client.send(ASK).await;
    let mut peer = upstream.next().await;
    peer.request().await;
    drop(peer);
    client.reply("GET").await.expect_own_error(502);
}

#[tokio::test]
async fn a_tunnel_is_cut_at_the_drain_deadline() {
    let mut upstream = Upstream::listen().await;
    let mut gateway = Setup::before(&upstream.url("/v1"))
        .set("server.drain_deadline", "300ms")
        .start()
        .await;
    let (mut client, mut peer) = tunnel(&mut upstream, &gateway).await;
    gateway.signal(Signal::TERM);
    client.left().await;
    peer.left().await;
    assert_eq!(gateway.ended().await.code(), Some(0));
}
