//! The HTTP client of one upstream, with a pool of connections.
//!
//! It speaks HTTP/1.1, or HTTP/2 where the upstream's TLS offers it. No request is repeated. Only a request that a dead pooled connection
//! gives back unsent goes out on another. A call's total time has no limit, only its time without a byte.

mod connect;
mod error;
mod http2;
mod idle_timeout;
mod keep_alive;
mod pool;
mod reachability;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;

use crate::config::BaseUrl;
use connect::{Connector, Origin};
pub(crate) use connect::{default_roots, trusted_roots};
pub(crate) use error::{CallError, ResponseBodyError};
pub(crate) use idle_timeout::Activity;
pub(crate) use idle_timeout::IdleTimeoutBody;
pub(crate) use pool::ConnectionLease;
use pool::Pool;
pub(crate) use reachability::Reachability;

/// Address, trusted roots and timeouts of an upstream.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Its scheme and authority; the path is not used.
    pub base: BaseUrl,
    /// Authorities whose certificates are trusted, see [`trusted_roots`].
    pub roots: Arc<rustls::RootCertStore>,
    /// Most time for a connection: name, TCP and TLS.
    pub connect_timeout: Duration,
    /// Most time without a byte in either direction.
    pub idle_timeout: Duration,
}

/// A client of one upstream, for request bodies of type `B`. Clones share its connections.
pub(crate) struct Upstream<B> {
    calls: Arc<Pool<B>>,
    /// Upgrades exist in HTTP/1.1 only.
    upgrades: Arc<Pool<B>>,
    idle_timeout: Duration,
}

/// A response's body: fails when the upstream breaks off or is silent too long, and holds its connection until it is dropped.
pub(crate) type UpstreamResponseBody<B> = IdleTimeoutBody<Incoming, ConnectionLease<B>>;

impl<B> Upstream<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A client without a connection yet.
    pub(crate) fn new(settings: &Settings) -> Self {
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

    /// Sends a request whose URI is a path and a query. `activity` is that of its body. The header `upgrade` requests an upgrade.
    ///
    /// # Errors
    /// When there is no response. Dropping the call cancels it.
    pub(crate) fn call<'c>(
        &'c self,
        request: Request<B>,
        activity: &'c Activity,
    ) -> impl Future<Output = Result<Response<UpstreamResponseBody<B>>, CallError>> + 'c {
        let is_upgrade = request.headers().contains_key(http::header::UPGRADE);
        let pool = if is_upgrade {
            &self.upgrades
        } else {
            &self.calls
        };
        let limit = self.idle_timeout;
        activity
            .with_idle_timeout(limit, pool.send(request))
            .map(move |sent| {
                let (response, lease) = sent.ok_or(CallError::Silent)??;
                // hyper takes RST_STREAM(NO_ERROR) for an end: a server may send it after a whole answer, to refuse the rest of a request
                // (RFC 9113, section 8.1). Some proxies send it for any stream that they give up; a success refuses nothing.
                let ends_explicitly =
                    response.version() == http::Version::HTTP_2 && response.status().is_success();
                Ok(response.map(|body| IdleTimeoutBody::new(body, limit, ends_explicitly, lease)))
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
