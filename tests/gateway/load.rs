//! Watches over load: a thousand streams at once, and bodies far larger than any buffer.

use std::{net::SocketAddr, time::Duration};

use tokio::task::JoinSet;

use crate::harness::{
    Call, ClientRequest, End, Gateway, Payload, Piece, Protocol, Respan, Setup, Upstream, Wire,
    chat_reply, chat_request, until,
};

const STREAMS: usize = 1000;
const EVENTS: usize = 100;
const EVENT_EVERY: Duration = Duration::from_millis(50);
const LARGE: usize = 200 * 1024 * 1024;
/// The most that the gateway's memory may grow by while a large body passes, in KiB.
const GROWTH: u64 = 32 * 1024;

fn event(stream: usize, number: usize) -> String {
    let delta =
        format!(r#"{{"index":0,"delta":{{"content":"{stream}-{number} "}},"finish_reason":null}}"#);
    format!(
        "data: {{\"id\":\"c{stream}\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\"choices\":[{delta}]}}\n\n"
    )
}

/// One stream of an upstream: which one it is stands in the target.
async fn play(mut peer: Wire) {
    let request = peer.request().await;
    let stream: usize = request
        .target
        .rsplit('=')
        .next()
        .and_then(|digits| digits.parse().ok())
        .expect("a number in the target");
    peer.send(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    )
    .await;
    let mut ticks = tokio::time::interval(EVENT_EVERY);
    for number in 0..EVENTS {
        ticks.tick().await;
        peer.send_chunk(event(stream, number).as_bytes()).await;
    }
    peer.send_chunk(b"data: [DONE]\n\n").await;
    peer.send("0\r\n\r\n").await;
}

async fn listen(address: SocketAddr, protocol: Protocol, stream: usize) {
    let ask = ClientRequest::post(
        &format!("/v1/chat/completions?n={stream}"),
        chat_request("go on", true),
    );
    let reply = Call::begin(protocol, address, &ask).await.reply().await;
    let wanted: String = (0..EVENTS).map(|number| event(stream, number)).collect();
    assert_eq!((reply.status, reply.end), (200, End::Clean));
    assert!(
        reply.body == format!("{wanted}data: [DONE]\n\n").into_bytes(),
        "stream {stream} has other bytes"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_at_once_are_unchanged_and_traced() {
    let mut upstream = Upstream::listen().await;
    let respan = Respan::start().await;
    let gateway = Setup::between(&upstream, &respan).start().await;
    let mut listening = JoinSet::new();
    for stream in 0..STREAMS {
        let protocol = Protocol::BOTH[stream % 2];
        listening.spawn(listen(gateway.address, protocol, stream));
    }
    let mut playing = JoinSet::new();
    while playing.len() < STREAMS {
        tokio::select! {
            peer = upstream.next() => { playing.spawn(play(peer)); }
            Some(ended) = listening.join_next() => { ended.expect("a stream"); }
        }
    }
    while let Some(done) = playing.join_next().await {
        done.expect("the upstream's side");
        if playing.len() % 250 == 0 {
            gateway.metrics().await.expect_balanced();
        }
    }
    while let Some(done) = listening.join_next().await {
        done.expect("a stream");
    }
    let spans = respan.wait_for_spans(STREAMS).await;
    assert_eq!(spans.len(), STREAMS);
    assert!(spans.iter().all(|span| span.outcome() == "complete"));
    gateway.metrics().await.expect_balanced();
}

/// 64 KiB of which every one is different.
fn block(number: usize) -> Vec<u8> {
    let seed = u8::try_from(number % 251).expect("below 251");
    (0..64 * 1024_usize)
        .map(|at| u8::try_from(at % 253).expect("below 253") ^ seed)
        .collect()
}

fn expected(offset: usize, blocks: &[Vec<u8>]) -> &[u8] {
    &blocks[offset / (64 * 1024) % blocks.len()][offset % (64 * 1024)..]
}

/// Compares bytes at an offset of the large body with what they must be.
fn check(mut offset: usize, mut bytes: &[u8], blocks: &[Vec<u8>]) {
    while !bytes.is_empty() {
        let wanted = expected(offset, blocks);
        let count = wanted.len().min(bytes.len());
        assert!(wanted[..count] == bytes[..count], "other bytes at {offset}");
        (offset, bytes) = (offset + count, &bytes[count..]);
    }
}

fn expect_flat(gateway: &Gateway, before: u64) {
    let (_, most) = gateway.memory();
    assert!(
        most.saturating_sub(before) < GROWTH,
        "from {before} KiB to {most} KiB"
    );
}

async fn warmed() -> (Upstream, Gateway) {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let (reply, ()) = tokio::join!(
        async {
            ClientRequest::post("/v1/files", "{}")
                .to(gateway.address)
                .await
        },
        async {
            let mut peer = upstream.next_request().await;
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await;
        }
    );
    assert_eq!(reply.status, 200);
    (upstream, gateway)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_passes_down_with_memory_flat() {
    let (mut upstream, gateway) = warmed().await;
    let (before, _) = gateway.memory();
    let blocks: Vec<_> = (0..8).map(block).collect();
    let mut call = Call::begin(
        Protocol::One,
        gateway.address,
        &ClientRequest::new("GET", "/v1/files/1/content"),
    )
    .await;
    let sending = blocks.clone();
    let mut playing = JoinSet::new();
    let mut peer = upstream.next().await;
    playing.spawn(async move {
        peer.request().await;
        peer.send(format!("HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {LARGE}\r\n\r\n")).await;
        for number in 0..LARGE / (64 * 1024) {
            peer.send(&sending[number % sending.len()]).await;
        }
        peer
    });
    call.head().await;
    let mut offset = 0;
    loop {
        match call.piece().await {
            Piece::Bytes(bytes) => {
                check(offset, &bytes, &blocks);
                offset += bytes.len();
            }
            Piece::End(end, _) => break assert_eq!((offset, end), (LARGE, End::Clean)),
        }
    }
    expect_flat(&gateway, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_passes_up_with_memory_flat() {
    let (mut upstream, gateway) = warmed().await;
    let (before, _) = gateway.memory();
    let blocks: Vec<_> = (0..8).map(block).collect();
    let mut call = Call::begin(
        Protocol::One,
        gateway.address,
        &ClientRequest::new("POST", "/v1/files").payload(Payload::Open),
    )
    .await;
    let sending = blocks.clone();
    let mut playing = JoinSet::new();
    playing.spawn(async move {
        for number in 0..LARGE / (64 * 1024) {
            call.send(&sending[number % sending.len()]).await;
        }
        call.finish().await;
        call.reply().await.status
    });
    let mut peer = upstream.next().await;
    let (_, mut framing) = peer.request_head().await;
    let mut offset = 0;
    loop {
        match peer.piece(&mut framing).await {
            Piece::Bytes(bytes) => {
                check(offset, &bytes, &blocks);
                offset += bytes.len();
            }
            Piece::End(end, _) => break assert_eq!((offset, end), (LARGE, End::Clean)),
        }
    }
    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!(
        playing
            .join_next()
            .await
            .expect("one task")
            .expect("it went well"),
        200
    );
    expect_flat(&gateway, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_reading_stops_the_upstream_and_fills_no_memory() {
    let (mut upstream, gateway) = warmed().await;
    let (before, _) = gateway.memory();
    for protocol in Protocol::BOTH {
        let mut call = Call::begin(
            protocol,
            gateway.address,
            &ClientRequest::new("GET", "/v1/files/1/content"),
        )
        .await;
        let mut peer = upstream.next_request().await;
        peer.send(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n"
        ))
        .await;
        call.head().await;
        let block = block(0);
        // The upstream can write until all buffers between the two are full; then a write does not come back.
        let mut written = 0;
        while written < LARGE
            && tokio::time::timeout(Duration::from_secs(1), peer.send(&block))
                .await
                .is_ok()
        {
            written += block.len();
        }
        assert!(
            written < LARGE / 2,
            "{protocol:?}: {written} bytes went somewhere"
        );
    }
    expect_flat(&gateway, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_gateway_frees_the_memory_of_a_burst() {
    const CALLS: usize = 24;
    const BODY: usize = 4 * 1024 * 1024;
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let (before, _) = gateway.memory();
    let body = chat_request(&"owls ".repeat(BODY / 5), false);
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let (address, ask) = (
            gateway.address,
            ClientRequest::post("/v1/chat/completions", body.clone()),
        );
        calls.spawn(async move { ask.over(Protocol::One, address).await.status });
    }
    // All of them are kept at once, each until it is answered.
    let mut peers = Vec::new();
    for _ in 0..CALLS {
        let peer = upstream.next_request().await;
        peers.push(peer);
    }
    let (most, _) = gateway.memory();
    let burst = most.saturating_sub(before);
    assert!(burst > 64 * 1024, "{burst} KiB are no burst");
    for peer in &mut peers {
        peer.send(chat_reply("Many.")).await;
    }
    while let Some(status) = calls.join_next().await {
        assert_eq!(status.expect("a call"), 200);
    }
    // First the calls have to be read, then their pages are purged bit by bit.
    for rest in [burst * 3 / 4, burst / 3] {
        until("the memory to go back", async || {
            let (now, _) = gateway.memory();
            (now.saturating_sub(before) < rest).then_some(())
        })
        .await;
    }
}
