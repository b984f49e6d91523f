//! Lines of texts: under its first line a text is found in longer ones. Histories have hundreds of kilobytes, so line ends are leapt to.

use std::{iter, mem};

/// Before a colon, what is longer is no name.
const LONGEST_NAME: usize = 128;

/// The first line of a text, without space around either.
pub(super) fn first(text: &str) -> &str {
    let text = text.trim_start();
    let end = memchr::memchr(b'\n', text.as_bytes()).unwrap_or(text.len());
    text[..end].trim_end()
}

/// The lines of a text, each also without a name before it: `writer: Waves roll on.`
pub(super) fn all(text: &str) -> impl Iterator<Item = &str> {
    let mut ends = memchr::memchr_iter(b'\n', text.as_bytes()).chain(iter::once(text.len()));
    let (mut start, mut said) = (0, None);
    iter::from_fn(move || {
        if said.is_some() {
            return said.take();
        }
        let line = ends.find_map(|end| {
            let line = text[mem::replace(&mut start, end + 1)..end].trim();
            (!line.is_empty()).then_some(line)
        })?;
        said = name_end(line).map(|end| line[end + 2..].trim());
        Some(line)
    })
}

/// Where a name before a line may end.
fn name_end(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    let mut colons = memchr::memchr_iter(b':', &bytes[..bytes.len().min(LONGEST_NAME)]);
    colons.find(|colon| bytes.get(colon + 1) == Some(&b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_no_space_around_and_some_a_name_before() {
        let text = " a: b \r\n\n\twriter:c\nd: e: f\n";
        let lines: Vec<_> = all(text).collect();
        assert_eq!(lines, ["a: b", "b", "writer:c", "d: e: f", "e: f"]);
        assert_eq!(all("").count(), 0);
    }

    #[test]
    fn the_first_line_is_the_first_that_says_something() {
        for (text, line) in [("\n a \r\nb", "a"), ("a b", "a b"), (" \n", "")] {
            assert_eq!(first(text), line);
        }
    }
}
