//! Connections to one upstream, kept between calls.
//!
//! An HTTP/1 connection carries one call at a time and waits here between calls; one over HTTP/2 carries many. A call goes out on a connection
//! that is there, the one used last first, or on a new one. A connection may have died while it waited: a request that was not begun on it goes
//! out on another, and no other request is ever repeated. So none is used that the upstream may be closing at that moment, see [`super::idle`].

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
use hyper::rt::{Executor, Read, Write};
use hyper_util::client::legacy::connect::Connection as _;
use hyper_util::rt::TokioExecutor;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connect::{Connector, Origin, Stream};
use super::idle::{IdleSince, IdleTimeout, MAX_IDLE, MIN_TIMEOUT, announced, usable_for};
use super::shared::{Call, Shared};
use super::{CallError, explain};

/// Connections under way at once where one may turn out to carry many calls.
const DIALS: usize = 4;
/// Fields of an upstream's response head.
const MAX_HEADERS: usize = 256;
/// A call that breaks sooner after it was sent met a connection that was being closed.
const AT_ONCE: Duration = Duration::from_secs(1);

pub(super) struct Pool<B> {
    connector: Connector,
    waiting: Mutex<Waiting<B>>,
    dials: Arc<Semaphore>,
    /// A task closes what is not used.
    is_swept: AtomicBool,
}

/// The connections that can take a call.
struct Waiting<B> {
    /// Those over HTTP/1 that carry none, the one used last at the end.
    single: VecDeque<(Single<B>, Instant)>,
    /// Those over HTTP/2, with as many calls as they may carry or fewer.
    shared: Vec<Shared<B>>,
    /// Whether the upstream chose HTTP/2 when it was last asked. Unknown before.
    speaks_http2: Option<bool>,
    /// After which the upstream closes those that carry none.
    idle_timeout: IdleTimeout,
}

/// A connection over HTTP/1.
struct Single<B> {
    sender: http1::SendRequest<B>,
    /// For how long it may wait, by what its responses said.
    usable_for: Duration,
    idle: Arc<IdleSince>,
}

/// The connection of one call.
enum Taken<B> {
    Single(Single<B>),
    Shared(
        http2::SendRequest<B>,
        #[expect(dead_code, reason = "its end is what counts")] Call,
    ),
}

/// A call's connection, as long as the call needs it. Dropped, it waits for the next.
pub struct Place<B> {
    taken: Option<Taken<B>>,
    pool: Arc<Pool<B>>,
}

impl<B> Drop for Place<B> {
    fn drop(&mut self) {
        if let Some(Taken::Single(single)) = self.taken.take()
            && !single.sender.is_closed()
        {
            let mut waiting = self.pool.waiting();
            let now = Instant::now();
            single.idle.begin(now);
            waiting.single.push_back((single, now));
        }
    }
}

impl<B> Pool<B> {
    pub(super) fn new(connector: Connector) -> Self {
        Pool {
            waiting: Mutex::new(Waiting {
                single: VecDeque::new(),
                shared: Vec::new(),
                speaks_http2: (!connector.offers_http2()).then_some(false),
                idle_timeout: IdleTimeout::default(),
            }),
            connector,
            dials: Arc::new(Semaphore::new(DIALS)),
            is_swept: AtomicBool::new(false),
        }
    }

    /// No code panics while it holds the lock.
    fn waiting(&self) -> MutexGuard<'_, Waiting<B>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn_idle_timeout(&self, idle: Duration) {
        self.waiting().idle_timeout.closed_after(idle);
    }
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Sends a request whose URI is a path and a query, and gives the response's head with the place that its body needs.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<B>,
    ) -> Result<(Response<Incoming>, Place<B>), CallError> {
        loop {
            let waited = self.waiting().take();
            let (mut taken, idle) = match waited {
                Some((taken, idle)) => (taken, Some(idle)),
                // Seldom, and far larger than all else that a call has to remember.
                None => Box::pin(self.dial()).await?,
            };
            let has_rested = idle.is_some_and(|idle| idle > MIN_TIMEOUT);
            if has_rested {
                // Lets the runtime see what has come from the network by now: hyper gives a request back unsent that finds the end there.
                tokio::task::yield_now().await;
            }
            let sent_at = has_rested.then(Instant::now);
            let sent = taken.send(request, self.connector.origin()).await;
            match sent {
                Ok(response) => {
                    taken.heed(&response);
                    let place = Place {
                        taken: Some(taken),
                        pool: Arc::clone(self),
                    };
                    return Ok((response, place));
                }
                Err(mut error) => {
                    let unsent = error.take_message();
                    let is_unsent = unsent.is_some();
                    let broke_at_once = || {
                        let was_closed = is_unsent || is_close(error.error());
                        was_closed && sent_at.is_some_and(|sent_at| sent_at.elapsed() < AT_ONCE)
                    };
                    if let Some(idle) = idle.filter(|_| broke_at_once()) {
                        self.learn_idle_timeout(idle);
                    }
                    match unsent {
                        // It died while it waited, and nothing of the request was sent.
                        Some(unsent) if idle.is_some() => request = unsent,
                        _ => return Err(CallError::Broke(explain(&error.into_error()))),
                    }
                }
            }
        }
    }

    /// A new connection, or one that came to be able to take the call meanwhile, with the time that it waited.
    async fn dial(self: &Arc<Self>) -> Result<(Taken<B>, Option<Duration>), CallError> {
        self.sweep();
        let dialled = tokio::time::timeout(self.connector.limit(), async {
            let is_single = || self.waiting().speaks_http2 == Some(false);
            // One connection may carry all that wait for one. The semaphore is never closed.
            let turn = if is_single() {
                None
            } else {
                Arc::clone(&self.dials).acquire_owned().await.ok()
            };
            let waited = turn.as_ref().and_then(|_| self.waiting().take());
            if let Some((taken, idle)) = waited {
                return Ok((taken, Some(idle)));
            }
            // Where each carries one, as has shown meanwhile, nobody waits for another.
            let turn = turn.filter(|_| !is_single());
            Ok((self.connect(turn).await?, None))
        });
        dialled.await.map_err(|_| CallError::ConnectTimeout)?
    }

    /// From the first connection on, what is not used is closed also while there are no calls.
    fn sweep(self: &Arc<Self>) {
        if self.is_swept.swap(true, Ordering::Relaxed) {
            return;
        }
        let pool = Arc::downgrade(self);
        TokioExecutor::new().execute(async move {
            loop {
                tokio::time::sleep(MAX_IDLE / 4).await;
                let Some(pool) = pool.upgrade() else { break };
                pool.waiting().close_unused(Instant::now());
            }
        });
    }

    /// Whoever waits for the `turn` waits until it is known what the new connection can carry.
    async fn connect(
        self: &Arc<Self>,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Result<Taken<B>, CallError> {
        let stream: Stream = self.connector.connect().await?;
        let speaks_http2 = stream.connected().is_negotiated_h2();
        self.waiting().speaks_http2 = Some(speaks_http2);
        // Each as what it is, so that one in the clear takes no room for TLS.
        match stream {
            Stream::Https(tls) if speaks_http2 => self.shared(tls, turn).await,
            Stream::Https(tls) => self.single(tls).await,
            Stream::Http(tcp) => self.single(tcp).await,
        }
    }

    async fn shared(
        self: &Arc<Self>,
        stream: impl Transport,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Result<Taken<B>, CallError> {
        let pool = Arc::downgrade(self);
        let shared = Shared::handshake(stream, move |idle| {
            if let Some(pool) = pool.upgrade() {
                pool.learn_idle_timeout(idle);
            }
        })
        .await?;
        // Not for all of their time: whoever waits has to connect in it.
        let settled = tokio::time::timeout(self.connector.limit() / 4, shared.settled());
        TokioExecutor::new().execute(async move {
            let _ = settled.await;
            drop(turn);
        });
        // The call that it was made for goes out at once.
        let (sender, call) = shared.take();
        self.waiting().shared.push(shared);
        Ok(Taken::Shared(sender, call))
    }

    async fn single(self: &Arc<Self>, stream: impl Transport) -> Result<Taken<B>, CallError> {
        let (sender, connection) = http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .handshake(stream)
            .await
            .map_err(broke)?;
        let idle = Arc::<IdleSince>::default();
        let (watched, pool) = (Arc::clone(&idle), Arc::downgrade(self));
        TokioExecutor::new().execute(async move {
            // How it ends is told to the call that it carries.
            let _ = connection.with_upgrades().await;
            if let (Some(idle), Some(pool)) = (watched.end(), pool.upgrade()) {
                pool.learn_idle_timeout(idle);
            }
        });
        Ok(Taken::Single(Single {
            sender,
            usable_for: MAX_IDLE,
            idle,
        }))
    }
}

/// What a connection is made of.
pub(super) trait Transport: Read + Write + Unpin + Send + 'static {}

impl<T: Read + Write + Unpin + Send + 'static> Transport for T {}

#[expect(clippy::needless_pass_by_value, reason = "an error is mapped by value")]
pub(super) fn broke(error: hyper::Error) -> CallError {
    CallError::Broke(explain(&error))
}

/// Whether the upstream's end of a connection was closed, as far as an error can tell.
fn is_close(error: &hyper::Error) -> bool {
    let is_of_the_socket =
        || super::causes(error).any(|cause| cause.downcast_ref::<io::Error>().is_some());
    error.is_incomplete_message() || (!error.is_user() && is_of_the_socket())
}

impl<B> Single<B> {
    /// It waits no longer: a close from now on is not the upstream's to an idle connection. False where the upstream closed it before.
    fn leaves_idle(&self) -> bool {
        let is_open = !self.sender.is_closed();
        if is_open {
            self.idle.end();
        }
        is_open
    }
}

impl<B> Waiting<B> {
    /// A connection that can take a call now, the one used last first, and for how long it has carried none.
    fn take(&mut self) -> Option<(Taken<B>, Duration)> {
        let now = Instant::now();
        self.close_unused(now);
        let usable_for = self.idle_timeout.usable_for();
        // One whose request is still going up although its answer has ended is not ready yet.
        while let Some(at) = self
            .single
            .iter()
            .rposition(|(single, _)| single.sender.is_ready() || single.sender.is_closed())
        {
            let idle = now.saturating_duration_since(self.single[at].1);
            if idle >= usable_for {
                break;
            }
            if let Some((single, _)) = self.single.remove(at)
                && single.leaves_idle()
                && idle < single.usable_for
            {
                return Some((Taken::Single(single), idle));
            }
        }
        self.shared.retain(|shared| !shared.is_closed());
        self.shared.iter().find_map(|shared| {
            let idle = shared.idle(now).unwrap_or_default();
            (idle < usable_for && shared.has_room()).then(|| {
                let (sender, call) = shared.take();
                (Taken::Shared(sender, call), idle)
            })
        })
    }

    /// Closes what waited for too long, and what has outlived the idle timeout that was taken for the upstream's.
    fn close_unused(&mut self, now: Instant) {
        let timeout = &mut self.idle_timeout;
        let mut is_over = |idle: Duration, is_closed: bool| {
            let outlived = timeout.refuted_after().is_some_and(|most| idle > most);
            if outlived && !is_closed {
                timeout.outlived();
            }
            outlived || idle > MAX_IDLE
        };
        while let Some((single, since)) = self.single.front()
            && is_over(
                now.saturating_duration_since(*since),
                single.sender.is_closed(),
            )
        {
            single.leaves_idle();
            self.single.pop_front();
        }
        self.shared.retain(|shared| {
            let idle = shared.idle(now);
            let is_over = idle.is_some_and(|idle| is_over(idle, shared.is_closed()));
            if is_over {
                shared.give_up();
            }
            !is_over
        });
    }
}

impl<B> Taken<B> {
    /// Notes what a response says of its connection.
    fn heed(&mut self, response: &Response<Incoming>) {
        if let Taken::Single(single) = self
            && let Some(timeout) = announced(response.headers())
        {
            single.usable_for = usable_for(timeout);
        }
    }
}

impl<B> Taken<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Both ways of sending begin here and now, and are waited for as one.
    fn send(
        &mut self,
        mut request: Request<B>,
        origin: &Origin,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<B>>>> + use<B> {
        match self {
            Taken::Single(Single { sender, .. }) => {
                // One that was meant for HTTP/2 before names the upstream in its URI.
                if request.uri().authority().is_some() {
                    *request.uri_mut() = super::connect::without_origin(request.uri());
                    *request.version_mut() = Version::HTTP_11;
                }
                Either::Left(sender.try_send_request(request))
            }
            Taken::Shared(sender, _) => {
                let absolute = origin.with_path(request.uri());
                *request.uri_mut() = absolute;
                *request.version_mut() = Version::HTTP_2;
                Either::Right(sender.try_send_request(request))
            }
        }
    }
}
