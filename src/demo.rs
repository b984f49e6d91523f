//! `spangate demo`: a first look without a key or a network.
//!
//! A scripted model is the real gateway's upstream, an agent with a tool and a team of two are its clients, and a stand-in for Respan prints
//! the traces that it gets. All of it speaks HTTP on loopback.

mod conversation;
mod model;
mod respan;
mod service;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio_util::task::TaskTracker;

use crate::config::{BaseUrl, Config, Scheme, Secret};
use crate::gateway::{Gateway, StartError};
use crate::server::{self, ConnectionLimits, ConnectionTimeouts, Listener, Shutdown};
use model::ScriptedModel;
use respan::FakeRespan;
use service::{BoxError, JsonService, OverHttp};

/// Longest wait for the spans of a finished conversation.
const SPANS_TIME: Duration = Duration::from_secs(20);

/// Runs the demo, writes its traces to `output`, and serves on until `until` ends. The demo's own upstream and Respan replace those of
/// `config`; free ports replace default ports that are in use.
///
/// # Errors
/// When a port cannot be bound, a call through the gateway fails, its spans do not arrive, or `output` cannot be written.
pub async fn run(
    mut config: Config,
    output: &mut impl Write,
    until: impl Future<Output = ()>,
) -> Result<(), BoxError> {
    let (shutdown, tasks) = (Shutdown::default(), TaskTracker::new());
    let respan = FakeRespan::default();
    let model_address = listen(ScriptedModel, &shutdown, &tasks)?;
    let respan_address = listen(respan.clone(), &shutdown, &tasks)?;
    config.upstream.base_url = local(model_address, "/v1")?;
    config.upstream.api_key = None;
    config.server.client_keys.clear();
    config.respan.base_url = local(respan_address, "/api/v2/traces")?;
    config.respan.api_key = Some(Secret::from("demo"));
    config.respan.encoding = crate::config::WireEncoding::Json;
    config.respan.flush_interval = Duration::from_millis(100);
    config.server.drain_delay = Duration::ZERO;
    // Closes the last run soon, since its spans are waited for.
    config.runs.idle = Duration::from_millis(500);
    config.store.dir = ":memory:".into();
    if config.server.tls_cert.is_some() {
        return Err(
            "unset server.tls_cert and server.tls_key: the demo's conversation speaks plain HTTP"
                .into(),
        );
    }

    let gateway = start(config)?;
    writeln!(
        output,
        "The gateway serves on http://{}/v1; a scripted model is its upstream.",
        gateway.data_address
    )?;
    let spans = conversation::hold(gateway.data_address, output).await?;
    if tokio::time::timeout(SPANS_TIME, respan.has(spans))
        .await
        .is_err()
    {
        return Err(format!("only {} of {spans} spans arrived within {SPANS_TIME:?}; run again with --set log.level=debug", respan.count()).into());
    }
    writeln!(output, "\nWhat Respan was sent:\n{}", respan.trees())?;
    writeln!(output, "The viewer: http://{}/", gateway.admin_address)?;
    writeln!(output, "Metrics: http://{}/metrics", gateway.admin_address)?;
    output.flush()?;
    until.await;
    gateway.stop(std::future::pending()).await;
    shutdown.cut();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// Starts the gateway, on free ports where the default ports are in use, for example by another gateway.
fn start(config: Config) -> Result<Gateway, StartError> {
    let defaults = Config::default().server;
    match Gateway::start(config.clone()) {
        Err(StartError::Bind { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {
            let free = |address: SocketAddr, default: SocketAddr| {
                if address == default {
                    SocketAddr::new(address.ip(), 0)
                } else {
                    address
                }
            };
            let mut config = config;
            config.server.listen = free(config.server.listen, defaults.listen);
            config.server.admin = free(config.server.admin, defaults.admin);
            Gateway::start(config)
        }
        started => started,
    }
}

/// Serves on a free port of loopback.
fn listen(
    service: impl JsonService,
    shutdown: &Shutdown,
    tasks: &TaskTracker,
) -> io::Result<SocketAddr> {
    let hour = Duration::from_hours(1);
    let timeouts = ConnectionTimeouts {
        first_byte: hour,
        head: hour,
        keep_alive: hour,
        stalled: hour,
    };
    let connection_limits = ConnectionLimits {
        timeouts,
        max_headers: 100,
        max_head: 64 * 1024,
    };
    let listener = Listener::bind(
        (Ipv4Addr::LOCALHOST, 0).into(),
        Arc::new(ArcSwapOption::empty()),
        connection_limits,
    )?;
    let address = listener.local_address()?;
    tasks.spawn(server::serve(
        listener,
        OverHttp(service),
        shutdown.clone(),
        tasks.clone(),
    ));
    Ok(address)
}

fn local(address: SocketAddr, path: &str) -> Result<BaseUrl, http::uri::InvalidUri> {
    Ok(BaseUrl {
        scheme: Scheme::Http,
        authority: address.to_string().parse()?,
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests;
