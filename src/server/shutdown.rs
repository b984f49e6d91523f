//! The steps in which serving ends: draining, closing, cutting. Each step includes those before it, and none can be taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

/// The current step of the shutdown. Clones share one state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shutdown(Arc<ShutdownState>);

#[derive(Debug, Default)]
struct ShutdownState {
    draining: AtomicBool,
    closing: CancellationToken,
    cutting: CancellationToken,
}

impl Shutdown {
    /// Readiness fails from here on, and responses ask their clients to open another connection. Requests are still served.
    pub(crate) fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Listeners and idle connections close; requests in flight run on.
    pub(crate) fn close(&self) {
        self.drain();
        self.0.closing.cancel();
    }

    /// Connections that are still open are cut.
    pub(crate) fn cut(&self) {
        self.close();
        self.0.cutting.cancel();
    }

    /// Whether draining has begun.
    pub(crate) fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// Ends when closing begins.
    pub(crate) async fn closing(&self) {
        self.0.closing.cancelled().await;
    }

    /// Ends when cutting begins.
    pub(crate) async fn cutting(&self) {
        self.0.cutting.cancelled().await;
    }
}
