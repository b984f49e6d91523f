//! Bearer tokens of requests (RFC 6750, section 2.1), for both ports.

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The token of `Authorization: Bearer`. None where there is none, or another scheme.
pub(crate) fn token(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}
