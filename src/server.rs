//! Accepts connections, bounds what they may take, drains them: [`serve`] gives every request to an application.
//!
//! It knows HTTP's transport and hyper's habits, and nothing of what the requests are about. HTTP/1.1 and HTTP/2 come in on one port,
//! with or without TLS. Connections end in one order, told by [`Shutdown`]: first they are asked to close after their response, then the
//! listener closes and idle ones go, at last what still runs is cut.

mod outgoing;
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
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tower::Service;

use outgoing::Framing;
pub use outgoing::Outgoing;
pub use shutdown::Shutdown;
pub use socket::Patience;
use socket::{Connection, Socket, Transport};

/// Connections the kernel holds before they are accepted.
const BACKLOG: i32 = 4096;
/// How long accepting pauses when it fails, out of file descriptors for example, instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often a connection that hyper does not watch is asked whether its client is still there.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// hyper answers what breaks its own limits with a bare status, so they lie this much above those that are answered with a reason.
const HEADERS_ABOVE: usize = 32;
const HEAD_ABOVE: usize = 128 * 1024;
/// hyper's own bound of a read buffer, which also bounds a head.
const LEAST_BUFFER: usize = 8 * 1024 + 4096 * 100;

/// What a connection may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long it may take.
    pub patience: Patience,
    /// Headers of a request for which the application has an answer, if only that they are too many.
    pub max_headers: usize,
    /// Bytes of a request's head, target included, likewise.
    pub max_head: usize,
}

/// Where and how connections come in.
pub struct Listener {
    socket: TcpListener,
    /// Present when connections speak TLS. Replaced when certificates are read again.
    tls: Arc<ArcSwapOption<rustls::ServerConfig>>,
    terms: Terms,
}

impl Listener {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// Those of the operating system: the address is in use, is not this machine's, or the port is privileged.
    pub fn bind(
        address: SocketAddr,
        tls: Arc<ArcSwapOption<rustls::ServerConfig>>,
        terms: Terms,
    ) -> io::Result<Self> {
        let socket = RawSocket::new(
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
            terms,
        })
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Runs HTTP/2's streams where connections run, so that waiting for these waits for those.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

/// Serves connections of `listener` with `app` until `shutdown`; returns when the listener is closed. Connections go on as tasks of `tasks`.
pub async fn serve<S, B>(listener: Listener, app: S, shutdown: Shutdown, tasks: TaskTracker)
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
    let protocols = Arc::new(Protocols::new(Tracked(tasks.clone()), &listener.terms));
    let admit = |stream: TcpStream| {
        let (app, protocols) = (app.clone(), Arc::clone(&protocols));
        let shutdown = shutdown.clone();
        let (tls, patience) = (listener.tls.load_full(), listener.terms.patience);
        tasks.spawn(async move {
            tune(&stream);
            let secured = tokio::select! {
                secured = secure(stream, tls, patience.head) => secured,
                () = shutdown.cutting() => None,
            };
            let Some(transport) = secured else { return };
            connection(transport, patience, &protocols, app, shutdown).await;
        });
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.socket.accept() => accepted,
            () = shutdown.closing() => break,
        };
        match accepted {
            Ok((stream, _)) => admit(stream),
            // Its client left before it was accepted: no reason to keep others waiting.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; check the limit of open files");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Closing the socket would reset those that the kernel has accepted for us.
    while let Some(Ok((stream, _))) = listener.socket.accept().now_or_never() {
        admit(stream);
    }
}

/// How the protocols are spoken.
struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<Tracked>,
}

impl Protocols {
    fn new(tasks: Tracked, terms: &Terms) -> Self {
        let (mut http1, mut http2) = (http1::Builder::new(), http2::Builder::new(tasks));
        // The upstream's Date is passed on; none is made up.
        http1
            .auto_date_header(false)
            .max_headers(terms.max_headers + HEADERS_ABOVE)
            .max_buf_size(LEAST_BUFFER.max(terms.max_head + HEAD_ABOVE))
            .header_read_timeout(None)
            .timer(TokioTimer::new());
        http2
            .auto_date_header(false)
            .max_concurrent_streams(1000)
            .max_header_list_size(u32::try_from(terms.max_head + HEAD_ABOVE).unwrap_or(u32::MAX))
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(8 * 1024 * 1024)
            .max_send_buf_size(64 * 1024)
            .keep_alive_interval(Duration::from_mins(1))
            .keep_alive_timeout(Duration::from_secs(20))
            .timer(TokioTimer::new());
        Protocols { http1, http2 }
    }
}

/// Sends small writes at once, and notices clients that vanished without a word.
fn tune(stream: &TcpStream) {
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

/// The TLS handshake, where TLS is spoken. None when it failed or took too long.
async fn secure(
    stream: TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    patience: Duration,
) -> Option<Transport> {
    let Some(settings) = tls else {
        return Some(Transport::Plain(stream));
    };
    match tokio::time::timeout(patience, TlsAcceptor::from(settings).accept(stream)).await {
        Ok(Ok(stream)) => Some(Transport::Tls(Box::new(stream))),
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

async fn connection<S, B>(
    transport: Transport,
    patience: Patience,
    protocols: &Protocols,
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
    let shared = Arc::new(Connection::default());
    let socket = Socket::new(transport, Arc::clone(&shared), patience);
    let service = {
        let (shared, shutdown) = (Arc::clone(&shared), shutdown.clone());
        service_fn(move |request| {
            respond(request, app.clone(), Arc::clone(&shared), shutdown.clone())
        })
    };
    let speaks_http2 = tokio::select! {
        biased;
        speaks = socket.speaks_http2() => speaks,
        () = shutdown.closing() => return,
    };
    let stream = TokioIo::new(socket.clone());
    match speaks_http2 {
        Ok(true) => {
            let serving = protocols.http2.serve_connection(stream, service);
            let retire = http2::Connection::graceful_shutdown;
            drive(serving, retire, &shared, &socket, &shutdown).await;
        }
        Ok(false) => {
            let serving = protocols.http1.serve_connection(stream, service);
            let retire = http1::UpgradeableConnection::graceful_shutdown;
            drive(serving.with_upgrades(), retire, &shared, &socket, &shutdown).await;
        }
        Err(error) => log_end(&Err(error)),
    }
}

/// Serves a connection until it ends, `retire` asking it to when no more requests shall come.
async fn drive<C>(
    serving: C,
    retire: fn(Pin<&mut C>),
    shared: &Connection,
    socket: &Socket,
    shutdown: &Shutdown,
) where
    C: Future<Output = hyper::Result<()>>,
{
    let mut serving = pin!(serving);
    // In this order: whether the client is watched is known only after the connection was polled.
    tokio::select! {
        biased;
        ended = serving.as_mut() => return log_end(&ended),
        () = shutdown.closing() => {}
        () = client_gone(shared, socket) => return,
    }
    retire(serving.as_mut());
    tokio::select! {
        biased;
        ended = serving.as_mut() => log_end(&ended),
        () = shutdown.cutting() => {}
        () = client_gone(shared, socket) => {}
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
    connection: Arc<Connection>,
    shutdown: Shutdown,
) -> Result<Response<Outgoing<B>>, Infallible>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let in_flight = connection.dispatch();
    let version = request.version();
    poll_fn(|context| app.poll_ready(context)).await?;
    let mut response = app.call(request).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        connection.becomes_tunnel();
    } else if version < Version::HTTP_2 && shutdown.is_draining() {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let framing = match version {
        Version::HTTP_2 => Framing::Http2,
        _ if response.headers().contains_key(header::CONTENT_LENGTH) => Framing::Http1Told,
        _ => Framing::Http1,
    };
    Ok(response.map(|body| Outgoing::new(body, in_flight, framing)))
}

/// Ends when the client of a request in flight has closed its side and hyper, holding bytes that it pipelined, would not notice.
fn client_gone<'a>(
    connection: &'a Connection,
    socket: &'a Socket,
) -> impl Future<Output = ()> + 'a {
    let mut timer = None;
    poll_fn(move |context| {
        if !connection.is_unwatched() {
            timer = None;
            return std::task::Poll::Pending;
        }
        loop {
            let waiting = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(WATCH_INTERVAL)));
            std::task::ready!(waiting.as_mut().poll(context));
            if socket.is_closed_by_client() {
                return std::task::Poll::Ready(());
            }
            timer = None;
        }
    })
}
