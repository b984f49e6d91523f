//! Publishes runs while they go on to those who watch. While nobody watches, a refresh costs one load of an atomic.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::runs::{OpenSpanCursor, Runs};
use crate::traces::LiveRegistry;

/// Shortest time between two looks at the runs.
const PACE: Duration = Duration::from_millis(250);

/// The state of open runs that watchers have.
pub(super) struct LiveSnapshots {
    live: Arc<LiveRegistry>,
    /// None while nobody watches.
    shown: Option<OpenSpanCursor>,
    next: Instant,
}

impl LiveSnapshots {
    pub(super) fn new(live: Arc<LiveRegistry>) -> Self {
        LiveSnapshots {
            live,
            shown: None,
            next: Instant::now(),
        }
    }

    /// Publishes the changes since the last time. Returns when to call again, where that was less than [`PACE`] ago.
    pub(super) fn refresh(&mut self, runs: &Runs) -> Option<Instant> {
        if !self.live.is_watched() {
            if self.shown.take().is_some() {
                self.live.clear();
            }
            return None;
        }
        if self.shown.is_some() && Instant::now() < self.next {
            return Some(self.next);
        }
        let anew = self.shown.is_none();
        let changes = runs.open_spans(self.shown.get_or_insert_default());
        if anew || !changes.is_empty() {
            self.live.publish(changes);
        }
        // From its end, so that a long look is not followed by another at once.
        self.next = Instant::now() + PACE;
        None
    }
}
