//! The base URL of an HTTP service: a scheme, an authority and a path without a last slash. Parsing refuses a password, a query and a
//! fragment, because they would be lost or shown.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::uri::Authority;

/// The scheme of a [`BaseUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

/// A scheme, an authority and a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and, where it is not the scheme's own, port. Never with a user.
    pub authority: Authority,
    /// Empty, or begins with a slash and does not end with one.
    pub path: String,
}

impl BaseUrl {
    /// Reads an absolute `http` or `https` URL. The error is a predicate (`has a query; …`) and never repeats the URL, which may hold a
    /// password.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("is not a URL; write it like \"https://host/path\"".to_owned());
        };
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => {
                return Err(
                    "has a scheme that is not spoken here; write http:// or https://".to_owned(),
                );
            }
        };
        if text.contains('#') {
            return Err("has a fragment; leave out the # and what follows".to_owned());
        }
        if text.contains('?') {
            return Err("has a query; leave out the ? and what follows".to_owned());
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(
                "has a user or password before the host; leave it out, keys have keys of their own"
                    .to_owned(),
            );
        }
        let bad_host = || "has no valid host; write it like \"https://host:443/path\"".to_owned();
        let authority: Authority = authority.parse().map_err(|_| bad_host())?;
        let port_is_right = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => true,
            Some(port) => port
                .strip_prefix(':')
                .and_then(|port| port.parse::<u16>().ok())
                .is_some_and(|port| port != 0),
            None => false,
        };
        if authority.host().is_empty() || !port_is_right {
            return Err(bad_host());
        }
        let path = path.trim_end_matches('/');
        if path
            .split('/')
            .any(|segment| segment == "." || segment == "..")
            || path.contains("//")
        {
            return Err(
                "has empty or dot segments in its path; write the path without them".to_owned(),
            );
        }
        if !path.is_empty() && path.parse::<Uri>().is_err() {
            return Err(
                "has a path with characters that a URL cannot hold; percent-encode them".to_owned(),
            );
        }
        Ok(Self {
            scheme,
            authority,
            path: path.to_owned(),
        })
    }

    /// The port, the scheme's own where none is written.
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        })
    }

    /// Whether the host can only be this machine, so that no network sees the traffic.
    pub fn is_loopback(&self) -> bool {
        self.authority.host().eq_ignore_ascii_case("localhost")
            || self.ip().is_some_and(|address| address.is_loopback())
    }

    /// The host, where it is an IP address.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        let host = self.authority.host();
        host.trim_matches(['[', ']']).parse().ok()
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(formatter, "{scheme}://{}{}", self.authority, self.path)
    }
}
