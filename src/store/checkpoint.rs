//! Writes the log back into the database, on a thread and a connection of its own: it waits for the disk, and the journal must not. Before
//! that, it sees to it that the disk has the values that the rows of the log have beside them; after that, values can go in whose place they
//! are.

use std::fs::{self, File};
use std::io;
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
    let mut left = Work::default();
    while let Ok(work) = asked.recv() {
        left.sync.extend(work.sync);
        left.remove.extend(work.remove);
        if sync(&left.sync) {
            left.sync.clear();
        }
        if connection.is_none() {
            connection = Connection::open(database).ok();
        }
        // Whatever goes wrong here, the writer meets it, too, and says it.
        match connection.as_ref().map(written_back) {
            Some(Ok(whole)) if whole && left.sync.is_empty() => {
                remove(&mem::take(&mut left.remove));
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => connection = None,
        }
    }
}

/// Waits until the disk has these files, as far as they are there; false where it does not take one.
pub(super) fn sync<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> bool {
    let mut all = true;
    for file in files {
        match File::open(file).and_then(|file| file.sync_data()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => all = false,
            _ => {}
        }
    }
    all
}

/// Removes these files. One that stays is removed at the next start.
fn remove<'a>(files: impl IntoIterator<Item = &'a PathBuf>) {
    for file in files {
        drop(fs::remove_file(file));
    }
}

/// Whether all of the log is written back.
fn written_back(connection: &Connection) -> rusqlite::Result<bool> {
    for _ in 0..TRIES {
        let (busy, log, done): (bool, i64, i64) =
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        if !busy && log == done {
            return Ok(true);
        }
    }
    Ok(false)
}
