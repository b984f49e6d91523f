//! A response's body whose error waits until the bytes before it have left. It also counts its request as in flight until it is dropped.
//!
//! hyper closes an HTTP/1 connection, or resets an HTTP/2 stream, as soon as a body fails, and drops the bytes that it has buffered then.
//! The wait has a limit, because a client may never take them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::socket::InFlightGuard;

/// How often the body asks whether an HTTP/1 client has taken the bytes.
const RECHECK_INTERVAL: Duration = Duration::from_millis(10);
/// After this long the error goes out although the client has not taken the bytes.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

pin_project! {
    /// A response's body that defers its error.
    pub(crate) struct DeferredErrorBody<B: Body> {
        #[pin]
        body: B,
        in_flight: InFlightGuard,
        framing: Framing,
        pending: Option<PendingError<B::Error>>,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Http2,
    Http1,
    /// By a declared `content-length`, which stays as and where it stands, also on an empty body: hyper would move it to the end, and leave
    /// it out of a 304.
    Http1WithLength,
}

/// An error that waits for the bytes before it.
struct PendingError<E> {
    error: E,
    flushed: FlushSignal,
    limit: Pin<Box<Sleep>>,
}

impl<E> PendingError<E> {
    fn new(error: E, flushed: FlushSignal) -> Self {
        PendingError {
            error,
            flushed,
            limit: Box::pin(tokio::time::sleep(FLUSH_LIMIT)),
        }
    }
}

enum FlushSignal {
    /// hyper writes its buffer when the body is pending; then the socket may be full.
    Http1 { recheck: Pin<Box<Sleep>> },
    /// Frames wait for their turn and for the client's window. hyper drops an empty frame behind them once they have left.
    Http2 { marker: oneshot::Receiver<()> },
}

/// The content of an empty frame; the receiver notices its drop.
struct FlushMarker(
    #[expect(dead_code, reason = "the receiver learns that it was dropped")] oneshot::Sender<()>,
);

impl AsRef<[u8]> for FlushMarker {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}

impl<B: Body> DeferredErrorBody<B> {
    pub(super) fn new(body: B, in_flight: InFlightGuard, framing: Framing) -> Self {
        DeferredErrorBody {
            body,
            in_flight,
            framing,
            pending: None,
        }
    }

    /// Whether hyper must not learn that the body is empty, see [`Framing::Http1WithLength`].
    fn hides_end(&self) -> bool {
        self.framing == Framing::Http1WithLength && self.body.is_end_stream()
    }
}

impl<B: Body<Data = Bytes>> Body for DeferredErrorBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let mut pending = match this.pending.take() {
            Some(pending) => pending,
            None => match ready!(this.body.poll_frame(context)) {
                Some(Err(error)) if *this.framing == Framing::Http2 => {
                    let (sender, marker) = oneshot::channel();
                    *this.pending = Some(PendingError::new(error, FlushSignal::Http2 { marker }));
                    return Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(FlushMarker(
                        sender,
                    ))))));
                }
                Some(Err(error)) => {
                    let recheck = Box::pin(tokio::time::sleep(RECHECK_INTERVAL));
                    PendingError::new(error, FlushSignal::Http1 { recheck })
                }
                other => return Poll::Ready(other),
            },
        };
        let has_left = match &mut pending.flushed {
            FlushSignal::Http2 { marker } => Pin::new(marker).poll(context).is_ready(),
            FlushSignal::Http1 { recheck } => loop {
                if recheck.as_mut().poll(context).is_pending() {
                    break false;
                }
                if !this.in_flight.is_write_blocked() {
                    break true;
                }
                *recheck = Box::pin(tokio::time::sleep(RECHECK_INTERVAL));
            },
        };
        if has_left || pending.limit.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(pending.error)));
        }
        *this.pending = Some(pending);
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.pending.is_none() && self.body.is_end_stream() && !self.hides_end()
    }

    fn size_hint(&self) -> SizeHint {
        if self.hides_end() {
            SizeHint::default()
        } else {
            self.body.size_hint()
        }
    }
}

#[cfg(test)]
mod tests;
