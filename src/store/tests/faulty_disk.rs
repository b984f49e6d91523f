//! A disk in memory that fails on request, and that knows which of its bytes would be left after a kill or a power cut.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::SystemTime;

use super::super::disk::{Disk, DiskEntry, DiskFile};
use super::super::lock;
use super::super::segment::SegmentName;

/// Bytes that a power cut keeps or loses together.
const PAGE: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct FaultyDisk(Arc<Faulty>);

#[derive(Debug, Default)]
struct Faulty {
    state: Mutex<DiskContents>,
    changed: Condvar,
}

/// A call that does not return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum StuckCall {
    #[default]
    None,
    Read,
    Truncate,
    Sync,
    /// Writes, reservations and removals, too.
    Any,
}

/// What the disk holds, and how it fails.
#[derive(Clone, Debug, Default)]
struct DiskContents {
    files: BTreeMap<String, FileContents>,
    /// The next file's number.
    next: u64,
    /// Bytes that all files may take.
    room: Option<u64>,
    is_read_only: bool,
    /// Nothing can be listed, read or written.
    is_away: bool,
    /// Calls that wait until this ends.
    stuck: StuckCall,
    /// How many calls wait for that.
    waiting: usize,
    /// So many bytes are still written, then nothing is ever again.
    written_before_end: Option<usize>,
    /// The next write of more bytes keeps so many, and fails.
    torn_write: Option<usize>,
    /// The process that uses it is dead.
    is_dead: bool,
}

#[derive(Clone, Debug)]
struct FileContents {
    number: u64,
    now: Vec<u8>,
    /// As the last sync left it; none before the first.
    synced: Option<Vec<u8>>,
    modified: Option<SystemTime>,
}

impl FaultyDisk {
    /// The same disk for a caller that a store does not own.
    pub(super) fn share(&self) -> Arc<FaultyDisk> {
        Arc::new(FaultyDisk(Arc::clone(&self.0)))
    }

    /// The disk as a process that is killed now leaves it. Whatever this process still does to it has no effect.
    pub(super) fn after_kill(&self) -> FaultyDisk {
        let mut state = self.lock();
        state.is_dead = true;
        self.0.changed.notify_all();
        let mut copy = DiskContents {
            files: state.files.clone(),
            next: state.next,
            ..DiskContents::default()
        };
        for file in copy.files.values_mut() {
            file.modified = Some(SystemTime::now());
        }
        FaultyDisk(Arc::new(Faulty {
            state: Mutex::new(copy),
            changed: Condvar::new(),
        }))
    }

    /// The disk as a power cut leaves it: each page that was not synced since it changed is as it was or as it is, and a file that was never
    /// synced may be missing.
    pub(super) fn after_power_cut(&self, seed: u64) -> FaultyDisk {
        let mut random = fastrand::Rng::with_seed(seed);
        let after = self.after_kill();
        let mut state = after.lock();
        state
            .files
            .retain(|_, file| file.synced.is_some() || random.bool());
        for file in state.files.values_mut() {
            let synced = file.synced.take().unwrap_or_default();
            for page in 0..file.now.len().div_ceil(PAGE) {
                if random.bool() {
                    continue;
                }
                let range = page * PAGE..file.now.len().min((page + 1) * PAGE);
                for at in range {
                    file.now[at] = synced.get(at).copied().unwrap_or(0);
                }
            }
            file.synced = Some(file.now.clone());
        }
        drop(state);
        after
    }

    /// Only so many bytes have room from now on; none: as many as come.
    pub(super) fn limit(&self, bytes: Option<u64>) {
        self.lock().room = bytes;
    }

    pub(super) fn used(&self) -> u64 {
        self.lock().used()
    }

    pub(super) fn be_read_only(&self, is_read_only: bool) {
        self.lock().is_read_only = is_read_only;
    }

    pub(super) fn be_away(&self, is_away: bool) {
        self.lock().is_away = is_away;
    }

    /// Such calls do not return from now on.
    pub(super) fn stick_at(&self, call: StuckCall) {
        self.lock().stuck = call;
        self.0.changed.notify_all();
    }

    /// Returns once a call is stuck.
    pub(super) fn wait_for_stuck_call(&self) {
        let state = self.lock();
        let woken = self
            .0
            .changed
            .wait_while(state, |state| state.waiting == 0)
            .unwrap();
        drop(woken);
    }

    /// Of what is written from now on, only so many bytes are: the process dies in the middle of a write.
    pub(super) fn die_after(&self, bytes: usize) {
        self.lock().written_before_end = Some(bytes);
    }

    /// The next write of more than so many bytes keeps only these, and fails.
    pub(super) fn tear_write(&self, bytes: usize) {
        self.lock().torn_write = Some(bytes);
    }

    pub(super) fn is_torn(&self) -> bool {
        self.lock().torn_write.is_none()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.lock().files.keys().cloned().collect()
    }

    /// The segments, in order.
    pub(super) fn segments(&self) -> Vec<String> {
        let mut names = self.names();
        names.retain(|name| SegmentName::parse(name).is_some());
        names
    }

    pub(super) fn bytes_of(&self, name: &str) -> Vec<u8> {
        self.lock().files[name].now.clone()
    }

    /// Puts these bytes in the place of the file's, as somebody else would.
    pub(super) fn put(&self, name: &str, bytes: Vec<u8>) {
        self.lock().insert(name, bytes);
    }

    /// Takes the file away, as somebody else would.
    pub(super) fn take_away(&self, name: &str) {
        self.lock().files.remove(name);
    }

    /// Flips one bit.
    pub(super) fn flip(&self, name: &str, at: usize, bit: u8) {
        let mut state = self.lock();
        let file = state.files.get_mut(name).unwrap();
        file.now[at] ^= 1 << bit;
        // It is flipped for good.
        if let Some(byte) = file.synced.as_mut().and_then(|bytes| bytes.get_mut(at)) {
            *byte ^= 1 << bit;
        }
    }

    fn lock(&self) -> MutexGuard<'_, DiskContents> {
        lock(&self.0.state)
    }
}

impl Faulty {
    /// The disk for a call that changes it.
    fn change(&self) -> io::Result<MutexGuard<'_, DiskContents>> {
        self.change_by(StuckCall::Any)
    }

    fn change_by(&self, call: StuckCall) -> io::Result<MutexGuard<'_, DiskContents>> {
        let state = self.wait_while_stuck(call);
        if state.is_dead {
            return Err(ErrorKind::BrokenPipe.into());
        }
        state.reach()?;
        if state.is_read_only {
            return Err(ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(state)
    }

    fn wait_while_stuck(&self, call: StuckCall) -> MutexGuard<'_, DiskContents> {
        let mut state = lock(&self.state);
        let waits = |state: &mut DiskContents| {
            let is_meant =
                state.stuck == call || state.stuck == StuckCall::Any && call != StuckCall::Read;
            is_meant && !state.is_dead
        };
        if waits(&mut state) {
            state.waiting += 1;
            self.changed.notify_all();
            state = self.changed.wait_while(state, waits).unwrap();
            state.waiting -= 1;
        }
        state
    }
}

impl DiskContents {
    fn used(&self) -> u64 {
        self.files.values().map(|file| file.now.len() as u64).sum()
    }

    fn reach(&self) -> io::Result<()> {
        if self.is_away {
            return Err(ErrorKind::NotConnected.into());
        }
        Ok(())
    }

    fn has_room(&self, bytes: u64) -> io::Result<()> {
        match self.room {
            Some(room) if self.used() + bytes > room => Err(ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn insert(&mut self, name: &str, bytes: Vec<u8>) -> u64 {
        self.next += 1;
        let file = FileContents {
            number: self.next,
            now: bytes,
            synced: None,
            modified: Some(SystemTime::now()),
        };
        self.files.insert(name.to_owned(), file);
        self.next
    }

    /// A file that is open, wherever its name went.
    fn file(&mut self, number: u64) -> io::Result<&mut FileContents> {
        let mut files = self.files.values_mut();
        let file = files.find(|file| file.number == number);
        file.ok_or(ErrorKind::NotFound.into())
    }
}

#[derive(Debug)]
struct OpenFile {
    disk: Arc<Faulty>,
    number: u64,
}

impl Disk for FaultyDisk {
    fn claim(&self) -> io::Result<()> {
        self.lock().reach()
    }

    fn list(&self) -> io::Result<Vec<DiskEntry>> {
        let state = self.lock();
        state.reach()?;
        let entries = state.files.iter().map(|(name, file)| DiskEntry {
            name: name.clone(),
            bytes: file.now.len() as u64,
            modified: file.modified.unwrap_or_else(SystemTime::now),
        });
        Ok(entries.collect())
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.change()?;
        state.has_room(bytes)?;
        let reserved = vec![0; usize::try_from(bytes).unwrap()];
        let number = state.insert(name, reserved);
        Ok(Arc::new(OpenFile {
            disk: Arc::clone(&self.0),
            number,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let number = self.lock().files.get(name).map(|file| file.number);
        Ok(Arc::new(OpenFile {
            disk: Arc::clone(&self.0),
            number: number.ok_or(ErrorKind::NotFound)?,
        }))
    }

    fn write_whole(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.change()?;
        state.has_room(bytes.len() as u64)?;
        state.insert(name, bytes.to_vec());
        Ok(())
    }

    fn read_whole(&self, name: &str) -> io::Result<Vec<u8>> {
        let state = self.lock();
        let file = state.files.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(file.now.clone())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.change()?;
        let removed = state.files.remove(name);
        removed.map(drop).ok_or(ErrorKind::NotFound.into())
    }

    fn is_there(&self, name: &str) -> io::Result<bool> {
        Ok(self.lock().files.contains_key(name))
    }

    fn free_bytes(&self) -> Option<u64> {
        let state = self.lock();
        Some(state.room?.saturating_sub(state.used()))
    }
}

impl DiskFile for OpenFile {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut state = self.disk.wait_while_stuck(StuckCall::Read);
        state.reach()?;
        let file = state.file(self.number)?;
        let from = usize::try_from(offset).unwrap().min(file.now.len());
        let to = from.saturating_add(length).min(file.now.len());
        Ok(file.now[from..to].to_vec())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.change()?;
        let mut kept = bytes.len();
        if let Some(torn) = state.torn_write.filter(|torn| *torn < kept) {
            state.torn_write = None;
            kept = torn;
        }
        if let Some(left) = &mut state.written_before_end {
            kept = kept.min(*left);
            *left -= kept;
            state.is_dead = kept < bytes.len();
        }
        let from = usize::try_from(offset).unwrap();
        let file = state.file(self.number)?;
        let to = from + kept;
        if file.now.len() < to {
            file.now.resize(to, 0);
        }
        file.now[from..to].copy_from_slice(&bytes[..kept]);
        file.modified = Some(SystemTime::now());
        if kept < bytes.len() {
            return Err(io::Error::other("a torn write"));
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.change_by(StuckCall::Sync)?;
        let file = state.file(self.number)?;
        file.synced = Some(file.now.clone());
        Ok(())
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.change_by(StuckCall::Truncate)?;
        let file = state.file(self.number)?;
        file.now.truncate(usize::try_from(bytes).unwrap());
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(lock(&self.disk.state).file(self.number)?.now.len() as u64)
    }
}
