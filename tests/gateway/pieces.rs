//! Watches over immediacy: no byte is held back. Each side sends its next piece only when the other has read the one before, so a relay
//! that waits for more waits for ever.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::{
    collection::vec,
    prelude::any,
    test_runner::{Config, TestRunner},
};

use crate::harness::{Call, ClientRequest, End, Gateway, Payload, Piece, Protocol, Upstream, Wire};

const PIECES: usize = 25;

fn piece(number: usize) -> Vec<u8> {
    format!(
        "data: {{\"piece\": {number}, \"and\": \"{}\"}}\n\n",
        "x".repeat(number * 37 % 400)
    )
    .into_bytes()
}

#[tokio::test]
async fn each_piece_of_a_chunked_reply_is_read_before_the_next_is_sent() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    for (protocol, address) in [
        (Protocol::One, upstream.address),
        (Protocol::One, gateway.address),
        (Protocol::Two, gateway.address),
    ] {
        let mut call = Call::begin(
            protocol,
            address,
            &ClientRequest::post("/v1/chat/completions", "{}"),
        )
        .await;
        let mut peer = upstream.next_request().await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await;
        assert_eq!(
            call.head().await.0,
            200,
            "the head does not wait for a body"
        );
        for number in 0..PIECES {
            peer.send_chunk(&piece(number)).await;
            call.expect(&piece(number)).await;
        }
        peer.send("0\r\n\r\n").await;
        assert_eq!(
            call.piece().await,
            Piece::End(End::Clean, Vec::new()),
            "{protocol:?}"
        );
        upstream.keep(peer);
    }
}

#[tokio::test]
async fn each_piece_of_a_reply_with_a_length_is_read_before_the_next_is_sent() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let length: usize = (0..PIECES).map(|number| piece(number).len()).sum();
    for protocol in Protocol::BOTH {
        let mut call = Call::begin(
            protocol,
            gateway.address,
            &ClientRequest::post("/v1/audio/speech", "{}"),
        )
        .await;
        let mut peer = upstream.next_request().await;
        peer.send(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"
        ))
        .await;
        call.head().await;
        for number in 0..PIECES {
            peer.send(piece(number)).await;
            call.expect(&piece(number)).await;
        }
        assert_eq!(
            call.piece().await,
            Piece::End(End::Clean, Vec::new()),
            "{protocol:?}"
        );
        upstream.keep(peer);
    }
}

#[tokio::test]
async fn a_single_byte_of_a_piece_does_not_wait_for_the_others() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    for protocol in Protocol::BOTH {
        let mut call = gateway.call(protocol).await;
        let mut peer = upstream.next_request().await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n8\r\n").await;
        call.head().await;
        for byte in b"data: x\n" {
            peer.send([*byte]).await;
            call.expect(&[*byte]).await;
        }
        peer.send("\r\n0\r\n\r\n").await;
        assert_eq!(
            call.piece().await,
            Piece::End(End::Clean, Vec::new()),
            "{protocol:?}"
        );
        upstream.keep(peer);
    }
}

#[tokio::test]
async fn each_piece_of_a_request_is_seen_before_the_next_is_sent() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    for (protocol, address) in [
        (Protocol::One, upstream.address),
        (Protocol::One, gateway.address),
        (Protocol::Two, gateway.address),
    ] {
        let mut call = Call::begin(
            protocol,
            address,
            &ClientRequest::new("POST", "/v1/files").payload(Payload::Open),
        )
        .await;
        let mut peer = upstream.next().await;
        let (_, mut framing) = peer.request_head().await;
        for number in 0..PIECES {
            call.send(&piece(number)).await;
            let mut got = Vec::new();
            while got.len() < piece(number).len() {
                let Piece::Bytes(bytes) = peer.piece(&mut framing).await else {
                    panic!("{protocol:?}: it ended early")
                };
                got.extend(bytes);
            }
            assert_eq!(got, piece(number));
        }
        call.finish().await;
        assert_eq!(
            peer.piece(&mut framing).await,
            Piece::End(End::Clean, Vec::new())
        );
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await;
        assert_eq!(call.reply().await.status, 200);
        upstream.keep(peer);
    }
}

#[tokio::test]
async fn a_reply_may_come_before_the_request_is_whole() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    for protocol in Protocol::BOTH {
        let mut call = Call::begin(
            protocol,
            gateway.address,
            &ClientRequest::new("POST", "/v1/echo").payload(Payload::Open),
        )
        .await;
        let mut peer = upstream.next().await;
        let (_, mut framing) = peer.request_head().await;
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        call.head().await;
        for number in 0..5 {
            call.send(&piece(number)).await;
            let Piece::Bytes(bytes) = peer.piece(&mut framing).await else {
                panic!("it ended early")
            };
            peer.send_chunk(&bytes).await;
            call.expect(&bytes).await;
        }
        call.finish().await;
        assert_eq!(
            peer.piece(&mut framing).await,
            Piece::End(End::Clean, Vec::new())
        );
        peer.send("0\r\n\r\n").await;
        assert_eq!(
            call.piece().await,
            Piece::End(End::Clean, Vec::new()),
            "{protocol:?}"
        );
        upstream.keep(peer);
    }
}

#[test]
fn any_chunking_up_and_down_arrives_byte_for_byte() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (mut upstream, gateway) = runtime.block_on(async {
        let upstream = Upstream::listen().await;
        let gateway = Gateway::before(&upstream).await;
        (upstream, gateway)
    });
    let upstream = std::cell::RefCell::new(&mut upstream);
    let chunks = || vec(vec(any::<u8>(), 1..3000), 0..12);
    let cases = AtomicUsize::new(0);
    let config = Config {
        cases: 48,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let property = |(up, down, in_chunks): (Vec<Vec<u8>>, Vec<Vec<u8>>, bool)| {
        let protocol = Protocol::BOTH[cases.fetch_add(1, Ordering::Relaxed) % 2];
        let mut upstream = upstream.borrow_mut();
        runtime.block_on(async {
            let mut call = Call::begin(
                protocol,
                gateway.address,
                &ClientRequest::new("POST", "/v1/any").payload(Payload::Open),
            )
            .await;
            for chunk in &up {
                call.send(chunk).await;
            }
            call.finish().await;
            let mut peer = upstream.next().await;
            assert_eq!(peer.request().await.body, up.concat());
            answer(&mut peer, &down, in_chunks).await;
            let reply = call.reply().await;
            assert_eq!((reply.body, reply.end), (down.concat(), End::Clean));
            upstream.keep(peer);
        });
        Ok(())
    };
    TestRunner::new(config)
        .run(&(chunks(), chunks(), any::<bool>()), property)
        .unwrap();
}

async fn answer(peer: &mut Wire, pieces: &[Vec<u8>], in_chunks: bool) {
    if in_chunks {
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        for piece in pieces {
            peer.send_chunk(piece).await;
        }
        peer.send("0\r\n\r\n").await;
    } else {
        peer.send(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
            pieces.concat().len()
        ))
        .await;
        for piece in pieces {
            peer.send(piece).await;
        }
    }
}
