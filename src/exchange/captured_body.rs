//! The copy of a body that does not grow any more. The first reader has its media taken out, off the client's path.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::budget::{BudgetedBuffer, Reservation};
use super::meta::RequestMeta;
use super::parsed_request::ParsedRequestCache;
use crate::encoding::Decoder;
use crate::openai::{ChatRequest, ContentHash, JsonTruncator, Media, without_media};

/// A coded body is decoded up to so many times the limit of a copy.
const DECODED: usize = 4;

/// The copy of a body. Clones share its bytes.
#[derive(Clone, Debug)]
pub struct CapturedBody {
    /// As they came, or without media where `media` is [`MediaState::Gone`].
    bytes: Bytes,
    media: MediaState,
    cut: bool,
    broken_off: bool,
    reserved: Option<Arc<Reservation>>,
    parsed: ParsedRequestCache,
}

/// Whether a body has its media.
#[derive(Clone, Debug)]
enum MediaState {
    /// It stays, or was never there.
    Stays,
    /// It goes as soon as anybody looks; none where there is no media. With a hash of it.
    Goes(Arc<OnceLock<Option<LeanBody>>>),
    /// It has gone, with this hash.
    Gone(u64),
}

/// A body without its media, or nothing where there was no room for that.
#[derive(Debug)]
struct LeanBody {
    bytes: Bytes,
    hash: u64,
    is_lost: bool,
    _reserved: Option<Reservation>,
}

impl CapturedBody {
    /// A copy that counts against no budget, and of which nothing is taken out.
    pub fn new(bytes: Bytes, cut: bool) -> Self {
        CapturedBody {
            parsed: ParsedRequestCache::of(&bytes),
            bytes,
            media: MediaState::Stays,
            cut,
            broken_off: false,
            reserved: None,
        }
    }

    /// Takes a copy that is whole. Media is taken out where it does not `stay`.
    pub(crate) fn of(copied: BudgetedBuffer, stay: bool) -> Self {
        let (mut bytes, cut, mut reserved) = copied.into_parts();
        if bytes.capacity() - bytes.len() > bytes.len() / 8 {
            bytes.shrink_to_fit();
        }
        let held = bytes.capacity();
        let mut kept = CapturedBody::new(bytes.into(), cut);
        let parsed_size = kept.parsed.size_estimate(&kept.bytes);
        reserved.shrink_to(held + parsed_size);
        if !reserved.grow(held + parsed_size) {
            kept.parsed = ParsedRequestCache::NOT_KEPT;
        }
        kept.reserved = Some(Arc::new(reserved));
        if !stay && !kept.bytes.is_empty() {
            kept.media = MediaState::Goes(Arc::default());
        }
        kept
    }

    /// The bytes that were kept.
    pub fn bytes(&self) -> &[u8] {
        self.shared()
    }

    /// The same, to be shared.
    pub(crate) fn shared(&self) -> &Bytes {
        self.lean().map_or(&self.bytes, |lean| &lean.bytes)
    }

    /// Of the media that was taken out. It means nothing to another process.
    pub(crate) fn media_hash(&self) -> Option<u64> {
        match &self.media {
            MediaState::Gone(hash) => Some(*hash),
            MediaState::Stays | MediaState::Goes(_) => self.lean().map(|lean| lean.hash),
        }
    }

    fn lean(&self) -> Option<&LeanBody> {
        let MediaState::Goes(lean) = &self.media else {
            return None;
        };
        let make = || {
            let mut without = without_media(&self.bytes)?;
            without.json.shrink_to_fit();
            let budgeted = self.reserved.as_ref();
            let reserved = budgeted.and_then(|body| body.beside(without.json.len()));
            let is_lost = budgeted.is_some() && reserved.is_none();
            Some(LeanBody {
                bytes: if is_lost {
                    Bytes::new()
                } else {
                    without.json.into()
                },
                hash: without.hash,
                is_lost,
                _reserved: reserved,
            })
        };
        lean.get_or_init(make).as_ref()
    }

    /// Most bytes that it and the request that is parsed from it take.
    pub(crate) fn size_estimate(&self) -> usize {
        self.bytes.len() + self.parsed.size_estimate(&self.bytes)
    }

    /// Whether there were more: it was cut, or broke off.
    pub fn is_cut(&self) -> bool {
        self.cut || self.broken_off
    }

    /// Whether more of it came than is kept.
    pub fn is_shortened(&self) -> bool {
        self.cut
    }

    /// Not all of it came.
    pub(crate) fn broken_off(mut self) -> Self {
        self.broken_off = true;
        self
    }

    /// Leaves the budget of copies, and its media for good: its next owner has a bound of its own.
    pub(crate) fn release_budget(&mut self) {
        if let Some(lean) = self.lean() {
            let (bytes, hash) = (lean.bytes.clone(), lean.hash);
            self.cut |= lean.is_lost;
            self.bytes = bytes;
            self.media = MediaState::Gone(hash);
        } else if let MediaState::Goes(_) = self.media {
            self.media = MediaState::Stays;
        }
        self.reserved = None;
    }
}

impl CapturedBody {
    /// Calls `see` with the parsed request; with none where the body is not the beginning of a JSON object.
    pub fn with_request<T>(
        &self,
        meta: &RequestMeta,
        see: impl FnOnce(Option<&ChatRequest<'_>>) -> T,
    ) -> T {
        match self.plain(meta) {
            Cow::Borrowed(_) => self.parsed.with_request(self.shared(), see),
            Cow::Owned(plain) => see(ChatRequest::parse(&plain).ok().as_ref()),
        }
    }

    /// Where long texts stand that the next request of the same conversation is likely to have again, in their order. None where they are less
    /// than two thirds of the bytes, or these are short or coded.
    pub(crate) fn lasting(&self, meta: &RequestMeta) -> Vec<(Range<usize>, ContentHash)> {
        if !self.parsed.is_kept() || meta.content_encoding.is_some() {
            return Vec::new();
        }
        let mut texts: Vec<_> = self.with_request(meta, |request| {
            let texts = request.into_iter().flat_map(ChatRequest::reusable_texts);
            texts
                .filter_map(|(text, mark)| Some((place(text, self.bytes())?, mark)))
                .collect()
        });
        texts.sort_unstable_by_key(|(range, _)| range.start);
        // A member of JSON ends before the next begins; the store's writer relies on it.
        texts.dedup_by(|(range, _), (before, _)| range.start < before.end);
        let long: usize = texts.iter().map(|(range, _)| range.len()).sum();
        if long < self.bytes().len() / 3 * 2 {
            texts.clear();
        }
        texts
    }

    /// Without its coding, and then as one that has none is kept.
    fn plain(&self, meta: &RequestMeta) -> Cow<'_, [u8]> {
        if meta.content_encoding.is_none() {
            return Cow::Borrowed(self.bytes());
        }
        let mut plain = Vec::new();
        let limit = meta.max_body.saturating_mul(DECODED);
        let mut decoder = Decoder::new(meta.content_encoding.as_deref(), limit);
        decoder.push(self.bytes(), |decoded| plain.extend_from_slice(decoded));
        if plain.len() > meta.max_body {
            match JsonTruncator::of(&plain, meta.max_body) {
                Some(skeleton) => plain = skeleton.finish(),
                None => plain.truncate(meta.max_body),
            }
        }
        if meta.media == Media::Size
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

    use super::super::parsed_request::LONG;
    use super::*;
    use crate::exchange::tests::meta;
    use crate::exchange::{Budget, CallKey};
    use crate::openai::Content;

    fn copied(budget: &Arc<Budget>, text: &str) -> BudgetedBuffer {
        let mut copied = BudgetedBuffer::new(text.len(), Arc::clone(budget));
        copied.push(text.as_bytes());
        copied
    }

    fn body(data: &str) -> String {
        let url = format!("data:image/png;base64,{}", data.repeat(1000));
        format!(r#"{{"messages":[{{"content":[{{"image_url":{{"url":"{url}"}}}}]}}]}}"#)
    }

    #[test]
    fn what_may_be_read_of_a_long_copy_counts_or_is_not_kept() {
        let long = " ".repeat(100_000);
        for (limit, held) in [(150_000, 150_000), (149_999, 100_000)] {
            let budget = Budget::new(limit);
            let kept = CapturedBody::of(copied(&budget, &long), true);
            assert_eq!(budget.held(), held);
            assert_eq!((kept.size_estimate(), kept.is_cut()), (held, false));
        }
    }

    #[test]
    fn media_goes_for_all_who_look_and_leaves_a_hash() {
        const LEAN: &str =
            r#"{"messages":[{"content":[{"image_url":{"url":"[image image/png, 3 kB]"}}]}]}"#;
        let budget = Budget::new(1 << 20);
        let [first, other] =
            ["aZ0+", "aZ0-"].map(|data| CapturedBody::of(copied(&budget, &body(data)), false));
        let clone = first.clone();
        let held = budget.held();
        assert_eq!(first.bytes(), LEAN.as_bytes());
        assert_eq!(clone.bytes().as_ptr(), first.bytes().as_ptr(), "made once");
        assert_eq!(budget.held(), held + LEAN.len(), "and counted");
        assert_eq!(other.bytes(), first.bytes());
        let key = |kept: &CapturedBody| CallKey::of(&meta("/"), kept);
        assert_ne!(key(&first), key(&other), "one does not repeat the other");
        let mut last = first.clone();
        last.release_budget();
        assert_eq!(
            (last.bytes(), last.size_estimate()),
            (LEAN.as_bytes(), LEAN.len())
        );
        assert_eq!(key(&last), key(&first));
        drop((first, clone, other));
        assert_eq!(budget.held(), 0, "nothing holds what it was made of");
        let tight = Budget::new(body("aZ0+").len() + LEAN.len() - 1);
        let mut without_room = CapturedBody::of(copied(&tight, &body("aZ0+")), false);
        without_room.release_budget();
        assert_eq!(
            (without_room.bytes(), without_room.is_shortened()),
            (&b""[..], true)
        );
        let whole = CapturedBody::of(copied(&budget, &body("aZ0+")), true);
        assert_eq!(
            (whole.bytes(), whole.media_hash()),
            (body("aZ0+").as_bytes(), None)
        );
    }

    fn asking(messages: &str) -> String {
        format!(r#"{{"model":"gpt-4o","messages":[{messages}]}}"#)
    }

    fn long() -> String {
        asking(&format!(r#"{{"content":"{}"}}"#, "long ".repeat(LONG)))
    }

    fn model(kept: &CapturedBody, meta: &RequestMeta) -> Option<String> {
        kept.with_request(meta, |request| Some(request?.model.as_deref()?.to_owned()))
    }

    #[test]
    fn a_long_body_is_read_once_for_all_who_share_it() {
        let (meta, kept) = (meta("/v1/chat/completions"), CapturedBody::from(&*long()));
        assert!(!kept.parsed.was_kept());
        let first = kept.clone().with_request(&meta, |request| {
            request.map(|request| ptr::from_ref(request).addr())
        });
        assert!(kept.parsed.was_kept());
        let again = kept.with_request(&meta, |request| {
            request.map(|request| ptr::from_ref(request).addr())
        });
        assert_eq!(again, first);
        assert_eq!(model(&kept, &meta).as_deref(), Some("gpt-4o"));
    }

    #[test]
    fn what_takes_much_more_memory_than_its_body_is_not_kept() {
        let many = |value| vec![value; LONG].join(",");
        let user = "x".repeat(LONG);
        for (text, says) in [
            (asking(&many("{}")), true),
            (
                format!(r#"{{"model":"gpt-4o","stop":[{}]}}"#, many(r#""""#)),
                true,
            ),
            (format!(r#"{{"model":"gpt-4o","user":"\n{user}"}}"#), true),
            (asking("{}"), true),
            ("x".repeat(LONG), false),
        ] {
            let kept = CapturedBody::from(&*text);
            assert_eq!(model(&kept, &meta("/")).is_some(), says);
            assert!(!kept.parsed.was_kept(), "{}", &text[..40]);
        }
    }

    #[test]
    fn a_compressed_body_is_read_without_its_coding() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
        encoder.write_all(long().as_bytes()).unwrap();
        let kept = CapturedBody::new(encoder.finish().unwrap().into(), false);
        let meta = RequestMeta {
            content_encoding: Some("gzip".to_owned()),
            ..meta("/")
        };
        assert_eq!(model(&kept, &meta).as_deref(), Some("gpt-4o"));
        assert!(!kept.parsed.was_kept());
    }

    #[test]
    fn a_compressed_body_that_is_long_has_its_short_texts_and_no_media() {
        let url = format!("data:image/png;base64,{}", "aZ0+".repeat(1000));
        let text = "long ".repeat(20_000);
        let text = asking(&format!(
            r#"{{"content":"{text}"}},{{"content":"{url}"}},{{"content":"short"}}"#
        ));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        let kept = CapturedBody::new(encoder.finish().unwrap().into(), false);
        let meta = RequestMeta {
            content_encoding: Some("gzip".to_owned()),
            max_body: 50_000,
            ..meta("/")
        };
        kept.with_request(&meta, |request| {
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
        let kept = CapturedBody::from(&*body);
        let found = kept.lasting(&meta("/"));
        let texts: Vec<_> = found
            .iter()
            .map(|(range, _)| &body[range.clone()])
            .collect();
        assert_eq!(texts, [&*format!(r#"["{tools}"]"#), &system, &parts, &said]);
        for (range, mark) in found {
            assert_eq!(ContentHash::of(&body[range]), Some(mark));
        }
    }

    #[test]
    fn nothing_lasts_in_a_body_that_is_short_coded_or_mostly_something_else() {
        let long = long();
        let coded = RequestMeta {
            content_encoding: Some("gzip".to_owned()),
            ..meta("/")
        };
        assert_eq!(CapturedBody::from(&*long).lasting(&meta("/")).len(), 1);
        let other = long.replace("]}", &format!(r#"],"user":"{}"}}"#, "x".repeat(6 * LONG)));
        let short = asking(r#"{"content":"short"}"#);
        for (text, meta) in [
            (&long, &coded),
            (&other, &meta("/")),
            (&short, &meta("/")),
            (&"x".repeat(2 * LONG), &meta("/")),
        ] {
            assert_eq!(CapturedBody::from(&**text).lasting(meta), []);
        }
    }
}
