//! The one thread that writes the log. Failures of the disk stay here.
//!
//! ```text
//!                a write, a sync or a new segment fails, the files are gone
//!  writing ──────────────────────────────────────────────────────────────────► failing
//!     ▲                                                                           │ every second
//!     └── what only memory has is written ◄── another segment begins ◄────────────┘
//! ```
//!
//! While it fails, spans stay in memory, what became of them is noted in the ledger, and beginnings and ends of exchanges are left out and counted.

use std::io::{self, ErrorKind};
use std::sync::{Arc, mpsc::SyncSender};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::commands::WriteCommand;
use super::ledger::{Change, ranges_of};
use super::log::Log;
use super::open::FoundLog;
use super::sync::Syncer;
use super::{Store, unix_nanoseconds};
use crate::exchange::ExchangeId;
use crate::runs::FinishedSpan;

/// How often the disk is looked at.
const TICK: Duration = Duration::from_millis(250);
/// How often what was written is synced.
const SECOND: Duration = Duration::from_secs(1);
/// How often a disk that takes nothing is tried again; tests need not wait so long.
const TRY_AGAIN: Duration = if cfg!(test) {
    Duration::from_millis(5)
} else {
    SECOND
};
/// Bytes of spans that are written again at once.
const CATCH_UP: usize = 1 << 20;

/// Finished exchanges that are remembered while the disk takes nothing; without the others a start reads some exchanges again.
const MOST_DEFERRED: usize = 1 << 20;

/// How the log was opened, told once.
#[derive(Debug)]
pub(super) enum OpenOutcome {
    /// It is read, or the disk does not let it be read now.
    Opened,
    /// Another process has it.
    Taken,
}

pub(super) struct Writer {
    store: Arc<Store>,
    log: Log,
    syncer: Syncer,
    /// The files were read.
    is_opened: bool,
    /// When the process began, in nanoseconds since the Unix epoch.
    started_ns: u64,
    /// Spans up to here have to be written again, as far as only memory has them.
    behind: Option<u64>,
    /// Of these, spans up to here were written again. One that went since to make room is not written a second time.
    cursor: u64,
    /// Spans up to here were written again: commands that still wait for them are old.
    caught_up: u64,
    /// No span up to here is still to be told.
    told_to: u64,
    /// Exchanges that are finished, to be said once the log has their spans.
    deferred: Vec<ExchangeId>,
    barriers: Vec<oneshot::Sender<()>>,
    try_again: Instant,
    next_tick: Instant,
    synced: Instant,
}

impl Writer {
    pub(super) fn new(store: Arc<Store>, log: Log, syncer: Syncer) -> Self {
        let now = Instant::now();
        Writer {
            store,
            log,
            syncer,
            is_opened: false,
            started_ns: unix_nanoseconds(),
            behind: None,
            cursor: 0,
            caught_up: 0,
            told_to: 0,
            deferred: Vec::new(),
            barriers: Vec::new(),
            try_again: now,
            next_tick: now,
            synced: now,
        }
    }

    /// Opens the log, tells how that went, and writes until the store is closed.
    pub(super) fn run(mut self, opened: &SyncSender<OpenOutcome>) {
        let _end = EndOfCommands(Arc::clone(&self.store));
        let outcome = match self.open(true) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => OpenOutcome::Taken,
            Err(error) => {
                self.fail(&error);
                OpenOutcome::Opened
            }
            Ok(()) => OpenOutcome::Opened,
        };
        let is_taken = matches!(outcome, OpenOutcome::Taken);
        // Whoever opened the store may have stopped waiting.
        drop(opened.try_send(outcome));
        if is_taken {
            return self.syncer.finish();
        }
        loop {
            let goes_on = self.behind.is_some() && self.log.is_writable();
            let most = if goes_on { Duration::ZERO } else { TICK };
            let waiting = self.store.commands.take(most);
            self.store.set_busy(true);
            if !self.log.is_writable() && Instant::now() >= self.try_again {
                self.try_again();
            }
            if waiting.has_gap {
                self.store.skipped(1);
                self.fall_behind();
            }
            let first_seq = self.told_to + 1;
            for command in waiting.commands {
                if let WriteCommand::Span(span) = &command {
                    self.told_to = self.told_to.max(span.seq);
                }
                let is_noted = matches!(
                    command,
                    WriteCommand::Started { .. } | WriteCommand::Ended(_)
                );
                if let Err(error) = self.handle(command, first_seq) {
                    self.store.skipped(u64::from(is_noted));
                    self.fail(&error);
                }
            }
            self.attempt(Self::flush);
            self.attempt(Self::catch_up);
            for barrier in self.barriers.drain(..) {
                // Whoever asked may have stopped waiting.
                let _ = barrier.send(());
            }
            if Instant::now() >= self.next_tick {
                self.next_tick = Instant::now() + TICK;
                self.attempt(Self::tick);
            }
            self.store.set_busy(false);
            self.store.set_sync_busy(self.syncer.busy_since());
            let is_done = self.behind.is_none() || !self.log.is_writable();
            if waiting.is_closed && is_done {
                break;
            }
        }
        self.syncer.sync(self.log.take_unsynced());
        self.syncer.finish();
    }

    /// Claims and reads the files, and begins a segment where none goes on. `at_start` is false where the disk did not let it before.
    fn open(&mut self, at_start: bool) -> io::Result<()> {
        self.log.disk.claim()?;
        let found = self.log.open()?;
        self.is_opened = true;
        let next_seq = self.log.read_index().ledger.next_seq;
        self.store.next_seq_at_least(next_seq);
        self.told_to = self.told_to.max(next_seq - 1);
        self.settle_destination(&found);
        if at_start {
            self.store.look_back(&self.log, found.last);
        }
        let lost = ranges_of(found.lost.iter().copied());
        if !lost.is_empty() {
            tracing::warn!(
                spans = found.lost.len(),
                "spans that waited are lost, for their segment is gone"
            );
        }
        self.store.found(found);
        self.store.can_be_read();
        if !lost.is_empty() {
            // The next start need not count them again.
            self.log.change(&Change::Acked(lost))?;
        }
        if !self.log.is_writable() {
            self.log.begin_segment(0)?;
        }
        self.store.recovers_from_failure();
        Ok(())
    }

    /// Brings together whether spans have a destination now and whether they had one when the files were written.
    fn settle_destination(&mut self, found: &FoundLog) {
        let before = self.log.read_index().ledger.exports_since;
        let since = self.store.exports_since().map(|since| match before {
            _ if !found.is_old => since,
            // What is told again began before this process.
            None => since.max(self.started_ns),
            // No later than this process: the clock may have been put back since.
            Some(before) => since.max(before.min(self.started_ns)),
        });
        self.store.found_destination(since);
        if before != since || !found.is_old {
            self.attempt(|writer| writer.log.change(&Change::Destination(since)));
        }
    }

    fn try_again(&mut self) {
        let tried = if self.is_opened {
            let log = &mut self.log;
            log.disk.claim().and_then(|()| log.begin_segment(0))
        } else {
            self.open(false)
        };
        match tried {
            Ok(()) => self.store.recovers_from_failure(),
            Err(error) => self.fail(&error),
        }
    }

    /// No span of what begins in `command` has a number below `first_seq`.
    fn handle(&mut self, command: WriteCommand, first_seq: u64) -> io::Result<()> {
        let can_write = self.log.is_writable();
        match command {
            WriteCommand::Started { .. } | WriteCommand::Ended(_) if !can_write => {
                self.store.skipped(1);
                Ok(())
            }
            WriteCommand::Started {
                meta,
                started_ns,
                body,
            } => {
                let started = self
                    .log
                    .started(&meta, started_ns, body.as_ref(), first_seq);
                started.map(drop)
            }
            WriteCommand::Ended(exchange) => self.log.ended(&exchange, first_seq).map(drop),
            WriteCommand::Span(_) if !can_write => {
                self.fall_behind();
                Ok(())
            }
            WriteCommand::Span(span)
                if span.seq <= self.caught_up.max(self.behind.unwrap_or(0)) =>
            {
                Ok(())
            }
            WriteCommand::Span(span) => self.log.span(&span, first_seq),
            WriteCommand::Finished(ids) if !can_write || self.behind.is_some() => {
                self.behind = Some(self.store.last_seq());
                self.defer(ids);
                Ok(())
            }
            WriteCommand::Finished(ids) => self.finish(ids),
            WriteCommand::Acked(seqs) => self.log.change(&Change::Acked(seqs.iter().collect())),
            WriteCommand::Refused(spans) => self.log.change(&Change::Refused(spans)),
            WriteCommand::Requeued(ranges) => self.log.change(&Change::Requeued(ranges)),
            WriteCommand::Learned(names) => self.log.change(&Change::Learned(names)),
            WriteCommand::Destination(since) => self.log.change(&Change::Destination(since)),
            WriteCommand::Barrier(answer) => {
                self.barriers.push(answer);
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.log.flush()?;
        self.tell();
        Ok(())
    }

    /// Tells the store which spans are written, and which went.
    fn tell(&mut self) {
        for (seqs, reason) in self.log.take_dropped() {
            self.store.not_stored(&seqs, reason);
        }
        self.store.saved(&self.log.take_saved());
        self.store.uses(self.log.read_index().bytes());
    }

    /// Writes what only memory has although it was told.
    fn catch_up(&mut self) -> io::Result<()> {
        let Some(last) = self.behind.filter(|_| self.log.is_writable()) else {
            return Ok(());
        };
        let spans = self.store.unsaved(self.cursor, last, CATCH_UP);
        let Some(cursor) = spans.last().map(|span| span.seq) else {
            let deferred = std::mem::take(&mut self.deferred);
            self.finish(deferred)?;
            self.behind = None;
            self.caught_up = last;
            return self.flush();
        };
        for span in &spans {
            let exchange = match &*span.made {
                FinishedSpan::Call { exchange, .. } => Some(exchange.meta.id),
                FinishedSpan::Span(_) => None,
            };
            let is_known = exchange.is_none_or(|id| self.log.open.contains_key(&id));
            self.log.span(span, span.seq)?;
            // Its exchange was written for the span alone: whether its run goes on is not known any more.
            if span.is_evicted && !is_known {
                self.finish(exchange.into_iter().collect())?;
            }
        }
        self.flush()?;
        self.cursor = cursor;
        Ok(())
    }

    fn finish(&mut self, ids: Vec<ExchangeId>) -> io::Result<()> {
        let finished = self.log.finish(&ids);
        if finished.is_err() {
            self.defer(ids);
        }
        finished
    }

    /// Remembers which exchanges are finished; of very many, those that the log has, and the latest.
    fn defer(&mut self, ids: Vec<ExchangeId>) {
        self.deferred.extend(ids);
        if self.deferred.len() > MOST_DEFERRED {
            let latest = self.deferred.split_off(MOST_DEFERRED / 2);
            let open = &self.log.open;
            self.deferred.retain(|id| open.contains_key(id));
            self.deferred.extend(latest);
        }
    }

    fn tick(&mut self) -> io::Result<()> {
        if let Some(error) = self.syncer.take_error() {
            return Err(error);
        }
        if self.synced.elapsed() >= SECOND {
            self.synced = Instant::now();
            let unsynced = self.log.take_unsynced();
            if !unsynced.is_empty() {
                self.syncer.sync(unsynced);
            }
        }
        if self.log.is_lost() {
            let error =
                io::Error::other("the files of the store were taken away; what they held is lost");
            self.fail(&error);
            self.log.drop_lost();
            self.fall_behind();
            self.try_again = Instant::now();
        }
        if self.log.is_writable() {
            self.log.retain()?;
            // A read failed, or came late, and no write did.
            if Instant::now() >= self.try_again && self.store.is_failing() {
                self.try_again = Instant::now() + TRY_AGAIN;
                self.log.probe()?;
                self.store.recovers_from_failure();
            }
        }
        self.tell();
        Ok(())
    }

    /// Spans that were told so far have to be written again, as far as only memory has them.
    fn fall_behind(&mut self) {
        self.behind = Some(self.store.last_seq());
        self.cursor = 0;
    }

    fn attempt(&mut self, work: impl FnOnce(&mut Self) -> io::Result<()>) {
        if let Err(error) = work(self) {
            self.fail(&error);
        }
    }

    fn fail(&mut self, error: &io::Error) {
        let given_up = self.log.give_up();
        self.defer(given_up.finished);
        self.store.skipped(given_up.exchange_records);
        self.fall_behind();
        self.tell();
        self.try_again = Instant::now() + TRY_AGAIN;
        self.store.fails(error.to_string());
    }
}

/// Whatever ends the thread, nobody waits for it.
struct EndOfCommands(Arc<Store>);

impl Drop for EndOfCommands {
    fn drop(&mut self) {
        self.0.commands.end();
        self.0.ends_writing();
    }
}
