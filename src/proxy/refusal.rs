//! Answers of the gateway's own: OpenAI's error shape, and a sentence that says what to do.

use std::fmt;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::upstream::CallError;

/// Why a request was not, or could not be, passed on.
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
struct Envelope {
    error: Error,
}

#[derive(Serialize)]
struct Error {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'static str>,
    code: &'static str,
}

impl Refusal {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Refusal::Malformed(_) | Refusal::DotSegments => StatusCode::BAD_REQUEST,
            Refusal::Unauthorised => StatusCode::UNAUTHORIZED,
            Refusal::NotFound => StatusCode::NOT_FOUND,
            Refusal::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::TargetTooLong(_) => StatusCode::URI_TOO_LONG,
            Refusal::HeadTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Refusal::Shed => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Upstream(CallError::Unreachable(_) | CallError::Broke(_)) => {
                StatusCode::BAD_GATEWAY
            }
            Refusal::Upstream(CallError::ConnectTimeout | CallError::Silent) => {
                StatusCode::GATEWAY_TIMEOUT
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Refusal::Malformed(_) => "malformed_request",
            Refusal::DotSegments => "dot_segments",
            Refusal::Unauthorised => "invalid_api_key",
            Refusal::NotFound => "not_found",
            Refusal::MethodNotAllowed => "method_not_allowed",
            Refusal::BodyTooLarge(_) => "body_too_large",
            Refusal::TargetTooLong(_) => "target_too_long",
            Refusal::HeadTooLarge(_) => "head_too_large",
            Refusal::Shed => "overloaded",
            Refusal::Upstream(CallError::Unreachable(_)) => "upstream_unreachable",
            Refusal::Upstream(CallError::Broke(_)) => "upstream_broke",
            Refusal::Upstream(CallError::ConnectTimeout) => "upstream_connect_timeout",
            Refusal::Upstream(CallError::Silent) => "upstream_silent",
        }
    }

    /// The answer, still without the exchange's id.
    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let error = Error {
            message: self.to_string(),
            kind: "spangate_error",
            param: None,
            code: self.code(),
        };
        let mut response = Response::new(Full::from(
            serde_json::to_vec(&Envelope { error }).unwrap_or_default(),
        ));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self {
            Refusal::Shed => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Refusal::Unauthorised => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Refusal::MethodNotAllowed => {
                headers.insert(
                    ALLOW,
                    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
                );
            }
            _ => {}
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
