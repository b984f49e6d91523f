//! Syncs written segments to the disk, on a thread of its own: a disk that does not answer holds up no writing.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::disk::{Disk, DiskFile};
use super::lock;
use super::segment::SealedSegment;

/// What is written and may not be on the disk yet.
#[derive(Debug)]
pub(super) enum Unsynced {
    File(Arc<dyn DiskFile>),
    Sealed(SealedSegment),
}

impl Unsynced {
    pub(super) fn sync(&self, disk: &dyn Disk) -> io::Result<()> {
        match self {
            Unsynced::File(file) => file.sync(),
            Unsynced::Sealed(segment) => segment.sync(disk),
        }
    }
}

/// Asks for syncs.
#[derive(Debug)]
pub(super) struct Syncer {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    unsynced: Vec<Unsynced>,
    busy_since: Option<Instant>,
    error: Option<io::Error>,
    is_closed: bool,
}

impl Syncer {
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(disk: Arc<dyn Disk>) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("store-sync".to_owned())
            .spawn(move || own.run(&*disk))?;
        Ok(Syncer { shared, thread })
    }

    pub(super) fn sync(&self, unsynced: Vec<Unsynced>) {
        lock(&self.shared.waiting).unsynced.extend(unsynced);
        self.shared.changed.notify_one();
    }

    /// Returns once all is synced, or cannot be. A disk that does not answer holds it up for ever.
    pub(super) fn finish(self) {
        lock(&self.shared.waiting).is_closed = true;
        self.shared.changed.notify_one();
        if self.thread.join().is_err() {
            tracing::error!("the thread that syncs ended by a panic; please report this");
        }
    }

    /// Why a sync failed since the last call.
    pub(super) fn take_error(&self) -> Option<io::Error> {
        lock(&self.shared.waiting).error.take()
    }

    /// Since when the disk has not answered to a sync.
    pub(super) fn busy_since(&self) -> Option<Instant> {
        lock(&self.shared.waiting).busy_since
    }
}

impl Shared {
    fn run(&self, disk: &dyn Disk) {
        loop {
            let waiting = lock(&self.waiting);
            let is_idle = |waiting: &mut Waiting| waiting.unsynced.is_empty() && !waiting.is_closed;
            let waiting = self.changed.wait_while(waiting, is_idle);
            let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
            let unsynced = std::mem::take(&mut waiting.unsynced);
            if unsynced.is_empty() {
                return;
            }
            waiting.busy_since = Some(Instant::now());
            drop(waiting);
            // One that fails keeps no other from being synced.
            let errors = unsynced
                .iter()
                .filter_map(|unsynced| unsynced.sync(disk).err());
            let error = errors.last();
            let mut waiting = lock(&self.waiting);
            waiting.busy_since = None;
            waiting.error = error.or(waiting.error.take());
        }
    }
}
