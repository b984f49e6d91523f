//! A connection over HTTP/2, which carries many calls: as many as the peer admits.
//!
//! The peer says in its SETTINGS how many streams it takes (`SETTINGS_MAX_CONCURRENT_STREAMS`), and may change that at any time. A request
//! beyond it would wait inside hyper until another call ends, and all later ones behind it, so such a request goes out on another connection.
//! Before the SETTINGS came, a connection carries only the call that it was made for.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Body;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use pin_project_lite::pin_project;
use tokio::sync::Notify;

use super::CallError;
use super::pool::{Transport, broke};

/// Most calls of one connection, however many the peer admits: they share its TCP stream. RFC 9113, section 6.5.2, asks servers to admit no
/// fewer.
const STREAMS: usize = 100;
/// What hyper says of the peer's limit until the peer's SETTINGS came. No SETTINGS can say it: their numbers have 32 bits, and hyper takes
/// `usize::MAX` where they name no limit.
const UNTOLD: usize = usize::MAX - 1;
/// Bytes of the fields of a response's head.
const MAX_HEADER_LIST: u32 = 128 * 1024;

pub(super) struct Shared<B> {
    sender: SendRequest<B>,
    calls: Arc<Calls>,
    peer: Arc<dyn Peer>,
}

/// The calls of one HTTP/2 connection.
#[derive(Debug)]
struct Calls {
    under_way: AtomicUsize,
    /// When the last of them began or ended.
    used: Mutex<Instant>,
    /// No further one begins: the pool closes the connection.
    are_over: AtomicBool,
}

impl Calls {
    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn idle(&self, now: Instant) -> Option<Duration> {
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle = self.under_way.load(Ordering::Relaxed) == 0;
        is_idle.then(|| now.saturating_duration_since(used))
    }
}

/// A call on an HTTP/2 connection, over when dropped.
pub(super) struct Call(Arc<Calls>);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.touch();
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<B> Shared<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Begins to speak HTTP/2. `on_close` gets how long the connection was idle when the peer closed it.
    pub(super) async fn handshake(
        stream: impl Transport,
        on_close: impl FnOnce(Duration) + Send + 'static,
    ) -> Result<Self, CallError> {
        let steps = Arc::new(ConnectionProgress::default());
        let (sender, connection) = http2::Builder::new(Parts(Arc::clone(&steps)))
            .timer(TokioTimer::new())
            .initial_max_send_streams(UNTOLD)
            .max_header_list_size(MAX_HEADER_LIST)
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(16 * 1024 * 1024)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20))
            .handshake(stream)
            .await
            .map_err(broke)?;
        let connection = Arc::new(SharedConnection {
            inner: Mutex::new(Some(connection)),
            steps,
        });
        let calls = Arc::new(Calls {
            under_way: AtomicUsize::new(0),
            used: Mutex::new(Instant::now()),
            are_over: AtomicBool::new(false),
        });
        let (driven, watched) = (Arc::clone(&connection), Arc::clone(&calls));
        TokioExecutor::new().execute(async move {
            std::future::poll_fn(|context| driven.poll(context)).await;
            let idle = watched.idle(Instant::now());
            if let Some(idle) = idle.filter(|_| !watched.are_over.load(Ordering::Relaxed)) {
                on_close(idle);
            }
        });
        Ok(Shared {
            sender,
            calls,
            peer: connection,
        })
    }

    /// Done once the peer's limit is known, or the connection is closed.
    pub(super) fn settled(&self) -> impl Future<Output = ()> + Send + use<B> {
        let peer = Arc::clone(&self.peer);
        async move {
            while peer.max_streams() == UNTOLD {
                peer.steps().moved.notified().await;
            }
            peer.steps().are_watched.store(false, Ordering::Relaxed);
        }
    }
}

impl<B> Shared<B> {
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) fn has_room(&self) -> bool {
        let under_way = self.calls.under_way.load(Ordering::Relaxed);
        // The peer is asked only where its answer can matter.
        under_way < STREAMS
            && match self.peer.max_streams() {
                UNTOLD => false,
                most => under_way < most,
            }
    }

    /// For how long it has carried no call; none while it carries one.
    pub(super) fn idle(&self, now: Instant) -> Option<Duration> {
        self.calls.idle(now)
    }

    /// It is closed now, and not by the peer.
    pub(super) fn give_up(&self) {
        self.calls.are_over.store(true, Ordering::Relaxed);
    }

    /// One more call, whether there is room or not: a call that finds none waits for it inside hyper.
    pub(super) fn take(&self) -> (SendRequest<B>, Call) {
        self.calls.touch();
        self.calls.under_way.fetch_add(1, Ordering::Relaxed);
        (self.sender.clone(), Call(Arc::clone(&self.calls)))
    }
}

/// What a connection knows of its peer, whatever the connection is made of.
trait Peer: Send + Sync {
    /// The limit of the peer's latest SETTINGS, or [`UNTOLD`]; zero once closed.
    fn max_streams(&self) -> usize;

    fn steps(&self) -> &ConnectionProgress;
}

/// hyper's connection, which its task polls and the pool asks for the peer's limit.
struct SharedConnection<C> {
    /// None once it is over: as long as it is there, hyper takes requests.
    inner: Mutex<Option<C>>,
    steps: Arc<ConnectionProgress>,
}

impl<C> SharedConnection<C> {
    fn lock(&self) -> MutexGuard<'_, Option<C>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Future + Unpin> SharedConnection<C> {
    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        let polled = inner
            .as_mut()
            .map(|connection| Pin::new(connection).poll(context));
        if matches!(polled, Some(Poll::Pending)) {
            return Poll::Pending;
        }
        // How it ended is told to the calls that it carried.
        let over = inner.take();
        drop(inner);
        drop(over);
        self.steps.moved.notify_one();
        Poll::Ready(())
    }
}

impl<T, B> Peer for SharedConnection<http2::Connection<T, B, Parts>>
where
    T: Transport,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn max_streams(&self) -> usize {
        self.lock()
            .as_ref()
            .map_or(0, http2::Connection::current_max_send_streams)
    }

    fn steps(&self) -> &ConnectionProgress {
        &self.steps
    }
}

/// Says that some part of a connection has moved, so that the peer's limit may have come.
struct ConnectionProgress {
    moved: Notify,
    are_watched: AtomicBool,
}

impl Default for ConnectionProgress {
    fn default() -> Self {
        ConnectionProgress {
            moved: Notify::new(),
            are_watched: AtomicBool::new(true),
        }
    }
}

/// Runs the parts of one connection: hyper reads its frames in a task beside the one that takes requests, and wakes nobody for SETTINGS.
#[derive(Clone)]
struct Parts(Arc<ConnectionProgress>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Parts {
    fn execute(&self, part: F) {
        let steps = Arc::clone(&self.0);
        TokioExecutor::new().execute(Part { part, steps });
    }
}

pin_project! {
    struct Part<F> {
        #[pin]
        part: F,
        steps: Arc<ConnectionProgress>,
    }
}

impl<F: Future<Output = ()>> Future for Part<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let polled = this.part.poll(context);
        if this.steps.are_watched.load(Ordering::Relaxed) {
            this.steps.moved.notify_one();
        }
        polled
    }
}
