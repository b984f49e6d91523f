//! What the store does without when it is too large or too old, in this order: spans that were accepted, with their exchanges, those of
//! open runs last (a crash would leave them out of their run's tree); spans that were refused; the content of spans that are yet to be sent, oldest first; these spans themselves. The last two are counted.
//!
//! Work comes in small steps, since the thread that does it writes the journal too.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension as _, Row as Columns, params};

use super::book::Book;
use super::database::{Database, Outcome, rows, signed, unsigned};
use super::record::{self, Unreadable};
use super::{DropReason, Store};
use crate::span::{Span, Value, key};

/// After how long it is looked again for what could not go: a run may be over by then.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How often it is looked for what is too old.
const LOOK_AT_AGE: Duration = Duration::from_secs(1);
/// Spans of one step, and spans that are looked at for it. They are counted here: a statement that is told a limit is prepared anew each time.
const STEP: usize = 64;
const LOOKED_AT: usize = 4096;

/// How far the store has been looked through.
#[derive(Debug, Default)]
pub(super) struct Retention {
    done_with: Sweep,
    of_open_runs: Sweep,
    /// No span up to here has content to go.
    bared: u64,
    /// When nothing was too old.
    none_old_at: Option<Instant>,
}

/// A way through the spans that were accepted.
#[derive(Debug, Default)]
struct Sweep {
    /// No span up to here can go.
    swept: u64,
    /// When all of them had been looked through and nothing could go.
    swept_at: Option<Instant>,
}

/// What may be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes of the database, its free pages aside.
    pub(super) bytes: u64,
    pub(super) age: Duration,
}

/// The numbers of a span and of the exchange it tells, if it tells one.
type Found = (u64, Option<u64>);

impl Retention {
    /// A span up to which everything was looked at can go after all.
    pub(super) fn settled(&mut self, seq: u64) {
        for sweep in [&mut self.done_with, &mut self.of_open_runs] {
            sweep.swept = sweep.swept.min(seq.saturating_sub(1));
            sweep.swept_at = None;
        }
    }

    /// Lets go of a little, when there is too much. Whether there may still be too much.
    pub(super) fn step(
        &mut self,
        database: &mut Database,
        store: &Store,
        bounds: Bounds,
        now: u64,
    ) -> Outcome<bool> {
        if self
            .none_old_at
            .is_none_or(|at| at.elapsed() >= LOOK_AT_AGE)
        {
            if outdated(database, store, now.saturating_sub(bounds.age.as_secs()))? {
                return Ok(true);
            }
            self.none_old_at = Some(Instant::now());
        }
        if used_bytes(database)? <= bounds.bytes {
            return Ok(false);
        }
        Ok(self
            .done_with
            .step(database, |book, n| book.released.contains(n))?
            || self.of_open_runs.step(database, |_, _| true)?
            || sweep_refused(database)?
            || self.bare(database, store)?
            || drop_unsent(database, store)?)
    }

    /// Takes the content from the oldest spans that wait in the database alone.
    fn bare(&mut self, database: &mut Database, store: &Store) -> Outcome<bool> {
        let found = unsent(database, self.bared)?;
        let Some((last, _)) = found.last() else {
            return Ok(false);
        };
        self.bared = *last;
        let group = database.group()?;
        let mut bared = 0;
        for (seq, n) in found {
            if store.waits_in_database_alone(seq) {
                match n {
                    Some(n) => bare_exchange(group.connection(), signed(n))?,
                    None => bare_span(group.connection(), signed(seq))?,
                }
                bared += 1;
            }
        }
        group.commit()?;
        store.content_went(bared);
        Ok(true)
    }
}

impl Sweep {
    /// Looks through a few spans and lets go of those that were accepted and whose exchange `can_go`. False when all were looked through.
    fn step(
        &mut self,
        database: &mut Database,
        can_go: impl Fn(&Book, u64) -> bool,
    ) -> Outcome<bool> {
        if self.swept_at.is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
            return Ok(false);
        }
        let (swept, found) = accepted(database, self.swept, can_go)?;
        if swept.is_none() {
            self.swept_at = Some(Instant::now());
        }
        self.swept = swept.unwrap_or(0);
        remove(database, &found)?;
        Ok(swept.is_some())
    }
}

/// Spans above `after` that were accepted and whose exchange `can_go`, and the last one that was looked at.
fn accepted(
    database: &Database,
    after: u64,
    can_go: impl Fn(&Book, u64) -> bool,
) -> Outcome<(Option<u64>, Vec<Found>)> {
    let book = database.book();
    let mut statement = database.connection().prepare_cached(
        "SELECT seq, n, EXISTS (SELECT 1 FROM refused WHERE refused.seq = spans.seq) FROM spans WHERE seq > ?1 ORDER BY seq",
    )?;
    let mut rows = statement.query([signed(after)])?;
    let (mut last, mut found) = (None, Vec::new());
    let mut left = LOOKED_AT;
    while found.len() < STEP
        && left > 0
        && let Some(row) = rows.next()?
    {
        left -= 1;
        let (seq, n) = numbers(row)?;
        last = Some(seq);
        let is_refused: bool = row.get(2)?;
        if book.settled.contains(seq) && !is_refused && n.is_none_or(|n| can_go(book, n)) {
            found.push((seq, n));
        }
    }
    Ok((last, found))
}

/// Spans above `after` that are yet to be sent, oldest first.
fn unsent(database: &Database, after: u64) -> Outcome<Vec<Found>> {
    let mut statement = database
        .connection()
        .prepare_cached("SELECT seq, n FROM spans WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq")?;
    let mut found = Vec::new();
    for (first, last) in database.book().settled.gaps_above(after) {
        let rows = statement.query_map([first, last].map(signed), numbers)?;
        for row in rows.take(STEP - found.len()) {
            found.push(row?);
        }
        if found.len() == STEP {
            break;
        }
    }
    Ok(found)
}

fn numbers(row: &Columns<'_>) -> rusqlite::Result<Found> {
    let n: Option<i64> = row.get(1)?;
    Ok((unsigned(row.get(0)?), n.map(unsigned)))
}

/// Bytes that the database uses.
pub(super) fn used_bytes(database: &Database) -> Outcome<u64> {
    let number = |pragma| {
        database
            .connection()
            .prepare_cached(pragma)?
            .query_row([], |row| row.get::<_, i64>(0))
    };
    let pages = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
    Ok(unsigned(pages * number("PRAGMA page_size")?))
}

fn outdated(database: &mut Database, store: &Store, before: u64) -> Outcome<bool> {
    let found = made_before(database, before)?;
    let seqs: Vec<u64> = found.iter().map(|(seq, _)| *seq).collect();
    store.evict(&seqs, DropReason::Age);
    remove(database, &found)?;
    Ok(!found.is_empty())
}

/// Those of the oldest spans that were made before that.
fn made_before(database: &Database, before: u64) -> Outcome<Vec<Found>> {
    let mut statement = database
        .connection()
        .prepare_cached("SELECT seq, n, made FROM spans ORDER BY seq")?;
    let rows = statement.query_map([], |row| Ok((numbers(row)?, unsigned(row.get(2)?))))?;
    let oldest: Vec<(Found, u64)> = rows.take(STEP).collect::<Result<_, _>>()?;
    let old = oldest.into_iter().filter(|(_, made)| *made < before);
    Ok(old.map(|(found, _)| found).collect())
}

fn sweep_refused(database: &mut Database) -> Outcome<bool> {
    let found = refused(database)?;
    remove(database, &found)?;
    Ok(!found.is_empty())
}

fn refused(database: &Database) -> Outcome<Vec<Found>> {
    let mut statement = database
        .connection()
        .prepare_cached("SELECT seq, n FROM refused JOIN spans USING (seq) ORDER BY seq")?;
    let rows = statement.query_map([], numbers)?;
    Ok(rows.take(STEP).collect::<Result<_, _>>()?)
}

fn drop_unsent(database: &mut Database, store: &Store) -> Outcome<bool> {
    let mut found = unsent(database, 0)?;
    let seqs: Vec<u64> = found.iter().map(|(seq, _)| *seq).collect();
    // Those under way are about to be settled.
    let gone = store.evict(&seqs, DropReason::StoreFull);
    found.retain(|(seq, _)| gone.contains(seq));
    remove(database, &found)?;
    Ok(!found.is_empty())
}

fn remove(database: &mut Database, found: &[Found]) -> Outcome<()> {
    if found.is_empty() {
        return Ok(());
    }
    let seqs = found.iter().map(|(seq, _)| *seq).collect();
    let ns = found.iter().filter_map(|(_, n)| *n).collect();
    let mut group = database.group()?;
    group.remove(&seqs, &ns)?;
    group.commit()
}

fn bare_exchange(connection: &Connection, n: i64) -> Outcome<()> {
    let Some(rows) = rows(connection, n)? else {
        return Ok(());
    };
    connection
        .prepare_cached("DELETE FROM asked WHERE n = ?1")?
        .execute([n])?;
    if rows.request.is_some() {
        connection
            .prepare_cached("UPDATE begun SET request = ?2 WHERE n = ?1")?
            .execute(params![n, record::gone()])?;
    }
    if let (Some(_), Ok(exchange)) = (&rows.end, rows.exchange(0)) {
        connection
            .prepare_cached("UPDATE ended SET ending = ?2 WHERE n = ?1")?
            .execute(params![n, record::end_without_content(&exchange)])?;
    }
    Ok(())
}

fn bare_span(connection: &Connection, seq: i64) -> Outcome<()> {
    let written: Option<Vec<u8>> = connection
        .prepare_cached("SELECT record FROM spans WHERE seq = ?1")?
        .query_row([seq], |row| row.get(0))
        .optional()?;
    let Some(Ok(mut span)) = written.as_deref().map(read_span) else {
        return Ok(());
    };
    let before = span.attributes.len();
    span.attributes
        .retain(|(name, _)| name != key::ENTITY_INPUT && name != key::ENTITY_OUTPUT);
    if span.attributes.len() == before {
        return Ok(());
    }
    let note = Value::Text("input, output".to_owned());
    span.attributes.push((key::CUT.into(), note));
    connection
        .prepare_cached("UPDATE spans SET record = ?2 WHERE seq = ?1")?
        .execute(params![seq, record::json_blob(&span)])?;
    Ok(())
}

fn read_span(written: &[u8]) -> Result<Span, Unreadable> {
    let json = record::read_blob(written)?.ok_or(Unreadable)?;
    serde_json::from_slice(&json).map_err(|_| Unreadable)
}
