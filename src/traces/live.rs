//! The open spans of open runs, published by the workers that know them, and only while somebody watches.
//!
//! A viewer calls [`LiveRegistry::watch`]. A worker checks [`LiveRegistry::is_watched`] and [publishes](LiveRegistry::publish). After a
//! while without viewers the snapshots are dropped, and the workers publish nothing.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::runs::{OpenSpan, RunChange};
use crate::span::TraceId;

/// How long one call of [`LiveRegistry::watch`] counts.
const WATCHED: Duration = Duration::from_secs(20);
/// Longest wait of a first viewer for the first snapshots.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// Most bytes of all snapshots. Beyond it a run is known to be open, without its spans.
const MOST_BYTES: usize = 32 << 20;
/// Most ended runs that are remembered.
const MOST_ENDED: usize = 1000;

/// The runs that are open.
pub struct LiveRegistry {
    began: Instant,
    /// Milliseconds from `began` to the last [`Self::watch`]; 0 before the first.
    watched_ms: AtomicU64,
    /// Makes the workers publish soon.
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
    runs: Mutex<LiveRuns>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct LiveRuns {
    version: u64,
    /// All open runs are here, since the workers publish every change.
    is_current: bool,
    runs: HashMap<u64, LiveRun>,
    of_trace: HashMap<TraceId, BTreeSet<u64>>,
    ended: VecDeque<(u64, TraceId)>,
    /// Runs that ended up to this version are not remembered.
    forgotten: u64,
    bytes: usize,
}

/// One span of a snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotSpan {
    spans: Arc<[OpenSpan]>,
    index: usize,
}

impl SnapshotSpan {
    /// The place among the spans of its run.
    pub(super) fn index(&self) -> usize {
        self.index
    }
}

impl Deref for SnapshotSpan {
    type Target = OpenSpan;

    fn deref(&self) -> &OpenSpan {
        &self.spans[self.index]
    }
}

struct LiveRun {
    trace_id: TraceId,
    version: u64,
    spans: Arc<[OpenSpan]>,
    bytes: usize,
}

impl Default for LiveRegistry {
    fn default() -> Self {
        LiveRegistry {
            began: Instant::now(),
            watched_ms: AtomicU64::new(0),
            wake: OnceLock::new(),
            runs: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl LiveRegistry {
    /// Has `wake` called when a first viewer comes. A second call changes nothing.
    pub fn set_wake(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.wake.set(Box::new(wake));
    }

    /// Whether somebody watched within the last 20 seconds.
    pub fn is_watched(&self) -> bool {
        let watched_ms = self.watched_ms.load(Ordering::Relaxed);
        watched_ms > 0 && self.now_ms() < watched_ms + milliseconds(WATCHED)
    }

    /// Registers a viewer. The first one in a while waits a little for the first snapshots.
    pub async fn watch(&self) {
        let was_watched = self.is_watched();
        self.watched_ms
            .store(self.now_ms().max(1), Ordering::Relaxed);
        let mut changed = self.changed.subscribe();
        changed.mark_unchanged();
        // Another viewer may have come a moment ago, and be waiting as well.
        let is_current = self.lock().is_current;
        if let Some(wake) = self.wake.get().filter(|_| !is_current) {
            if !was_watched {
                wake();
            }
            // Without the snapshots the answer lacks open spans, and nothing else.
            let _ = tokio::time::timeout(FIRST_WAIT, changed.changed()).await;
        }
    }

    /// Drops all snapshots, since nobody watches.
    pub fn clear(&self) {
        let mut runs = self.lock();
        *runs = LiveRuns {
            version: runs.version,
            forgotten: runs.version,
            ..LiveRuns::default()
        };
    }

    /// Takes the changes since the last call; after [`Self::clear`], all open runs.
    pub fn publish(&self, changes: Vec<RunChange>) {
        let mut runs = self.lock();
        runs.is_current = true;
        runs.version += 1;
        for change in changes {
            match change {
                RunChange::Open {
                    run,
                    trace_id,
                    spans,
                } => runs.replace(run, trace_id, spans),
                RunChange::Over { run } => runs.end(run),
            }
        }
        let version = runs.version;
        drop(runs);
        self.changed.send_replace(version);
    }

    /// A counter that changes with each [`Self::publish`].
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The open spans of a trace; none where the trace has no open run.
    pub fn of(&self, trace_id: TraceId) -> Option<Vec<SnapshotSpan>> {
        let live = self.lock();
        let runs = live.of_trace.get(&trace_id)?;
        let runs = runs.iter().filter_map(|run| live.runs.get(run));
        let spans = runs.flat_map(|run| {
            (0..run.spans.len()).map(|index| SnapshotSpan {
                spans: Arc::clone(&run.spans),
                index,
            })
        });
        Some(spans.collect())
    }

    /// All traces that have an open run.
    pub fn traces(&self) -> Vec<TraceId> {
        self.lock().of_trace.keys().copied().collect()
    }

    /// The traces with a run that changed or ended after `version`, and the version now. No traces where that is not remembered.
    pub fn since(&self, version: u64) -> (Option<Vec<TraceId>>, u64) {
        let live = self.lock();
        if version < live.forgotten {
            return (None, live.version);
        }
        let changed = live
            .runs
            .values()
            .filter(|run| run.version > version)
            .map(|run| run.trace_id);
        let ended = live.ended.iter().rev();
        let ended = ended.take_while(|(at, _)| *at > version);
        let mut traces: Vec<TraceId> = changed.chain(ended.map(|(_, trace)| *trace)).collect();
        traces.sort_unstable();
        traces.dedup();
        (Some(traces), live.version)
    }

    fn now_ms(&self) -> u64 {
        milliseconds(self.began.elapsed())
    }

    /// Nothing that can panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, LiveRuns> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveRuns {
    fn replace(&mut self, run: u64, trace_id: TraceId, spans: Vec<OpenSpan>) {
        self.remove(run);
        let mut bytes = spans.iter().map(|sketch| sketch.span.size_estimate()).sum();
        let spans = if self.bytes + bytes <= MOST_BYTES {
            spans.into()
        } else {
            bytes = 0;
            Arc::default()
        };
        self.bytes += bytes;
        self.of_trace.entry(trace_id).or_default().insert(run);
        let live = LiveRun {
            trace_id,
            version: self.version,
            spans,
            bytes,
        };
        self.runs.insert(run, live);
    }

    fn end(&mut self, run: u64) {
        let Some(ended) = self.remove(run) else {
            return;
        };
        self.ended.push_back((self.version, ended.trace_id));
        if self.ended.len() > MOST_ENDED
            && let Some((version, _)) = self.ended.pop_front()
        {
            self.forgotten = version;
        }
    }

    fn remove(&mut self, run: u64) -> Option<LiveRun> {
        let removed = self.runs.remove(&run)?;
        self.bytes -= removed.bytes;
        if let Some(runs) = self.of_trace.get_mut(&removed.trace_id) {
            runs.remove(&run);
            if runs.is_empty() {
                self.of_trace.remove(&removed.trace_id);
            }
        }
        Some(removed)
    }
}

impl fmt::Debug for LiveRegistry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LiveRegistry")
            .field("is_watched", &self.is_watched())
            .finish_non_exhaustive()
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
