//! The whole gateway, put together: from a valid configuration to a running process, and to its orderly end.

mod settings;
mod shutdown;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::{error, fmt};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

pub(crate) use settings::export as export_settings;
use shutdown::ShutdownTimer;

use crate::admin::{Admin, AdminState};
use crate::capture::{Capture, CaptureSettings, Workers};
use crate::config::Config;
use crate::exchange::Budget;
use crate::export::{ExportSettings, Exporter, RetryTimings};
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::proxy::{self, Proxy};
use crate::runs::{self, Runs};
use crate::server::{self, Listener, Shutdown};
use crate::store::{OpenError, Store, Writing};
use crate::traces::{LiveRegistry, Traces};
use crate::upstream::Reachability;

/// `store.dir` of a store in memory.
pub(crate) const MEMORY: &str = ":memory:";

/// A gateway that serves.
pub struct Gateway {
    /// Where AutoGen connects.
    pub data_address: SocketAddr,
    /// The viewer, its API, health, metrics.
    pub admin_address: SocketAddr,
    config: Config,
    settings: Arc<ArcSwap<proxy::Settings>>,
    tls: Arc<ArcSwapOption<rustls::ServerConfig>>,
    export_settings: watch::Sender<Arc<ExportSettings>>,
    admin: Admin,
    shutdown: Shutdown,
    /// The data port's connections, tunnels and further tasks: all that may still make spans.
    connections: TaskTracker,
    /// The admin port stays up until all else has ended.
    admin_shutdown: Shutdown,
    exporter: Exporter,
    workers: Workers,
    store: Arc<Store>,
    writing: Writing,
}

/// Why a gateway does not start, or does not take a new configuration.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be bound.
    Bind {
        /// The configuration's key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// The operating system's word.
        source: io::Error,
    },
    /// A file that the configuration names cannot be used.
    Unusable(String),
    /// The store cannot be had.
    Store(OpenError),
    /// The operating system refuses something that every gateway needs.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Bind {
                key,
                address,
                source,
            } => {
                write!(
                    formatter,
                    "choose another {key}, or end the program that uses {address}: {source}"
                )
            }
            StartError::Unusable(why) => formatter.write_str(why),
            StartError::Store(error) => error.fmt(formatter),
            StartError::System(error) => {
                write!(formatter, "raise the limits of this process: {error}")
            }
        }
    }
}

impl error::Error for StartError {}

impl StartError {
    /// Whether the configuration has to change, not the machine.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            StartError::Unusable(_) | StartError::Store(OpenError::Taken(_))
        )
    }
}

impl Gateway {
    /// Opens every file that `config` names, and uses it as [`Gateway::start`] would.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn verify(config: &Config) -> Result<(), StartError> {
        settings::proxy(config, None)?;
        settings::tls(&config.server)?;
        settings::export(&config.respan)?;
        Ok(())
    }

    /// Binds both ports and serves. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When a port cannot be bound, or a certificate, key or root file cannot be used.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let settings = Arc::new(ArcSwap::from_pointee(settings::proxy(&config, None)?));
        let tls = Arc::new(ArcSwapOption::from(settings::tls(&config.server)?));
        let connection_limits = settings::connection_limits(&config);
        let bind = |key, address, tls: &Arc<_>| {
            Listener::bind(address, Arc::clone(tls), connection_limits).map_err(|source| {
                StartError::Bind {
                    key,
                    address,
                    source,
                }
            })
        };
        let data = bind("server.listen", config.server.listen, &tls)?;
        let plain = Arc::new(ArcSwapOption::empty());
        let admin_listener = bind("server.admin", config.server.admin, &plain)?;
        let data_address = data.local_address().map_err(StartError::System)?;
        let admin_address = admin_listener.local_address().map_err(StartError::System)?;

        let metrics = Arc::new(Metrics::default());
        let (store, writing) = Store::open(&settings::store(&config)).map_err(StartError::Store)?;
        let live = Arc::new(LiveRegistry::default());
        let (capture, workers) = start_capture(&config, &store, &metrics, &live)?;
        let nudged = capture.clone();
        live.set_wake(move || nudged.nudge());

        let (export_settings, watched) =
            watch::channel(Arc::new(settings::export(&config.respan)?));
        let background = TaskTracker::new();
        let exporter = Exporter::start(
            Arc::clone(&store),
            watched,
            Arc::clone(&metrics),
            RetryTimings::default(),
            &background,
        );

        let reachability = Arc::new(Reachability::default());
        let (shutdown, admin_shutdown, connections) =
            (Shutdown::default(), Shutdown::default(), TaskTracker::new());
        let proxy = Proxy::new(
            Arc::clone(&settings),
            capture,
            Arc::clone(&metrics),
            Arc::clone(&reachability),
            shutdown.clone(),
            connections.clone(),
        );
        connections.spawn(server::serve(
            data,
            proxy,
            shutdown.clone(),
            connections.clone(),
        ));
        let shown = AdminState {
            about: settings::about(&config, data_address),
            metrics,
            traces: Traces::new(Arc::clone(&store), live),
            store: Arc::clone(&store),
            export: exporter.watch(),
            upstream: reachability,
            shutdown: shutdown.clone(),
        };
        let access = settings::admin(&config.server);
        let admin = Admin::new(access, shown, admin_shutdown.clone());
        background.spawn(server::serve(
            admin_listener,
            admin.clone(),
            admin_shutdown.clone(),
            background.clone(),
        ));
        tracing::info!(%data_address, %admin_address, upstream = %config.upstream.base_url, exports = config.respan.api_key.is_some(), "serving");
        Ok(Gateway {
            data_address,
            admin_address,
            config,
            settings,
            tls,
            export_settings,
            admin,
            shutdown,
            connections,
            admin_shutdown,
            exporter,
            workers,
            store,
            writing,
        })
    }

    /// Takes all of `config` but the keys that need a restart, which are logged. Certificates,
    /// roots and keys are read again, and an export that waits for a better key tries at once.
    ///
    /// # Errors
    /// When a file cannot be used; then nothing has changed.
    pub fn reload(&mut self, config: Config) -> Result<(), StartError> {
        let settings = settings::proxy(
            &config,
            Some((&self.config.upstream, &self.settings.load())),
        )?;
        let tls = settings::tls(&config.server)?;
        let export_settings = settings::export(&config.respan)?;
        for (key, changed) in [
            (
                "server.listen",
                config.server.listen != self.config.server.listen,
            ),
            (
                "server.admin",
                config.server.admin != self.config.server.admin,
            ),
            (
                "server.tls_cert",
                tls.is_some() != self.tls.load().is_some(),
            ),
            (
                "limits of connections and heads",
                settings::connection_limits(&config) != settings::connection_limits(&self.config),
            ),
            (
                "respan.max_pending",
                config.respan.max_pending != self.config.respan.max_pending,
            ),
            ("store", config.store != self.config.store),
            ("runs", config.runs != self.config.runs),
            ("log", config.log != self.config.log),
            (
                "capture.max_memory",
                config.capture.max_memory != self.config.capture.max_memory,
            ),
        ] {
            if changed {
                tracing::warn!(key, "this change takes a restart");
            }
        }
        if tls.is_some() && self.tls.load().is_some() {
            self.tls.store(tls);
        }
        self.settings.store(Arc::new(settings));
        self.store.set_exports(export_settings.api_key.is_some());
        self.export_settings.send_replace(Arc::new(export_settings));
        self.admin.replace(settings::admin(&config.server));
        self.config = config;
        tracing::info!("took the configuration anew");
        Ok(())
    }

    /// Ends serving: drain, close, cut, then the flush, each within the configured times. `hurry`, a second signal, cuts requests under way and
    /// ends the flush; the store still writes, within about a second.
    ///
    /// Where a part hangs, its thread or task is left to the end of the process.
    pub async fn stop(self, hurry: impl Future<Output = ()>) {
        let began = tokio::time::Instant::now();
        let (delay, deadline) = (
            self.config.server.drain_delay,
            self.config.server.drain_deadline,
        );
        let hurry = pin!(hurry);
        let mut timer = ShutdownTimer::new(began + deadline, hurry);
        tracing::info!(?delay, ?deadline, "draining");
        self.shutdown.drain();
        let delay = tokio::time::sleep(delay.min(deadline));
        let served = timer.wait_unless_hurried("the drain delay", delay).await;
        self.shutdown.close();
        self.connections.close();
        if served.is_ok() {
            // Those that are still there when this ends are cut.
            let _ = timer
                .wait_unless_hurried("what is under way", self.connections.wait())
                .await;
        }
        self.shutdown.cut();
        timer.leave_some();
        timer
            .wait("connections that were cut", self.connections.wait())
            .await;
        // Nothing is under way any more, so all that was seen is in the workers' queues.
        let workers = self.workers;
        timer
            .wait(
                "the capture thread",
                tokio::task::spawn_blocking(move || workers.finish()),
            )
            .await;
        // In a hurry, only spans that would be lost with this process are still worth a try.
        let flush = if timer.is_hurried() && self.store.is_on_disk() {
            tokio::time::Instant::now()
        } else {
            timer.end()
        };
        let spans = self.store.counts().pending;
        let patience = RetryTimings::default().drain_patience;
        let export = format!(
            "the export of {spans} spans; where the disk has them, {patience:?} without an accepted post end it"
        );
        let _ = timer
            .wait_unless_hurried(export, self.exporter.drain(flush))
            .await;
        timer.leave_some();
        self.store.close();
        let writing = self.writing;
        timer
            .wait(
                "the store's thread",
                tokio::task::spawn_blocking(move || writing.finish()),
            )
            .await;
        let left = self.store.counts().pending;
        let lost = if self.config.store.dir.as_os_str() == MEMORY {
            left
        } else {
            self.store.unsaved_count() as u64
        };
        let kept = left.saturating_sub(lost);
        if kept > 0 {
            tracing::warn!(
                spans = kept,
                "these could not be exported now; they are sent after the next start"
            );
        }
        if lost > 0 {
            tracing::warn!(
                spans = lost,
                "these could not be exported and are lost: the store is in memory, or takes nothing"
            );
        }
        self.admin_shutdown.cut();
        tracing::info!("stopped");
    }
}

/// Starts the threads that read what was copied, and the pipeline behind them.
fn start_capture(
    config: &Config,
    store: &Arc<Store>,
    metrics: &Arc<Metrics>,
    live: &Arc<LiveRegistry>,
) -> Result<(Capture, Workers), StartError> {
    let workers = tracing_threads();
    let runs = Runs::new(settings::runs(&config.runs), store.agent_names(), workers);
    let pipeline = Pipeline::new(
        runs,
        Arc::clone(store),
        Arc::clone(metrics),
        Arc::clone(live),
    );
    let dropped = Arc::clone(store);
    let observation = CaptureSettings {
        budget: Budget::new(config.capture.max_memory),
        workers,
        partition: runs::partition,
        last_moment: store.last_moment(),
        on_dropped: Box::new(move || dropped.dropped()),
    };
    Capture::start(observation, pipeline).map_err(StartError::System)
}

/// Threads that read observations: a quarter of the cores.
fn tracing_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 4).max(1))
}
