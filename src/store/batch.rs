//! Spans on their way to Respan: taken from the store together, settled together or in parts.
//!
//! Every span of a batch ends in exactly one way: settled, or back in the store, set aside there or not. Back is what dropping a batch
//! does, so no path out of the exporter, a cancelled one included, can lose a span.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Store, TakenSpan};
use crate::runs::FinishedSpan;

/// How long a span waits to be written before it is sent.
const DISK_PATIENCE: Duration = Duration::from_secs(1);

/// Spans that were taken from the store and are not settled yet. Never empty.
#[derive(Debug)]
pub struct Batch {
    store: Arc<Store>,
    taken: Vec<TakenSpan>,
    was_aside: bool,
}

/// A batch whose spans are in memory.
#[derive(Debug)]
pub struct Loaded {
    batch: Batch,
    /// One for each that was taken, in the same order.
    spans: Vec<Arc<FinishedSpan>>,
}

/// How a batch ended at Respan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// How many of its spans were refused for good; the others were accepted.
    pub rejected: u64,
    /// What Respan said of the refused ones.
    pub reason: Option<String>,
}

impl Batch {
    pub(super) fn new(store: Arc<Store>, taken: Vec<TakenSpan>, was_aside: bool) -> Self {
        Self {
            store,
            taken,
            was_aside,
        }
    }

    /// How many spans there are.
    pub fn count(&self) -> usize {
        self.taken.len()
    }

    /// Returns once the log has all of it, so that a crash does not make other spans of it than those that are about to be sent; at the latest
    /// after a second, or where the disk takes nothing.
    pub async fn written(&self) {
        let mut written = self.store.written();
        let all_written = async {
            while self.is_unsaved() && self.store.is_writing() {
                if written.changed().await.is_err() {
                    return;
                }
            }
        };
        drop(timeout(DISK_PATIENCE, all_written).await);
    }

    fn is_unsaved(&self) -> bool {
        self.store.lock().are_unsaved(&self.taken)
    }

    /// Reads what only the log has. What it does not give any more is dropped and counted; when it gives nothing now, the batch goes
    /// back. None when nothing is left of it.
    pub async fn load(mut self) -> Option<Loaded> {
        self.taken.sort_unstable_by_key(|taken| taken.seq);
        let here = |taken: &TakenSpan| Some(Arc::clone(&taken.waiting.here.as_ref()?.made));
        let mut spans: Vec<Option<Arc<FinishedSpan>>> = self.taken.iter().map(here).collect();
        let there: Vec<u64> = self
            .taken
            .iter()
            .filter(|taken| taken.waiting.here.is_none())
            .map(|taken| taken.seq)
            .collect();
        if !there.is_empty() {
            // They stay in the batch, so that a cancelled task puts them back.
            let mut found = self.store.find(there).await?.into_iter();
            for span in spans.iter_mut().filter(|span| span.is_none()) {
                *span = found.next().flatten().map(Arc::new);
            }
            self.lose_those_without(&spans);
        }
        let spans: Vec<Arc<FinishedSpan>> = spans.into_iter().flatten().collect();
        (!spans.is_empty()).then_some(Loaded { batch: self, spans })
    }

    fn lose_those_without(&mut self, spans: &[Option<Arc<FinishedSpan>>]) {
        let (kept, lost): (Vec<_>, Vec<_>) = std::mem::take(&mut self.taken)
            .into_iter()
            .zip(spans)
            .partition(|(_, span)| span.is_some());
        self.taken = kept.into_iter().map(|(taken, _)| taken).collect();
        if !lost.is_empty() {
            let lost: Vec<TakenSpan> = lost.into_iter().map(|(taken, _)| taken).collect();
            self.store.lose(&lost);
        }
    }
}

impl Loaded {
    /// The spans, oldest first.
    pub fn spans(&self) -> impl Iterator<Item = &FinishedSpan> + Clone {
        self.spans.iter().map(Arc::as_ref)
    }

    /// The same, for a thread that outlives the batch.
    pub fn shared_spans(&self) -> Vec<Arc<FinishedSpan>> {
        self.spans.clone()
    }

    /// How many spans there are.
    pub fn count(&self) -> usize {
        self.spans.len()
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> &[TakenSpan] {
        &self.batch.taken
    }

    /// Ends the batch: its spans are accepted or refused.
    pub fn settle(mut self, settled: &Settled) {
        let taken = std::mem::take(&mut self.batch.taken);
        self.batch.store.settle(&taken, &self.spans, settled);
        if self.batch.was_aside && settled.rejected == 0 {
            self.batch.store.bring_back_aside();
        }
    }

    /// Ends the batch for now: its spans are asked about apart from the others.
    pub fn set_aside(mut self) {
        let taken = std::mem::take(&mut self.batch.taken);
        self.batch.store.put_aside(taken);
    }

    /// The older and the newer half.
    ///
    /// # Errors
    /// A single span cannot be halved: the batch comes back unchanged.
    pub fn halve(mut self) -> Result<(Self, Self), Self> {
        if self.spans.len() < 2 {
            return Err(self);
        }
        let middle = self.spans.len() / 2;
        let newer = Batch {
            store: Arc::clone(&self.batch.store),
            taken: self.batch.taken.split_off(middle),
            was_aside: self.batch.was_aside,
        };
        let newer = Self {
            batch: newer,
            spans: self.spans.split_off(middle),
        };
        Ok((self, newer))
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if !self.taken.is_empty() {
            self.store.put_back(std::mem::take(&mut self.taken));
        }
    }
}
