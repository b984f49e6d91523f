//! Watches over the upstream's bill: a client that leaves ends its call there too, at any moment, on every protocol.

use crate::harness::{Call, ClientRequest, End, Gateway, Payload, Protocol, Upstream, Wire};

const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

#[tokio::test]
async fn a_client_that_leaves_mid_stream_ends_the_upstream_call() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    for protocol in Protocol::BOTH {
        for _ in 0..30 {
            let mut call = gateway.call(protocol).await;
            let mut peer = upstream.next_request().await;
            peer.send(HEAD).await;
            peer.send_chunk(b"data: 1\n\n").await;
            call.head().await;
            call.expect(b"data: 1\n\n").await;
            call.leave().await;
            peer.left().await;
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_first_byte_ends_the_upstream_call() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    for protocol in Protocol::BOTH {
        for _ in 0..30 {
            let mut call = gateway.call(protocol).await;
            let mut peer = upstream.next_request().await;
            call.leave().await;
            peer.left().await;
        }
    }
}

#[tokio::test]
async fn a_client_whose_connection_goes_ends_the_upstream_call() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    for protocol in Protocol::BOTH {
        for after_head in [true, false] {
            let mut call = gateway.call(protocol).await;
            let mut peer = upstream.next_request().await;
            if after_head {
                peer.send(HEAD).await;
                call.head().await;
            }
            call.hang_up().await;
            peer.left().await;
        }
    }
}

#[tokio::test]
async fn a_client_that_resets_its_connection_ends_the_upstream_call() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    for after_head in [true, false] {
        let mut client = Wire::connect(gateway.address).await;
        client
            .send("GET /v1/models HTTP/1.1\r\nHost: g\r\n\r\n")
            .await;
        let mut peer = upstream.next_request().await;
        if after_head {
            peer.send(HEAD).await;
            client.reply_head("GET").await;
        }
        client.reset();
        peer.left().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_after_a_pipelined_byte_ends_the_upstream_call() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    for after_head in [true, false] {
        for pipelined in ["G", "GET /v1/models HTTP/1.1\r\nHost: g\r\n\r\n"] {
            let mut client = Wire::connect(gateway.address).await;
            client
                .send(format!(
                    "GET /v1/models HTTP/1.1\r\nHost: g\r\n\r\n{pipelined}"
                ))
                .await;
            let mut peer = upstream.next_request().await;
            if after_head {
                peer.send(HEAD).await;
                client.reply_head("GET").await;
            }
            drop(client);
            peer.left().await;
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_request_ends_the_upstream_call() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    for protocol in Protocol::BOTH {
        let mut call = Call::begin(
            protocol,
            gateway.address,
            &ClientRequest::new("POST", "/v1/files").payload(Payload::Open),
        )
        .await;
        call.send(b"some of it").await;
        let mut peer = upstream.next().await;
        let (_, mut framing) = peer.request_head().await;
        call.leave().await;
        let (body, _, end) = peer.rest(&mut framing).await;
        assert!(b"some of it".starts_with(&body));
        assert!(
            matches!(end, End::Closed | End::Reset),
            "{protocol:?}: a request that was broken off looks whole: {end:?}"
        );
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_stalled_upstream_frees_its_place() {
    let mut upstream = Upstream::listen().await;
    let gateway = crate::harness::Setup::before(&upstream.url("/v1"))
        .set("limits.max_in_flight", "1")
        .start()
        .await;
    for protocol in Protocol::BOTH {
        let mut call = gateway.call(protocol).await;
        let mut peer = upstream.next_request().await;
        call.leave().await;
        peer.left().await;
        let next = crate::harness::until("a free place", async || {
            let mut call = Call::begin(
                protocol,
                gateway.address,
                &ClientRequest::new("GET", "/v1/models"),
            )
            .await;
            tokio::select! {
                (status, _) = call.head() => { assert_eq!(status, 503); None }
                peer = upstream.next() => Some((call, peer)),
            }
        });
        let (call, mut peer) = next.await;
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await;
        assert_eq!(call.reply().await.status, 200);
        upstream.keep(peer);
    }
}
