//! Takes keys out of a text that another program wrote: an upstream that refuses a key likes to repeat it.
//!
//! What a request authenticates with is known, and goes wherever it stands and however it is escaped ([`KnownSecrets`]). Of other keys only the
//! look is known: a word goes when it begins as the keys of a known service do, follows `Bearer `, or is long and random and stands soon after
//! a word such as `key` or `token`. What an upstream masked itself (`sk-proj-****abcd`) goes too.

mod escapes;
mod known;

use std::borrow::Cow;
use std::ops::Range;

pub use known::KnownSecrets;

/// In place of a key.
const REDACTED: &str = "[redacted]";

/// How keys begin, and how many characters more make a word a key and not a word that happens to begin so.
const BEGINNINGS: [(&str, usize); 24] = [
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

/// The last part of a word that announces a key: `key`, `api-key`, `access_token`.
const ANNOUNCING: [&str; 10] = [
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
/// How many words after that a key may stand.
const REACH: usize = 6;
/// Words that announce something else that is long and random.
const NO_KEYS: [&str; 6] = ["id", "ids", "request", "model", "deployment", "trace"];

/// Fewest letters and digits of a random word.
const LONG: usize = 16;
/// Fewest of them in parts that mix letters and digits.
const MIXED: usize = 12;
/// Nobody writes a word of so many letters and digits.
const ENDLESS: usize = 40;

/// `text` without what looks like a key; as it is when it holds none.
pub fn redact(text: &str) -> Cow<'_, str> {
    replaced(text, looks(text, |_| false))
}

/// `text` with other words at these places.
fn replaced(text: &str, mut places: Vec<Range<usize>>) -> Cow<'_, str> {
    if places.is_empty() {
        return Cow::Borrowed(text);
    }
    places.sort_unstable_by_key(|place| place.start);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    let mut places = places.into_iter().peekable();
    while let Some(mut place) = places.next() {
        while let Some(next) = places.next_if(|next| next.start <= place.end) {
            place.end = place.end.max(next.end);
        }
        let start = text.floor_char_boundary(place.start).max(done);
        out.push_str(&text[done..start]);
        out.push_str(REDACTED);
        done = text.ceil_char_boundary(place.end);
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

/// Where words stand that look like keys, or that `is_known` knows where a key is announced.
fn looks(text: &str, is_known: impl Fn(&str) -> bool) -> Vec<Range<usize>> {
    let mut places = Vec::new();
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
            places.push(start..end + padding);
        }
        after_bearer = word == "Bearer" && text[end..].starts_with(' ');
        reach = match announces(bare) {
            _ if bare.len() < word.len() => 0,
            Some(true) => REACH,
            Some(false) => 0,
            None => reach.saturating_sub(1),
        };
    }
    places
}

/// The words of a text, each with its place: keys are made of these characters, and masks of stars.
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
    // A JSON web token: three parts, the first of which is an object in base64.
    let is_token = word.starts_with("eyJ") && word.split('.').count() == 3;
    is_token
        || BEGINNINGS.iter().any(|(beginning, more)| {
            word.starts_with(beginning) && word.len() >= beginning.len() + more
        })
}

/// Whether a key may follow this word, or something else that looks like one; none where it says nothing of that.
fn announces(word: &str) -> Option<bool> {
    if word.len() > LONG * 2 {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let last = word.rsplit(['-', '_', '.', '/']).next().unwrap_or(&word);
    if NO_KEYS.contains(&last) {
        return Some(false);
    }
    let is_compound = ["apikey", "token", "secret"]
        .iter()
        .any(|end| last.ends_with(end));
    (is_compound || ANNOUNCING.contains(&last)).then_some(true)
}

/// Whether a word looks as if a machine had drawn it, which names of models, parameters and classes do not.
fn is_random(word: &str) -> bool {
    let parts = || word.split(|character: char| !character.is_ascii_alphanumeric());
    let all: usize = parts().map(str::len).sum();
    let mixed: usize = parts()
        .filter(|part| is_mixed(part.as_bytes()))
        .map(str::len)
        .sum();
    all >= LONG && mixed >= MIXED
}

fn is_mixed(part: &[u8]) -> bool {
    let changes = |differ: fn(u8, u8) -> bool| {
        let pairs = part.windows(2);
        pairs.filter(|pair| differ(pair[0], pair[1])).count()
    };
    let digits = changes(|one, other| one.is_ascii_digit() != other.is_ascii_digit());
    let cases = changes(|one, other| one.is_ascii_uppercase() != other.is_ascii_uppercase());
    (part.len() >= 4 && digits >= 2)
        || (part.len() >= LONG && cases > part.len() / 3)
        || part.len() >= ENDLESS
}

#[cfg(test)]
mod tests;
