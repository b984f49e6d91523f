//! How much room the disk has, how much of it is kept for making more, and that some is made.

use std::time::{Duration, Instant};

use super::{Writer, unix_seconds};
use crate::store::checkpoint;
use crate::store::database::{MOST_AT_ONCE, Outcome, Trouble};
use crate::store::directory::Directory;

/// How long room is made at once.
const ROOM_TIME: Duration = Duration::from_millis(3);

/// Room on the disk, in bytes.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// None where it is not known, or in memory.
    pub(super) free: Option<u64>,
    /// With less than that, only what makes room is written.
    pub(super) least: u64,
    /// By so much at most the database becomes longer when the log is written back.
    pub(super) log_growth: u64,
    pub(super) full: bool,
}

impl Room {
    /// Whether it can be written beside what is kept for making room.
    pub(super) fn takes(&self, bytes: u64) -> bool {
        !self.full
            && self
                .free
                .is_none_or(|free| free >= self.least.saturating_add(bytes))
    }

    /// How much may be written again so that what is around it can go, which it does once the log is written back: half of what is left
    /// beside that.
    fn to_gather(&self) -> u64 {
        self.free
            .map_or(u64::MAX, |free| free.saturating_sub(self.log_growth) / 2)
    }

    /// Whether the log can be written back. Where it could not be, it would take the last room.
    pub(super) fn takes_log(&self) -> bool {
        self.free.is_none_or(|free| free >= self.log_growth)
    }
}

impl Writer {
    /// Looks whether the disk has room for content.
    pub(super) fn look_for_room(&mut self) {
        if self.database.is_none() {
            return;
        }
        let room = &mut self.room;
        room.free = self.directory.as_ref().and_then(Directory::free_bytes);
        let was_full = room.full;
        // Twice as much, so that it does not come and go.
        let least = room.least << u32::from(was_full);
        room.full = room.free.is_some_and(|free| free < least);
        match room.free {
            Some(free) if room.full => self.store.takes_nothing(format!(
                "the disk has {free} bytes left, which are kept for making room"
            )),
            _ => self.store.takes(),
        }
        if was_full && !self.room.full {
            self.store.take_back();
            self.fall_behind();
        }
    }

    /// Measures what the store and the disk have, sets the bounds by it, and has the log written back when it is long.
    pub(super) fn tick(&mut self) -> Outcome<()> {
        let Some(database) = &mut self.database else {
            return Ok(());
        };
        let used = database.used_bytes()?;
        let mut bounds = self.settings.bounds();
        let mut total = used;
        if let Some(directory) = &self.directory {
            if directory.file() != self.file {
                return Err(Trouble::Damaged("its file was taken away".to_owned()));
            }
            let log = directory.log_bytes();
            let growth = database
                .length()?
                .saturating_sub(directory.database_bytes());
            // What of it is in the log alone is there once.
            total = (total + log).saturating_sub(growth);
            self.room.free = directory.free_bytes();
            let room = self
                .room
                .free
                .map_or(u64::MAX, |free| free.saturating_add(total));
            let capacity = self.settings.max_size.min(room / 10 * 9);
            let allowance = (capacity / 8).min(MOST_AT_ONCE);
            // The log overshoots before it is written back.
            bounds.bytes = capacity.saturating_sub(3 * allowance);
            self.room.least = allowance / 2 + growth;
            self.room.log_growth = growth;
            // Written back, the log begins anew where it is. A full disk needs that, and what is written is only what makes room.
            let full = self.room.full;
            if (log >= allowance || full) && self.room.takes_log() {
                let work = database.take_work();
                // Never long enough alone with it, or nothing was written since: then the journal waits for once.
                if log >= 3 * allowance || full && log >= allowance {
                    checkpoint::sync(&work.sync);
                    database
                        .connection()
                        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
                }
                if let Some(checkpoint) = &mut self.checkpoint {
                    checkpoint.wanted(work);
                }
            }
        }
        database.stay_within(bounds);
        self.store.uses(total);
        self.store.keeps(database.book().kept.count());
        self.bounds = bounds;
        Ok(())
    }

    /// Makes some room where there is too little. Whether that may not be all.
    pub(super) fn make_room(&mut self) -> Outcome<bool> {
        let Some(database) = &mut self.database else {
            return Ok(false);
        };
        let (began, now) = (Instant::now(), unix_seconds());
        let mut more = true;
        // The journal must not wait for the rest.
        while more && began.elapsed() <= ROOM_TIME {
            let (full, room) = (self.room.full, self.room.to_gather());
            more = self
                .retention
                .step(database, &self.store, self.bounds, full, room, now)?;
            if more {
                self.room.free = self.directory.as_ref().and_then(Directory::free_bytes);
                self.store.news.removed();
            }
        }
        if database.has_doomed()
            && self.room.takes_log()
            && let Some(checkpoint) = &mut self.checkpoint
        {
            checkpoint.wanted(database.take_work());
        }
        Ok(more)
    }
}
