//! A file whose content is not what it was: it is moved aside, and what can still be read of it goes into a new one.

use std::sync::Arc;
use std::time::Instant;

use super::{TRY_AGAIN, Writer, unix_seconds};
use crate::store::database::{Database, Outcome, Trouble};
use crate::store::queue::NewSpan;
use crate::store::retention::Bounds;
use crate::store::{DropReason, read, weight};

impl Writer {
    /// Moves the file aside and goes on with a new one, into which goes what can still be read.
    pub(super) fn replace(&mut self, why: &str, old: Option<Database>) {
        match self.replaced(why, old) {
            Ok(()) => {}
            Err(Trouble::Failing(why) | Trouble::Damaged(why)) => {
                self.room.full = true;
                self.store.gives_and_takes_nothing(why);
                self.try_again = Instant::now() + TRY_AGAIN;
            }
        }
    }

    fn replaced(&mut self, why: &str, mut old: Option<Database>) -> Outcome<()> {
        let failing = |error: std::io::Error| Trouble::Failing(error.to_string());
        let mut aside = None;
        if let Some(directory) = &mut self.directory {
            directory.ensure().map_err(Trouble::Failing)?;
            let (to, is_there) = directory.move_aside().map_err(failing)?;
            if let Some(old) = &mut old {
                old.moved_to(&to);
            }
            aside = is_there.then_some(to);
        }
        let mut database = self.opened()?;
        self.settle_destination(&mut database)?;
        let old = old.or_else(|| Database::open(Some(aside.as_deref()?), Bounds::default()).ok());
        let is_first = self.identity.is_none();
        if is_first && let Some(unsent) = old.as_ref().and_then(|old| old.unsent().ok()) {
            self.store.found(unsent);
        }
        if let Some(old) = &old {
            self.store.next_seq_at_least(old.next_seq());
        }
        let (rescued, lost) = self.rescue(&mut database, old.as_ref())?;
        if is_first {
            self.store.found_kept(database.book().kept.count());
        }
        self.store.forget_saved();
        self.owed.clear();
        self.done_with.clear();
        self.open_before.clear();
        self.identity = Some(database.identity);
        self.use_database(database);
        let moved_to = aside.map(|path| path.display().to_string());
        tracing::error!(
            why,
            moved_to,
            rescued,
            lost,
            "the store was damaged and begins anew; spans that waited in it and could not be read are lost and counted"
        );
        Ok(())
    }

    /// Writes what waits in `old` alone to `new`, and what was kept there. Gives how many spans were rescued and how many are lost.
    fn rescue(&mut self, new: &mut Database, old: Option<&Database>) -> Outcome<(usize, usize)> {
        let now = unix_seconds();
        let (mut rescued, mut lost) = (0, Vec::new());
        let waiting = self.store.only_stored().into_iter();
        let kept = old.and_then(|old| old.kept().ok()).unwrap_or_default();
        let kept = kept.into_iter().map(|seq| (seq, true));
        let seqs: Vec<(u64, bool)> = waiting.map(|seq| (seq, false)).chain(kept).collect();
        for seqs in seqs.chunks(256) {
            let mut group = new.group()?;
            for (seq, kept) in seqs {
                let found = old.and_then(|old| old.find(*seq).ok().flatten());
                match found.map(|found| read(&found)) {
                    Some(Ok(made)) => {
                        let span = NewSpan {
                            seq: *seq,
                            weight: weight(&made),
                            made: Arc::new(made),
                            kept: *kept,
                        };
                        group.span(&span, now)?;
                        rescued += 1;
                    }
                    _ => lost.push(*seq),
                }
            }
            group.commit()?;
        }
        self.store.evict(&lost, DropReason::Unreadable);
        Ok((rescued, lost.len()))
    }
}
