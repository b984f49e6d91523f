//! What leaves only when somebody asks for it: spans that were made while there was no destination, and spans that Respan refused for good.

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::ledger::{Change, LISTED, RefusedSpan};
use super::{Store, WRITE_PATIENCE, WriteCommand, unix_nanoseconds};

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
        self.commands.send(WriteCommand::Destination(since));
    }

    /// Spans that Respan refused for good, newest first, at most `limit` and at most 128.
    pub fn refused(&self, limit: usize) -> Vec<RefusedSpan> {
        self.read_index().ledger.list_refused(limit.min(LISTED))
    }

    /// Sends stored spans that would not leave by themselves, oldest first; they count as created, those that were refused once more. Returns how
    /// many; none where the disk takes nothing now.
    pub async fn replay(&self, what: Replay) -> Option<u64> {
        // What was refused or made before is known then.
        self.handled().await?;
        if !self.is_writing() {
            return None;
        }
        let found: Vec<(u64, usize)> = {
            let mut index = self.write_index();
            let numbers: Vec<_> = match what {
                Replay::Refused => index.ledger.refused.iter().collect(),
                Replay::Kept => index.ledger.kept.iter().collect(),
            };
            // At once, so that no span is replayed twice, and none is in between where a checkpoint is written now.
            index.ledger.apply(&Change::Requeued(numbers.clone()));
            if !numbers.is_empty() {
                self.commands.send(WriteCommand::Requeued(numbers.clone()));
            }
            let seqs = numbers.iter().flat_map(|(first, last)| *first..=*last);
            let size = |seq| Some((seq, index.spans().get(&seq)?.size as usize));
            seqs.filter_map(size).collect()
        };
        Some(self.queue_found(found))
    }

    /// Returns once the writer has handled what it was told before. None where the disk does not answer.
    pub(super) async fn handled(&self) -> Option<()> {
        let (answer, handled) = oneshot::channel();
        self.commands.send(WriteCommand::Barrier(answer));
        timeout(WRITE_PATIENCE, handled).await.ok()?.ok()
    }

    /// Spans that are stored and were made without a destination.
    pub fn kept(&self) -> u64 {
        self.read_index().ledger.kept.count()
    }

    pub(super) fn exports_since(&self) -> Option<u64> {
        self.lock().exports_since
    }

    /// Since when spans have a destination, as the log's files have it. Where they have none by now, that stays so.
    pub(super) fn found_destination(&self, since: Option<u64>) {
        let mut queue = self.lock();
        queue.exports_since = queue.exports_since.and(since);
    }
}
