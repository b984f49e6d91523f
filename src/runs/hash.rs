//! Texts as numbers: what was said is kept and looked up as a hash, so that memory does not grow with histories.
//!
//! A text is hashed as it stands in JSON: most come that way, and need not be read for it.
//!
//! 64 bits of rapidhash, version 3, with its own fixed secrets: the same after a restart, so that what is rebuilt from the store comes out the
//! same. Two texts made to have one hash would be taken for each other, but only within the runs of one caller.
//! The tables have secrets of their own, made at random for each process.

use std::collections::{HashMap, HashSet};

use rapidhash::fast::RandomState;
use rapidhash::v3::rapidhash_v3;

use super::lines::{self, Plain};
use crate::span::json::{Depth, escape};
use crate::special::first_special;

/// A text, or a sequence of texts.
pub(super) type Hash = u64;

/// A table under such keys.
pub(super) type Map<K, V> = HashMap<K, V, RandomState>;

/// The same without values.
pub(super) type Set<K> = HashSet<K, RandomState>;

/// Of a text.
pub(super) fn of(text: &str) -> Hash {
    if first_special(text.as_bytes()).is_none() {
        return of_escaped(text);
    }
    let mut escaped = Vec::with_capacity(text.len() + text.len() / 4);
    escape(&mut escaped, text, Depth::String);
    rapidhash_v3(&escaped)
}

/// Of a text as it stands between the quotes of a JSON string, in the spelling of [`escape`].
pub(super) fn of_escaped(text: &str) -> Hash {
    rapidhash_v3(text.as_bytes())
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
    let both = u128::from(before) << 64 | u128::from(text);
    rapidhash_v3(&both.to_le_bytes())
}

/// Of the first line of a text: under it texts are found in longer ones.
pub(super) fn of_first_line(text: &str) -> Hash {
    of(lines::first::<Plain>(text))
}
