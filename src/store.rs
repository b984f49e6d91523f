//! What must not be lost: exchanges under way, spans that Respan has not yet accepted, and the account of all spans ever made.
//!
//! Whoever tells the store something never waits. Spans are in memory, counted, and on their way to the exporter at once; behind that, one
//! thread writes everything into SQLite (`writer`, `database`), so that a crash loses nothing, and memory need not hold what waits for long.
//!
//! ```text
//!  capture ──began, asked──► inbox ──► writer ──► spangate.db, and what is long beside it
//!  runs ──ended, released──►   ▲          │
//!    └──────add──► queue ──span┘   saved  │ found again
//!                    ▲ │ ◄────────────────┘
//!               settle │ take
//!                    export
//! ```
//!
//! Whoever wants to see what is stored reads the rows beside all this (`reading`): over a connection of its own where there is a file.
//!
//! At every moment, to the last span, `created = exported + rejected + dropped (by reason) + pending`: queue and account live behind one lock.
//! Spans found at the start count as created. Spans that began while there was no destination are none of these: they are counted as kept, and
//! leave only when they are replayed, which creates them. A span is sent once it is written down, as long as the disk takes anything in time; it leaves
//! memory only then, and the newest first. Where the disk takes nothing, spans stay in memory, bounded, the oldest dropped and counted, and
//! are written as soon as it does.
//!
//! # Layout
//!
//! | table | a row is | written | gone |
//! |---|---|---|---|
//! | `begun` | an exchange: its id, when it began, what was known then (JSON), the request's body (V) if it was whole by then; and a number below which no span of it is | within 20 ms | with its span |
//! | `asked` | the body (V) of a request that was not whole by then | when it is | with its span |
//! | `ended` | how an exchange ended, and the reply (V) | when it did | with its span |
//! | `released` | numbers of exchanges, from the first to the last, that are done with; any other is told again at the start (without `ended`, as recovered) | when they are | when it becomes part of another, or its exchanges are gone |
//! | `spans` | a span: a call's place (V), its content being its exchange's; any other span whole (V); a summary for lists (JSON), and its weight in bytes | when it is made | when room is needed, or it is too old |
//! | `settled` | numbers of spans, from the first to the last, that were accepted, refused or dropped; any other is yet to be sent | when they are | when it becomes part of another, or its spans are gone; divided by a span that is sent again |
//! | `kept` | numbers of spans, from the first to the last, that were made while there was no destination; they count as settled, and as accepted where room is needed | when the span is made | on a replay, or with the span |
//! | `refused` | a span that Respan refused for good, and why | when it is | when room is needed, it is too old, or on a replay |
//! | `agents` | the name of the agents that have a system message, by its hash; none where several have it | when it is learned | never |
//! | `segments` | a file of values beside the database: what is known of it | with the values | with the last of its values |
//! | `meta` | which file this is; and since when spans have a destination (`exports_since`, nanoseconds, null while they have none) | once; when that changes | never |
//!
//! What is marked V is a value that may be long: `blob` has its form. A long one is not in its row, but beside the database, in a file of many:
//! `values` tells how. Bodies are written once, and texts that come again in them once for many. `user_version` of the file is the layout's version, `application_id` says that it is
//! spangate's. `lock` in the same directory is held by the process that uses it.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::capture::{Begun, Journal};
use crate::clock::Moment;
use crate::exchange::{CapturedBody, Exchange, ExchangeId, RequestMeta};
use crate::runs::{FinishedSpan, Prompt};
use crate::span::Span;

mod batch;
mod blob;
mod book;
mod checkpoint;
mod counts;
mod database;
mod directory;
mod group;
mod inbox;
mod kept;
mod queue;
mod ranges;
mod reading;
mod record;
mod recovery;
mod retention;
mod schema;
mod settings;
mod summary;
#[cfg(test)]
mod tests;
mod values;
mod writer;

pub use batch::{Batch, Loaded, Settled};
pub use counts::{Counts, DropReason};
pub use database::Refused;
pub use kept::Replay;
pub use reading::{Position, Reader, Row, Unavailable};
pub use recovery::Recovered;
pub use settings::{OpenError, Settings, StoreState};
pub use summary::{Kind, Summary};

use blob::Unreadable;
use database::Found;
use directory::Directory;
use inbox::{Inbox, Note, Question};
use queue::{NewSpan, Queue, Taken};
use reading::News;
use recovery::Unfinished;
use writer::Writer;

/// Of the spans that wait, so many bytes stay in memory although they are written down.
const KEEP: usize = 16 << 20;

/// What must not be lost.
pub struct Store {
    queue: Mutex<Queue>,
    inbox: Inbox,
    state: Mutex<StoreState>,
    unfinished: Mutex<Unfinished>,
    agents: Mutex<Vec<(Prompt, Option<String>)>>,
    /// Rung when as much waits as the exporter asked for.
    enough: Notify,
    /// Rung when a span is set aside.
    set_aside: Notify,
    /// What readers have to know of the rows.
    news: News,
    /// The database's file; none in memory.
    file: Option<PathBuf>,
    max_memory: usize,
    keep: usize,
}

/// The thread that writes.
#[derive(Debug)]
pub struct Writing(JoinHandle<()>);

impl Writing {
    /// Waits until everything that was told is written, as far as the disk lets it, and the database is closed. Call [`Store::close`] before.
    pub fn finish(self) {
        if self.0.join().is_err() {
            tracing::error!("the store's thread ended by a panic; please report this");
        }
    }
}

impl Store {
    /// Opens the store, or makes it where there is none, and starts its thread. A disk that takes nothing does not stop it: then everything
    /// stays in memory until the disk does.
    ///
    /// # Errors
    /// When another process uses the directory, or the system gives no thread.
    pub fn open(settings: Settings) -> Result<(Arc<Self>, Writing), OpenError> {
        let directory = match &settings.dir {
            Some(dir) => Some(
                Directory::take(dir).map_err(|directory::Taken| OpenError::Taken(dir.clone()))?,
            ),
            None => None,
        };
        let mut store = Self::with(Inbox::default(), settings.max_memory);
        store.file = directory.as_ref().map(Directory::database);
        store.lock().exports_since = settings.exports.then_some(0);
        let store = Arc::new(store);
        let writer = Writer::new(Arc::clone(&store), settings, directory);
        if let Err(trouble) = store.look_back(&writer) {
            tracing::warn!(
                ?trouble,
                "what was unfinished cannot be read now and is told at the next start"
            );
        }
        let thread = writer.start().map_err(OpenError::Thread)?;
        Ok((store, Writing(thread)))
    }

    /// A store in memory alone, of at most about `max_memory` bytes of spans: nothing is written down, and nothing found again.
    pub fn volatile(max_memory: usize) -> Self {
        let store = Self::with(Inbox::deaf(), max_memory);
        store.gives();
        store
    }

    fn with(inbox: Inbox, max_memory: usize) -> Self {
        Store {
            queue: Mutex::new(Queue::new()),
            inbox,
            state: Mutex::default(),
            unfinished: Mutex::default(),
            agents: Mutex::default(),
            enough: Notify::new(),
            set_aside: Notify::new(),
            news: News::default(),
            file: None,
            max_memory,
            keep: KEEP.min(max_memory / 2),
        }
    }

    /// An exchange is over.
    pub fn ended(&self, exchange: &Arc<Exchange>) {
        self.inbox.tell(Note::Ended(Arc::clone(exchange)));
    }

    /// These exchanges are done with: a start need not tell them again. Say so after the last of their spans was added.
    pub fn released(&self, exchanges: Vec<ExchangeId>) {
        if !exchanges.is_empty() {
            self.inbox.tell(Note::Released(exchanges));
        }
    }

    /// Takes over a finished span. Never waits; may drop the oldest that wait, or the span itself when it is larger than all of the memory.
    pub fn add(&self, made: FinishedSpan) {
        if self.is_present(&made) {
            return;
        }
        let (weight, made) = (weight(&made), Arc::new(made));
        let mut queue = self.lock();
        let added = queue.add(made, weight, Instant::now(), self.max_memory);
        self.ring_when_enough(&mut queue);
        drop(queue);
        if let Some(span) = added {
            self.inbox.tell(Note::Span(span));
        }
    }

    /// The account, all of it from one moment.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// How the store is doing.
    pub fn state(&self) -> StoreState {
        lock(&self.state).clone()
    }

    /// When the span that waits longest became waiting; none when nothing waits.
    pub fn oldest_since(&self) -> Option<Instant> {
        self.lock().oldest_since(Instant::now())
    }

    /// Returns once `spans` spans or `bytes` bytes wait, whichever is first. For one caller at a time, the exporter.
    pub async fn at_least(&self, spans: usize, bytes: usize) {
        loop {
            {
                let mut queue = self.lock();
                if queue.holds(spans, bytes) {
                    queue.wanted = None;
                    return;
                }
                queue.wanted = Some((spans, bytes));
            }
            // A ring between the lock and this line is kept by `Notify` and found here.
            self.enough.notified().await;
        }
    }

    /// Takes the oldest waiting spans, at most `spans` of them and at most `bytes` unless the first alone is more; none when nothing
    /// waits. A batch that is dropped without being settled puts its spans back.
    pub fn take(self: &Arc<Self>, spans: usize, bytes: usize) -> Option<Batch> {
        let taken = self.lock().take(spans, bytes);
        (!taken.is_empty()).then(|| Batch::new(Arc::clone(self), taken, false))
    }

    /// Returns once a span is set aside. For one caller at a time, the exporter.
    pub async fn some_aside(&self) {
        while !self.lock().has_aside() {
            self.set_aside.notified().await;
        }
    }

    /// Takes the span that was set aside first; none when there is none. When it is accepted, all others wait with the rest again.
    pub fn take_aside(self: &Arc<Self>) -> Option<Batch> {
        let taken = self.lock().take_aside()?;
        Some(Batch::new(Arc::clone(self), vec![taken], true))
    }

    /// Nothing more will be told: the thread ends once everything is written.
    pub fn close(&self) {
        self.inbox.close();
    }

    /// What was taken from the database alone, read; none of what it does not give any more.
    async fn find(&self, seqs: &[u64]) -> Option<Vec<Option<FinishedSpan>>> {
        let mut made = Vec::with_capacity(seqs.len());
        for seqs in seqs.chunks(inbox::AT_ONCE) {
            let (reply, answer) = oneshot::channel();
            self.inbox.ask(Question::Find(seqs.to_vec(), reply));
            let found = answer.await.ok().flatten()?.into_iter();
            made.extend(found.map(|found| found.and_then(|found| read(&found).ok())));
        }
        Some(made)
    }

    /// Returns when what was told before is written, or some of what there is to catch up with. False where the disk takes nothing.
    async fn is_writing(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.inbox.ask(Question::IsWriting(reply));
        answer.await.unwrap_or(false)
    }

    /// How many spans only memory has.
    pub fn unsaved_count(&self) -> usize {
        self.lock().unsaved_count()
    }

    /// Whether all that waits outlives this process.
    pub fn is_on_disk(&self) -> bool {
        self.file.is_some() && self.unsaved_count() == 0
    }

    fn settle(&self, taken: &[Taken], settled: &Settled) {
        self.lock().settle(taken, settled.rejected);
        let seqs = taken.iter().map(|taken| taken.seq).collect();
        let all = settled.rejected >= taken.len() as u64;
        self.inbox.tell(if all {
            Note::Refused(seqs, settled.reason.clone().unwrap_or_default())
        } else {
            Note::Settled(seqs)
        });
    }

    fn lose(&self, taken: &[Taken]) {
        self.lock().lose(taken, DropReason::Unreadable);
        let seqs = taken.iter().map(|taken| taken.seq).collect();
        self.inbox.tell(Note::Settled(seqs));
    }

    fn put_back(&self, taken: Vec<Taken>) {
        let mut queue = self.lock();
        queue.put_back(taken);
        self.ring_when_enough(&mut queue);
    }

    fn put_aside(&self, taken: Vec<Taken>) {
        self.lock().put_aside(taken);
        self.set_aside.notify_one();
    }

    fn bring_back_aside(&self) {
        let mut queue = self.lock();
        queue.bring_back_aside();
        self.ring_when_enough(&mut queue);
    }

    fn ring_when_enough(&self, queue: &mut Queue) {
        if queue
            .wanted
            .is_some_and(|(spans, bytes)| queue.holds(spans, bytes))
        {
            queue.wanted = None;
            self.enough.notify_one();
        }
    }

    /// Nothing that can panic runs under the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    fn state_of(&self, change: impl FnOnce(&mut StoreState)) {
        change(&mut lock(&self.state));
    }
}

/// What the writer has to say.
impl Store {
    fn last_seq(&self) -> u64 {
        self.lock().next_seq - 1
    }

    fn next_seq_at_least(&self, seq: u64) {
        let mut queue = self.lock();
        queue.next_seq = queue.next_seq.max(seq);
    }

    fn found(&self, spans: Vec<(u64, usize)>) {
        let mut queue = self.lock();
        queue.found(spans);
        self.ring_when_enough(&mut queue);
    }

    fn saved(&self, seqs: &[u64]) {
        self.lock().saved(seqs, self.keep);
        if !seqs.is_empty() {
            self.news.written();
        }
    }

    fn unsaved(&self, last: u64, bytes: usize) -> Vec<NewSpan> {
        self.lock().unsaved(last, bytes)
    }

    fn forget_saved(&self) {
        self.lock().forget_saved();
    }

    fn only_stored(&self) -> Vec<u64> {
        self.lock().only_stored()
    }

    fn waits_in_database_alone(&self, seq: u64) -> bool {
        self.lock().is_only_stored(seq)
    }

    fn evict(&self, seqs: &[u64], reason: DropReason) -> Vec<u64> {
        self.lock().evict(seqs, reason)
    }

    fn let_go(&self, seqs: &[u64]) -> Vec<u64> {
        self.lock().let_go(seqs, DropReason::StoreFull)
    }

    /// There is room again for what was let go of.
    fn take_back(&self) {
        self.lock().let_go.clear();
    }

    fn content_went(&self, spans: u64) {
        self.state_of(|state| state.content_shed += spans);
    }

    fn skipped(&self) {
        self.state_of(|state| state.journal_skipped += 1);
    }

    fn uses(&self, bytes: u64) {
        self.state_of(|state| state.bytes = bytes);
    }

    /// What only the database has can be read.
    fn gives(&self) {
        let mut queue = self.lock();
        queue.readable = true;
        self.ring_when_enough(&mut queue);
        drop(queue);
        self.set_aside.notify_one();
    }

    fn takes_nothing(&self, why: String) {
        let mut state = lock(&self.state);
        if state.failing.is_none() {
            tracing::error!(
                why,
                "the store takes nothing now; spans are kept in memory until it does"
            );
        }
        let since = state
            .failing
            .as_ref()
            .map_or_else(SystemTime::now, |(since, _)| *since);
        state.failing = Some((since, why));
    }

    fn gives_and_takes_nothing(&self, why: String) {
        self.lock().readable = false;
        self.takes_nothing(why);
    }

    fn takes(&self) {
        if lock(&self.state).failing.take().is_some() {
            tracing::info!("the store works again");
        }
    }
}

impl Journal for Store {
    fn began(&self, begun: Begun) {
        self.inbox.tell(Note::Begun(begun));
    }

    fn asked(&self, meta: &Arc<RequestMeta>, body: CapturedBody) {
        self.inbox.tell(Note::Asked(Arc::clone(meta), body));
    }

    fn dropped(&self) {
        self.lock().never_made(DropReason::Capture);
    }

    fn last_moment(&self) -> Option<Moment> {
        Store::last_moment(self)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Store")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unix_nanoseconds() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0))
}

/// A span as the database has it.
fn read(found: &Found) -> Result<FinishedSpan, Unreadable> {
    match &found.rows {
        Some(rows) => Ok(FinishedSpan::Call {
            exchange: Arc::new(rows.exchange(0)?),
            place: blob::read_facts(&found.record)?,
        }),
        None => blob::read_facts::<Span>(&found.record).map(FinishedSpan::from),
    }
}

/// What a span weighs, in bytes: about what it takes in memory. On the wire it is longer, as what was asked goes out twice.
fn weight(made: &FinishedSpan) -> usize {
    match made {
        FinishedSpan::Call { exchange, .. } => exchange.weight(),
        FinishedSpan::Span(span) => span.weight(),
    }
}
