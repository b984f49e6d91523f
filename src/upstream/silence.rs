//! The only limit on an upstream's time: how long nothing may move.
//!
//! Before the head, the request's own bytes count as movement, so a long upload is not a silence. After it, the response's do.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

/// When something last moved. Clones share it.
#[derive(Clone, Debug)]
pub struct Pulse {
    born: Instant,
    last: Arc<AtomicU64>,
}

impl Default for Pulse {
    fn default() -> Self {
        Pulse {
            born: Instant::now(),
            last: Arc::default(),
        }
    }
}

impl Pulse {
    /// Something moved just now.
    pub fn beat(&self) {
        self.last.store(
            u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    fn last(&self) -> Instant {
        self.born + Duration::from_nanos(self.last.load(Ordering::Relaxed))
    }

    /// What `call` gives, or nothing once nothing has moved for `limit`.
    pub(super) fn unless_silent<F: Future>(&self, limit: Duration, call: F) -> UnlessSilent<'_, F> {
        UnlessSilent {
            call,
            alarm: tokio::time::sleep_until(self.last() + limit),
            pulse: self,
            limit,
        }
    }
}

pin_project! {
    /// See [`Pulse::unless_silent`]. No `async fn`: that would hold the call twice, as its argument and where it is pinned.
    pub(super) struct UnlessSilent<'p, F> {
        #[pin]
        call: F,
        #[pin]
        alarm: Sleep,
        pulse: &'p Pulse,
        limit: Duration,
    }
}

impl<F: Future> Future for UnlessSilent<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let mut this = self.project();
        if let Poll::Ready(output) = this.call.poll(context) {
            return Poll::Ready(Some(output));
        }
        while this.alarm.as_mut().poll(context).is_ready() {
            let deadline = this.pulse.last() + *this.limit;
            if this.alarm.deadline() >= deadline {
                return Poll::Ready(None);
            }
            this.alarm.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

pin_project! {
    /// A body that fails when its source is silent for too long, or stops without having said that it ended. It holds `keep` until it is
    /// dropped.
    pub struct Vigil<B, K> {
        #[pin]
        body: B,
        limit: Duration,
        says_its_end: bool,
        last: Instant,
        // FinishedSpan when the body first has nothing to give, moved on only when it fires: most frames cost no timer.
        alarm: Option<Pin<Box<Sleep>>>,
        keep: K,
    }
}

/// Why a response ended before its end.
#[derive(Debug)]
pub enum Broken {
    /// The upstream broke off.
    Upstream(hyper::Error),
    /// The upstream took its stream back, without an error and without an end.
    Withdrawn,
    /// The upstream was silent for this long.
    Silent(Duration),
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Upstream(error) => match std::error::Error::source(error) {
                Some(cause) => write!(formatter, "{error}: {cause}"),
                None => error.fmt(formatter),
            },
            Broken::Withdrawn => {
                formatter.write_str("the upstream reset its stream before the end")
            }
            Broken::Silent(limit) => write!(formatter, "the upstream was silent for {limit:?}"),
        }
    }
}

impl std::error::Error for Broken {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Broken::Upstream(error) => Some(error),
            Broken::Withdrawn | Broken::Silent(_) => None,
        }
    }
}

impl<B, K> Vigil<B, K> {
    /// `says_its_end` for a body whose `is_end_stream` is true at its end, whenever that is a clean one.
    pub(super) fn new(body: B, limit: Duration, says_its_end: bool, keep: K) -> Self {
        Vigil {
            body,
            limit,
            says_its_end,
            last: Instant::now(),
            alarm: None,
            keep,
        }
    }
}

impl<B: Body<Data = Bytes, Error = hyper::Error>, K> Body for Vigil<B, K> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut this = self.project();
        if let Poll::Ready(frame) = this.body.as_mut().poll_frame(context) {
            *this.last = Instant::now();
            if frame.is_none() && *this.says_its_end && !this.body.is_end_stream() {
                return Poll::Ready(Some(Err(Broken::Withdrawn)));
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Broken::Upstream)));
        }
        let deadline = *this.last + *this.limit;
        let alarm = this
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        while alarm.as_mut().poll(context).is_ready() {
            if alarm.deadline() >= deadline {
                return Poll::Ready(Some(Err(Broken::Silent(*this.limit))));
            }
            alarm.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
