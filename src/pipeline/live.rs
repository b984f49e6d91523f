//! Publishes runs while they go on to those who watch. While nobody watches, a refresh costs one load of an atomic.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::runs::{Runs, Sketches};
use crate::traces::Live;

/// Shortest time between two looks at the runs.
const PACE: Duration = Duration::from_millis(250);

/// What watchers have seen of open runs.
pub(super) struct LiveSnapshots {
    live: Arc<Live>,
    /// None while nobody watches.
    shown: Option<Sketches>,
    next: Instant,
}

impl LiveSnapshots {
    pub(super) fn new(live: Arc<Live>) -> Self {
        LiveSnapshots {
            live,
            shown: None,
            next: Instant::now(),
        }
    }

    /// Publishes what has changed since the last time. Returns when to come again, if that was too short ago.
    pub(super) fn refresh(&mut self, runs: &Runs) -> Option<Instant> {
        if !self.live.is_watched() {
            if self.shown.take().is_some() {
                self.live.clear();
            }
            return None;
        }
        let now = Instant::now();
        if self.shown.is_some() && now < self.next {
            return Some(self.next);
        }
        self.next = now + PACE;
        let anew = self.shown.is_none();
        let changes = runs.sketch(self.shown.get_or_insert_default());
        if anew || !changes.is_empty() {
            self.live.publish(changes);
        }
        None
    }
}
