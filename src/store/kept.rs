//! Spans that do not leave by themselves: those that were made while there was no destination, and those that were refused.
//!
//! The rule: what began while there was no destination stays here, through restarts too, until somebody asks for it to be sent.

use tokio::sync::oneshot;

use super::inbox::{Note, Question};
use super::{Refused, Store, unix_nanoseconds};

/// Stored spans that leave only when somebody asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Those that Respan refused for good.
    Refused,
    /// Those that were made while there was no destination.
    Kept,
}

impl Store {
    /// Whether spans have a destination from now on. Those that began while they had none are kept, and do not leave by themselves.
    pub fn set_exports(&self, exports: bool) {
        let mut queue = self.lock();
        if queue.exports_since.is_some() == exports {
            return;
        }
        queue.exports_since = exports.then(unix_nanoseconds);
        let since = queue.exports_since;
        drop(queue);
        self.inbox.tell(Note::Destination(since));
    }

    /// Spans that Respan refused for good, newest first, at most `limit`; none when the disk gives nothing now.
    pub async fn refused(&self, limit: usize) -> Option<Vec<Refused>> {
        let (reply, answer) = oneshot::channel();
        self.inbox.ask(Question::ListRefused(limit, reply));
        answer.await.ok().flatten()
    }

    /// Sends stored spans that would not leave by themselves, oldest first; they count as created, those that were refused once more. Gives how
    /// many; none when the disk gives nothing now.
    pub async fn replay(&self, what: Replay) -> Option<u64> {
        let (mut replayed, mut last) = (0, 0);
        loop {
            let (reply, answer) = oneshot::channel();
            self.inbox.ask(Question::Replay(what, last, reply));
            let (spans, to) = answer.await.ok().flatten()?;
            if spans == 0 {
                return Some(replayed);
            }
            // What is refused again meanwhile has a number that is not asked for any more.
            (replayed, last) = (replayed + spans, to);
        }
    }
}

/// What the writer has to say.
impl Store {
    pub(super) fn exports_since(&self) -> Option<u64> {
        self.lock().exports_since
    }

    /// The file knows since when spans have a destination. Where they have none by now, that stays so.
    pub(super) fn found_destination(&self, since: u64) {
        let mut queue = self.lock();
        queue.exports_since = queue.exports_since.map(|_| since);
    }

    pub(super) fn found_kept(&self, spans: u64) {
        self.lock().counts.kept += spans;
    }

    pub(super) fn keeps(&self, spans: u64) {
        self.state_of(|state| state.kept = spans);
    }
}
