//! A reply that is no stream: buffered up to a limit and read once at its end.

use crate::encoding::lossy_text;
use crate::openai::assemble::ReplyAssembler;
use crate::openai::json::ValueEnd;

/// The beginning of a body.
#[derive(Debug, Default)]
pub(super) struct BufferedBody {
    bytes: Vec<u8>,
    /// Scans a body that is longer than the limit.
    beyond: Option<ValueEnd>,
}

impl BufferedBody {
    /// Appends the next bytes, up to `limit` in all.
    pub(super) fn push(&mut self, bytes: &[u8], limit: usize) {
        let fits = bytes.len().min(limit - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..fits]);
        if fits < bytes.len() {
            let kept = &self.bytes;
            self.beyond
                .get_or_insert_with(|| ValueEnd::of(kept))
                .scan(&bytes[fits..]);
        }
    }

    pub(super) fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the body is longer than the limit.
    pub(super) fn is_cut(&self) -> bool {
        self.beyond.is_some()
    }

    /// Reads the buffer; whether the JSON value ended, perhaps beyond the limit.
    pub(super) fn finish(self, assembler: &mut ReplyAssembler) -> bool {
        let text = lossy_text(&self.bytes);
        assembler.document(text.trim_start_matches('\u{FEFF}'))
            || self
                .beyond
                .unwrap_or_else(|| ValueEnd::of(&self.bytes))
                .is_over()
    }
}
