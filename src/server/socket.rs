//! The socket of one client connection: its bytes for hyper, the timeouts that hyper lacks, and the protocol that its first bytes show.
//!
//! hyper has one timer for a request's head, and it runs on an idle keep-alive connection too. This socket has three: until the first byte
//! of a connection, from a head's first byte to its request, and between requests. None of these runs while a request is in flight. A fourth
//! runs while a client takes nothing of its response. They cost nothing where heads arrive in one piece.

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
use tokio_util::either::Either;

/// Time limits of one client connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionTimeouts {
    /// From the accept to the first byte.
    pub first_byte: Duration,
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// Between requests.
    pub keep_alive: Duration,
    /// While the client takes nothing of its response.
    pub stalled: Duration,
}

/// State of one connection that its socket, its service and its bodies share.
#[derive(Debug, Default)]
pub(super) struct ConnectionState {
    /// Requests whose response has not ended.
    in_flight: AtomicUsize,
    /// Requests ever dispatched.
    dispatched: AtomicUsize,
    /// hyper waits for the socket to become readable, and would notice the client's close.
    read_armed: AtomicBool,
    /// The client does not take the written bytes.
    write_blocked: AtomicBool,
    upgraded: AtomicBool,
}

/// Counts one request of a connection while it lives.
#[derive(Debug)]
pub(super) struct InFlightGuard(Arc<ConnectionState>);

impl ConnectionState {
    pub(super) fn dispatch(self: &Arc<Self>) -> InFlightGuard {
        self.dispatched.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlightGuard(Arc::clone(self))
    }

    pub(super) fn mark_upgraded(&self) {
        self.upgraded.store(true, Ordering::Relaxed);
    }

    fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0 || self.upgraded.load(Ordering::Relaxed)
    }

    /// Whether a request is in flight whose client could leave unnoticed: hyper does not read while it holds pipelined bytes.
    pub(super) fn would_miss_close(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0 && !self.read_armed.load(Ordering::Relaxed)
    }
}

impl InFlightGuard {
    /// Whether the client has not yet taken the written bytes.
    pub(super) fn is_write_blocked(&self) -> bool {
        self.0.write_blocked.load(Ordering::Relaxed)
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// In the clear, or under TLS.
pub(super) type ClientStream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// A client's socket. Clones share it: hyper owns one, and the connection's task polls the other for the client's close.
#[derive(Clone)]
pub(super) struct ClientSocket(Arc<Mutex<SocketState>>);

struct SocketState {
    stream: ClientStream,
    connection: Arc<ConnectionState>,
    timeouts: ConnectionTimeouts,
    preface: Http2Preface,
    phase: ReadPhase,
    since: Instant,
    dispatched: usize,
    timer: Option<Pin<Box<Sleep>>>,
    /// Runs while a write waits for the client.
    stall: Option<Pin<Box<Sleep>>>,
}

/// The input that a read waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReadPhase {
    FirstByte,
    Head,
    Request,
    Nothing,
}

/// Compares the first bytes of a connection with HTTP/2's preface (RFC 9113, section 3.4).
#[derive(Default)]
struct Http2Preface {
    length: usize,
    differs: bool,
    /// The first `held` of them were read for the comparison, and hyper has not got them yet.
    bytes: [u8; HTTP2_PREFACE.len()],
    held: usize,
    /// Bytes came, and their request was not dispatched yet.
    undispatched: bool,
}

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Http2Preface {
    fn take(&mut self, bytes: &[u8]) {
        if self.length < HTTP2_PREFACE.len() && !self.differs {
            let expected = &HTTP2_PREFACE[self.length..];
            let compared = expected.len().min(bytes.len());
            self.differs = expected[..compared] != bytes[..compared];
        }
        self.length = self.length.saturating_add(bytes.len());
    }

    /// Whether further bytes cannot change the result.
    fn is_decided(&self) -> bool {
        self.differs || self.length >= HTTP2_PREFACE.len()
    }

    fn is_http2(&self) -> bool {
        self.is_decided() && !self.differs
    }

    /// Moves as many of the held bytes as fit.
    fn release(&mut self, buffer: &mut ReadBuf<'_>) {
        let released = self.held.min(buffer.remaining());
        buffer.put_slice(&self.bytes[..released]);
        self.bytes.copy_within(released..self.held, 0);
        self.held -= released;
    }
}

impl ClientSocket {
    pub(super) fn new(
        stream: ClientStream,
        connection: Arc<ConnectionState>,
        timeouts: ConnectionTimeouts,
    ) -> Self {
        ClientSocket(Arc::new(Mutex::new(SocketState {
            stream,
            connection,
            timeouts,
            preface: Http2Preface::default(),
            phase: ReadPhase::FirstByte,
            since: Instant::now(),
            dispatched: 0,
            timer: None,
            stall: None,
        })))
    }

    /// Waits until the first bytes show whether the client speaks HTTP/2. hyper reads them again together with the bytes behind them: for the
    /// few bytes alone it would double its buffer.
    pub(super) async fn speaks_http2(&self) -> io::Result<bool> {
        poll_fn(|context| {
            let mut guard = self.state();
            let state = &mut *guard;
            while !state.preface.is_decided() {
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
        let stream = match &state.stream {
            Either::Left(tcp) => tcp,
            Either::Right(tls) => tls.get_ref().0,
        };
        match stream.ready(Interest::READABLE).now_or_never() {
            Some(Ok(ready)) => ready.is_read_closed(),
            Some(Err(_)) => true,
            None => false,
        }
    }

    /// No code panics while it holds the lock, and a socket has no invariant that a panic could break.
    fn state(&self) -> MutexGuard<'_, SocketState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SocketState {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.connection
            .read_armed
            .store(polled.is_pending(), Ordering::Relaxed);
        if polled.is_pending() {
            return self.check_read_timeout(context).map(Err);
        }
        self.preface.take(&buffer.filled()[before..]);
        // While a request is in flight, these bytes are of its body.
        self.preface.undispatched |= !self.connection.is_busy();
        polled
    }

    /// Fails when the awaited input did not come in time. Called whenever there is nothing to read.
    fn check_read_timeout(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let dispatched = self.connection.dispatched.load(Ordering::Relaxed);
        let is_new = dispatched != self.dispatched;
        if is_new {
            self.dispatched = dispatched;
            self.preface.undispatched = false;
        }
        let phase = if self.connection.is_busy() {
            ReadPhase::Nothing
        } else if self.preface.length == 0 {
            ReadPhase::FirstByte
        } else if self.preface.undispatched && !self.preface.is_http2() {
            ReadPhase::Head
        } else {
            ReadPhase::Request
        };
        if (phase != self.phase || is_new) && phase != ReadPhase::FirstByte {
            self.phase = phase;
            self.since = Instant::now();
        }
        let (limit, expired) = match phase {
            ReadPhase::Nothing => return Poll::Pending,
            ReadPhase::FirstByte => (self.timeouts.first_byte, "no first byte came in time"),
            ReadPhase::Head => (self.timeouts.head, "no whole request head came in time"),
            ReadPhase::Request => (self.timeouts.keep_alive, "no further request came in time"),
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

impl AsyncRead for ClientSocket {
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
        state.preface.release(buffer);
        // An error comes again. Without an error, hyper may not read on after it got these bytes.
        if buffer.remaining() > 0
            && !matches!(state.poll_read(context, buffer), Poll::Ready(Ok(())))
        {
            let read_armed = &state.connection.read_armed;
            read_armed.store(false, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream, context| {
            stream.poll_write_vectored(context, slices)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.state().stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(context, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(context, AsyncWrite::poll_shutdown)
    }
}

impl ClientSocket {
    fn write<T>(
        &self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut ClientStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut guard = self.state();
        let state = &mut *guard;
        let polled = write(Pin::new(&mut state.stream), context);
        state
            .connection
            .write_blocked
            .store(polled.is_pending(), Ordering::Relaxed);
        if polled.is_ready() {
            state.stall = None;
            return polled;
        }
        let limit = state.timeouts.stalled;
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
