//! The address of the admin port, from the command line or from the configuration.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::Uri;
use http::uri::{Authority, Scheme};

use crate::config::Config;

/// `http://host:port`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdminAddress(Authority);

impl AdminAddress {
    /// The address of `--admin`, else that of the configuration's `server.admin`.
    pub(crate) fn choose(admin: Option<&str>, config: &Config) -> Result<Self, String> {
        match admin {
            Some(text) => Self::parse(text),
            None => Self::of(config.server.admin),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("--admin: write it like http://127.0.0.1:8081, not {text:?}");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let is_bare = matches!(uri.path(), "/" | "") && uri.query().is_none();
        let authority = uri
            .authority()
            .filter(|authority| !authority.as_str().contains('@'));
        match authority {
            Some(authority) if is_bare && uri.scheme() == Some(&Scheme::HTTP) => {
                Ok(AdminAddress(authority.clone()))
            }
            _ => Err(wrong()),
        }
    }

    /// The address by which this machine reaches a gateway that listens on `listening`.
    fn of(listening: SocketAddr) -> Result<Self, String> {
        if listening.port() == 0 {
            return Err("give --admin: server.admin leaves the port to the system".to_owned());
        }
        let ip = match listening.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let authority = SocketAddr::new(ip, listening.port()).to_string();
        let authority = authority
            .parse()
            .map_err(|error| format!("server.admin: {error}"))?;
        Ok(AdminAddress(authority))
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::AdminAddress;

    #[test]
    fn an_address_is_a_host_and_a_port_and_nothing_else() {
        let read = |text| AdminAddress::parse(text).map(|address| address.to_string());
        assert_eq!(
            read("http://localhost:8081/").unwrap(),
            "http://localhost:8081"
        );
        for wrong in [
            "localhost:8081",
            "https://a:1",
            "http://a:1/api",
            "http://u:p@a:1",
            "",
        ] {
            assert!(read(wrong).unwrap_err().contains("--admin"), "{wrong}");
        }
    }

    #[test]
    fn a_gateway_that_listens_everywhere_is_asked_on_loopback() {
        let of =
            |text: &str| AdminAddress::of(text.parse().unwrap()).map(|address| address.to_string());
        assert_eq!(of("0.0.0.0:8081").unwrap(), "http://127.0.0.1:8081");
        assert_eq!(of("[::]:8081").unwrap(), "http://[::1]:8081");
        assert_eq!(of("10.1.2.3:80").unwrap(), "http://10.1.2.3:80");
        assert!(of("127.0.0.1:0").is_err());
    }
}
