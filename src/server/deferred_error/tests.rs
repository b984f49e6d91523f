//! An error leaves after the bytes before it.

use std::sync::Arc;

use futures_util::{FutureExt, stream};
use http_body_util::{BodyExt, Empty, StreamBody};

use super::super::socket::ConnectionState;
use super::*;

fn failing_body() -> impl Body<Data = Bytes, Error = &'static str> + Unpin {
    StreamBody::new(stream::iter([
        Ok(Frame::data(Bytes::from_static(b"half"))),
        Err("broken"),
    ]))
}

fn deferred<B: Body>(body: B, framing: Framing) -> DeferredErrorBody<B> {
    DeferredErrorBody::new(
        body,
        Arc::new(ConnectionState::default()).dispatch(),
        framing,
    )
}

async fn data(body: &mut (impl Body<Data = Bytes, Error = &'static str> + Unpin)) -> Bytes {
    body.frame().await.unwrap().unwrap().into_data().unwrap()
}

#[tokio::test]
async fn over_http2_an_error_waits_for_the_frames_before_it() {
    let mut body = deferred(failing_body(), Framing::Http2);
    assert_eq!(data(&mut body).await, "half");
    let behind = data(&mut body).await;
    assert!(behind.is_empty(), "no byte is added");
    assert!(body.frame().now_or_never().is_none(), "it has not left yet");
    assert!(!body.is_end_stream(), "an error is no end");
    drop(behind);
    assert_eq!(body.frame().await.unwrap().unwrap_err(), "broken");
}

#[tokio::test]
async fn over_http1_an_error_waits_for_the_buffered_bytes() {
    for framing in [Framing::Http1, Framing::Http1WithLength] {
        let mut body = deferred(failing_body(), framing);
        assert_eq!(data(&mut body).await, "half");
        assert!(body.frame().now_or_never().is_none(), "hyper writes now");
        assert!(!body.is_end_stream(), "an error is no end");
        assert_eq!(body.frame().await.unwrap().unwrap_err(), "broken");
    }
}

#[tokio::test]
async fn only_a_declared_length_hides_that_the_body_is_empty() {
    for (framing, hides) in [
        (Framing::Http1WithLength, true),
        (Framing::Http1, false),
        (Framing::Http2, false),
    ] {
        let mut body = deferred(Empty::<Bytes>::new(), framing);
        assert_eq!(body.is_end_stream(), !hides, "{framing:?}");
        assert_eq!(
            body.size_hint().exact(),
            (!hides).then_some(0),
            "{framing:?}"
        );
        assert!(body.frame().await.is_none(), "{framing:?}");
    }
}
