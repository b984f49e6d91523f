//! The store's directory: whose it is, where the database lies in it, and what becomes of a file that is none.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::values;

const DATABASE: &str = "spangate.db";
const LOCK: &str = "lock";
/// How the name of a database begins that was moved out of the way.
const DAMAGED: &str = "spangate.db.damaged-";
/// Files that SQLite keeps beside its database.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// A directory that is this process's alone, as far as the disk lets it be.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Held until the process ends, however it does; none while the disk gives no such file.
    lock: Option<File>,
}

/// Another process has the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken;

impl Directory {
    /// Makes the directory where there is none and takes it, if the disk lets it.
    ///
    /// # Errors
    /// Another process has it.
    pub(super) fn take(path: &Path) -> Result<Self, Taken> {
        let mut directory = Directory {
            path: path.to_owned(),
            lock: None,
        };
        match directory.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Taken),
            Err(TryLockError::Error(_)) | Ok(()) => Ok(directory),
        }
    }

    /// Takes it again where the disk did not let it before.
    ///
    /// # Errors
    /// It still does not, or another process has it by now.
    pub(super) fn ensure(&mut self) -> Result<(), String> {
        if self.lock.is_some() && self.path.join(LOCK).exists() {
            return Ok(());
        }
        self.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => "another process has taken the directory".to_owned(),
            TryLockError::Error(error) => error.to_string(),
        })
    }

    fn try_lock(&mut self) -> Result<(), TryLockError> {
        let open = || -> io::Result<File> {
            fs::create_dir_all(&self.path)?;
            File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(self.path.join(LOCK))
        };
        let lock = open().map_err(TryLockError::Error)?;
        lock.try_lock()?;
        self.lock = Some(lock);
        Ok(())
    }

    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Which file the database is; none when there is none.
    pub(super) fn file(&self) -> Option<(u64, u64)> {
        let metadata = fs::metadata(self.database()).ok()?;
        Some((metadata.dev(), metadata.ino()))
    }

    /// Bytes of the database's file. What is in the log may make it longer.
    pub(super) fn database_bytes(&self) -> u64 {
        fs::metadata(self.database()).map_or(0, |metadata| metadata.len())
    }

    /// Bytes of the log beside the database.
    pub(super) fn log_bytes(&self) -> u64 {
        let log = self.path.join(format!("{DATABASE}{}", BESIDE[0]));
        fs::metadata(log).map_or(0, |metadata| metadata.len())
    }

    /// Bytes that the disk could still take.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.path).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Moves the database out of the way, with what belongs to it, in place of the one before. Gives where it is now, and whether it is:
    /// somebody may have taken it away already, and left what belongs to it.
    pub(super) fn move_aside(&self) -> io::Result<(PathBuf, bool)> {
        let is_there = self.file().is_some();
        if is_there {
            self.remove_damaged()?;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let name = format!("{DAMAGED}{}", now.map_or(0, |now| now.as_millis()));
        let to = self.path.join(name);
        if is_there {
            fs::rename(self.database(), &to)?;
        }
        for (number, from) in values::files(&self.database()).unwrap_or_default() {
            // What stays behind does not read, and is counted.
            drop(fs::rename(from, values::file(&to, number)));
        }
        for beside in BESIDE {
            let from = self.path.join(format!("{DATABASE}{beside}"));
            let mut to = to.clone().into_os_string();
            to.push(beside);
            // Where one cannot be moved it must not stay: SQLite would take it for the new database's.
            if from.exists() && fs::rename(&from, to).is_err() {
                fs::remove_file(&from)?;
            }
        }
        Ok((to, is_there))
    }

    /// A disk that damages one file after the other must not fill with them.
    fn remove_damaged(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(DAMAGED) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}
