//! Columns whose values may be long for a row, and then stand beside the database: taken in, given up, replaced, moved.

use rusqlite::params;

use super::Group;
use crate::exchange::{CapturedBody, RequestMeta};
use crate::store::blob::Blob;
use crate::store::database::{Outcome, signed, unsigned};
use crate::store::record;
use crate::store::values::{Among, Held, Numbers, Owner, Position, Sparse, Values};

/// Bytes after which no further value is moved at once: the journal waits meanwhile.
const MUCH: u64 = 1 << 20;

/// A column of values that may be long for a row.
pub(super) struct Column {
    table: &'static str,
    /// Whose they are.
    key: &'static str,
    name: &'static str,
}

pub(super) const REQUESTS: Column = Column {
    table: "begun",
    key: "n",
    name: "request",
};
pub(super) const BODIES: Column = Column {
    table: "asked",
    ..REQUESTS
};
pub(super) const ENDS: Column = Column {
    table: "ended",
    key: "n",
    name: "ending",
};
pub(super) const RECORDS: Column = Column {
    table: "spans",
    key: "seq",
    name: "record",
};
const COLUMNS: [&Column; 4] = [&REQUESTS, &BODIES, &ENDS, &RECORDS];

impl Column {
    fn owner(&self, number: u64) -> Owner {
        if self.key == "n" {
            Owner::Exchange(number)
        } else {
            Owner::Span(number)
        }
    }
}

impl Group<'_> {
    /// Takes in what may be long for a row.
    pub(super) fn hold(&mut self, among: Among, owner: Owner, value: &Blob<'_>) -> Outcome<Held> {
        match &mut self.values {
            Some(values) => values.hold(among, owner, value),
            None => Ok(Held::Here(value.written())),
        }
    }

    /// Takes in the body of a request; none where there is nothing to keep.
    pub(super) fn hold_request(
        &mut self,
        n: u64,
        meta: &RequestMeta,
        body: &CapturedBody,
    ) -> Outcome<Option<Held>> {
        let owner = Owner::Exchange(n);
        if let Some(values) = &mut self.values
            && meta.content
        {
            let texts = body.lasting(meta);
            if !texts.is_empty() {
                let caller = &meta.identity.credential;
                let held = values.hold_texts(owner, caller, body.bytes(), &texts)?;
                return Ok(Some(held));
            }
        }
        let request = record::request(meta, body);
        let held = request.map(|request| self.hold(Among::New, owner, &request));
        held.transpose()
    }

    pub(super) fn rewrite(
        &mut self,
        column: &Column,
        number: u64,
        value: &Blob<'_>,
    ) -> Outcome<()> {
        self.give_up(column, number, number, Values::replace)?;
        let held = self.hold(Among::Old, column.owner(number), value)?;
        self.update(column, number, &held)
    }

    fn update(&self, column: &Column, number: u64, held: &Held) -> Outcome<()> {
        let Column { table, key, name } = column;
        self.connection
            .prepare_cached(&format!("UPDATE {table} SET {name} = ?2 WHERE {key} = ?1"))?
            .execute(params![signed(number), held])?;
        Ok(())
    }

    /// These rows go, and with them what they have beside the database.
    pub(super) fn forget(&mut self, column: &Column, first: u64, last: u64) -> Outcome<()> {
        self.give_up(column, first, last, Values::forget)
    }

    fn give_up(
        &mut self,
        column: &Column,
        first: u64,
        last: u64,
        each: fn(&mut Values, Position),
    ) -> Outcome<()> {
        let Some(values) = &mut self.values else {
            return Ok(());
        };
        let Column { table, key, name } = column;
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT {name} FROM {table} WHERE {key} BETWEEN ?1 AND ?2 AND typeof({name}) = 'integer'"
        ))?;
        let positions = statement.query_map([first, last].map(signed), |row| row.get(0))?;
        for position in positions {
            each(values, position?);
        }
        Ok(())
    }

    /// Moves values out of a segment, at most `most`, and no further one where they took much room.
    pub(in crate::store) fn move_on(&mut self, sparse: &Sparse, most: usize) -> Outcome<()> {
        let mut found = Vec::new();
        for column in COLUMNS {
            for (number, from) in self.values_in(sparse, column, most - found.len())? {
                found.push((column, number, from));
            }
        }
        let Some(values) = &mut self.values else {
            return Ok(());
        };
        if found.is_empty() {
            values.forget_all(sparse.number);
        }
        let mut moved = Vec::with_capacity(found.len());
        let before = values.bytes();
        for (column, number, from) in found {
            if values.bytes() - before > MUCH {
                break;
            }
            let to = values.move_on(column.owner(number), from)?;
            moved.push((column, number, to));
        }
        moved
            .iter()
            .try_for_each(|(column, number, to)| self.update(column, *number, to))
    }

    /// Rows that have values of a segment, at most `most`.
    fn values_in(
        &self,
        sparse: &Sparse,
        column: &Column,
        most: usize,
    ) -> Outcome<Vec<(u64, Position)>> {
        let Column { table, key, name } = column;
        let Numbers { first, last } = match column.owner(0) {
            Owner::Exchange(_) => sparse.exchanges,
            Owner::Span(_) => sparse.spans,
        };
        let [from, to] = sparse.positions();
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT {key}, {name} FROM {table} WHERE {key} BETWEEN ?1 AND ?2 AND {name} BETWEEN ?3 AND ?4"
        ))?;
        let rows = statement.query_map(params![signed(first), signed(last), from, to], |row| {
            Ok((unsigned(row.get(0)?), row.get(1)?))
        })?;
        Ok(rows.take(most).collect::<Result<_, _>>()?)
    }
}
