//! What the store does without when it is too large or too old, in this order: spans that were accepted, with their exchanges, those of
//! open runs last (a crash would leave them out of their run's tree); spans that were refused; the content of spans that are yet to be
//! sent, oldest first; these spans themselves. The last two are counted, but for spans that memory has, too: those wait there alone then.
//!
//! Work comes in small steps, since the thread that does it writes the journal too.

use std::time::{Duration, Instant};

use rusqlite::Row as Columns;

use super::blob::{self, Blob, Unreadable};
use super::book::Book;
use super::database::{Database, Outcome, signed, unsigned};
use super::group::Group;
use super::record;
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
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bounds {
    /// Bytes of the database, its free pages aside, and of the values beside it.
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

    /// Lets go of a little, when there is too much. Whether there may still be too much. On a `full` disk what takes no room first goes first;
    /// what takes some takes no more than `room`.
    pub(super) fn step(
        &mut self,
        database: &mut Database,
        store: &Store,
        bounds: Bounds,
        full: bool,
        room: u64,
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
        if !database.uses_more_than(bounds.bytes)? {
            return Ok(false);
        }
        Ok(!full && gather(database, room)?
            || self
                .done_with
                .step(database, |book, n| book.released.contains(n))?
            || self.of_open_runs.step(database, |_, _| true)?
            || sweep_refused(database)?
            || full && gather(database, room)?
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
        let mut bared = Vec::new();
        for (seq, n) in found {
            if store.waits_in_database_alone(seq) {
                bared.push(Bare::of(database, seq, n)?);
            }
        }
        let mut group = database.group()?;
        bared.iter().try_for_each(|bare| bare.write(&mut group))?;
        group.commit()?;
        store.content_went(bared.len() as u64);
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
    // What was read to be sent is about to be settled.
    let gone = store.let_go(&seqs);
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

/// Moves on a few values of a segment that takes much room for little, which finds `room` elsewhere. Whether there was such a segment.
fn gather(database: &mut Database, room: u64) -> Outcome<bool> {
    let Some(sparse) = database.sparse(room) else {
        return Ok(false);
    };
    let mut group = database.group()?;
    group.move_on(&sparse, STEP)?;
    group.commit()?;
    Ok(true)
}

/// What stays of a span when its content goes.
enum Bare {
    Exchange {
        n: u64,
        request: Option<Blob<'static>>,
        end: Option<Blob<'static>>,
    },
    Span {
        seq: u64,
        /// None where there was no content, or it does not read.
        record: Option<Blob<'static>>,
    },
}

impl Bare {
    fn of(database: &Database, seq: u64, n: Option<u64>) -> Outcome<Self> {
        let Some(n) = n else {
            let record = database.record(seq)?;
            let record = record.and_then(|record| bare_record(&record).ok().flatten());
            return Ok(Bare::Span { seq, record });
        };
        let rows = database.rows_without_request(signed(n))?;
        let exchange = rows.and_then(|rows| {
            rows.end.as_ref()?;
            rows.exchange(0).ok()
        });
        Ok(Bare::Exchange {
            n,
            request: database.has_request(n)?.then(Blob::gone),
            end: exchange.as_ref().map(record::end_without_content),
        })
    }

    fn write(&self, group: &mut Group<'_>) -> Outcome<()> {
        match self {
            Bare::Exchange { n, request, end } => {
                group.rewrite_exchange(*n, request.as_ref(), end.as_ref())
            }
            Bare::Span { seq, record } => match record {
                Some(record) => group.rewrite_span(*seq, record),
                None => Ok(()),
            },
        }
    }
}

/// A span's record without its content; none where it has none.
fn bare_record(written: &[u8]) -> Result<Option<Blob<'static>>, Unreadable> {
    let mut span: Span = blob::read_facts(written)?;
    let before = span.attributes.len();
    span.attributes
        .retain(|(name, _)| name != key::ENTITY_INPUT && name != key::ENTITY_OUTPUT);
    if span.attributes.len() == before {
        return Ok(None);
    }
    let note = Value::Text("input, output".to_owned());
    span.attributes.push((key::CUT.into(), note));
    Ok(Some(Blob::facts(&span)))
}
