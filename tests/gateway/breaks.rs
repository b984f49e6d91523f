//! Watches over honesty: an unfinished reply never looks finished, and all bytes before the break arrive. Each test runs many times,
//! since faults here are rare.

use crate::harness::{Call, ClientRequest, End, Gateway, Protocol, Reply, Upstream, Wire};

const TIMES: usize = 60;

/// The way in which an upstream breaks off.
#[derive(Clone, Copy, Debug)]
enum Break {
    Closes,
    Resets,
}

async fn break_off(mut peer: Wire, kind: Break) {
    match kind {
        Break::Closes => peer.finish().await,
        Break::Resets => peer.reset(),
    }
}

#[track_caller]
fn expect_broken(protocol: Protocol, end: End) {
    match protocol {
        Protocol::One => assert!(matches!(end, End::Closed | End::Reset), "{end:?}"),
        Protocol::Two => assert!(
            matches!(end, End::StreamReset(code) if code != 0),
            "{end:?}"
        ),
    }
}

/// Sends `sent` and closes at once: the bytes and the end race through the gateway.
async fn broken_off(
    upstream: &mut Upstream,
    gateway: &Gateway,
    protocol: Protocol,
    sent: &str,
) -> Reply {
    let call = gateway.call(protocol).await;
    let mut peer = upstream.next_request().await;
    peer.send(sent).await;
    peer.finish().await;
    call.reply().await
}

#[tokio::test]
async fn a_chunked_reply_without_its_last_chunk_is_broken_and_whole_up_to_there() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    for sent in [
        "9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n",
        "9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n",
        "12\r\ndata: 1\n\ndata: 2\n\n",
    ] {
        for protocol in Protocol::BOTH {
            for _ in 0..TIMES / 3 {
                let reply =
                    broken_off(&mut upstream, &gateway, protocol, &format!("{head}{sent}")).await;
                assert_eq!(
                    (reply.status, String::from_utf8_lossy(&reply.body).as_ref()),
                    (200, "data: 1\n\ndata: 2\n\n"),
                    "{protocol:?} {sent:?}"
                );
                expect_broken(protocol, reply.end);
            }
        }
    }
}

#[tokio::test]
async fn a_reply_short_of_its_length_is_broken_and_whole_up_to_there() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    for protocol in Protocol::BOTH {
        for _ in 0..TIMES {
            let reply = broken_off(
                &mut upstream,
                &gateway,
                protocol,
                "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nonly 7 ",
            )
            .await;
            assert_eq!(
                (reply.status, reply.body.as_slice()),
                (200, b"only 7 ".as_slice())
            );
            expect_broken(protocol, reply.end);
        }
    }
}

#[tokio::test]
async fn a_head_alone_reaches_the_client_before_its_break() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    for head in [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n",
    ] {
        for protocol in Protocol::BOTH {
            for _ in 0..TIMES / 2 {
                let reply = broken_off(&mut upstream, &gateway, protocol, head).await;
                assert_eq!((reply.status, reply.body.len()), (200, 0));
                expect_broken(protocol, reply.end);
            }
        }
    }
}

#[tokio::test]
async fn a_large_reply_that_breaks_is_whole_up_to_there() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let body = "0123456789abcdef".repeat(20_000);
    for protocol in Protocol::BOTH {
        for _ in 0..10 {
            let ask = ClientRequest::post("/v1/audio/speech", "{}");
            let call = Call::begin(protocol, gateway.address, &ask).await;
            let mut peer = upstream.next_request().await;
            let sent = format!("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n{body}");
            let (reply, ()) = tokio::join!(call.reply(), async {
                peer.send(sent).await;
                peer.finish().await;
            });
            assert_eq!(reply.body.len(), body.len(), "{protocol:?}");
            assert!(reply.body == body.as_bytes());
            expect_broken(protocol, reply.end);
        }
    }
}

#[tokio::test]
async fn a_reset_in_the_middle_is_passed_on_as_a_break() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    for head in [
        "transfer-encoding: chunked\r\n\r\n6\r\nfirst \r\n",
        "content-length: 10\r\n\r\nfirst ",
        "\r\nfirst ",
    ] {
        for protocol in Protocol::BOTH {
            for _ in 0..TIMES / 3 {
                let mut call = gateway.call(protocol).await;
                let mut peer = upstream.next_request().await;
                peer.send(format!("HTTP/1.1 200 OK\r\n{head}")).await;
                call.head().await;
                call.expect(b"first ").await;
                peer.reset();
                let (rest, _, end) = call.rest().await;
                assert_eq!(rest.len(), 0);
                expect_broken(protocol, end);
            }
        }
    }
}

#[tokio::test]
async fn nonsense_between_chunks_is_a_break() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    for protocol in Protocol::BOTH {
        let mut call = gateway.call(protocol).await;
        let mut peer = upstream.next_request().await;
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nfirst \r\n")
            .await;
        call.head().await;
        call.expect(b"first ").await;
        peer.send("no size\r\n").await;
        let (rest, _, end) = call.rest().await;
        assert_eq!(rest.len(), 0);
        expect_broken(protocol, end);
    }
}

#[tokio::test]
async fn an_upstream_that_breaks_before_its_head_is_502_and_is_asked_once() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let mut asked = 0;
    for protocol in Protocol::BOTH {
        for kind in [Break::Closes, Break::Resets] {
            for sent in [
                "",
                "HTTP/1.1 200 OK\r\ncontent-le",
                "nonsense\r\n\r\n",
                "HTTP/1.1 103 Early Hints\r\n\r\n",
            ] {
                let call = gateway.call(protocol).await;
                let mut peer = upstream.next_request().await;
                peer.send(sent).await;
                break_off(peer, kind).await;
                call.reply().await.expect_own_error(502);
                asked += 1;
                assert_eq!(
                    upstream.requests(),
                    asked,
                    "{protocol:?} {kind:?} {sent:?}: no request is made twice"
                );
            }
        }
    }
}

#[tokio::test]
async fn an_upstream_that_breaks_in_the_middle_of_a_request_is_502() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    for protocol in Protocol::BOTH {
        let ask = ClientRequest::new("POST", "/v1/files").payload(crate::harness::Payload::Open);
        let mut call = Call::begin(protocol, gateway.address, &ask).await;
        call.send(b"some of it").await;
        let mut peer = upstream.next().await;
        peer.request_head().await;
        peer.reset();
        call.reply().await.expect_own_error(502);
        assert_eq!(
            upstream.requests(),
            if protocol == Protocol::One { 1 } else { 2 }
        );
    }
}

#[tokio::test]
async fn one_broken_reply_leaves_the_others_on_its_connection_alone() {
    let mut upstream = Upstream::listen().await;
    let gateway = Gateway::before(&upstream).await;
    let stream = tokio::net::TcpStream::connect(gateway.address)
        .await
        .expect("it listens");
    let (mut client, connection) = h2::client::handshake(stream)
        .await
        .expect("it speaks HTTP/2");
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(connection);
    let mut ask = async |path: &str| {
        let request = http::Request::get(format!("http://{}{path}", gateway.address))
            .body(())
            .expect("a request");
        let (answer, _) = client.send_request(request, true).expect("a stream");
        let mut peer = upstream.next_request().await;
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
            .await;
        let body = answer.await.expect("a reply").into_body();
        (peer, body)
    };
    let (broken, mut broken_body) = ask("/v1/broken").await;
    let (mut whole, mut whole_body) = ask("/v1/whole").await;
    assert_eq!(
        broken_body.data().await.expect("a piece").expect("whole"),
        "half"
    );
    assert_eq!(
        whole_body.data().await.expect("a piece").expect("whole"),
        "half"
    );
    broken.reset();
    let error = broken_body
        .data()
        .await
        .expect("not its end")
        .expect_err("a break");
    assert!(error.is_reset(), "{error}");
    whole.send("5\r\nother\r\n0\r\n\r\n").await;
    assert_eq!(
        whole_body.data().await.expect("a piece").expect("whole"),
        "other"
    );
    while let Some(data) = whole_body.data().await {
        assert_eq!(data.expect("no break"), "");
    }
}
