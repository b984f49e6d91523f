//! A first look without a key or a network: a scripted model behind the real gateway, an agent with a tool and a team of two in front of
//! it, and in Respan's place a listener that prints what it was sent. All of it speaks HTTP, on loopback.

mod conversation;
mod model;
mod respan;

use std::error::Error;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::config::{BaseUrl, Config, Scheme, Secret};
use crate::gateway::{Gateway, StartError};
use crate::server::{self, Listener, Patience, Shutdown, Terms};
use respan::Respan;

/// Of a request to one of the demo's own servers.
const MAX_BODY: usize = 4 * 1024 * 1024;
/// How long the spans of a finished conversation may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the demo and writes what was traced to `output`; then serves on until `until` ends. Upstream and Respan of `config` are replaced,
/// and default ports that are taken by free ones.
///
/// # Errors
/// When a port cannot be bound, a call through the gateway fails, its spans do not arrive, or `output` cannot be written.
pub async fn run(
    mut config: Config,
    output: &mut impl Write,
    until: impl Future<Output = ()>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (shutdown, tasks) = (Shutdown::default(), TaskTracker::new());
    let respan = Respan::default();
    let model_address = listen(model::Model, &shutdown, &tasks)?;
    let respan_address = listen(respan.clone(), &shutdown, &tasks)?;
    config.upstream.base_url = local(model_address, "/v1")?;
    config.upstream.api_key = None;
    config.server.client_keys.clear();
    config.respan.base_url = local(respan_address, "/api/v2/traces")?;
    config.respan.api_key = Some(Secret::from("demo"));
    config.respan.encoding = crate::config::Encoding::Json;
    config.respan.flush_interval = Duration::from_millis(100);
    config.server.drain_delay = Duration::ZERO;
    // Nobody wants to wait for the last run to be over.
    config.runs.idle = Duration::from_millis(500);
    // A first look leaves nothing behind.
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
    if tokio::time::timeout(PATIENCE, respan.has(spans))
        .await
        .is_err()
    {
        return Err(format!("only {} of {spans} spans arrived within {PATIENCE:?}; run again with --set log.level=debug", respan.count()).into());
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

/// Default ports may be in use, by a gateway for example; that should not spoil a first look.
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

/// Serves `app` on a free port of loopback.
fn listen<S>(app: S, shutdown: &Shutdown, tasks: &TaskTracker) -> io::Result<SocketAddr>
where
    S: Service<
            Request<Incoming>,
            Response = Response<model::Reply>,
            Error = std::convert::Infallible,
        > + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    let hour = Duration::from_hours(1);
    let patience = Patience {
        first_byte: hour,
        head: hour,
        keep_alive: hour,
        stalled: hour,
    };
    let terms = Terms {
        patience,
        max_headers: 100,
        max_head: 64 * 1024,
    };
    let listener = Listener::bind(
        (Ipv4Addr::LOCALHOST, 0).into(),
        Arc::new(ArcSwapOption::empty()),
        terms,
    )?;
    let address = listener.local_address()?;
    tasks.spawn(server::serve(
        listener,
        app,
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

/// The whole body of a message that the demo itself sent or was sent.
#[expect(clippy::disallowed_methods, reason = "bounded, and the demo's own")]
async fn whole<B>(body: B) -> Result<Bytes, Box<dyn Error + Send + Sync>>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    Ok(Limited::new(body, MAX_BODY).collect().await?.to_bytes())
}

#[cfg(test)]
mod tests;
