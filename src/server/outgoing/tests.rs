//! A failure lets what came before it leave first.

use std::sync::Arc;

use futures_util::{FutureExt, stream};
use http_body_util::{BodyExt, Empty, StreamBody};

use super::super::socket::Connection;
use super::*;

fn broken_off() -> impl Body<Data = Bytes, Error = &'static str> + Unpin {
    StreamBody::new(stream::iter([
        Ok(Frame::data(Bytes::from_static(b"half"))),
        Err("broken"),
    ]))
}

fn outgoing<B: Body>(body: B, framing: Framing) -> Outgoing<B> {
    Outgoing::new(body, Arc::new(Connection::default()).dispatch(), framing)
}

async fn data(body: &mut (impl Body<Data = Bytes, Error = &'static str> + Unpin)) -> Bytes {
    body.frame().await.unwrap().unwrap().into_data().unwrap()
}

#[tokio::test]
async fn over_http2_a_failure_waits_for_the_frames_before_it() {
    let mut body = outgoing(broken_off(), Framing::Http2);
    assert_eq!(data(&mut body).await, "half");
    let behind = data(&mut body).await;
    assert!(behind.is_empty(), "no byte is added");
    assert!(body.frame().now_or_never().is_none(), "it has not left yet");
    assert!(!body.is_end_stream(), "a failure is no end");
    drop(behind);
    assert_eq!(body.frame().await.unwrap().unwrap_err(), "broken");
}

#[tokio::test]
async fn over_http1_a_failure_waits_a_moment_for_what_is_buffered() {
    for framing in [Framing::Http1, Framing::Http1Told] {
        let mut body = outgoing(broken_off(), framing);
        assert_eq!(data(&mut body).await, "half");
        assert!(body.frame().now_or_never().is_none(), "hyper writes now");
        assert!(!body.is_end_stream(), "a failure is no end");
        assert_eq!(body.frame().await.unwrap().unwrap_err(), "broken");
    }
}

#[tokio::test]
async fn only_a_told_length_hides_that_there_is_nothing_to_send() {
    for (framing, hides) in [
        (Framing::Http1Told, true),
        (Framing::Http1, false),
        (Framing::Http2, false),
    ] {
        let mut body = outgoing(Empty::<Bytes>::new(), framing);
        assert_eq!(body.is_end_stream(), !hides, "{framing:?}");
        assert_eq!(
            body.size_hint().exact(),
            (!hides).then_some(0),
            "{framing:?}"
        );
        assert!(body.frame().await.is_none(), "{framing:?}");
    }
}
