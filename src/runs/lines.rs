//! Lines of texts: a reply is found within a longer text by its first line. Histories have hundreds of kilobytes, so the line ends are searched.
//!
//! A text has the same lines in either [`Spelling`], plain or escaped as JSON.

use std::ops::Range;
use std::sync::LazyLock;
use std::{iter, mem};

use memchr::memmem::Finder;

use crate::json_escape::find_escapable;

/// Most bytes before a colon that can be a name.
const LONGEST_NAME: usize = 128;

/// `SelectorGroupChat` begins a task in the history of its prompt so.
const MESSAGE: &[u8] = b"user: ";
/// Most such messages of a prompt that are looked at. The history stands in a prompt once, or twice.
const MOST_WITHIN: usize = 16;

/// The spelling of a text.
pub(super) trait Spelling {
    /// A line end.
    const END: &str;

    /// Its line ends.
    fn ends(text: &str) -> impl Iterator<Item = Range<usize>>;

    /// The text without the space around it.
    fn trim(text: &str) -> &str;
}

/// The words themselves.
pub(super) struct PlainText;

/// The inside of a JSON string, as [`JsonString::escaped`](crate::openai::JsonString::escaped) gives it: every escape has two bytes.
pub(super) struct EscapedText;

impl Spelling for PlainText {
    const END: &str = "\n";

    fn ends(text: &str) -> impl Iterator<Item = Range<usize>> {
        memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at..at + 1)
    }

    fn trim(text: &str) -> &str {
        text.trim()
    }
}

impl Spelling for EscapedText {
    const END: &str = r"\n";

    fn ends(text: &str) -> impl Iterator<Item = Range<usize>> {
        let bytes = text.as_bytes();
        END.find_iter(bytes)
            .filter(|at| is_escape(&bytes[..=*at]))
            .map(|at| at..at + 2)
    }

    fn trim(mut text: &str) -> &str {
        loop {
            let rest = text.trim_start();
            match rest.as_bytes() {
                [b'\\', b'n' | b'r' | b't' | b'f', ..] => text = &rest[2..],
                _ => break text = rest,
            }
        }
        loop {
            let rest = text.trim_end();
            match rest.as_bytes() {
                [before @ .., b'n' | b'r' | b't' | b'f'] if is_escape(before) => {
                    text = &rest[..rest.len() - 2];
                }
                _ => return rest,
            }
        }
    }
}

static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(EscapedText::END));

/// Whether these bytes end in a backslash that begins an escape.
fn is_escape(bytes: &[u8]) -> bool {
    let backslashes = bytes.iter().rev().take_while(|byte| **byte == b'\\');
    backslashes.count() % 2 == 1
}

/// The first line of a text, without space around either.
pub(super) fn first<S: Spelling>(text: &str) -> &str {
    let text = S::trim(text);
    let end = S::ends(text).next().map_or(text.len(), |end| end.start);
    S::trim(&text[..end])
}

/// The lines of a text, each also without a name before it: `writer: Waves roll on.`
pub(super) fn all<S: Spelling>(text: &str) -> impl Iterator<Item = &str> {
    let mut ends = S::ends(text).chain(iter::once(text.len()..text.len()));
    let (mut start, mut said) = (0, None);
    iter::from_fn(move || {
        if said.is_some() {
            return said.take();
        }
        let line = ends.find_map(|end| {
            let line = S::trim(&text[mem::replace(&mut start, end.end)..end.start]);
            (!line.is_empty()).then_some(line)
        })?;
        said = without_name::<S>(line);
        Some(line)
    })
}

/// The same lines with the bytes at which they begin, from the last to the first.
pub(super) fn from_last(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut lines = text.rsplit('\n');
    let mut whole = None;
    iter::from_fn(move || {
        if whole.is_some() {
            return whole.take();
        }
        let line = lines.find_map(|line| Some(line.trim()).filter(|line| !line.is_empty()))?;
        match without_name::<PlainText>(line) {
            Some(said) => {
                whole = Some(line);
                Some(said)
            }
            None => Some(line),
        }
    })
    .map(|line| (start(line, text), line))
}

/// The lines of a selector's prompt: those of [`from_last`], then those of [`within_lines`].
pub(super) fn of_prompt(prompt: &str) -> impl Iterator<Item = (usize, &str)> {
    from_last(prompt).chain(within_lines(prompt))
}

/// Messages within a line, after the prompt's own words, as in `History: user: Write.`
pub(super) fn within_lines(prompt: &str) -> impl Iterator<Item = (usize, &str)> {
    memchr::memmem::find_iter(prompt.as_bytes(), MESSAGE)
        .filter(|at| *at > 0 && prompt.as_bytes()[at - 1] != b'\n')
        .take(MOST_WITHIN)
        .map(|at| first::<PlainText>(&prompt[at + MESSAGE.len()..]))
        .map(|line| (start(line, prompt), line))
}

/// The byte of `text` at which its `part` begins.
fn start(part: &str, text: &str) -> usize {
    part.as_ptr().addr() - text.as_ptr().addr()
}

/// The rest of a line that begins with a name.
fn without_name<S: Spelling>(line: &str) -> Option<&str> {
    name_end(line).map(|end| S::trim(&line[end + 2..]))
}

/// The end of a name at the beginning of a line. No character of a name has to be escaped.
fn name_end(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    let mut colons = memchr::memchr_iter(b':', &bytes[..bytes.len().min(LONGEST_NAME)]);
    let end = colons.find(|colon| bytes.get(colon + 1) == Some(&b' '))?;
    find_escapable(&bytes[..end]).is_none().then_some(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::span::json::{JsonDepth, escape};

    fn escaped(text: &str) -> String {
        let mut escaped = Vec::new();
        escape(&mut escaped, text, JsonDepth::String);
        String::from_utf8(escaped).unwrap()
    }

    #[test]
    fn lines_have_no_space_around_and_some_a_name_before() {
        let text = " a: b \r\n\n\twriter:c\nd: e: f\n\"g\": h\n";
        let lines: Vec<_> = all::<PlainText>(text).collect();
        assert_eq!(
            lines,
            ["a: b", "b", "writer:c", "d: e: f", "e: f", "\"g\": h"]
        );
        assert_eq!(all::<PlainText>("").count(), 0);
    }

    #[test]
    fn a_message_within_a_line_of_a_prompt_is_a_line_of_its_own() {
        let prompt = "History (latest last): user: Write: now.\nwriter: Owls.\nuser: Again.";
        let lines: Vec<_> = of_prompt(prompt).collect();
        assert_eq!(lines.last().map(|(_, line)| *line), Some("Write: now."));
        assert_eq!(
            lines[..lines.len() - 1],
            *from_last(prompt).collect::<Vec<_>>()
        );
    }

    #[test]
    fn the_first_line_is_the_first_that_says_something() {
        for (text, line) in [("\n a \r\nb", "a"), ("a b", "a b"), (" \n", "")] {
            assert_eq!(first::<PlainText>(text), line);
        }
    }

    proptest! {
        #[test]
        fn an_escaped_text_has_the_same_lines(
            text in r#"([\n\r\t\x0c\x08 \\n"a:é\u{3000}\u{85}/]|: |\\n){0,24}"#,
        ) {
            let other = escaped(&text);
            prop_assert_eq!(EscapedText::trim(&other), escaped(text.trim()));
            prop_assert_eq!(first::<EscapedText>(&other), escaped(first::<PlainText>(&text)));
            let plain: Vec<_> = all::<PlainText>(&text).map(escaped).collect();
            prop_assert_eq!(all::<EscapedText>(&other).collect::<Vec<_>>(), plain);
            let mut lines: Vec<_> = from_last(&text).collect();
            prop_assert!(lines.iter().all(|(at, line)| text[*at..].starts_with(line)));
            lines.reverse();
            let lines = lines.into_iter().map(|(_, line)| line);
            prop_assert!(lines.eq(all::<PlainText>(&text)));
        }
    }
}
