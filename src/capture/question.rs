//! What a body asks, read once for everybody who wants to know: grouping is first, and the exporter next, on another thread.
//!
//! A short body is read anew each time; that is cheaper than to keep what was read.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use self_cell::self_cell;

use super::budget::Kept;
use super::exchange::Opening;
use crate::encoding::Decoder;
use crate::openai::{ChatRequest, Message};

/// Shortest body, in bytes, of which it is kept what was read.
const LONG: usize = 16 << 10;

/// Kept is what takes no more memory than this part of the body: not what was read of a million empty messages.
const SHARE: usize = 2;

self_cell!(
    /// A request, and the body that it borrows from.
    struct Read {
        owner: Bytes,
        #[covariant]
        dependent: ChatRequest,
    }

    impl { Debug }
);

/// What a body asks, as soon as it was read; none where it is not kept. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Question(Option<Arc<OnceLock<Option<Read>>>>);

impl Question {
    /// Of a body that is read anew each time.
    pub(super) const NOT_KEPT: Question = Question(None);

    /// Of this body, which nobody has read yet.
    pub(super) fn of(body: &Bytes) -> Self {
        Question((body.len() >= LONG).then(Arc::default))
    }

    /// Most bytes that it may come to take.
    pub(super) fn weight(&self, body: &Bytes) -> usize {
        self.0.as_ref().map_or(0, |_| body.len() / SHARE)
    }
}

fn read(body: &Bytes) -> Option<Read> {
    let read = Read::try_new(body.clone(), |body| ChatRequest::parse(body)).ok()?;
    let ChatRequest { messages, stop, .. } = read.borrow_dependent();
    let lists = messages.capacity() * size_of::<Message<'_>>()
        + stop.capacity() * size_of::<Cow<'_, str>>();
    (lists <= body.len() / SHARE).then_some(read)
}

impl Kept {
    /// Calls `see` with what is asked; with none where the body is not the beginning of a JSON object.
    pub fn asks<T>(&self, opening: &Opening, see: impl FnOnce(Option<&ChatRequest<'_>>) -> T) -> T {
        let plain = self.plain(opening);
        if let (Cow::Borrowed(_), Some(question)) = (&plain, &self.question.0)
            && let Some(read) = question.get_or_init(|| read(&self.bytes))
        {
            return see(Some(read.borrow_dependent()));
        }
        see(ChatRequest::parse(&plain).ok().as_ref())
    }

    /// Without its coding.
    fn plain(&self, opening: &Opening) -> Cow<'_, [u8]> {
        if opening.content_encoding.is_none() {
            return Cow::Borrowed(&self.bytes);
        }
        let mut plain = Vec::new();
        let mut decoder = Decoder::new(opening.content_encoding.as_deref(), opening.max_body);
        decoder.push(&self.bytes, |decoded| plain.extend_from_slice(decoded));
        Cow::Owned(plain)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::ptr;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::super::worker::tests::opening;
    use super::*;

    fn body(messages: &str) -> String {
        format!(r#"{{"model":"gpt-4o","messages":[{messages}]}}"#)
    }

    fn long() -> String {
        body(&format!(r#"{{"content":"{}"}}"#, "long ".repeat(LONG)))
    }

    fn model_and_place(
        kept: &Kept,
        opening: &Opening,
    ) -> Option<(String, *const Message<'static>)> {
        kept.asks(opening, |request| {
            let request = request?;
            let model = request.model.as_deref()?.to_owned();
            Some((model, request.messages.as_ptr().cast()))
        })
    }

    #[test]
    fn a_long_body_is_read_once_for_all_who_share_it() {
        let (opening, kept) = (opening("/v1/chat/completions"), Kept::from(&*long()));
        let (model, first) = model_and_place(&kept.clone(), &opening).unwrap();
        assert_eq!(model, "gpt-4o");
        assert!(ptr::eq(model_and_place(&kept, &opening).unwrap().1, first));
        assert!(kept.weight() > kept.bytes().len());
    }

    #[test]
    fn what_takes_much_more_memory_than_its_body_is_not_kept() {
        let many = Kept::from(&*body(&vec!["{}"; LONG].join(",")));
        let stops = vec![r#""""#; LONG].join(",");
        let stops = format!(r#"{{"model":"gpt-4o","stop":[{stops}]}}"#);
        for kept in [
            many,
            Kept::from(&*stops),
            Kept::from(&*body("{}")),
            Kept::from(&*"x".repeat(LONG)),
        ] {
            let model = model_and_place(&kept, &opening("/")).map(|(model, _)| model);
            assert_eq!(model.is_some(), kept.bytes().starts_with(b"{"));
            let question = kept.question.0.as_ref();
            assert!(question.is_none_or(|question| question.get().unwrap().is_none()));
        }
    }

    #[test]
    fn a_compressed_body_is_read_without_its_coding() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
        encoder.write_all(long().as_bytes()).unwrap();
        let kept = Kept::new(encoder.finish().unwrap().into(), false);
        let opening = Opening {
            content_encoding: Some("gzip".to_owned()),
            ..opening("/")
        };
        assert_eq!(model_and_place(&kept, &opening).unwrap().0, "gpt-4o");
    }
}
