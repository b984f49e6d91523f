//! Rewrites headers for the next hop: all go on in their order, but for those of one hop and the gateway's own.
//!
//! The map is rebuilt, because `HeaderMap::remove` moves the last header into the gap.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderName, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Version};

/// Carries the exchange's id, under which Respan and the viewer find it.
pub(super) const GATEWAY_REQUEST_ID: HeaderName =
    HeaderName::from_static("x-respan-gateway-request-id");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// How a request's headers are rewritten for the upstream.
pub(super) struct RequestHeaderRules<'a> {
    /// The upstream's authority.
    pub(super) host: &'a HeaderValue,
    /// Sent as `authorization` in place of the client's.
    pub(super) authorization: Option<&'a HeaderValue>,
    /// The client's HTTP version.
    pub(super) version: Version,
    /// Whether the request asks for an upgrade that is passed on.
    pub(super) upgrade: bool,
    /// Whether there is a body without a declared length.
    pub(super) chunked: bool,
}

impl RequestHeaderRules<'_> {
    pub(super) fn rewrite(
        &self,
        mut headers: HeaderMap,
        is_consumed: impl Fn(&HeaderName) -> bool,
    ) -> HeaderMap {
        let named = named_by_connection(&headers);
        let mut rewritten = HeaderMap::with_capacity(headers.len() + 2);
        if self.version >= Version::HTTP_2 {
            // HTTP/2 has the host as :authority, before all headers, and may split cookies (RFC 9113, section 8.2.3).
            rewritten.insert(HOST, self.host.clone());
            join_cookies(&mut headers);
        }
        let mut last = None;
        for (name, value) in headers.drain() {
            last = name.or(last);
            let Some(name) = &last else { continue };
            if *name == HOST {
                rewritten.insert(HOST, self.host.clone());
            } else if *name == TE {
                if accepts_trailers(&value) {
                    rewritten.insert(TE, HeaderValue::from_static("trailers"));
                }
            } else if *name == AUTHORIZATION
                && let Some(own) = self.authorization
            {
                rewritten.insert(AUTHORIZATION, own.clone());
            } else if self.upgrade && is_of_upgrade(name)
                || !is_of_one_hop(name) && !named.contains(name) && !is_consumed(name)
            {
                rewritten.append(name, value);
            }
        }
        if let Some(own) = self.authorization {
            rewritten.insert(AUTHORIZATION, own.clone());
        }
        if !rewritten.contains_key(HOST) {
            rewritten.insert(HOST, self.host.clone());
        }
        if self.chunked {
            // hyper sends no body at all for a GET without a declared length. This header is the last, so that its removal for HTTP/2 moves
            // no other.
            rewritten.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        rewritten
    }
}

/// The headers for the client, with the exchange's id.
pub(super) fn response_headers(
    mut headers: HeaderMap,
    id: HeaderValue,
    upgrade: bool,
) -> HeaderMap {
    let is_dropped =
        |name: &HeaderName| is_of_one_hop(name) || *name == TE || *name == GATEWAY_REQUEST_ID;
    if !headers.keys().any(is_dropped) {
        headers.insert(GATEWAY_REQUEST_ID, id);
        return headers;
    }
    let named = named_by_connection(&headers);
    // Chunks win over a length (RFC 9112, section 6.3), and hyper has read them by then.
    let chunked = headers.contains_key(TRANSFER_ENCODING);
    let mut rewritten = HeaderMap::with_capacity(headers.len() + 1);
    let mut last = None;
    for (name, value) in headers.drain() {
        last = name.or(last);
        let Some(name) = &last else { continue };
        if upgrade && is_of_upgrade(name)
            || !is_of_one_hop(name)
                && *name != TE
                && !named.contains(name)
                && *name != GATEWAY_REQUEST_ID
                && !(chunked && *name == CONTENT_LENGTH)
        {
            rewritten.append(name, value);
        }
    }
    rewritten.insert(GATEWAY_REQUEST_ID, id);
    rewritten
}

fn is_of_upgrade(name: &HeaderName) -> bool {
    matches!(*name, CONNECTION | UPGRADE)
}

/// RFC 9110, section 7.6.1. `Trailer` stays: without it hyper sends no trailers.
fn is_of_one_hop(name: &HeaderName) -> bool {
    matches!(
        *name,
        CONNECTION | PROXY_AUTHENTICATE | PROXY_AUTHORIZATION | TRANSFER_ENCODING | UPGRADE
    ) || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
}

/// Whether `Connection` names a header that frames or routes the message.
pub(super) fn connection_names_framing(headers: &HeaderMap) -> bool {
    connection_options(headers).any(|name| frames(&name))
}

/// The headers that `Connection` declares to be of one hop, but for those that have rules of their own.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    connection_options(headers)
        .filter(|name| !frames(name) && !matches!(*name, UPGRADE | TE))
        .collect()
}

fn frames(name: &HeaderName) -> bool {
    matches!(*name, HOST | CONTENT_LENGTH | TRANSFER_ENCODING)
}

/// The header names in `Connection`. Nearly every client sends `keep-alive` or `close`, which name no header.
fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(tokens)
        .filter(|option| {
            !option.eq_ignore_ascii_case(b"keep-alive") && !option.eq_ignore_ascii_case(b"close")
        })
        .filter_map(|option| HeaderName::from_bytes(option).ok())
}

/// The entries of a comma-separated list.
pub(super) fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
}

fn accepts_trailers(te: &HeaderValue) -> bool {
    tokens(te).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

fn join_cookies(headers: &mut HeaderMap) {
    let pieces: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if pieces.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&pieces.join(&b"; "[..]))
    {
        headers.insert(COOKIE, whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    fn appended(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn lines(headers: &HeaderMap) -> Vec<(&str, &str)> {
        headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect()
    }

    static HOST_VALUE: HeaderValue = HeaderValue::from_static("upstream");

    fn upward() -> RequestHeaderRules<'static> {
        RequestHeaderRules {
            host: &HOST_VALUE,
            authorization: None,
            version: Version::HTTP_11,
            upgrade: false,
            chunked: false,
        }
    }

    #[test]
    fn forwarded_headers_keep_their_order_and_multiplicity() {
        let original = appended(&[
            ("accept", "a"),
            ("host", "gateway"),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("x-twice", "1"),
            ("keep-alive", "5"),
            ("authorization", "Bearer k"),
            ("x-twice", "2"),
            ("te", "gzip, trailers"),
            ("accept-encoding", "gzip"),
            ("content-length", "3"),
        ]);
        let expected = [
            ("accept", "a"),
            ("host", "upstream"),
            ("x-twice", "1"),
            ("x-twice", "2"),
            ("authorization", "Bearer k"),
            ("te", "trailers"),
            ("accept-encoding", "gzip"),
            ("content-length", "3"),
        ];
        assert_eq!(lines(&upward().rewrite(original, |_| false)), expected);
    }

    #[test]
    fn headers_that_the_gateway_consumes_are_not_forwarded() {
        let original = map(&[
            ("x-respan-thread-identifier", "t"),
            ("x-other", "o"),
            ("host", "h"),
        ]);
        let rewritten = upward().rewrite(original, |name| name.as_str().starts_with("x-respan-"));
        assert_eq!(lines(&rewritten), [("x-other", "o"), ("host", "upstream")]);
    }

    #[test]
    fn headers_that_frame_a_message_are_never_of_one_hop() {
        let original = appended(&[
            ("connection", "x-hop, content-length"),
            ("x-hop", "1"),
            ("content-length", "3"),
        ]);
        assert!(connection_names_framing(&original));
        let rewritten = response_headers(original, HeaderValue::from_static("ours"), false);
        assert_eq!(
            lines(&rewritten),
            [
                ("content-length", "3"),
                ("x-respan-gateway-request-id", "ours")
            ]
        );
    }

    #[test]
    fn an_own_key_replaces_the_clients_in_its_place_or_comes_last() {
        let own = HeaderValue::from_static("Bearer own");
        let upward = RequestHeaderRules {
            authorization: Some(&own),
            ..upward()
        };
        let replaced = upward.rewrite(
            appended(&[("authorization", "Bearer client"), ("host", "h")]),
            |_| false,
        );
        assert_eq!(
            lines(&replaced),
            [("authorization", "Bearer own"), ("host", "upstream")]
        );
        let added = upward.rewrite(map(&[("host", "h")]), |_| false);
        assert_eq!(
            lines(&added),
            [("host", "upstream"), ("authorization", "Bearer own")]
        );
    }

    #[test]
    fn http2_gets_its_host_and_whole_cookies() {
        let upward = RequestHeaderRules {
            version: Version::HTTP_2,
            ..upward()
        };
        let rewritten = upward.rewrite(
            appended(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]),
            |_| false,
        );
        assert_eq!(
            lines(&rewritten),
            [("host", "upstream"), ("cookie", "a=1; b=2"), ("x", "y")]
        );
    }

    #[test]
    fn a_length_beside_chunks_is_no_length() {
        let original = appended(&[
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("x", "y"),
        ]);
        let rewritten = response_headers(original, HeaderValue::from_static("ours"), false);
        assert_eq!(
            lines(&rewritten),
            [("x", "y"), ("x-respan-gateway-request-id", "ours")]
        );
    }

    #[test]
    fn a_response_keeps_its_headers_and_gets_one() {
        let original = appended(&[
            ("date", "d"),
            ("connection", "close"),
            ("set-cookie", "a"),
            ("transfer-encoding", "chunked"),
            ("x-respan-gateway-request-id", "theirs"),
            ("set-cookie", "b"),
            ("trailer", "x-sum"),
            ("x-respan-log-id", "l"),
        ]);
        let expected = [
            ("date", "d"),
            ("set-cookie", "a"),
            ("set-cookie", "b"),
            ("trailer", "x-sum"),
            ("x-respan-log-id", "l"),
            ("x-respan-gateway-request-id", "ours"),
        ];
        assert_eq!(
            lines(&response_headers(
                original,
                HeaderValue::from_static("ours"),
                false
            )),
            expected
        );
    }
}
