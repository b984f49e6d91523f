//! Health checks, the same on both ports: whether the process can serve, and whether it should get traffic.
//!
//! Neither depends on Respan, the disk or the upstream: an outage there must not stop traffic here. Load balancers also send them as HTTP/1.0
//! without `Host`, so they are answered before all other checks.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;

use crate::server::Shutdown;

/// The response to a health check; none for any other request.
pub(crate) fn answer<B>(
    request: &Request<B>,
    shutdown: &Shutdown,
) -> Option<Response<Full<Bytes>>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let (status, text) = match request.uri().path() {
        "/healthz" => (StatusCode::OK, "ok\n"),
        "/readyz" if shutdown.is_draining() => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        "/readyz" => (StatusCode::OK, "ready\n"),
        _ => return None,
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    Some(response)
}
