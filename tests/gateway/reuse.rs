//! Watches over kept connections on both sides: a connection that died in the pool costs no request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::harness::{ClientRequest, Gateway, Protocol, Setup, Upstream, Wire};

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
    let mut peer = upstream.next_request().await;
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
            let ask = ClientRequest::post("/v1/chat/completions", "{\"a\": 1}");
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
async fn a_connection_with_an_unread_rest_of_a_reply_is_not_used_again() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let mut client = Wire::connect(gateway.address).await;
    client.send(GET).await;
    let mut peer = upstream.next_request().await;
    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        .await;
    client.reply_head("GET").await;
    drop(client);
    peer.left().await;
    let (reply, ()) = tokio::join!(
        async {
            ClientRequest::new("GET", "/v1/models")
                .to(gateway.address)
                .await
        },
        async {
            let mut peer = upstream.next_request().await;
            peer.send(OK).await;
        }
    );
    assert_eq!(reply.body, b"ok");
}

/// Answers one call on the connection that it comes on, new or kept.
async fn answer(upstream: &mut Upstream, gateway: &Gateway, reply: &str) -> Wire {
    let ask = ClientRequest::new("GET", "/v1/models");
    let (given, peer) = tokio::join!(ask.to(gateway.address), async {
        let mut peer = upstream.next_request().await;
        peer.send(reply).await;
        peer
    });
    assert_eq!(given.status, 200);
    peer
}

#[tokio::test]
async fn a_connection_is_not_used_when_the_upstream_may_be_closing_it() {
    const TIMEOUT: Duration = Duration::from_millis(400);
    const ANNOUNCED: &str =
        "HTTP/1.1 200 OK\r\nkeep-alive: timeout=1, max=100\r\ncontent-length: 2\r\n\r\nok";
    let almost = |timeout: Duration| timeout * 49 / 50;

    // It announces how long it waits.
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let mut first = answer(&mut upstream, &gateway, ANNOUNCED).await;
    tokio::time::sleep(almost(Duration::from_secs(1))).await;
    answer(&mut upstream, &gateway, OK).await;
    first.left().await;

    // It does not, and the first connection that it closes shows it.
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let mut first = answer(&mut upstream, &gateway, OK).await;
    tokio::time::sleep(TIMEOUT).await;
    first.finish().await;
    first.left().await;
    let _second = answer(&mut upstream, &gateway, OK).await;
    tokio::time::sleep(almost(TIMEOUT)).await;
    // On the second, nobody would read it.
    let mut third = answer(&mut upstream, &gateway, OK).await;
    // And one that has not waited for long is used as before.
    for _ in 0..3 {
        let (reply, ()) = tokio::join!(
            async {
                ClientRequest::new("GET", "/v1/models")
                    .to(gateway.address)
                    .await
            },
            async {
                third.request().await;
                third.send(OK).await;
            }
        );
        assert_eq!(reply.status, 200);
    }
}

/// Serves one connection as a server does that closes it when nothing came for this long. What comes just then is lost, as it is when the
/// server has closed its end and does not know yet that a request is on its way.
async fn serve_until_idle(mut stream: TcpStream, timeout: Duration, served: Arc<AtomicUsize>) {
    let mut head = Vec::new();
    let mut since = Instant::now();
    loop {
        let read = tokio::time::timeout(timeout, stream.read_buf(&mut head)).await;
        let is_closing = since.elapsed() > timeout * 19 / 20;
        match read {
            Ok(Ok(count)) if count > 0 && !(is_closing && served.load(Ordering::SeqCst) > 0) => {}
            _ => return,
        }
        if head.ends_with(b"\r\n\r\n") {
            served.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(OK.as_bytes()).await;
            head.clear();
            since = Instant::now();
        }
    }
}

#[tokio::test]
async fn calls_at_the_moments_when_the_upstream_closes_are_hardly_ever_lost() {
    const TIMEOUT: u64 = 120;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let served = Arc::<AtomicUsize>::default();
    let (count, timeout) = (Arc::clone(&served), Duration::from_millis(TIMEOUT));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut serving = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            serving.spawn(serve_until_idle(stream, timeout, Arc::clone(&count)));
        }
    });
    let gateway = Setup::before(&format!("http://{address}/v1")).start().await;
    let mut lost = 0;
    for call in 0..40 {
        // Up to 3 ms before the close, and up to 3 ms after it.
        tokio::time::sleep(Duration::from_millis(TIMEOUT - 3 + call % 7)).await;
        let reply = ClientRequest::new("GET", "/v1/models")
            .to(gateway.address)
            .await;
        match reply.status {
            200 => {}
            502 => lost += 1,
            status => panic!("{status}"),
        }
    }
    // Those are lost from which the gateway learns: one, or two where the machine is so slow that the first seems a longer timeout.
    assert!(lost <= 2, "{lost} of 40");
    // None is sent twice.
    assert_eq!(served.load(Ordering::SeqCst), 40 - lost);
}
