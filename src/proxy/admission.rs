//! What a request must be before anything is done for it: well formed, within limits, and from a client that may ask.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request, Version};

use super::refusal::Refusal;
use super::target::has_dot_segment;
use crate::bearer;
use crate::config::Secret;
use crate::metrics::{Counted, Metrics};

/// Bounds of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
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

/// Checks what RFC 9112 and RFC 9113 demand of a head and hyper lets pass, and the limits of a head.
pub(super) fn check_head<B>(request: &Request<B>, limits: &Limits) -> Result<(), Refusal> {
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
    // What was coded for this hop alone would go up without a word of it.
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if codings.next().is_some_and(|coding| !is_chunked(coding)) || codings.next().is_some() {
        return Err(Refusal::Malformed("a Transfer-Encoding other than chunked"));
    }
    if let (Some(limit), Some(length)) = (limits.max_body, content_length(headers))
        && length > limit
    {
        return Err(Refusal::BodyTooLarge(limit));
    }
    Ok(())
}

/// With a key of the gateway's own behind it, a path must not be able to climb out of the API.
pub(super) fn check_path<B>(request: &Request<B>) -> Result<(), Refusal> {
    if has_dot_segment(request.uri().path()) {
        Err(Refusal::DotSegments)
    } else {
        Ok(())
    }
}

/// The client must present one of `keys`; all are compared, in constant time.
pub(super) fn check_key(headers: &HeaderMap, keys: &[Secret]) -> Result<(), Refusal> {
    let presented = bearer::presented(headers).unwrap_or_default();
    let matches = keys
        .iter()
        .fold(false, |found, key| key.matches(presented) | found);
    if matches {
        Ok(())
    } else {
        Err(Refusal::Unauthorised)
    }
}

/// What `content-length` says.
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

/// How many requests are in flight, which is a metric, too.
#[derive(Clone, Debug)]
pub(super) struct Gate(Arc<Metrics>);

impl Gate {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Gate(metrics)
    }

    /// A request's place behind the gate, free again when dropped.
    pub(super) fn admit(&self, limit: usize) -> Result<Counted, Refusal> {
        self.0.request_begins(limit).ok_or_else(|| {
            self.0.request_shed();
            Refusal::Shed
        })
    }
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;

    const LIMITS: Limits = Limits {
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
    fn limits_are_kept_and_named() {
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
    fn only_a_known_key_opens() {
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
    fn a_gate_admits_as_many_as_its_limit() {
        let gate = Gate::new(Arc::default());
        let first = gate.admit(1).unwrap();
        assert!(gate.admit(1).is_err());
        drop(first);
        let second = gate.admit(1).unwrap();
        assert!(gate.admit(1).is_err());
        drop(second);
        assert!(gate.admit(1).is_ok());
    }
}
