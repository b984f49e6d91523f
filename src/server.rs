//! Accepts connections, limits them and drains them: [`serve`] passes every request to an application.
//!
//! The server knows HTTP's transport and hyper's habits, and nothing of the requests' content. One port serves HTTP/1.1 and HTTP/2, with or
//! without TLS. A [`Shutdown`] ends connections in three steps: responses ask clients to close, then the listener and idle connections
//! close, and at last the server cuts the connections that are still busy.

mod deferred_error;
mod shutdown;
mod socket;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tower::Service;

pub(crate) use deferred_error::DeferredErrorBody;
use deferred_error::Framing;
pub(crate) use shutdown::Shutdown;
pub(crate) use socket::ConnectionTimeouts;
use socket::{ClientSocket, ClientStream, ConnectionState};

/// Connections that the kernel holds before they are accepted.
const BACKLOG: i32 = 4096;
/// The pause after a failed accept, for example when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often the server asks for the client's close where hyper would not notice it.
const CLOSE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// hyper answers a request beyond its limits with a bare status. So its limits are higher by this than those that get an explained error.
const EXTRA_HEADERS: usize = 32;
const EXTRA_HEAD_BYTES: usize = 128 * 1024;
/// hyper's default bound of a read buffer, which also bounds a head.
const MIN_READ_BUFFER: usize = 8 * 1024 + 4096 * 100;

/// Limits of one client connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// Its time limits.
    pub timeouts: ConnectionTimeouts,
    /// The most headers of a request that still reaches the application.
    pub max_headers: usize,
    /// The most bytes of a head, target included, that still reaches the application.
    pub max_head: usize,
}

/// A bound socket, its TLS settings and the limits of its connections.
pub(crate) struct Listener {
    socket: TcpListener,
    /// Present where connections speak TLS. A reload replaces it.
    tls: Arc<ArcSwapOption<rustls::ServerConfig>>,
    limits: ConnectionLimits,
}

impl Listener {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// The operating system's: the address is in use or not this machine's, or the port is privileged.
    pub(crate) fn bind(
        address: SocketAddr,
        tls: Arc<ArcSwapOption<rustls::ServerConfig>>,
        limits: ConnectionLimits,
    ) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Listener {
            socket: TcpListener::from_std(socket.into())?,
            tls,
            limits,
        })
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Runs HTTP/2 streams in the tracker of their connections, so that waiting for it includes them.
#[derive(Clone)]
struct TrackedExecutor(TaskTracker);

impl<F> hyper::rt::Executor<F> for TrackedExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

/// Serves connections of `listener` with `app` until `shutdown`; returns when the listener is closed. Connections go on as tasks of `tasks`.
pub(crate) async fn serve<S, B>(listener: Listener, app: S, shutdown: Shutdown, tasks: TaskTracker)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let protocols = Arc::new(ProtocolBuilders::new(
        TrackedExecutor(tasks.clone()),
        &listener.limits,
    ));
    let admit = |stream: TcpStream| {
        let (app, protocols) = (app.clone(), Arc::clone(&protocols));
        let shutdown = shutdown.clone();
        let (tls, timeouts) = (listener.tls.load_full(), listener.limits.timeouts);
        tasks.spawn(async move {
            set_socket_options(&stream);
            let stream = tokio::select! {
                stream = tls_handshake(stream, tls, timeouts.head) => stream,
                () = shutdown.cutting() => None,
            };
            let Some(stream) = stream else { return };
            serve_connection(stream, timeouts, &protocols, app, shutdown).await;
        });
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.socket.accept() => accepted,
            () = shutdown.closing() => break,
        };
        match accepted {
            Ok((stream, _)) => admit(stream),
            // The client left before the accept, which is no reason to pause.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; check the limit of open files");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // A close of the socket would reset the connections that the kernel has accepted already.
    while let Some(Ok((stream, _))) = listener.socket.accept().now_or_never() {
        admit(stream);
    }
}

struct ProtocolBuilders {
    http1: http1::Builder,
    http2: http2::Builder<TrackedExecutor>,
}

impl ProtocolBuilders {
    fn new(tasks: TrackedExecutor, limits: &ConnectionLimits) -> Self {
        let (mut http1, mut http2) = (http1::Builder::new(), http2::Builder::new(tasks));
        // The upstream's `Date` is passed on, and hyper must not add one.
        http1
            .auto_date_header(false)
            .max_headers(limits.max_headers + EXTRA_HEADERS)
            .max_buf_size(MIN_READ_BUFFER.max(limits.max_head + EXTRA_HEAD_BYTES))
            .header_read_timeout(None)
            .timer(TokioTimer::new());
        http2
            .auto_date_header(false)
            .max_concurrent_streams(1000)
            .max_header_list_size(
                u32::try_from(limits.max_head + EXTRA_HEAD_BYTES).unwrap_or(u32::MAX),
            )
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(8 * 1024 * 1024)
            .max_send_buf_size(64 * 1024)
            .keep_alive_interval(Duration::from_mins(1))
            .keep_alive_timeout(Duration::from_secs(20))
            .timer(TokioTimer::new());
        ProtocolBuilders { http1, http2 }
    }
}

/// Sends small writes at once, and notices clients that vanished without a close.
fn set_socket_options(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_mins(1))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    if stream.set_nodelay(true).is_err()
        || SockRef::from(stream).set_tcp_keepalive(&keepalive).is_err()
    {
        tracing::debug!("a client left before its connection was set up");
    }
}

/// None when the TLS handshake failed or took longer than `limit`.
async fn tls_handshake(
    stream: TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    limit: Duration,
) -> Option<ClientStream> {
    let Some(settings) = tls else {
        return Some(ClientStream::Left(stream));
    };
    match tokio::time::timeout(limit, TlsAcceptor::from(settings).accept(stream)).await {
        Ok(Ok(stream)) => Some(ClientStream::Right(Box::new(stream))),
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

async fn serve_connection<S, B>(
    stream: ClientStream,
    timeouts: ConnectionTimeouts,
    protocols: &ProtocolBuilders,
    app: S,
    shutdown: Shutdown,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let state = Arc::new(ConnectionState::default());
    let socket = ClientSocket::new(stream, Arc::clone(&state), timeouts);
    let service = {
        let (state, shutdown) = (Arc::clone(&state), shutdown.clone());
        service_fn(move |request| {
            respond(request, app.clone(), Arc::clone(&state), shutdown.clone())
        })
    };
    let speaks_http2 = tokio::select! {
        biased;
        is_http2 = socket.speaks_http2() => is_http2,
        () = shutdown.closing() => return,
    };
    let stream = TokioIo::new(socket.clone());
    match speaks_http2 {
        Ok(true) => {
            let serving = protocols.http2.serve_connection(stream, service);
            let retire = http2::Connection::graceful_shutdown;
            drive(serving, retire, &state, &socket, &shutdown).await;
        }
        Ok(false) => {
            let serving = protocols.http1.serve_connection(stream, service);
            let retire = http1::UpgradeableConnection::graceful_shutdown;
            drive(serving.with_upgrades(), retire, &state, &socket, &shutdown).await;
        }
        Err(error) => log_end(&Err(error)),
    }
}

/// Serves a connection until it ends. When closing begins, `retire` lets it take no more requests.
async fn drive<C>(
    serving: C,
    retire: fn(Pin<&mut C>),
    state: &ConnectionState,
    socket: &ClientSocket,
    shutdown: &Shutdown,
) where
    C: Future<Output = hyper::Result<()>>,
{
    let mut serving = pin!(serving);
    // Biased, because a poll of the connection decides whether hyper would notice a close.
    tokio::select! {
        biased;
        ended = serving.as_mut() => return log_end(&ended),
        () = shutdown.closing() => {}
        () = closed_by_client(state, socket) => return,
    }
    retire(serving.as_mut());
    tokio::select! {
        biased;
        ended = serving.as_mut() => log_end(&ended),
        () = shutdown.cutting() => {}
        () = closed_by_client(state, socket) => {}
    }
}

fn log_end(ended: &Result<(), impl std::error::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a client's connection ended badly");
    }
}

async fn respond<S, B>(
    request: Request<Incoming>,
    mut app: S,
    connection: Arc<ConnectionState>,
    shutdown: Shutdown,
) -> Result<Response<DeferredErrorBody<B>>, Infallible>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let in_flight = connection.dispatch();
    let version = request.version();
    poll_fn(|context| app.poll_ready(context)).await?;
    let mut response = app.call(request).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        connection.mark_upgraded();
    } else if version < Version::HTTP_2 && shutdown.is_draining() {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let framing = match version {
        Version::HTTP_2 => Framing::Http2,
        _ if response.headers().contains_key(header::CONTENT_LENGTH) => Framing::Http1WithLength,
        _ => Framing::Http1,
    };
    Ok(response.map(|body| DeferredErrorBody::new(body, in_flight, framing)))
}

/// Ends when the client of a request in flight has closed its side and hyper, holding pipelined bytes, would not notice.
fn closed_by_client<'a>(
    connection: &'a ConnectionState,
    socket: &'a ClientSocket,
) -> impl Future<Output = ()> + 'a {
    let mut timer = None;
    poll_fn(move |context| {
        if !connection.would_miss_close() {
            timer = None;
            return std::task::Poll::Pending;
        }
        loop {
            let sleep =
                timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(CLOSE_CHECK_INTERVAL)));
            std::task::ready!(sleep.as_mut().poll(context));
            if socket.is_closed_by_client() {
                return std::task::Poll::Ready(());
            }
            timer = None;
        }
    })
}
