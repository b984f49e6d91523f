//! `spangate check`: describes the configuration, and with `--online` reaches the upstream and Respan.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;

use crate::config::Config;
use crate::export::{self, respan::Verdict};
use crate::gateway;
use crate::upstream::{self, Upstream};

/// A summary of a valid configuration.
pub fn describe(config: &Config, file: Option<&Path>) -> String {
    let from = file.map_or_else(
        || "no file; environment, flags and defaults".to_owned(),
        |file| file.display().to_string(),
    );
    let key = if config.respan.api_key.is_some() {
        "with a key"
    } else {
        "without a key: nothing is exported"
    };
    format!(
        "The configuration is valid ({from}).\n  serves     {} (admin {})\n  upstream   {}\n  Respan     {} ({key})",
        config.server.listen, config.server.admin, config.upstream.base_url, config.respan.base_url
    )
}

/// The results of [`online`].
#[derive(Debug)]
pub struct OnlineReport {
    upstream: Result<StatusCode, String>,
    respan: Result<String, String>,
}

impl OnlineReport {
    /// Whether both can be used.
    pub fn is_ok(&self) -> bool {
        self.upstream.is_ok() && self.respan.is_ok()
    }
}

impl fmt::Display for OnlineReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.upstream {
            Ok(status) => writeln!(formatter, "The upstream answers ({status}).")?,
            Err(why) => writeln!(formatter, "Check upstream.base_url and the network: {why}")?,
        }
        match &self.respan {
            Ok(answer) => write!(formatter, "{answer}"),
            Err(why) => write!(formatter, "{why}"),
        }
    }
}

/// Asks the upstream for its models, where every status but a server error is fine, and posts an empty request to Respan.
pub async fn online(config: &Config) -> OnlineReport {
    OnlineReport {
        upstream: reach_upstream(config).await,
        respan: probe_respan(config).await,
    }
}

async fn reach_upstream(config: &Config) -> Result<StatusCode, String> {
    let limit = Duration::from_secs(30);
    let roots = upstream::trusted_roots(config.upstream.ca_file.as_deref())
        .map_err(|error| error.to_string())?;
    let base = &config.upstream.base_url;
    let settings = upstream::Settings {
        base: base.clone(),
        roots,
        connect_timeout: config.upstream.connect_timeout.min(limit),
        idle_timeout: limit,
    };
    let mut request = Request::get(format!("{}/models", base.path))
        .header(http::header::HOST, base.authority.as_str());
    if let Some(key) = &config.upstream.api_key {
        request = request.header(
            http::header::AUTHORIZATION,
            format!("Bearer {}", key.reveal()),
        );
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = Upstream::new(&settings)
        .call(request, &upstream::Activity::default())
        .await
        .map_err(|error| error.to_string())?;
    match response.status() {
        status if status.is_server_error() => Err(format!("it answers {status}")),
        status => Ok(status),
    }
}

async fn probe_respan(config: &Config) -> Result<String, String> {
    if config.respan.api_key.is_none() {
        return Ok("Respan was not asked: set RESPAN_API_KEY to export.".to_owned());
    }
    let settings = gateway::export_settings(&config.respan).map_err(|error| error.to_string())?;
    match export::probe(&settings).await {
        Some(Verdict::Accepted { .. } | Verdict::Partial { .. }) => {
            Ok("Respan takes spans.".to_owned())
        }
        Some(Verdict::Unauthorised { reason }) => Err(format!("{reason}.")),
        Some(Verdict::WrongAddress { reason } | Verdict::Rejected { reason }) => {
            Err(format!("Check respan.base_url: Respan {reason}"))
        }
        Some(Verdict::Retry { reason, .. }) => {
            Err(format!("Check respan.base_url and the network: {reason}"))
        }
        Some(Verdict::TooLarge) | None => {
            Err("Check respan.base_url: an empty request was not understood there.".to_owned())
        }
    }
}
