//! A file that comes into use: whether spans had a destination when it was written, and what it has that this process did not make.

use super::Writer;
use crate::store::database::{Database, Destination, Outcome};

impl Writer {
    /// Counts what a database has that this process did not make.
    pub(super) fn count_found(&mut self, database: &mut Database) -> Outcome<()> {
        self.settle_destination(database)?;
        self.store.found(database.unsent()?);
        self.store.found_kept(database.book().kept.count());
        Ok(())
    }

    /// Brings together whether spans have a destination now and whether they had one when `database` was written.
    ///
    /// A file that does not say was written before files said it, or is new. What waits in it may have been made with a destination or without:
    /// it is sent where there is one now, and kept otherwise.
    pub(super) fn settle_destination(&mut self, database: &mut Database) -> Outcome<()> {
        let before = database.destination()?;
        let is_first = self.identity.is_none();
        let since = self.store.exports_since().map(|since| match before {
            Destination::Unknown => since,
            // What is told again began before this process.
            Destination::None => since.max(self.opened_ns),
            // No later than this process: the clock may have been put back since.
            Destination::Since(before) => since.max(before.min(self.opened_ns)),
        });
        if let Some(since) = since {
            self.store.found_destination(since);
        }
        if before == since.into() {
            return Ok(());
        }
        let mut of_unknown = Vec::new();
        if is_first && since.is_none() && before == Destination::Unknown {
            of_unknown = database.unsent()?;
        }
        let mut group = database.group()?;
        for (seq, _) in of_unknown {
            group.keep(seq);
        }
        group.destination(since)?;
        group.commit()
    }
}
