//! The settings of each part, made of the configuration.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderValue;
use http::uri::InvalidUri;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{MEMORY, StartError};
use crate::admin;
use crate::config::{self, Config, ContentMode};
use crate::export::{ApiKey, ExportSettings, OtlpEncoding};
use crate::identity;
use crate::proxy::{RequestLimits, Settings};
use crate::runs;
use crate::server::{ConnectionLimits, ConnectionTimeouts};
use crate::store;
use crate::upstream::{self, Upstream};

/// The proxy's. The upstream's connections are kept from `before` where nothing about it changed.
pub(super) fn proxy(
    config: &Config,
    before: Option<(&config::UpstreamSection, &Settings)>,
) -> Result<Settings, StartError> {
    let base = &config.upstream.base_url;
    let header = |text: &str, key| {
        HeaderValue::from_str(text).map_err(|_| {
            StartError::Unusable(format!("{key}: holds characters that no header can carry"))
        })
    };
    let authorization = match &config.upstream.api_key {
        Some(key) => {
            let mut value = header(&format!("Bearer {}", key.reveal()), "upstream.api_key")?;
            value.set_sensitive(true);
            Some(value)
        }
        None => None,
    };
    let upstream = match before {
        // A file of roots may have changed under the same name.
        Some((section, settings)) if *section == config.upstream && section.ca_file.is_none() => {
            settings.upstream.clone()
        }
        _ => Upstream::new(&upstream::Settings {
            base: base.clone(),
            roots: upstream::trusted_roots(config.upstream.ca_file.as_deref())
                .map_err(|error| StartError::Unusable(format!("upstream.ca_file: {error}")))?,
            connect_timeout: config.upstream.connect_timeout,
            idle_timeout: config.upstream.idle_timeout,
        }),
    };
    Ok(Settings {
        upstream,
        host: header(base.authority.as_str(), "upstream.base_url")?,
        system: if base.authority.host().ends_with(".azure.com") {
            "azure"
        } else {
            "openai"
        },
        base_path: base.path.clone(),
        authorization,
        secrets: [&config.upstream.api_key, &config.respan.api_key]
            .into_iter()
            .flatten()
            .cloned()
            .collect(),
        client_keys: config.server.client_keys.clone(),
        limits: RequestLimits {
            max_head: config.limits.max_head,
            max_headers: config.limits.max_headers,
            max_target: config.limits.max_target,
            max_body: config.limits.max_body,
            max_in_flight: config.limits.max_in_flight,
        },
        identity: identity::IdentityDefaults::from(&config.respan),
        content: config.capture.content == ContentMode::Full,
        entity_content: config.respan.entity_content,
        media: config.capture.media,
        max_captured: config.capture.max_body,
    })
}

/// Where the store is and how much it may hold.
pub(super) fn store(config: &Config) -> store::Settings {
    let dir = &config.store.dir;
    store::Settings {
        dir: (dir.as_os_str() != MEMORY).then(|| dir.clone()),
        max_size: config.store.max_size,
        max_age: config.store.max_age,
        max_memory: config.respan.max_pending,
        exports: config.respan.api_key.is_some(),
    }
}

/// How runs are found, and how much is kept of them.
pub(super) fn runs(config: &config::RunsSection) -> runs::Settings {
    runs::Settings {
        infer: config.infer,
        idle: config.idle,
        max_open: config.max_open,
        max_memory: config.max_memory,
        max_age: config.max_age,
    }
}

/// Of TLS on the data port, where it has any.
pub(super) fn tls(
    server: &config::ServerSection,
) -> Result<Option<Arc<rustls::ServerConfig>>, StartError> {
    let (Some(chain), Some(key)) = (&server.tls_cert, &server.tls_key) else {
        return Ok(None);
    };
    let unusable = |name: &str, why: String| StartError::Unusable(format!("{name}: {why}"));
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable("server.tls_cert", format!("{}: {error}", chain.display())))?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| unusable("server.tls_key", format!("{}: {error}", key.display())))?;
    let mut settings = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .map_err(|error| {
            unusable(
                "server.tls_key",
                format!("certificate and key do not fit: {error}"),
            )
        })?;
    settings.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(Arc::new(settings)))
}

/// Limits of connections.
pub(super) fn connection_limits(config: &Config) -> ConnectionLimits {
    let limits = &config.limits;
    ConnectionLimits {
        timeouts: ConnectionTimeouts {
            first_byte: limits.first_byte_timeout,
            head: limits.header_timeout,
            keep_alive: limits.keep_alive,
            stalled: config.upstream.idle_timeout,
        },
        max_headers: limits.max_headers,
        max_head: limits.max_head + limits.max_target,
    }
}

/// The gateway's own facts, for the admin port.
pub(super) fn about(config: &Config, data_address: SocketAddr) -> admin::About {
    let scheme = match config.server.tls_cert {
        Some(_) => "https",
        None => "http",
    };
    admin::About {
        base_url: format!("{scheme}://{data_address}/v1"),
        started: SystemTime::now(),
    }
}

/// Who may look.
pub(super) fn admin(server: &config::ServerSection) -> admin::Access {
    admin::Access {
        token: server.admin_token.clone(),
        hosts: server.admin_hosts.clone(),
    }
}

/// Where spans go.
pub(crate) fn export(respan: &config::RespanSection) -> Result<ExportSettings, StartError> {
    let unusable =
        |key: &str, why: &dyn std::fmt::Display| StartError::Unusable(format!("{key}: {why}"));
    Ok(ExportSettings {
        url: respan
            .base_url
            .to_string()
            .parse()
            .map_err(|error: InvalidUri| unusable("respan.base_url", &error))?,
        api_key: respan
            .api_key
            .as_ref()
            .map(|key| ApiKey::new(key.reveal()))
            .transpose()
            .map_err(|error| unusable("respan.api_key", &error))?,
        encoding: match respan.encoding {
            config::WireEncoding::Json => OtlpEncoding::Json,
            config::WireEncoding::Protobuf => OtlpEncoding::Protobuf,
        },
        flush_interval: respan.flush_interval,
    })
}
