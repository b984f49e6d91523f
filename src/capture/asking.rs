//! A request's body while it goes up: its observer adds to it, and whoever writes the exchange down reads it once it is whole.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::exchange::{Budget, BudgetedBuffer, CapturedBody, RequestMeta};
use crate::openai::{Media, Skeleton};

/// The copy of a body that may still grow.
#[derive(Debug)]
pub(super) struct Asking {
    /// What the head says of the body's length, in bytes.
    told: Option<u64>,
    /// It has no content coding: what it says can be seen as it comes.
    is_plain: bool,
    media: Media,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Growing(Growing),
    Whole(CapturedBody),
}

#[derive(Debug)]
struct Growing {
    copied: BudgetedBuffer,
    /// What takes the place of the copy once the body is longer than what is kept of one.
    skeleton: Option<Box<Skeleton>>,
    /// Bytes seen, the ones not kept included.
    seen: u64,
    /// Somebody asked for the whole before there was one.
    awaited: bool,
}

impl Asking {
    /// The body of a request whose head tells its length; nothing is kept of what is no chat completion.
    pub(super) fn new(meta: &RequestMeta, budget: &Arc<Budget>, told: Option<u64>) -> Self {
        let state = if meta.chat {
            let mut copied = BudgetedBuffer::new(meta.max_body, Arc::clone(budget));
            if let Some(told) = told {
                copied.expect(usize::try_from(told).unwrap_or(usize::MAX));
            }
            State::Growing(Growing {
                copied,
                skeleton: None,
                seen: 0,
                awaited: false,
            })
        } else {
            State::Whole(CapturedBody::new(Bytes::new(), false))
        };
        Asking {
            told,
            is_plain: meta.content_encoding.is_none(),
            media: meta.media,
            state: Mutex::new(state),
        }
    }

    /// One that is whole already.
    #[cfg(test)]
    pub(super) fn of(kept: CapturedBody) -> Self {
        Asking {
            told: None,
            is_plain: true,
            media: Media::Full,
            state: Mutex::new(State::Whole(kept)),
        }
    }

    pub(super) fn push(&self, data: &[u8]) {
        if let State::Growing(growing) = &mut *self.lock() {
            growing.push(data, self.is_plain);
        }
    }

    /// There is no more of it. Gives it where somebody had asked for it before. Where its exchange ends before it does, what is still on its
    /// way is missing, unless only its end was to come.
    pub(super) fn complete(&self) -> Option<CapturedBody> {
        let mut state = self.lock();
        let State::Growing(growing) = &mut *state else {
            return None;
        };
        let (mut kept, awaited) = (self.kept(growing), growing.awaited);
        if self.told.is_some_and(|told| told != growing.seen) {
            kept = kept.broken_off();
        }
        *state = State::Whole(kept.clone());
        awaited.then_some(kept)
    }

    /// Nothing more is added to it: it is whole, or the exchange has ended.
    pub(super) fn is_over(&self) -> bool {
        matches!(&*self.lock(), State::Whole(_))
    }

    /// Whether more may come, and less than `limit` bytes have.
    pub(super) fn has_room(&self, limit: usize) -> bool {
        matches!(&*self.lock(), State::Growing(growing) if growing.seen < limit as u64)
    }

    /// The whole of it; none as long as it grows, and then [`Self::complete`] will give it.
    pub(super) fn whole(&self) -> Option<CapturedBody> {
        match &mut *self.lock() {
            State::Whole(kept) => Some(kept.clone()),
            State::Growing(growing) => {
                growing.awaited = true;
                None
            }
        }
    }

    /// As much as there is of it, once nothing more is added.
    pub(super) fn end(&self) -> CapturedBody {
        self.complete();
        match &mut *self.lock() {
            State::Whole(kept) => kept.clone(),
            State::Growing(growing) => self.kept(growing),
        }
    }

    fn kept(&self, growing: &mut Growing) -> CapturedBody {
        let mut copied = growing.copied.take();
        if let Some(skeleton) = growing.skeleton.take() {
            copied.fill(skeleton.finish());
        }
        // Coded, it is taken out by whoever decodes it.
        CapturedBody::of(copied, self.media == Media::Full || !self.is_plain)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Growing {
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
        if is_plain && let Some(mut skeleton) = self.copied.as_skeleton() {
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

    fn asking(told: Option<u64>) -> Asking {
        Asking::new(&meta("/"), &Budget::new(1 << 20), told)
    }

    fn long_body() -> String {
        let text = "long ".repeat(5000);
        let messages = format!(r#"[{{"content":"{text}"}},{{"content":"short"}}]"#);
        format!(r#"{{"messages":{messages},"model":"m"}}"#)
    }

    fn kept_of(body: &str, pieces: usize, meta: &RequestMeta) -> CapturedBody {
        let budget = Budget::new(1 << 20);
        let asking = Asking::new(meta, &budget, Some(body.len() as u64));
        for piece in body.as_bytes().chunks(pieces) {
            asking.push(piece);
            assert!(budget.held() <= meta.max_body);
        }
        asking.end()
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
        whole.asks(&meta, |request| {
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
        let asking = Asking::new(&meta, &Budget::new(9_000), None);
        for piece in long_body().as_bytes().chunks(100) {
            asking.push(piece);
        }
        let kept = asking.end();
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

    #[test]
    fn a_body_that_was_asked_for_too_early_is_given_when_it_is_whole() {
        let asking = asking(None);
        asking.push(b"ab");
        assert!(asking.whole().is_none());
        asking.push(b"c");
        assert_eq!(asking.complete().unwrap().bytes(), b"abc");
        assert_eq!(asking.whole().unwrap().bytes(), b"abc");
        assert!(asking.complete().is_none());
    }

    #[test]
    fn a_body_that_nobody_asked_for_is_given_to_nobody() {
        let asking = asking(None);
        asking.push(b"abc");
        assert!(asking.complete().is_none());
        assert_eq!(asking.end().bytes(), b"abc");
    }

    #[test]
    fn what_is_missing_at_the_end_shows() {
        for (told, cut) in [(Some(5), true), (Some(3), false), (None, false)] {
            let asking = asking(told);
            asking.push(b"abc");
            let kept = asking.end();
            assert_eq!(
                (kept.bytes(), kept.is_cut(), kept.is_shortened()),
                (&b"abc"[..], cut, false),
                "{told:?}"
            );
        }
    }
}
