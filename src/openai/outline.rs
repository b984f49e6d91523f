//! Where a JSON value is over, found without reading it: also where little of it was kept, and while it still comes in pieces.

use crate::special::first_special;

/// Looks for the end of a JSON value without reading it.
#[derive(Debug, Default)]
pub(super) struct Outline {
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

impl Outline {
    /// The outline of a value that begins with these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut outline = Outline::default();
        outline.go_on(bytes);
        outline
    }

    /// Whether the value is over. A value that is neither an object nor an array never is.
    pub(super) fn is_over(&self) -> bool {
        self.place == Place::End
    }

    /// Takes the next bytes of the value.
    pub(super) fn go_on(&mut self, mut bytes: &[u8]) {
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
                // What closes nothing ends nothing.
                (Place::Between, _) if self.depth == 0 => Place::Between,
                (Place::Between, _) => {
                    self.depth -= 1;
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
