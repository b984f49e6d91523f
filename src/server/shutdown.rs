//! The order in which serving ends: draining, closing, cutting. Each step includes those before it, and none can be taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

/// How far serving has come to its end. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Arc<Steps>);

#[derive(Debug, Default)]
struct Steps {
    draining: AtomicBool,
    closing: CancellationToken,
    cutting: CancellationToken,
}

impl Shutdown {
    /// Readiness fails from here on, and responses ask their clients to open another connection. Requests are still served.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Listeners close, idle connections go, what is in flight runs on.
    pub fn close(&self) {
        self.drain();
        self.0.closing.cancel();
    }

    /// What still runs is cut.
    pub fn cut(&self) {
        self.close();
        self.0.cutting.cancel();
    }

    /// Whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// Ends when closing begins.
    pub async fn closing(&self) {
        self.0.closing.cancelled().await;
    }

    /// Ends when cutting begins.
    pub async fn cutting(&self) {
        self.0.cutting.cancelled().await;
    }
}
