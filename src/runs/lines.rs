//! Lines of texts: under its first line a text is found in longer ones. Histories have hundreds of kilobytes, so line ends are leapt to.
//!
//! A text is taken apart as it is at hand, in either [`Spelling`], and comes out as the same lines.

use std::ops::Range;
use std::sync::LazyLock;
use std::{iter, mem};

use memchr::memmem::Finder;

use crate::special::first_special;

/// Before a colon, what is longer is no name.
const LONGEST_NAME: usize = 128;

/// How `SelectorGroupChat` writes the beginning of a task into the history of its prompt.
const MESSAGE: &[u8] = b"user: ";
/// The history stands in a prompt once, or twice.
const MOST_WITHIN: usize = 16;

/// How a text is at hand.
pub(super) trait Spelling {
    /// A line end.
    const END: &str;

    /// Its line ends.
    fn ends(text: &str) -> impl Iterator<Item = Range<usize>>;

    /// All but the space around it.
    fn trim(text: &str) -> &str;
}

/// It is what it says.
pub(super) struct Plain;

/// It is what stands between the quotes of a JSON string, as [`Quoted::escaped`](crate::openai::Quoted::escaped) has it: every escape is of two bytes.
pub(super) struct Escaped;

impl Spelling for Plain {
    const END: &str = "\n";

    fn ends(text: &str) -> impl Iterator<Item = Range<usize>> {
        memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at..at + 1)
    }

    fn trim(text: &str) -> &str {
        text.trim()
    }
}

impl Spelling for Escaped {
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

static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(Escaped::END));

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

/// The same lines with the bytes where they begin, the one that begins last first.
pub(super) fn from_last(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut lines = text.rsplit('\n');
    let mut whole = None;
    iter::from_fn(move || {
        if whole.is_some() {
            return whole.take();
        }
        let line = lines.find_map(|line| Some(line.trim()).filter(|line| !line.is_empty()))?;
        match without_name::<Plain>(line) {
            Some(said) => {
                whole = Some(line);
                Some(said)
            }
            None => Some(line),
        }
    })
    .map(|line| (start(line, text), line))
}

/// The lines of a selector's prompt, as [`from_last`] has them, and then the messages of [`within_lines`].
pub(super) fn of_prompt(prompt: &str) -> impl Iterator<Item = (usize, &str)> {
    from_last(prompt).chain(within_lines(prompt))
}

/// Messages that a prompt's own words stand before on their line, as in `History: user: Write.`
pub(super) fn within_lines(prompt: &str) -> impl Iterator<Item = (usize, &str)> {
    memchr::memmem::find_iter(prompt.as_bytes(), MESSAGE)
        .filter(|at| *at > 0 && prompt.as_bytes()[at - 1] != b'\n')
        .take(MOST_WITHIN)
        .map(|at| first::<Plain>(&prompt[at + MESSAGE.len()..]))
        .map(|line| (start(line, prompt), line))
}

/// The byte of `text` at which its `part` begins.
fn start(part: &str, text: &str) -> usize {
    part.as_ptr().addr() - text.as_ptr().addr()
}

/// What follows a name at the beginning of a line.
fn without_name<S: Spelling>(line: &str) -> Option<&str> {
    name_end(line).map(|end| S::trim(&line[end + 2..]))
}

/// Where a name before a line may end. Nothing in a name has to be escaped.
fn name_end(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    let mut colons = memchr::memchr_iter(b':', &bytes[..bytes.len().min(LONGEST_NAME)]);
    let end = colons.find(|colon| bytes.get(colon + 1) == Some(&b' '))?;
    first_special(&bytes[..end]).is_none().then_some(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::span::json::{Depth, escape};

    fn escaped(text: &str) -> String {
        let mut escaped = Vec::new();
        escape(&mut escaped, text, Depth::String);
        String::from_utf8(escaped).unwrap()
    }

    #[test]
    fn lines_have_no_space_around_and_some_a_name_before() {
        let text = " a: b \r\n\n\twriter:c\nd: e: f\n\"g\": h\n";
        let lines: Vec<_> = all::<Plain>(text).collect();
        assert_eq!(
            lines,
            ["a: b", "b", "writer:c", "d: e: f", "e: f", "\"g\": h"]
        );
        assert_eq!(all::<Plain>("").count(), 0);
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
            assert_eq!(first::<Plain>(text), line);
        }
    }

    proptest! {
        #[test]
        fn an_escaped_text_has_the_same_lines(
            text in r#"([\n\r\t\x0c\x08 \\n"a:é\u{3000}\u{85}/]|: |\\n){0,24}"#,
        ) {
            let other = escaped(&text);
            prop_assert_eq!(Escaped::trim(&other), escaped(text.trim()));
            prop_assert_eq!(first::<Escaped>(&other), escaped(first::<Plain>(&text)));
            let plain: Vec<_> = all::<Plain>(&text).map(escaped).collect();
            prop_assert_eq!(all::<Escaped>(&other).collect::<Vec<_>>(), plain);
            let mut lines: Vec<_> = from_last(&text).collect();
            prop_assert!(lines.iter().all(|(at, line)| text[*at..].starts_with(line)));
            lines.reverse();
            let lines = lines.into_iter().map(|(_, line)| line);
            prop_assert!(lines.eq(all::<Plain>(&text)));
        }
    }
}
