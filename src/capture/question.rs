//! What a body asks, read once for everybody who wants to know: grouping is first, and the exporter next, on another thread.
//!
//! A short body is read anew each time; that is cheaper than to keep what was read.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use self_cell::self_cell;

use super::exchange::Opening;
use super::kept::Kept;
use crate::encoding::Decoder;
use crate::openai::{ChatRequest, Mark, Media, NotAnObject, Skeleton, without_media};

/// Shortest body, in bytes, of which it is kept what was read.
const LONG: usize = 16 << 10;

/// Kept is what takes no more memory than this part of the body: not what was read of a million empty messages.
const SHARE: usize = 2;

/// A coded body is decoded up to so many times of what is kept of one.
const DECODED: usize = 4;

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
            let read = read(self.shared())?;
            if read.borrow_dependent().weight() <= self.bytes().len() / SHARE {
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

    /// Where long texts stand that the next request of the same conversation is likely to have again, in their order. None where they are less
    /// than two thirds of the bytes, or these are short or coded.
    pub(crate) fn lasting(&self, opening: &Opening) -> Vec<(Range<usize>, Mark)> {
        if self.question.0.is_none() || opening.content_encoding.is_some() {
            return Vec::new();
        }
        let mut texts: Vec<_> = self.asks(opening, |request| {
            let texts = request.into_iter().flat_map(ChatRequest::lasting);
            texts
                .filter_map(|(text, mark)| Some((place(text, self.bytes())?, mark)))
                .collect()
        });
        texts.sort_unstable_by_key(|(range, _)| range.start);
        // A member of JSON ends before the next begins; whoever writes them down relies on it.
        texts.dedup_by(|(range, _), (before, _)| range.start < before.end);
        let long: usize = texts.iter().map(|(range, _)| range.len()).sum();
        if long < self.bytes().len() / 3 * 2 {
            texts.clear();
        }
        texts
    }

    /// Without its coding, and then as one that has none is kept.
    fn plain(&self, opening: &Opening) -> Cow<'_, [u8]> {
        if opening.content_encoding.is_none() {
            return Cow::Borrowed(self.bytes());
        }
        let mut plain = Vec::new();
        let limit = opening.max_body.saturating_mul(DECODED);
        let mut decoder = Decoder::new(opening.content_encoding.as_deref(), limit);
        decoder.push(self.bytes(), |decoded| plain.extend_from_slice(decoded));
        if plain.len() > opening.max_body {
            match Skeleton::of(&plain, opening.max_body) {
                Some(skeleton) => plain = skeleton.finish(),
                None => plain.truncate(opening.max_body),
            }
        }
        if opening.media == Media::Size
            && let Some(without) = without_media(&plain)
        {
            plain = without.json;
        }
        Cow::Owned(plain)
    }
}

/// Where in the whole this part of it is; none where it is elsewhere.
fn place(part: &str, whole: &[u8]) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::ptr;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::super::worker::tests::opening;
    use super::*;
    use crate::openai::Content;

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

    #[test]
    fn a_compressed_body_that_is_long_has_its_short_texts_and_no_media() {
        let url = format!("data:image/png;base64,{}", "aZ0+".repeat(1000));
        let text = "long ".repeat(20_000);
        let text = body(&format!(
            r#"{{"content":"{text}"}},{{"content":"{url}"}},{{"content":"short"}}"#
        ));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        let kept = Kept::new(encoder.finish().unwrap().into(), false);
        let opening = Opening {
            content_encoding: Some("gzip".to_owned()),
            max_body: 50_000,
            ..opening("/")
        };
        kept.asks(&opening, |request| {
            let request = request.unwrap();
            assert!(!request.incomplete);
            let said: Vec<_> = request
                .messages
                .iter()
                .map(|message| match &message.content {
                    Some(Content::Text(text)) => text.text(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert!(said[0].contains("…[of 100000 bytes "));
            assert_eq!(said[1..], ["[image image/png, 3 kB]", "short"]);
        });
    }

    #[test]
    fn what_lasts_is_found_where_it_stands() {
        let text = |letter: &str| letter.repeat(LONG / 4);
        let [system, said, tools] = ["s", "t", "\\n"].map(text);
        let parts = format!(r#"[{{"type":"text","text":"{said}"}}]"#);
        let body = format!(
            r#"{{"tools":["{tools}"],"messages":[{{"content":"{system}"}},{{"content":"short"}},{{"content":{parts}}},{{"content":"{said}"}}]}}"#
        );
        let kept = Kept::from(&*body);
        let found = kept.lasting(&opening("/"));
        let texts: Vec<_> = found
            .iter()
            .map(|(range, _)| &body[range.clone()])
            .collect();
        assert_eq!(texts, [&*format!(r#"["{tools}"]"#), &system, &parts, &said]);
        for (range, mark) in found {
            assert_eq!(Mark::of(&body[range]), Some(mark));
        }
    }

    #[test]
    fn nothing_lasts_in_a_body_that_is_short_coded_or_mostly_something_else() {
        let long = long();
        let coded = Opening {
            content_encoding: Some("gzip".to_owned()),
            ..opening("/")
        };
        assert_eq!(Kept::from(&*long).lasting(&opening("/")).len(), 1);
        let other = long.replace("]}", &format!(r#"],"user":"{}"}}"#, "x".repeat(6 * LONG)));
        let short = body(r#"{"content":"short"}"#);
        for (text, opening) in [
            (&long, &coded),
            (&other, &opening("/")),
            (&short, &opening("/")),
            (&"x".repeat(2 * LONG), &opening("/")),
        ] {
            assert_eq!(Kept::from(&**text).lasting(opening), []);
        }
    }
}
