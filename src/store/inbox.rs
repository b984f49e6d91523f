//! The way to the writer: a queue that nobody waits for. It is bounded in bytes; beyond that, what the journal would have been told is left
//! out, and the writer is told that it was.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Replay;
use super::database::{Database, Found, Refused};
use super::queue::NewSpan;
use super::record::Rows;
use crate::capture::Begun;
use crate::exchange::{CapturedBody, Exchange, ExchangeId, RequestMeta};
use crate::runs::Prompt;

/// How long messages gather, from the first on: a commit for each would cost more than all of the writing. Short enough for a beginning to be
/// on the disk well within 20 ms.
const LINGER: Duration = Duration::from_millis(5);
/// How many rows one question should be about at most: while it is answered, nothing is written, and what must be on the disk soon waits.
pub(super) const AT_ONCE: usize = 16;
/// Bytes of messages that wait at most.
const MOST: usize = 64 << 20;

/// What the writer is to write.
pub(super) enum Note {
    Begun(Begun),
    Asked(Arc<RequestMeta>, CapturedBody),
    Ended(Arc<Exchange>),
    Span(NewSpan),
    Settled(Vec<u64>),
    Refused(Vec<u64>, String),
    Released(Vec<ExchangeId>),
    Learned(Vec<(Prompt, Option<String>)>),
    /// Since when spans have a destination, in nanoseconds since the Unix epoch; none while they have none.
    Destination(Option<u64>),
}

/// What the writer is asked; it answers after everything that was told before is written.
pub(super) enum Question {
    /// Whether it writes what it is told, or has done so.
    IsWriting(oneshot::Sender<bool>),
    Find(Vec<u64>, oneshot::Sender<Answer<Vec<Option<Found>>>>),
    Unfinished(Vec<i64>, std::sync::mpsc::SyncSender<Vec<Option<Rows>>>),
    /// Work on a store in memory, that nobody else can read.
    Read(Box<dyn FnOnce(&Database) + Send>),
    ListRefused(usize, oneshot::Sender<Answer<Vec<Refused>>>),
    /// To send some spans above this number again; the answer is how many, and the last of them.
    Replay(Replay, u64, oneshot::Sender<Answer<(u64, u64)>>),
}

/// None when the database cannot be read now.
pub(super) type Answer<T> = Option<T>;

#[derive(Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// All that waited.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) notes: Vec<Note>,
    /// When the first of them came.
    since: Option<Instant>,
    pub(super) questions: Vec<Question>,
    /// Notes were left out.
    pub(super) gap: bool,
    pub(super) closed: bool,
    bytes: usize,
    reader: Reader,
}

/// What the writer does meanwhile.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Reader {
    /// It looks by itself, within [`LINGER`]: whoever tells it something need not make the system call.
    #[default]
    Awake,
    /// It has had nothing to do for a while, and has to be woken.
    Asleep,
    /// It reads nothing any more, or never did.
    Gone,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.questions.is_empty() && !self.closed
    }
}

impl Inbox {
    /// One that nobody reads: what is told is left out, what is asked stays without an answer.
    pub(super) fn deaf() -> Self {
        let waiting = Waiting {
            reader: Reader::Gone,
            ..Waiting::default()
        };
        Inbox {
            waiting: Mutex::new(waiting),
            changed: Condvar::new(),
        }
    }

    pub(super) fn tell(&self, note: Note) {
        let weight = weight(&note);
        let mut waiting = self.lock();
        if waiting.reader == Reader::Gone {
            return;
        }
        // What became of spans must not be forgotten, and takes next to nothing.
        let must = matches!(
            note,
            Note::Settled(_) | Note::Refused(..) | Note::Released(_) | Note::Destination(_)
        );
        if waiting.bytes + weight > MOST && !must {
            waiting.gap = true;
            return;
        }
        waiting.bytes += weight;
        waiting.since.get_or_insert_with(Instant::now);
        waiting.notes.push(note);
        let reader = std::mem::take(&mut waiting.reader);
        drop(waiting);
        if reader == Reader::Asleep {
            self.changed.notify_one();
        }
    }

    pub(super) fn ask(&self, question: Question) {
        let mut waiting = self.lock();
        if waiting.reader == Reader::Gone {
            return;
        }
        waiting.questions.push(question);
        drop(waiting);
        self.changed.notify_one();
    }

    /// The writer shall end once everything is written.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Nobody reads any more.
    pub(super) fn end(&self) {
        *self.lock() = Waiting {
            reader: Reader::Gone,
            closed: true,
            ..Waiting::default()
        };
    }

    /// All that waits, a little after the first of it came; nothing after `most`.
    pub(super) fn take(&self, most: Duration) -> Waiting {
        let waiting = self.lock();
        let until = match waiting.since {
            Some(since) => since + LINGER,
            None => Instant::now() + LINGER.min(most),
        };
        let mut waiting = self.gather(waiting, until);
        if waiting.is_empty() {
            waiting.reader = Reader::Asleep;
            let (woken, _) = self
                .changed
                .wait_timeout_while(waiting, most, |waiting| waiting.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            waiting = woken;
            waiting.reader = Reader::Awake;
            if let Some(since) = waiting.since {
                waiting = self.gather(waiting, since + LINGER);
            }
        }
        let closed = waiting.closed;
        let taken = std::mem::take(&mut *waiting);
        waiting.closed = closed;
        taken
    }

    /// Waits until then, or until there is something that cannot wait.
    fn gather<'a>(
        &self,
        waiting: MutexGuard<'a, Waiting>,
        until: Instant,
    ) -> MutexGuard<'a, Waiting> {
        let left = until.saturating_duration_since(Instant::now());
        let (waiting, _) = self
            .changed
            .wait_timeout_while(waiting, left, |waiting| {
                waiting.questions.is_empty() && !waiting.closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        waiting
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// About what a note holds that would be gone without it.
fn weight(note: &Note) -> usize {
    const SMALL: usize = 256;
    SMALL
        + match note {
            Note::Begun(begun) => 1024 + begun.meta.weight(),
            Note::Asked(meta, body) => meta.weight() + body.weight(),
            Note::Ended(exchange) => exchange.weight(),
            // The queue of spans holds it anyway.
            Note::Span(_) | Note::Destination(_) => 0,
            Note::Settled(seqs) | Note::Refused(seqs, _) => seqs.len() * 8,
            Note::Released(ids) => ids.len() * 16,
            Note::Learned(names) => names.len() * 64,
        }
}
