//! The order in which serving ends: draining, closing, cutting. Each step includes those before it, and none can be taken back.

use tokio_util::sync::CancellationToken;

/// How far serving has come to its end. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    draining: CancellationToken,
    closing: CancellationToken,
    cutting: CancellationToken,
}

impl Shutdown {
    /// Readiness fails from here on, and responses ask their clients to open another connection. Requests are still served.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Listeners close, idle connections go, what is in flight runs on.
    pub fn close(&self) {
        self.drain();
        self.closing.cancel();
    }

    /// What still runs is cut.
    pub fn cut(&self) {
        self.close();
        self.cutting.cancel();
    }

    /// Whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Ends when closing begins.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Ends when cutting begins.
    pub async fn cutting(&self) {
        self.cutting.cancelled().await;
    }
}
