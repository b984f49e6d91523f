//! How a connection to the upstream is made: TCP without delays, TLS with HTTP/2 where it is offered, all of it within one limit.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tower::Service;

/// Connects within a limit.
#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<HttpConnector>,
    limit: Duration,
}

/// Connecting took longer than the limit.
#[derive(Debug)]
pub(super) struct TookTooLong;

impl fmt::Display for TookTooLong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("connecting took too long")
    }
}

impl std::error::Error for TookTooLong {}

impl Connector {
    pub(super) fn new(roots: &Arc<RootCertStore>, limit: Duration, http2: bool) -> Self {
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
        let connector = if http2 {
            builder.enable_http2().wrap_connector(tcp)
        } else {
            builder.wrap_connector(tcp)
        };
        Connector {
            https: connector,
            limit,
        }
    }
}

impl Service<Uri> for Connector {
    type Response = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connected = tokio::time::timeout(self.limit, self.https.call(uri));
        Box::pin(async move { connected.await.map_err(|_| TookTooLong)? })
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
