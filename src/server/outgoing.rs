//! A response's body on its way to the client: counts as in flight until it is over, and lets what came before a failure leave first.
//!
//! hyper closes an HTTP/1 connection, or resets an HTTP/2 stream, as soon as a body fails, and drops what it had buffered in the same
//! moment. The failure therefore waits a little, and longer (but not for ever) where the client is slow to take what was written.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::socket::InFlight;

/// Enough for a connection's task to write what it holds.
const SETTLE: Duration = Duration::from_millis(10);
/// A client that takes nothing for this many times `SETTLE` gets the failure all the same.
const MOST_SETTLES: u32 = 500;

pin_project! {
    /// A response's body, see the module.
    pub struct Outgoing<B: Body> {
        #[pin]
        body: B,
        in_flight: InFlight,
        told: bool,
        failure: Option<Failure<B::Error>>,
    }
}

struct Failure<E> {
    error: E,
    settled: Pin<Box<Sleep>>,
    settles: u32,
}

impl<B: Body> Outgoing<B> {
    /// `told`: the response's `content-length` is to be sent as it stands, where it stands, also when there is nothing to send.
    pub(super) fn new(body: B, in_flight: InFlight, told: bool) -> Self {
        Outgoing {
            body,
            in_flight,
            told,
            failure: None,
        }
    }
}

impl<B: Body> Body for Outgoing<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        if this.failure.is_none() {
            match ready!(this.body.poll_frame(context)) {
                Some(Err(error)) => {
                    *this.failure = Some(Failure {
                        error,
                        settled: Box::pin(tokio::time::sleep(SETTLE)),
                        settles: 0,
                    });
                }
                other => return Poll::Ready(other),
            }
        }
        let Some(mut failure) = this.failure.take() else {
            return Poll::Ready(None);
        };
        while failure.settled.as_mut().poll(context).is_ready() {
            failure.settles += 1;
            if failure.settles >= MOST_SETTLES || !this.in_flight.is_write_blocked() {
                return Poll::Ready(Some(Err(failure.error)));
            }
            failure.settled = Box::pin(tokio::time::sleep(SETTLE));
        }
        *this.failure = Some(failure);
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        !self.told && self.failure.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.told && self.body.is_end_stream() {
            SizeHint::default()
        } else {
            self.body.size_hint()
        }
    }
}
