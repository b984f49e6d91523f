//! The idle timeout of a call: the only limit on an upstream's time.
//!
//! Before the response's head, the request's bytes count as activity, so a long upload is no silence. After it, the response's bytes do.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use super::error::ResponseBodyError;

/// The time at which a byte last moved. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Activity {
    created: Instant,
    last: Arc<AtomicU64>,
}

impl Default for Activity {
    fn default() -> Self {
        Activity {
            created: Instant::now(),
            last: Arc::default(),
        }
    }
}

impl Activity {
    /// Notes that a byte moved just now.
    pub(crate) fn touch(&self) {
        self.last.store(
            u64::try_from(self.created.elapsed().as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    fn last(&self) -> Instant {
        self.created + Duration::from_nanos(self.last.load(Ordering::Relaxed))
    }

    /// Gives the output of `call`, or none once no byte has moved for `limit`.
    pub(super) fn with_idle_timeout<F: Future>(
        &self,
        limit: Duration,
        call: F,
    ) -> IdleTimeoutCall<'_, F> {
        IdleTimeoutCall {
            call,
            alarm: tokio::time::sleep_until(self.last() + limit),
            activity: self,
            limit,
        }
    }
}

pin_project! {
    /// See [`Activity::with_idle_timeout`]. An `async fn` would hold the call twice, as its argument and where it is pinned.
    pub(super) struct IdleTimeoutCall<'p, F> {
        #[pin]
        call: F,
        #[pin]
        alarm: Sleep,
        activity: &'p Activity,
        limit: Duration,
    }
}

impl<F: Future> Future for IdleTimeoutCall<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let mut this = self.project();
        if let Poll::Ready(output) = this.call.poll(context) {
            return Poll::Ready(Some(output));
        }
        let deadline = this.activity.last() + *this.limit;
        poll_deadline(this.alarm.as_mut(), deadline, context).map(|()| None)
    }
}

/// Ready once `alarm` fires at `deadline` or later. An earlier alarm is moved on when it fires.
fn poll_deadline(
    mut alarm: Pin<&mut Sleep>,
    deadline: Instant,
    context: &mut Context<'_>,
) -> Poll<()> {
    while alarm.as_mut().poll(context).is_ready() {
        if alarm.deadline() >= deadline {
            return Poll::Ready(());
        }
        alarm.as_mut().reset(deadline);
    }
    Poll::Pending
}

pin_project! {
    /// A body that fails when its source is silent for too long, or stops without its end. It holds `lease` until it is dropped.
    pub(crate) struct IdleTimeoutBody<B, L> {
        #[pin]
        body: B,
        limit: Duration,
        ends_explicitly: bool,
        last: Instant,
        // Set when the body is first pending, and moved on only when it fires: most frames cost no timer.
        alarm: Option<Pin<Box<Sleep>>>,
        lease: L,
    }
}

impl<B, L> IdleTimeoutBody<B, L> {
    /// `ends_explicitly`: the body's `is_end_stream` is true at every clean end.
    pub(super) fn new(body: B, limit: Duration, ends_explicitly: bool, lease: L) -> Self {
        IdleTimeoutBody {
            body,
            limit,
            ends_explicitly,
            last: Instant::now(),
            alarm: None,
            lease,
        }
    }
}

impl<B: Body<Data = Bytes, Error = hyper::Error>, L> Body for IdleTimeoutBody<B, L> {
    type Data = Bytes;
    type Error = ResponseBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        let mut this = self.project();
        if let Poll::Ready(frame) = this.body.as_mut().poll_frame(context) {
            *this.last = Instant::now();
            if frame.is_none() && *this.ends_explicitly && !this.body.is_end_stream() {
                return Poll::Ready(Some(Err(ResponseBodyError::Reset)));
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(ResponseBodyError::Upstream)));
        }
        let deadline = *this.last + *this.limit;
        let alarm = this
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        poll_deadline(alarm.as_mut(), deadline, context)
            .map(|()| Some(Err(ResponseBodyError::Silent(*this.limit))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
