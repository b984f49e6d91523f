//! Where requests go: a client of one upstream with its pool of connections, and the failures that a client of the gateway can tell apart.
//!
//! HTTP/1.1, or HTTP/2 where the upstream's TLS offers it. No request is repeated: only one that was never begun, on a pooled
//! connection that turned out to be dead, goes out on another. There is no limit on a call's total time, only on silence.

mod connect;
mod idle;
mod pool;
mod reachability;
mod shared;
mod silence;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;

use crate::config::BaseUrl;
use connect::{Connector, Origin};
pub use connect::{InvalidRoots, trusted_roots, usual_roots};
pub use pool::Place;
use pool::Pool;
pub use reachability::{ReachState, Reachability};
pub use silence::{Broken, Pulse, Vigil};

/// How an upstream is reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it is; its path is not used.
    pub base: BaseUrl,
    /// Authorities whose certificates are trusted, see [`trusted_roots`].
    pub roots: Arc<rustls::RootCertStore>,
    /// Most time for a connection: name, TCP and TLS.
    pub connect_timeout: Duration,
    /// Most time without a byte in either direction.
    pub idle_timeout: Duration,
}

/// A client of one upstream, for request bodies of type `B`. Clones share its connections.
pub struct Upstream<B> {
    calls: Arc<Pool<B>>,
    /// Upgrades exist in HTTP/1.1 only.
    upgrades: Arc<Pool<B>>,
    idle_timeout: Duration,
}

/// An upstream's response body: fails when the upstream breaks off or falls silent, and keeps its connection until it is dropped.
pub type ReplyBody<B> = Vigil<Incoming, Place<B>>;

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
        let pool = |http2| {
            let (origin, limit) = (Origin::of(&settings.base), settings.connect_timeout);
            let connector = Connector::new(&settings.roots, origin, limit, http2);
            Arc::new(Pool::new(connector))
        };
        Upstream {
            calls: pool(true),
            upgrades: pool(false),
            idle_timeout: settings.idle_timeout,
        }
    }

    /// Sends a request whose URI is a path and a query; `pulse` tells of its body's progress. An upgrade is asked for with the header `upgrade`.
    ///
    /// # Errors
    /// When there is no response. Dropping the call cancels it.
    pub fn call<'c>(
        &'c self,
        request: Request<B>,
        pulse: &'c Pulse,
    ) -> impl Future<Output = Result<Response<ReplyBody<B>>, CallError>> + 'c {
        let is_upgrade = request.headers().contains_key(http::header::UPGRADE);
        let pool = if is_upgrade {
            &self.upgrades
        } else {
            &self.calls
        };
        let limit = self.idle_timeout;
        pulse
            .unless_silent(limit, pool.send(request))
            .map(move |sent| {
                let (response, place) = sent.ok_or(CallError::Silent)??;
                // hyper takes RST_STREAM(NO_ERROR) for an end, since a server may so refuse the rest of a request that it has answered whole
                // (RFC 9113, section 8.1). Some proxies send it for any stream that they give up; a request that succeeded was not refused.
                let says_its_end =
                    response.version() == http::Version::HTTP_2 && response.status().is_success();
                Ok(response.map(|body| Vigil::new(body, limit, says_its_end, place)))
            })
    }
}

impl<B> Clone for Upstream<B> {
    fn clone(&self) -> Self {
        Upstream {
            calls: Arc::clone(&self.calls),
            upgrades: Arc::clone(&self.upgrades),
            idle_timeout: self.idle_timeout,
        }
    }
}

/// An error and what caused it, as one line.
fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in causes(error) {
        let text = cause.to_string();
        // Some repeat the text of what they wrap.
        if texts.last() != Some(&text) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

fn causes<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}
