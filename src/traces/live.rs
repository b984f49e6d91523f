//! What goes on right now: the runs that are open, as the thread that knows them sketched them, and only while somebody watches.
//!
//! Who looks says so with [`Live::look`]; the thread asks [`Live::is_watched`] and [publishes](Live::publish). When nobody looked for a while
//! the sketches are dropped, and the thread has nothing to do.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::runs::{Change, Sketch};
use crate::span::TraceId;

/// How long a look lasts.
const WATCHED: Duration = Duration::from_secs(20);
/// How long the first sketches are waited for.
const FIRST: Duration = Duration::from_millis(200);
/// Bytes of all sketches; beyond them a run is known to be open, and no more.
const MOST_BYTES: usize = 32 << 20;
/// Runs of which it is remembered that they ended.
const MOST_ENDED: usize = 1000;

/// The runs that are open.
pub struct Live {
    began: Instant,
    /// Milliseconds after `began` of the last look; 0 before there was one.
    looked: AtomicU64,
    /// Lets the thread that knows the runs look here.
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
    board: Mutex<Board>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Board {
    version: u64,
    /// The runs are all that are open: whoever knows them says so whenever one changes.
    is_current: bool,
    runs: HashMap<u64, Shown>,
    of_trace: HashMap<TraceId, BTreeSet<u64>>,
    ended: VecDeque<(u64, TraceId)>,
    /// Ends up to this version are not remembered.
    forgotten: u64,
    bytes: usize,
}

struct Shown {
    trace_id: TraceId,
    version: u64,
    spans: Arc<[Sketch]>,
    bytes: usize,
}

impl Default for Live {
    fn default() -> Self {
        Live {
            began: Instant::now(),
            looked: AtomicU64::new(0),
            wake: OnceLock::new(),
            board: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Live {
    /// `wake` is called when somebody begins to look.
    pub fn wakes(&self, wake: impl Fn() + Send + Sync + 'static) {
        // Whoever said it first stays.
        let _ = self.wake.set(Box::new(wake));
    }

    /// Whether somebody looked lately.
    pub fn is_watched(&self) -> bool {
        let looked = self.looked.load(Ordering::Relaxed);
        looked > 0 && self.now() < looked + milliseconds(WATCHED)
    }

    /// Somebody looks. The first in a while waits a little for what there is to see.
    pub async fn look(&self) {
        let was_watched = self.is_watched();
        self.looked.store(self.now().max(1), Ordering::Relaxed);
        let mut changed = self.changed.subscribe();
        changed.mark_unchanged();
        // Another may have begun to look a moment ago, and be waiting as well.
        let is_current = self.lock().is_current;
        if let Some(wake) = self.wake.get().filter(|_| !is_current) {
            if !was_watched {
                wake();
            }
            // Without it the answer lacks what is not finished, and no more.
            let _ = tokio::time::timeout(FIRST, changed.changed()).await;
        }
    }

    /// Nobody watches.
    pub fn clear(&self) {
        let mut board = self.lock();
        *board = Board {
            version: board.version,
            forgotten: board.version,
            ..Board::default()
        };
    }

    /// Takes what changed since it was published last; after [`Live::clear`], all that there is.
    pub fn publish(&self, changes: Vec<Change>) {
        let mut board = self.lock();
        board.is_current = true;
        board.version += 1;
        for change in changes {
            match change {
                Change::Goes {
                    run,
                    trace_id,
                    spans,
                } => board.goes(run, trace_id, spans),
                Change::Over { run } => board.over(run),
            }
        }
        let version = board.version;
        drop(board);
        self.changed.send_replace(version);
    }

    /// Changes whenever something was published.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// What is not complete of a trace; none of one that has no open run.
    pub fn of(&self, trace_id: TraceId) -> Option<Vec<Arc<[Sketch]>>> {
        let board = self.lock();
        let runs = board.of_trace.get(&trace_id)?;
        let shown = runs.iter().filter_map(|run| board.runs.get(run));
        Some(shown.map(|shown| Arc::clone(&shown.spans)).collect())
    }

    /// All traces that have an open run.
    pub fn traces(&self) -> Vec<TraceId> {
        self.lock().of_trace.keys().copied().collect()
    }

    /// Traces in which something changed or ended after this version, and the version now. None for the traces where that is not remembered.
    pub fn since(&self, version: u64) -> (Option<Vec<TraceId>>, u64) {
        let board = self.lock();
        if version < board.forgotten {
            return (None, board.version);
        }
        let goes = board
            .runs
            .values()
            .filter(|shown| shown.version > version)
            .map(|shown| shown.trace_id);
        let ended = board.ended.iter().rev();
        let ended = ended.take_while(|(at, _)| *at > version);
        let mut traces: Vec<TraceId> = goes.chain(ended.map(|(_, trace)| *trace)).collect();
        traces.sort_unstable();
        traces.dedup();
        (Some(traces), board.version)
    }

    fn now(&self) -> u64 {
        milliseconds(self.began.elapsed())
    }

    /// Nothing that can panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    fn goes(&mut self, run: u64, trace_id: TraceId, spans: Vec<Sketch>) {
        self.remove(run);
        let mut bytes = spans.iter().map(|sketch| sketch.span.weight()).sum();
        let spans = if self.bytes + bytes <= MOST_BYTES {
            spans.into()
        } else {
            bytes = 0;
            Arc::default()
        };
        self.bytes += bytes;
        self.of_trace.entry(trace_id).or_default().insert(run);
        let shown = Shown {
            trace_id,
            version: self.version,
            spans,
            bytes,
        };
        self.runs.insert(run, shown);
    }

    fn over(&mut self, run: u64) {
        let Some(shown) = self.remove(run) else {
            return;
        };
        self.ended.push_back((self.version, shown.trace_id));
        if self.ended.len() > MOST_ENDED
            && let Some((version, _)) = self.ended.pop_front()
        {
            self.forgotten = version;
        }
    }

    fn remove(&mut self, run: u64) -> Option<Shown> {
        let shown = self.runs.remove(&run)?;
        self.bytes -= shown.bytes;
        if let Some(runs) = self.of_trace.get_mut(&shown.trace_id) {
            runs.remove(&run);
            if runs.is_empty() {
                self.of_trace.remove(&shown.trace_id);
            }
        }
        Some(shown)
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Live")
            .field("is_watched", &self.is_watched())
            .finish_non_exhaustive()
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
