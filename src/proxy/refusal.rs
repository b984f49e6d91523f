//! The gateway's own error responses: OpenAI's error shape, and a sentence with the remedy.

use std::fmt;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::upstream::CallError;

/// Why a request was not forwarded, or the upstream did not respond.
#[derive(Debug)]
pub(super) enum Refusal {
    Malformed(&'static str),
    DotSegments,
    Unauthorised,
    NotFound,
    MethodNotAllowed,
    BodyTooLarge(u64),
    TargetTooLong(usize),
    HeadTooLarge(String),
    Shed,
    Upstream(CallError),
}

/// OpenAI's error object.
#[derive(Serialize)]
struct OpenAiError {
    error: ErrorBody,
}

#[derive(Serialize)]
struct ErrorBody {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'static str>,
    code: &'static str,
}

impl Refusal {
    pub(super) fn status(&self) -> StatusCode {
        self.status_and_code().0
    }

    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Refusal::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed_request"),
            Refusal::DotSegments => (StatusCode::BAD_REQUEST, "dot_segments"),
            Refusal::Unauthorised => (StatusCode::UNAUTHORIZED, "invalid_api_key"),
            Refusal::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Refusal::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Refusal::BodyTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Refusal::TargetTooLong(_) => (StatusCode::URI_TOO_LONG, "target_too_long"),
            Refusal::HeadTooLarge(_) => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head_too_large",
            ),
            Refusal::Shed => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            Refusal::Upstream(error) => match error {
                CallError::Unreachable(_) => (StatusCode::BAD_GATEWAY, "upstream_unreachable"),
                CallError::Broke(_) => (StatusCode::BAD_GATEWAY, "upstream_broke"),
                CallError::ConnectTimeout => {
                    (StatusCode::GATEWAY_TIMEOUT, "upstream_connect_timeout")
                }
                CallError::Silent => (StatusCode::GATEWAY_TIMEOUT, "upstream_silent"),
            },
        }
    }

    /// The response, still without the exchange's id.
    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let (status, code) = self.status_and_code();
        let error = ErrorBody {
            message: self.to_string(),
            kind: "spangate_error",
            param: None,
            code,
        };
        let json = serde_json::to_vec(&OpenAiError { error }).unwrap_or_default();
        let mut response = Response::new(Full::from(json));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let further = match self {
            Refusal::Shed => Some((RETRY_AFTER, "1")),
            Refusal::Unauthorised => Some((WWW_AUTHENTICATE, "Bearer")),
            Refusal::MethodNotAllowed => {
                Some((ALLOW, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"))
            }
            _ => None,
        };
        if let Some((name, value)) = further {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Malformed(why) => write!(formatter, "malformed request: {why}"),
            Refusal::DotSegments => formatter
                .write_str("the path holds a `.` or `..` segment; send the path without it"),
            Refusal::Unauthorised => formatter.write_str(
                "send one of the gateway's client keys as `Authorization: Bearer <key>`",
            ),
            Refusal::NotFound => {
                formatter.write_str("nothing is served here; let the client's base_url end in /v1")
            }
            Refusal::MethodNotAllowed => formatter.write_str("CONNECT and TRACE are not passed on"),
            Refusal::BodyTooLarge(limit) => write!(
                formatter,
                "the body is longer than {limit} bytes; raise limits.max_body or send less"
            ),
            Refusal::TargetTooLong(limit) => write!(
                formatter,
                "the request target is longer than {limit} bytes; raise limits.max_target or shorten it"
            ),
            Refusal::HeadTooLarge(why) => {
                write!(formatter, "the request's head is too large: {why}")
            }
            Refusal::Shed => formatter.write_str(
                "too many requests are in flight; try again, or raise limits.max_in_flight",
            ),
            Refusal::Upstream(error) => error.fmt(formatter),
        }
    }
}
