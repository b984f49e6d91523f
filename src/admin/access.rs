//! Who may look: by the name under which they came, and by a token, shown as a bearer token or once on the sign-in page.
//!
//! A browser that signed in has a cookie. Its value is made of the token and of what only this process knows, so it says nothing of the token,
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

/// Who may look.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Asked for as a bearer token on every path but the health checks; none asks for nothing.
    pub token: Option<Secret>,
    /// Host names beside loopback's and IP literals, in lower case.
    pub hosts: Vec<String>,
}

/// What only this process knows.
#[derive(Clone)]
pub(super) struct Seal([u8; 32]);

impl Seal {
    /// A new one; none when the system gives no random bytes, and then nobody can sign in.
    pub(super) fn new() -> Option<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).ok()?;
        Some(Seal(bytes))
    }

    /// The value of the cookie of whoever showed `token`.
    fn session(&self, token: &Secret) -> String {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(self.0)
            .chain_update(token.reveal())
            .finalize()
            .into();
        URL_SAFE_NO_PAD.encode(hash)
    }

    /// Gives whoever showed `token` its session.
    pub(super) fn cookie(&self, token: &Secret) -> Option<HeaderValue> {
        let session = self.session(token);
        HeaderValue::try_from(format!(
            "{COOKIE_NAME}={session}; HttpOnly; SameSite=Strict; Path=/"
        ))
        .ok()
    }
}

/// Takes a session away.
pub(super) fn no_cookie() -> HeaderValue {
    const NONE: &str = "spangate_session=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0";
    HeaderValue::from_static(NONE)
}

impl Access {
    /// A page elsewhere can let its own name lead to this machine (DNS rebinding), but not choose the name that a browser sends.
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

    /// Whether these headers show the token, or a session of it.
    pub(super) fn lets_in(&self, headers: &HeaderMap, seal: Option<&Seal>) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        bearer::presented(headers).is_some_and(|presented| token.matches(presented))
            || seal.is_some_and(|seal| {
                let session = seal.session(token);
                sessions(headers).any(|shown| bool::from(shown.ct_eq(session.as_bytes())))
            })
    }
}

/// Sessions that a browser shows: another program on this machine may have set one of the same name.
fn sessions(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let cookies = headers.get_all(COOKIE).into_iter();
    let pairs = cookies.flat_map(|cookies| cookies.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(COOKIE_NAME.as_bytes())?;
        value.strip_prefix(b"=")
    })
}
