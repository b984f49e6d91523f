//! Connects to the upstream: TCP without delays, TLS with HTTP/2 where the upstream offers it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, PathAndQuery};
use hyper::rt::{Read, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use super::error::{CallError, causes, explain};
use crate::config::{BaseUrl, Scheme};

/// Scheme and authority of the upstream.
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

    /// The path and query of `path` at this origin.
    pub(super) fn with_path(&self, path: &Uri) -> Uri {
        let path = path.path_and_query().cloned();
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path.unwrap_or(PathAndQuery::from_static("/")));
        // All three parts are set, so this cannot fail.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

/// The path and query alone.
pub(super) fn without_origin(uri: &Uri) -> Uri {
    let path = uri.path_and_query().cloned();
    Uri::from(path.unwrap_or(PathAndQuery::from_static("/")))
}

/// A connection before its first byte of HTTP.
pub(super) type DialledStream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// The byte stream under an HTTP connection.
pub(super) trait ConnectionIo: Read + Write + Unpin + Send + 'static {}

impl<T: Read + Write + Unpin + Send + 'static> ConnectionIo for T {}

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

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether the upstream may choose HTTP/2.
    pub(super) fn offers_http2(&self) -> bool {
        self.offers_http2
    }

    pub(super) async fn connect(&self) -> Result<DialledStream, CallError> {
        let to = self.origin.with_path(&Uri::default());
        self.https
            .clone()
            .oneshot(to)
            .await
            .map_err(|error| explain_connect(&*error))
    }
}

/// An error of name, TCP or TLS. The system's own timeout counts as ours.
fn explain_connect(error: &(dyn std::error::Error + 'static)) -> CallError {
    let timed_out = causes(error).any(|cause| {
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

/// A file of trusted roots is unreadable or invalid.
#[derive(Debug)]
pub(crate) struct InvalidRoots {
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

/// The platform's trusted roots, or Mozilla's where the platform has none, as in an image built from scratch.
pub(crate) fn default_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// The [`default_roots`] and those of the file `further`.
///
/// # Errors
/// When `further` cannot be read or holds no certificate.
pub(crate) fn trusted_roots(further: Option<&Path>) -> Result<Arc<RootCertStore>, InvalidRoots> {
    let mut roots = default_roots();
    if let Some(path) = further {
        let invalid = |why: &dyn fmt::Display| InvalidRoots {
            path: path.to_owned(),
            why: why.to_string(),
        };
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| invalid(&error))?;
        if certificates.is_empty() {
            return Err(invalid(&"it holds no certificate"));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|error| invalid(&error))?;
        }
    }
    Ok(Arc::new(roots))
}
