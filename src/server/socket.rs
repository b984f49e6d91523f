//! The socket of one client connection: what hyper reads and writes, with the clocks that hyper lacks, and which protocol it carries.
//!
//! hyper has one timer for a request's head, and it runs on an idle keep-alive connection too. Here are three: until the first byte of a
//! connection, from a head's first byte to its request, and between requests. None of these runs while a request is in flight; one more does while
//! a client takes nothing of its response. They cost nothing where heads arrive in one piece.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

/// How patient a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From the accept to the first byte.
    pub first_byte: Duration,
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// Between requests.
    pub keep_alive: Duration,
    /// While the client takes nothing of what is written.
    pub stalled: Duration,
}

/// What the socket, the service and the bodies of one connection tell each other.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// Requests that were dispatched and whose response has not ended.
    in_flight: AtomicUsize,
    /// Requests ever dispatched.
    dispatched: AtomicUsize,
    /// hyper waits for the socket to become readable, so a client that leaves is noticed.
    watched: AtomicBool,
    /// The client does not take what was written.
    write_blocked: AtomicBool,
    /// The connection is a tunnel now.
    upgraded: AtomicBool,
}

/// Counts one request of a connection while it lives.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Connection>);

impl Connection {
    pub(super) fn dispatch(self: &Arc<Self>) -> InFlight {
        self.dispatched.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    pub(super) fn becomes_tunnel(&self) {
        self.upgraded.store(true, Ordering::Relaxed);
    }

    fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0 || self.upgraded.load(Ordering::Relaxed)
    }

    /// A request is in flight and nobody would notice the client leave: hyper does not read while it holds pipelined bytes.
    pub(super) fn is_unwatched(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0 && !self.watched.load(Ordering::Relaxed)
    }
}

impl InFlight {
    /// Whether written bytes wait for the client to take them.
    pub(super) fn is_write_blocked(&self) -> bool {
        self.0.write_blocked.load(Ordering::Relaxed)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes in the clear or under TLS.
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A client's socket. Shared with the connection's own task, which asks it now and then whether the client is still there.
#[derive(Clone)]
pub(super) struct Socket(Arc<Mutex<State>>);

struct State {
    transport: Transport,
    connection: Arc<Connection>,
    patience: Patience,
    preface: Preface,
    waits: Wait,
    since: Instant,
    dispatched: usize,
    timer: Option<Pin<Box<Sleep>>>,
    /// Runs while a write waits for the client.
    stall: Option<Pin<Box<Sleep>>>,
}

/// What the socket is being read for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    FirstByte,
    Head,
    Request,
    Nothing,
}

/// The first bytes of a connection tell HTTP/2 from HTTP/1 (RFC 9113, section 3.4).
#[derive(Default)]
struct Preface {
    length: usize,
    differs: bool,
    /// The first `held` of them were read to tell, and are still to be given.
    bytes: [u8; HTTP2_PREFACE.len()],
    held: usize,
    /// Bytes came that no request was dispatched for yet.
    undispatched: bool,
}

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Preface {
    fn take(&mut self, bytes: &[u8]) {
        if self.length < HTTP2_PREFACE.len() && !self.differs {
            let expected = &HTTP2_PREFACE[self.length..];
            let compared = expected.len().min(bytes.len());
            self.differs = expected[..compared] != bytes[..compared];
        }
        self.length = self.length.saturating_add(bytes.len());
    }

    /// Nothing that is still to come changes what they tell.
    fn is_clear(&self) -> bool {
        self.differs || self.length >= HTTP2_PREFACE.len()
    }

    fn is_http2(&self) -> bool {
        self.is_clear() && !self.differs
    }

    /// As many of the held bytes as fit.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) {
        let given = self.held.min(buffer.remaining());
        buffer.put_slice(&self.bytes[..given]);
        self.bytes.copy_within(given..self.held, 0);
        self.held -= given;
    }
}

impl Socket {
    pub(super) fn new(
        transport: Transport,
        connection: Arc<Connection>,
        patience: Patience,
    ) -> Self {
        Socket(Arc::new(Mutex::new(State {
            transport,
            connection,
            patience,
            preface: Preface::default(),
            waits: Wait::FirstByte,
            since: Instant::now(),
            dispatched: 0,
            timer: None,
            stall: None,
        })))
    }

    /// Whether the client speaks HTTP/2, as soon as its bytes tell. They stay to be read, with what came right behind them: a server that got
    /// the few of them alone would double its buffer for the rest.
    pub(super) async fn speaks_http2(&self) -> io::Result<bool> {
        poll_fn(|context| {
            let mut guard = self.state();
            let state = &mut *guard;
            while !state.preface.is_clear() {
                let mut bytes = state.preface.bytes;
                let mut buffer = ReadBuf::new(&mut bytes);
                buffer.advance(state.preface.held);
                ready!(state.poll_read(context, &mut buffer))?;
                let read = buffer.filled().len();
                let ended = read == state.preface.held;
                (state.preface.bytes, state.preface.held) = (bytes, read);
                if ended {
                    break;
                }
            }
            Poll::Ready(Ok(state.preface.is_http2()))
        })
        .await
    }

    /// Whether the client has closed its side. Reads nothing.
    pub(super) fn is_closed_by_client(&self) -> bool {
        let state = self.state();
        let stream = match &state.transport {
            Transport::Plain(stream) => stream,
            Transport::Tls(stream) => stream.get_ref().0,
        };
        match stream.ready(Interest::READABLE).now_or_never() {
            Some(Ok(ready)) => ready.is_read_closed(),
            Some(Err(_)) => true,
            None => false,
        }
    }

    /// No code panics while it holds the lock, and a socket has no invariant that a panic could break.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        self.connection
            .watched
            .store(polled.is_pending(), Ordering::Relaxed);
        if polled.is_pending() {
            return self.check_patience(context).map(Err);
        }
        self.preface.take(&buffer.filled()[before..]);
        // While a request is in flight these are its body's bytes.
        self.preface.undispatched |= !self.connection.is_busy();
        polled
    }

    /// Fails when what is waited for did not come in time. Called whenever there is nothing to read.
    fn check_patience(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let dispatched = self.connection.dispatched.load(Ordering::Relaxed);
        let moved = dispatched != self.dispatched;
        if moved {
            self.dispatched = dispatched;
            self.preface.undispatched = false;
        }
        let waits = if self.connection.is_busy() {
            Wait::Nothing
        } else if self.preface.length == 0 {
            Wait::FirstByte
        } else if self.preface.undispatched && !self.preface.is_http2() {
            Wait::Head
        } else {
            Wait::Request
        };
        if (waits != self.waits || moved) && waits != Wait::FirstByte {
            self.waits = waits;
            self.since = Instant::now();
        }
        let (limit, expired) = match waits {
            Wait::Nothing => return Poll::Pending,
            Wait::FirstByte => (self.patience.first_byte, "no first byte came in time"),
            Wait::Head => (self.patience.head, "no whole request head came in time"),
            Wait::Request => (self.patience.keep_alive, "no further request came in time"),
        };
        let deadline = self.since + limit;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll_unpin(context).is_ready() {
            if timer.deadline() >= deadline {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, expired));
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.preface.held == 0 {
            return state.poll_read(context, buffer);
        }
        state.preface.give(buffer);
        // An error comes again. Without one, who got bytes may have no reason to read on.
        if buffer.remaining() > 0
            && !matches!(state.poll_read(context, buffer), Poll::Ready(Ok(())))
        {
            let watched = &state.connection.watched;
            watched.store(false, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |transport, context| match transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        })
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |transport, context| match transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        })
    }

    fn is_write_vectored(&self) -> bool {
        match &self.state().transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(context, |transport, context| match transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(context),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(context),
        })
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(context, |transport, context| match transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        })
    }
}

impl Socket {
    fn write<T>(
        &self,
        context: &mut Context<'_>,
        write: impl FnOnce(&mut Transport, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut guard = self.state();
        let state = &mut *guard;
        let polled = write(&mut state.transport, context);
        state
            .connection
            .write_blocked
            .store(polled.is_pending(), Ordering::Relaxed);
        if polled.is_ready() {
            state.stall = None;
            return polled;
        }
        let limit = state.patience.stalled;
        let stall = state
            .stall
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        stall.poll_unpin(context).map(|()| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client took nothing in time",
            ))
        })
    }
}
