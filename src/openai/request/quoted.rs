//! A text as JSON has it, read only where somebody wants to know what it says. A history is passed on in JSON, too: there what was written can
//! stay as it is, instead of being read and written again.

use std::borrow::Cow;

use super::mark::ContentHash;
use crate::openai::json::{self, Escapes, Raw};

/// A string of a body, as it was written.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a> {
    /// Between its quotes.
    inner: &'a str,
    escapes: Escapes,
    mark: Option<ContentHash>,
}

impl<'a> Quoted<'a> {
    pub(super) fn of(raw: Raw<'a>) -> Option<Self> {
        let (inner, escapes) = json::quoted(raw)?;
        Some(Quoted {
            inner,
            escapes,
            // Now it is at hand: whoever asks later would have to fetch all of it again.
            mark: ContentHash::of(inner),
        })
    }

    /// How it was written, without its quotes.
    pub fn written(self) -> &'a str {
        self.inner
    }

    /// By what it is known again, if it is long.
    pub fn mark(self) -> Option<ContentHash> {
        self.mark
    }

    /// What it says.
    pub fn text(self) -> Cow<'a, str> {
        json::plain(self.inner, self.escapes)
    }

    /// What it says, where that is what was written.
    pub fn plain(self) -> Option<&'a str> {
        (self.escapes == Escapes::None).then_some(self.inner)
    }

    /// What it says as `serde_json` would write it, without quotes, where that is what was written: most writers of JSON spell texts alike.
    pub fn escaped(self) -> Option<&'a str> {
        (self.escapes <= Escapes::Needed).then_some(self.inner)
    }

    /// What stands between the quotes of a JSON string that says it; none where halves of characters may be in it, at which many readers of
    /// JSON fail.
    pub fn in_json(self) -> Option<&'a str> {
        (self.escapes < Escapes::Units).then_some(self.inner)
    }
}

impl PartialEq for Quoted<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Quoted<'_> {}

#[cfg(test)]
mod tests {
    use super::super::{ChatRequest, Content};

    #[test]
    fn what_was_written_is_lent_unless_a_character_may_be_halved() {
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
