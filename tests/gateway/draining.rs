//! Watches over a graceful stop: the promises of INTERFACE section 6 between SIGTERM and exit.

use rustix::process::Signal;

use crate::harness::{Call, ClientRequest, End, Protocol, Setup, Upstream, until, value};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn draining(upstream: &Upstream, delay: &str, deadline: &str) -> Setup {
    Setup::before(&upstream.url("/v1"))
        .set("server.drain_delay", delay)
        .set("server.drain_deadline", deadline)
}

async fn open_stream(
    upstream: &mut Upstream,
    address: std::net::SocketAddr,
    protocol: Protocol,
) -> (Call, crate::harness::Wire) {
    let mut call = Call::begin(
        protocol,
        address,
        &ClientRequest::post("/v1/chat/completions", "{}"),
    )
    .await;
    let mut peer = upstream.next_request().await;
    peer.send(HEAD).await;
    assert_eq!(call.head().await.0, 200);
    (call, peer)
}

#[tokio::test]
async fn an_idle_gateway_stops_with_0() {
    let upstream = Upstream::always(OK).await;
    let mut gateway = draining(&upstream, "0s", "300s").start().await;
    assert_eq!(
        gateway
            .ask(&ClientRequest::new("GET", "/v1/models"))
            .await
            .status,
        200
    );
    let mut idle = crate::harness::Wire::connect(gateway.address).await;
    idle.send("GET /v1/models HTTP/1.1\r\nHost: g\r\n\r\n")
        .await;
    assert_eq!(idle.reply("GET").await.status, 200);
    assert_eq!(
        gateway.stop().await.code(),
        Some(0),
        "an idle connection does not hold it up"
    );
}

#[tokio::test]
async fn a_draining_gateway_fails_readiness_and_still_serves_requests() {
    let upstream = Upstream::always(OK).await;
    let mut gateway = draining(&upstream, "60s", "300s").start().await;
    let mut kept = crate::harness::Wire::connect(gateway.address).await;
    kept.send("GET /v1/models HTTP/1.1\r\nHost: g\r\n\r\n")
        .await;
    let before = kept.reply("GET").await;
    assert_ne!(value(&before.headers, "connection"), Some("close"));
    gateway.signal(Signal::TERM);
    for address in [gateway.address, gateway.admin] {
        let ready = until("readiness to fail", async || {
            let status = ClientRequest::new("GET", "/readyz")
                .to(address)
                .await
                .status;
            (status != 200).then_some(status)
        });
        assert_eq!(ready.await, 503);
        assert_eq!(
            ClientRequest::new("GET", "/healthz")
                .to(address)
                .await
                .status,
            200,
            "it is alive while it drains"
        );
    }
    kept.send("GET /v1/models HTTP/1.1\r\nHost: g\r\n\r\n")
        .await;
    for reply in [
        kept.reply("GET").await,
        gateway.ask(&ClientRequest::new("GET", "/v1/models")).await,
    ] {
        assert_eq!(
            (reply.status, reply.body.as_slice()),
            (200, b"ok".as_slice())
        );
        assert_eq!(value(&reply.headers, "connection"), Some("close"));
    }
    kept.left().await;
    let two = ClientRequest::new("GET", "/v1/models")
        .over(Protocol::Two, gateway.address)
        .await;
    assert_eq!(
        (two.status, value(&two.headers, "connection")),
        (200, None),
        "HTTP/2 knows no such header"
    );
    gateway.signal(Signal::TERM);
    assert_eq!(
        gateway.ended().await.code(),
        Some(0),
        "a second signal skips the waiting"
    );
}

#[tokio::test]
async fn an_open_stream_runs_to_its_end_and_then_the_gateway_stops() {
    for protocol in Protocol::BOTH {
        let mut upstream = Upstream::listen().await;
        let mut gateway = draining(&upstream, "0s", "300s").start().await;
        let (mut call, mut peer) = open_stream(&mut upstream, gateway.address, protocol).await;
        gateway.signal(Signal::TERM);
        until("the listener to close", async || {
            tokio::net::TcpStream::connect(gateway.address).await.err()
        })
        .await;
        for piece in [b"data: 1\n\n", b"data: 2\n\n"] {
            peer.send_chunk(piece).await;
            call.expect(piece).await;
        }
        peer.send("0\r\n\r\n").await;
        assert_eq!(call.rest().await.2, End::Clean, "{protocol:?}");
        assert_eq!(gateway.ended().await.code(), Some(0));
    }
}

#[tokio::test]
async fn a_stream_that_outlives_the_deadline_is_cut_and_not_ended() {
    for protocol in Protocol::BOTH {
        let mut upstream = Upstream::listen().await;
        let mut gateway = draining(&upstream, "0s", "500ms").start().await;
        let (mut call, mut peer) = open_stream(&mut upstream, gateway.address, protocol).await;
        gateway.signal(Signal::TERM);
        peer.send_chunk(b"data: 1\n\n").await;
        call.expect(b"data: 1\n\n").await;
        let (rest, _, end) = call.rest().await;
        assert_eq!(
            (rest.len(), end == End::Clean),
            (0, false),
            "{protocol:?}: {end:?}"
        );
        peer.left().await;
        assert_eq!(gateway.ended().await.code(), Some(0));
    }
}

#[tokio::test]
async fn a_request_without_its_first_byte_is_cut_at_the_deadline_too() {
    for protocol in Protocol::BOTH {
        let mut upstream = Upstream::listen().await;
        let mut gateway = draining(&upstream, "0s", "300ms").start().await;
        let _call = gateway.call(protocol).await;
        let mut peer = upstream.next_request().await;
        gateway.signal(Signal::TERM);
        peer.left().await;
        assert_eq!(gateway.ended().await.code(), Some(0));
    }
}

#[tokio::test]
async fn a_second_signal_cuts_open_streams_and_does_not_end_them() {
    for protocol in Protocol::BOTH {
        let mut upstream = Upstream::listen().await;
        let mut gateway = draining(&upstream, "300s", "300s").start().await;
        let (mut call, _peer) = open_stream(&mut upstream, gateway.address, protocol).await;
        gateway.signal(Signal::TERM);
        until("readiness to fail", async || {
            (gateway
                .ask(&ClientRequest::new("GET", "/readyz"))
                .await
                .status
                == 503)
                .then_some(())
        })
        .await;
        gateway.signal(Signal::TERM);
        assert_ne!(call.rest().await.2, End::Clean, "{protocol:?}");
        assert_eq!(gateway.ended().await.code(), Some(0));
    }
}

#[tokio::test]
async fn an_interrupt_stops_the_gateway_like_sigterm() {
    let upstream = Upstream::always(OK).await;
    let mut gateway = draining(&upstream, "0s", "300s").start().await;
    gateway.signal(Signal::INT);
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_a_respan_that_does_not_answer() {
    let upstream = Upstream::always(OK).await;
    let mut respan = Upstream::listen().await;
    let mut gateway = draining(&upstream, "0s", "300s")
        .set("respan.base_url", &respan.url("/api/v2/traces"))
        .set("respan.api_key", "key")
        .start()
        .await;
    gateway.ask(&ClientRequest::new("GET", "/v1/models")).await;
    let mut post = respan.next().await;
    post.request().await;
    gateway.signal(Signal::TERM);
    until("the listener to close", async || {
        tokio::net::TcpStream::connect(gateway.address).await.err()
    })
    .await;
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended().await.code(), Some(0));
}
