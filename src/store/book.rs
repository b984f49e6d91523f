//! What the writer knows of the rows without reading them: which exchanges are open, and which spans and exchanges are done with.
//!
//! It is read when the database is opened. What changes in it is written with the rows that it is about, in the same transaction.

use std::collections::{HashMap, HashSet};

use rusqlite::Connection;

use super::database::{Outcome, Trouble, signed, unsigned};
use super::ranges::Ranges;
use crate::exchange::ExchangeId;

#[derive(Debug, Default)]
pub(super) struct Book {
    /// The number of the exchange that was written last.
    pub(super) last_n: u64,
    /// No span that was written, or settled before the start, has a larger number.
    pub(super) last_seq: u64,
    /// Exchanges that are not done with.
    pub(super) open: HashMap<ExchangeId, Row>,
    /// Numbers of spans that need not be sent any more.
    pub(super) settled: Ranges,
    /// Those of them that were made without a destination, and whose rows are there.
    pub(super) kept: Ranges,
    /// Numbers of exchanges that are done with.
    pub(super) released: Ranges,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) n: u64,
    pub(super) ended: bool,
    pub(super) has_span: bool,
}

/// An exchange that is not done with, as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) n: u64,
    pub(super) id: ExchangeId,
    pub(super) started_ns: u64,
    pub(super) ended_ns: Option<u64>,
}

impl Book {
    pub(super) fn read(connection: &Connection) -> Outcome<Self> {
        let last = |statement| -> Outcome<u64> {
            let last: Option<i64> = connection.query_row(statement, [], |row| row.get(0))?;
            Ok(last.map_or(0, unsigned))
        };
        let settled = read_ranges(connection, "SELECT first, last FROM settled ORDER BY first")?;
        let kept = read_ranges(connection, "SELECT first, last FROM kept ORDER BY first")?;
        let released = read_ranges(
            connection,
            "SELECT first, last FROM released ORDER BY first",
        )?;
        let mut book = Book {
            // Numbers of rows that are gone stay taken: they count as settled, and released.
            last_n: last("SELECT max(n) FROM begun")?.max(released.last().unwrap_or(0)),
            last_seq: last("SELECT max(seq) FROM spans")?.max(settled.last().unwrap_or(0)),
            open: HashMap::new(),
            settled,
            kept,
            released,
        };
        book.find_open(connection)?;
        Ok(book)
    }

    fn find_open(&mut self, connection: &Connection) -> Outcome<()> {
        let open = self.read_open(connection)?;
        let Some(first_seq) = first_seq(connection, &open)? else {
            return Ok(());
        };
        let with_span: HashSet<u64> = connection
            .prepare("SELECT n FROM spans WHERE n IS NOT NULL AND seq >= ?1")?
            .query_map([signed(first_seq)], |row| row.get(0).map(unsigned))?
            .collect::<Result<_, _>>()?;
        let row = |open: Open| Row {
            n: open.n,
            ended: open.ended_ns.is_some(),
            has_span: with_span.contains(&open.n),
        };
        self.open = open.into_iter().map(|open| (open.id, row(open))).collect();
        Ok(())
    }

    /// Exchanges that are not done with, in the order in which they began.
    pub(super) fn read_open(&self, connection: &Connection) -> Outcome<Vec<Open>> {
        let mut statement = connection.prepare(
            "SELECT n, id, started_ns, ended_ns FROM begun LEFT JOIN ended USING (n) WHERE n BETWEEN ?1 AND ?2 ORDER BY n",
        )?;
        let mut open = Vec::new();
        for (first, last) in self.released.gaps_above(0) {
            let rows = statement.query_map([signed(first), signed(last)], |row| {
                let ended_ns: Option<i64> = row.get(3)?;
                Ok(Open {
                    n: unsigned(row.get(0)?),
                    id: ExchangeId::from_bytes(row.get(1)?),
                    started_ns: unsigned(row.get(2)?),
                    ended_ns: ended_ns.map(unsigned),
                })
            })?;
            for row in rows {
                open.push(row?);
            }
        }
        Ok(open)
    }

    /// Writes what changed.
    pub(super) fn write(&mut self, connection: &Connection) -> Outcome<()> {
        write_ranges(
            connection,
            &mut self.settled,
            "INSERT OR REPLACE INTO settled VALUES (?1, ?2)",
            "DELETE FROM settled WHERE first = ?1",
        )?;
        write_ranges(
            connection,
            &mut self.kept,
            "INSERT OR REPLACE INTO kept VALUES (?1, ?2)",
            "DELETE FROM kept WHERE first = ?1",
        )?;
        write_ranges(
            connection,
            &mut self.released,
            "INSERT OR REPLACE INTO released VALUES (?1, ?2)",
            "DELETE FROM released WHERE first = ?1",
        )
    }
}

/// No span of these exchanges, which come in the order in which they began, has a smaller number. Read of the first alone, whose it is: it stands
/// behind the request's body.
pub(super) fn first_seq(connection: &Connection, open: &[Open]) -> Outcome<Option<u64>> {
    let Some(first) = open.first() else {
        return Ok(None);
    };
    let first_seq = connection.query_row(
        "SELECT first_seq FROM begun WHERE n = ?1",
        [signed(first.n)],
        |row| row.get(0),
    )?;
    Ok(Some(unsigned(first_seq)))
}

/// Ranges as they are written: none touches another. One that does is not what was written, and would say of spans that they were accepted.
fn read_ranges(connection: &Connection, statement: &str) -> Outcome<Ranges> {
    let mut statement = connection.prepare(statement)?;
    let rows = statement.query_map([], |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?))))?;
    let mut ranges = Ranges::default();
    for row in rows {
        let (first, last) = row?;
        let touches = ranges.last().is_some_and(|before| first <= before + 1);
        if first > last || touches {
            return Err(Trouble::Damaged(format!(
                "it counts from {first} to {last}"
            )));
        }
        ranges.insert_all(first, last);
    }
    // They are written as they were read.
    ranges.changes();
    Ok(ranges)
}

fn write_ranges(
    connection: &Connection,
    ranges: &mut Ranges,
    insert: &str,
    delete: &str,
) -> Outcome<()> {
    for (first, last) in ranges.changes() {
        match last {
            Some(last) => connection
                .prepare_cached(insert)?
                .execute([signed(first), signed(last)])?,
            None => connection
                .prepare_cached(delete)?
                .execute([signed(first)])?,
        };
    }
    Ok(())
}
