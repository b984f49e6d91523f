//! A request's body while it goes up: its observer adds to it, and the worker reads it once it is whole.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::exchange::{Budget, BudgetedBuffer, CapturedBody, RequestMeta};
use crate::openai::{JsonTruncator, Media};

/// The copy of a body that may still grow.
#[derive(Debug)]
pub(super) struct RequestBuffer {
    /// The body's length in bytes by `content-length`.
    declared_length: Option<u64>,
    /// The body has no content coding: its JSON can be read as it comes.
    is_plain: bool,
    media: Media,
    state: Mutex<BufferState>,
}

#[derive(Debug)]
enum BufferState {
    Growing(GrowingBody),
    Whole(CapturedBody),
}

#[derive(Debug)]
struct GrowingBody {
    copied: BudgetedBuffer,
    /// Takes the place of the copy once the body is longer than the limit of a copy.
    skeleton: Option<Box<JsonTruncator>>,
    /// Bytes that came, including those that were not copied.
    seen: u64,
    /// The worker wanted the whole before there was one.
    is_awaited: bool,
}

impl RequestBuffer {
    /// Nothing is copied of a request that is no chat completion.
    pub(super) fn new(
        meta: &RequestMeta,
        budget: &Arc<Budget>,
        declared_length: Option<u64>,
    ) -> Self {
        let state = if meta.chat {
            let mut copied = BudgetedBuffer::new(meta.max_body, Arc::clone(budget));
            if let Some(length) = declared_length {
                copied.expect(usize::try_from(length).unwrap_or(usize::MAX));
            }
            BufferState::Growing(GrowingBody {
                copied,
                skeleton: None,
                seen: 0,
                is_awaited: false,
            })
        } else {
            BufferState::Whole(CapturedBody::new(Bytes::new(), false))
        };
        RequestBuffer {
            declared_length,
            is_plain: meta.content_encoding.is_none(),
            media: meta.media,
            state: Mutex::new(state),
        }
    }

    pub(super) fn push(&self, data: &[u8]) {
        if let BufferState::Growing(growing) = &mut *self.lock() {
            growing.push(data, self.is_plain);
        }
    }

    /// Ends the body. An exchange may end before its request does: then the rest of the body is missing, unless only its end was to come.
    ///
    /// `wake` is called if the worker waits for the body. It runs under the buffer's lock, so that the exchange cannot settle before it.
    pub(super) fn complete(&self, wake: impl FnOnce()) -> CapturedBody {
        let mut state = self.lock();
        let growing = match &mut *state {
            BufferState::Whole(body) => return body.clone(),
            BufferState::Growing(growing) => growing,
        };
        let (mut body, is_awaited) = (self.captured(growing), growing.is_awaited);
        if self
            .declared_length
            .is_some_and(|length| length != growing.seen)
        {
            body = body.broken_off();
        }
        *state = BufferState::Whole(body.clone());
        if is_awaited {
            wake();
        }
        body
    }

    /// Whether more may come, and less than `limit` bytes have.
    pub(super) fn has_room(&self, limit: usize) -> bool {
        matches!(&*self.lock(), BufferState::Growing(growing) if growing.seen < limit as u64)
    }

    /// The whole body; none while it grows, and then [`Self::complete`] will wake the worker.
    pub(super) fn whole_or_await(&self) -> Option<CapturedBody> {
        match &mut *self.lock() {
            BufferState::Whole(body) => Some(body.clone()),
            BufferState::Growing(growing) => {
                growing.is_awaited = true;
                None
            }
        }
    }

    fn captured(&self, growing: &mut GrowingBody) -> CapturedBody {
        let mut copied = growing.copied.take();
        if let Some(skeleton) = growing.skeleton.take() {
            copied.fill(skeleton.finish());
        }
        // The media of a coded body is taken out by whoever decodes it.
        CapturedBody::of(copied, self.media == Media::Full || !self.is_plain)
    }

    /// Bytes that it holds.
    #[cfg(test)]
    pub(super) fn size_estimate(&self) -> usize {
        let body = match &*self.lock() {
            BufferState::Growing(growing) => growing.copied.capacity(),
            BufferState::Whole(body) => body.size_estimate(),
        };
        size_of::<RequestBuffer>() + body
    }

    fn lock(&self) -> MutexGuard<'_, BufferState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GrowingBody {
    fn push(&mut self, data: &[u8], is_plain: bool) {
        self.seen += data.len() as u64;
        if let Some(skeleton) = &mut self.skeleton {
            return skeleton.push(data);
        }
        let (fits, beyond) = data.split_at(data.len().min(self.copied.room()));
        self.copied.push(fits);
        if beyond.is_empty() {
            return;
        }
        if is_plain && let Some(mut skeleton) = self.copied.as_truncator() {
            skeleton.push(beyond);
            self.skeleton = Some(Box::new(skeleton));
        } else {
            self.copied.push(beyond);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::tests::meta;

    fn buffer(declared_length: Option<u64>) -> RequestBuffer {
        RequestBuffer::new(&meta("/"), &Budget::new(1 << 20), declared_length)
    }

    fn long_body() -> String {
        let text = "long ".repeat(5000);
        let messages = format!(r#"[{{"content":"{text}"}},{{"content":"short"}}]"#);
        format!(r#"{{"messages":{messages},"model":"m"}}"#)
    }

    fn kept_of(body: &str, pieces: usize, meta: &RequestMeta) -> CapturedBody {
        let budget = Budget::new(1 << 20);
        let buffer = RequestBuffer::new(meta, &budget, Some(body.len() as u64));
        for piece in body.as_bytes().chunks(pieces) {
            buffer.push(piece);
            assert!(budget.held() <= meta.max_body);
        }
        buffer.complete(|| ())
    }

    #[test]
    fn of_a_body_beyond_the_limit_all_but_long_texts_is_kept() {
        let meta = RequestMeta {
            max_body: 10_000,
            ..meta("/")
        };
        let body = long_body();
        let whole = kept_of(&body, body.len(), &meta);
        assert!(whole.is_cut() && whole.is_shortened() && whole.bytes().len() < 2000);
        for pieces in [1, 7, 1000, 10_000, 10_001] {
            assert_eq!(kept_of(&body, pieces, &meta).bytes(), whole.bytes());
        }
        whole.with_request(&meta, |request| {
            let request = request.unwrap();
            assert_eq!(request.model.as_deref(), Some("m"));
            assert_eq!((request.messages.len(), request.incomplete), (2, false));
        });
        let exact = RequestMeta {
            max_body: body.len(),
            ..meta
        };
        let whole = kept_of(&body, 1000, &exact);
        assert_eq!((whole.bytes(), whole.is_cut()), (body.as_bytes(), false));
    }

    #[test]
    fn what_is_coded_or_no_object_is_cut_where_the_limit_is() {
        let meta = || RequestMeta {
            max_body: 10_000,
            ..meta("/")
        };
        let coded = RequestMeta {
            content_encoding: Some("gzip".to_owned()),
            ..meta()
        };
        let body = long_body();
        assert!(kept_of(&body, 77, &coded).bytes() == &body.as_bytes()[..10_000]);
        let list = format!("[{body}]");
        let kept = kept_of(&list, 77, &meta());
        assert!(kept.bytes() == &list.as_bytes()[..10_000] && kept.is_cut());
    }

    #[test]
    fn without_room_for_a_skeleton_a_body_is_cut() {
        let meta = RequestMeta {
            max_body: 10_000,
            ..meta("/")
        };
        let buffer = RequestBuffer::new(&meta, &Budget::new(9_000), None);
        for piece in long_body().as_bytes().chunks(100) {
            buffer.push(piece);
        }
        let kept = buffer.complete(|| ());
        assert_eq!((kept.bytes().len(), kept.is_cut()), (9_000, true));
    }

    #[test]
    fn nothing_is_kept_of_what_is_no_chat_completion_and_nothing_is_cut() {
        let meta = RequestMeta {
            chat: false,
            ..meta("/v1/embeddings")
        };
        let kept = kept_of("{}", 1, &meta);
        assert_eq!((kept.bytes(), kept.is_cut()), (&b""[..], false));
    }

    /// The body that `complete` gives, and whether it wakes the worker.
    fn completed(buffer: &RequestBuffer) -> (CapturedBody, bool) {
        let mut wakes = false;
        let body = buffer.complete(|| wakes = true);
        (body, wakes)
    }

    #[test]
    fn a_body_that_is_awaited_wakes_the_worker_once_it_is_whole() {
        let buffer = buffer(None);
        buffer.push(b"ab");
        assert!(buffer.whole_or_await().is_none());
        buffer.push(b"c");
        assert!(completed(&buffer).1);
        assert_eq!(buffer.whole_or_await().unwrap().bytes(), b"abc");
        assert!(!completed(&buffer).1, "once");
    }

    #[test]
    fn a_body_that_is_not_awaited_wakes_nobody() {
        let buffer = buffer(None);
        buffer.push(b"abc");
        let (body, wakes) = completed(&buffer);
        assert_eq!((body.bytes(), wakes), (&b"abc"[..], false));
        assert_eq!(buffer.whole_or_await().unwrap().bytes(), b"abc");
    }

    #[test]
    fn what_is_missing_at_the_end_shows() {
        for (length, cut) in [(Some(5), true), (Some(3), false), (None, false)] {
            let buffer = buffer(length);
            buffer.push(b"abc");
            let kept = buffer.complete(|| ());
            assert_eq!(
                (kept.bytes(), kept.is_cut(), kept.is_shortened()),
                (&b"abc"[..], cut, false),
                "{length:?}"
            );
        }
    }
}
