//! A file of values: its name, how it is written at its end and read anywhere.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rapidhash::fast::RandomState;

use crate::store::database::{Outcome, Trouble};

/// Values from here on are written from where they are, shorter ones together.
pub(super) const LONG: usize = 16 << 10;
/// Bytes that are written together.
const TOGETHER: usize = 128 << 10;
const MAGIC: [u8; 8] = *b"spangate";
/// Bytes before the first value.
pub(super) const HEAD: usize = 16;
/// Bytes before each value.
pub(super) const LENGTH: usize = size_of::<u32>();
/// Bytes that are read of a value before its length is known.
const READ_AT_ONCE: usize = 8 << 10;
/// Between the database's name and a segment's number.
const INFIX: &str = "-values-";

/// A segment that is written.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) number: u32,
    pub(super) file: File,
    begun: Instant,
    /// Bytes that the file has.
    written: u64,
    /// What is to be written next.
    waiting: Vec<u8>,
    /// Texts that other values may have, too: by what is known of them.
    pub(super) texts: HashMap<u64, Text, RandomState>,
}

/// Where a text is, and its length as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    pub(super) offset: u32,
    pub(super) length: u32,
}

impl Current {
    /// Begins a file at `path`, whatever was there.
    pub(super) fn begin(path: &Path, number: u32, identity: i64) -> Outcome<Self> {
        let file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(path)
            .map_err(|error| Trouble::Failing(format!("{}: {error}", path.display())))?;
        let mut current = Current {
            number,
            file,
            begun: Instant::now(),
            written: 0,
            waiting: Vec::with_capacity(TOGETHER + LONG),
            texts: HashMap::default(),
        };
        current.append(&[&MAGIC, &identity.to_le_bytes()], &[])?;
        Ok(current)
    }

    pub(super) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    pub(super) fn append(&mut self, head: &[&[u8]], rest: &[u8]) -> Outcome<()> {
        for part in head {
            self.waiting.extend_from_slice(part);
        }
        if rest.len() >= LONG {
            self.write()?;
            return self.write_all(rest);
        }
        self.waiting.extend_from_slice(rest);
        if self.waiting.len() >= TOGETHER {
            self.write()?;
        }
        Ok(())
    }

    /// Writes what waits.
    pub(super) fn write(&mut self) -> Outcome<()> {
        let mut waiting = std::mem::take(&mut self.waiting);
        self.write_all(&waiting)?;
        waiting.clear();
        self.waiting = waiting;
        Ok(())
    }

    fn write_all(&mut self, bytes: &[u8]) -> Outcome<()> {
        self.file
            .write_all_at(bytes, self.written)
            .map_err(|error| failing(&error))?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

/// The file of a segment.
pub(in crate::store) fn file(database: &Path, number: u32) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(format!("{INFIX}{number}"));
    path.into()
}

/// The segments of the database at `database` that are there, and their numbers.
pub(in crate::store) fn files(database: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let Some((directory, name)) = database.parent().zip(database.file_name()) else {
        return Ok(Vec::new());
    };
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if let Some(number) = path.file_name().and_then(|file| number_of(name, file)) {
            files.push((number, path));
        }
    }
    Ok(files)
}

fn number_of(database: &OsStr, segment: &OsStr) -> Option<u32> {
    let rest = segment.to_str()?.strip_prefix(database.to_str()?)?;
    rest.strip_prefix(INFIX)?.parse().ok()
}

/// Opens a file to read it; as if it were not there where it is another database's.
pub(super) fn open(path: &Path, identity: i64) -> io::Result<File> {
    let file = File::open(path)?;
    let mut head = [0; HEAD];
    file.read_exact_at(&mut head, 0)?;
    if head == *[MAGIC, identity.to_le_bytes()].as_flattened() {
        Ok(file)
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// The value whose length is at `offset`. Most are short: they are read at once with their length.
pub(super) fn read_at(file: &File, offset: u32) -> io::Result<Vec<u8>> {
    let (mut first, at) = ([0; READ_AT_ONCE], u64::from(offset));
    let read = file.read_at(&mut first, at)?;
    let Some((length, beginning)) = first[..read].split_first_chunk::<LENGTH>() else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let length = u32::from_le_bytes(*length);
    if let Some(value) = beginning.get(..length as usize) {
        return Ok(value.to_vec());
    }
    // A length that was changed must not cost memory.
    let at = at + LENGTH as u64;
    if at + u64::from(length) > file.metadata()?.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut value = vec![0; length as usize];
    let (to, rest) = value.split_at_mut(beginning.len());
    to.copy_from_slice(beginning);
    file.read_exact_at(rest, at + beginning.len() as u64)?;
    Ok(value)
}

/// There is no such file, or it is not so long.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
    )
}

pub(super) fn failing(error: &io::Error) -> Trouble {
    Trouble::Failing(error.to_string())
}
