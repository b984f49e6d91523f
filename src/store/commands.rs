//! The way to the writer: a queue that nobody waits for. It is bounded in bytes; beyond that, commands with content are left out, and the
//! writer is told that some were.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::ledger::{RangeList, RefusedSpan, StoredName};
use super::queue::NewSpan;
use super::ranges::Ranges;
use crate::exchange::{CapturedBody, Exchange, ExchangeId, RequestMeta};

/// How long commands gather, from the first on: a write for each would cost more than all of the encoding. Short enough for a beginning to be
/// on the disk well within 20 ms.
const LINGER: Duration = Duration::from_millis(5);
/// Bytes of commands that wait at most.
const MOST: usize = 64 << 20;
/// About what a command takes beside its content.
const SMALL: usize = 256;

/// What the writer is to write.
#[derive(Debug)]
pub(super) enum WriteCommand {
    Started {
        meta: Arc<RequestMeta>,
        started_ns: u64,
        /// None as long as it is not whole.
        body: Option<CapturedBody>,
    },
    Ended(Arc<Exchange>),
    Span(NewSpan),
    /// Spans were accepted, or dropped.
    Acked(Ranges),
    Refused(Vec<RefusedSpan>),
    Requeued(RangeList),
    Finished(Vec<ExchangeId>),
    Learned(Vec<StoredName>),
    /// Since when spans have a destination, in nanoseconds since the Unix epoch; none while they have none.
    Destination(Option<u64>),
    /// Answered once everything that was sent before is handled, and written where the disk takes it.
    Barrier(oneshot::Sender<()>),
}

#[derive(Debug, Default)]
pub(super) struct CommandQueue {
    waiting: Mutex<WaitingCommands>,
    changed: Condvar,
}

/// All that waited.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that do not depend on each other"
)]
#[derive(Debug, Default)]
pub(super) struct WaitingCommands {
    pub(super) commands: Vec<WriteCommand>,
    /// When the first of them came.
    since: Option<Instant>,
    /// Commands with content were left out.
    pub(super) has_gap: bool,
    pub(super) is_closed: bool,
    bytes: usize,
    /// The writer has had nothing to do for a while, and has to be woken. Otherwise it looks by itself, within [`LINGER`], and nobody need make
    /// the system call.
    is_asleep: bool,
    /// Nobody reads any more, or ever did.
    is_unread: bool,
}

impl WaitingCommands {
    fn is_empty(&self) -> bool {
        self.commands.is_empty() && !self.is_closed
    }
}

impl CommandQueue {
    /// One that nobody reads: commands are left out.
    pub(super) fn unread() -> Self {
        let queue = CommandQueue::default();
        queue.end();
        queue
    }

    pub(super) fn send(&self, command: WriteCommand) {
        let size = size_estimate(&command);
        let mut waiting = self.lock();
        if waiting.is_unread {
            return;
        }
        // A span whose acceptance is forgotten would be sent again. Without the others no more than work is done again.
        let may_be_left_out = matches!(
            command,
            WriteCommand::Started { .. }
                | WriteCommand::Ended(_)
                | WriteCommand::Span(_)
                | WriteCommand::Refused(_)
                | WriteCommand::Finished(_)
        );
        if may_be_left_out && waiting.bytes + size > MOST {
            waiting.has_gap = true;
            return;
        }
        waiting.since.get_or_insert_with(Instant::now);
        match (command, waiting.commands.last_mut()) {
            // Where the disk is stuck, nothing else comes for hours.
            (WriteCommand::Acked(more), Some(WriteCommand::Acked(acked))) => acked.extend(&more),
            (command, _) => {
                waiting.bytes += size;
                waiting.commands.push(command);
            }
        }
        let was_asleep = std::mem::take(&mut waiting.is_asleep);
        drop(waiting);
        if was_asleep {
            self.changed.notify_one();
        }
    }

    /// The writer shall end once everything is written.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Nobody reads any more.
    pub(super) fn end(&self) {
        *self.lock() = WaitingCommands {
            is_unread: true,
            is_closed: true,
            ..WaitingCommands::default()
        };
    }

    /// Whether commands are written, or will be.
    pub(super) fn is_read(&self) -> bool {
        !self.lock().is_unread
    }

    /// All that waits, a little after the first of it came; nothing after `most`.
    pub(super) fn take(&self, most: Duration) -> WaitingCommands {
        let mut waiting = self.lock();
        if waiting.is_empty() {
            waiting.is_asleep = true;
            let (woken, _) = self
                .changed
                .wait_timeout_while(waiting, most, |waiting| waiting.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            waiting = woken;
            waiting.is_asleep = false;
        }
        if let Some(since) = waiting.since {
            let left = (since + LINGER).saturating_duration_since(Instant::now());
            let (gathered, _) = self
                .changed
                .wait_timeout_while(waiting, left, |waiting| !waiting.is_closed)
                .unwrap_or_else(PoisonError::into_inner);
            waiting = gathered;
        }
        let is_closed = waiting.is_closed;
        let taken = std::mem::take(&mut *waiting);
        waiting.is_closed = is_closed;
        taken
    }

    fn lock(&self) -> MutexGuard<'_, WaitingCommands> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// About what a command holds that would be gone without it, in bytes.
fn size_estimate(command: &WriteCommand) -> usize {
    SMALL
        + match command {
            WriteCommand::Started { meta, body, .. } => {
                1024 + meta.size_estimate() + body.as_ref().map_or(0, CapturedBody::size_estimate)
            }
            WriteCommand::Ended(exchange) => exchange.size_estimate(),
            // The queue of spans may let go of it before.
            WriteCommand::Span(span) => span.weight,
            WriteCommand::Acked(_) | WriteCommand::Destination(_) | WriteCommand::Barrier(_) => 0,
            WriteCommand::Requeued(ranges) => ranges.len() * 16,
            WriteCommand::Refused(spans) => spans.len() * 128,
            WriteCommand::Finished(ids) => ids.len() * 16,
            WriteCommand::Learned(names) => names.len() * 64,
        }
}
