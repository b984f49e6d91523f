//! The rows of spans, for those who look at what the store holds: newest first, or what came since, without the writer's time.
//!
//! A file is read over a connection of its own, in steps so short that the log beside it can begin anew between them. A store in memory is
//! the writer's alone, so there each step is a question to it. Rows only come, at the end, or go: what else happens is told by [`Position`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use rusqlite::{OptionalExtension as _, Row as Columns, params};
use tokio::sync::watch;

use super::database::{Database, Outcome, Trouble, signed, unsigned};
use super::inbox::Question;
use super::summary::Summary;
use super::{Store, read};
use crate::runs::FinishedSpan;
use crate::span::TraceId;

/// How long the writer may take to answer: it may be making room, or waiting for a disk.
const PATIENCE: Duration = Duration::from_secs(2);

/// What readers have to know of the rows beside what is in them.
#[derive(Debug, Default)]
pub(super) struct News {
    written: watch::Sender<u64>,
    renumbered: AtomicU64,
    removed: AtomicU64,
}

impl News {
    /// Spans were written.
    pub(super) fn written(&self) {
        self.written.send_modify(|times| *times += 1);
    }

    /// The file is another one, or rows came in between others.
    pub(super) fn renumbered(&self) {
        self.renumbered.fetch_add(1, Ordering::Relaxed);
        self.written();
    }

    /// Spans may have gone.
    pub(super) fn removed(&self) {
        self.removed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Where the rows are, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The first number that is there; above `last` where there is none.
    pub first: u64,
    /// The last number that is there, or 0.
    pub last: u64,
    /// Changes when what was read before says nothing of what is there now.
    pub file: u64,
    /// Changes when rows may have gone.
    pub removed: u64,
}

/// A row of a span, as far as a list needs it.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its number.
    pub seq: u64,
    /// Its trace.
    pub trace_id: TraceId,
    /// A [`Summary`] as it was written.
    pub summary: String,
}

/// Nothing can be read now, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub String);

/// Reads rows of spans. For one thread, that may wait.
pub struct Reader {
    store: Arc<Store>,
    /// Of a file: its connection, and which state of it that is of.
    file: Option<(u64, Database)>,
}

impl Store {
    /// Changes whenever spans were written.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.news.written.subscribe()
    }
}

impl Reader {
    /// Reads `store`, from the first call on.
    pub fn new(store: Arc<Store>) -> Self {
        Reader { store, file: None }
    }

    /// Where the rows are.
    ///
    /// # Errors
    /// The disk gives nothing now.
    pub fn position(&mut self) -> Result<Position, Unavailable> {
        let news = &self.store.news;
        // Before the rows are looked at, so that what changes meanwhile is seen next time.
        let file = news.renumbered.load(Ordering::Relaxed);
        let removed = news.removed.load(Ordering::Relaxed);
        let (first, last): (Option<i64>, Option<i64>) = self.step(|database| {
            // One statement sees one state of the rows.
            let mut statement = database.connection().prepare_cached(
                "SELECT (SELECT min(seq) FROM spans), (SELECT max(seq) FROM spans)",
            )?;
            Ok(statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?)
        })?;
        Ok(Position {
            first: first.map_or(u64::MAX, unsigned),
            last: last.map_or(0, unsigned),
            file,
            removed,
        })
    }

    /// Rows below this number, newest first, at most `limit`.
    ///
    /// # Errors
    /// The disk gives nothing now.
    pub fn before(&mut self, seq: u64, limit: usize) -> Result<Vec<Row>, Unavailable> {
        self.rows(
            "SELECT seq, trace_id, summary FROM spans WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2",
            seq,
            limit,
        )
    }

    /// Rows above this number, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The disk gives nothing now.
    pub fn after(&mut self, seq: u64, limit: usize) -> Result<Vec<Row>, Unavailable> {
        self.rows(
            "SELECT seq, trace_id, summary FROM spans WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            seq,
            limit,
        )
    }

    /// Of these numbers, the rows that are there.
    ///
    /// # Errors
    /// The disk gives nothing now.
    pub fn these(&mut self, seqs: Vec<u64>) -> Result<Vec<Row>, Unavailable> {
        let found = self.step(move |database| {
            let mut statement = database
                .connection()
                .prepare_cached("SELECT seq, trace_id, summary FROM spans WHERE seq = ?1")?;
            let mut found = Vec::with_capacity(seqs.len());
            for seq in seqs {
                found.extend(statement.query_row([signed(seq)], bare).optional()?);
            }
            Ok(found)
        })?;
        self.summed_up(found)
    }

    /// The span of this number, made out of what is written; none where it is gone, or does not read. Without `content` a call's request is
    /// left out.
    ///
    /// # Errors
    /// The disk gives nothing now.
    pub fn made(&mut self, seq: u64, content: bool) -> Result<Option<FinishedSpan>, Unavailable> {
        let found = self.step(move |database| {
            if content {
                database.find(seq)
            } else {
                database.find_with(seq, |n| database.rows_without_request(n))
            }
        })?;
        Ok(found.and_then(|found| read(&found).ok()))
    }

    fn rows(
        &mut self,
        statement: &'static str,
        seq: u64,
        limit: usize,
    ) -> Result<Vec<Row>, Unavailable> {
        let found = self.step(move |database| {
            let mut statement = database.connection().prepare_cached(statement)?;
            let rows = statement.query_map(params![signed(seq), signed(limit as u64)], bare)?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })?;
        self.summed_up(found)
    }

    /// Rows of older files have no summary: it is made of the span itself. What does not read is left out.
    fn summed_up(&mut self, found: Vec<Bare>) -> Result<Vec<Row>, Unavailable> {
        let mut rows = Vec::with_capacity(found.len());
        for (seq, trace_id, summary) in found {
            let summary = match summary {
                Some(summary) => summary,
                None => match self.made(seq, true)? {
                    Some(made) => Summary::of_span(&made.span()).json(),
                    None => continue,
                },
            };
            rows.push(Row {
                seq,
                trace_id,
                summary,
            });
        }
        Ok(rows)
    }

    /// One look at the database.
    fn step<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Database) -> Outcome<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let Some(path) = &self.store.file else {
            return self.ask(work);
        };
        let state = self.store.news.renumbered.load(Ordering::Relaxed);
        if self.file.as_ref().is_none_or(|(of, _)| *of != state) {
            self.file = Some((state, Database::open_to_read(path).map_err(unavailable)?));
        }
        let Some((_, database)) = &self.file else {
            return Err(Unavailable("the store is not open".to_owned()));
        };
        work(database).map_err(|trouble| {
            self.file = None;
            unavailable(trouble)
        })
    }

    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Outcome<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (reply, answer) = sync_channel(1);
        self.store
            .inbox
            .ask(Question::Read(Box::new(move |database| {
                // Whoever asked may have stopped waiting.
                let _ = reply.send(work(database));
            })));
        match answer.recv_timeout(PATIENCE) {
            Ok(done) => done.map_err(unavailable),
            Err(_) => Err(Unavailable("the store does not answer".to_owned())),
        }
    }
}

type Bare = (u64, TraceId, Option<String>);

fn bare(row: &Columns<'_>) -> rusqlite::Result<Bare> {
    Ok((unsigned(row.get(0)?), TraceId(row.get(1)?), row.get(2)?))
}

fn unavailable(trouble: Trouble) -> Unavailable {
    let (Trouble::Damaged(why) | Trouble::Failing(why)) = trouble;
    Unavailable(why)
}
