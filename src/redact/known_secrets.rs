//! The secrets of a request, kept as long as its exchange: an error may repeat them in any form.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue};
use memchr::memmem;

use super::unescape::{UnescapedText, percent_decoded, readings};
use super::{replace_ranges, suspected_keys};
use crate::config::Secret;

/// Minimum length in bytes of a secret that is redacted everywhere. A shorter one may be a common word, and is redacted as an announced key.
const MIN_SECRET: usize = 8;
/// Minimum length of a secret's beginning at the end of a text, which may be cut within the secret.
const MIN_CUT_SECRET: usize = 6;
/// Minimum length of a part of a header, such as a signature, that is a secret of its own.
const MIN_PART: usize = 16;

/// Bytes of a text that are searched: the search takes memory for each reading of the text.
const MAX_TEXT: usize = 256 * 1024;
/// Bytes that are searched for all secrets of one text together: a cookie may have thousands of parts.
const MAX_SEARCHED: usize = 16 << 20;

/// Endings of the names of headers and parameters with secrets.
const SECRET_NAMES: [&str; 9] = [
    "key",
    "token",
    "auth",
    "authorization",
    "secret",
    "password",
    "cookie",
    "signature",
    "credential",
];
/// Names of parameters with secrets.
const SECRET_PARAMETERS: [&str; 3] = ["sig", "code", "pwd"];
/// Schemes before the secret in `Authorization`.
const SCHEMES: [&str; 7] = [
    "basic", "bearer", "token", "key", "apikey", "api-key", "digest",
];

/// The secrets of one exchange, dropped as soon as its end was read.
#[derive(Debug, Default)]
pub struct KnownSecrets {
    /// The gateway's keys.
    own: Arc<[Secret]>,
    /// The values in the request, with schemes and codings.
    presented: Vec<Secret>,
}

impl KnownSecrets {
    /// The secrets of a request, and the gateway's `own` keys, which the upstream gets in their place.
    pub fn of(headers: &HeaderMap, query: Option<&str>, own: &Arc<[Secret]>) -> Self {
        let mut presented = Vec::new();
        for (name, value) in headers {
            if is_secret_header(name.as_str()) {
                presented.push(Secret::from(&*text(value.as_bytes())));
            }
        }
        for parameter in query.into_iter().flat_map(|query| query.split('&')) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if is_secret_parameter(name) && !value.is_empty() {
                presented.push(Secret::from(value));
            }
        }
        KnownSecrets {
            own: Arc::clone(own),
            presented,
        }
    }

    /// The secret of a request of this program.
    pub fn of_header(authorization: &HeaderValue) -> Self {
        KnownSecrets {
            own: Arc::default(),
            presented: vec![Secret::from(&*text(authorization.as_bytes()))],
        }
    }

    /// Their memory in bytes, without the gateway's own, which are shared.
    pub fn size_estimate(&self) -> usize {
        let presented = self.presented.iter();
        presented
            .map(|secret| size_of::<Secret>() + secret.reveal().len())
            .sum()
    }

    /// Redacts the secrets and all words that look like keys. A text that is too long for the search is cut.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let secrets = self.secrets();
        let searched = searched(text, secrets.len());
        let mut ranges = secret_ranges(searched, &secrets);
        let is_secret = |word: &str| secrets.iter().any(|secret| secret == word);
        ranges.extend(suspected_keys(searched, is_secret));
        cut_after(searched, text, replace_ranges(searched, ranges))
    }

    /// Redacts the secrets alone, and cuts as [`Self::redact`] does.
    pub fn redact_known<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let secrets = self.secrets();
        let searched = searched(text, secrets.len());
        let redacted = replace_ranges(searched, secret_ranges(searched, &secrets));
        cut_after(searched, text, redacted)
    }

    /// The secrets themselves, without schemes and codings.
    fn secrets(&self) -> Vec<String> {
        let mut secrets = Vec::new();
        for secret in self.own.iter().chain(&self.presented) {
            split_secrets(secret.reveal(), &mut secrets);
        }
        secrets.retain(|secret| !secret.is_empty());
        secrets.sort_unstable();
        secrets.dedup();
        secrets
    }
}

/// The beginning of a text that can be searched for so many secrets in bounded time and memory.
fn searched(text: &str, secrets: usize) -> &str {
    let most = MAX_TEXT.min(MAX_SEARCHED / secrets.max(1));
    &text[..text.floor_char_boundary(most)]
}

/// Adds the length of a text whose end was not searched, and so is left out.
fn cut_after<'t>(searched: &str, text: &str, redacted: Cow<'t, str>) -> Cow<'t, str> {
    if searched.len() == text.len() {
        return redacted;
    }
    Cow::Owned(format!("{redacted}…[of {} bytes]", text.len()))
}

fn is_secret_header(header: &str) -> bool {
    // These names end like those of secrets, but their values are none and help to find a request.
    let is_harmless = matches!(header, "idempotency-key" | "sec-websocket-key");
    let ends_as_secret = SECRET_NAMES.iter().any(|name| header.ends_with(name));
    (ends_as_secret && !is_harmless) || header == "sec-websocket-protocol"
}

fn is_secret_parameter(name: &str) -> bool {
    let name = percent_decoded(name).to_ascii_lowercase();
    SECRET_NAMES.iter().any(|end| name.ends_with(end)) || SECRET_PARAMETERS.contains(&&*name)
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        // Headers were once Latin-1.
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

/// Splits the value of a header or parameter into its secrets.
fn split_secrets(value: &str, secrets: &mut Vec<String>) {
    let value = value.trim();
    let is_scheme = |word: &&str| {
        SCHEMES
            .iter()
            .any(|scheme| scheme.eq_ignore_ascii_case(word))
    };
    let scheme = value.split(' ').next().filter(is_scheme);
    let scheme = scheme.unwrap_or_default();
    let rest = value[scheme.len()..].trim();
    if scheme.eq_ignore_ascii_case("basic")
        && let Ok(pair) = STANDARD
            .decode(rest)
            .or_else(|_| STANDARD_NO_PAD.decode(rest))
    {
        let pair = text(&pair).into_owned();
        secrets.extend(
            pair.split_once(':')
                .map(|(_, password)| password.to_owned()),
        );
        secrets.push(pair);
    }
    // Cookies, signatures and WebSocket protocols have several parts, some with a name.
    for part in rest.split([',', ';', ' ']) {
        let part = part.trim();
        let named = part
            .split_once('=')
            .map(|(_, value)| value.trim_matches('"'));
        let dotted = part.split_once("key.").map(|(_, key)| key);
        let parts = [Some(part), named, dotted].into_iter().flatten();
        secrets.extend(
            parts
                .filter(|part| part.len() >= MIN_PART)
                .map(str::to_owned),
        );
    }
    if rest.contains(['%', '+']) {
        secrets.push(percent_decoded(rest));
        secrets.push(percent_decoded(&rest.replace('+', " ")));
    }
    // An unknown scheme looks like the first word of a secret.
    let is_word = |word: &str| {
        word.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let after_word = rest.split_once(' ').filter(|(first, _)| is_word(first));
    secrets.extend(after_word.map(|(_, rest)| rest.trim().to_owned()));
    secrets.push(rest.to_owned());
}

/// The ranges of the secrets in `text`, in any form.
fn secret_ranges(text: &str, secrets: &[String]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let long = || secrets.iter().filter(|secret| secret.len() >= MIN_SECRET);
    if long().next().is_none() {
        return ranges;
    }
    for reading in readings(text) {
        let lower_case = reading.lower_case();
        for secret in long() {
            let secret = secret.to_ascii_lowercase();
            find_secret(&reading, &lower_case, secret.as_bytes(), &mut ranges);
        }
    }
    for form in long().flat_map(|secret| base64_forms(secret.as_bytes())) {
        find_base64(text.as_bytes(), form.as_bytes(), &mut ranges);
    }
    ranges
}

/// Finds a secret in a reading, both in lower case: the whole, either half, and its beginning at the end of the text.
fn find_secret(
    reading: &UnescapedText,
    text: &[u8],
    secret: &[u8],
    ranges: &mut Vec<Range<usize>>,
) {
    let half = secret.len().div_ceil(2).max(MIN_SECRET);
    let same = |pair: &(&u8, &u8)| pair.0 == pair.1;
    for at in memmem::find_iter(text, &secret[..half]) {
        let more = text[at + half..].iter().zip(&secret[half..]);
        let end = at + half + more.take_while(same).count();
        ranges.push(reading.original_range(&(at..end)));
    }
    let (before, last) = secret.split_at(secret.len() - half);
    for at in memmem::find_iter(text, last) {
        let more = text[..at].iter().rev().zip(before.iter().rev());
        let start = at - more.take_while(same).count();
        ranges.push(reading.original_range(&(start..at + half)));
    }
    let mut cut = (MIN_CUT_SECRET..half).rev();
    if let Some(length) = cut.find(|length| text.ends_with(&secret[..*length])) {
        ranges.push(reading.original_range(&(text.len() - length..text.len())));
    }
}

/// The letters that every base64 of a text with this secret has: three forms, by the offset of the secret in a group of three bytes.
fn base64_forms(secret: &[u8]) -> Vec<String> {
    let mut forms = Vec::new();
    for before in 0..3 {
        let whole = [&[0; 2][..before], secret].concat();
        // A letter has six bits. Letters that share bits with other bytes are left out.
        let own = (before * 8).div_ceil(6)..whole.len() * 8 / 6;
        forms.push(STANDARD_NO_PAD.encode(&whole)[own.clone()].to_owned());
        forms.push(URL_SAFE_NO_PAD.encode(&whole)[own].to_owned());
    }
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// Finds the words of base64 with `form` in them.
fn find_base64(text: &[u8], form: &[u8], ranges: &mut Vec<Range<usize>>) {
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
    for at in memmem::find_iter(text, form) {
        let before = text[..at].iter().rev().take_while(is_part).count();
        let after = text[at..].iter().take_while(is_part).count();
        ranges.push(at - before..at + after);
    }
}
