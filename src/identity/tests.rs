//! Every header is read, the stronger wins over the weaker, and fields that cannot be read are listed.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use http::HeaderValue;
use proptest::prelude::*;

use super::*;

mod bounds;
mod trace;
use crate::span::{self, TraceId, Value};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn of(pairs: &[(&str, &str)]) -> Identity {
    read(&headers(pairs), &IdentityDefaults::default())
}

fn params(json: &str) -> String {
    STANDARD.encode(json)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn explicit_trace(identity: &Identity) -> Option<(String, TraceSource)> {
    identity.trace.map(|trace| (hex(&trace.id.0), trace.by))
}

fn attributes(identity: &Identity) -> Vec<(String, String)> {
    let mut out = Vec::new();
    span::identity::attributes(identity, &mut out);
    let text = |value| {
        if let Value::Text(text) = value {
            text
        } else {
            panic!("not a text")
        }
    };
    out.into_iter()
        .map(|(key, value)| (key.into_owned(), text(value)))
        .collect()
}

#[test]
fn a_request_without_any_of_our_headers_is_nobody() {
    let identity = of(&[
        ("content-type", "application/json"),
        ("x-stainless-lang", "python"),
    ]);
    assert_eq!(attributes(&identity), []);
    assert_eq!(
        (identity.trace, identity.parent, identity.log),
        (None, None, LogMode::Full)
    );
    assert_eq!(identity.unreadable, Vec::<String>::new());
}

#[test]
fn every_single_header_becomes_its_attribute() {
    let identity = of(&[
        ("X-Respan-Customer-Identifier", " acme "),
        ("X-Respan-Customer-Name", "Åcme"),
        ("X-Respan-Customer-Email", "a@acme.example"),
        ("X-Respan-Thread-Identifier", "thread-1"),
        ("X-Respan-Session-Identifier", "session-1"),
        ("X-Respan-Custom-Identifier", "custom-1"),
        ("X-Respan-Trace-Group-Identifier", "group-1"),
        (
            "X-Respan-Metadata",
            r#"{"team":"support","tier":2,"big":123456789012345678901234567890,"deep":{ "b": [1, "x y"], "a": null }}"#,
        ),
        ("X-Respan-Environment", "staging"),
        ("X-Respan-Workflow-Name", "Triage"),
        ("X-Respan-Agent-Name", "planner"),
        ("X-Respan-Log", "Metadata"),
    ]);
    let expected = [
        ("respan.customer_params.customer_identifier", "acme"),
        ("respan.customer_params.email", "a@acme.example"),
        ("respan.customer_params.name", "Åcme"),
        ("respan.threads.thread_identifier", "thread-1"),
        ("respan.sessions.session_identifier", "session-1"),
        ("respan.trace.trace_group_identifier", "group-1"),
        ("respan.span_params.custom_identifier", "custom-1"),
        ("respan.environment", "staging"),
        ("traceloop.workflow.name", "Triage"),
        ("gen_ai.agent.name", "planner"),
        ("respan.metadata.big", "123456789012345678901234567890"),
        ("respan.metadata.deep", r#"{"b":[1,"x y"],"a":null}"#),
        ("respan.metadata.team", "support"),
        ("respan.metadata.tier", "2"),
    ];
    assert_eq!(
        attributes(&identity),
        expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
    assert_eq!(identity.agent_name.as_deref(), Some("planner"));
    assert_eq!(identity.log, LogMode::Metadata);
    assert_eq!(identity.unreadable, Vec::<String>::new());
}

#[test]
fn every_documented_parameter_of_the_base64_object_is_read() {
    let json = r#"{"customer_identifier":"top","customer_params":{"customer_identifier":"acme","name":"Acme","email":"a@acme.example"},
        "thread_identifier":"thread-1","session_identifier":"session-1","custom_identifier":"custom-1","group_identifier":"group-1",
        "metadata":{"team":"support"},"environment":"staging","trace_unique_id":"4BF92F3577B34DA6A3CE929D0E0E4736",
        "span_parent_id":"00F067AA0BA902B7","span_workflow_name":"Triage","span_name":"ask","disable_log":true,"unknown":[1]}"#;
    for name in ["X-Data-Respan-Params", "X-Data-Keywordsai-Params"] {
        let identity = of(&[(name, &params(json))]);
        assert_eq!(identity.customer.identifier.as_deref(), Some("acme"));
        assert_eq!(identity.customer.name.as_deref(), Some("Acme"));
        assert_eq!(identity.customer.email.as_deref(), Some("a@acme.example"));
        assert_eq!(identity.thread.as_deref(), Some("thread-1"));
        assert_eq!(identity.session.as_deref(), Some("session-1"));
        assert_eq!(identity.custom.as_deref(), Some("custom-1"));
        assert_eq!(identity.trace_group.as_deref(), Some("group-1"));
        assert_eq!(identity.metadata["team"], "support");
        assert_eq!(identity.environment.as_deref(), Some("staging"));
        assert_eq!(
            explicit_trace(&identity),
            Some((TRACE.to_owned(), TraceSource::Params))
        );
        assert_eq!(
            identity.parent,
            Some(SpanId([0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]))
        );
        assert_eq!(identity.workflow_name.as_deref(), Some("Triage"));
        assert_eq!(identity.span_name.as_deref(), Some("ask"));
        assert_eq!(identity.log, LogMode::Metadata);
        assert_eq!(identity.unreadable, Vec::<String>::new());
    }
}

#[test]
fn base64_is_read_in_either_alphabet_with_or_without_padding() {
    // Chosen so that both letters on which the alphabets differ occur.
    let json = r#"{"thread_identifier":"~~~???>>>ÿÿ"}"#;
    for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
        let encoded = engine.encode(json);
        assert_eq!(
            of(&[("x-data-respan-params", &encoded)]).thread.as_deref(),
            Some("~~~???>>>ÿÿ"),
            "{encoded}"
        );
    }
    assert!(STANDARD.encode(json).contains(['+', '/']));
}

#[test]
fn single_headers_win_over_params_over_former_params_over_defaults() {
    let defaults = IdentityDefaults {
        customer_identifier: Some("default".to_owned()),
        metadata: BTreeMap::from(
            ["a", "b", "c", "d"].map(|key| (key.to_owned(), "default".to_owned())),
        ),
        environment: Some("default".to_owned()),
    };
    let former = params(
        r#"{"customer_identifier":"former","thread_identifier":"former","session_identifier":"former",
        "metadata":{"b":"former","c":"former","d":"former"},"disable_log":true}"#,
    );
    let current = params(
        r#"{"customer_identifier":"params","thread_identifier":"params","metadata":{"c":"params","d":"params"}}"#,
    );
    let identity = read(
        &headers(&[
            ("x-data-keywordsai-params", &former),
            ("x-respan-customer-identifier", "header"),
            ("x-respan-metadata", r#"{"d":"header"}"#),
            ("x-data-respan-params", &current),
            ("x-respan-log", "full"),
        ]),
        &defaults,
    );
    assert_eq!(identity.customer.identifier.as_deref(), Some("header"));
    assert_eq!(identity.thread.as_deref(), Some("params"));
    assert_eq!(identity.session.as_deref(), Some("former"));
    assert_eq!(identity.environment.as_deref(), Some("default"));
    let metadata: Vec<_> = identity
        .metadata
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        metadata,
        [
            ("a", "default"),
            ("b", "former"),
            ("c", "params"),
            ("d", "header")
        ]
    );
    assert_eq!(identity.log, LogMode::Full);
    assert_eq!(
        read(&HeaderMap::new(), &defaults)
            .customer
            .identifier
            .as_deref(),
        Some("default")
    );
}

#[test]
fn empty_values_are_absent() {
    let json = params(
        r#"{"thread_identifier":"  ","session_identifier":null,"metadata":null,"customer_params":{"name":""}}"#,
    );
    let identity = of(&[
        ("x-respan-customer-identifier", ""),
        ("x-respan-log", " "),
        ("traceparent", ""),
        ("x-data-respan-params", &json),
    ]);
    assert_eq!(identity, of(&[]));
}

#[test]
fn a_field_that_cannot_be_read_is_listed_by_name_and_the_others_stay() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (
            &[("x-respan-log", "loud")],
            "X-Respan-Log is none of full, metadata, off",
        ),
        (
            &[("x-respan-metadata", "[1]")],
            "X-Respan-Metadata is not a JSON object",
        ),
        (
            &[("x-respan-metadata", r#"{"spangate_outcome":"forged"}"#)],
            "X-Respan-Metadata: metadata has an empty key or one that begins with spangate_",
        ),
        (
            &[("x-respan-metadata", r#"{"a":"\ud800"}"#)],
            "X-Respan-Metadata: metadata has a text that is not Unicode",
        ),
        (
            &[("x-data-respan-params", "!!")],
            "X-Data-Respan-Params is not base64",
        ),
        (
            &[("x-data-respan-params", "WzFd")],
            "X-Data-Respan-Params is not base64 of a JSON object",
        ),
        (
            &[("x-respan-agent-name", "a"), ("x-respan-agent-name", "b")],
            "X-Respan-Agent-Name was sent more than once, with different values",
        ),
        (
            &[("traceparent", PARENT), ("traceparent", PARENT)],
            "traceparent was sent more than once",
        ),
        (&[("traceparent", "secret")], "traceparent is not valid"),
    ];
    for (pairs, sentence) in cases {
        let mut pairs = pairs.to_vec();
        pairs.push(("x-respan-thread-identifier", "kept"));
        let identity = of(&pairs);
        assert_eq!(identity.unreadable, [*sentence]);
        assert_eq!(identity.thread.as_deref(), Some("kept"));
        assert_eq!(
            (identity.trace, identity.agent_name, identity.log),
            (None, None, LogMode::Full)
        );
    }
}

#[test]
fn a_parameter_of_the_wrong_type_loses_itself_alone() {
    let json = r#"{"customer_identifier":42,"customer_params":{"name":["x"],"email":"kept"},"metadata":"m","disable_log":"yes",
        "span_parent_id":"short","session_identifier":"kept","trace_unique_id":{"secret":1},"environment":"\udc00"}"#;
    let identity = of(&[("x-data-respan-params", &params(json))]);
    assert_eq!(identity.session.as_deref(), Some("kept"));
    assert_eq!(identity.customer.email.as_deref(), Some("kept"));
    assert_eq!(
        identity.unreadable,
        [
            "X-Data-Respan-Params: customer_identifier is not a text",
            "X-Data-Respan-Params: customer_params.name is not a text",
            "X-Data-Respan-Params: disable_log is not true or false",
            "X-Data-Respan-Params: environment is not a text",
            "X-Data-Respan-Params: metadata is not an object",
            "X-Data-Respan-Params: trace_unique_id is not a text",
            "span_parent_id is not 16 hex digits",
        ]
    );
}

#[test]
fn a_header_that_is_not_utf8_is_listed() {
    let mut headers = HeaderMap::new();
    headers.insert(
        "x-respan-customer-name",
        HeaderValue::from_bytes(b"\xffcme").unwrap(),
    );
    let identity = read(&headers, &IdentityDefaults::default());
    assert_eq!(identity.customer.name, None);
    assert_eq!(identity.unreadable, ["X-Respan-Customer-Name is not UTF-8"]);
}

#[test]
fn the_same_value_twice_is_one_value() {
    let identity = of(&[("x-respan-agent-name", "a"), ("x-respan-agent-name", "a")]);
    assert_eq!(identity.agent_name.as_deref(), Some("a"));
    assert_eq!(identity.unreadable, Vec::<String>::new());
}

#[test]
fn our_headers_are_consumed_and_all_others_forwarded() {
    for name in [
        "X-Respan-Trace-Id",
        "X-Respan-Anything",
        "X-Data-Respan-Params",
        "X-Data-Keywordsai-Params",
        "X-Data-Respan-Other",
    ] {
        assert!(is_consumed(&name.parse().unwrap()), "{name}");
    }
    for name in [
        "authorization",
        "traceparent",
        "x-respan",
        "x-data",
        "x-data-other",
        "x-stainless-lang",
        "respan-x-respan-log",
    ] {
        assert!(!is_consumed(&name.parse().unwrap()), "{name}");
    }
}

proptest! {
    #[test]
    fn arbitrary_header_bytes_never_fail(
        values in proptest::collection::vec((0_usize..8, proptest::collection::vec(any::<u8>(), 0..80)), 0..12),
        encode in any::<bool>(),
    ) {
        let names = ["x-respan-metadata", "x-respan-log", "x-respan-trace-id", "x-data-respan-params", "x-data-keywordsai-params",
            "traceparent", "authorization", "x-respan-customer-name"];
        let mut headers = HeaderMap::new();
        for (name, bytes) in values {
            let bytes = if encode && name > 2 { STANDARD.encode(bytes).into_bytes() } else { bytes };
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                headers.append(names[name], value);
            }
        }
        let identity = read(&headers, &IdentityDefaults::default());
        let mut out = Vec::new();
        span::identity::attributes(&identity, &mut out);
        prop_assert!(identity.trace.is_none_or(|trace| trace.id.0 != [0; 16]));
        prop_assert!(identity.parent.is_none_or(|parent| parent.0 != [0; 8]));
    }

    #[test]
    fn a_trace_id_of_any_text_is_itself_or_derived_alike_twice(text in "[!-~]{1,70}") {
        let once = of(&[("x-respan-trace-id", &text)]).trace;
        prop_assert!(once.is_some());
        prop_assert_eq!(once, of(&[("x-respan-trace-id", &text)]).trace);
    }
}

#[test]
fn a_credential_is_written_as_hex_digits_and_read_from_them_alone() {
    let credential = Credential::of(&headers(&[("authorization", "Bearer key")]));
    let written = serde_json::to_string(&credential).unwrap();
    assert_eq!(written.len(), 64 + 2);
    assert_eq!(
        serde_json::from_str::<Credential>(&written).unwrap(),
        credential
    );
    let signed = written.replacen(|digit: char| digit.is_ascii_hexdigit(), "+", 1);
    for junk in [&*signed, "\"\"", "\"ab\"", "[1,2]", "7"] {
        assert!(serde_json::from_str::<Credential>(junk).is_err(), "{junk}");
    }
}
