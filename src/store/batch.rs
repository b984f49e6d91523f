//! Spans on their way to Respan: taken from the store together, settled together or in parts.
//!
//! Every span of a batch ends in exactly one way: settled, or back in the store, set aside there or not. Back is what dropping a batch
//! does, so no path out of the exporter, a cancelled one included, can lose a span.

use std::sync::Arc;

use super::{Store, Waiting};
use crate::span::Span;

/// Spans that were taken from the store and are not settled yet. Never empty.
#[derive(Debug)]
pub struct Batch {
    store: Arc<Store>,
    spans: Vec<Waiting>,
    was_aside: bool,
}

/// How a batch ended at Respan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// How many of its spans were refused for good; the others were accepted.
    pub rejected: u64,
}

impl Batch {
    pub(super) fn new(store: Arc<Store>, spans: Vec<Waiting>) -> Self {
        Self {
            store,
            spans,
            was_aside: false,
        }
    }

    pub(super) fn from_aside(store: Arc<Store>, span: Waiting) -> Self {
        Self {
            store,
            spans: vec![span],
            was_aside: true,
        }
    }

    /// The spans, oldest first.
    pub fn spans(&self) -> impl ExactSizeIterator<Item = &Span> + Clone {
        self.spans.iter().map(|waiting| &*waiting.span)
    }

    /// How many spans there are.
    pub fn count(&self) -> usize {
        self.spans.len()
    }

    /// Ends the batch: its spans are accepted or refused and leave the store.
    pub fn settle(mut self, settled: Settled) {
        let spans = std::mem::take(&mut self.spans);
        self.store.settle(
            spans.len(),
            spans.iter().map(|waiting| waiting.weight).sum(),
            settled,
        );
        if self.was_aside && settled.rejected == 0 {
            self.store.bring_back_aside();
        }
    }

    /// Ends the batch for now: its spans are asked about apart from the others.
    pub fn set_aside(mut self) {
        let spans = std::mem::take(&mut self.spans);
        self.store.put_aside(spans);
    }

    /// The older and the newer half; the batch itself when it is a single span.
    ///
    /// # Errors
    /// A single span cannot be halved: the batch comes back unchanged.
    pub fn halve(mut self) -> Result<(Self, Self), Self> {
        if self.spans.len() < 2 {
            return Err(self);
        }
        let newer = self.spans.split_off(self.spans.len() / 2);
        let newer = Self {
            store: Arc::clone(&self.store),
            spans: newer,
            was_aside: self.was_aside,
        };
        Ok((self, newer))
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if !self.spans.is_empty() {
            self.store.put_back(std::mem::take(&mut self.spans));
        }
    }
}
