//! Admission: a request must be well formed, within the limits, and from a client with a valid key.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request, Version};

use super::headers::connection_names_framing;
use super::refusal::Refusal;
use super::target::has_dot_segment;
use crate::bearer;
use crate::config::Secret;
use crate::metrics::{GaugeGuard, Metrics};

/// Bounds of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "each is the most of something")]
pub(crate) struct RequestLimits {
    /// Bytes of all headers, names and values.
    pub max_head: usize,
    /// Number of headers.
    pub max_headers: usize,
    /// Bytes of the request target.
    pub max_target: usize,
    /// Bytes of the body; none for any length.
    pub max_body: Option<u64>,
    /// Requests at once.
    pub max_in_flight: usize,
}

/// Checks the limits of a head, and those rules of RFC 9112 and RFC 9113 that hyper does not enforce.
pub(super) fn check_head<B>(request: &Request<B>, limits: &RequestLimits) -> Result<(), Refusal> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(Refusal::MethodNotAllowed);
    }
    if target_length(request) > limits.max_target {
        return Err(Refusal::TargetTooLong(limits.max_target));
    }
    let headers = request.headers();
    if headers.len() > limits.max_headers {
        return Err(Refusal::HeadTooLarge(format!(
            "more than {} headers; raise limits.max_headers or send fewer",
            limits.max_headers
        )));
    }
    if headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum::<usize>()
        > limits.max_head
    {
        return Err(Refusal::HeadTooLarge(format!(
            "its headers are longer than {} bytes; raise limits.max_head or send less",
            limits.max_head
        )));
    }
    check_host(request)?;
    // The body would go up in a coding for this hop alone, and without the header that names it.
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if codings.next().is_some_and(|coding| !is_chunked(coding)) || codings.next().is_some() {
        return Err(Refusal::Malformed("a Transfer-Encoding other than chunked"));
    }
    if connection_names_framing(headers) {
        let why = "Connection names a header that frames the message";
        return Err(Refusal::Malformed(why));
    }
    if let (Some(limit), Some(length)) = (limits.max_body, content_length(headers))
        && length > limit
    {
        return Err(Refusal::BodyTooLarge(limit));
    }
    Ok(())
}

/// Where the gateway sends its own key, a path must not climb out of the API.
pub(super) fn check_path<B>(request: &Request<B>) -> Result<(), Refusal> {
    if has_dot_segment(request.uri().path()) {
        Err(Refusal::DotSegments)
    } else {
        Ok(())
    }
}

/// Checks that the client presents one of `keys`; all are compared, in constant time.
pub(super) fn check_key(headers: &HeaderMap, keys: &[Secret]) -> Result<(), Refusal> {
    let presented = bearer::token(headers).unwrap_or_default();
    let matches = keys
        .iter()
        .fold(false, |found, key| key.matches(presented) | found);
    if matches {
        Ok(())
    } else {
        Err(Refusal::Unauthorised)
    }
}

pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn target_length<B>(request: &Request<B>) -> usize {
    let uri = request.uri();
    let authority = if request.version() < Version::HTTP_2 {
        uri.authority()
            .map_or(0, |authority| authority.as_str().len())
    } else {
        0
    };
    authority
        + uri
            .path_and_query()
            .map_or(0, |target| target.as_str().len())
}

/// Exactly one `Host` that names a host (RFC 9112, section 3.2); HTTP/2 may say it as `:authority`, HTTP/1.0 not at all.
fn check_host<B>(request: &Request<B>) -> Result<(), Refusal> {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => Err(Refusal::Malformed("more than one Host header")),
        (Some(host), None) if !is_host(host.as_bytes()) => {
            Err(Refusal::Malformed("the Host header names no host"))
        }
        (None, _) if request.version() == Version::HTTP_11 => Err(Refusal::Malformed(
            "an HTTP/1.1 request needs a Host header",
        )),
        _ => Ok(()),
    }
}

fn is_host(value: &[u8]) -> bool {
    value
        .iter()
        .all(|byte| byte.is_ascii_graphic() && !b"@/\\?#\"<>^`{|},".contains(byte))
}

/// Counts a request as in flight until the guard is dropped; sheds it beyond `limit`.
pub(super) fn admit(metrics: &Arc<Metrics>, limit: usize) -> Result<GaugeGuard, Refusal> {
    metrics.request_begins(limit).ok_or_else(|| {
        metrics.request_shed();
        Refusal::Shed
    })
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, CONNECTION};

    use super::*;

    const LIMITS: RequestLimits = RequestLimits {
        max_head: 100,
        max_headers: 4,
        max_target: 30,
        max_body: Some(10),
        max_in_flight: 1,
    };

    fn checked(
        change: impl FnOnce(http::request::Builder) -> http::request::Builder,
    ) -> Option<String> {
        let request = change(Request::builder().uri("/v1/models").header(HOST, "h"))
            .body(())
            .unwrap();
        check_head(&request, &LIMITS)
            .err()
            .map(|refusal| refusal.to_string())
    }

    #[test]
    fn a_usual_request_passes() {
        assert_eq!(checked(|request| request), None);
        assert_eq!(
            checked(|request| request.header(CONTENT_LENGTH, "10")),
            None
        );
    }

    #[test]
    fn hosts_that_rfc_9112_forbids_are_refused() {
        assert!(
            checked(|request| request.header(HOST, "other"))
                .unwrap()
                .contains("more than one Host")
        );
        for host in ["a@evil.example", "a/b", "a b", "a?b", "a,b"] {
            let request = Request::builder()
                .uri("/v1/x")
                .header(HOST, host)
                .body(())
                .unwrap();
            assert!(check_head(&request, &LIMITS).is_err(), "{host}");
        }
        let without = |version| {
            Request::builder()
                .uri("/v1/x")
                .version(version)
                .body(())
                .unwrap()
        };
        assert!(check_head(&without(Version::HTTP_11), &LIMITS).is_err());
        assert!(check_head(&without(Version::HTTP_10), &LIMITS).is_ok());
        assert!(check_head(&without(Version::HTTP_2), &LIMITS).is_ok());
    }

    #[test]
    fn a_refusal_names_the_exceeded_limit() {
        assert!(
            checked(|request| request.uri("/v1/01234567890123456789012345678"))
                .unwrap()
                .contains("limits.max_target")
        );
        assert!(
            checked(|request| request
                .header("a", "1")
                .header("a", "2")
                .header("b", "3")
                .header("c", "4"))
            .unwrap()
            .contains("limits.max_headers")
        );
        assert!(
            checked(|request| request.header("a", "x".repeat(100)))
                .unwrap()
                .contains("limits.max_head")
        );
        assert!(
            checked(|request| request.header(CONTENT_LENGTH, "11"))
                .unwrap()
                .contains("limits.max_body")
        );
        assert!(
            checked(|request| request.method(Method::TRACE))
                .unwrap()
                .contains("TRACE")
        );
    }

    #[test]
    fn connection_must_not_name_a_header_that_frames_the_message() {
        for name in ["host", "Content-Length", "transfer-encoding"] {
            let refusal = checked(|request| request.header(CONNECTION, format!("close, {name}")));
            assert!(refusal.unwrap().contains("Connection"), "{name}");
        }
        assert_eq!(
            checked(|request| request.header(CONNECTION, "keep-alive, x-hop")),
            None
        );
    }

    #[test]
    fn only_a_known_key_is_admitted() {
        let keys = ["one", "two"].map(Secret::from);
        let presents = |value: &str| {
            check_key(
                &[(AUTHORIZATION, value.parse().unwrap())]
                    .into_iter()
                    .collect(),
                &keys,
            )
            .is_ok()
        };
        assert!(presents("Bearer one") && presents("bearer two"));
        assert!(
            !presents("Bearer three")
                && !presents("Bearer ")
                && !presents("one")
                && !presents("Basic one")
                && !presents("Bearer onetwo")
        );
        assert!(check_key(&HeaderMap::new(), &keys).is_err());
    }

    #[test]
    fn requests_beyond_the_limit_are_shed() {
        let metrics = Arc::default();
        let first = admit(&metrics, 1).unwrap();
        assert!(admit(&metrics, 1).is_err());
        drop(first);
        let second = admit(&metrics, 1).unwrap();
        assert!(admit(&metrics, 1).is_err());
        drop(second);
        assert!(admit(&metrics, 1).is_ok());
    }
}
