//! The values that each kind of key accepts, and the texts of its refusals.

use super::*;

#[test]
fn lists_and_metadata_are_written_as_text_in_the_environment() {
    let environment = [
        ("SPANGATE_SERVER_CLIENT_KEYS", "one, two"),
        ("SPANGATE_UPSTREAM_API_KEY", "sk"),
        (
            "SPANGATE_RESPAN_METADATA",
            r#"{"team":"support","tier":2,"beta":true}"#,
        ),
        ("SPANGATE_LIMITS_MAX_HEADERS", "64"),
        ("SPANGATE_SERVER_DRAIN_DELAY", "0s"),
    ];
    let loaded = load("", &environment, &[]);
    let config = loaded.config();
    assert_eq!(
        config
            .server
            .client_keys
            .iter()
            .map(Secret::reveal)
            .collect::<Vec<_>>(),
        ["one", "two"]
    );
    let metadata: Vec<_> = config
        .respan
        .metadata
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert_eq!(metadata, ["beta=true", "team=support", "tier=2"]);
    assert_eq!(
        (config.limits.max_headers, config.server.drain_delay),
        (64, Duration::ZERO)
    );
}

#[test]
fn values_are_read_as_their_units_say() {
    let flag = |key: &str, value: &str| load("", &[], &[(key, value)]).config().clone();
    for (written, milliseconds) in [
        ("500ms", 500),
        ("30s", 30_000),
        ("10m", 600_000),
        ("2h", 7_200_000),
    ] {
        assert_eq!(
            flag("runs.idle", written).runs.idle,
            Duration::from_millis(milliseconds),
            "{written}"
        );
    }
    for (written, bytes) in [
        ("512B", 512),
        ("64KiB", 64 << 10),
        ("4MiB", 4 << 20),
        ("1GiB", 1 << 30),
    ] {
        assert_eq!(
            flag("limits.max_body", written).limits.max_body,
            Some(bytes),
            "{written}"
        );
    }
    for (written, address) in [
        ("localhost:9000", "127.0.0.1:9000"),
        ("[::1]:9000", "[::1]:9000"),
        ("127.0.0.1:0", "127.0.0.1:0"),
    ] {
        assert_eq!(
            flag("server.listen", written).server.listen,
            address.parse::<SocketAddr>().unwrap(),
            "{written}"
        );
    }
    for written in [
        "https://r.example",
        "https://r.example/",
        "https://r.example/api",
        "https://r.example/api/",
        "https://r.example/api/v2/traces",
        "r.example",
        "r.example/api",
    ] {
        assert_eq!(
            flag("respan.base_url", written).respan.base_url.to_string(),
            "https://r.example/api/v2/traces",
            "{written}"
        );
    }
    assert_eq!(
        flag("upstream.base_url", "http://[::1]:9/")
            .upstream
            .base_url
            .to_string(),
        "http://[::1]:9"
    );
}

#[test]
fn impossible_values_are_refused() {
    let cases = [
        ("limits.max_body", "0B"),
        ("limits.max_body", "64KB"),
        ("limits.max_body", "99999999999GiB"),
        ("limits.max_head", "1KiB"),
        ("limits.max_target", "64KiB"),
        ("limits.max_headers", "0"),
        ("limits.max_headers", "-1"),
        ("limits.max_in_flight", "64KiB"),
        ("capture.max_body", "0B"),
        ("capture.max_body", "1.5MiB"),
        ("capture.media", "none"),
        ("limits.header_timeout", "0s"),
        ("upstream.idle_timeout", "0ms"),
        ("upstream.connect_timeout", "10"),
        ("runs.idle", "1m30s"),
        ("runs.idle", "9000h"),
        ("runs.idle", "99999999999999999999h"),
        ("runs.infer", "yes"),
        ("server.listen", ":8080"),
        ("server.listen", "example.com:80"),
        ("server.listen", "::1"),
        ("server.listen", "127.0.0.1:99999"),
        ("upstream.base_url", "api.openai.com"),
        ("upstream.base_url", "ftp://h/v1"),
        ("upstream.base_url", "https://user:pw@h/v1"),
        ("upstream.base_url", "https://h/v1?x=1"),
        ("upstream.base_url", "https://h/v1#x"),
        ("upstream.base_url", "https:///v1"),
        ("upstream.base_url", "https://h:0/v1"),
        ("upstream.base_url", "https://h:x/v1"),
        ("upstream.base_url", "https://h/a/../b"),
        ("upstream.base_url", "https://h/v1/chat/completions"),
        ("upstream.base_url", "https://h/a b"),
        ("respan.base_url", "https://h/v1/traces"),
        ("respan.metadata", "[1]"),
        ("respan.metadata", r#"{"spangate_x":1}"#),
        ("respan.api_key", "two words"),
        ("server.admin_hosts", "https://h/"),
        ("capture.content", "off"),
        ("store.max_size", "1KiB"),
        ("respan.environment", ""),
        ("server.tls_cert", "DIR/none.pem"),
    ];
    for (key, value) in cases {
        let problems = load("", &[], &[(key, value)]).problems();
        assert!(
            problems[0].starts_with(&format!("--set {key}: ")),
            "{value}: {problems:?}"
        );
        assert!(problems[0].contains("; "), "says what to do: {problems:?}");
    }
}

#[test]
fn a_table_or_number_where_text_is_meant_is_refused() {
    for (toml, problem) in [
        (
            "[store]\ndir = 1",
            "s.toml:2: store.dir: is an integer, not a text; write a path in quotes",
        ),
        (
            "[runs]\ninfer = 'true'",
            "s.toml:2: runs.infer: is a text; write true or false, without quotes",
        ),
        (
            "[server]\nclient_keys = 'a,b'",
            "s.toml:2: server.client_keys: is a text, not a list; write [\"first\", \"second\"]",
        ),
        (
            "[respan]\nmetadata = { a = [1] }",
            "s.toml:2: respan.metadata: has a list at \"a\"; write a text, a number or a boolean",
        ),
        (
            "[respan.metadat]\na = 1",
            "s.toml:1: respan.metadat: unknown key; did you mean respan.metadata?",
        ),
        (
            "[log]\nlevel = \"a\\nb\"\nformat = 'json'",
            "s.toml:2: log.level: is \"a b\"; write \"error\" or \"warn\" or \"info\" or \"debug\" or \"trace\"",
        ),
        (
            "server = 1",
            "s.toml:1: server: is an integer, not a section; write [server] and its keys below",
        ),
        (
            "listen = 'x'",
            "s.toml:1: listen: unknown key outside of a section; did you mean server.listen?",
        ),
        (
            "[limits]\nmax_headers = 1.5",
            "s.toml:2: limits.max_headers: is a float, not an integer; write a whole number from 1 to 20000, without quotes in a file",
        ),
    ] {
        assert_eq!(load(toml, &[], &[]).problems()[0], problem);
    }
}
