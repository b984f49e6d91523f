//! Where segments lie: a directory, or memory. Both say the same things of a file, so that nothing above knows the difference.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::SystemTime;

use super::lock;

const LOCK: &str = "lock";
/// The directory of this layout, in the store's. What other versions keep has other names and is never touched, so that it is there for them.
const LAYOUT: &str = "log-1";

/// A file as a listing has it.
#[derive(Clone, Debug)]
pub(super) struct DiskEntry {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) modified: SystemTime,
}

/// Files by their names.
pub(super) trait Disk: Send + Sync + fmt::Debug {
    /// Makes sure that the files are there and this process's alone.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] when another process has them; otherwise the disk's own.
    fn claim(&self) -> io::Result<()>;
    fn list(&self) -> io::Result<Vec<DiskEntry>>;
    /// A new file with `bytes` reserved, so that a full disk shows here.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>>;
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// A whole small file, in place of the one before.
    fn write_whole(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    fn read_whole(&self, name: &str) -> io::Result<Vec<u8>>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Whether a file still has this name.
    fn is_there(&self, name: &str) -> io::Result<bool>;
    /// Bytes that could still be taken; none where nobody knows.
    fn free_bytes(&self) -> Option<u64>;
}

/// One file.
pub(super) trait DiskFile: Send + Sync + fmt::Debug {
    /// At most `length` bytes from `offset` on; fewer at the end of the file.
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>>;
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
    fn truncate(&self, bytes: u64) -> io::Result<()>;
    fn bytes(&self) -> io::Result<u64>;
}

/// A directory on a disk.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    files: PathBuf,
    /// Held until the process ends, however it does.
    lock: Mutex<Option<File>>,
}

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        Directory {
            files: path.join(LAYOUT),
            path: path.to_owned(),
            lock: Mutex::default(),
        }
    }

    /// Says once what else is in the store's directory: it takes room, and nobody else will.
    fn tell_foreign(&self) {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let foreign: Vec<_> = names
            .filter(|name| name != LOCK && name != LAYOUT)
            .collect();
        if !foreign.is_empty() {
            tracing::warn!(
                dir = %self.path.display(),
                files = foreign.join(", "),
                "the store's directory holds files of another version, or of somebody else; they stay as they are, and another version finds them"
            );
        }
    }
}

impl Disk for Directory {
    fn claim(&self) -> io::Result<()> {
        fs::create_dir_all(&self.path)?;
        let mut lock = lock(&self.lock);
        let path = self.path.join(LOCK);
        if lock.is_some() && path.exists() {
            return fs::create_dir_all(&self.files);
        }
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        // A disk that takes nothing may still be read.
        let file = file.or_else(|error| File::open(path).map_err(|_| error))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => ErrorKind::WouldBlock.into(),
            TryLockError::Error(error) => error,
        })?;
        *lock = Some(file);
        if self.files.exists() && !self.files.is_dir() {
            fs::rename(&self.files, self.path.join(format!("{LAYOUT}.foreign")))?;
        }
        fs::create_dir_all(&self.files)?;
        self.tell_foreign();
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<DiskEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.files)? {
            let entry = entry?;
            // A file may go meanwhile.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            entries.push(DiskEntry {
                name: entry.file_name().to_string_lossy().into_owned(),
                bytes: metadata.len(),
                modified: metadata.modified()?,
            });
        }
        Ok(entries)
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.files.join(name);
        let file = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&path)?;
        let reserved = reserve(&file, bytes);
        if let Err(error) = reserved {
            drop(fs::remove_file(path));
            return Err(error);
        }
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.files.join(name);
        let file = File::options().read(true).write(true).open(&path);
        // What cannot be written may still be read.
        let file = file.or_else(|_| File::open(path))?;
        Ok(Arc::new(file))
    }

    fn write_whole(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let unfinished = self.files.join(format!("{name}.new"));
        fs::write(&unfinished, bytes)?;
        fs::rename(unfinished, self.files.join(name))
    }

    fn read_whole(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.files.join(name))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.files.join(name))
    }

    fn is_there(&self, name: &str) -> io::Result<bool> {
        match self.files.join(name).try_exists() {
            Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(false),
            known => known,
        }
    }

    fn free_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.files).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

/// Some file systems cannot reserve: there a full disk shows in a write.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(bytes),
        reserved => Ok(reserved?),
    }
}

impl DiskFile for File {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match FileExt::read_at(self, &mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// Files in memory, gone with the process.
#[derive(Debug, Default)]
pub(super) struct MemoryDisk {
    files: Mutex<BTreeMap<String, Arc<MemoryFile>>>,
}

#[derive(Debug)]
struct MemoryFile {
    bytes: RwLock<Vec<u8>>,
    modified: Mutex<SystemTime>,
}

impl MemoryDisk {
    fn file(&self, name: &str) -> io::Result<Arc<MemoryFile>> {
        let files = lock(&self.files);
        files.get(name).cloned().ok_or(ErrorKind::NotFound.into())
    }

    fn insert(&self, name: &str, bytes: Vec<u8>) -> Arc<MemoryFile> {
        let file = Arc::new(MemoryFile {
            bytes: RwLock::new(bytes),
            modified: Mutex::new(SystemTime::now()),
        });
        lock(&self.files).insert(name.to_owned(), Arc::clone(&file));
        file
    }
}

impl Disk for MemoryDisk {
    fn claim(&self) -> io::Result<()> {
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<DiskEntry>> {
        let entry = |(name, file): (&String, &Arc<MemoryFile>)| {
            Ok(DiskEntry {
                name: name.clone(),
                bytes: file.bytes()?,
                modified: *lock(&file.modified),
            })
        };
        lock(&self.files).iter().map(entry).collect()
    }

    fn create(&self, name: &str, _: u64) -> io::Result<Arc<dyn DiskFile>> {
        // Memory is taken as it is written.
        Ok(self.insert(name, Vec::new()))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(name)?)
    }

    fn write_whole(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.insert(name, bytes.to_vec());
        Ok(())
    }

    fn read_whole(&self, name: &str) -> io::Result<Vec<u8>> {
        self.file(name)?.read_at(0, usize::MAX)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = lock(&self.files).remove(name);
        removed.map(drop).ok_or(ErrorKind::NotFound.into())
    }

    fn is_there(&self, name: &str) -> io::Result<bool> {
        Ok(lock(&self.files).contains_key(name))
    }

    fn free_bytes(&self) -> Option<u64> {
        None
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let bytes = self.bytes.read().map_err(|_| ErrorKind::Other)?;
        let from = bytes
            .len()
            .min(usize::try_from(offset).unwrap_or(usize::MAX));
        let to = bytes.len().min(from.saturating_add(length));
        Ok(bytes[from..to].to_vec())
    }

    fn write_at(&self, offset: u64, written: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes.write().map_err(|_| ErrorKind::Other)?;
        let from = usize::try_from(offset).map_err(|_| ErrorKind::FileTooLarge)?;
        let to = from + written.len();
        if bytes.len() < to {
            bytes.resize(to, 0);
        }
        bytes[from..to].copy_from_slice(written);
        *lock(&self.modified) = SystemTime::now();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut bytes = self.bytes.write().map_err(|_| ErrorKind::Other)?;
        bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        bytes.shrink_to_fit();
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.bytes.read().map_err(|_| ErrorKind::Other)?.len() as u64)
    }
}
