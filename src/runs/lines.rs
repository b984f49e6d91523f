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
    .map(|line| (line.as_ptr().addr() - text.as_ptr().addr(), line))
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
        }
    }
}
