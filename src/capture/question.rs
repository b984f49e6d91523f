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
use crate::openai::{ChatRequest, NotAnObject};

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
    Read::try_new(body.clone(), |body| {
        let mut request = ChatRequest::parse(body)?;
        request.messages.shrink_to_fit();
        Ok::<_, NotAnObject>(request)
    })
    .ok()
}

impl Kept {
    /// Calls `see` with what is asked; with none where the body is not the beginning of a JSON object.
    pub fn asks<T>(&self, opening: &Opening, see: impl FnOnce(Option<&ChatRequest<'_>>) -> T) -> T {
        let plain = self.plain(opening);
        let (Cow::Borrowed(_), Some(question)) = (&plain, &self.question.0) else {
            return see(ChatRequest::parse(&plain).ok().as_ref());
        };
        let mut not_kept = None;
        let kept = question.get_or_init(|| {
            let read = read(&self.bytes)?;
            if read.borrow_dependent().weight() <= self.bytes.len() / SHARE {
                return Some(read);
            }
            not_kept = Some(read);
            None
        });
        match kept.as_ref().or(not_kept.as_ref()) {
            Some(read) => see(Some(read.borrow_dependent())),
            None => see(ChatRequest::parse(&plain).ok().as_ref()),
        }
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

    fn model(kept: &Kept, opening: &Opening) -> Option<String> {
        kept.asks(opening, |request| {
            Some(request?.model.as_deref()?.to_owned())
        })
    }

    fn is_kept(kept: &Kept) -> bool {
        let question = kept.question.0.as_ref();
        question.is_some_and(|question| question.get().is_some_and(Option::is_some))
    }

    #[test]
    fn a_long_body_is_read_once_for_all_who_share_it() {
        let (opening, kept) = (opening("/v1/chat/completions"), Kept::from(&*long()));
        assert!(!is_kept(&kept));
        let first = kept.clone().asks(&opening, |request| {
            request.map(|request| ptr::from_ref(request).addr())
        });
        assert!(is_kept(&kept));
        let again = kept.asks(&opening, |request| {
            request.map(|request| ptr::from_ref(request).addr())
        });
        assert_eq!(again, first);
        assert_eq!(model(&kept, &opening).as_deref(), Some("gpt-4o"));
    }

    #[test]
    fn what_takes_much_more_memory_than_its_body_is_not_kept() {
        let many = |value| vec![value; LONG].join(",");
        let user = "x".repeat(LONG);
        for (text, says) in [
            (body(&many("{}")), true),
            (
                format!(r#"{{"model":"gpt-4o","stop":[{}]}}"#, many(r#""""#)),
                true,
            ),
            (format!(r#"{{"model":"gpt-4o","user":"\n{user}"}}"#), true),
            (body("{}"), true),
            ("x".repeat(LONG), false),
        ] {
            let kept = Kept::from(&*text);
            assert_eq!(model(&kept, &opening("/")).is_some(), says);
            assert!(!is_kept(&kept), "{}", &text[..40]);
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
        assert_eq!(model(&kept, &opening).as_deref(), Some("gpt-4o"));
        assert!(!is_kept(&kept));
    }
}
