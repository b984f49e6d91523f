//! What a start finds: exchanges that were not done with, told again in the order in which things happened, and what was learned.

use std::collections::HashSet;

use rusqlite::OptionalExtension as _;

use super::blob::Unreadable;
use super::book::{Open, first_seq};
use super::database::{Database, Outcome, Trouble, signed, unsigned};
use super::inbox::{AT_ONCE, Note, Question};
use super::record::read_opening;
use super::writer::Writer;
use super::{Store, lock, unix_nanoseconds};
use crate::clock::Moment;
use crate::exchange::{Exchange, ExchangeId};
use crate::runs::{FinishedSpan, Prompt};
use crate::span::SpanId;

/// What a crash left behind.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    /// What happened, in its order.
    steps: Vec<Step>,
    /// When the earlier process is last known to have lived.
    last: Moment,
    /// Spans that were made before it of what is told again.
    present: HashSet<SpanId>,
}

/// Something that happened before a crash, to the exchange of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    at_ns: u64,
    ends: bool,
    n: i64,
}

/// What is told again after a crash.
#[derive(Debug)]
pub enum Recovered {
    /// An exchange began; how it ended is not in this yet.
    Began(Exchange),
    /// An exchange ended.
    Ended(Exchange),
}

impl Store {
    pub(super) fn look_back(&self, writer: &Writer) -> Result<(), Trouble> {
        let Some(database) = writer.database() else {
            // Larger than any number in a file that shows up later: spans are numbered from here on.
            self.next_seq_at_least(unix_nanoseconds() / 1_000);
            return Ok(());
        };
        let exchanges = database.book().read_open(database.connection())?;
        self.state_of(|state| state.recovered = exchanges.len() as u64);
        let steps = |open: &Open| {
            let n = signed(open.n);
            // What did not end, ends last.
            let ended_ns = open.ended_ns.unwrap_or(u64::MAX);
            [(open.started_ns, false), (ended_ns, true)].map(|(at_ns, ends)| Step {
                at_ns,
                ends,
                n,
            })
        };
        let mut steps: Vec<Step> = exchanges.iter().flat_map(steps).collect();
        steps.sort_unstable();
        *lock(&self.unfinished) = Unfinished {
            steps,
            last: database.last_moment()?,
            present: match first_seq(database.connection(), &exchanges)? {
                Some(first_seq) => database.spans_since(first_seq)?,
                None => HashSet::new(),
            },
        };
        *lock(&self.agents) = database.agents()?;
        Ok(())
    }

    /// Names of agents that were learned before the start, by their system messages; none where several have one. They are given once.
    pub fn agent_names(&self) -> Vec<(Prompt, Option<String>)> {
        std::mem::take(&mut lock(&self.agents))
    }

    /// Remembers names of agents.
    pub fn learned(&self, names: Vec<(Prompt, Option<String>)>) {
        if !names.is_empty() {
            self.inbox.tell(Note::Learned(names));
        }
    }

    /// Tells again what a crash or an end left unfinished, in the order in which it happened, and what did not end last, as recovered. Spans
    /// that had been made of it are not taken in once more. Waits for the disk, so not for the client's path.
    pub fn recover(&self, mut tell: impl FnMut(Recovered)) {
        let (steps, last_seen_ns) = {
            let mut unfinished = lock(&self.unfinished);
            let steps = std::mem::take(&mut unfinished.steps);
            (steps, unfinished.last.steady_ns)
        };
        for steps in steps.chunks(AT_ONCE) {
            let (reply, rows) = std::sync::mpsc::sync_channel(1);
            let exchanges = steps.iter().map(|step| step.n).collect();
            self.inbox.ask(Question::Unfinished(exchanges, reply));
            let found = steps.iter().zip(rows.recv().unwrap_or_default());
            for (step, rows) in found.filter_map(|(step, rows)| Some((step, rows?))) {
                match rows.exchange(last_seen_ns) {
                    Ok(exchange) if step.ends => tell(Recovered::Ended(exchange)),
                    Ok(exchange) => tell(Recovered::Began(exchange)),
                    // Its bytes changed on the disk: nothing will ever be made of it.
                    Err(Unreadable) if step.ends => self.released(vec![rows.id]),
                    Err(Unreadable) => {}
                }
            }
        }
    }

    /// When an earlier process that left something unfinished is last known to have lived.
    pub(super) fn last_moment(&self) -> Option<Moment> {
        let unfinished = lock(&self.unfinished);
        (!unfinished.steps.is_empty()).then_some(unfinished.last)
    }

    /// Whether this span was made before a crash.
    pub(super) fn is_present(&self, made: &FinishedSpan) -> bool {
        let unfinished = lock(&self.unfinished);
        !unfinished.present.is_empty() && unfinished.present.contains(&made.span_id())
    }
}

/// What a start asks the database.
impl Database {
    /// Names of agents by their system messages; none where several have one.
    fn agents(&self) -> Outcome<Vec<(Prompt, Option<String>)>> {
        let mut statement = self
            .connection()
            .prepare("SELECT prompt, name FROM agents")?;
        let rows = statement.query_map([], |row| Ok((Prompt(row.get(0)?), row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Spans from this number on.
    fn spans_since(&self, first_seq: u64) -> Outcome<HashSet<SpanId>> {
        let mut statement = self
            .connection()
            .prepare("SELECT span_id FROM spans WHERE seq >= ?1")?;
        let rows = statement.query_map([signed(first_seq)], |row| row.get(0).map(SpanId))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The last moment of which anything is written.
    fn last_moment(&self) -> Outcome<Moment> {
        let last: i64 = self.connection().query_row(
            "SELECT max(ifnull((SELECT started_ns FROM begun ORDER BY n DESC LIMIT 1), 0),
                        ifnull((SELECT max(ended_ns) FROM (SELECT ended_ns FROM ended ORDER BY n DESC LIMIT 1000)), 0))",
            [],
            |row| row.get(0),
        )?;
        let meta = self
            .connection()
            .query_row(
                "SELECT id, opening FROM begun ORDER BY n DESC LIMIT 1",
                [],
                |row| Ok((ExchangeId::from_bytes(row.get(0)?), row.get(1)?)),
            )
            .optional()?;
        let meta = meta.and_then(|(id, json): (_, String)| read_opening(id, &json).ok());
        Ok(Moment {
            steady_ns: unsigned(last),
            wall_offset_ns: meta.map_or(0, |meta| meta.wall_offset_ns),
        })
    }
}
