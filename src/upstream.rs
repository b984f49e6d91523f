//! Where requests go: a pooled client for one base URL, with the failures that a client of the gateway can tell apart.
//!
//! HTTP/1.1, or HTTP/2 where the upstream's TLS offers it. No request is repeated: only one that was never begun, on a pooled
//! connection that turned out to be dead, goes out on another. There is no limit on a call's total time, only on silence.

mod connect;
mod lanes;
mod silence;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tower::Service;

use connect::{Connector, TookTooLong};
pub use connect::{InvalidRoots, trusted_roots, usual_roots};
use lanes::Lanes;
pub use lanes::Place;
pub use silence::{Broken, Pulse, Vigil};

/// How an upstream is reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Authorities whose certificates are trusted, see [`trusted_roots`].
    pub roots: Arc<rustls::RootCertStore>,
    /// Most time for a connection: name, TCP and TLS.
    pub connect_timeout: Duration,
    /// Most time without a byte in either direction.
    pub idle_timeout: Duration,
}

/// A client of one upstream, for request bodies of type `B`. Clones share its connections.
pub struct Upstream<B> {
    shared: Arc<Shared<B>>,
}

struct Shared<B> {
    calls: Lanes<B>,
    /// Upgrades exist in HTTP/1.1 only.
    upgrades: Lanes<B>,
    idle_timeout: Duration,
}

/// An upstream's response body: fails when the upstream breaks off or falls silent, and counts as a call under way until it is dropped.
pub type ReplyBody = Vigil<Incoming, Place>;

/// Why there is no response.
#[derive(Debug)]
pub enum CallError {
    /// No connection could be made.
    Unreachable(String),
    /// The connection broke before the response's head.
    Broke(String),
    /// No connection was made in time.
    ConnectTimeout,
    /// No head came and nothing else moved for the idle timeout.
    Silent,
}

impl fmt::Display for CallError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Unreachable(why) => {
                write!(formatter, "the upstream cannot be reached: {why}")
            }
            CallError::Broke(why) => write!(
                formatter,
                "the upstream broke off before it answered: {why}"
            ),
            CallError::ConnectTimeout => formatter
                .write_str("connecting to the upstream took longer than upstream.connect_timeout"),
            CallError::Silent => {
                formatter.write_str("the upstream was silent for longer than upstream.idle_timeout")
            }
        }
    }
}

impl std::error::Error for CallError {}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A client without a connection yet.
    pub fn new(settings: &Settings) -> Self {
        let connector = |http2| Connector::new(&settings.roots, settings.connect_timeout, http2);
        Upstream {
            shared: Arc::new(Shared {
                calls: Lanes::new(connector(true)),
                upgrades: Lanes::new(connector(false)),
                idle_timeout: settings.idle_timeout,
            }),
        }
    }
}

impl<B> Clone for Upstream<B> {
    fn clone(&self) -> Self {
        Upstream {
            shared: Arc::clone(&self.shared),
        }
    }
}

/// A request whose URI is absolute. The [`Pulse`] among its extensions, if any, tells of its body's progress; an upgrade is asked for with
/// the header `upgrade`.
impl<B> Service<Request<B>> for Upstream<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<ReplyBody>;
    type Error = CallError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, CallError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let pulse = request
                .extensions()
                .get::<Pulse>()
                .cloned()
                .unwrap_or_default();
            let lanes = if request.headers().contains_key(http::header::UPGRADE) {
                &shared.upgrades
            } else {
                &shared.calls
            };
            let (client, place) = lanes.take();
            let response = pulse
                .unless_silent(shared.idle_timeout, client.request(request))
                .await
                .ok_or(CallError::Silent)?;
            let response = response.map_err(|error| explain(&error))?;
            // hyper takes RST_STREAM(NO_ERROR) for an end, since a server may so refuse the rest of a request that it has answered whole (RFC 9113,
            // section 8.1). Some proxies send it for any stream that they give up; a request that succeeded was not refused.
            let says_its_end =
                response.version() == http::Version::HTTP_2 && response.status().is_success();
            Ok(response.map(|body| Vigil::new(body, shared.idle_timeout, says_its_end, place)))
        })
    }
}

/// Says whose fault it is, from the whole chain of causes.
fn explain(error: &hyper_util::client::legacy::Error) -> CallError {
    let mut causes = Vec::new();
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        let io = cause.downcast_ref::<io::Error>();
        if cause.is::<TookTooLong>()
            || io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) && error.is_connect()
        {
            return CallError::ConnectTimeout;
        }
        let text = cause.to_string();
        if causes.last() != Some(&text) {
            causes.push(text);
        }
        next = cause.source();
    }
    let why = causes.join(": ");
    if error.is_connect() {
        CallError::Unreachable(why)
    } else {
        CallError::Broke(why)
    }
}
