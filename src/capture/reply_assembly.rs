//! A reply on its way to be whole: its pieces are read in their order, within the budget.

use std::sync::Arc;
use std::time::Duration;

use super::queue::ReplyPiece;
use crate::exchange::{Budget, ParsedReply, RequestMeta, Reservation, ResponseHead};
use crate::openai::{FinishedReply, ReplyReader};

/// The reply of one exchange, as far as it was read.
pub(super) struct ReplyAssembly {
    /// None once it kept more than the budget had.
    reader: Option<ReplyReader>,
    first_token: Option<Duration>,
    is_cut: bool,
    /// Room for what the reader keeps.
    reserved: Reservation,
}

impl ReplyAssembly {
    pub(super) fn new(meta: &RequestMeta, head: &ResponseHead, budget: &Arc<Budget>) -> Self {
        let reader = ReplyReader::with_media(
            head.content_type.as_deref(),
            head.content_encoding.as_deref(),
            meta.max_body,
            meta.media,
        );
        ReplyAssembly {
            reader: Some(reader),
            first_token: None,
            is_cut: false,
            reserved: Reservation::new(Arc::clone(budget)),
        }
    }

    pub(super) fn saw_token(&self) -> bool {
        self.first_token.is_some()
    }

    pub(super) fn push(&mut self, piece: &ReplyPiece) {
        // Bytes after a gap mean nothing.
        let Some(reader) = self.reader.as_mut().filter(|_| !self.is_cut) else {
            return;
        };
        let bytes = piece.bytes.bytes();
        #[cfg(test)]
        super::tests::panic_where_wanted(bytes);
        let mut done = 0;
        // Frame by frame only until the first token was seen: after that nobody asks when a frame came.
        for &(end, at) in &piece.frame_times {
            if self.first_token.is_some() {
                break;
            }
            reader.push(&bytes[done..end]);
            done = end;
            if reader.saw_token() {
                self.first_token = Some(at);
            }
        }
        reader.push(&bytes[done..]);
        self.is_cut = piece.bytes.is_cut();
        if !self.reserved.grow(reader.held()) {
            // A few bytes may become much, so the size is known only now. The reader cannot give back a part.
            self.is_cut = true;
            self.reader = None;
            self.reserved.shrink_to(0);
        }
    }

    /// Bytes that it holds.
    #[cfg(test)]
    pub(super) fn size_estimate(&self) -> usize {
        size_of::<ReplyAssembly>() + self.reader.as_ref().map_or(0, ReplyReader::held)
    }

    pub(super) fn finish(self) -> ParsedReply {
        let finished = self.reader.map(ReplyReader::finish);
        let (mut reply, ended) = finished.map_or_else(Default::default, |finished| {
            let FinishedReply { reply, ended } = finished;
            (reply, ended)
        });
        reply.cut |= self.is_cut;
        ParsedReply {
            chat: reply,
            ended,
            first_token: self.first_token,
        }
    }
}
