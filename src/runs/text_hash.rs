//! Hashes of texts: texts are indexed by hash, so that memory does not grow with histories.
//!
//! A text is hashed in its JSON spelling: most texts come that way, and need not be decoded.
//!
//! A hash is 64 bits of rapidhash, version 3, with its own fixed secrets. It is the same after a restart, so that replayed exchanges lead to the
//! same runs. A caller who forges two texts with one hash confuses only its own runs. Tables have random secrets of their own.

use std::collections::{HashMap, HashSet};

use rapidhash::fast::RandomState;
use rapidhash::v3::rapidhash_v3;

use super::lines::{self, PlainText};
use crate::json_escape::find_escapable;
use crate::span::json::{JsonDepth, escape};

/// The hash of a text, or of a sequence of texts.
pub(super) type Hash = u64;

/// A table whose keys may come from callers.
pub(super) type Map<K, V> = HashMap<K, V, RandomState>;

/// A set whose values may come from callers.
pub(super) type Set<K> = HashSet<K, RandomState>;

/// The hash of a text.
pub(super) fn of(text: &str) -> Hash {
    if find_escapable(text.as_bytes()).is_none() {
        return of_escaped(text);
    }
    let mut escaped = Vec::with_capacity(text.len() + text.len() / 4);
    escape(&mut escaped, text, JsonDepth::String);
    rapidhash_v3(&escaped)
}

/// The hash of a text by the inside of a JSON string, in the spelling of [`escape`].
pub(super) fn of_escaped(text: &str) -> Hash {
    rapidhash_v3(text.as_bytes())
}

/// The hash of a message; of JSON that of the value, whatever its spelling. AutoGen rewrites a structured answer before it passes it on.
pub(super) fn of_message(text: &str) -> Hash {
    if text.starts_with(['{', '['])
        && let Ok(value) = serde_json::from_str::<serde_json::Value>(text)
    {
        return of(&value.to_string());
    }
    of(text)
}

/// The hash of a sequence that goes on with another text.
pub(super) fn then(before: Hash, text: Hash) -> Hash {
    let both = u128::from(before) << 64 | u128::from(text);
    rapidhash_v3(&both.to_le_bytes())
}

/// The hash of the first line of a text.
pub(super) fn of_first_line(text: &str) -> Hash {
    of(lines::first::<PlainText>(text))
}
