//! The database file: how it is opened, and what is read of it. One thread owns it; what it writes goes through a [`Group`].
//!
//! Rows of exchanges are numbered in the order in which they began (`n`), spans in the order in which they were made (`seq`); both only
//! grow. What an exchange holds is written once, when it is known, and never rewritten, but to make room.

use std::collections::HashSet;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row as Columns};

use super::book::Book;
use super::group::Group;
use super::record::Rows;
use super::retention::Bounds;
use super::schema;
use super::values::{Held, Most, Sparse, Values, Work};
use crate::exchange::ExchangeId;
use crate::span::{SpanId, TraceId};

/// Why the database cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Its content is not what it should be, and will not be again.
    Damaged(String),
    /// The disk does not take or give anything now.
    Failing(String),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        const SHORT_READ: i32 = 522;
        let damaged = match &error {
            rusqlite::Error::SqliteFailure(failure, _) => {
                matches!(
                    failure.code,
                    ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase
                ) || failure.extended_code == SHORT_READ
            }
            // A column that holds another type, a table that is not there: not what was written.
            _ => true,
        };
        if damaged {
            Trouble::Damaged(error.to_string())
        } else {
            Trouble::Failing(error.to_string())
        }
    }
}

/// The least and the most of what is written and done away with at once: a segment of values, and the log.
const LEAST_SEGMENT: u64 = 64 << 10;
pub(super) const MOST_AT_ONCE: u64 = 16 << 20;

pub(super) type Outcome<T> = Result<T, Trouble>;

/// Whether the process that wrote a database last had a destination for spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// It was written by a version that did not say, or by nobody yet.
    Unknown,
    None,
    /// For those that began at this time or later, in nanoseconds since the Unix epoch.
    Since(u64),
}

impl From<Option<u64>> for Destination {
    fn from(since: Option<u64>) -> Self {
        since.map_or(Destination::None, Destination::Since)
    }
}

/// An open database.
pub(super) struct Database {
    connection: Connection,
    page_size: u64,
    /// Which file it is: another one has another.
    pub(super) identity: i64,
    book: Book,
    /// None in memory.
    values: Option<Values>,
}

/// A span as it was found.
pub(super) struct Found {
    pub(super) record: Vec<u8>,
    /// Of a call's span.
    pub(super) rows: Option<Rows>,
}

/// A span that was refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The span's number in the store.
    pub seq: u64,
    /// Its trace.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
    /// When, in seconds since the Unix epoch.
    pub at: u64,
    /// What Respan said.
    pub reason: String,
}

impl Database {
    /// Opens the file at `path`, or one in memory, and makes it where there is none. With all that is beside it, it is to stay within `bounds`.
    pub(super) fn open(path: Option<&Path>, bounds: Bounds) -> Outcome<Self> {
        let connection = match path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        // Checkpoints are the writer's to call: they wait for the disk. What is written is seldom read, so there is little to keep of it.
        connection.execute_batch(
            "PRAGMA page_size = 8192;
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = NORMAL;
             PRAGMA wal_autocheckpoint = 0;
             PRAGMA cache_size = -1024;
             PRAGMA temp_store = MEMORY;",
        )?;
        connection.pragma_update(
            None,
            "journal_size_limit",
            signed((bounds.bytes / 16).min(MOST_AT_ONCE)),
        )?;
        connection.busy_timeout(std::time::Duration::from_secs(1))?;
        connection.set_prepared_statement_cache_capacity(64);
        schema::migrate(&connection)?;
        let identity =
            connection.query_row("SELECT value FROM meta WHERE key = 'identity'", [], |row| {
                row.get(0)
            })?;
        let values = path
            .map(|path| Values::to_write(path, identity, most(bounds), &connection))
            .transpose()?;
        let book = Book::read(&connection)?;
        Ok(Database {
            page_size: page_size(&connection)?,
            connection,
            identity,
            book,
            values,
        })
    }

    /// The file at `path` for reading alone, by whoever is not the writer.
    pub(super) fn open_to_read(path: &Path) -> Outcome<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(std::time::Duration::from_millis(250))?;
        connection.set_prepared_statement_cache_capacity(16);
        let identity =
            connection.query_row("SELECT value FROM meta WHERE key = 'identity'", [], |row| {
                row.get(0)
            })?;
        Ok(Database {
            page_size: page_size(&connection)?,
            connection,
            identity,
            book: Book::default(),
            values: Some(Values::to_read(path, identity)),
        })
    }

    /// Begins to write: all that is written until it is committed, or nothing.
    pub(super) fn group(&mut self) -> Outcome<Group<'_>> {
        Group::begin(&self.connection, &mut self.book, self.values.as_mut())
    }

    /// The span of this number, in the rows as they are; none when it is not there.
    pub(super) fn find(&self, seq: u64) -> Outcome<Option<Found>> {
        self.find_with(seq, |n| self.rows(n))
    }

    /// The same, with the rows of a call's exchange as `rows` reads them.
    pub(super) fn find_with(
        &self,
        seq: u64,
        rows: impl FnOnce(i64) -> Outcome<Option<Rows>>,
    ) -> Outcome<Option<Found>> {
        let found: Option<(Option<i64>, Held)> = self
            .connection
            .prepare_cached("SELECT n, record FROM spans WHERE seq = ?1")?
            .query_row([signed(seq)], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((n, record)) = found else {
            return Ok(None);
        };
        let rows = match n {
            None => None,
            Some(n) => match rows(n)? {
                None => return Ok(None),
                rows => rows,
            },
        };
        let record = self.value(record)?;
        Ok(Some(Found { record, rows }))
    }

    /// The record of the span of this number; none when it is not there.
    pub(super) fn record(&self, seq: u64) -> Outcome<Option<Vec<u8>>> {
        let found = self
            .connection
            .prepare_cached("SELECT record FROM spans WHERE seq = ?1")?
            .query_row([signed(seq)], |row| row.get(0))
            .optional()?;
        found.map(|held| self.value(held)).transpose()
    }

    /// The rows of the exchange of this number; none when it is not there.
    pub(super) fn rows(&self, n: i64) -> Outcome<Option<Rows>> {
        self.read_rows(
            "SELECT id, started_ns, opening, ifnull(begun.request, asked.request), ending
             FROM begun LEFT JOIN asked USING (n) LEFT JOIN ended USING (n) WHERE begun.n = ?1",
            n,
        )
    }

    /// The same, but for the request's body.
    pub(super) fn rows_without_request(&self, n: i64) -> Outcome<Option<Rows>> {
        self.read_rows(
            "SELECT id, started_ns, opening, NULL, ending FROM begun LEFT JOIN ended USING (n) WHERE begun.n = ?1",
            n,
        )
    }

    /// Whether the request's body is there.
    pub(super) fn has_request(&self, n: u64) -> Outcome<bool> {
        let mut statement = self.connection.prepare_cached(
            "SELECT 1 FROM begun LEFT JOIN asked USING (n) WHERE n = ?1 AND ifnull(begun.request, asked.request) IS NOT NULL",
        )?;
        Ok(statement.exists([signed(n)])?)
    }

    fn read_rows(&self, statement: &str, n: i64) -> Outcome<Option<Rows>> {
        let found = self
            .connection
            .prepare_cached(statement)?
            .query_row([n], |row| {
                let rows = Rows {
                    id: ExchangeId::from_bytes(row.get(0)?),
                    started_ns: unsigned(row.get(1)?),
                    meta: row.get(2)?,
                    request: None,
                    end: None,
                };
                Ok((rows, row.get(3)?, row.get(4)?))
            })
            .optional()?;
        let value = |held: Option<Held>| held.map(|held| self.value(held)).transpose();
        match found {
            None => Ok(None),
            Some((rows, request, end)) => Ok(Some(Rows {
                request: value(request)?,
                end: value(end)?,
                ..rows
            })),
        }
    }

    /// A value as it is written, wherever.
    fn value(&self, held: Held) -> Outcome<Vec<u8>> {
        match (held, &self.values) {
            (Held::Here(value), _) => Ok(value),
            (Held::Beside(position), Some(values)) => values.read(position),
            (Held::Beside(_), None) => Ok(Vec::new()),
        }
    }

    /// Numbers and weights of the spans that are to be sent, oldest first.
    pub(super) fn unsent(&self) -> Outcome<Vec<(u64, usize)>> {
        let mut statement = self
            .connection
            .prepare("SELECT seq, weight FROM spans WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq")?;
        let mut unsent = Vec::new();
        for (first, last) in self.book.settled.gaps_above(0) {
            for row in statement.query_map([signed(first), signed(last)], numbered_weight)? {
                unsent.push(row?);
            }
        }
        Ok(unsent)
    }

    /// Numbers of the spans that were made without a destination, oldest first.
    pub(super) fn kept(&self) -> Outcome<Vec<u64>> {
        let mut statement = self
            .connection
            .prepare("SELECT seq FROM spans WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq")?;
        let mut kept = Vec::new();
        for (first, last) in self.book.kept.iter() {
            for row in statement.query_map([signed(first), signed(last)], |row| row.get(0))? {
                kept.push(unsigned(row?));
            }
        }
        Ok(kept)
    }

    /// What was written last by [`Group::destination`].
    pub(super) fn destination(&self) -> Outcome<Destination> {
        let since = self
            .connection
            .query_row(
                "SELECT value FROM meta WHERE key = 'exports_since'",
                [],
                |row| row.get::<_, Option<i64>>(0),
            )
            .optional()?;
        Ok(since.map_or(Destination::Unknown, |since| since.map(unsigned).into()))
    }

    /// The number that the next span shall have.
    pub(super) fn next_seq(&self) -> u64 {
        self.book.last_seq + 1
    }

    /// Spans that were refused for good, newest first.
    pub(super) fn list_refused(&self, limit: usize) -> Outcome<Vec<Refused>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, span_id, refused, reason, trace_id FROM refused JOIN spans USING (seq) ORDER BY seq DESC",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(Refused {
                seq: unsigned(row.get(0)?),
                trace_id: TraceId(row.get(4)?),
                span_id: SpanId(row.get(1)?),
                at: unsigned(row.get(2)?),
                reason: row.get(3)?,
            })
        })?;
        Ok(rows.take(limit).collect::<Result<_, _>>()?)
    }

    /// Exchanges that are not done with.
    pub(super) fn open_ids(&self) -> HashSet<ExchangeId> {
        self.book.open.keys().copied().collect()
    }

    pub(super) fn book(&self) -> &Book {
        &self.book
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Bytes that are used, but for the log.
    pub(super) fn used_bytes(&self) -> Outcome<u64> {
        Ok(self.bytes()?.saturating_sub(self.free_bytes()?))
    }

    /// Whether more than `bytes` are used. Asked after every commit: of free pages only where they decide.
    pub(super) fn uses_more_than(&self, bytes: u64) -> Outcome<bool> {
        let all = self.bytes()?;
        Ok(all > bytes && all.saturating_sub(self.free_bytes()?) > bytes)
    }

    fn free_bytes(&self) -> Outcome<u64> {
        Ok(self.number("PRAGMA freelist_count")? * self.page_size)
    }

    /// Bytes of the files but for the log, those of free pages included.
    fn bytes(&self) -> Outcome<u64> {
        let values = self.values.as_ref().map_or(0, Values::bytes);
        Ok(self.length()? + values)
    }

    /// Bytes of the database itself, once the log is written back.
    pub(super) fn length(&self) -> Outcome<u64> {
        Ok(self.number("PRAGMA page_count")? * self.page_size)
    }

    fn number(&self, pragma: &str) -> Outcome<u64> {
        let mut statement = self.connection.prepare_cached(pragma)?;
        Ok(unsigned(statement.query_row([], |row| row.get(0))?))
    }

    /// What is to be done with the files beside the database.
    pub(super) fn take_work(&mut self) -> Work {
        self.values
            .as_mut()
            .map(Values::take_work)
            .unwrap_or_default()
    }

    /// Files wait to be removed.
    pub(super) fn has_doomed(&self) -> bool {
        self.values.as_ref().is_some_and(Values::has_doomed)
    }

    /// Undoes what was not committed.
    pub(super) fn roll_back(&self) {
        if !self.connection.is_autocommit() {
            // Where this fails, what is read next fails, too.
            drop(self.connection.execute_batch("ROLLBACK"));
        }
    }

    /// A segment of values that takes much room for little, which finds `room` elsewhere.
    pub(super) fn sparse(&mut self, room: u64) -> Option<Sparse> {
        self.values.as_mut()?.sparse(room)
    }

    /// With all that is beside it, it is to stay within `bounds` from now on.
    pub(super) fn stay_within(&mut self, bounds: Bounds) {
        if let Some(values) = &mut self.values {
            values.stay_within(most(bounds));
        }
    }

    /// The file has another name now, and those beside it with it.
    pub(super) fn moved_to(&mut self, path: &Path) {
        if let Some(values) = &mut self.values {
            values.moved_to(path);
        }
    }
}

/// How much of values is done away with at once.
fn most(bounds: Bounds) -> Most {
    Most {
        bytes: (bounds.bytes / 64).clamp(LEAST_SEGMENT, MOST_AT_ONCE),
        age: bounds.age / 8,
    }
}

/// Of a file as it was made: a later `PRAGMA page_size` changes nothing in it.
fn page_size(connection: &Connection) -> Outcome<u64> {
    Ok(unsigned(connection.pragma_query_value(
        None,
        "page_size",
        |row| row.get(0),
    )?))
}

/// A span's number and its weight, in a row that has nothing else.
pub(super) fn numbered_weight(row: &Columns<'_>) -> rusqlite::Result<(u64, usize)> {
    let weight = usize::try_from(unsigned(row.get(1)?)).unwrap_or(usize::MAX);
    Ok((unsigned(row.get(0)?), weight))
}

/// SQLite's integers have a sign; no number here comes near it.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
