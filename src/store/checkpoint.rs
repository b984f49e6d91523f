//! Writes the log back into the database, on a thread and a connection of its own: it waits for the disk, and the journal must not.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

/// How often it is tried to get at a moment in which the log is written back as a whole, so that it begins anew.
const TRIES: usize = 16;

#[derive(Debug)]
pub(super) struct Checkpoint {
    /// Dropped to end the thread.
    wanted: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
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
        })
    }

    /// The log is long. Asked again before it is done, it is asked once.
    pub(super) fn wanted(&self) {
        if let Some(wanted) = &self.wanted {
            let _ = wanted.try_send(());
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

fn run(database: &std::path::Path, asked: &Receiver<()>) {
    let mut connection = None;
    while asked.recv().is_ok() {
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
