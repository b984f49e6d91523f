//! Connections to one upstream, kept between calls.
//!
//! An HTTP/1 connection carries one call at a time and waits here between calls; one over HTTP/2 carries many. A call goes out on a connection
//! that is there, the one used last first, or on a new one. A connection may have died while it waited: a request that was not begun on it goes
//! out on another, and no other request is ever repeated.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;

use super::connect::{Connector, Origin, Stream};
use super::{CallError, explain};

/// A connection that was not used for this long is closed, before anything between here and the upstream forgets it.
const IDLE: Duration = Duration::from_mins(1);
/// RFC 9113, section 6.5.2, asks servers to admit no fewer streams than this on one connection.
const STREAMS: usize = 100;
/// Connections under way at once where one may turn out to carry many calls.
const DIALS: usize = 4;
/// Of an upstream's response head: fields, and bytes of them over HTTP/2.
const MAX_HEADERS: usize = 256;
const MAX_HEADER_LIST: u32 = 128 * 1024;

pub(super) struct Pool<B> {
    connector: Connector,
    waiting: Mutex<Waiting<B>>,
    dials: Semaphore,
    /// A task closes what is not used.
    is_swept: AtomicBool,
}

/// The connections that can take a call.
struct Waiting<B> {
    /// Those over HTTP/1 that carry none, the one used last at the end.
    single: VecDeque<(http1::SendRequest<B>, Instant)>,
    /// Those over HTTP/2, with as many calls as they may carry or fewer.
    shared: Vec<Shared<B>>,
    /// Whether the upstream chose HTTP/2 when it was last asked. Unknown before.
    speaks_http2: Option<bool>,
}

struct Shared<B> {
    sender: http2::SendRequest<B>,
    calls: Arc<Calls>,
}

/// The calls of one HTTP/2 connection.
#[derive(Debug)]
struct Calls {
    under_way: AtomicUsize,
    /// When the last of them began or ended.
    used: Mutex<Instant>,
}

impl Calls {
    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn is_unused(&self, now: Instant) -> bool {
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        self.under_way.load(Ordering::Relaxed) == 0 && now.duration_since(used) > IDLE
    }
}

/// The connection of one call.
enum Taken<B> {
    Single(http1::SendRequest<B>),
    Shared(
        http2::SendRequest<B>,
        #[expect(dead_code, reason = "its end is what counts")] Call,
    ),
}

/// A call on an HTTP/2 connection, over when dropped.
struct Call(Arc<Calls>);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.touch();
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A call's connection, as long as the call needs it. Dropped, it waits for the next.
pub struct Place<B> {
    taken: Option<Taken<B>>,
    pool: Arc<Pool<B>>,
}

impl<B> Drop for Place<B> {
    fn drop(&mut self) {
        if let Some(Taken::Single(sender)) = self.taken.take()
            && !sender.is_closed()
        {
            self.pool
                .waiting()
                .single
                .push_back((sender, Instant::now()));
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
            }),
            connector,
            dials: Semaphore::new(DIALS),
            is_swept: AtomicBool::new(false),
        }
    }

    /// No code panics while it holds the lock.
    fn waiting(&self) -> MutexGuard<'_, Waiting<B>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Sends a request whose URI is a path and a query, and gives the response's head with the place that its body needs.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<B>,
    ) -> Result<(Response<Incoming>, Place<B>), CallError> {
        loop {
            let waited = self.waiting().take();
            let (mut taken, is_new) = match waited {
                Some(taken) => (taken, false),
                // Seldom, and far larger than all else that a call has to remember.
                None => Box::pin(self.dial()).await?,
            };
            let sent = taken.send(request, self.connector.origin()).await;
            match sent {
                Ok(response) => {
                    let place = Place {
                        taken: Some(taken),
                        pool: Arc::clone(self),
                    };
                    return Ok((response, place));
                }
                // It died while it waited, and nothing of the request was sent.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !is_new => request = unsent,
                    _ => return Err(CallError::Broke(explain(&error.into_error()))),
                },
            }
        }
    }

    /// A new connection, or one that came to be able to take the call meanwhile; and whether it is new.
    async fn dial(self: &Arc<Self>) -> Result<(Taken<B>, bool), CallError> {
        self.sweep();
        let dialled = tokio::time::timeout(self.connector.limit(), async {
            let is_single = || self.waiting().speaks_http2 == Some(false);
            // One connection may carry all that wait for one. The semaphore is never closed.
            let turn = if is_single() {
                None
            } else {
                self.dials.acquire().await.ok()
            };
            let waited = turn.as_ref().and_then(|_| self.waiting().take());
            if let Some(taken) = waited {
                return Ok((taken, false));
            }
            // Where each carries one, as has shown meanwhile, nobody waits for another.
            let _turn = turn.filter(|_| !is_single());
            Ok((self.connect().await?, true))
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
                tokio::time::sleep(IDLE / 4).await;
                let Some(pool) = pool.upgrade() else { break };
                pool.waiting().close_unused();
            }
        });
    }

    async fn connect(&self) -> Result<Taken<B>, CallError> {
        let stream: Stream = self.connector.connect().await?;
        let speaks_http2 = stream.connected().is_negotiated_h2();
        self.waiting().speaks_http2 = Some(speaks_http2);
        // Each as what it is, so that one in the clear takes no room for TLS.
        match stream {
            Stream::Https(tls) if speaks_http2 => self.shared(tls).await,
            Stream::Https(tls) => single(tls).await,
            Stream::Http(tcp) => single(tcp).await,
        }
    }

    async fn shared(&self, stream: impl Transport) -> Result<Taken<B>, CallError> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(MAX_HEADER_LIST)
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(16 * 1024 * 1024)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20))
            .handshake(stream)
            .await
            .map_err(broke)?;
        run(connection);
        let calls = Calls {
            under_way: AtomicUsize::new(0),
            used: Mutex::new(Instant::now()),
        };
        let shared = Shared {
            sender,
            calls: Arc::new(calls),
        };
        let taken = shared.take();
        self.waiting().shared.push(shared);
        Ok(taken)
    }
}

/// What a connection is made of.
trait Transport: Read + Write + Unpin + Send + 'static {}

impl<T: Read + Write + Unpin + Send + 'static> Transport for T {}

async fn single<B>(stream: impl Transport) -> Result<Taken<B>, CallError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (sender, connection) = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .handshake(stream)
        .await
        .map_err(broke)?;
    run(connection.with_upgrades());
    Ok(Taken::Single(sender))
}

#[expect(clippy::needless_pass_by_value, reason = "an error is mapped by value")]
fn broke(error: hyper::Error) -> CallError {
    CallError::Broke(explain(&error))
}

/// A connection lives as a task of its own; how it ends is told to the call that it carries.
fn run<E>(connection: impl Future<Output = Result<(), E>> + Send + 'static) {
    TokioExecutor::new().execute(async move {
        let _ = connection.await;
    });
}

impl<B> Waiting<B> {
    /// A connection that can take a call now, the one used last first.
    fn take(&mut self) -> Option<Taken<B>> {
        self.close_unused();
        // One whose request is still going up although its answer has ended is not ready yet.
        while let Some(at) = self
            .single
            .iter()
            .rposition(|(sender, _)| sender.is_ready() || sender.is_closed())
        {
            match self.single.remove(at) {
                Some((sender, _)) if !sender.is_closed() => return Some(Taken::Single(sender)),
                _ => {}
            }
        }
        self.shared.retain(|shared| !shared.sender.is_closed());
        let shared = self.shared.iter().find(|shared| shared.has_room())?;
        Some(shared.take())
    }

    fn close_unused(&mut self) {
        if self.single.is_empty() && self.shared.is_empty() {
            return;
        }
        let now = Instant::now();
        while self
            .single
            .front()
            .is_some_and(|(_, used)| now.duration_since(*used) > IDLE)
        {
            self.single.pop_front();
        }
        self.shared.retain(|shared| !shared.calls.is_unused(now));
    }
}

impl<B> Shared<B> {
    fn has_room(&self) -> bool {
        self.calls.under_way.load(Ordering::Relaxed) < STREAMS
    }

    fn take(&self) -> Taken<B> {
        self.calls.touch();
        self.calls.under_way.fetch_add(1, Ordering::Relaxed);
        Taken::Shared(self.sender.clone(), Call(Arc::clone(&self.calls)))
    }
}

impl<B> Taken<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Both ways of sending begin here and now, and are waited for as one.
    fn send(
        &mut self,
        mut request: Request<B>,
        origin: &Origin,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<B>>>> + use<B> {
        match self {
            Taken::Single(sender) => {
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
