//! The parts of the gateway that the admin port shows.

use std::sync::Arc;
use std::time::SystemTime;

use crate::export;
use crate::metrics::Metrics;
use crate::server::Shutdown;
use crate::store::Store;
use crate::traces::Traces;
use crate::upstream::Reachability;

/// The parts of the gateway that the admin port shows.
#[derive(Clone, Debug)]
pub(crate) struct AdminState {
    /// Facts about the process.
    pub about: About,
    /// Everything that is counted but spans.
    pub metrics: Arc<Metrics>,
    /// The counts of spans, and the refused ones.
    pub store: Arc<Store>,
    /// The state of the export.
    pub export: export::ExportWatch,
    /// Whether the upstream can be reached.
    pub upstream: Arc<Reachability>,
    /// Lists and pages of traces.
    pub traces: Traces,
    /// The data port's: readiness is the same on both ports.
    pub shutdown: Shutdown,
}

/// Facts about the process that never change.
#[derive(Clone, Debug)]
pub(crate) struct About {
    /// The base URL for an AutoGen program's client.
    pub base_url: String,
    /// When serving began.
    pub started: SystemTime,
}
