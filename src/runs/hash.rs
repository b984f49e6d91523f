//! Texts as numbers: what was said is kept as a hash, so that memory does not grow with histories.
//!
//! 64 bits of `SipHash` with fixed keys: the same after a restart, so that what is rebuilt from the store comes out the same.

use std::hash::{DefaultHasher, Hasher};

/// A text, or a sequence of texts.
pub(super) type Hash = u64;

/// Of a text.
pub(super) fn of(text: &str) -> Hash {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// Of something said: of JSON the value counts, not how it is written. AutoGen writes a structured answer anew before it passes it on.
pub(super) fn of_said(text: &str) -> Hash {
    if text.starts_with(['{', '['])
        && let Ok(value) = serde_json::from_str::<serde_json::Value>(text)
    {
        return of(&value.to_string());
    }
    of(text)
}

/// Of a sequence that goes on with another text.
pub(super) fn then(before: Hash, text: Hash) -> Hash {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(before);
    hasher.write_u64(text);
    hasher.finish()
}

/// Of the first line of a text: under it texts are found in longer ones.
pub(super) fn of_first_line(text: &str) -> Hash {
    of(text.trim().lines().next().unwrap_or_default().trim())
}
