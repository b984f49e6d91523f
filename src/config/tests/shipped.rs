//! The shipped file shows every key with its default.

use super::*;

const SHIPPED: &str = include_str!("../../../config/spangate.toml");

fn uncommented(is_meant: impl Fn(&str) -> Option<&str>) -> String {
    let line = |line: &'static str| {
        line.strip_prefix("# ")
            .and_then(&is_meant)
            .map_or_else(|| line.to_owned(), str::to_owned)
    };
    SHIPPED.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// A line `key = value`, as opposed to prose.
fn setting(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(" = ")?;
    key.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        .then_some(line)
}

fn example(line: &str) -> Option<&str> {
    line.strip_prefix("for example: ").and_then(setting)
}

#[test]
fn the_shipped_file_equals_the_defaults() {
    assert_eq!(load(SHIPPED, &[], &[]).config(), &Config::default());
    assert_eq!(load("", &[], &[]).config(), &Config::default());
}

#[test]
fn the_shipped_file_equals_the_defaults_with_every_default_uncommented() {
    let all = uncommented(setting);
    assert_ne!(all, SHIPPED);
    assert_eq!(load(&all, &[], &[]).config(), &Config::default());
}

#[test]
fn the_shipped_file_shows_every_key_once_and_every_example_in_it_loads() {
    let all = uncommented(|line| setting(line).or_else(|| example(line)));
    let mut listed = Vec::new();
    let mut section = "";
    for line in all.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some(line) = setting(line) {
            listed.push(format!("{section}.{}", line.split_once(" = ").unwrap().0));
        }
    }
    listed.sort();
    let mut known: Vec<_> = keys::KEYS.iter().map(|key| key.name.to_owned()).collect();
    known.sort();
    assert_eq!(listed, known);

    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let files = [
        ("cert.pem", certificate.as_str()),
        ("ca.pem", &certificate),
        ("key.pem", &key),
        ("respan.key", " rk-file\n"),
    ];
    let toml = all
        .replace("/etc/spangate", "DIR")
        .replace("api_key = \"your-respan-key\"", "");
    let loaded = load_beside(&files, &toml, &[], &[]);
    let config = loaded.config();
    assert_eq!(
        config.respan.api_key.as_ref().map(Secret::reveal),
        Some("rk-file")
    );
    assert_eq!(
        config
            .server
            .client_keys
            .iter()
            .map(Secret::reveal)
            .collect::<Vec<_>>(),
        ["sg-first", "sg-second"]
    );
    assert_eq!(config.limits.max_body, Some(512 << 20));
    assert_eq!(config.respan.metadata["tier"], "2");
    assert_eq!(loaded.warnings(), Vec::<String>::new());
}
