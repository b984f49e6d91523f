//! What a request authenticates with, kept for as long as its exchange lasts: an error may repeat it in any form.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue};
use memchr::memmem;

use super::escapes::{Layer, layers, percent_decoded};
use super::{looks, replaced};
use crate::config::Secret;

/// Shortest secret, in bytes, that is looked for everywhere. A shorter one may be a common word, and goes where a key is announced.
const SHORTEST: usize = 8;
/// Shortest beginning of a secret at the end of a text: where texts are cut, they may be cut within one.
const SHORTEST_CUT: usize = 6;
/// Shortest part of a header that consists of several, such as a signature, that is taken for a secret of its own.
const SHORTEST_PART: usize = 16;

/// Most bytes of a text in which secrets are looked for: a search takes memory for every way in which the text reads.
const LONGEST_TEXT: usize = 256 * 1024;
/// Most bytes that are searched in one text for all secrets together: a cookie may have thousands of parts.
const MOST_SEARCHED: usize = 16 << 20;

/// The last letters of names of headers and parameters that hold secrets.
const NAMES: [&str; 9] = [
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
/// Those of parameters alone.
const PARAMETERS: [&str; 3] = ["sig", "code", "pwd"];
/// What stands before the secret in an `Authorization`.
const SCHEMES: [&str; 7] = [
    "basic", "bearer", "token", "key", "apikey", "api-key", "digest",
];

/// The secrets of one exchange. They are shown nowhere, and dropped as soon as its end was read.
#[derive(Debug, Default)]
pub struct KnownSecrets {
    /// Of the gateway itself.
    own: Arc<[Secret]>,
    /// As the request presents them, with schemes and codings.
    presented: Vec<Secret>,
}

impl KnownSecrets {
    /// Those of a request, and the gateway's `own`, which go up in their place.
    pub fn of(headers: &HeaderMap, query: Option<&str>, own: &Arc<[Secret]>) -> Self {
        let mut presented = Vec::new();
        for (name, value) in headers {
            if holds_secret(name.as_str()) {
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

    /// That of a program's own request.
    pub fn of_header(authorization: &HeaderValue) -> Self {
        KnownSecrets {
            own: Arc::default(),
            presented: vec![Secret::from(&*text(authorization.as_bytes()))],
        }
    }

    /// Bytes that they take beside the exchange. The gateway's own are shared.
    pub fn weight(&self) -> usize {
        let presented = self.presented.iter();
        presented
            .map(|secret| size_of::<Secret>() + secret.reveal().len())
            .sum()
    }

    /// `text` without any of them, and without what looks like a key. A text that would take too long to search is cut.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let secrets = self.secrets();
        let searched = searched(text, secrets.len());
        let mut places = places(searched, &secrets);
        let short = |word: &str| secrets.iter().any(|secret| secret == word);
        places.extend(looks(searched, short));
        cut_after(searched, text, replaced(searched, places))
    }

    /// `text` without any of them, cut as by [`Self::redact`].
    pub fn redact_known<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let secrets = self.secrets();
        let searched = searched(text, secrets.len());
        let redacted = replaced(searched, places(searched, &secrets));
        cut_after(searched, text, redacted)
    }

    /// Each by itself: without its scheme, and decoded.
    fn secrets(&self) -> Vec<String> {
        let mut secrets = Vec::new();
        for secret in self.own.iter().chain(&self.presented) {
            take_apart(secret.reveal(), &mut secrets);
        }
        secrets.retain(|secret| !secret.is_empty());
        secrets.sort_unstable();
        secrets.dedup();
        secrets
    }
}

/// As much of a text as can be searched for so many secrets in bounded time and memory.
fn searched(text: &str, secrets: usize) -> &str {
    let most = LONGEST_TEXT.min(MOST_SEARCHED / secrets.max(1));
    &text[..text.floor_char_boundary(most)]
}

/// Says what was not searched, and so is not shown.
fn cut_after<'t>(searched: &str, text: &str, redacted: Cow<'t, str>) -> Cow<'t, str> {
    if searched.len() == text.len() {
        return redacted;
    }
    Cow::Owned(format!("{redacted}…[of {} bytes]", text.len()))
}

fn holds_secret(header: &str) -> bool {
    // These are not secret, and help to find a request.
    let is_harmless = matches!(header, "idempotency-key" | "sec-websocket-key");
    let ends_as_secret = NAMES.iter().any(|name| header.ends_with(name));
    (ends_as_secret && !is_harmless) || header == "sec-websocket-protocol"
}

fn is_secret_parameter(name: &str) -> bool {
    let name = percent_decoded(name).to_ascii_lowercase();
    NAMES.iter().any(|end| name.ends_with(end)) || PARAMETERS.contains(&&*name)
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        // Latin-1, as headers once were.
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

/// What is secret in a header's or parameter's value.
fn take_apart(value: &str, secrets: &mut Vec<String>) {
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
    // Cookies, signatures and WebSocket protocols have several parts, some with a name before them.
    for part in rest.split([',', ';', ' ']) {
        let part = part.trim();
        let named = part
            .split_once('=')
            .map(|(_, value)| value.trim_matches('"'));
        let dotted = part.split_once("key.").map(|(_, key)| key);
        let several = [Some(part), named, dotted].into_iter().flatten();
        secrets.extend(
            several
                .filter(|part| part.len() >= SHORTEST_PART)
                .map(str::to_owned),
        );
    }
    if rest.contains(['%', '+']) {
        secrets.push(percent_decoded(rest));
        secrets.push(percent_decoded(&rest.replace('+', " ")));
    }
    // A scheme that is not known looks like this, as the first word of a secret may.
    let is_word = |word: &str| {
        word.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let after_word = rest.split_once(' ').filter(|(first, _)| is_word(first));
    secrets.extend(after_word.map(|(_, rest)| rest.trim().to_owned()));
    secrets.push(rest.to_owned());
}

/// Where the secrets stand in `text`, in any form.
fn places(text: &str, secrets: &[String]) -> Vec<Range<usize>> {
    let mut places = Vec::new();
    let long = || secrets.iter().filter(|secret| secret.len() >= SHORTEST);
    if long().next().is_none() {
        return places;
    }
    for layer in layers(text) {
        let read = layer.lower_case();
        for secret in long() {
            let secret = secret.to_ascii_lowercase();
            find(&layer, &read, secret.as_bytes(), &mut places);
        }
    }
    for form in long().flat_map(|secret| base64_forms(secret.as_bytes())) {
        find_word(text.as_bytes(), form.as_bytes(), &mut places);
    }
    places
}

/// Finds a secret in what a layer reads as, both in lower case: the whole, either half of it, and its beginning at the end of the text.
fn find(layer: &Layer, text: &[u8], secret: &[u8], places: &mut Vec<Range<usize>>) {
    let half = secret.len().div_ceil(2).max(SHORTEST);
    let same = |pair: &(&u8, &u8)| pair.0 == pair.1;
    for at in memmem::find_iter(text, &secret[..half]) {
        let more = text[at + half..].iter().zip(&secret[half..]);
        let end = at + half + more.take_while(same).count();
        places.push(layer.place(&(at..end)));
    }
    let (before, last) = secret.split_at(secret.len() - half);
    for at in memmem::find_iter(text, last) {
        let more = text[..at].iter().rev().zip(before.iter().rev());
        let start = at - more.take_while(same).count();
        places.push(layer.place(&(start..at + half)));
    }
    let mut cut = (SHORTEST_CUT..half).rev();
    if let Some(length) = cut.find(|length| text.ends_with(&secret[..*length])) {
        places.push(layer.place(&(text.len() - length..text.len())));
    }
}

/// What is the same in every base64 of a text that holds this secret: three, by where it stands in groups of three bytes.
fn base64_forms(secret: &[u8]) -> Vec<String> {
    let mut forms = Vec::new();
    for before in 0..3 {
        let whole = [&[0; 2][..before], secret].concat();
        // A character has six bits; those that other bytes have a share in are left out.
        let own = (before * 8).div_ceil(6)..whole.len() * 8 / 6;
        forms.push(STANDARD_NO_PAD.encode(&whole)[own.clone()].to_owned());
        forms.push(URL_SAFE_NO_PAD.encode(&whole)[own].to_owned());
    }
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// Finds the words of base64 that hold `form`.
fn find_word(text: &[u8], form: &[u8], places: &mut Vec<Range<usize>>) {
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
    for at in memmem::find_iter(text, form) {
        let before = text[..at].iter().rev().take_while(is_part).count();
        let after = text[at..].iter().take_while(is_part).count();
        places.push(at - before..at + after);
    }
}
