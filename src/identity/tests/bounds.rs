//! Each limit of an identity, and a property of all limits together.

use super::*;
use crate::identity::bounds::{MAX_IDENTITY, MAX_KEY, MAX_KEYS, MAX_VALUE};

fn object(keys: usize) -> String {
    let members: Vec<_> = (0..keys)
        .map(|key| format!("\"k{key:04}\":\"v\""))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// All texts of an identity, keys of metadata among them.
fn texts(identity: &Identity) -> Vec<String> {
    let metadata = "respan.metadata.";
    let attributes = attributes(identity).into_iter().flat_map(|(key, value)| {
        let key = key.strip_prefix(metadata).map(str::to_owned);
        key.into_iter().chain([value])
    });
    attributes.chain(identity.span_name.clone()).collect()
}

fn bytes(identity: &Identity) -> usize {
    texts(identity).iter().map(String::len).sum()
}

#[test]
fn metadata_is_read_up_to_64_keys() {
    let exact = of(&[("x-respan-metadata", &object(64))]);
    assert_eq!((exact.metadata.len(), exact.unreadable.len()), (64, 0));

    let many = object(6500);
    // The rest of the object is not JSON, which only a reader of the rest finds out.
    let broken = many.replace("\"k6499\"", "k6499");
    for json in [&many, &broken] {
        let told = params(&format!("{{\"metadata\":{json}}}"));
        for (name, shown, value) in [
            ("x-respan-metadata", "X-Respan-Metadata", json),
            ("x-data-respan-params", "X-Data-Respan-Params", &told),
        ] {
            if name == "x-data-respan-params" && json == &broken {
                continue;
            }
            let identity = of(&[(name, value)]);
            assert_eq!(identity.metadata.len(), 64);
            assert_eq!(
                identity.metadata.last_key_value().unwrap().0.as_str(),
                "k0063"
            );
            let sentence = format!("{shown}: metadata was cut at 64 keys");
            assert_eq!(identity.unreadable, [sentence]);
        }
    }
}

#[test]
fn a_base64_object_is_read_up_to_256_parameters() {
    let many = object(300);
    let rest = many.strip_prefix('{').unwrap();
    let first = format!("{{\"thread_identifier\":\"t\",{rest}");
    let identity = of(&[("x-data-respan-params", &params(&first))]);
    assert_eq!(identity.thread.as_deref(), Some("t"));
    assert_eq!(
        identity.unreadable,
        ["X-Data-Respan-Params was cut at 256 parameters"]
    );
}

#[test]
fn a_long_key_and_a_long_value_are_cut_at_a_characters_boundary() {
    let (key, value) = ("ä".repeat(100), "€".repeat(2000));
    let json = format!(r#"{{"{key}":"kept","long":"{value}","deep":["{value}"]}}"#);
    let identity = of(&[("x-respan-metadata", &json)]);
    assert_eq!(identity.metadata[&"ä".repeat(64)], "kept");
    assert_eq!(identity.metadata["long"], "€".repeat(1365));
    assert_eq!(identity.metadata["deep"].len(), 2 + 3 * 1364);
    assert_eq!(
        identity.unreadable,
        [
            "X-Respan-Metadata: metadata has a key that was cut at 128 bytes",
            "X-Respan-Metadata: metadata has a value that was cut at 4 KiB",
        ]
    );
}

#[test]
fn long_identifiers_are_cut_and_different_ones_stay_different() {
    let long = |end: &str| format!("{}{end}", "t".repeat(60_000));
    let thread = |text: &str| of(&[("x-respan-thread-identifier", text)]);
    let (one, other) = (thread(&long("a")), thread(&long("b")));
    assert_eq!(one.thread.as_ref().unwrap().len(), MAX_VALUE);
    assert_ne!(one.thread, other.thread);
    assert_eq!(one.thread, thread(&long("a")).thread);
    assert_eq!(one.unreadable, ["thread_identifier was cut at 4 KiB"]);
    let name = of(&[("x-respan-agent-name", &long(""))]);
    assert_eq!(name.agent_name, Some("t".repeat(MAX_VALUE)));
    assert_eq!(name.unreadable, ["the agent's name was cut at 4 KiB"]);
}

#[test]
fn identifiers_that_group_take_the_limit_before_other_texts() {
    let text = "x".repeat(4000);
    let metadata = format!(r#"{{"a":"{text}","b":"{text}"}}"#);
    let identity = of(&[
        ("x-respan-metadata", &metadata),
        ("x-respan-customer-name", &text),
        ("x-respan-session-identifier", &text),
        ("x-respan-customer-identifier", &text),
        ("x-respan-thread-identifier", &text),
    ]);
    for kept in [
        &identity.thread,
        &identity.customer.identifier,
        &identity.session,
        &identity.customer.name,
    ] {
        assert_eq!(kept.as_ref().map(String::len), Some(4000));
    }
    let left = MAX_IDENTITY - 16_000 - 1;
    let metadata: Vec<_> = identity.metadata.into_iter().collect();
    assert_eq!(metadata, [("a".to_owned(), "x".repeat(left))]);
    assert_eq!(identity.unreadable, ["the identity was cut at 16 KiB"]);
}

#[test]
fn an_identifier_without_room_for_its_hash_is_left_out_and_reported() {
    let text = "x".repeat(MAX_VALUE);
    let identity = of(&[
        ("x-respan-thread-identifier", &text),
        ("x-respan-customer-identifier", &text),
        ("x-respan-session-identifier", &text),
        ("x-respan-custom-identifier", &text),
        ("x-respan-trace-group-identifier", "group"),
    ]);
    assert_eq!(identity.custom.as_ref().map(String::len), Some(MAX_VALUE));
    assert_eq!(identity.trace_group, None);
    assert_eq!(identity.unreadable, ["the identity was cut at 16 KiB"]);
}

#[test]
fn no_request_pushes_configured_metadata_out() {
    let configured = [("zone", "eu"), ("zzz", "configured")];
    let defaults = IdentityDefaults {
        metadata: configured
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..IdentityDefaults::default()
    };
    let json = object(62).replace("k0000", "zzz");
    let weaker = params(&format!("{{\"metadata\":{}}}", object(64)));
    let carriers = [
        ("x-respan-metadata", json.as_str()),
        ("x-data-respan-params", &weaker),
    ];
    let identity = read(&headers(&carriers), &defaults);
    assert_eq!(identity.metadata["zone"], "eu");
    assert_eq!(identity.metadata["zzz"], "v");
    assert_eq!(identity.metadata.len(), MAX_KEYS);
    assert_eq!(identity.unreadable, ["metadata was cut at 64 keys"]);

    let text = "x".repeat(MAX_VALUE);
    let long = [
        ("x-respan-thread-identifier", &*text),
        ("x-respan-customer-identifier", &text),
        ("x-respan-session-identifier", &text),
        ("x-respan-custom-identifier", &text),
        ("x-respan-metadata", r#"{"a":"a","zone":"a longer value"}"#),
    ];
    let identity = read(&headers(&long), &defaults);
    assert_eq!(identity.metadata["zzz"], "configured");
    assert!(bytes(&identity) <= MAX_IDENTITY);
    let cuts = [
        "custom_identifier was cut at 4 KiB",
        "the identity was cut at 16 KiB",
    ];
    assert_eq!(identity.unreadable, cuts);
}

#[test]
fn the_size_estimate_of_an_identity_counts_its_texts() {
    let (small, large) = (of(&[]), of(&[("x-respan-metadata", &object(64))]));
    assert_eq!(small.size_estimate(), 0);
    assert!(large.size_estimate() >= bytes(&large) && large.size_estimate() < 20_000);
}

/// JSON of hostile clients: deep, wide, long, broken.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (0_usize..20_000).prop_map(|length| format!("\"{}\"", "é\\n".repeat(length / 3))),
        "[ -~]{0,40}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        (0_usize..3000).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth)),
        Just("1e400".to_owned()),
        Just("\"\\ud800\"".to_owned()),
        Just("{".to_owned()),
    ];
    let key = prop_oneof![
        "[a-f]{0,3}",
        "spangate_[a-c]",
        (0_usize..5000).prop_map(|length| "ü".repeat(length))
    ];
    let members = proptest::collection::vec((key, leaf), 0..120);
    members.prop_map(|members| {
        let members: Vec<_> = members
            .into_iter()
            .map(|(key, value)| format!("\"{key}\":{value}"))
            .collect();
        format!("{{{}}}", members.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn hostile_identities_keep_the_bounds(
        fields in proptest::collection::vec((0_usize..10, 0_usize..70_000, "[aé…]{1,3}"), 0..14),
        (header, current, former) in (json(), json(), json()),
        configured in proptest::collection::btree_map("[a-f]{1,2}", "[a-z]{0,9}", 0..80),
    ) {
        let names = ["customer-identifier", "customer-name", "customer-email", "thread-identifier", "session-identifier",
            "custom-identifier", "trace-group-identifier", "environment", "workflow-name", "agent-name"];
        let mut pairs: Vec<(String, String)> = fields
            .into_iter()
            .map(|(name, length, text)| (format!("x-respan-{}", names[name]), text.repeat(length / text.len())))
            .collect();
        pairs.push(("x-respan-metadata".to_owned(), header));
        for (name, metadata) in [("x-data-respan-params", current), ("x-data-keywordsai-params", former)] {
            let object = format!("{{\"span_name\":{metadata},\"customer_params\":{metadata},\"metadata\":{metadata}}}");
            pairs.push((name.to_owned(), params(&object)));
        }
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let own: Vec<_> = configured.keys().take(MAX_KEYS).cloned().collect();
        let defaults = IdentityDefaults { metadata: configured, ..IdentityDefaults::default() };
        let identity = read(&headers(&pairs), &defaults);

        prop_assert!(identity.metadata.len() <= MAX_KEYS);
        prop_assert!(own.iter().all(|key| identity.metadata.contains_key(key)));
        prop_assert!(identity.metadata.keys().all(|key| key.len() <= MAX_KEY));
        prop_assert!(texts(&identity).iter().all(|text| text.len() <= MAX_VALUE));
        prop_assert!(bytes(&identity) <= MAX_IDENTITY);
        prop_assert!(identity.size_estimate() <= 2 * MAX_IDENTITY);
    }
}
