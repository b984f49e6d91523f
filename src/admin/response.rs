//! Responses of the admin port: bodies whole or streamed, headers against caching and sniffing, and errors that say what to do.

use std::error::Error;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};

use crate::traces::Unavailable;

/// A body, whole or streamed. A stream that fails breaks the connection, so that no client takes a part for the whole.
pub(crate) type AdminBody = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

pub(super) const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

pub(super) fn whole(body: impl Into<Bytes>) -> AdminBody {
    Full::new(body.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub(super) fn with(
    status: StatusCode,
    content_type: &'static str,
    body: AdminBody,
) -> Response<AdminBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

pub(super) fn json(body: impl Into<Bytes>) -> Response<AdminBody> {
    with(StatusCode::OK, JSON, whole(body))
}

pub(super) fn text(status: StatusCode, text: &str) -> Response<AdminBody> {
    with(status, TEXT, whole(format!("{text}\n")))
}

/// An error as JSON.
pub(super) fn error(status: StatusCode, message: &str) -> Response<AdminBody> {
    let body = serde_json::json!({ "error": { "message": message } });
    with(status, JSON, whole(body.to_string()))
}

/// A refusal: JSON for a path of the API, else text.
pub(super) fn refused(path: &str, status: StatusCode, message: &str) -> Response<AdminBody> {
    if path.starts_with("/api/") {
        error(status, message)
    } else {
        text(status, message)
    }
}

pub(super) fn not_allowed(path: &str, allowed: &'static str) -> Response<AdminBody> {
    let message = format!("send {allowed}; nothing else is served here");
    let mut response = refused(path, StatusCode::METHOD_NOT_ALLOWED, &message);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

impl From<Unavailable> for Response<AdminBody> {
    fn from(Unavailable(why): Unavailable) -> Self {
        let message = format!("the store gives nothing now; see /api/health, and try again: {why}");
        error(StatusCode::SERVICE_UNAVAILABLE, &message)
    }
}
