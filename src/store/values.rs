//! Values that are long for a row, in files beside the database. SQLite would write each of them twice, into its log and into its pages; here
//! it is written once.
//!
//! ```text
//!  spangate.db-values-7     segment 7: "spangate", which database it belongs to (i64), then values, one behind the other:
//!                           length (u32), the value as `blob` writes it
//! ```
//!
//! Numbers are little-endian. A row has, in the place of such a value, one integer: the segment's number times 2^32, plus the offset of the
//! length. Long texts of a request, which the next one is likely to have, too, are written once in a segment, like values, but belong to no
//! row; in their place the value has their offsets (`outline`).
//!
//! A segment is only appended to, and only by the process that began it. It goes when no row has a value of it any more. What is left in it can
//! be moved when it is little: into segments of their own, since what outlived its neighbours once will do so again.
//!
//! Values are written before the rows that have them are committed. What a crash leaves behind them belongs to no row. A power cut may take
//! values that were written or moved in the last seconds, but gives none for another: no number is given twice, and what is not there, or was changed, does not read.

mod file;
mod known;
mod outline;
mod place;
#[cfg(test)]
mod tests;
mod writing;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rapidhash::fast::RandomState;
use rusqlite::Connection;

use super::blob::{self, Blob};
use super::database::Outcome;
use file::{Current, failing, is_absent, read_at};
use known::{Segment, read_last, read_segments, write_segment};
use outline::Part;

pub(super) use file::{file, files};
pub(super) use known::Numbers;
pub(super) use place::{Held, Owner, Position};

/// Values are moved that take one in so many bytes of their segment.
const FEW: u64 = 4;

/// When a segment gets no further value: what went is on the disk until its neighbours go, too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pub(super) bytes: u64,
    pub(super) age: Duration,
}

impl Most {
    /// Whether a segment gets further values.
    fn has_room(self, current: &Current, segments: &BTreeMap<u32, Segment>) -> bool {
        let segment = segments.get(&current.number);
        segment.is_none_or(|segment| segment.end < self.bytes) && current.age() < self.age
    }
}

/// What is to be done with files, by whoever may wait for the disk.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// The disk may not have all of these.
    pub(super) sync: BTreeSet<PathBuf>,
    /// These can go when it has, and has the log, too.
    pub(super) remove: BTreeSet<PathBuf>,
}

/// A segment that few rows have something of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sparse {
    pub(super) number: u32,
    /// Whose values are in it.
    pub(super) exchanges: Numbers,
    pub(super) spans: Numbers,
}

/// The segments of one database.
#[derive(Debug)]
pub(super) struct Values {
    database: PathBuf,
    identity: i64,
    most: Most,
    segments: BTreeMap<u32, Segment>,
    /// The number of the segment that was begun last, and whether the database knows it.
    last: u32,
    last_is_written: bool,
    /// Segments of which the database does not say yet what is here.
    changed: BTreeSet<u32>,
    /// Segments whose values were moved, or written anew: they must not go before the disk has what is in their place.
    moved: BTreeSet<u32>,
    /// Such segments of which nothing is left.
    doomed: BTreeSet<u32>,
    /// Segments that the disk may not have yet.
    unsynced: BTreeSet<u32>,
    /// The segments that are written: of new values, and of old ones.
    current: [Option<Current>; 2],
    secrets: RandomState,
    /// The segment that was read last.
    read: RefCell<Option<(u32, File)>>,
}

/// Whose neighbour a value becomes: those that come together go together.
#[derive(Clone, Copy, Debug)]
pub(super) enum Among {
    /// Of values of what has just happened.
    New,
    /// Of values that are written once more, as they are or with less in them.
    Old,
}

impl Values {
    /// The values of the database at `database`, for reading alone.
    pub(super) fn to_read(database: &Path, identity: i64) -> Self {
        Values {
            database: database.to_owned(),
            identity,
            most: Most {
                bytes: 0,
                age: Duration::ZERO,
            },
            segments: BTreeMap::new(),
            last: 0,
            last_is_written: true,
            changed: BTreeSet::new(),
            moved: BTreeSet::new(),
            doomed: BTreeSet::new(),
            unsynced: BTreeSet::new(),
            current: [None, None],
            secrets: RandomState::default(),
            read: RefCell::new(None),
        }
    }

    /// The same for writing, too, in segments of which each becomes about as large and as old as `most` says. Files of which the database
    /// knows nothing are removed: a crash left them, or they were to go when the disk has what is in their place. Whether it has, nobody
    /// knows any more.
    pub(super) fn to_write(
        database: &Path,
        identity: i64,
        most: Most,
        connection: &Connection,
    ) -> Outcome<Self> {
        let segments = read_segments(connection)?;
        let known: BTreeSet<u32> = segments.keys().copied().collect();
        let mut values = Values {
            most,
            last: read_last(connection)?.max(known.last().copied().unwrap_or(0)),
            moved: known.clone(),
            unsynced: known,
            // What nothing is left of goes with the next commit.
            changed: segments
                .iter()
                .filter(|(_, segment)| segment.held == 0)
                .map(|(number, _)| *number)
                .collect(),
            segments,
            ..Self::to_read(database, identity)
        };
        for (number, path) in files(database).map_err(|error| failing(&error))? {
            if number > values.last {
                // One that stays is written over.
                drop(fs::remove_file(path));
            } else if !values.segments.contains_key(&number) {
                values.doomed.insert(number);
            }
        }
        Ok(values)
    }

    /// When segments get no further value, from now on.
    pub(super) fn stay_within(&mut self, most: Most) {
        self.most = most;
    }

    /// The database has another name now, and its segments with it.
    pub(super) fn moved_to(&mut self, database: &Path) {
        database.clone_into(&mut self.database);
        self.read.take();
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.end).sum()
    }

    /// Ends the segments that are large or old enough. Nothing of them waits.
    fn end_full(&mut self) {
        for current in &mut self.current {
            let full = current.take_if(|current| !self.most.has_room(current, &self.segments));
            // Nothing may be left of it by now.
            self.changed.extend(full.map(|full| full.number));
        }
    }

    /// A row does not have this value any more.
    pub(super) fn forget(&mut self, position: Position) {
        if let Some(segment) = self.segments.get_mut(&position.segment) {
            segment.held = segment.held.saturating_sub(1);
            self.changed.insert(position.segment);
        }
    }

    /// Another value will be in the place of this one.
    pub(super) fn replace(&mut self, position: Position) {
        self.forget(position);
        self.moved.insert(position.segment);
    }

    /// No row has any value of this segment.
    pub(super) fn forget_all(&mut self, number: u32) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.held = 0;
            self.changed.insert(number);
        }
    }

    /// The oldest segment that gets no further value and of which rows have little. What they have may be more than it seems, but not more than
    /// there is `room` for elsewhere.
    pub(super) fn sparse(&mut self, room: u64) -> Option<Sparse> {
        self.end_full();
        let mut done = self.segments.iter().filter(|(number, segment)| {
            let fits = segment.held == 0 || segment.end <= room;
            !self.is_current(**number) && fits && segment.of_held() <= segment.end / FEW
        });
        done.next().map(|(number, segment)| Sparse {
            number: *number,
            exchanges: segment.exchanges,
            spans: segment.spans,
        })
    }

    fn is_current(&self, number: u32) -> bool {
        let mut current = self.current.iter().flatten();
        current.any(|current| current.number == number)
    }

    fn is_gone(&self, number: u32) -> bool {
        let segment = self.segments.get(&number);
        !self.is_current(number) && segment.is_none_or(|segment| segment.held == 0)
    }

    /// Writes what waits, and what is known of the segments. To be called before the rows are committed.
    pub(super) fn write(&mut self, connection: &Connection) -> Outcome<()> {
        for current in &mut self.current {
            let Some(open) = current else { continue };
            let segment = self.segments.get(&open.number);
            if segment.is_some_and(|segment| segment.held == 0) {
                // It would stay until there is another.
                *current = None;
            } else {
                open.write()?;
            }
        }
        self.end_full();
        if !mem::replace(&mut self.last_is_written, true) {
            connection
                .prepare_cached("INSERT OR REPLACE INTO meta VALUES ('segment', ?1)")?
                .execute([self.last])?;
        }
        for number in &self.changed {
            match self.segments.get(number) {
                Some(segment) if !self.is_gone(*number) => {
                    write_segment(connection, *number, segment)?;
                }
                _ => {
                    connection
                        .prepare_cached("DELETE FROM segments WHERE number = ?1")?
                        .execute([number])?;
                }
            }
        }
        Ok(())
    }

    /// The rows are committed: files of which they have nothing can go.
    pub(super) fn committed(&mut self) {
        for number in mem::take(&mut self.changed) {
            if !self.is_gone(number) {
                continue;
            }
            self.segments.remove(&number);
            self.unsynced.remove(&number);
            if self.moved.remove(&number) {
                self.doomed.insert(number);
            } else {
                // One that stays is removed at the next start.
                drop(fs::remove_file(self.path(number)));
            }
            // Open, it would keep its room.
            let mut read = self.read.borrow_mut();
            read.take_if(|(last, _)| *last == number);
        }
    }

    /// What is to be done with the files, once.
    pub(super) fn take_work(&mut self) -> Work {
        let paths = |numbers: &mut BTreeSet<u32>| {
            let numbers = mem::take(numbers).into_iter();
            numbers.map(|number| file(&self.database, number)).collect()
        };
        let work = Work {
            sync: paths(&mut self.unsynced),
            remove: paths(&mut self.doomed),
        };
        // More will come.
        let current = self.current.iter().flatten();
        self.unsynced.extend(current.map(|current| current.number));
        work
    }

    /// Files wait to be removed.
    pub(super) fn has_doomed(&self) -> bool {
        !self.doomed.is_empty()
    }

    /// What was written there, with its texts in it; empty where nothing is, or what is not a value's.
    pub(super) fn read(&self, position: Position) -> Outcome<Vec<u8>> {
        let read = self.read_file(position);
        let whole = read.and_then(|written| match blob::read_outline(&written) {
            None => Ok(written),
            Some(outline) => self.filled_in(position.segment, outline),
        });
        match whole {
            Err(error) if !is_absent(&error) => Err(failing(&error)),
            read => Ok(read.unwrap_or_default()),
        }
    }

    /// The value that the outline is of; empty where a text of it does not read.
    fn filled_in(&self, segment: u32, outline: &[u8]) -> io::Result<Vec<u8>> {
        let mut value = Vec::new();
        for part in outline::parts(outline) {
            match part {
                Part::Bytes(bytes) => value.extend_from_slice(bytes),
                Part::Text(offset) => {
                    let written = self.read_file(Position { segment, offset })?;
                    let Ok(Some(text)) = blob::read(&written) else {
                        return Ok(Vec::new());
                    };
                    value.extend_from_slice(&text);
                }
            }
        }
        Ok(Blob::plain(value).written())
    }

    fn read_file(&self, position: Position) -> io::Result<Vec<u8>> {
        let Position { segment, offset } = position;
        let mut current = self.current.iter().flatten();
        if let Some(current) = current.find(|current| current.number == segment) {
            return read_at(&current.file, offset);
        }
        let mut read = self.read.borrow_mut();
        let (_, file) = match read.take() {
            Some(read_last) if read_last.0 == segment => read.insert(read_last),
            _ => read.insert((segment, file::open(&self.path(segment), self.identity)?)),
        };
        read_at(file, offset)
    }

    fn path(&self, number: u32) -> PathBuf {
        file(&self.database, number)
    }
}

impl Sparse {
    /// The first and the last position that can be in it.
    pub(super) fn positions(&self) -> [Position; 2] {
        [0, u32::MAX].map(|offset| Position {
            segment: self.number,
            offset,
        })
    }
}
