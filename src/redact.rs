//! Redacts keys in texts of other programs: many upstreams repeat a key that they refuse.
//!
//! The secrets of a request are known and redacted in every place and escaping ([`KnownSecrets`]). Other keys are known by their look alone.
//! A word is redacted when it begins like the keys of a known service, follows `Bearer `, or is long and random soon after a word such as `key`
//! or `token`. A key that an upstream masked (`sk-proj-****abcd`) is redacted, too.

mod known_secrets;
mod unescape;

use std::borrow::Cow;
use std::ops::Range;

pub(crate) use known_secrets::KnownSecrets;

/// The text in place of a key.
const REDACTED: &str = "[redacted]";

/// The beginnings of keys, and how many more characters tell a key from another word with that beginning.
const KEY_PREFIXES: [(&str, usize); 24] = [
    ("sk-", 5),
    ("sk_", 20),
    ("rk-", 8),
    ("pk-", 8),
    ("gsk_", 8),
    ("xai-", 8),
    ("csk-", 8),
    ("fw_", 20),
    ("pplx-", 8),
    ("nvapi-", 8),
    ("tgp_v1_", 8),
    ("r8_", 20),
    ("AIza", 20),
    ("AKIA", 12),
    ("ASIA", 12),
    ("ghp_", 16),
    ("gho_", 16),
    ("ghs_", 16),
    ("github_pat_", 16),
    ("glpat-", 16),
    ("xoxb-", 8),
    ("xoxp-", 8),
    ("dapi", 28),
    ("hf_", 16),
];

/// Last parts of words that announce a key: `key`, `api-key`, `access_token`.
const KEY_WORDS: [&str; 10] = [
    "key",
    "token",
    "bearer",
    "secret",
    "password",
    "passwd",
    "credential",
    "credentials",
    "authorization",
    "auth",
];
/// A key is at most so many words after the word that announces it.
const REACH: usize = 6;
/// Words that announce other long and random words.
const OTHER_WORDS: [&str; 6] = ["id", "ids", "request", "model", "deployment", "trace"];

/// Minimum of letters and digits in a random word.
const MIN_RANDOM: usize = 16;
/// Minimum of those in parts that mix letters and digits.
const MIN_MIXED: usize = 12;
/// A word of so many letters and digits is random.
const ALWAYS_RANDOM: usize = 40;

/// `text` with words that look like keys redacted.
pub(crate) fn redact(text: &str) -> Cow<'_, str> {
    replace_ranges(text, suspected_keys(text, |_| false))
}

/// `text` with these ranges redacted.
fn replace_ranges(text: &str, mut ranges: Vec<Range<usize>>) -> Cow<'_, str> {
    if ranges.is_empty() {
        return Cow::Borrowed(text);
    }
    ranges.sort_unstable_by_key(|range| range.start);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    let mut ranges = ranges.into_iter().peekable();
    while let Some(mut range) = ranges.next() {
        while let Some(next) = ranges.next_if(|next| next.start <= range.end) {
            range.end = range.end.max(next.end);
        }
        let start = text.floor_char_boundary(range.start).max(done);
        out.push_str(&text[done..start]);
        out.push_str(REDACTED);
        done = text.ceil_char_boundary(range.end);
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

/// The ranges of words that look like keys, or that are announced as a key and known to `is_known`.
fn suspected_keys(text: &str, is_known: impl Fn(&str) -> bool) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let (mut reach, mut after_bearer, mut end) = (0_usize, false, 0);
    for (start, word) in words(text) {
        if text[end..start].contains([';', '!', '?']) {
            reach = 0;
        }
        end = start + word.len();
        let bare = word.trim_end_matches('.');
        let is_announced = reach > 0 && (is_random(bare) || is_known(bare));
        if begins_as_key(word) || after_bearer || is_announced {
            let padding = text[end..].bytes().take_while(|byte| *byte == b'=').count();
            ranges.push(start..end + padding);
        }
        after_bearer = word == "Bearer" && text[end..].starts_with(' ');
        reach = match announces(bare) {
            _ if bare.len() < word.len() => 0,
            Some(true) => REACH,
            Some(false) => 0,
            None => reach.saturating_sub(1),
        };
    }
    ranges
}

/// The words of a text with their offsets. Keys have these characters, and their masks have stars.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part =
        |character: char| character.is_ascii_alphanumeric() || "-_.*+/~".contains(character);
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + text[rest..].find(is_part)?;
        let end = text[start..]
            .find(|character| !is_part(character))
            .map_or(text.len(), |length| start + length);
        rest = end;
        Some((start, &text[start..end]))
    })
}

fn begins_as_key(word: &str) -> bool {
    // A JSON web token has three parts, and the first is an object in base64.
    let is_token = word.starts_with("eyJ") && word.split('.').count() == 3;
    is_token
        || KEY_PREFIXES.iter().any(|(beginning, more)| {
            word.starts_with(beginning) && word.len() >= beginning.len() + more
        })
}

/// Whether a word announces a key (true) or another random word (false); none where it announces neither.
fn announces(word: &str) -> Option<bool> {
    if word.len() > MIN_RANDOM * 2 {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let last = word.rsplit(['-', '_', '.', '/']).next().unwrap_or(&word);
    if OTHER_WORDS.contains(&last) {
        return Some(false);
    }
    let is_compound = ["apikey", "token", "secret"]
        .iter()
        .any(|end| last.ends_with(end));
    (is_compound || KEY_WORDS.contains(&last)).then_some(true)
}

/// Whether a word looks random, unlike the names of models, parameters and classes.
fn is_random(word: &str) -> bool {
    let parts = || word.split(|character: char| !character.is_ascii_alphanumeric());
    let all: usize = parts().map(str::len).sum();
    let mixed: usize = parts()
        .filter(|part| is_mixed(part.as_bytes()))
        .map(str::len)
        .sum();
    all >= MIN_RANDOM && mixed >= MIN_MIXED
}

fn is_mixed(part: &[u8]) -> bool {
    let changes = |differ: fn(u8, u8) -> bool| {
        let pairs = part.windows(2);
        pairs.filter(|pair| differ(pair[0], pair[1])).count()
    };
    let digits = changes(|one, other| one.is_ascii_digit() != other.is_ascii_digit());
    let cases = changes(|one, other| one.is_ascii_uppercase() != other.is_ascii_uppercase());
    (part.len() >= 4 && digits >= 2)
        || (part.len() >= MIN_RANDOM && cases > part.len() / 3)
        || part.len() >= ALWAYS_RANDOM
}

#[cfg(test)]
mod tests;
