//! What every answer of the admin port has: a body that may come in pieces, headers that keep it to itself, and errors that say what to do.

use std::error::Error;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};

/// A body, whole or in pieces. One that fails is cut, so that nobody takes a part for the whole.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

pub(super) const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

pub(super) fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub(super) fn with(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

pub(super) fn json(body: impl Into<Bytes>) -> Response<Body> {
    with(StatusCode::OK, JSON, whole(body))
}

pub(super) fn text(status: StatusCode, text: &str) -> Response<Body> {
    with(status, TEXT, whole(format!("{text}\n")))
}

/// An error of the API.
pub(super) fn error(status: StatusCode, message: &str) -> Response<Body> {
    let body = serde_json::json!({ "error": { "message": message } });
    with(status, JSON, whole(body.to_string()))
}

/// A refusal in the form that fits the path.
pub(super) fn refused(path: &str, status: StatusCode, message: &str) -> Response<Body> {
    if path.starts_with("/api/") {
        error(status, message)
    } else {
        text(status, message)
    }
}

pub(super) fn not_allowed(path: &str, allowed: &'static str) -> Response<Body> {
    let message = format!("send {allowed}; nothing else is served here");
    let mut response = refused(path, StatusCode::METHOD_NOT_ALLOWED, &message);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

pub(super) fn unavailable(why: &str) -> Response<Body> {
    let message = format!("the store gives nothing now; see /api/health, and try again: {why}");
    error(StatusCode::SERVICE_UNAVAILABLE, &message)
}
