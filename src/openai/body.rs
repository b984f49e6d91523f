//! A reply that is no stream: collected up to a limit, read once.

use super::assemble::Assembly;
use super::outline::Outline;
use crate::encoding::readable;

/// The bytes of a body so far.
#[derive(Debug, Default)]
pub(super) struct Body {
    bytes: Vec<u8>,
    /// The outline of a body that is longer than what is kept.
    beyond: Option<Outline>,
}

impl Body {
    /// Takes the next bytes and keeps `limit` in all.
    pub(super) fn push(&mut self, bytes: &[u8], limit: usize) {
        let fits = bytes.len().min(limit - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..fits]);
        if fits < bytes.len() {
            let kept = &self.bytes;
            self.beyond
                .get_or_insert_with(|| Outline::of(kept))
                .go_on(&bytes[fits..]);
        }
    }

    /// Bytes that are kept.
    pub(super) fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there was more than the limit.
    pub(super) fn cut(&self) -> bool {
        self.beyond.is_some()
    }

    /// Reads what was kept. Whether the JSON value is over, also where not all of it was kept.
    pub(super) fn finish(self, assembly: &mut Assembly) -> bool {
        let text = readable(&self.bytes);
        assembly.document(text.trim_start_matches('\u{FEFF}'))
            || self
                .beyond
                .unwrap_or_else(|| Outline::of(&self.bytes))
                .is_over()
    }
}
