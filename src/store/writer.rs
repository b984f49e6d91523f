//! The one thread that writes and reads the database. Whatever waits for it goes into one transaction; whatever goes wrong stays here.
//!
//! ```text
//!                 a disk that takes nothing                      every second: open, write again what only memory has
//!  writing ──────────────────────────────────────► failing ──────────────────────────────────────────────────────────► writing
//!     │└── content that is not what it was ──► the file is moved aside, what can still be read of it is written to a new one ──► writing
//!     └─── a disk with little room left ──► full: only what makes room is written, all can be read ── there is room ──► writing
//! ```
//!
//! The state `full` keeps the store from taking the last room of a disk itself: a database that finds none cannot let go of anything. Every
//! way from `failing` leads through it.

mod damage;
mod destination;
mod room;

use std::collections::HashSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::checkpoint::{self, Checkpoint};
use super::database::{Database, Outcome, Trouble};
use super::directory::Directory;
use super::inbox::{Note, Question};
use super::retention::{Bounds, Retention};
use super::{DropReason, Settings, Store, unix_nanoseconds};
use crate::exchange::ExchangeId;
use room::Room;

/// How often the disk is looked at when nothing else happens, and how often a failing one is tried again.
const TICK: Duration = Duration::from_millis(250);
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Bytes of spans that are written again at once.
const CATCH_UP: usize = 1 << 20;

pub(super) struct Writer {
    store: Arc<Store>,
    settings: Settings,
    /// None in memory.
    directory: Option<Directory>,
    database: Option<Database>,
    file: Option<(u64, u64)>,
    identity: Option<i64>,
    checkpoint: Option<Checkpoint>,
    retention: Retention,
    bounds: Bounds,
    room: Room,
    /// No span up to here is still to be told.
    told_to: u64,
    /// Spans up to here were told in vain, as far as only memory has them.
    behind: Option<u64>,
    /// What became of spans of which the database knows, while it could not be told.
    owed: Vec<Note>,
    /// Exchanges of which it knows and that are done with, to be told once it has their spans.
    done_with: Vec<ExchangeId>,
    open_before: HashSet<ExchangeId>,
    /// When it began, in nanoseconds since the Unix epoch.
    opened_ns: u64,
    try_again: Instant,
    next_tick: Instant,
}

impl Writer {
    /// Opens the database, or says why it is not open yet. Counts what is found there to be sent.
    pub(super) fn new(store: Arc<Store>, settings: Settings, directory: Option<Directory>) -> Self {
        let now = Instant::now();
        let mut writer = Writer {
            store,
            directory,
            database: None,
            file: None,
            identity: None,
            checkpoint: None,
            retention: Retention::default(),
            bounds: settings.bounds(),
            room: Room::default(),
            told_to: 0,
            behind: None,
            owed: Vec::new(),
            done_with: Vec::new(),
            open_before: HashSet::new(),
            opened_ns: unix_nanoseconds(),
            try_again: now,
            next_tick: now,
            settings,
        };
        writer.reopen();
        writer
    }

    pub(super) fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    pub(super) fn start(self) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || self.run())
    }

    fn run(mut self) {
        let _end = End(Arc::clone(&self.store));
        self.attempt(Self::tick);
        let mut most = TICK;
        loop {
            let waiting = self.store.inbox.take(most);
            if self.database.is_none() && Instant::now() >= self.try_again {
                self.reopen();
                self.attempt(Self::tick);
            }
            self.look_for_room();
            if waiting.gap {
                self.fall_behind();
            }
            self.write(waiting.notes);
            let caught = self.attempt(Self::catch_up) == Some(true);
            for question in waiting.questions {
                self.answer(question, caught);
            }
            if Instant::now() >= self.next_tick {
                self.next_tick = Instant::now() + TICK;
                self.attempt(Self::tick);
            }
            let made = self.attempt(Self::make_room) == Some(true);
            let goes_on = caught || made && self.room.full;
            most = if goes_on { Duration::ZERO } else { TICK };
            if waiting.closed && !goes_on {
                break;
            }
        }
        drop(self.checkpoint.take());
        if let Some(database) = &mut self.database {
            // What is left of the log is read at the next start, which removes what could go.
            checkpoint::sync(&database.take_work().sync);
            drop(
                database
                    .connection()
                    .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)"),
            );
        }
    }

    fn write(&mut self, mut notes: Vec<Note>) {
        if notes.is_empty() {
            return;
        }
        let first_seq = self.told_to + 1;
        let seqs = notes.iter().filter_map(|note| match note {
            Note::Span(span) => Some(span.seq),
            _ => None,
        });
        self.told_to = seqs.fold(self.told_to, u64::max);
        if self.room.full {
            notes = self.without_content(notes);
        }
        if self.behind.is_some() {
            self.put_off_released(&mut notes);
        }
        let Some(database) = &mut self.database else {
            return self.owe(notes);
        };
        match write(database, &notes, first_seq) {
            Ok(saved) => {
                self.store.saved(&saved);
                for note in &notes {
                    match note {
                        Note::Settled(seqs) | Note::Refused(seqs, _) => {
                            for seq in seqs {
                                self.retention.settled(*seq);
                            }
                        }
                        Note::Span(span) if span.kept => self.retention.settled(span.seq),
                        _ => {}
                    }
                }
            }
            Err(trouble) => {
                self.fail(trouble);
                // They may have been let go of in the transaction that is undone.
                let released = notes.iter().filter_map(|note| match note {
                    Note::Released(ids) => Some(ids),
                    _ => None,
                });
                self.open_before.extend(released.flatten());
                self.owe(notes);
            }
        }
    }

    /// What is left of `notes` when nothing with content is written: what must not be forgotten, and takes next to nothing.
    fn without_content(&mut self, mut notes: Vec<Note>) -> Vec<Note> {
        notes.retain(|note| match note {
            Note::Span(_) => {
                self.fall_behind();
                false
            }
            Note::Begun(_) | Note::Asked(..) | Note::Ended(_) => {
                self.store.skipped();
                false
            }
            Note::Released(_) => {
                self.fall_behind();
                true
            }
            Note::Settled(_) | Note::Refused(..) | Note::Learned(_) | Note::Destination(_) => true,
        });
        notes
    }

    /// Takes out which exchanges are done with: the database has to have their spans before.
    fn put_off_released(&mut self, notes: &mut Vec<Note>) {
        notes.retain_mut(|note| {
            let Note::Released(ids) = note else {
                return true;
            };
            ids.retain(|id| self.is_open(*id));
            self.done_with.append(ids);
            false
        });
    }

    /// Whether the database has this exchange as one that is not done with.
    fn is_open(&self, id: ExchangeId) -> bool {
        match &self.database {
            Some(database) => database.book().open.contains_key(&id),
            None => self.open_before.contains(&id),
        }
    }

    /// Keeps what must not be forgotten of `notes`, which could not be written.
    fn owe(&mut self, notes: Vec<Note>) {
        let mut notes = self.without_content(notes);
        self.put_off_released(&mut notes);
        self.owed.extend(notes);
    }

    fn attempt<T>(&mut self, work: fn(&mut Self) -> Outcome<T>) -> Option<T> {
        work(self).map_err(|trouble| self.fail(trouble)).ok()
    }

    /// Some of the spans made so far were told in vain.
    fn fall_behind(&mut self) {
        self.behind = Some(self.store.last_seq());
    }

    /// Writes some of what only memory has although it was told. Whether there was any.
    fn catch_up(&mut self) -> Outcome<bool> {
        let (Some(database), Some(last)) = (&mut self.database, self.behind) else {
            return Ok(false);
        };
        let spans = self.store.unsaved(last, CATCH_UP);
        if spans.is_empty() {
            if !self.done_with.is_empty() {
                let released = vec![Note::Released(self.done_with.clone())];
                write(database, &released, 0)?;
                self.done_with.clear();
            }
            self.behind = None;
            // Rows came in between others.
            self.store.news.renumbered();
            return Ok(false);
        }
        // What is short for a value beside the database is in the log and makes the database longer.
        let weight: u64 = spans.iter().map(|span| span.weight as u64).sum();
        if !self.room.takes(2 * weight) {
            return Ok(false);
        }
        let now = unix_seconds();
        let mut group = database.group()?;
        for span in &spans {
            group.unsettled(span.seq);
            group.span(span, now)?;
        }
        group.commit()?;
        self.room.least += weight;
        self.room.log_growth += weight;
        let saved: Vec<u64> = spans.iter().map(|span| span.seq).collect();
        self.store.saved(&saved);
        Ok(true)
    }

    /// Answers `question`; `caught` says that there was something to catch up with, and may still be.
    fn answer(&mut self, question: Question, caught: bool) {
        match question {
            Question::IsWriting(reply) => {
                let can = self.database.is_some() && !self.room.full;
                // Whoever asked may have stopped waiting.
                let _ = reply.send(can && (caught || self.behind.is_none()));
            }
            Question::Find(seqs, reply) => {
                let found =
                    self.ask(|database| seqs.iter().map(|seq| database.find(*seq)).collect());
                drop(reply.send(found));
            }
            Question::Unfinished(exchanges, reply) => {
                let rows = |n| self.ask(|database| database.rows(n)).flatten();
                drop(reply.send(exchanges.into_iter().map(rows).collect()));
            }
            Question::Read(work) => {
                self.ask(|database| {
                    work(database);
                    Ok(())
                });
            }
            Question::ListRefused(limit, reply) => {
                drop(reply.send(self.ask(|database| database.list_refused(limit))));
            }
            Question::Replay(what, after, reply) => {
                let again = self.ask(|database| {
                    let mut group = database.group()?;
                    let again = group.replay(what, after)?;
                    group.commit()?;
                    Ok((again, database.book().kept.count()))
                });
                let replayed = again.map(|(again, kept)| {
                    let last = again.last().map_or(after, |(seq, _)| *seq);
                    let count = again.len() as u64;
                    self.store.found(again);
                    self.store.keeps(kept);
                    (count, last)
                });
                // Whoever asked may have stopped waiting.
                let _ = reply.send(replayed);
            }
        }
    }

    fn ask<T>(&mut self, question: impl FnOnce(&mut Database) -> Outcome<T>) -> Option<T> {
        match question(self.database.as_mut()?) {
            Ok(answer) => Some(answer),
            Err(trouble) => {
                self.fail(trouble);
                None
            }
        }
    }

    fn fail(&mut self, trouble: Trouble) {
        let database = self.database.take();
        self.checkpoint = None;
        if let Some(database) = &database {
            database.roll_back();
            self.open_before = database.open_ids();
        }
        self.fall_behind();
        match trouble {
            Trouble::Failing(why) => {
                // If it was for want of room, there must be some first.
                self.room.full = true;
                self.store.gives_and_takes_nothing(why);
                self.try_again = Instant::now() + TRY_AGAIN;
            }
            Trouble::Damaged(why) => self.replace(&why, database),
        }
    }

    fn reopen(&mut self) {
        match self.opened() {
            Ok(database) => match self.adopt(database) {
                Ok(()) => {}
                Err(trouble) => self.fail(trouble),
            },
            Err(trouble) => self.fail(trouble),
        }
    }

    fn opened(&mut self) -> Outcome<Database> {
        let Some(directory) = &mut self.directory else {
            return Database::open(None, Bounds::default());
        };
        directory.ensure().map_err(Trouble::Failing)?;
        Database::open(Some(&directory.database()), self.settings.bounds())
    }

    /// Takes a database into use.
    fn adopt(&mut self, mut database: Database) -> Outcome<()> {
        let owed = std::mem::take(&mut self.owed);
        match self.identity {
            // It is the one that failed.
            Some(identity) if identity == database.identity => {
                if let Err(trouble) = write(&mut database, &owed, 0) {
                    self.owed = owed;
                    return Err(trouble);
                }
            }
            Some(_) => {
                self.done_with.clear();
                let lost = self.store.only_stored();
                self.store.evict(&lost, DropReason::Unreadable);
                self.store.forget_saved();
                self.count_found(&mut database)?;
            }
            None => self.count_found(&mut database)?,
        }
        let next = database.next_seq();
        self.told_to = self.told_to.max(next - 1);
        self.store.next_seq_at_least(next);
        self.identity = Some(database.identity);
        self.use_database(database);
        Ok(())
    }

    fn use_database(&mut self, database: Database) {
        if let Some(directory) = &self.directory {
            self.file = directory.file();
            self.checkpoint = Checkpoint::start(directory.database());
        }
        self.database = Some(database);
        self.store.news.renumbered();
        self.store.gives();
    }
}

/// However the thread ends, nobody waits for it after that.
struct End(Arc<Store>);

impl Drop for End {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.gives_and_takes_nothing(
                "its thread ended by a panic; please report this".to_owned(),
            );
        }
        self.0.inbox.end();
    }
}

/// Writes `notes` in one transaction; no span made of what begins in them has a number below `first_seq`. Gives the numbers of the spans among them.
fn write(database: &mut Database, notes: &[Note], first_seq: u64) -> Outcome<Vec<u64>> {
    let now = unix_seconds();
    let mut saved = Vec::new();
    let mut group = database.group()?;
    for note in notes {
        match note {
            Note::Begun(begun) => group.begun(begun, first_seq)?,
            Note::Asked(meta, body) => group.asked(meta, body)?,
            Note::Ended(exchange) => group.ended(exchange, first_seq)?,
            Note::Span(span) => {
                group.span(span, now)?;
                saved.push(span.seq);
            }
            Note::Destination(since) => group.destination(*since)?,
            Note::Settled(seqs) => seqs.iter().for_each(|seq| group.settled(*seq)),
            Note::Refused(seqs, reason) => seqs
                .iter()
                .try_for_each(|seq| group.refused(*seq, reason, now))?,
            Note::Released(ids) => ids.iter().try_for_each(|id| group.release(*id))?,
            Note::Learned(names) => names
                .iter()
                .try_for_each(|(prompt, name)| group.agent(*prompt, name.as_deref()))?,
        }
    }
    group.commit()?;
    Ok(saved)
}

fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
