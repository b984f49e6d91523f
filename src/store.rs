//! What must not be lost: exchanges under way, spans that Respan has not yet accepted, and the account of all spans ever made.
//!
//! Callers never wait for the store. Spans are in memory, counted, and on their way to the exporter at once; behind that, one thread (`writer`)
//! appends everything to a log of records, so that a crash loses nothing, and memory need not hold what waits for long.
//!
//! ```text
//!  pipeline ──started, ended, span, finished──► commands ──► writer ──► log: segment files, each with an index file
//!                      │                            ▲           │ saved       ▲ positions from the index, then `pread`
//!                      └──► queue ──take──► export ─┘ acked     ▼             │
//!                             ▲ ◄────────────────────────────── queue       reader (export, viewer, recovery)
//! ```
//!
//! At every moment, to the last span, `created = exported + rejected + dropped (by reason) + pending`: queue and account live behind one lock.
//! Spans found at the start count as created. Spans that began while there was no destination are none of these: they are counted as kept, and
//! leave only when they are replayed, which creates them. A span is sent once its record is written, or a second after it was taken to be sent. It leaves
//! memory only once it is written, the newest first. Where the disk takes nothing, spans stay in memory, bounded, the oldest dropped and counted, and
//! are written as soon as it does.
//!
//! # Files
//!
//! `store.dir` holds `lock`, which the process that uses it holds, and the directory `log-1` of this layout. Segments are called by a number that
//! grows and a random mark; `record` has the form of a record, `index_file` that of an index file. Only the last segment is written to.
//!
//! | record | holds | written |
//! |---|---|---|
//! | `Started` | what is known of an exchange when it begins, and its request | within 20 ms, once the request is whole; before that without it, if it takes longer |
//! | `Ended` | how it ended, when, and the reply as it was read | when it settled |
//! | `Span`, `KeptSpan` | a finished span: of an exchange its placement, and where the records of the exchange are; any other one whole | when it is made |
//! | `Text` | a text of the requests behind it | before the first of them |
//! | `Change` | what became of spans and exchanges, names that were learned | with the next group |
//! | `Checkpoint` | the sum of all changes | at the head of each segment |
//!
//! 1. A record is valid by itself, and the bytes of a written record never change.
//! 2. A record refers to records before it only: a `Span` to its exchange in any segment, a request to texts in its own.
//! 3. A span goes with its home, the oldest segment that has a part of it. Segments go whole, the oldest first. A span that waits in memory, too,
//!    stays there when its home makes room.
//! 4. An exchange is finished once its run is closed and all of its spans are written. Any other is told again at the next start.
//! 5. A span is pending unless a change says otherwise, or it is a `KeptSpan` that was not requeued.
//! 6. What a group of records changes is seen by readers only after the group is written.
//! 7. A segment gets its index file once it is synced, so that no index speaks of bytes that a power cut took.
//! 8. A segment is written on only where its checkpoint is whole.
//! 9. Numbers of spans and exchanges are not given again, also where their records are damaged: changes speak of them.

use std::fmt;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc,
};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::exchange::{CapturedBody, Exchange, ExchangeId, RequestMeta};
use crate::runs::FinishedSpan;

mod batch;
mod codec;
mod commands;
mod counts;
mod disk;
mod index;
mod index_file;
mod ledger;
mod log;
mod open;
mod queue;
mod ranges;
mod reader;
pub(crate) mod record;
mod recovery;
mod replay;
mod segment;
mod settings;
mod summary;
mod sync;
#[cfg(test)]
mod tests;
mod texts;
mod writer;
mod writer_reports;

pub use batch::Settled;
pub(crate) use batch::{Batch, Loaded};
pub use counts::DropReason;
pub(crate) use counts::SpanCounts;
pub(crate) use ledger::RefusedSpan;
pub(crate) use reader::{SpanReader, SpanRow, StorePosition, Unavailable};
pub(crate) use recovery::Recovered;
pub use replay::Replay;
pub use settings::Settings;
pub(crate) use settings::{OpenError, StoreState};
pub(crate) use summary::SpanKind;
pub use summary::SpanSummary;

use commands::{CommandQueue, WriteCommand};
use disk::{Directory, Disk, MemoryDisk};
use index::{ReadError, RecordIndex};
use ledger::Ledger;
use log::Log;
use queue::{SpanQueue, TakenSpan};
use recovery::Unfinished;
use sync::Syncer;
use writer::{OpenOutcome, Writer};

/// Of the spans that wait, so many bytes stay in memory although they are written down.
const KEEP: usize = 16 << 20;
/// How long a start waits for the disk. After that, it goes on as with one that takes nothing.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// A disk that has not answered for so long takes nothing.
const WRITE_PATIENCE: Duration = Duration::from_secs(2);
/// The same of syncs, which a busy disk answers late.
const SYNC_PATIENCE: Duration = Duration::from_secs(10);
/// How long the exporter waits for spans to be read.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// What must not be lost.
pub struct Store {
    queue: Mutex<SpanQueue>,
    commands: CommandQueue,
    index: Arc<RwLock<RecordIndex>>,
    state: Mutex<StoreState>,
    disk_calls: Mutex<DiskCalls>,
    unfinished: Mutex<Unfinished>,
    agents: Mutex<Vec<(crate::runs::PromptHash, Option<String>)>>,
    /// Rung when as much waits as the exporter asked for.
    enough: Notify,
    /// Rung when a span is set aside.
    set_aside: Notify,
    /// Counts how often spans were written.
    written: watch::Sender<u64>,
    /// What is written outlives the process.
    is_durable: bool,
    max_memory: usize,
    keep: usize,
}

/// Since when calls to the disk are under way.
#[derive(Debug, Default)]
struct DiskCalls {
    write: Option<std::time::Instant>,
    sync: Option<std::time::Instant>,
}

/// The thread that writes.
#[derive(Debug)]
pub struct Writing(JoinHandle<()>);

impl Writing {
    /// Waits until everything that was told is written and synced, as far as the disk lets it. Call [`Store::close`] before. A disk that does not
    /// answer holds it up for ever.
    pub fn finish(self) {
        if self.0.join().is_err() {
            tracing::error!("the store's thread ended by a panic; please report this");
        }
    }
}

impl Store {
    /// Opens the store, or makes it where there is none, and starts its threads. A disk that takes nothing does not stop it: then everything
    /// stays in memory until the disk does.
    ///
    /// # Errors
    /// When another process uses the directory, or the system gives no thread.
    pub fn open(settings: &Settings) -> Result<(Arc<Self>, Writing), OpenError> {
        let disk: Arc<dyn Disk> = match &settings.dir {
            Some(dir) => Arc::new(Directory::new(dir)),
            None => Arc::<MemoryDisk>::default(),
        };
        let (store, writing) = Self::open_on(disk, settings)?;
        Ok((store, writing))
    }

    fn open_on(
        disk: Arc<dyn Disk>,
        settings: &Settings,
    ) -> Result<(Arc<Self>, Writing), OpenError> {
        let mut store = Self::with(CommandQueue::default(), settings.max_memory);
        store.is_durable = settings.dir.is_some();
        store.lock().exports_since = settings.exports.then_some(0);
        let store = Arc::new(store);
        let syncer = Syncer::start(Arc::clone(&disk)).map_err(OpenError::Thread)?;
        let log = Log::new(disk, Arc::clone(&store.index), settings.bounds());
        let writer = Writer::new(Arc::clone(&store), log, syncer);
        let (opened, outcome) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run(&opened))
            .map_err(OpenError::Thread)?;
        match outcome.recv_timeout(START_PATIENCE) {
            Ok(OpenOutcome::Taken) => {
                return Err(OpenError::Taken(settings.dir.clone().unwrap_or_default()));
            }
            Ok(OpenOutcome::Opened) => {}
            Err(_) => store.fails("the disk does not answer".to_owned()),
        }
        if store.lock().is_readable {
            return Ok((store, Writing(thread)));
        }
        store.number_above_files();
        Ok((store, Writing(thread)))
    }

    /// A store in memory alone, of at most about `max_memory` bytes of spans: nothing is written down, and nothing found again.
    pub fn volatile(max_memory: usize) -> Self {
        let store = Self::with(CommandQueue::unread(), max_memory);
        store.lock().is_readable = true;
        store
    }

    fn with(commands: CommandQueue, max_memory: usize) -> Self {
        Store {
            queue: Mutex::new(SpanQueue::new()),
            commands,
            index: Arc::new(RwLock::new(RecordIndex::new(Ledger::new(Some(0))))),
            state: Mutex::default(),
            disk_calls: Mutex::default(),
            unfinished: Mutex::default(),
            agents: Mutex::default(),
            enough: Notify::new(),
            set_aside: Notify::new(),
            written: watch::Sender::default(),
            is_durable: false,
            max_memory,
            keep: KEEP.min(max_memory / 2),
        }
    }

    /// An exchange began; `body` is its request, if that is whole. Say it again when it is whole later.
    pub fn started(&self, meta: &Arc<RequestMeta>, started_ns: u64, body: Option<CapturedBody>) {
        self.commands.send(WriteCommand::Started {
            meta: Arc::clone(meta),
            started_ns,
            body,
        });
    }

    /// An exchange is over.
    pub fn ended(&self, exchange: &Arc<Exchange>) {
        self.commands
            .send(WriteCommand::Ended(Arc::clone(exchange)));
    }

    /// The runs of these exchanges are closed: a start need not tell them again. Say so after the last of their spans was added.
    pub fn finished(&self, exchanges: Vec<ExchangeId>) {
        if !exchanges.is_empty() {
            self.commands.send(WriteCommand::Finished(exchanges));
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
        // Under the lock, so that spans are written in the order of their numbers.
        if let Some(span) = added {
            self.commands.send(WriteCommand::Span(span));
        }
    }

    /// An exchange began that is not observed, for capture has no room for it: its span counts as made and dropped.
    pub fn dropped(&self) {
        self.lock().never_made(DropReason::Capture);
    }

    /// The account, all of it from one moment.
    pub fn counts(&self) -> SpanCounts {
        self.lock().counts
    }

    /// How the store is doing.
    pub fn state(&self) -> StoreState {
        let mut state = lock(&self.state).clone();
        state.kept = self.kept();
        let calls = lock(&self.disk_calls);
        let stuck = |since: Option<std::time::Instant>, patience| {
            since
                .map(|since| since.elapsed())
                .filter(|time| *time > patience)
        };
        let stuck = stuck(calls.write, WRITE_PATIENCE).or(stuck(calls.sync, SYNC_PATIENCE));
        if let (None, Some(time)) = (&state.failing, stuck) {
            let since = SystemTime::now().checked_sub(time);
            let why = format!("the disk has not answered for {} s", time.as_secs());
            state.failing = Some((since.unwrap_or(SystemTime::UNIX_EPOCH), why));
        }
        state
    }

    /// Changes whenever spans were written.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
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
        self.commands.close();
    }

    /// Spans that only the log has, read; none of what it does not give any more. Nothing where the disk gives nothing now.
    async fn find(&self, seqs: Vec<u64>) -> Option<Vec<Option<FinishedSpan>>> {
        let index = Arc::clone(&self.index);
        let reading = tokio::task::spawn_blocking(move || {
            let find = |seq: &u64| {
                // Not held while the span is read: whoever waits to write stops a second look.
                let entry = {
                    let index = index.read().unwrap_or_else(PoisonError::into_inner);
                    index.spans().get(seq).copied()
                };
                let Some(entry) = entry else {
                    return Ok(None);
                };
                match reader::read_span(&index, entry, true) {
                    Ok(span) => Ok(Some(span)),
                    Err(ReadError::Damaged) => Ok(None),
                    // A disk that reads elsewhere has lost this place. It must not hold up all other spans.
                    Err(ReadError::Disk(error)) if reader::can_read(&index) => {
                        tracing::warn!(%error, seq, "a span cannot be read; it is lost");
                        Ok(None)
                    }
                    Err(ReadError::Disk(error)) => Err(error),
                }
            };
            seqs.iter().map(find).collect::<Result<Vec<_>, _>>()
        });
        match timeout(READ_PATIENCE, reading).await {
            Ok(Ok(Ok(found))) => Some(found),
            Ok(Ok(Err(error))) => {
                self.gives_nothing(error.to_string());
                None
            }
            Ok(Err(_)) => None,
            Err(_) => {
                self.gives_nothing("the disk does not answer".to_owned());
                None
            }
        }
    }

    /// Whether what is told is written, as far as anybody knows.
    fn is_writing(&self) -> bool {
        self.state().failing.is_none() && self.commands.is_read()
    }

    /// How many spans only memory has.
    pub fn unsaved_count(&self) -> usize {
        self.lock().unsaved_count()
    }

    /// Whether all that waits outlives this process.
    pub fn is_on_disk(&self) -> bool {
        self.is_durable && self.unsaved_count() == 0
    }

    fn settle(&self, taken: &[TakenSpan], spans: &[Arc<FinishedSpan>], settled: &Settled) {
        self.lock().settle(taken, settled.rejected);
        let all = settled.rejected >= taken.len() as u64;
        if !all {
            return self.ack(taken);
        }
        let reason = settled.reason.as_deref().unwrap_or_default();
        let at = unix_nanoseconds() / 1_000_000_000;
        let refused = taken.iter().zip(spans).map(|(taken, span)| RefusedSpan {
            seq: taken.seq,
            trace_id: span.trace_id(),
            span_id: span.span_id(),
            at,
            reason: reason.to_owned(),
        });
        self.commands.send(WriteCommand::Refused(refused.collect()));
    }

    fn ack(&self, taken: &[TakenSpan]) {
        let seqs = taken.iter().map(|taken| taken.seq).collect();
        self.commands.send(WriteCommand::Acked(seqs));
    }

    fn lose(&self, taken: &[TakenSpan]) {
        self.lock().lose(taken, DropReason::Unreadable);
        self.ack(taken);
    }

    fn put_back(&self, taken: Vec<TakenSpan>) {
        let mut queue = self.lock();
        queue.put_back(taken);
        self.ring_when_enough(&mut queue);
    }

    fn put_aside(&self, taken: Vec<TakenSpan>) {
        self.lock().put_aside(taken);
        self.set_aside.notify_one();
    }

    fn bring_back_aside(&self) {
        let mut queue = self.lock();
        queue.bring_back_aside();
        self.ring_when_enough(&mut queue);
    }

    fn ring_when_enough(&self, queue: &mut SpanQueue) {
        if queue
            .wanted
            .is_some_and(|(spans, bytes)| queue.holds(spans, bytes))
        {
            queue.wanted = None;
            self.enough.notify_one();
        }
    }

    /// Nothing that can panic runs under the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, SpanQueue> {
        lock(&self.queue)
    }

    fn read_index(&self) -> RwLockReadGuard<'_, RecordIndex> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_index(&self) -> RwLockWriteGuard<'_, RecordIndex> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_of(&self, change: impl FnOnce(&mut StoreState)) {
        change(&mut lock(&self.state));
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

/// What a span weighs, in bytes: about what it takes in memory. On the wire it is longer, as what was asked goes out twice.
fn weight(made: &FinishedSpan) -> usize {
    match made {
        FinishedSpan::Call { exchange, .. } => exchange.size_estimate(),
        FinishedSpan::Span(span) => span.size_estimate(),
    }
}
