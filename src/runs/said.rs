//! What was said, as it is at hand. In a history it is JSON, and stays JSON for most of what grouping asks: what nobody wants the words of is
//! never read.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use super::hash::{self, Hash};
use super::kind::{LONGEST_NAME, is_name};
use super::lines::{self, Escaped, Plain, Spelling};
use super::tool::is_handoff_text;
use crate::openai::Quoted;

/// Most bytes of a text that is kept to be told of a turn or a run.
const LONGEST_TOLD: usize = 16 << 10;
/// Of a text with more lines, only the first so many are looked up: a megabyte of prose or code has fewer.
pub(super) const MOST_LINES: usize = 1 << 16;

/// A text; to everybody it is without the space around it.
#[derive(Debug)]
pub(super) enum Said<'a> {
    /// Without space around it.
    Plain(Cow<'a, str>),
    /// As a message has it, and what it says once somebody wants to know.
    Written(Quoted<'a>, OnceCell<String>),
}

impl<'a> Said<'a> {
    pub(super) fn of(text: Quoted<'a>) -> Self {
        Said::Written(text, OnceCell::new())
    }

    /// The words.
    pub(super) fn text(&self) -> &str {
        match self {
            Said::Plain(text) => text,
            Said::Written(written, read) => match written.plain() {
                Some(plain) => plain.trim(),
                None => read.get_or_init(|| words(*written).into_owned()),
            },
        }
    }

    /// How many bytes it was written in.
    pub(super) fn size(&self) -> usize {
        match self {
            Said::Plain(text) => text.len(),
            Said::Written(written, _) => written.written().len(),
        }
    }

    pub(super) fn into_text(self) -> Cow<'a, str> {
        match self {
            Said::Plain(text) => text,
            Said::Written(written, read) => match read.into_inner() {
                Some(read) => Cow::Owned(read),
                None => words(written),
            },
        }
    }

    #[cfg(test)]
    pub(super) fn is_unread(&self) -> bool {
        matches!(self, Said::Written(_, read) if read.get().is_none())
    }

    /// As it stands in JSON, if it does in the usual spelling.
    fn escaped(&self) -> Option<&'a str> {
        match self {
            Said::Plain(_) => None,
            Said::Written(written, _) => written.escaped().map(Escaped::trim),
        }
    }

    /// Of what it says: of JSON the value, which has to be read.
    pub(super) fn hash(&self) -> Hash {
        match self.escaped() {
            Some(escaped) if !escaped.starts_with(['{', '[']) => hash::of_escaped(escaped),
            _ => hash::of_said(self.text()),
        }
    }

    /// Of its first line.
    pub(super) fn first_line(&self) -> Hash {
        match self.escaped() {
            Some(escaped) => hash::of_escaped(lines::first::<Escaped>(escaped)),
            None => hash::of_first_line(self.text()),
        }
    }

    /// Of each line, but not of one that is all of it: by its first line a reply is found in a longer text, and a reply that is the only
    /// line is the whole. There are at most so many, as far as anybody knows.
    pub(super) fn lines(&self, most: usize) -> Vec<Hash> {
        fn within<S: Spelling>(text: &str) -> impl Iterator<Item = &str> {
            lines::all::<S>(text)
                .filter(|line| line.len() < text.len())
                .take(MOST_LINES)
        }
        // Few have a name before them, which counts as two.
        let mut hashes = Vec::with_capacity(most.min(MOST_LINES) / 2);
        match self.escaped() {
            Some(escaped) => hashes.extend(within::<Escaped>(escaped).map(hash::of_escaped)),
            None => hashes.extend(within::<Plain>(self.text()).map(hash::of)),
        }
        hashes
    }

    /// No fewer than [`lines`](Self::lines) gives.
    pub(super) fn most_lines(&self) -> usize {
        let ends = match self.escaped() {
            Some(escaped) => Escaped::ends(escaped).take(MOST_LINES).count(),
            None => Plain::ends(self.text()).take(MOST_LINES).count(),
        };
        // Each may have a name before it.
        (2 * (ends + 1)).min(MOST_LINES)
    }

    /// Whether a `Handoff` tells of itself so. Its words need no escapes.
    pub(super) fn tells_of_handoff(&self) -> bool {
        is_handoff_text(self.escaped().unwrap_or_else(|| self.text()))
    }

    /// Whether a client with `add_name_prefixes` wrote a name before it.
    pub(super) fn has_prefix(&self) -> bool {
        match self.escaped() {
            Some(escaped) => prefix::<Escaped>(escaped).is_some(),
            None => prefix::<Plain>(self.text()).is_some(),
        }
    }
}

/// The name that a client with `add_name_prefixes` writes into the text, and the rest: `writer said:`, then a line of its own.
pub(super) fn without_prefix<'t>(text: &'t str, name: Option<&str>) -> Option<(&'t str, &'t str)> {
    let (before, rest) = prefix::<Plain>(text)?;
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

/// What a text says, without space around it.
pub(super) fn words(text: Quoted<'_>) -> Cow<'_, str> {
    match text.text() {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(mut text) => {
            text.truncate(text.trim_end().len());
            text.drain(..text.len() - text.trim_start().len());
            Cow::Owned(text)
        }
    }
}

/// A text to be told, as much of it as is kept.
pub(super) fn kept(text: &str) -> Arc<str> {
    cut(text).into()
}

/// As much of a text as is kept.
pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TOLD)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::openai::{ChatRequest, Content};

    fn asks<T>(content: &str, ask: impl FnOnce(Said<'_>) -> T) -> T {
        let body = format!(r#"{{"messages":[{{"content":{content}}}]}}"#);
        let request = ChatRequest::parse(body.as_bytes()).unwrap();
        let Some(Content::Text(text)) = request.messages[0].content else {
            panic!("no text");
        };
        ask(Said::of(text))
    }

    fn answers(said: Said<'_>) -> ((Hash, Hash), Vec<Hash>, bool, bool, String) {
        let lines = said.lines(said.most_lines());
        assert!(lines.len() <= said.most_lines());
        let hashes = (said.hash(), said.first_line());
        let (handoff, prefix) = (said.tells_of_handoff(), said.has_prefix());
        (
            hashes,
            lines,
            handoff,
            prefix,
            said.into_text().into_owned(),
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
        let lines = |text: &'static str| Said::Plain(text.into()).lines(0);
        assert_eq!(lines("only: one"), [hash::of("one")]);
        let several = ["a", "writer: b", "b"].map(hash::of);
        assert_eq!(lines("a\nwriter: b"), several);
    }

    #[test]
    fn a_slash_may_be_escaped() {
        assert_eq!(asks(r#""a\/b\nc""#, answers), asks(r#""a/b\nc""#, answers));
    }

    #[test]
    fn what_tells_of_itself_is_known_without_being_read() {
        let unread = |text: &str| {
            asks(&serde_json::json!(text).to_string(), |said| {
                let (handoff, prefix) = (said.tells_of_handoff(), said.has_prefix());
                let lines = said.lines(said.most_lines());
                assert!(said.hash() != said.first_line() || lines.is_empty());
                assert!(said.is_unread());
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
            let read = answers(Said::Plain(text.trim().into()));
            prop_assert_eq!(&asks(&serde_json::json!(text).to_string(), answers), &read);
            prop_assert_eq!(&asks(&with_slashes(&text), answers), &read);
            prop_assert_eq!(&asks(&in_ascii(&text), answers), &read);
        }
    }
}
