//! Writes the log back into the database, on a thread and a connection of its own: it waits for the disk, and the journal must not. Before
//! that, it sees to it that the disk has the values that the rows of the log have beside them; after that, values can go in whose place they
//! are.

use std::fs::{self, File};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::values::Work;

/// How often it is tried to get at a moment in which the log is written back as a whole, so that it begins anew.
const TRIES: usize = 16;

#[derive(Debug)]
pub(super) struct Checkpoint {
    /// Dropped to end the thread.
    wanted: Option<SyncSender<Work>>,
    thread: Option<JoinHandle<()>>,
    /// Of what the thread does not know yet.
    work: Work,
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
            work: Work::default(),
        })
    }

    /// The log is to be written back, and this done on the way.
    pub(super) fn wanted(&mut self, work: Work) {
        self.work.sync.extend(work.sync);
        self.work.remove.extend(work.remove);
        // Asked again before it is done, it is asked once.
        if let Some(wanted) = &self.wanted
            && let Err(TrySendError::Full(work)) = wanted.try_send(mem::take(&mut self.work))
        {
            self.work = work;
        }
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        self.wanted = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        // What is to be removed is removed at the next start.
        sync(&self.work.sync);
    }
}

fn run(database: &Path, asked: &Receiver<Work>) {
    let mut connection = None;
    while let Ok(work) = asked.recv() {
        sync(&work.sync);
        if connection.is_none() {
            connection = Connection::open(database).ok();
        }
        // Whatever goes wrong here, the writer meets it, too, and says it.
        let done = connection
            .as_ref()
            .is_some_and(|open| written_back(open).is_ok());
        if !done {
            connection = None;
            continue;
        }
        remove(&work.remove);
    }
}

/// Waits until the disk has these files, as far as they are there. What it does not have in the end does not read, and is counted then.
pub(super) fn sync<'a>(files: impl IntoIterator<Item = &'a PathBuf>) {
    for file in files {
        drop(File::open(file).and_then(|file| file.sync_data()));
    }
}

/// Removes these files. One that stays is removed at the next start.
pub(super) fn remove<'a>(files: impl IntoIterator<Item = &'a PathBuf>) {
    for file in files {
        drop(fs::remove_file(file));
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
