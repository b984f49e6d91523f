//! A body that forwards its frames as they come and tells an observer what it saw and, exactly once, how it ended.
//!
//! The observer cannot change, delay or hold a frame. It is told of the end by value, so it cannot be told twice; dropping the body
//! tells it too, so it is always told. A body dropped before its end is `Abandoned`, never `Complete`: transport code drops a finished
//! body of known length without polling for its end, so what is finished is asked for after every frame.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

/// What watches a body pass whose source fails with `E`.
pub trait Observer<E> {
    /// These bytes are about to be passed on. Copy what is wanted: holding the `Bytes` pins the read buffer behind them.
    fn data(&mut self, data: &Bytes);

    /// The body is over.
    fn end(self, end: End<'_, E>);
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End<'a, E> {
    /// Its last frame was passed on.
    Complete,
    /// Its source failed, like this.
    Failed(&'a E),
    /// Whoever was reading it went away.
    Abandoned,
}

pin_project! {
    /// A body, watched.
    pub struct Tap<B: Body, O: Observer<B::Error>> {
        #[pin]
        body: B,
        watch: Watch<O, B::Error>,
    }
}

/// The observer until it was told of the end; an object of its own so that dropping a `Tap` can tell it.
struct Watch<O: Observer<E>, E>(Option<O>, PhantomData<fn(&E)>);

impl<O: Observer<E>, E> Watch<O, E> {
    fn end(&mut self, end: End<'_, E>) {
        if let Some(observer) = self.0.take() {
            observer.end(end);
        }
    }
}

impl<O: Observer<E>, E> Drop for Watch<O, E> {
    fn drop(&mut self) {
        self.end(End::Abandoned);
    }
}

impl<B: Body, O: Observer<B::Error>> Tap<B, O> {
    /// Watches `body`. An empty body has ended already.
    pub fn new(body: B, observer: O) -> Self {
        let mut watch = Watch(Some(observer), PhantomData);
        if body.is_end_stream() {
            watch.end(End::Complete);
        }
        Tap { body, watch }
    }
}

impl<B, O> Body for Tap<B, O>
where
    B: Body<Data = Bytes>,
    O: Observer<B::Error>,
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
                if let (Some(data), Some(observer)) = (frame.data_ref(), this.watch.0.as_mut()) {
                    observer.data(data);
                }
                if this.body.is_end_stream() {
                    this.watch.end(End::Complete);
                }
            }
            Some(Err(error)) => this.watch.end(End::Failed(error)),
            None => this.watch.end(End::Complete),
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
    struct Notes(Arc<Mutex<(Vec<u8>, Vec<String>)>>);

    impl<E: std::fmt::Debug> Observer<E> for Notes {
        fn data(&mut self, data: &Bytes) {
            self.0.lock().unwrap().0.extend_from_slice(data);
        }
        fn end(self, end: End<'_, E>) {
            self.0.lock().unwrap().1.push(format!("{end:?}"));
        }
    }

    impl Notes {
        fn seen(&self) -> (Vec<u8>, Vec<String>) {
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
        let notes = Notes::default();
        let mut tap = Tap::new(frames(vec![Ok("one "), Ok("two")]), notes.clone());
        while tap.frame().await.is_some() {}
        drop(tap);
        assert_eq!(
            notes.seen(),
            (b"one two".to_vec(), vec!["Complete".to_owned()])
        );
    }

    #[tokio::test]
    async fn a_body_of_known_length_is_complete_after_its_last_byte_although_nobody_asked_for_more()
    {
        let notes = Notes::default();
        let mut tap = Tap::new(Full::<Bytes>::from("whole"), notes.clone());
        assert!(tap.frame().await.is_some());
        assert_eq!(
            notes.seen(),
            (b"whole".to_vec(), vec!["Complete".to_owned()])
        );
    }

    #[tokio::test]
    async fn a_body_dropped_before_its_end_was_abandoned() {
        let notes = Notes::default();
        let mut tap = Tap::new(frames(vec![Ok("one"), Ok("two")]), notes.clone());
        assert!(tap.frame().await.is_some());
        drop(tap);
        assert_eq!(
            notes.seen(),
            (b"one".to_vec(), vec!["Abandoned".to_owned()])
        );
    }

    #[tokio::test]
    async fn a_body_whose_source_fails_says_why_and_passes_the_error_on() {
        let notes = Notes::default();
        let mut tap = Tap::new(frames(vec![Ok("one"), Err("reset")]), notes.clone());
        assert!(tap.frame().await.is_some_and(|f| f.is_ok()));
        assert!(tap.frame().await.is_some_and(|f| f.is_err()));
        drop(tap);
        assert_eq!(
            notes.seen(),
            (b"one".to_vec(), vec![r#"Failed("reset")"#.to_owned()])
        );
    }

    #[test]
    fn an_empty_body_has_ended_when_it_is_made() {
        let notes = Notes::default();
        let tap = Tap::new(http_body_util::Empty::<Bytes>::new(), notes.clone());
        assert_eq!(notes.seen().1, ["Complete"]);
        drop(tap);
        assert_eq!(notes.seen().1, ["Complete"]);
    }
}
