//! What the database says of its segments: their lengths, and how many of their values rows still have.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::file::HEAD;
use super::place::Owner;
use crate::store::database::{Outcome, signed, unsigned};

/// Numbers from the first to the last; none where the first is the larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Numbers {
    pub(in crate::store) first: u64,
    pub(in crate::store) last: u64,
}

/// What is known of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its length, in bytes.
    pub(super) end: u64,
    /// How many values were written to it.
    pub(super) written: u64,
    /// How many of them rows have.
    pub(super) held: u64,
    /// How many bytes they would take if each had its texts for itself.
    pub(super) whole: u64,
    pub(super) exchanges: Numbers,
    pub(super) spans: Numbers,
}

impl Numbers {
    const NONE: Numbers = Numbers {
        first: u64::MAX,
        last: 0,
    };

    fn add(&mut self, number: u64) {
        self.first = self.first.min(number);
        self.last = self.last.max(number);
    }
}

impl Segment {
    pub(super) const EMPTY: Segment = Segment {
        end: HEAD as u64,
        written: 0,
        held: 0,
        whole: 0,
        exchanges: Numbers::NONE,
        spans: Numbers::NONE,
    };

    /// A row has another value of it, of so many bytes with its texts.
    pub(super) fn add(&mut self, owner: Owner, whole: u64) {
        self.written += 1;
        self.held += 1;
        self.whole += whole;
        match owner {
            Owner::Exchange(n) => self.exchanges.add(n),
            Owner::Span(seq) => self.spans.add(seq),
        }
    }

    /// About how many bytes the values have that rows still have, with their texts.
    pub(super) fn of_held(&self) -> u64 {
        let average = self.whole / self.written.max(1);
        self.held.saturating_mul(average).min(self.end)
    }
}

/// What it says of each.
pub(super) fn read_segments(connection: &Connection) -> Outcome<BTreeMap<u32, Segment>> {
    let mut statement = connection.prepare(
        "SELECT number, end, written, held, first_n, last_n, first_seq, last_seq, whole FROM segments",
    )?;
    let rows = statement.query_map([], |row| {
        let number = |column| row.get(column).map(unsigned);
        let numbers = |first, last| -> rusqlite::Result<Numbers> {
            Ok(Numbers {
                first: number(first)?,
                last: number(last)?,
            })
        };
        let segment = Segment {
            end: number(1)?,
            written: number(2)?,
            held: number(3)?,
            whole: number(8)?,
            exchanges: numbers(4, 5)?,
            spans: numbers(6, 7)?,
        };
        Ok((row.get(0)?, segment))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The number of the segment that was begun last.
pub(super) fn read_last(connection: &Connection) -> Outcome<u32> {
    let last = connection
        .query_row("SELECT value FROM meta WHERE key = 'segment'", [], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(last.unwrap_or(0))
}

/// Writes what is known of a segment.
pub(super) fn write_segment(
    connection: &Connection,
    number: u32,
    segment: &Segment,
) -> Outcome<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO segments VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            number,
            signed(segment.end),
            signed(segment.written),
            signed(segment.held),
            signed(segment.exchanges.first),
            signed(segment.exchanges.last),
            signed(segment.spans.first),
            signed(segment.spans.last),
            signed(segment.whole),
        ])?;
    Ok(())
}
