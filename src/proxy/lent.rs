//! A request's body that comes back from whoever was to send it and did not: what the client sends is then read on, for the span alone.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;

use super::watch::Coming;

/// How long the rest of a request is waited for that no upstream takes.
const READ_ON: Duration = Duration::from_secs(1);

/// A body that is lent: dropped before its end, it comes back. In boxes, for it moves with the request's head, and each connection has room
/// for 32 of both.
pub struct Lent<B: Body> {
    body: Option<Box<B>>,
    back: Option<oneshot::Sender<Box<B>>>,
}

/// Where a lent body comes back to.
pub(super) struct Back<B>(oneshot::Receiver<Box<B>>);

/// Lends a body.
pub(super) fn lend<B: Body>(body: B) -> (Lent<B>, Back<B>) {
    let (back, receiver) = oneshot::channel();
    let lent = Lent {
        body: Some(Box::new(body)),
        back: Some(back),
    };
    (lent, Back(receiver))
}

impl<B: Body + Unpin> Back<B> {
    /// Reads what the client still sends of a request that failed, and lets `coming` tell of the failure then. Once the span has as much as it
    /// keeps, or the time is over, the client's connection is left to its end.
    pub(super) async fn read_on(self, coming: Coming) {
        let reading = async {
            let Ok(mut body) = self.0.await else { return };
            while coming.wants_request() && matches!(body.frame().await, Some(Ok(_))) {}
        };
        // What came by then is told.
        drop(tokio::time::timeout(READ_ON, reading).await);
    }
}

impl<B: Body> Drop for Lent<B> {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take())
            && !body.is_end_stream()
        {
            // Nobody waits for that of a request that was answered.
            drop(back.send(body));
        }
    }
}

impl<B: Body + Unpin> Body for Lent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(&mut **body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_deref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_deref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
