//! Keys go in every form, and ordinary errors stay as they are.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::config::Secret;

fn known(headers: &[(&'static str, &str)], query: Option<&str>, own: &[&str]) -> KnownSecrets {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            (HeaderName::from_static(name), value)
        })
        .collect();
    let own: Arc<[Secret]> = own.iter().map(|own| Secret::from(*own)).collect();
    KnownSecrets::of(&headers, query, &own)
}

fn percent(text: &str) -> String {
    let escapes: Vec<String> = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
    escapes.concat()
}

fn entities(text: &str) -> String {
    let entity = |character: char| match character {
        '&' => "&amp;".to_owned(),
        '"' => "&quot;".to_owned(),
        '<' => "&lt;".to_owned(),
        other if other.is_ascii_alphanumeric() => other.to_string(),
        other => format!("&#x{:x};", u32::from(other)),
    };
    text.chars().map(entity).collect()
}

fn json(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap();
    quoted[1..quoted.len() - 1].replace('/', "\\/")
}

#[test]
fn keys_are_redacted_and_other_words_stay() {
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
        (
            "Access denied due to invalid subscription key 3f9c0a1b2c3d4e5f60718293a4b5c6d7.",
            "Access denied due to invalid subscription key [redacted]",
        ),
        (
            "gsk_abcdEFGH and xai-abcdefgh are no keys",
            "[redacted] and [redacted] are no keys",
        ),
        (
            "authorization: bearer x7Kp2mQ9vR4tY8wZ1aB3 is unknown",
            "authorization: bearer [redacted] is unknown",
        ),
        (
            r#"{"API_KEY":"x7Kp2mQ9vR4tY8wZ1aB3=="}"#,
            r#"{"API_KEY":"[redacted]"}"#,
        ),
        (
            "token=0f8fad5b-d9cb-469f-a165-70867728950e&x=1",
            "token=[redacted]&x=1",
        ),
        (
            "The api-key that you sent, 'x7Kp2mQ9vR4tY8wZ1aB3', has expired",
            "The api-key that you sent, '[redacted]', has expired",
        ),
        (
            "invalid accessToken \"x7Kp2mQ9/R4tY8wZ1aB3+c5d6E\"",
            "invalid accessToken \"[redacted]\"",
        ),
    ] {
        assert_eq!(redact(text), expected);
    }
}

#[test]
fn words_that_resemble_keys_stay() {
    for text in [
        "",
        "ask-me sk-1 task-force",
        "the bearer of news",
        "eyJ is how JSON begins",
        "risk-free é日本",
        "Bearer",
        "Unknown key: 'response_format.json_schema.strict'",
        "token limit exceeded for gpt-4o-2024-08-06: 128000 tokens at most, you sent 190233",
        "Invalid token at meta-llama/Meta-Llama-3.1-405B-Instruct-Turbo",
        "The API key is wrong (request id: 9f3b2a7c4d5e6f708192a3b4c5d6e7f8)",
        "Your key is missing. See chatcmpl-9abC3dEf7GhI1jKlMn0pQrStUv",
        "max_completion_tokens is too large: 12345678901234567890123456789012",
        "com.azure.core.exception.ClientAuthenticationException: no credential",
        "Error 0x80070005 while reading claude-3-5-sonnet-20241022 without a key",
    ] {
        assert!(
            matches!(redact(text), Cow::Borrowed(same) if same == text),
            "{text} became {}",
            redact(text)
        );
    }
}

#[test]
fn the_secrets_of_a_request_are_redacted_in_every_place() {
    let basic = format!("Basic {}", STANDARD.encode("alice:correct horse"));
    let headers = [
        ("authorization", &*basic),
        ("api-key", "plain-words-as-key"),
        ("x-goog-api-key", "other words as key"),
        ("cookie", "theme=dark; session=cookie-of-sixteen-words"),
        (
            "sec-websocket-protocol",
            "realtime, openai-insecure-api-key.socketwordsaskey, v1",
        ),
        ("idempotency-key", "harmless-and-useful"),
    ];
    let query = Some("api-version=2024-10-21&subscription-key=query%2Dwords%2Fas-key&sig=short");
    let known = known(&headers, query, &["words-of-the-gateway"]);
    for secret in [
        "alice:correct horse",
        "correct horse",
        "plain-words-as-key",
        "other words as key",
        "cookie-of-sixteen-words",
        "socketwordsaskey",
        "query-words/as-key",
        "query%2Dwords%2Fas-key",
        "words-of-the-gateway",
    ] {
        let text = format!("there is no {secret} here");
        assert_eq!(known.redact(&text), "there is no [redacted] here");
    }
    for text in [
        "realtime harmless-and-useful theme 2024-10-21 short of something",
        "the key was sent with sig",
    ] {
        assert_eq!(known.redact(text), text);
    }
    assert_eq!(
        known.redact("invalid key: short"),
        "invalid key: [redacted]"
    );
}

#[test]
fn half_a_secret_and_its_beginning_at_a_cut_are_redacted() {
    let known = known(&[("api-key", "alpha-beta-gamma-delta-omega")], None, &[]);
    for (text, expected) in [
        ("no alpha-beta-gamma… here", "no [redacted]… here"),
        ("no …gamma-delta-omega here", "no …[redacted] here"),
        ("there is no alpha-b", "there is no [redacted]"),
        (
            "there is no ALPHA-BETA-GAMMA-DELTA-OMEGA!",
            "there is no [redacted]!",
        ),
        ("alpha and omega", "alpha and omega"),
    ] {
        assert_eq!(known.redact(text), expected);
    }
}

#[test]
fn a_long_text_of_escapes_has_a_bounded_number_of_readings() {
    let known = known(&[("api-key", "alpha-beta-gamma-delta-omega")], None, &[]);
    for escape in ["\\\\", "%25", "&amp;", "\\u0025&%5c", "alpha-be"] {
        let text = escape.repeat((255 << 10) / escape.len());
        assert!(unescape::readings(&text).len() <= 13);
        let text = format!("{text} alpha-beta-gamma-delta-omega");
        assert!(known.redact(&text).ends_with(REDACTED));
    }
}

#[test]
fn the_unsearched_end_of_a_long_text_is_left_out() {
    let cookie: Vec<String> = (0..3000)
        .map(|number| format!("part-of-a-cookie-{number:04}"))
        .collect();
    let (many, last) = (cookie.join("; "), "part-of-a-cookie-2999");
    let known_of = |cookie: &str| known(&[("cookie", cookie)], None, &[]);
    for (cookie, most) in [(last, 300_000), (&*many, 6_000)] {
        let known = known_of(cookie);
        for redacted in [
            known.redact(&format!("{last} é{}{last}", "é".repeat(500_000))),
            known.redact_known(&format!("{last} é{}{last}", "é".repeat(500_000))),
        ] {
            assert!(redacted.starts_with("[redacted] é"));
            assert!(
                redacted.ends_with("é…[of 1000045 bytes]"),
                "{}",
                redacted.len()
            );
            assert!(redacted.len() < most);
        }
    }
}

#[test]
fn secrets_are_in_no_debug_output() {
    let known = known(
        &[("api-key", "plain-words-as-key")],
        None,
        &["of-the-gateway"],
    );
    let shown = format!("{known:?}");
    assert!(
        !shown.contains("words") && !shown.contains("gateway"),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn no_form_of_a_credential_stays(
        secret in "[!-~]{8,60}",
        scheme in prop_oneof![Just(""), Just("Bearer "), Just("bearer "), Just("Token "), Just("Some-Scheme "), Just("Basic ")],
        before in "[a-z ]{0,9}[^a-zA-Z0-9+/_=%&\\\\-]",
        after in "[^a-zA-Z0-9+/_=%&\\\\-][a-z ]{0,9}",
        place in 0..4_usize,
    ) {
        let presented = match scheme {
            "Basic " => format!("Basic {}", STANDARD.encode(format!("user:{secret}"))),
            scheme => format!("{scheme}{secret}"),
        };
        let query = format!("a=b&api-key={}", percent(&secret));
        let known = match place {
            0 => known(&[("authorization", &presented)], None, &[]),
            1 => known(&[("x-api-key", &secret)], None, &[]),
            2 => known(&[], Some(&query), &[]),
            _ => known(&[], None, &[&secret]),
        };
        let forms = [
            secret.clone(),
            secret.to_ascii_lowercase(),
            json(&secret),
            json(&json(&secret)),
            percent(&secret),
            json(&percent(&secret)),
            entities(&secret),
            STANDARD.encode(&secret),
            STANDARD.encode(format!(":{secret}!")),
            URL_SAFE_NO_PAD.encode(format!("xy{secret}")),
        ];
        for form in forms {
            let text = format!("{before}{form}{after}");
            let left = known.redact(&text);
            prop_assert!(!left.contains(&form), "{form} is in {left}");
            prop_assert!(left.contains(REDACTED));
        }
    }

    #[test]
    fn any_text_can_be_redacted(text in "\\PC{0,80}", secret in "\\PC{1,40}") {
        let known = known(&[("api-key", &secret)], Some(&secret), &[]);
        let _ = known.redact(&text);
        let long = secret.trim().len() >= 8;
        let found = known.redact(&format!("{text} {} {text}", secret.trim())).contains(REDACTED);
        prop_assert!(found || !long);
    }
}
