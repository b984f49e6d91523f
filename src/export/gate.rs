//! When a post may go out at all.
//!
//! Some answers are about the server and not about the spans of one post: "come back in a minute" and "this key is no good". They hold for
//! every post. The rule: before the named time nothing is posted, and while the key is refused one post at a time goes out
//! to ask again, at once when the settings change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::ExportSettings;

#[derive(Debug)]
pub(super) struct PostGate {
    probe_every: Duration,
    state: Mutex<GateState>,
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct GateState {
    /// The settings that `not_before` is an answer to: new ones need not wait.
    settings: Option<Arc<ExportSettings>>,
    not_before: Option<Instant>,
    key_refused: bool,
}

impl PostGate {
    pub(super) fn new(probe_every: Duration) -> Self {
        Self {
            probe_every,
            state: Mutex::default(),
            changes: watch::Sender::new(()),
        }
    }

    /// Whether a post with these settings may go out now.
    ///
    /// # Errors
    /// It may not, before the returned time.
    pub(super) fn enter(
        &self,
        settings: &Arc<ExportSettings>,
        now: Instant,
    ) -> Result<(), Instant> {
        let mut state = self.lock();
        if state
            .settings
            .as_ref()
            .is_some_and(|known| !Arc::ptr_eq(known, settings))
        {
            state.not_before = None;
        }
        state.settings = Some(Arc::clone(settings));
        match state.not_before {
            Some(time) if now < time => Err(time),
            _ => {
                state.not_before = state.key_refused.then(|| now + self.probe_every);
                Ok(())
            }
        }
    }

    /// The server took a post, or at least its key.
    pub(super) fn open(&self) {
        let mut state = self.lock();
        if state.key_refused {
            state.key_refused = false;
            state.not_before = None;
            self.changes.send_replace(());
        }
    }

    /// The key of `settings` was refused.
    pub(super) fn refuse_key(&self, settings: &Arc<ExportSettings>, now: Instant) {
        let mut state = self.lock();
        state.key_refused = true;
        state.close_until(now + self.probe_every, settings);
        self.changes.send_replace(());
    }

    /// The server asks to be left alone.
    pub(super) fn leave_alone_until(&self, time: Instant, settings: &Arc<ExportSettings>) {
        self.lock().close_until(time, settings);
    }

    /// Forgets how long to wait, but not that the key was refused.
    pub(super) fn let_one_through(&self) {
        self.lock().not_before = None;
        self.changes.send_replace(());
    }

    /// Wakes the posts that wait, to look again.
    pub(super) fn wake(&self) {
        self.changes.send_replace(());
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GateState {
    /// An answer to a post with settings that were replaced meanwhile says nothing about the new ones.
    fn close_until(&mut self, time: Instant, settings: &Arc<ExportSettings>) {
        if self
            .settings
            .as_ref()
            .is_none_or(|known| Arc::ptr_eq(known, settings))
        {
            self.not_before = self.not_before.max(Some(time));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::OtlpEncoding;

    const MINUTE: Duration = Duration::from_mins(1);

    fn settings() -> Arc<ExportSettings> {
        let url = http::Uri::from_static("http://localhost");
        Arc::new(ExportSettings {
            url,
            api_key: None,
            encoding: OtlpEncoding::Json,
            flush_interval: MINUTE,
        })
    }

    #[test]
    fn before_the_time_that_the_server_named_nothing_goes_out() {
        let (gate, settings, now) = (PostGate::new(MINUTE), settings(), Instant::now());
        assert_eq!(gate.enter(&settings, now), Ok(()));
        gate.leave_alone_until(now + MINUTE, &settings);
        gate.leave_alone_until(now + MINUTE / 2, &settings);
        assert_eq!(gate.enter(&settings, now + MINUTE / 2), Err(now + MINUTE));
        assert_eq!(gate.enter(&settings, now + MINUTE), Ok(()));
        assert_eq!(gate.enter(&settings, now + MINUTE), Ok(()));
    }

    #[test]
    fn while_the_key_is_refused_one_post_a_minute_asks_again() {
        let (gate, settings, now) = (PostGate::new(MINUTE), settings(), Instant::now());
        gate.refuse_key(&settings, now);
        assert_eq!(gate.enter(&settings, now), Err(now + MINUTE));
        assert_eq!(gate.enter(&settings, now + MINUTE), Ok(()));
        assert_eq!(gate.enter(&settings, now + MINUTE), Err(now + 2 * MINUTE));
        gate.open();
        assert_eq!(gate.enter(&settings, now + MINUTE), Ok(()));
        assert_eq!(gate.enter(&settings, now + MINUTE), Ok(()));
    }

    #[test]
    fn new_settings_let_one_post_ask_at_once() {
        let (gate, old, new, now) = (
            PostGate::new(MINUTE),
            settings(),
            settings(),
            Instant::now(),
        );
        gate.refuse_key(&old, now);
        assert!(gate.enter(&old, now).is_err());
        assert_eq!(gate.enter(&new, now), Ok(()));
        assert_eq!(gate.enter(&new, now), Err(now + MINUTE));
    }
}
