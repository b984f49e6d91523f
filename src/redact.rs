//! Takes keys out of a text that another program wrote: an upstream that refuses a key likes to repeat it.
//!
//! A word is a key when it begins as the keys of a known service do, or follows `Bearer `. What an upstream masked itself
//! (`sk-proj-****abcd`) goes too.

use std::borrow::Cow;

/// In place of a key.
const REDACTED: &str = "[redacted]";

/// How keys begin, and how many characters more make a word a key and not a word that happens to begin so.
const BEGINNINGS: [(&str, usize); 13] = [
    ("sk-", 5),
    ("rk-", 8),
    ("pk-", 8),
    ("AIza", 20),
    ("AKIA", 12),
    ("ASIA", 12),
    ("ghp_", 16),
    ("gho_", 16),
    ("ghs_", 16),
    ("github_pat_", 16),
    ("xoxb-", 8),
    ("xoxp-", 8),
    ("hf_", 16),
];

/// `text` without the keys in it; as it is when it holds none.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut kept = 0;
    let mut after_bearer = false;
    for (start, word) in words(text) {
        if is_key(word) || after_bearer {
            out.push_str(&text[kept..start]);
            out.push_str(REDACTED);
            kept = start + word.len();
        }
        after_bearer = word == "Bearer" && text[start + word.len()..].starts_with(' ');
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[kept..]);
    Cow::Owned(out)
}

/// The words of a text, each with its place: keys are made of these characters, and masks of stars.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part =
        |character: char| character.is_ascii_alphanumeric() || "-_.*+/=".contains(character);
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

fn is_key(word: &str) -> bool {
    // A JSON web token: three parts, the first of which is an object in base64.
    let is_token = word.starts_with("eyJ") && word.split('.').count() == 3;
    is_token
        || BEGINNINGS.iter().any(|(beginning, more)| {
            word.starts_with(beginning) && word.len() >= beginning.len() + more
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_and_the_rest_stays() {
        for (text, expected) in [
            (
                "Incorrect API key provided: sk-proj-abcdefgh12345.",
                "Incorrect API key provided: [redacted]",
            ),
            (
                "key sk-1234****************cdef is wrong",
                "key [redacted] is wrong",
            ),
            (
                "got 'Authorization: Bearer abc.def' here",
                "got 'Authorization: Bearer [redacted]' here",
            ),
            (
                "tokens eyJhbGciOi.eyJzdWIiOi.c2ln and ghp_0123456789abcdef0",
                "tokens [redacted] and [redacted]",
            ),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn what_only_looks_a_little_like_a_key_stays() {
        for text in [
            "",
            "ask-me sk-1 task-force",
            "the bearer of news",
            "eyJ is how JSON begins",
            "risk-free é日本",
            "Bearer",
        ] {
            assert!(
                matches!(redact(text), Cow::Borrowed(same) if same == text),
                "{text}"
            );
        }
    }
}
