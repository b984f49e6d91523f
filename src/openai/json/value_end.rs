//! Finds where a JSON value ends without reading it: while it comes in pieces, and where only a part of it is kept.

use crate::json_escape::find_escapable;

/// Scans the bytes of one JSON value for its end.
#[derive(Debug, Default)]
pub(crate) struct ValueEnd {
    position: ScanPosition,
    /// How many objects and arrays are open.
    depth: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ScanPosition {
    #[default]
    BetweenStrings,
    InString,
    AfterBackslash,
    AfterValue,
}

impl ValueEnd {
    /// Scans the first bytes of a value.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut end = ValueEnd::default();
        end.scan(bytes);
        end
    }

    /// Whether the end was seen. Only objects and arrays have one.
    pub(crate) fn is_over(&self) -> bool {
        self.position == ScanPosition::AfterValue
    }

    /// Scans the next bytes.
    pub(crate) fn scan(&mut self, mut bytes: &[u8]) {
        loop {
            // The bulk of a body is the inside of its strings, and the blanks between them.
            let next = match self.position {
                ScanPosition::AfterValue => return,
                ScanPosition::AfterBackslash => (!bytes.is_empty()).then_some(0),
                ScanPosition::InString => string_end(bytes),
                ScanPosition::BetweenStrings => bytes
                    .iter()
                    .position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']')),
            };
            let Some(next) = next else { return };
            self.position = match (self.position, bytes[next]) {
                (ScanPosition::InString, b'"') => ScanPosition::BetweenStrings,
                (ScanPosition::InString, _) => ScanPosition::AfterBackslash,
                (ScanPosition::AfterBackslash, _) | (_, b'"') => ScanPosition::InString,
                (_, b'{' | b'[') => {
                    self.depth += 1;
                    ScanPosition::BetweenStrings
                }
                // A bracket that closes nothing does not end the value.
                _ if self.depth != 1 => {
                    self.depth = self.depth.saturating_sub(1);
                    ScanPosition::BetweenStrings
                }
                _ => ScanPosition::AfterValue,
            };
            bytes = &bytes[next + 1..];
        }
    }
}

/// The place of the next quote or backslash.
fn string_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + find_escapable(&bytes[from..])?;
        // A control character is an error in a string, but does not end it.
        if bytes[at] >= b' ' {
            return Some(at);
        }
        from = at + 1;
    }
}
