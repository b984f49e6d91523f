//! An HTTP/2 connection, which carries as many calls as the peer admits.
//!
//! The peer's SETTINGS limit its streams (`SETTINGS_MAX_CONCURRENT_STREAMS`), and may change that at any time. A request beyond the limit
//! would wait inside hyper until another call ends, and all later ones behind it. So such a request goes out on another connection. Before
//! the SETTINGS came, a connection carries only the call that it was made for.

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

use super::connect::ConnectionIo;
use super::error::{CallError, broke};

/// Most calls of one connection, however many the peer admits: they share its TCP stream. RFC 9113, section 6.5.2, recommends servers to
/// admit no fewer.
const MAX_STREAMS: usize = 100;
/// hyper's limit until the peer's SETTINGS came. No SETTINGS can contain it: their numbers have 32 bits, and hyper takes `usize::MAX` where
/// they name no limit.
const UNKNOWN: usize = usize::MAX - 1;
/// Bytes of a response's headers.
const MAX_HEADER_LIST: u32 = 128 * 1024;

pub(super) struct Http2Connection<B> {
    sender: SendRequest<B>,
    calls: Arc<StreamCount>,
    peer: Arc<dyn PeerLimits>,
}

/// The calls of one HTTP/2 connection.
#[derive(Debug)]
struct StreamCount {
    open: AtomicUsize,
    /// The last time at which a call began or ended.
    last_used: Mutex<Instant>,
    /// The pool closes the connection, and no further call begins.
    is_evicted: AtomicBool,
}

impl StreamCount {
    fn touch(&self) {
        *self
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn idle(&self, now: Instant) -> Option<Duration> {
        let used = *self
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_idle = self.open.load(Ordering::Relaxed) == 0;
        is_idle.then(|| now.saturating_duration_since(used))
    }
}

/// One call of an HTTP/2 connection; dropped, it ends.
pub(super) struct StreamGuard(Arc<StreamCount>);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.touch();
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<B> Http2Connection<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// `on_close` gets the idle time after which the peer closed the connection.
    pub(super) async fn handshake(
        stream: impl ConnectionIo,
        on_close: impl FnOnce(Duration) + Send + 'static,
    ) -> Result<Self, CallError> {
        let progress = Arc::new(ConnectionProgress::default());
        let (sender, connection) = http2::Builder::new(ProgressExecutor(Arc::clone(&progress)))
            .timer(TokioTimer::new())
            .initial_max_send_streams(UNKNOWN)
            .max_header_list_size(MAX_HEADER_LIST)
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(16 * 1024 * 1024)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20))
            .handshake(stream)
            .await
            .map_err(broke)?;
        let connection = Arc::new(LockedConnection {
            inner: Mutex::new(Some(connection)),
            progress,
        });
        let calls = Arc::new(StreamCount {
            open: AtomicUsize::new(0),
            last_used: Mutex::new(Instant::now()),
            is_evicted: AtomicBool::new(false),
        });
        let (task_connection, task_calls) = (Arc::clone(&connection), Arc::clone(&calls));
        TokioExecutor::new().execute(async move {
            std::future::poll_fn(|context| task_connection.poll(context)).await;
            let idle = task_calls.idle(Instant::now());
            if let Some(idle) = idle.filter(|_| !task_calls.is_evicted.load(Ordering::Relaxed)) {
                on_close(idle);
            }
        });
        Ok(Http2Connection {
            sender,
            calls,
            peer: connection,
        })
    }

    /// Waits until the peer's limit is known, or the connection is closed.
    pub(super) fn peer_limit_known(&self) -> impl Future<Output = ()> + Send + use<B> {
        let peer = Arc::clone(&self.peer);
        async move {
            while peer.max_streams() == UNKNOWN {
                peer.progress().polled.notified().await;
            }
            peer.progress().is_awaited.store(false, Ordering::Relaxed);
        }
    }
}

impl<B> Http2Connection<B> {
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) fn has_room(&self) -> bool {
        let open = self.calls.open.load(Ordering::Relaxed);
        // The connection is locked only where the peer's limit can matter.
        open < MAX_STREAMS
            && match self.peer.max_streams() {
                UNKNOWN => false,
                most => open < most,
            }
    }

    /// The time for which the connection has carried no call; none while it carries one.
    pub(super) fn idle(&self, now: Instant) -> Option<Duration> {
        self.calls.idle(now)
    }

    /// Notes that the pool closes this connection, so that its close is not taken for the peer's.
    pub(super) fn mark_evicted(&self) {
        self.calls.is_evicted.store(true, Ordering::Relaxed);
    }

    /// Begins a call. Beyond the peer's limit, the call waits inside hyper.
    pub(super) fn begin_call(&self) -> (SendRequest<B>, StreamGuard) {
        self.calls.touch();
        self.calls.open.fetch_add(1, Ordering::Relaxed);
        (self.sender.clone(), StreamGuard(Arc::clone(&self.calls)))
    }
}

/// The peer's limit, for any type of connection.
trait PeerLimits: Send + Sync {
    /// The limit of the peer's latest SETTINGS, or [`UNKNOWN`]; zero once closed.
    fn max_streams(&self) -> usize;

    fn progress(&self) -> &ConnectionProgress;
}

/// hyper's connection: its task polls it, and the pool asks it for the peer's limit.
struct LockedConnection<C> {
    /// None once it has ended: hyper takes requests as long as it exists.
    inner: Mutex<Option<C>>,
    progress: Arc<ConnectionProgress>,
}

impl<C> LockedConnection<C> {
    fn lock(&self) -> MutexGuard<'_, Option<C>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Future + Unpin> LockedConnection<C> {
    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        let polled = inner
            .as_mut()
            .map(|connection| Pin::new(connection).poll(context));
        if matches!(polled, Some(Poll::Pending)) {
            return Poll::Pending;
        }
        // hyper reports the end to the calls that the connection carried.
        let ended = inner.take();
        drop(inner);
        drop(ended);
        self.progress.polled.notify_one();
        Poll::Ready(())
    }
}

impl<T, B> PeerLimits for LockedConnection<http2::Connection<T, B, ProgressExecutor>>
where
    T: ConnectionIo,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn max_streams(&self) -> usize {
        self.lock()
            .as_ref()
            .map_or(0, http2::Connection::current_max_send_streams)
    }

    fn progress(&self) -> &ConnectionProgress {
        &self.progress
    }
}

/// Notifies that a task of a connection was polled, so that the peer's limit may have come.
struct ConnectionProgress {
    polled: Notify,
    is_awaited: AtomicBool,
}

impl Default for ConnectionProgress {
    fn default() -> Self {
        ConnectionProgress {
            polled: Notify::new(),
            is_awaited: AtomicBool::new(true),
        }
    }
}

/// Runs the tasks of one connection. hyper reads frames in a task beside the one that takes requests, and wakes no one for SETTINGS.
#[derive(Clone)]
struct ProgressExecutor(Arc<ConnectionProgress>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for ProgressExecutor {
    fn execute(&self, task: F) {
        let progress = Arc::clone(&self.0);
        TokioExecutor::new().execute(ProgressTask { task, progress });
    }
}

pin_project! {
    struct ProgressTask<F> {
        #[pin]
        task: F,
        progress: Arc<ConnectionProgress>,
    }
}

impl<F: Future<Output = ()>> Future for ProgressTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let polled = this.task.poll(context);
        if this.progress.is_awaited.load(Ordering::Relaxed) {
            this.progress.polled.notify_one();
        }
        polled
    }
}
