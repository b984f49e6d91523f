//! Access to the admin port: by the host name of the request, and by a token, sent as a bearer token or once on the sign-in page.
//!
//! A browser that signed in has a cookie: a hash of the token and of a key that only this process has. So the cookie does not reveal the token,
//! and ends with the token or the process.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{COOKIE, HOST};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Request};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use crate::bearer;
use crate::config::Secret;

const COOKIE_NAME: &str = "spangate_session";

/// Who has access.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// Required on every path but the health checks and the files of the viewer; none lets everybody in.
    pub token: Option<Secret>,
    /// Allowed host names beside `localhost` and IP literals, in lower case.
    pub hosts: Vec<String>,
}

/// The random key of this process that goes into every session cookie.
#[derive(Clone)]
pub(super) struct SessionKey([u8; 32]);

impl SessionKey {
    /// None when the system gives no random bytes; then nobody can sign in.
    pub(super) fn new() -> Option<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).ok()?;
        Some(SessionKey(bytes))
    }

    /// The value of the cookie for `token`.
    fn session(&self, token: &Secret) -> String {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(self.0)
            .chain_update(token.reveal())
            .finalize()
            .into();
        URL_SAFE_NO_PAD.encode(hash)
    }

    /// The `Set-Cookie` that signs in with `token`.
    pub(super) fn cookie(&self, token: &Secret) -> Option<HeaderValue> {
        let session = self.session(token);
        HeaderValue::try_from(format!(
            "{COOKIE_NAME}={session}; HttpOnly; SameSite=Strict; Path=/"
        ))
        .ok()
    }
}

/// The `Set-Cookie` that signs out.
pub(super) fn no_cookie() -> HeaderValue {
    const NONE: &str = "spangate_session=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0";
    HeaderValue::from_static(NONE)
}

impl Access {
    /// Guards against DNS rebinding: a page can point its own name at this machine, but cannot choose the `Host` that a browser sends.
    pub(super) fn knows_host<B>(&self, request: &Request<B>) -> bool {
        let named = request.headers().get(HOST).map_or_else(
            || request.uri().authority().cloned(),
            |host| Authority::try_from(host.as_bytes()).ok(),
        );
        let Some(named) = named else { return false };
        let host = named
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_ascii_lowercase();
        host == "localhost"
            || host.ends_with(".localhost")
            || host.parse::<IpAddr>().is_ok()
            || self.hosts.contains(&host)
    }

    /// Whether these headers have the token, or the cookie of a session with it.
    pub(super) fn lets_in(&self, headers: &HeaderMap, key: Option<&SessionKey>) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        bearer::token(headers).is_some_and(|presented| token.matches(presented))
            || key.is_some_and(|key| {
                let session = key.session(token);
                sessions(headers).any(|sent| bool::from(sent.ct_eq(session.as_bytes())))
            })
    }
}

/// All cookies of our name: another program on this machine may have set one of the same name.
fn sessions(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let cookies = headers.get_all(COOKIE).into_iter();
    let pairs = cookies.flat_map(|cookies| cookies.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(COOKIE_NAME.as_bytes())?;
        value.strip_prefix(b"=")
    })
}
