//! The pool of connections to one upstream.
//!
//! An HTTP/1 connection carries one call at a time and is idle between calls; an HTTP/2 connection carries many. A call takes a pooled
//! connection, the most recently used first, or dials a new one. A pooled connection may have died: a request that hyper gives back unsent
//! goes out on another, and no other request is ever repeated. So the pool uses no connection that the upstream may be closing at that
//! moment, see [`super::keep_alive`].

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::Either;
use http::{Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::rt::Executor;
use hyper_util::client::legacy::connect::Connection as _;
use hyper_util::rt::TokioExecutor;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connect::{ConnectionIo, Connector, DialledStream, Origin, without_origin};
use super::error::{CallError, broke, causes, explain};
use super::http2::{Http2Connection, StreamGuard};
use super::keep_alive::{
    IdleSince, KeepAliveEstimate, MAX_IDLE, MIN_TIMEOUT, announced, usable_for,
};

/// Most dials at once where a new connection may carry many calls.
const MAX_DIALS: usize = 4;
/// Headers of a response.
const MAX_HEADERS: usize = 256;
/// A call that breaks sooner than this was sent while the upstream closed the connection.
const CLOSE_RACE: Duration = Duration::from_secs(1);

pub(super) struct Pool<B> {
    connector: Connector,
    state: Mutex<PoolState<B>>,
    dials: Arc<Semaphore>,
    /// Whether a task closes unused connections.
    has_sweeper: AtomicBool,
}

struct PoolState<B> {
    /// The idle ones with the time since when they are, the most recently used at the end.
    http1: VecDeque<(Http1Connection<B>, Instant)>,
    http2: Vec<Http2Connection<B>>,
    /// Whether the upstream chose HTTP/2 for the latest connection; none before the first.
    speaks_http2: Option<bool>,
    keep_alive: KeepAliveEstimate,
}

struct Http1Connection<B> {
    sender: http1::SendRequest<B>,
    /// The idle time for which it may be used, by the timeout that its responses announced.
    usable_for: Duration,
    idle: Arc<IdleSince>,
}

/// The connection of one call.
enum CallConnection<B> {
    Http1(Http1Connection<B>),
    Http2(
        http2::SendRequest<B>,
        #[expect(dead_code, reason = "its end is what counts")] StreamGuard,
    ),
}

/// The connection of a call while the call needs it. Dropped, it goes back to the pool.
pub(crate) struct ConnectionLease<B> {
    connection: Option<CallConnection<B>>,
    pool: Arc<Pool<B>>,
}

impl<B> Drop for ConnectionLease<B> {
    fn drop(&mut self) {
        if let Some(CallConnection::Http1(http1)) = self.connection.take()
            && !http1.sender.is_closed()
        {
            let mut state = self.pool.state();
            let now = Instant::now();
            http1.idle.begin(now);
            state.http1.push_back((http1, now));
        }
    }
}

impl<B> Pool<B> {
    pub(super) fn new(connector: Connector) -> Self {
        Pool {
            state: Mutex::new(PoolState {
                http1: VecDeque::new(),
                http2: Vec::new(),
                speaks_http2: (!connector.offers_http2()).then_some(false),
                keep_alive: KeepAliveEstimate::default(),
            }),
            connector,
            dials: Arc::new(Semaphore::new(MAX_DIALS)),
            has_sweeper: AtomicBool::new(false),
        }
    }

    /// No code panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, PoolState<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn_keep_alive(&self, idle: Duration) {
        self.state().keep_alive.closed_after(idle);
    }
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Sends a request whose URI is a path and a query. The response's body needs the lease.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<B>,
    ) -> Result<(Response<Incoming>, ConnectionLease<B>), CallError> {
        loop {
            let pooled = self.state().checkout();
            let (mut connection, idle) = match pooled {
                Some((connection, idle)) => (connection, Some(idle)),
                // Boxed, because a dial is rare and larger than the rest of this future.
                None => Box::pin(self.dial()).await?,
            };
            let was_idle = idle.is_some_and(|idle| idle > MIN_TIMEOUT);
            if was_idle {
                // Lets the runtime read a close that has arrived by now: hyper then gives the request back unsent.
                tokio::task::yield_now().await;
            }
            let sent_at = was_idle.then(Instant::now);
            let sent = connection.send(request, self.connector.origin()).await;
            match sent {
                Ok(response) => {
                    connection.note_keep_alive(&response);
                    let lease = ConnectionLease {
                        connection: Some(connection),
                        pool: Arc::clone(self),
                    };
                    return Ok((response, lease));
                }
                Err(mut error) => {
                    let unsent = error.take_message();
                    let is_unsent = unsent.is_some();
                    let broke_at_once = || {
                        let was_closed = is_unsent || is_close(error.error());
                        was_closed && sent_at.is_some_and(|sent_at| sent_at.elapsed() < CLOSE_RACE)
                    };
                    if let Some(idle) = idle.filter(|_| broke_at_once()) {
                        self.learn_keep_alive(idle);
                    }
                    match unsent {
                        // The pooled connection was dead, and no byte of the request was sent.
                        Some(unsent) if idle.is_some() => request = unsent,
                        _ => return Err(CallError::Broke(explain(&error.into_error()))),
                    }
                }
            }
        }
    }

    /// Gives a new connection, or a pooled one that became usable meanwhile, with its idle time.
    async fn dial(self: &Arc<Self>) -> Result<(CallConnection<B>, Option<Duration>), CallError> {
        self.start_sweeper();
        let dialled = tokio::time::timeout(self.connector.limit(), async {
            let speaks_http1 = || self.state().speaks_http2 == Some(false);
            // One new connection may serve all waiting calls. The semaphore is never closed.
            let permit = if speaks_http1() {
                None
            } else {
                Arc::clone(&self.dials).acquire_owned().await.ok()
            };
            let pooled = permit.as_ref().and_then(|_| self.state().checkout());
            if let Some((connection, idle)) = pooled {
                return Ok((connection, Some(idle)));
            }
            // Where the upstream turned out to speak HTTP/1, no dial waits for another.
            let permit = permit.filter(|_| !speaks_http1());
            Ok((self.connect(permit).await?, None))
        });
        dialled.await.map_err(|_| CallError::ConnectTimeout)?
    }

    /// From the first dial on, closes unused connections also while there are no calls.
    fn start_sweeper(self: &Arc<Self>) {
        if self.has_sweeper.swap(true, Ordering::Relaxed) {
            return;
        }
        let pool = Arc::downgrade(self);
        TokioExecutor::new().execute(async move {
            loop {
                tokio::time::sleep(MAX_IDLE / 4).await;
                let Some(pool) = pool.upgrade() else { break };
                pool.state().close_unused(Instant::now());
            }
        });
    }

    /// Holds `permit` until the number of calls that the new connection can carry is known.
    async fn connect(
        self: &Arc<Self>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<CallConnection<B>, CallError> {
        let stream: DialledStream = self.connector.connect().await?;
        let speaks_http2 = stream.connected().is_negotiated_h2();
        self.state().speaks_http2 = Some(speaks_http2);
        // By concrete type, so that a connection in the clear takes no memory for TLS.
        match stream {
            DialledStream::Https(tls) if speaks_http2 => self.handshake_http2(tls, permit).await,
            DialledStream::Https(tls) => self.handshake_http1(tls).await,
            DialledStream::Http(tcp) => self.handshake_http1(tcp).await,
        }
    }

    async fn handshake_http2(
        self: &Arc<Self>,
        stream: impl ConnectionIo,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<CallConnection<B>, CallError> {
        let pool = Arc::downgrade(self);
        let http2 = Http2Connection::handshake(stream, move |idle| {
            if let Some(pool) = pool.upgrade() {
                pool.learn_keep_alive(idle);
            }
        })
        .await?;
        // For a part of the limit only: the dials that wait for the permit have to connect within it.
        let limit_known =
            tokio::time::timeout(self.connector.limit() / 4, http2.peer_limit_known());
        TokioExecutor::new().execute(async move {
            let _ = limit_known.await;
            drop(permit);
        });
        // The call that it was made for goes out at once.
        let (sender, call) = http2.begin_call();
        self.state().http2.push(http2);
        Ok(CallConnection::Http2(sender, call))
    }

    async fn handshake_http1(
        self: &Arc<Self>,
        stream: impl ConnectionIo,
    ) -> Result<CallConnection<B>, CallError> {
        let (sender, connection) = http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .handshake(stream)
            .await
            .map_err(broke)?;
        let idle = Arc::<IdleSince>::default();
        let (task_idle, pool) = (Arc::clone(&idle), Arc::downgrade(self));
        TokioExecutor::new().execute(async move {
            // hyper reports the end to the call that the connection carries.
            let _ = connection.with_upgrades().await;
            if let (Some(idle), Some(pool)) = (task_idle.end(), pool.upgrade()) {
                pool.learn_keep_alive(idle);
            }
        });
        Ok(CallConnection::Http1(Http1Connection {
            sender,
            usable_for: MAX_IDLE,
            idle,
        }))
    }
}

/// Whether an error looks like the upstream's close of the connection.
fn is_close(error: &hyper::Error) -> bool {
    let is_of_the_socket =
        || causes(error).any(|cause| cause.downcast_ref::<io::Error>().is_some());
    error.is_incomplete_message() || (!error.is_user() && is_of_the_socket())
}

impl<B> Http1Connection<B> {
    /// Ends the idle time, so that a later close is not taken for one of an idle connection. False where the upstream has closed it.
    fn end_idle(&self) -> bool {
        let is_open = !self.sender.is_closed();
        if is_open {
            self.idle.end();
        }
        is_open
    }
}

impl<B> PoolState<B> {
    /// Takes a connection that can carry a call now, the most recently used first, with its idle time.
    fn checkout(&mut self) -> Option<(CallConnection<B>, Duration)> {
        let now = Instant::now();
        self.close_unused(now);
        let usable_for = self.keep_alive.usable_for();
        // A connection whose request still goes up although its response has ended is not ready yet.
        while let Some(at) = self
            .http1
            .iter()
            .rposition(|(http1, _)| http1.sender.is_ready() || http1.sender.is_closed())
        {
            let idle = now.saturating_duration_since(self.http1[at].1);
            if idle >= usable_for {
                break;
            }
            if let Some((http1, _)) = self.http1.remove(at)
                && http1.end_idle()
                && idle < http1.usable_for
            {
                return Some((CallConnection::Http1(http1), idle));
            }
        }
        self.http2.retain(|http2| !http2.is_closed());
        self.http2.iter().find_map(|http2| {
            let idle = http2.idle(now).unwrap_or_default();
            (idle < usable_for && http2.has_room()).then(|| {
                let (sender, call) = http2.begin_call();
                (CallConnection::Http2(sender, call), idle)
            })
        })
    }

    /// Closes connections that were idle for too long, and those that outlived the estimate of the keep-alive timeout.
    fn close_unused(&mut self, now: Instant) {
        let timeout = &mut self.keep_alive;
        let mut is_over = |idle: Duration, is_closed: bool| {
            let outlived = timeout.refuted_after().is_some_and(|most| idle > most);
            if outlived && !is_closed {
                timeout.outlived();
            }
            outlived || idle > MAX_IDLE
        };
        while let Some((http1, since)) = self.http1.front()
            && is_over(
                now.saturating_duration_since(*since),
                http1.sender.is_closed(),
            )
        {
            http1.end_idle();
            self.http1.pop_front();
        }
        self.http2.retain(|http2| {
            let idle = http2.idle(now);
            let is_over = idle.is_some_and(|idle| is_over(idle, http2.is_closed()));
            if is_over {
                http2.mark_evicted();
            }
            !is_over
        });
    }
}

impl<B> CallConnection<B> {
    /// Notes the keep-alive timeout that a response announces.
    fn note_keep_alive(&mut self, response: &Response<Incoming>) {
        if let CallConnection::Http1(http1) = self
            && let Some(timeout) = announced(response.headers())
        {
            http1.usable_for = usable_for(timeout);
        }
    }
}

impl<B> CallConnection<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Begins to send before the first poll.
    fn send(
        &mut self,
        mut request: Request<B>,
        origin: &Origin,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<B>>>> + use<B> {
        match self {
            CallConnection::Http1(Http1Connection { sender, .. }) => {
                // The URI names the upstream after an unsent attempt over HTTP/2.
                if request.uri().authority().is_some() {
                    *request.uri_mut() = without_origin(request.uri());
                    *request.version_mut() = Version::HTTP_11;
                }
                Either::Left(sender.try_send_request(request))
            }
            CallConnection::Http2(sender, _) => {
                let absolute = origin.with_path(request.uri());
                *request.uri_mut() = absolute;
                *request.version_mut() = Version::HTTP_2;
                Either::Right(sender.try_send_request(request))
            }
        }
    }
}
