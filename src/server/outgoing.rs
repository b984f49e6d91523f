//! A response's body on its way to the client: counts as in flight until it is over, and lets what came before a failure leave first.
//!
//! hyper closes an HTTP/1 connection, or resets an HTTP/2 stream, as soon as a body fails, and drops what it had buffered at that
//! moment. So a failure waits until that has left, though not for ever: a client may never take it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::socket::InFlight;

/// How often an HTTP/1 client that is slow to read is looked at again.
const GLANCE: Duration = Duration::from_millis(10);
/// A client that takes nothing for this long gets the failure all the same.
const PATIENCE: Duration = Duration::from_secs(5);

pin_project! {
    /// A response's body, see the module.
    pub struct Outgoing<B: Body> {
        #[pin]
        body: B,
        in_flight: InFlight,
        framing: Framing,
        failure: Option<Failure<B::Error>>,
    }
}

/// How the client's protocol frames this body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Http2,
    Http1,
    /// By a `content-length` that is to be sent as it stands, where it stands, also when there is nothing to send: hyper would put the
    /// length of an empty body last, and leave it out of a 304.
    Http1Told,
}

/// A failure that waits for what came before it.
struct Failure<E> {
    error: E,
    before: Before,
    limit: Pin<Box<Sleep>>,
}

impl<E> Failure<E> {
    fn new(error: E, before: Before) -> Self {
        Failure {
            error,
            before,
            limit: Box::pin(tokio::time::sleep(PATIENCE)),
        }
    }
}

enum Before {
    /// HTTP/1: hyper writes what it holds when the body has nothing more to give; then the socket may be full.
    Written { glance: Pin<Box<Sleep>> },
    /// HTTP/2: frames wait for their turn and for the client's window. An empty one behind them is dropped when they are gone.
    Released { marker: oneshot::Receiver<()> },
}

/// The content of an empty frame, whose end is noticed.
struct Marker(
    #[expect(dead_code, reason = "the receiver learns that it was dropped")] oneshot::Sender<()>,
);

impl AsRef<[u8]> for Marker {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}

impl<B: Body> Outgoing<B> {
    pub(super) fn new(body: B, in_flight: InFlight, framing: Framing) -> Self {
        Outgoing {
            body,
            in_flight,
            framing,
            failure: None,
        }
    }

    fn claims_more(&self) -> bool {
        self.framing == Framing::Http1Told && self.body.is_end_stream()
    }
}

impl<B: Body<Data = Bytes>> Body for Outgoing<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let mut failure = match this.failure.take() {
            Some(failure) => failure,
            None => match ready!(this.body.poll_frame(context)) {
                Some(Err(error)) if *this.framing == Framing::Http2 => {
                    let (sender, marker) = oneshot::channel();
                    *this.failure = Some(Failure::new(error, Before::Released { marker }));
                    return Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(Marker(sender))))));
                }
                Some(Err(error)) => {
                    let glance = Box::pin(tokio::time::sleep(GLANCE));
                    Failure::new(error, Before::Written { glance })
                }
                other => return Poll::Ready(other),
            },
        };
        let has_left = match &mut failure.before {
            Before::Released { marker } => Pin::new(marker).poll(context).is_ready(),
            Before::Written { glance } => loop {
                if glance.as_mut().poll(context).is_pending() {
                    break false;
                }
                if !this.in_flight.is_write_blocked() {
                    break true;
                }
                *glance = Box::pin(tokio::time::sleep(GLANCE));
            },
        };
        if has_left || failure.limit.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(failure.error)));
        }
        *this.failure = Some(failure);
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.failure.is_none() && self.body.is_end_stream() && !self.claims_more()
    }

    fn size_hint(&self) -> SizeHint {
        if self.claims_more() {
            SizeHint::default()
        } else {
            self.body.size_hint()
        }
    }
}

#[cfg(test)]
mod tests;
