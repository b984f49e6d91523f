//! How the export is doing, for the admin port and for the log.
//!
//! The log gets one line when the state changes and at most one a minute while it stays bad; never a body, never a key.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

const LINE_EVERY: Duration = Duration::from_mins(1);

/// How the export is doing, at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExportState {
    /// There is a key: without one nothing leaves.
    pub configured: bool,
    /// When a post was last accepted.
    pub last_success: Option<SystemTime>,
    /// When a post last failed, and why.
    pub last_error: Option<(SystemTime, String)>,
    /// Respan refuses the key: everything is kept until there is a better one.
    pub key_refused: bool,
    /// Posts under way.
    pub posts: usize,
}

#[derive(Debug, Default)]
pub(super) struct ExportHealth(Mutex<HealthRecord>);

#[derive(Debug, Default)]
struct HealthRecord {
    state: ExportState,
    failing: bool,
    last_failure_line: Option<Instant>,
    last_refusal_line: Option<Instant>,
}

/// Counts a post as under way while it lives.
pub(super) struct PostGuard<'a>(&'a ExportHealth);

impl Drop for PostGuard<'_> {
    fn drop(&mut self) {
        self.0.lock().state.posts -= 1;
    }
}

impl ExportHealth {
    pub(super) fn state(&self) -> ExportState {
        self.lock().state.clone()
    }

    pub(super) fn post_begins(&self) -> PostGuard<'_> {
        self.lock().state.posts += 1;
        PostGuard(self)
    }

    /// A post was accepted.
    pub(super) fn succeeded(&self) {
        let mut record = self.lock();
        record.state.last_success = Some(SystemTime::now());
        record.state.key_refused = false;
        if std::mem::take(&mut record.failing) {
            record.last_failure_line = None;
            tracing::info!("Respan accepts spans again");
        }
    }

    /// A post failed and will be tried again.
    pub(super) fn failed(&self, reason: &str, waiting: u64) {
        let mut record = self.lock();
        record.state.last_error = Some((SystemTime::now(), reason.to_owned()));
        if !std::mem::replace(&mut record.failing, true) || due(&mut record.last_failure_line) {
            record.last_failure_line = Some(Instant::now());
            tracing::warn!(
                reason,
                waiting,
                "spans cannot be exported now; they are kept and tried again"
            );
        }
    }

    /// The key or its account was refused; `reason` says how to put that right.
    pub(super) fn key_refused(&self, reason: &str, waiting: u64) {
        self.lock().state.key_refused = true;
        self.failed(reason, waiting);
    }

    /// Spans were refused for good, or a post drew a remark.
    pub(super) fn remark(&self, spans: u64, reason: &str) {
        let mut record = self.lock();
        if spans > 0 {
            record.state.last_error = Some((SystemTime::now(), reason.to_owned()));
        }
        if due(&mut record.last_refusal_line) {
            tracing::warn!(
                refused = spans,
                reason,
                "Respan refused spans or remarked on them"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, HealthRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn due(last: &mut Option<Instant>) -> bool {
    let due = last.is_none_or(|line| line.elapsed() >= LINE_EVERY);
    if due {
        *last = Some(Instant::now());
    }
    due
}
