//! What the store does without when it is too large or too old, in this order: spans that were accepted, with their exchanges, those of
//! open runs last (a crash would leave them out of their run's tree); spans that were refused; the content of spans that are yet to be sent, oldest first; these spans themselves. The last two are counted.
//!
//! Work comes in small steps, since the thread that does it writes the journal too.

use std::time::{Duration, Instant};

use rusqlite::{OptionalExtension as _, params};

use super::database::{Database, Outcome, signed, unsigned};
use super::record::{self, Unreadable};
use super::{DropReason, Store};
use crate::span::{Span, Value, key};

/// After how long it is looked again for what could not go: a run may be over by then.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Spans of one step.
const STEP: i64 = 64;

/// How far the store has been looked through.
#[derive(Debug, Default)]
pub(super) struct Retention {
    done_with: Sweep,
    of_open_runs: Sweep,
    /// No span up to here has content to go.
    bared: i64,
}

/// A way through the spans that were accepted.
#[derive(Debug, Default)]
struct Sweep {
    /// No span up to here can go.
    swept: i64,
    /// When all of them had been looked through and nothing could go.
    swept_at: Option<Instant>,
}

/// Accepted spans of exchanges that are done with, and all of them.
const DONE_WITH: &str =
    "SELECT seq, n FROM (SELECT seq, n FROM spans WHERE seq > ?1 ORDER BY seq LIMIT 4096)
    WHERE seq NOT IN (SELECT seq FROM unsent) AND seq NOT IN (SELECT seq FROM refused)
    AND (n IS NULL OR n NOT IN (SELECT n FROM open)) LIMIT ?2";
const ACCEPTED: &str =
    "SELECT seq, n FROM (SELECT seq, n FROM spans WHERE seq > ?1 ORDER BY seq LIMIT 4096)
    WHERE seq NOT IN (SELECT seq FROM unsent) AND seq NOT IN (SELECT seq FROM refused) LIMIT ?2";

/// What may be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes of the database, its free pages aside.
    pub(super) bytes: u64,
    pub(super) age: Duration,
}

/// A span and the exchange it tells, if it tells one.
type Found = (i64, Option<i64>);

impl Retention {
    /// A span up to which everything was looked at can go after all.
    pub(super) fn settled(&mut self, seq: u64) {
        for sweep in [&mut self.done_with, &mut self.of_open_runs] {
            sweep.swept = sweep.swept.min(signed(seq).saturating_sub(1));
            sweep.swept_at = None;
        }
    }

    /// Lets go of a little, when there is too much. Whether there may still be too much.
    pub(super) fn step(
        &mut self,
        database: &Database,
        store: &Store,
        bounds: Bounds,
        now: u64,
    ) -> Outcome<bool> {
        if outdated(database, store, now.saturating_sub(bounds.age.as_secs()))? {
            return Ok(true);
        }
        if used_bytes(database)? <= bounds.bytes {
            return Ok(false);
        }
        Ok(self.done_with.step(database, DONE_WITH)?
            || self.of_open_runs.step(database, ACCEPTED)?
            || sweep_refused(database)?
            || self.bare(database, store)?
            || drop_unsent(database, store)?)
    }

    /// Takes the content from the oldest spans that wait in the database alone.
    fn bare(&mut self, database: &Database, store: &Store) -> Outcome<bool> {
        let found = find(
            database,
            "SELECT seq, n FROM unsent JOIN spans USING (seq) WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            self.bared,
        )?;
        let Some((last, _)) = found.last() else {
            return Ok(false);
        };
        self.bared = *last;
        database.begin()?;
        let mut bared = 0;
        for (seq, n) in found {
            if store.waits_in_database_alone(unsigned(seq)) {
                match n {
                    Some(n) => bare_exchange(database, n)?,
                    None => bare_span(database, seq)?,
                }
                bared += 1;
            }
        }
        database.commit()?;
        store.content_went(bared);
        Ok(true)
    }
}

impl Sweep {
    /// Lets go of accepted spans, or looks through a few more for them. False when there are none.
    fn step(&mut self, database: &Database, which: &str) -> Outcome<bool> {
        if self.swept_at.is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
            return Ok(false);
        }
        let found = find(database, which, self.swept)?;
        if let Some((last, _)) = found.last() {
            self.swept = *last;
            remove(database, &found)?;
            return Ok(true);
        }
        let last_seen: Option<i64> = database
            .connection()
            .prepare_cached(
                "SELECT max(seq) FROM (SELECT seq FROM spans WHERE seq > ?1 ORDER BY seq LIMIT 4096)",
            )?
            .query_row([self.swept], |row| row.get(0))?;
        if let Some(seq) = last_seen {
            self.swept = seq;
        } else {
            self.swept = 0;
            self.swept_at = Some(Instant::now());
        }
        Ok(last_seen.is_some())
    }
}

/// Bytes that the database uses.
pub(super) fn used_bytes(database: &Database) -> Outcome<u64> {
    let pragma = |name| {
        database
            .connection()
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
    };
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok(unsigned(pages * pragma("page_size")?))
}

fn outdated(database: &Database, store: &Store, before: u64) -> Outcome<bool> {
    let mut statement = database.connection().prepare_cached(
        "SELECT seq, n FROM (SELECT seq, n, made FROM spans ORDER BY seq LIMIT ?2) WHERE made < ?1",
    )?;
    let rows = statement.query_map(params![signed(before), STEP], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    let found: Vec<Found> = rows.collect::<Result<_, _>>()?;
    if found.is_empty() {
        return Ok(false);
    }
    let seqs: Vec<u64> = found.iter().map(|(seq, _)| unsigned(*seq)).collect();
    store.evict(&seqs, DropReason::Age);
    remove(database, &found)?;
    Ok(true)
}

fn sweep_refused(database: &Database) -> Outcome<bool> {
    let found = find(
        database,
        "SELECT seq, n FROM refused JOIN spans USING (seq) WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        -1,
    )?;
    remove(database, &found)?;
    Ok(!found.is_empty())
}

fn drop_unsent(database: &Database, store: &Store) -> Outcome<bool> {
    let found = find(
        database,
        "SELECT seq, n FROM unsent JOIN spans USING (seq) WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        -1,
    )?;
    let seqs: Vec<u64> = found.iter().map(|(seq, _)| unsigned(*seq)).collect();
    // Those under way are about to be settled.
    let gone = store.evict(&seqs, DropReason::StoreFull);
    let found: Vec<Found> = found
        .into_iter()
        .filter(|(seq, _)| gone.contains(&unsigned(*seq)))
        .collect();
    remove(database, &found)?;
    Ok(!found.is_empty())
}

fn find(database: &Database, statement: &str, after: i64) -> Outcome<Vec<Found>> {
    let mut statement = database.connection().prepare_cached(statement)?;
    let rows = statement.query_map([after, STEP], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn remove(database: &Database, found: &[Found]) -> Outcome<()> {
    if found.is_empty() {
        return Ok(());
    }
    database.begin()?;
    for (seq, n) in found {
        for statement in [
            "DELETE FROM spans WHERE seq = ?1",
            "DELETE FROM unsent WHERE seq = ?1",
            "DELETE FROM refused WHERE seq = ?1",
        ] {
            database
                .connection()
                .prepare_cached(statement)?
                .execute([seq])?;
        }
        if let Some(n) = n {
            database.remove_exchange(*n)?;
        }
    }
    database.commit()
}

fn bare_exchange(database: &Database, n: i64) -> Outcome<()> {
    let connection = database.connection();
    let Some(rows) = database.rows(n)? else {
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

fn bare_span(database: &Database, seq: i64) -> Outcome<()> {
    let connection = database.connection();
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
    let record = serde_json::to_vec(&span).unwrap_or_default();
    connection
        .prepare_cached("UPDATE spans SET record = ?2 WHERE seq = ?1")?
        .execute(params![seq, record::blob(&record)])?;
    Ok(())
}

fn read_span(written: &[u8]) -> Result<Span, Unreadable> {
    let json = record::read_blob(written)?.ok_or(Unreadable)?;
    serde_json::from_slice(&json).map_err(|_| Unreadable)
}
