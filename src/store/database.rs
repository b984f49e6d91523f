//! The database file: its schema, and every statement on it. One thread owns it.
//!
//! Rows of exchanges are numbered in the order in which they began (`n`), spans in the order in which they were made (`seq`); both only
//! grow. What an exchange holds is written once, when it is known, and never rewritten, but to make room.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::record::{self, Rows};
use super::schema;
use super::summary::Summary;
use crate::capture::{Begun, Exchange, ExchangeId, Kept, Opening};
use crate::runs::{Made, Prompt};
use crate::span::exchange::span_id;
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

pub(super) type Outcome<T> = Result<T, Trouble>;

/// An open database.
pub(super) struct Database {
    connection: Connection,
    /// Which file it is: another one has another.
    pub(super) identity: i64,
    next_n: i64,
    /// Exchanges that are not done with.
    open: HashMap<ExchangeId, Row>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    n: i64,
    ended: bool,
    has_span: bool,
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
    /// Opens the file at `path`, or one in memory, and makes it where there is none. The log beside it is cut to `log_bytes`, or 16 MiB, when
    /// it begins anew.
    pub(super) fn open(path: Option<&Path>, log_bytes: u64) -> Outcome<Self> {
        let connection = match path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        // Checkpoints are the writer's to call: they wait for the disk.
        connection.execute_batch(
            "PRAGMA page_size = 8192;
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = NORMAL;
             PRAGMA wal_autocheckpoint = 0;

             PRAGMA cache_size = -8192;
             PRAGMA temp_store = MEMORY;",
        )?;
        connection.pragma_update(None, "journal_size_limit", signed(log_bytes.min(16 << 20)))?;
        connection.busy_timeout(std::time::Duration::from_secs(1))?;
        connection.set_prepared_statement_cache_capacity(64);
        schema::migrate(&connection)?;
        let identity =
            connection.query_row("SELECT value FROM meta WHERE key = 'identity'", [], |row| {
                row.get(0)
            })?;
        let next_n: i64 =
            connection.query_row("SELECT ifnull(max(n), 0) + 1 FROM begun", [], |row| {
                row.get(0)
            })?;
        let mut database = Database {
            connection,
            identity,
            next_n,
            open: HashMap::new(),
        };
        database.find_open()?;
        Ok(database)
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
            connection,
            identity,
            next_n: 0,
            open: HashMap::new(),
        })
    }

    fn find_open(&mut self) -> Outcome<()> {
        let with_span: HashSet<i64> = self
            .connection
            .prepare(
                "SELECT n FROM spans WHERE n IS NOT NULL AND seq >= ifnull((SELECT min(seq) FROM open), 1 << 62)",
            )?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut open = self.connection.prepare(
            "SELECT open.n, begun.id, ended.n IS NOT NULL FROM open JOIN begun USING (n) LEFT JOIN ended USING (n)",
        )?;
        let rows = open.query_map([], |row| {
            let (n, id, ended): (i64, [u8; 16], bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let has_span = with_span.contains(&n);
            Ok((ExchangeId::from_bytes(id), Row { n, ended, has_span }))
        })?;
        self.open = rows.collect::<Result<_, _>>()?;
        Ok(())
    }

    pub(super) fn begin(&self) -> Outcome<()> {
        Ok(self.connection.execute_batch("BEGIN IMMEDIATE")?)
    }

    pub(super) fn commit(&self) -> Outcome<()> {
        Ok(self.connection.execute_batch("COMMIT")?)
    }

    /// Writes down that an exchange began. No span of it has a number below `first_seq`.
    pub(super) fn begun(&mut self, begun: &Begun, first_seq: u64) -> Outcome<()> {
        let opening = &begun.opening;
        let body = begun.body();
        let n = self.insert_begun(opening, begun.started_ns, body.as_ref())?;
        self.insert_open(opening.id, n, false, first_seq)
    }

    fn insert_begun(
        &mut self,
        opening: &Opening,
        started_ns: u64,
        body: Option<&Kept>,
    ) -> Outcome<i64> {
        let n = self.next_n;
        self.next_n += 1;
        self.connection
            .prepare_cached("INSERT INTO begun VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                n,
                opening.id.as_bytes(),
                signed(started_ns),
                record::opening(opening),
                body.and_then(|body| record::request(opening, body)),
            ])?;
        Ok(n)
    }

    /// Writes the body of a request that had none when its exchange was written.
    pub(super) fn asked(&mut self, opening: &Opening, body: &Kept) -> Outcome<()> {
        let row = self.open.get(&opening.id).filter(|row| !row.ended);
        if let (Some(row), Some(body)) = (row, record::request(opening, body)) {
            self.connection
                .prepare_cached("INSERT OR IGNORE INTO asked VALUES (?1, ?2)")?
                .execute(params![row.n, body])?;
        }
        Ok(())
    }

    /// Writes how an exchange ended, and all of it where its beginning is not there. `first_seq` as for [`Self::begun`].
    pub(super) fn ended(&mut self, exchange: &Exchange, first_seq: u64) -> Outcome<()> {
        let id = exchange.opening.id;
        match self.open.get_mut(&id) {
            Some(row) if row.ended => Ok(()),
            Some(row) => {
                row.ended = true;
                let n = row.n;
                self.insert_ended(n, exchange)
            }
            None => {
                let n = self.insert_whole(exchange)?;
                self.insert_open(id, n, true, first_seq)
            }
        }
    }

    fn insert_whole(&mut self, exchange: &Exchange) -> Outcome<i64> {
        let n = self.insert_begun(
            &exchange.opening,
            exchange.started_ns,
            Some(&exchange.request),
        )?;
        self.insert_ended(n, exchange)?;
        Ok(n)
    }

    fn insert_open(&mut self, id: ExchangeId, n: i64, ended: bool, first_seq: u64) -> Outcome<()> {
        self.connection
            .prepare_cached("INSERT INTO open VALUES (?1, ?2)")?
            .execute(params![n, signed(first_seq)])?;
        let row = Row {
            n,
            ended,
            has_span: false,
        };
        self.open.insert(id, row);
        Ok(())
    }

    fn insert_ended(&self, n: i64, exchange: &Exchange) -> Outcome<()> {
        self.connection
            .prepare_cached("INSERT INTO ended VALUES (?1, ?2, ?3)")?
            .execute(params![
                n,
                signed(exchange.ended_ns()),
                record::end(exchange)
            ])?;
        Ok(())
    }

    /// Writes a span that is to be sent, and its exchange where that is not there. Writing it twice is writing it once.
    pub(super) fn span(&mut self, seq: u64, made: &Made, weight: usize, now: u64) -> Outcome<()> {
        if self.has_span(seq)? {
            return Ok(());
        }
        let (n, trace_id, span_id, record) = match made {
            Made::Call { exchange, place } => {
                let n = self.row_of(exchange)?;
                let record = serde_json::to_vec(place).unwrap_or_default();
                (
                    Some(n),
                    place.trace_id,
                    span_id(exchange.opening.id),
                    record,
                )
            }
            Made::Span(span) => {
                let record = serde_json::to_vec(&**span).unwrap_or_default();
                (None, span.trace_id, span.span_id, record)
            }
        };
        self.connection
            .prepare_cached("INSERT INTO spans VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(params![
                signed(seq),
                n,
                trace_id.0,
                span_id.0,
                signed(now),
                record::blob(&record),
                Summary::of(made).json()
            ])?;
        self.set_unsent(seq, weight)
    }

    fn has_span(&self, seq: u64) -> Outcome<bool> {
        Ok(self
            .connection
            .prepare_cached("SELECT 1 FROM spans WHERE seq = ?1")?
            .exists([signed(seq)])?)
    }

    fn row_of(&mut self, exchange: &Exchange) -> Outcome<i64> {
        if let Some(row) = self.open.get_mut(&exchange.opening.id)
            && row.ended
        {
            row.has_span = true;
            return Ok(row.n);
        }
        // Its journal was lost on the way, or it was done with before the span could be written.
        self.insert_whole(exchange)
    }

    fn set_unsent(&self, seq: u64, weight: usize) -> Outcome<()> {
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO unsent VALUES (?1, ?2)")?
            .execute(params![signed(seq), signed(weight as u64)])?;
        Ok(())
    }

    /// A span need not be sent any more.
    pub(super) fn settled(&self, seq: u64) -> Outcome<()> {
        self.connection
            .prepare_cached("DELETE FROM unsent WHERE seq = ?1")?
            .execute([signed(seq)])?;
        Ok(())
    }

    /// A span was refused for good: it is kept apart until it is asked for or too old.
    pub(super) fn refused(&self, seq: u64, reason: &str, now: u64) -> Outcome<()> {
        self.settled(seq)?;
        if self.has_span(seq)? {
            self.connection
                .prepare_cached("INSERT OR REPLACE INTO refused VALUES (?1, ?2, ?3)")?
                .execute(params![signed(seq), signed(now), reason])?;
        }
        Ok(())
    }

    /// An exchange is done with: nothing else will be made of it. One that no span tells goes.
    pub(super) fn release(&mut self, id: ExchangeId) -> Outcome<()> {
        let Some(row) = self.open.remove(&id) else {
            return Ok(());
        };
        self.connection
            .prepare_cached("DELETE FROM open WHERE n = ?1")?
            .execute([row.n])?;
        if !row.has_span {
            self.remove_exchange(row.n)?;
        }
        Ok(())
    }

    pub(super) fn remove_exchange(&self, n: i64) -> Outcome<()> {
        for statement in [
            "DELETE FROM begun WHERE n = ?1",
            "DELETE FROM asked WHERE n = ?1",
            "DELETE FROM ended WHERE n = ?1",
        ] {
            self.connection.prepare_cached(statement)?.execute([n])?;
        }
        Ok(())
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
        let found: Option<(Option<i64>, Vec<u8>)> = self
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
        Ok(Some(Found { record, rows }))
    }

    pub(super) fn rows(&self, n: i64) -> Outcome<Option<Rows>> {
        let rows = self
            .connection
            .prepare_cached(
                "SELECT id, started_ns, opening, ifnull(begun.request, asked.request), ending
                 FROM begun LEFT JOIN asked USING (n) LEFT JOIN ended USING (n) WHERE begun.n = ?1",
            )?
            .query_row([n], |row| {
                Ok(Rows {
                    id: ExchangeId::from_bytes(row.get(0)?),
                    started_ns: unsigned(row.get(1)?),
                    opening: row.get(2)?,
                    request: row.get(3)?,
                    end: row.get(4)?,
                })
            })
            .optional()?;
        Ok(rows)
    }

    /// Numbers and weights of the spans that are to be sent, oldest first.
    pub(super) fn unsent(&self) -> Outcome<Vec<(u64, usize)>> {
        let mut statement = self
            .connection
            .prepare("SELECT seq, weight FROM unsent ORDER BY seq")?;
        let rows = statement.query_map([], |row| {
            let weight = usize::try_from(unsigned(row.get(1)?)).unwrap_or(usize::MAX);
            Ok((unsigned(row.get(0)?), weight))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The number that the next span shall have.
    pub(super) fn next_seq(&self) -> Outcome<u64> {
        let next: i64 = self.connection.query_row(
            "SELECT 1 + max(ifnull((SELECT max(seq) FROM spans), 0), ifnull((SELECT max(seq) FROM unsent), 0))",
            [],
            |row| row.get(0),
        )?;
        Ok(unsigned(next))
    }

    /// Remembers the name of an agent; none where several have its system message.
    pub(super) fn agent(&self, prompt: Prompt, name: Option<&str>) -> Outcome<()> {
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO agents (prompt, name) VALUES (?1, ?2)")?
            .execute((prompt.0, name))?;
        Ok(())
    }

    /// Spans that were refused for good, newest first.
    pub(super) fn list_refused(&self, limit: usize) -> Outcome<Vec<Refused>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, span_id, refused, reason, trace_id FROM refused JOIN spans USING (seq) ORDER BY seq DESC LIMIT ?1",
        )?;
        let rows = statement.query_map([signed(limit as u64)], |row| {
            Ok(Refused {
                seq: unsigned(row.get(0)?),
                trace_id: TraceId(row.get(4)?),
                span_id: SpanId(row.get(1)?),
                at: unsigned(row.get(2)?),
                reason: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Refused spans are to be sent again, oldest first, at most `limit`. Gives their numbers and weights.
    pub(super) fn replay(&self, limit: usize) -> Outcome<Vec<(u64, usize)>> {
        let again: Vec<(u64, usize)> = self
            .connection
            .prepare_cached(
                "SELECT seq, length(record) + ifnull(length(begun.request), 0) + ifnull(length(ending), 0) FROM refused
                 JOIN spans USING (seq) LEFT JOIN begun USING (n) LEFT JOIN ended USING (n) ORDER BY seq LIMIT ?1",
            )?
            .query_map([signed(limit as u64)], |row| {
                Ok((unsigned(row.get(0)?), usize::try_from(unsigned(row.get(1)?)).unwrap_or(usize::MAX)))
            })?
            .collect::<Result<_, _>>()?;
        for (seq, weight) in &again {
            self.connection
                .prepare_cached("DELETE FROM refused WHERE seq = ?1")?
                .execute([signed(*seq)])?;
            self.set_unsent(*seq, *weight)?;
        }
        Ok(again)
    }

    /// Exchanges that are not done with.
    pub(super) fn open_ids(&self) -> HashSet<ExchangeId> {
        self.open.keys().copied().collect()
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// SQLite's integers have a sign; no number here comes near it.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
