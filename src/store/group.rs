//! What is written together: all of it, or nothing. Whatever fails within it, the database is to be opened anew.
//!
//! The statements of which every exchange needs one are prepared once for all that is written. How columns come to values that stand beside
//! the database is in [`columns`].

mod columns;

use rusqlite::{CachedStatement, Connection, params};

use super::Replay;
use super::blob::Blob;
use super::book::{Book, Row};
use super::database::{Outcome, numbered_weight, signed, unsigned};
use super::queue::NewSpan;
use super::ranges::Ranges;
use super::record;
use super::summary::Summary;
use super::values::{Among, Owner, Values};
use crate::capture::Begun;
use crate::exchange::{CapturedBody, Exchange, ExchangeId, RequestMeta};
use crate::runs::{FinishedSpan, Prompt};
use columns::{BODIES, ENDS, RECORDS, REQUESTS};

/// Spans that are replayed in one transaction: the journal waits for it.
const REPLAYED_AT_ONCE: usize = 1024;

pub(super) struct Group<'a> {
    connection: &'a Connection,
    book: &'a mut Book,
    /// None in memory.
    values: Option<&'a mut Values>,
    insert_begun: CachedStatement<'a>,
    insert_ended: CachedStatement<'a>,
    insert_span: CachedStatement<'a>,
}

impl<'a> Group<'a> {
    pub(super) fn begin(
        connection: &'a Connection,
        book: &'a mut Book,
        values: Option<&'a mut Values>,
    ) -> Outcome<Self> {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Group {
            insert_begun: connection
                .prepare_cached("INSERT INTO begun VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?,
            insert_ended: connection.prepare_cached("INSERT INTO ended VALUES (?1, ?2, ?3)")?,
            insert_span: connection
                .prepare_cached("INSERT INTO spans VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?,
            connection,
            book,
            values,
        })
    }

    pub(super) fn commit(self) -> Outcome<()> {
        self.book.write(self.connection)?;
        let commit = || -> Outcome<()> {
            self.connection.prepare_cached("COMMIT")?.execute([])?;
            Ok(())
        };
        match self.values {
            None => commit(),
            Some(values) => {
                values.write(self.connection)?;
                commit()?;
                values.committed();
                Ok(())
            }
        }
    }

    /// Writes down that an exchange began. No span of it has a number below `first_seq`.
    pub(super) fn begun(&mut self, begun: &Begun, first_seq: u64) -> Outcome<()> {
        let (meta, body) = (&begun.meta, begun.body());
        let n = self.insert_begun(meta, begun.started_ns, body.as_ref(), first_seq)?;
        self.is_open(meta.id, n, false);
        Ok(())
    }

    fn insert_begun(
        &mut self,
        meta: &RequestMeta,
        started_ns: u64,
        body: Option<&CapturedBody>,
        first_seq: u64,
    ) -> Outcome<u64> {
        self.book.last_n += 1;
        let n = self.book.last_n;
        let request = match body {
            Some(body) => self.hold_request(n, meta, body)?,
            None => None,
        };
        self.insert_begun.execute(params![
            signed(n),
            meta.id.as_bytes(),
            signed(started_ns),
            record::meta(meta),
            request,
            signed(first_seq),
        ])?;
        Ok(n)
    }

    fn is_open(&mut self, id: ExchangeId, n: u64, ended: bool) {
        let row = Row {
            n,
            ended,
            has_span: false,
        };
        self.book.open.insert(id, row);
    }

    /// Writes the body of a request that had none when its exchange was written.
    pub(super) fn asked(&mut self, meta: &RequestMeta, body: &CapturedBody) -> Outcome<()> {
        let row = self.book.open.get(&meta.id).filter(|row| !row.ended);
        if let Some(&Row { n, .. }) = row
            && !self.has("SELECT 1 FROM asked WHERE n = ?1", n)?
            && let Some(body) = self.hold_request(n, meta, body)?
        {
            self.connection
                .prepare_cached("INSERT INTO asked VALUES (?1, ?2)")?
                .execute(params![signed(n), body])?;
        }
        Ok(())
    }

    /// Writes how an exchange ended, and all of it where its beginning is not there. `first_seq` as for [`Self::begun`].
    pub(super) fn ended(&mut self, exchange: &Exchange, first_seq: u64) -> Outcome<()> {
        let id = exchange.meta.id;
        match self.book.open.get_mut(&id) {
            Some(row) if row.ended => Ok(()),
            Some(row) => {
                row.ended = true;
                let n = row.n;
                self.insert_ended(n, exchange)
            }
            None => {
                let n = self.insert_whole(exchange, first_seq)?;
                self.is_open(id, n, true);
                Ok(())
            }
        }
    }

    fn insert_whole(&mut self, exchange: &Exchange, first_seq: u64) -> Outcome<u64> {
        let (meta, body) = (&exchange.meta, &exchange.request);
        let n = self.insert_begun(meta, exchange.started_ns, Some(body), first_seq)?;
        self.insert_ended(n, exchange)?;
        Ok(n)
    }

    fn insert_ended(&mut self, n: u64, exchange: &Exchange) -> Outcome<()> {
        let end = self.hold(Among::New, Owner::Exchange(n), &record::end(exchange))?;
        self.insert_ended
            .execute(params![signed(n), signed(exchange.ended_ns()), end])?;
        Ok(())
    }

    /// Writes a span, and its exchange where that is not there. Writing it twice is writing it once.
    pub(super) fn span(&mut self, span: &NewSpan, now: u64) -> Outcome<()> {
        let (seq, made) = (span.seq, &*span.made);
        let is_there = seq <= self.book.last_seq && self.has_span(seq)?;
        if seq > self.book.last_seq {
            self.book.last_seq = seq;
        } else if !is_there {
            // What is written late is not one of those that were settled before this file was.
            self.book.settled.remove(seq);
        }
        if span.kept {
            self.keep(seq);
        }
        if is_there {
            return Ok(());
        }
        let (n, trace_id, record) = match made {
            FinishedSpan::Call { exchange, place } => {
                let n = self.row_of(exchange, seq)?;
                (Some(signed(n)), place.trace_id, Blob::facts(place))
            }
            FinishedSpan::Span(span) => (None, span.trace_id, Blob::facts(&**span)),
        };
        let record = self.hold(Among::New, Owner::Span(seq), &record)?;
        let summary = Summary::of(made);
        self.insert_span.execute(params![
            signed(seq),
            n,
            trace_id.0,
            summary.span.0,
            signed(now),
            record,
            summary.json(),
            signed(span.weight as u64),
        ])?;
        Ok(())
    }

    fn has_span(&self, seq: u64) -> Outcome<bool> {
        self.has("SELECT 1 FROM spans WHERE seq = ?1", seq)
    }

    fn has(&self, statement: &str, number: u64) -> Outcome<bool> {
        let mut statement = self.connection.prepare_cached(statement)?;
        Ok(statement.exists([signed(number)])?)
    }

    fn row_of(&mut self, exchange: &Exchange, seq: u64) -> Outcome<u64> {
        let open = self.book.open.get(&exchange.meta.id).copied();
        if let Some(row) = open
            && row.ended
            // It went with its span, which is written again.
            && (!row.has_span || self.has("SELECT 1 FROM begun WHERE n = ?1", row.n)?)
        {
            let row = Row {
                has_span: true,
                ..row
            };
            self.book.open.insert(exchange.meta.id, row);
            return Ok(row.n);
        }
        // Its journal was lost on the way, or it was done with before the span could be written.
        let n = self.insert_whole(exchange, seq)?;
        self.book.released.insert(n);
        Ok(n)
    }

    /// A span that went without having been sent is there again.
    pub(super) fn unsettled(&mut self, seq: u64) {
        self.book.settled.remove(seq);
    }

    /// A span need not be sent any more.
    pub(super) fn settled(&mut self, seq: u64) {
        self.book.settled.insert(seq);
    }

    /// A span that is there was made without a destination: it is not to be sent unless it is replayed.
    pub(super) fn keep(&mut self, seq: u64) {
        self.settled(seq);
        self.book.kept.insert(seq);
    }

    /// Writes which spans have a destination: those that begin at `since`, in nanoseconds since the Unix epoch, or later; none without it.
    pub(super) fn destination(&self, since: Option<u64>) -> Outcome<()> {
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO meta VALUES ('exports_since', ?1)")?
            .execute([since.map(signed)])?;
        Ok(())
    }

    /// A span was refused for good: it is kept apart until it is asked for or too old.
    pub(super) fn refused(&mut self, seq: u64, reason: &str, now: u64) -> Outcome<()> {
        self.settled(seq);
        if self.has_span(seq)? {
            self.connection
                .prepare_cached("INSERT OR REPLACE INTO refused VALUES (?1, ?2, ?3)")?
                .execute(params![signed(seq), signed(now), reason])?;
        }
        Ok(())
    }

    /// Some spans above `after` are to be sent, oldest first. Gives their numbers and weights; none when there are no more.
    pub(super) fn replay(&mut self, what: Replay, after: u64) -> Outcome<Vec<(u64, usize)>> {
        let again = match what {
            Replay::Refused => self.refused_above(after)?,
            Replay::Kept => self.kept_above(after)?,
        };
        for (seq, _) in &again {
            self.connection
                .prepare_cached("DELETE FROM refused WHERE seq = ?1")?
                .execute([signed(*seq)])?;
            self.book.kept.remove(*seq);
            self.book.settled.remove(*seq);
        }
        Ok(again)
    }

    fn refused_above(&self, after: u64) -> Outcome<Vec<(u64, usize)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, weight FROM refused JOIN spans USING (seq) WHERE seq > ?1 ORDER BY seq",
        )?;
        let rows = statement.query_map([signed(after)], numbered_weight)?;
        Ok(rows.take(REPLAYED_AT_ONCE).collect::<Result<_, _>>()?)
    }

    fn kept_above(&self, after: u64) -> Outcome<Vec<(u64, usize)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, weight FROM spans WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq",
        )?;
        let mut found = Vec::new();
        for (first, last) in self.book.kept.iter().filter(|(_, last)| *last > after) {
            let first = first.max(after + 1);
            let rows = statement.query_map([signed(first), signed(last)], numbered_weight)?;
            for row in rows.take(REPLAYED_AT_ONCE - found.len()) {
                found.push(row?);
            }
            if found.len() == REPLAYED_AT_ONCE {
                break;
            }
        }
        Ok(found)
    }

    /// An exchange is done with: nothing else will be made of it. One that no span tells goes.
    pub(super) fn release(&mut self, id: ExchangeId) -> Outcome<()> {
        let Some(row) = self.book.open.remove(&id) else {
            return Ok(());
        };
        self.book.released.insert(row.n);
        if row.has_span {
            return Ok(());
        }
        self.remove_exchanges(row.n, row.n)
    }

    /// Remembers the name of an agent; none where several have its system message.
    pub(super) fn agent(&self, prompt: Prompt, name: Option<&str>) -> Outcome<()> {
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO agents (prompt, name) VALUES (?1, ?2)")?
            .execute((prompt.0, name))?;
        Ok(())
    }

    /// Removes spans, and exchanges that they tell.
    pub(super) fn remove(&mut self, seqs: &Ranges, ns: &Ranges) -> Outcome<()> {
        for (first, last) in seqs.iter() {
            self.book.settled.insert_all(first, last);
            (first..=last).for_each(|seq| self.book.kept.remove(seq));
            self.forget(&RECORDS, first, last)?;
            for statement in [
                "DELETE FROM spans WHERE seq BETWEEN ?1 AND ?2",
                "DELETE FROM refused WHERE seq BETWEEN ?1 AND ?2",
            ] {
                self.delete(statement, first, last)?;
            }
        }
        for (first, last) in ns.iter() {
            self.remove_exchanges(first, last)?;
        }
        self.forget_removed()
    }

    /// Writes other content of an exchange in the place of what it has; none is left out.
    pub(super) fn rewrite_exchange(
        &mut self,
        n: u64,
        request: Option<&Blob<'_>>,
        end: Option<&Blob<'_>>,
    ) -> Outcome<()> {
        self.forget(&BODIES, n, n)?;
        self.delete("DELETE FROM asked WHERE n BETWEEN ?1 AND ?2", n, n)?;
        if let Some(request) = request {
            self.rewrite(&REQUESTS, n, request)?;
        }
        if let Some(end) = end {
            self.rewrite(&ENDS, n, end)?;
        }
        Ok(())
    }

    /// Writes another record of a span in the place of what it has.
    pub(super) fn rewrite_span(&mut self, seq: u64, record: &Blob<'_>) -> Outcome<()> {
        self.rewrite(&RECORDS, seq, record)
    }

    fn remove_exchanges(&mut self, first: u64, last: u64) -> Outcome<()> {
        for column in [&REQUESTS, &BODIES, &ENDS] {
            self.forget(column, first, last)?;
        }
        for statement in [
            "DELETE FROM begun WHERE n BETWEEN ?1 AND ?2",
            "DELETE FROM asked WHERE n BETWEEN ?1 AND ?2",
            "DELETE FROM ended WHERE n BETWEEN ?1 AND ?2",
        ] {
            self.delete(statement, first, last)?;
        }
        Ok(())
    }

    fn delete(&self, statement: &str, first: u64, last: u64) -> Outcome<()> {
        self.connection
            .prepare_cached(statement)?
            .execute([signed(first), signed(last)])?;
        Ok(())
    }

    /// Nobody asks for numbers below the first that is there.
    fn forget_removed(&mut self) -> Outcome<()> {
        let (seq, n): (Option<i64>, Option<i64>) = self
            .connection
            .prepare_cached("SELECT (SELECT min(seq) FROM spans), (SELECT min(n) FROM begun)")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if let Some(seq) = seq {
            self.book.settled.forget_below(unsigned(seq));
        }
        if let Some(n) = n {
            self.book.released.forget_below(unsigned(n));
        }
        Ok(())
    }
}
