//! The state of one worker: what it waits for in its conversations, and digests of their texts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::call::RunId;
use super::conversation::ConversationKey;
use super::digest_cache::DigestCache;
use crate::exchange::ExchangeId;

/// The timers and digests of one worker's conversations.
#[derive(Debug)]
pub(super) struct WorkerState {
    /// Requests that are attributed by then even if they have not settled, with when they began.
    pub(super) pending: VecDeque<(Instant, Arc<ConversationKey>, u64)>,
    /// Idle runs, and since when they are idle. Those that went on are skipped.
    pub(super) idle: BTreeMap<(Instant, RunId), (Arc<ConversationKey>, u64)>,
    /// Conversations whose failed attempts may expire, with the conversation's number.
    pub(super) attempts: BTreeMap<(Instant, u64), Arc<ConversationKey>>,
    pub(super) digests: DigestCache,
    /// Exchanges of other workers' conversations that its last update finished, each with its worker.
    pub(super) foreign: Vec<(usize, ExchangeId)>,
}

impl WorkerState {
    pub(super) fn new(max_digests: usize) -> Self {
        WorkerState {
            pending: VecDeque::new(),
            idle: BTreeMap::new(),
            attempts: BTreeMap::new(),
            digests: DigestCache::new(max_digests),
            foreign: Vec::new(),
        }
    }

    /// When its first timer is due.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let pending = self.pending.front().map(|(due, ..)| *due);
        let idle = self.idle.keys().next().map(|(due, _)| *due);
        let attempts = self.attempts.keys().next().map(|(due, _)| *due);
        [pending, idle, attempts].into_iter().flatten().min()
    }

    /// The next conversation whose failed attempts may have expired.
    pub(super) fn next_attempts(&mut self, now: Instant) -> Option<(u64, Arc<ConversationKey>)> {
        let first = self.attempts.first_entry()?;
        let (due, number) = *first.key();
        (due <= now).then(|| (number, first.remove()))
    }

    /// The next request that waited long enough.
    pub(super) fn next_pending(&mut self, now: Instant) -> Option<(Arc<ConversationKey>, u64)> {
        let (due, ..) = self.pending.front()?;
        let (_, key, started_ns) = (*due <= now).then(|| self.pending.pop_front())??;
        Some((key, started_ns))
    }

    /// The next run that was idle long enough, unless it went on, and since when.
    pub(super) fn next_idle(&mut self, now: Instant) -> Option<(Arc<ConversationKey>, RunId, u64)> {
        let first = self.idle.first_entry()?;
        let (due, run) = *first.key();
        let (key, since_ns) = (due <= now).then(|| first.remove())?;
        Some((key, run, since_ns))
    }
}
