//! Shows runs while they go on, to those who watch; when nobody does, this is a look at a clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::runs::{Runs, Sketches};
use crate::traces::Live;

/// Between two looks at the runs.
const PACE: Duration = Duration::from_millis(250);

/// What was shown of them.
pub(super) struct Sketching {
    live: Arc<Live>,
    /// None while nobody watches.
    shown: Option<Sketches>,
    next: Instant,
}

impl Sketching {
    pub(super) fn new(live: Arc<Live>) -> Self {
        Sketching {
            live,
            shown: None,
            next: Instant::now(),
        }
    }

    /// Something may have happened. Gives when it should be looked again, if that was too soon.
    pub(super) fn rest(&mut self, runs: &Runs) -> Option<Instant> {
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
