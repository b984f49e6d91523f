//! What the writer reports to the store: which spans are written or gone, and how the disk is doing.

use std::time::SystemTime;

use super::open::FoundLog;
use super::queue::NewSpan;
use super::{DropReason, Store, lock};

impl Store {
    pub(super) fn last_seq(&self) -> u64 {
        self.lock().next_seq - 1
    }

    pub(super) fn next_seq_at_least(&self, seq: u64) {
        let mut queue = self.lock();
        queue.next_seq = queue.next_seq.max(seq);
    }

    /// The files were read, and hold this.
    pub(super) fn found(&self, found: FoundLog) {
        self.lock().counts.kept += self.kept();
        self.queue_found(found.pending);
        self.lock().lost_before_start(found.lost.len() as u64);
    }

    /// These stored spans wait to be sent. Returns how many there are.
    pub(super) fn queue_found(&self, spans: Vec<(u64, usize)>) -> u64 {
        let mut queue = self.lock();
        let found = queue.found(spans);
        self.ring_when_enough(&mut queue);
        found
    }

    pub(super) fn saved(&self, seqs: &[u64]) {
        if !seqs.is_empty() {
            self.lock().saved(seqs, self.keep);
            self.written.send_modify(|times| *times += 1);
        }
    }

    pub(super) fn unsaved(&self, first: u64, last: u64, bytes: usize) -> Vec<NewSpan> {
        self.lock().unsaved(first, last, bytes)
    }

    /// The segment that held these is gone.
    pub(super) fn not_stored(&self, seqs: &[u64], reason: DropReason) {
        let mut queue = self.lock();
        if reason == DropReason::Age {
            queue.evict(seqs, reason);
        } else {
            queue.lose_files(seqs, reason);
        }
        drop(queue);
        self.written.send_modify(|times| *times += 1);
    }

    pub(super) fn skipped(&self, records: u64) {
        self.state_of(|state| state.journal_skipped += records);
    }

    pub(super) fn uses(&self, bytes: u64) {
        self.state_of(|state| state.bytes = bytes);
    }

    /// The writer begins to work with the disk, or has done so.
    pub(super) fn set_busy(&self, is_busy: bool) {
        lock(&self.disk_calls).write = is_busy.then(std::time::Instant::now);
    }

    pub(super) fn set_sync_busy(&self, since: Option<std::time::Instant>) {
        lock(&self.disk_calls).sync = since;
    }

    pub(super) fn fails(&self, why: String) {
        let mut state = lock(&self.state);
        if state.failing.is_none() {
            tracing::error!(
                why,
                "the store takes nothing now; spans are kept in memory until it does"
            );
        }
        let since = state
            .failing
            .as_ref()
            .map_or_else(SystemTime::now, |(since, _)| *since);
        state.failing = Some((since, why));
        drop(state);
        self.written.send_modify(|times| *times += 1);
    }

    pub(super) fn is_failing(&self) -> bool {
        lock(&self.state).failing.is_some()
    }

    /// What only the log has cannot be read.
    pub(super) fn gives_nothing(&self, why: String) {
        self.lock().is_readable = false;
        self.fails(why);
    }

    /// What only the log has can be read.
    pub(super) fn can_be_read(&self) {
        let mut queue = self.lock();
        queue.is_readable = true;
        self.ring_when_enough(&mut queue);
        drop(queue);
        self.set_aside.notify_one();
    }

    /// What is told is written, and what only the log has can be read.
    pub(super) fn recovers_from_failure(&self) {
        self.can_be_read();
        if lock(&self.state).failing.take().is_some() {
            tracing::info!("the store works again");
        }
    }

    pub(super) fn ends_writing(&self) {
        if std::thread::panicking() {
            self.gives_nothing("its thread ended by a panic; please report this".to_owned());
        }
        self.written.send_modify(|times| *times += 1);
    }
}
