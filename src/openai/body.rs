//! A reply that is no stream: collected up to a limit, read once.

use super::assemble::Assembly;
use crate::encoding::readable;
use crate::special::first_special;

/// The bytes of a body so far.
#[derive(Debug, Default)]
pub(super) struct Body {
    bytes: Vec<u8>,
    /// Where in its JSON value a body is that is longer than what is kept.
    beyond: Option<Scan>,
}

/// Looks for the end of a JSON value without reading it.
#[derive(Debug, Default)]
struct Scan {
    place: Place,
    /// How many objects and arrays are open.
    depth: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Between,
    Text,
    /// Right after a backslash in a text.
    Escape,
    /// The value is over.
    End,
}

impl Body {
    /// Takes the next bytes and keeps `limit` in all.
    pub(super) fn push(&mut self, bytes: &[u8], limit: usize) {
        let fits = bytes.len().min(limit - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..fits]);
        if fits < bytes.len() {
            let kept = &self.bytes;
            self.beyond
                .get_or_insert_with(|| Scan::of(kept))
                .go_on(&bytes[fits..]);
        }
    }

    /// Bytes that are kept.
    pub(super) fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there was more than the limit.
    pub(super) fn cut(&self) -> bool {
        self.beyond.is_some()
    }

    /// Reads what was kept. Whether the JSON value is over, also where not all of it was kept.
    pub(super) fn finish(self, assembly: &mut Assembly) -> bool {
        let text = readable(&self.bytes);
        let text = text.trim_start_matches('\u{FEFF}').trim_start();
        // Google's compatible endpoint puts its errors into an array.
        let object = text.trim_start_matches(['[', ' ', '\n']);
        let is_whole = if object.starts_with('{') {
            assembly.body(object) && object.len() == text.len()
        } else {
            assembly.error_text(text);
            false
        };
        let scan = self.beyond;
        is_whole || scan.unwrap_or_else(|| Scan::of(&self.bytes)).place == Place::End
    }
}

impl Scan {
    fn of(bytes: &[u8]) -> Self {
        let mut scan = Scan::default();
        scan.go_on(bytes);
        scan
    }

    fn go_on(&mut self, mut bytes: &[u8]) {
        loop {
            // The bulk of a body is the inside of its texts, and the blanks between them.
            let next = match self.place {
                Place::End => return,
                Place::Escape => (!bytes.is_empty()).then_some(0),
                Place::Text => text_end(bytes),
                Place::Between => bytes
                    .iter()
                    .position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']')),
            };
            let Some(next) = next else { return };
            self.place = match (self.place, bytes[next]) {
                (Place::Text, b'"') => Place::Between,
                (Place::Text, _) => Place::Escape,
                (Place::Escape, _) | (Place::Between, b'"') => Place::Text,
                (Place::Between, b'{' | b'[') => {
                    self.depth += 1;
                    Place::Between
                }
                (Place::Between, _) => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        Place::End
                    } else {
                        Place::Between
                    }
                }
                (Place::End, _) => Place::End,
            };
            bytes = &bytes[next + 1..];
        }
    }
}

/// Where the inside of a text has its next quote or backslash.
fn text_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + first_special(&bytes[from..])?;
        // Control characters have no place in a text, but do not end it.
        if bytes[at] >= b' ' {
            return Some(at);
        }
        from = at + 1;
    }
}
