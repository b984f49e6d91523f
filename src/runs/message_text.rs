//! The text of a message, decoded only where its words are needed. A history is JSON, and most questions about its texts are answered on JSON.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use super::autogen::{LONGEST_NAME, is_handoff_text, is_name};
use super::lines::{self, EscapedText, PlainText, Spelling};
use super::text_hash::{self, Hash};
use crate::openai::JsonString;

/// Most bytes of a text that is stored with a call, a turn or a run.
const LONGEST_STORED: usize = 16 << 10;
/// Most lines of a text that are looked up, the first ones. A megabyte of prose or code has fewer.
pub(super) const MOST_LINES: usize = 1 << 16;

/// A text. The space around it never counts.
#[derive(Debug)]
pub(super) enum MessageText<'a> {
    /// Without space around it.
    Plain(Cow<'a, str>),
    /// As it stands in a message, and decoded once its words are needed.
    Written(JsonString<'a>, OnceCell<String>),
}

impl<'a> MessageText<'a> {
    pub(super) fn of(text: JsonString<'a>) -> Self {
        MessageText::Written(text, OnceCell::new())
    }

    /// Its words.
    pub(super) fn text(&self) -> &str {
        match self {
            MessageText::Plain(text) => text,
            MessageText::Written(written, read) => match written.plain() {
                Some(plain) => plain.trim(),
                None => read.get_or_init(|| words(*written).into_owned()),
            },
        }
    }

    /// How many bytes of the request it is.
    pub(super) fn size(&self) -> usize {
        match self {
            MessageText::Plain(text) => text.len(),
            MessageText::Written(written, _) => written.written().len(),
        }
    }

    pub(super) fn into_text(self) -> Cow<'a, str> {
        match self {
            MessageText::Plain(text) => text,
            MessageText::Written(written, read) => match read.into_inner() {
                Some(read) => Cow::Owned(read),
                None => words(written),
            },
        }
    }

    #[cfg(test)]
    pub(super) fn is_unread(&self) -> bool {
        matches!(self, MessageText::Written(_, read) if read.get().is_none())
    }

    /// The inside of its JSON string, if that has the usual spelling.
    fn escaped(&self) -> Option<&'a str> {
        match self {
            MessageText::Plain(_) => None,
            MessageText::Written(written, _) => written.escaped().map(EscapedText::trim),
        }
    }

    /// The hash of its words; of JSON that of the value.
    pub(super) fn hash(&self) -> Hash {
        match self.escaped() {
            Some(escaped) if !escaped.starts_with(['{', '[']) => text_hash::of_escaped(escaped),
            _ => text_hash::of_message(self.text()),
        }
    }

    /// The hash of its first line.
    pub(super) fn first_line(&self) -> Hash {
        match self.escaped() {
            Some(escaped) => text_hash::of_escaped(lines::first::<EscapedText>(escaped)),
            None => text_hash::of_first_line(self.text()),
        }
    }

    /// The hashes of its lines, without a line that is the whole text: a reply is found within longer texts by its first line. `most` is an upper
    /// bound of their number, or zero where none is known.
    pub(super) fn lines(&self, most: usize) -> Vec<Hash> {
        fn within<S: Spelling>(text: &str) -> impl Iterator<Item = &str> {
            lines::all::<S>(text)
                .filter(|line| line.len() < text.len())
                .take(MOST_LINES)
        }
        // A line with a name before it counts twice, but few have one.
        let mut hashes = Vec::with_capacity(most.min(MOST_LINES) / 2);
        match self.escaped() {
            Some(escaped) => {
                hashes.extend(within::<EscapedText>(escaped).map(text_hash::of_escaped));
            }
            None => hashes.extend(within::<PlainText>(self.text()).map(text_hash::of)),
        }
        hashes
    }

    /// An upper bound of the number of [`lines`](Self::lines).
    pub(super) fn most_lines(&self) -> usize {
        let ends = match self.escaped() {
            Some(escaped) => EscapedText::ends(escaped).take(MOST_LINES).count(),
            None => PlainText::ends(self.text()).take(MOST_LINES).count(),
        };
        // Each may have a name before it.
        (2 * (ends + 1)).min(MOST_LINES)
    }

    /// Whether it is a `Handoff`'s message, whose words need no escapes.
    pub(super) fn is_handoff(&self) -> bool {
        is_handoff_text(self.escaped().unwrap_or_else(|| self.text()))
    }

    /// Whether a client with `add_name_prefixes` wrote a name before it.
    pub(super) fn has_prefix(&self) -> bool {
        match self.escaped() {
            Some(escaped) => prefix::<EscapedText>(escaped).is_some(),
            None => prefix::<PlainText>(self.text()).is_some(),
        }
    }
}

/// The name that a client with `add_name_prefixes` writes into the text, and the rest: `writer said:`, then a line of its own.
pub(super) fn without_prefix<'t>(text: &'t str, name: Option<&str>) -> Option<(&'t str, &'t str)> {
    let (before, rest) = prefix::<PlainText>(text)?;
    name.is_none_or(|name| name == before)
        .then(|| (before, rest.trim()))
}

/// Nothing in a name needs an escape.
fn prefix<S: Spelling>(text: &str) -> Option<(&str, &str)> {
    const SAID: &str = " said";
    let start = &text.as_bytes()[..text.len().min(LONGEST_NAME + SAID.len() + 1)];
    let (before, rest) = text.split_at(memchr::memchr(b':', start)?);
    let (name, rest) = (before.strip_suffix(SAID)?, rest[1..].strip_prefix(S::END)?);
    is_name(name).then_some((name, rest))
}

/// The words of a text, without space around them.
pub(super) fn words(text: JsonString<'_>) -> Cow<'_, str> {
    match text.text() {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(mut text) => {
            text.truncate(text.trim_end().len());
            text.drain(..text.len() - text.trim_start().len());
            Cow::Owned(text)
        }
    }
}

/// The part of a text that is stored.
pub(super) fn stored(text: &str) -> Arc<str> {
    cut(text).into()
}

/// The part of a text that is stored.
pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_STORED)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::openai::{ChatRequest, Content};

    fn asks<T>(content: &str, ask: impl FnOnce(MessageText<'_>) -> T) -> T {
        let body = format!(r#"{{"messages":[{{"content":{content}}}]}}"#);
        let request = ChatRequest::parse(body.as_bytes()).unwrap();
        let Some(Content::Text(text)) = request.messages[0].content else {
            panic!("no text");
        };
        ask(MessageText::of(text))
    }

    fn answers(text: MessageText<'_>) -> ((Hash, Hash), Vec<Hash>, bool, bool, String) {
        let lines = text.lines(text.most_lines());
        assert!(lines.len() <= text.most_lines());
        let hashes = (text.hash(), text.first_line());
        let (handoff, prefix) = (text.is_handoff(), text.has_prefix());
        (
            hashes,
            lines,
            handoff,
            prefix,
            text.into_text().into_owned(),
        )
    }

    /// As a client that escapes slashes.
    fn with_slashes(text: &str) -> String {
        serde_json::json!(text).to_string().replace('/', r"\/")
    }

    /// As a client that leaves nothing beyond ASCII.
    fn in_ascii(text: &str) -> String {
        let escape = |unit: u16| match u8::try_from(unit) {
            Ok(plain @ (b'0'..=b'9' | b'a'..=b'z' | b' ')) => char::from(plain).to_string(),
            _ => format!(r"\u{unit:04x}"),
        };
        format!(
            "\"{}\"",
            text.encode_utf16().map(escape).collect::<String>()
        )
    }

    #[test]
    fn a_line_that_is_all_of_a_text_is_not_within_it() {
        let lines = |text: &'static str| MessageText::Plain(text.into()).lines(0);
        assert_eq!(lines("only: one"), [text_hash::of("one")]);
        let several = ["a", "writer: b", "b"].map(text_hash::of);
        assert_eq!(lines("a\nwriter: b"), several);
    }

    #[test]
    fn a_slash_may_be_escaped() {
        assert_eq!(asks(r#""a\/b\nc""#, answers), asks(r#""a/b\nc""#, answers));
    }

    #[test]
    fn what_tells_of_itself_is_known_without_being_read() {
        let unread = |text: &str| {
            asks(&serde_json::json!(text).to_string(), |text| {
                let (handoff, prefix) = (text.is_handoff(), text.has_prefix());
                let lines = text.lines(text.most_lines());
                assert!(text.hash() != text.first_line() || lines.is_empty());
                assert!(text.is_unread());
                (handoff, prefix)
            })
        };
        assert_eq!(
            unread("\nTransferred to \"b\" immediately.\n"),
            (true, false)
        );
        assert_eq!(unread(" writer said:\n\"b\""), (false, true));
        assert_eq!(unread("\"writer\" said:\nb"), (false, false));
        assert_eq!(unread("the writer said:\nb"), (false, false));
    }

    proptest! {
        #[test]
        fn however_a_text_was_written_it_is_the_same(
            text in r#"(["\\/\n\r\t\x01\x08 \nnta:é\u{3000}{\[]|: |\\n|[ab] said:\n|\{"a": 1\}){0,24}"#,
        ) {
            let read = answers(MessageText::Plain(text.trim().into()));
            prop_assert_eq!(&asks(&serde_json::json!(text).to_string(), answers), &read);
            prop_assert_eq!(&asks(&with_slashes(&text), answers), &read);
            prop_assert_eq!(&asks(&in_ascii(&text), answers), &read);
        }
    }
}
