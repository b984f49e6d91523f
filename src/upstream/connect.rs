//! How a connection to the upstream is made: TCP without delays, TLS with HTTP/2 where it is offered.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, PathAndQuery};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use super::{CallError, explain};
use crate::config::{BaseUrl, Scheme};

/// Whom connections go to.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    scheme: http::uri::Scheme,
    authority: Authority,
}

impl Origin {
    pub(super) fn of(base: &BaseUrl) -> Self {
        Origin {
            scheme: match base.scheme {
                Scheme::Http => http::uri::Scheme::HTTP,
                Scheme::Https => http::uri::Scheme::HTTPS,
            },
            authority: base.authority.clone(),
        }
    }

    /// This path and query, there.
    pub(super) fn with_path(&self, path: &Uri) -> Uri {
        let path = path.path_and_query().cloned();
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path.unwrap_or(PathAndQuery::from_static("/")));
        // It has all three, and that is all it takes.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

/// The path and query alone.
pub(super) fn without_origin(uri: &Uri) -> Uri {
    let path = uri.path_and_query().cloned();
    Uri::from(path.unwrap_or(PathAndQuery::from_static("/")))
}

/// A connection before anything was said on it.
pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Connects to one origin.
#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<HttpConnector>,
    origin: Origin,
    offers_http2: bool,
    limit: Duration,
}

impl Connector {
    /// `limit` is for name, TCP and TLS together.
    pub(super) fn new(
        roots: &Arc<RootCertStore>,
        origin: Origin,
        limit: Duration,
        with_http2: bool,
    ) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_mins(1)));
        tcp.set_connect_timeout(Some(limit));
        let tls = ClientConfig::builder()
            .with_root_certificates(Arc::clone(roots))
            .with_no_client_auth();
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1();
        let https = if with_http2 {
            builder.enable_http2().wrap_connector(tcp)
        } else {
            builder.wrap_connector(tcp)
        };
        Connector {
            https,
            offers_http2: with_http2 && origin.scheme == http::uri::Scheme::HTTPS,
            origin,
            limit,
        }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The longest that connecting may take.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether a connection may turn out to speak HTTP/2.
    pub(super) fn offers_http2(&self) -> bool {
        self.offers_http2
    }

    pub(super) async fn connect(&self) -> Result<Stream, CallError> {
        let to = self.origin.with_path(&Uri::default());
        self.https
            .clone()
            .oneshot(to)
            .await
            .map_err(|error| explain_connect(&*error))
    }
}

/// Name, TCP or TLS failed; the system's own limit counts as ours.
fn explain_connect(error: &(dyn std::error::Error + 'static)) -> CallError {
    let timed_out = super::causes(error).any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|io| io.kind() == io::ErrorKind::TimedOut)
    });
    if timed_out {
        CallError::ConnectTimeout
    } else {
        CallError::Unreachable(explain(error))
    }
}

/// A file of roots that cannot be used.
#[derive(Debug)]
pub struct InvalidRoots {
    path: PathBuf,
    why: String,
}

impl fmt::Display for InvalidRoots {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}: not a file of PEM certificates: {}",
            self.path.display(),
            self.why
        )
    }
}

impl std::error::Error for InvalidRoots {}

/// The platform's trusted roots, or Mozilla's where the platform has none, as in an image made from scratch.
pub fn usual_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// The [`usual_roots`] and those of `further`.
///
/// # Errors
/// When `further` cannot be read or holds no certificate.
pub fn trusted_roots(further: Option<&Path>) -> Result<Arc<RootCertStore>, InvalidRoots> {
    let mut roots = usual_roots();
    if let Some(path) = further {
        let invalid = |why: String| InvalidRoots {
            path: path.to_owned(),
            why,
        };
        let certificates =
            CertificateDer::pem_file_iter(path).map_err(|error| invalid(error.to_string()))?;
        let mut added = 0;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| invalid(error.to_string()))?;
            added += 1;
        }
        if added == 0 {
            return Err(invalid("it holds no certificate".to_owned()));
        }
    }
    Ok(Arc::new(roots))
}
