//! Writes the log back into the database, on a thread and a connection of its own: it waits for the disk, and the journal must not. Before
//! that, it sees to it that the disk has the values that the rows of the log have beside them.

use std::collections::BTreeSet;
use std::fs::File;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

/// How often it is tried to get at a moment in which the log is written back as a whole, so that it begins anew.
const TRIES: usize = 16;

#[derive(Debug)]
pub(super) struct Checkpoint {
    /// Dropped to end the thread.
    wanted: Option<SyncSender<BTreeSet<PathBuf>>>,
    thread: Option<JoinHandle<()>>,
    /// Files of which the thread does not know yet.
    unsynced: BTreeSet<PathBuf>,
}

impl Checkpoint {
    /// Starts the thread; none where the system gives no thread, and then the writer does it all.
    pub(super) fn start(database: PathBuf) -> Option<Self> {
        let (wanted, asked) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("store-log".to_owned())
            .spawn(move || run(&database, &asked))
            .ok()?;
        Some(Checkpoint {
            wanted: Some(wanted),
            thread: Some(thread),
            unsynced: BTreeSet::new(),
        })
    }

    /// The log is long, and the disk may not have these files.
    pub(super) fn wanted(&mut self, unsynced: Vec<PathBuf>) {
        self.unsynced.extend(unsynced);
        // Asked again before it is done, it is asked once.
        if let Some(wanted) = &self.wanted
            && let Err(TrySendError::Full(unsynced)) =
                wanted.try_send(mem::take(&mut self.unsynced))
        {
            self.unsynced = unsynced;
        }
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        self.wanted = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn run(database: &Path, asked: &Receiver<BTreeSet<PathBuf>>) {
    let mut connection = None;
    while let Ok(unsynced) = asked.recv() {
        sync(&unsynced);
        if connection.is_none() {
            connection = Connection::open(database).ok();
        }
        let Some(open) = &connection else { continue };
        // Whatever goes wrong here, the writer meets it, too, and says it.
        if written_back(open).is_err() {
            connection = None;
        }
    }
}

/// Waits until the disk has these files, as far as they are there. What it does not have in the end does not read, and is counted then.
pub(super) fn sync<'a>(files: impl IntoIterator<Item = &'a PathBuf>) {
    for file in files {
        drop(File::open(file).and_then(|file| file.sync_data()));
    }
}

fn written_back(connection: &Connection) -> rusqlite::Result<()> {
    for _ in 0..TRIES {
        let (log, done): (i64, i64) =
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
                Ok((row.get(1)?, row.get(2)?))
            })?;
        if log == done {
            break;
        }
    }
    Ok(())
}
