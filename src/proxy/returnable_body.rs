//! A request's body that the proxy gets back when no upstream takes it: the proxy then reads the client's remaining bytes, for the span alone.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;

use super::taps::ResponseTap;

/// The longest wait for the rest of such a request.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// A body that, dropped before its end, goes back through its `BodyReturn`. Boxed, because it moves with the request's head, and each
/// connection has room for 32 of both.
pub(crate) struct ReturnableBody<B: Body> {
    body: Option<Box<B>>,
    sender: Option<oneshot::Sender<Box<B>>>,
}

/// The proxy's end of a [`ReturnableBody`].
pub(super) struct BodyReturn<B>(oneshot::Receiver<Box<B>>);

pub(super) fn returnable<B: Body>(body: B) -> (ReturnableBody<B>, BodyReturn<B>) {
    let (sender, receiver) = oneshot::channel();
    let returnable = ReturnableBody {
        body: Some(Box::new(body)),
        sender: Some(sender),
    };
    (returnable, BodyReturn(receiver))
}

impl<B: Body + Unpin> BodyReturn<B> {
    /// Reads the remaining bytes of a request that failed, and then drops `response_tap`, which reports the failure. Reading stops after
    /// [`DRAIN_LIMIT`], or once the span has as much as it keeps.
    pub(super) async fn drain(self, response_tap: ResponseTap) {
        let reading = async {
            let Ok(mut body) = self.0.await else { return };
            while response_tap.wants_request() && matches!(body.frame().await, Some(Ok(_))) {}
        };
        // After the limit the span has the bytes that came by then.
        drop(tokio::time::timeout(DRAIN_LIMIT, reading).await);
    }
}

impl<B: Body> Drop for ReturnableBody<B> {
    fn drop(&mut self) {
        if let (Some(body), Some(sender)) = (self.body.take(), self.sender.take())
            && !body.is_end_stream()
        {
            // The proxy waits only for the body of a request that failed.
            drop(sender.send(body));
        }
    }
}

impl<B: Body + Unpin> Body for ReturnableBody<B> {
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
