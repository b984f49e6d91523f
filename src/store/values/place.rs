//! Where a value is, and what a row has of it.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::store::database::signed;

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Position {
    pub(super) segment: u32,
    pub(super) offset: u32,
}

impl Position {
    /// Segment and offset as one number.
    pub(super) fn number(self) -> u64 {
        u64::from(self.segment) << 32 | u64::from(self.offset)
    }
}

/// What a row has of a value.
#[derive(Debug)]
pub(in crate::store) enum Held {
    /// The value, as `blob` writes it.
    Here(Vec<u8>),
    /// Where it is.
    Beside(Position),
}

/// Whose value it is.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Owner {
    /// The exchange's of this number.
    Exchange(u64),
    /// The span's of this number.
    Span(u64),
}

impl ToSql for Position {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        // Fewer than 2^31 segments are ever begun.
        Ok(signed(self.number()).into())
    }
}

impl FromSql for Position {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let integer = value.as_i64()?;
        let [segment, offset] = [integer >> 32, integer & i64::from(u32::MAX)].map(u32::try_from);
        match (segment, offset) {
            (Ok(segment), Ok(offset)) => Ok(Position { segment, offset }),
            _ => Err(FromSqlError::OutOfRange(integer)),
        }
    }
}

impl ToSql for Held {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Held::Here(value) => value.to_sql(),
            Held::Beside(position) => position.to_sql(),
        }
    }
}

impl FromSql for Held {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Integer(_) => Position::column_result(value).map(Held::Beside),
            _ => Ok(Held::Here(value.as_blob()?.to_vec())),
        }
    }
}
