//! A JSON string that stays as it was written until somebody needs its text. A history is passed on in JSON, too: most of its strings can be
//! copied there unread.

use std::borrow::Cow;

use crate::openai::content_hash::ContentHash;
use crate::openai::json::{self, Escapes, RawJson};

/// A string of a request's body, as it was written.
#[derive(Clone, Copy, Debug)]
pub struct JsonString<'a> {
    /// Between its quotes.
    inner: &'a str,
    escapes: Escapes,
    content_hash: Option<ContentHash>,
}

impl<'a> JsonString<'a> {
    pub(super) fn of(raw: RawJson<'a>) -> Option<Self> {
        let (inner, escapes) = json::quoted(raw)?;
        Some(JsonString {
            inner,
            escapes,
            // The bytes are in the processor's cache now; a later reader would fetch all of them again.
            content_hash: ContentHash::of(inner),
        })
    }

    /// The string as it was written, without its quotes.
    pub fn written(self) -> &'a str {
        self.inner
    }

    /// The hash of the string as it was written; none where it is shorter than 512 bytes.
    pub fn content_hash(self) -> Option<ContentHash> {
        self.content_hash
    }

    /// The text, without escapes. A lone surrogate is U+FFFD in it.
    pub fn text(self) -> Cow<'a, str> {
        json::unescape(self.inner, self.escapes)
    }

    /// The text, where the string has no escapes.
    pub fn plain(self) -> Option<&'a str> {
        (self.escapes == Escapes::None).then_some(self.inner)
    }

    /// The text as `serde_json` would escape it, where the string was written in that way. Most writers of JSON escape alike.
    pub fn escaped(self) -> Option<&'a str> {
        (self.escapes <= Escapes::Needed).then_some(self.inner)
    }

    /// The inside of a JSON string with this text, as it was written. None where it has escapes of code units, which may be lone surrogates:
    /// many readers of JSON fail at those.
    pub fn in_json(self) -> Option<&'a str> {
        (self.escapes < Escapes::Units).then_some(self.inner)
    }
}

impl PartialEq for JsonString<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for JsonString<'_> {}

#[cfg(test)]
mod tests {
    use super::super::{ChatRequest, Content};

    #[test]
    fn a_string_is_copied_as_written_unless_it_may_have_lone_surrogates() {
        for (written, says, is_usual, is_lent) in [
            ("plain é", "plain é", true, true),
            (r#"a\"\\\b\f\n\r\t"#, "a\"\\\x08\x0c\n\r\t", true, true),
            (r#"a\"\\\/\n"#, "a\"\\/\n", false, true),
            (r"\u00e9", "é", false, false),
            (r"\/\u00e9\/", "/é/", false, false),
            (r"\ud83d", "\u{FFFD}", false, false),
        ] {
            let body = format!(r#"{{"messages":[{{"content":"{written}"}}]}}"#);
            let request = ChatRequest::parse(body.as_bytes()).unwrap();
            let Some(Content::Text(text)) = request.messages[0].content else {
                panic!("no text");
            };
            assert_eq!(text.text(), says);
            assert_eq!(text.plain(), (says == written).then_some(written));
            assert_eq!(text.escaped(), is_usual.then_some(written));
            assert_eq!(text.in_json(), is_lent.then_some(written));
        }
    }
}
