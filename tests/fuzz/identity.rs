//! Identity headers: nobody's header makes an identity longer than its bounds, and no value of one is repeated in a complaint.
//!
//! An input is lines of `name: value`. A line of `name= value` is sent with its value in base64.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use spangate::internals::identity::{Identity, IdentityDefaults, LogMode, is_consumed, read};

use crate::engine::{fingerprint, magnitude, run};

/// In values of the corpus only, never in a name.
const MARKER: &str = "Zq7Kx";
const TOKENS: &[&str] = &[
    MARKER,
    "\nx-respan-metadata: {\"a\":\"Zq7Kx\"}",
    "\nx-respan-thread-identifier: ",
    "\nx-respan-customer-identifier: ",
    "\nx-respan-trace-id: ",
    "\nx-respan-log: off",
    "\nx-respan-log: metadata",
    "\nx-data-respan-params= {",
    "\nx-data-keywordsai-params= {",
    "\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "\nauthorization: Bearer ",
    "\"metadata\":{",
    "\"customer_params\":{\"name\":",
    "\"trace_unique_id\":",
    "\"spangate_outcome\":",
    "\\ud800",
    "ä€😀",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
];

fn headers<'l>(lines: impl Iterator<Item = &'l [u8]>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some(at) = line.iter().position(|byte| matches!(byte, b':' | b'=')) else {
            continue;
        };
        let value = line[at + 1..].trim_ascii();
        let encoded = STANDARD.encode(value);
        let value = if line[at] == b'=' {
            encoded.as_bytes()
        } else {
            value
        };
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(&line[..at]),
            HeaderValue::from_bytes(value),
        ) {
            headers.append(name, value);
        }
    }
    headers
}

/// All texts but metadata.
fn texts(identity: &Identity) -> Vec<&str> {
    let texts = [
        &identity.customer.identifier,
        &identity.customer.name,
        &identity.customer.email,
        &identity.thread,
        &identity.session,
        &identity.custom,
        &identity.trace_group,
        &identity.environment,
        &identity.workflow_name,
        &identity.agent_name,
        &identity.span_name,
    ];
    texts.into_iter().flatten().map(String::as_str).collect()
}

#[test]
fn identity() {
    let defaults = IdentityDefaults {
        customer_identifier: Some("configured".to_owned()),
        metadata: BTreeMap::from([("zone".to_owned(), "configured".to_owned())]),
        environment: None,
    };
    run("identity", TOKENS, |input| {
        let lines = || input.split(|&byte| byte == b'\n');
        let all = headers(lines());
        let identity = read(&all, &defaults);

        let (texts, metadata) = (texts(&identity), &identity.metadata);
        let values = texts
            .iter()
            .copied()
            .chain(metadata.values().map(String::as_str));
        assert!(
            values.clone().all(|text| text.len() <= 4096),
            "4 KiB of a text"
        );
        assert!(texts.iter().all(|text| !text.is_empty()), "an empty text");
        assert!(metadata.len() <= 64, "{} keys", metadata.len());
        for key in metadata.keys() {
            assert!(
                (1..=128).contains(&key.len()),
                "{} bytes of a key",
                key.len()
            );
            assert!(!key.starts_with("spangate_"), "a forged {key}");
        }
        let keys: usize = metadata.keys().map(String::len).sum();
        let total = keys + values.map(str::len).sum::<usize>();
        assert!(total <= 16 << 10, "{total} bytes altogether");

        assert!(
            identity.unreadable.len() <= 64,
            "{} complaints",
            identity.unreadable.len()
        );
        for sentence in &identity.unreadable {
            assert!(
                sentence.len() <= 200 && !sentence.contains(MARKER),
                "{sentence}"
            );
        }
        if identity.log == LogMode::Off {
            assert!(
                texts.is_empty() && metadata.is_empty(),
                "a request that is off has an identity"
            );
        } else {
            assert!(metadata.contains_key("zone"), "configured metadata stays");
            assert!(
                identity.customer.identifier.is_some(),
                "a configured customer stays"
            );
        }
        assert!(identity.trace.is_none_or(|trace| trace.id.0 != [0; 16]));

        // Headers of different names may come in any order.
        let mut names: Vec<_> = all.keys().cloned().collect();
        names.reverse();
        let mut other_way = HeaderMap::new();
        for name in names {
            for value in all.get_all(&name) {
                other_way.append(name.clone(), value.clone());
            }
            if name.as_str().starts_with("x-respan-") {
                assert!(is_consumed(&name), "{name} is passed on");
            }
        }
        let sorted = |mut identity: Identity| {
            identity.unreadable.sort();
            identity
        };
        assert_eq!(
            sorted(read(&other_way, &defaults)),
            sorted(identity.clone())
        );

        let kept = serde_json::to_string(&identity).unwrap();
        assert_eq!(serde_json::from_str::<Identity>(&kept).unwrap(), identity);
        fingerprint((
            texts.len(),
            magnitude(metadata.len()),
            magnitude(total),
            identity.trace.map(|trace| format!("{:?}", trace.by)),
            identity.parent.is_some(),
            &identity.unreadable,
        ))
    });
}
