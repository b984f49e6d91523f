//! A body that forwards its frames as they come, and notifies an observer of each and, exactly once, of its end.
//!
//! The observer cannot change, delay or hold a frame. [`BodyObserver::end`] consumes the observer, so it runs at most once; dropping the body
//! calls it too, so it always runs. A body dropped before its end is `Abandoned`, never `Complete`. hyper drops a finished body of known
//! length without polling for its end, so the tap asks [`Body::is_end_stream`] after every frame.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

/// Observes a body whose source fails with `E`.
pub(crate) trait BodyObserver<E> {
    /// Called before `data` is passed on. Copy it to keep it: a held `Bytes` pins the read buffer behind it.
    fn data(&mut self, data: &Bytes);

    /// Called once, at the end of the body.
    fn end(self, end: BodyEnd<'_, E>);
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyEnd<'a, E> {
    /// Its last frame was passed on.
    Complete,
    /// Its source failed with this error.
    Failed(&'a E),
    /// It was dropped before its end.
    Abandoned,
}

pin_project! {
    /// A body with its observer.
    pub(crate) struct Tap<B: Body, O: BodyObserver<B::Error>> {
        #[pin]
        body: B,
        observer: ObserverSlot<O, B::Error>,
    }
}

/// The observer until the end of the body. A type of its own, because `Tap` is projected and cannot implement `Drop`.
struct ObserverSlot<O: BodyObserver<E>, E>(Option<O>, PhantomData<fn(&E)>);

impl<O: BodyObserver<E>, E> ObserverSlot<O, E> {
    fn end(&mut self, end: BodyEnd<'_, E>) {
        if let Some(observer) = self.0.take() {
            observer.end(end);
        }
    }
}

impl<O: BodyObserver<E>, E> Drop for ObserverSlot<O, E> {
    fn drop(&mut self) {
        self.end(BodyEnd::Abandoned);
    }
}

impl<B: Body, O: BodyObserver<B::Error>> Tap<B, O> {
    /// An empty body ends here already.
    pub(crate) fn new(body: B, observer: O) -> Self {
        let mut observer = ObserverSlot(Some(observer), PhantomData);
        if body.is_end_stream() {
            observer.end(BodyEnd::Complete);
        }
        Tap { body, observer }
    }
}

impl<B, O> Body for Tap<B, O>
where
    B: Body<Data = Bytes>,
    O: BodyObserver<B::Error>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let polled = ready!(this.body.as_mut().poll_frame(context));
        match &polled {
            Some(Ok(frame)) => {
                if let (Some(data), Some(observer)) = (frame.data_ref(), this.observer.0.as_mut()) {
                    observer.data(data);
                }
                if this.body.is_end_stream() {
                    this.observer.end(BodyEnd::Complete);
                }
            }
            Some(Err(error)) => this.observer.end(BodyEnd::Failed(error)),
            None => this.observer.end(BodyEnd::Complete),
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::stream;
    use http_body_util::{BodyExt, Full, StreamBody};

    use super::*;

    #[derive(Clone, Default)]
    struct RecordingObserver(Arc<Mutex<(Vec<u8>, Vec<String>)>>);

    impl<E: std::fmt::Debug> BodyObserver<E> for RecordingObserver {
        fn data(&mut self, data: &Bytes) {
            self.0.lock().unwrap().0.extend_from_slice(data);
        }
        fn end(self, end: BodyEnd<'_, E>) {
            self.0.lock().unwrap().1.push(format!("{end:?}"));
        }
    }

    impl RecordingObserver {
        fn recorded(&self) -> (Vec<u8>, Vec<String>) {
            self.0.lock().unwrap().clone()
        }
    }

    fn frames(
        frames: Vec<Result<&'static str, &'static str>>,
    ) -> impl Body<Data = Bytes, Error = &'static str> + Unpin {
        StreamBody::new(stream::iter(frames.into_iter().map(|f| {
            f.map(|data| Frame::data(Bytes::from_static(data.as_bytes())))
        })))
    }

    #[tokio::test]
    async fn a_body_read_to_its_end_is_complete() {
        let recorder = RecordingObserver::default();
        let mut tap = Tap::new(frames(vec![Ok("one "), Ok("two")]), recorder.clone());
        while tap.frame().await.is_some() {}
        drop(tap);
        assert_eq!(
            recorder.recorded(),
            (b"one two".to_vec(), vec!["Complete".to_owned()])
        );
    }

    #[tokio::test]
    async fn a_body_of_known_length_is_complete_after_its_last_byte_without_another_poll() {
        let recorder = RecordingObserver::default();
        let mut tap = Tap::new(Full::<Bytes>::from("whole"), recorder.clone());
        assert!(tap.frame().await.is_some());
        assert_eq!(
            recorder.recorded(),
            (b"whole".to_vec(), vec!["Complete".to_owned()])
        );
    }

    #[tokio::test]
    async fn a_body_dropped_before_its_end_was_abandoned() {
        let recorder = RecordingObserver::default();
        let mut tap = Tap::new(frames(vec![Ok("one"), Ok("two")]), recorder.clone());
        assert!(tap.frame().await.is_some());
        drop(tap);
        assert_eq!(
            recorder.recorded(),
            (b"one".to_vec(), vec!["Abandoned".to_owned()])
        );
    }

    #[tokio::test]
    async fn a_body_whose_source_fails_says_why_and_passes_the_error_on() {
        let recorder = RecordingObserver::default();
        let mut tap = Tap::new(frames(vec![Ok("one"), Err("reset")]), recorder.clone());
        assert!(tap.frame().await.is_some_and(|f| f.is_ok()));
        assert!(tap.frame().await.is_some_and(|f| f.is_err()));
        drop(tap);
        assert_eq!(
            recorder.recorded(),
            (b"one".to_vec(), vec![r#"Failed("reset")"#.to_owned()])
        );
    }

    #[test]
    fn an_empty_body_has_ended_when_it_is_made() {
        let recorder = RecordingObserver::default();
        let tap = Tap::new(http_body_util::Empty::<Bytes>::new(), recorder.clone());
        assert_eq!(recorder.recorded().1, ["Complete"]);
        drop(tap);
        assert_eq!(recorder.recorded().1, ["Complete"]);
    }
}
