//! Sources of values, their precedence, and the location of every problem.

use super::*;

#[test]
fn the_later_source_wins_key_by_key() {
    let toml = "[respan]\nencoding = 'protobuf'\nenvironment = 'file'\ncustomer_identifier = 'file'\nflush_interval = '2s'\n";
    let environment = [
        ("SPANGATE_RESPAN_ENVIRONMENT", "variable"),
        ("SPANGATE_RESPAN_CUSTOMER_IDENTIFIER", "variable"),
    ];
    let loaded = load(
        toml,
        &environment,
        &[
            ("respan.environment", "flag"),
            ("respan.entity_content", "true"),
        ],
    );
    let respan = &loaded.config().respan;
    assert_eq!(respan.encoding, WireEncoding::Protobuf);
    assert_eq!(respan.flush_interval, Duration::from_secs(2));
    assert_eq!(respan.customer_identifier.as_deref(), Some("variable"));
    assert_eq!(respan.environment.as_deref(), Some("flag"));
    assert!(respan.entity_content);
}

#[test]
fn the_names_of_respans_sdk_are_read_and_ours_win() {
    let key = |environment: &[(&str, &str)]| {
        load("[respan]\napi_key = 'rk-file'", environment, &[])
            .config()
            .respan
            .api_key
            .clone()
    };
    assert_eq!(
        key(&[("RESPAN_API_KEY", "rk-alias\n")]).unwrap().reveal(),
        "rk-alias"
    );
    assert_eq!(
        key(&[
            ("SPANGATE_RESPAN_API_KEY", "rk-own"),
            ("RESPAN_API_KEY", "rk-alias")
        ])
        .unwrap()
        .reveal(),
        "rk-own"
    );
    assert_eq!(key(&[("RESPAN_API_KEY", "")]).unwrap().reveal(), "rk-file");
}

#[test]
fn all_problems_are_reported_at_once_with_file_line_and_key() {
    let toml = "[server]\nlisten = '8080'\nlitsen = 1\n\n[limits]\nmax_head = 65536\nkeep_alive = 30\n[upstrem]\nx = 1\n[capture]\nusage = 'inject'\n";
    let environment = [
        ("SPANGATE_LOG_LEVEL", "loud"),
        ("SPANGATE_LOG_LEVLE", "info"),
    ];
    let problems = load(toml, &environment, &[("runs.idle", "0s"), ("idle", "1s")]).problems();
    assert_eq!(
        problems,
        [
            "s.toml:2: server.listen: is \"8080\", not an address with a port; write \"127.0.0.1:8080\"",
            "s.toml:3: server.litsen: unknown key; did you mean server.listen?",
            "s.toml:6: limits.max_head: is 65536, without a unit; write \"64KiB\" (B, KiB, MiB or GiB)",
            "s.toml:7: limits.keep_alive: is 30, without a unit; write \"30s\" (ms, s, m or h)",
            "s.toml:8: upstrem: unknown section; there are server, upstream, limits, respan, capture, runs, store, log",
            "s.toml:11: capture.usage: is \"inject\", which this version cannot do yet; write \"passive\", and let the client ask for \
             stream_options.include_usage (AutoGen: create_stream(…, include_usage=True))",
            "environment: SPANGATE_LOG_LEVLE: unknown variable; did you mean SPANGATE_LOG_LEVEL?",
            "environment: SPANGATE_LOG_LEVEL (log.level): is \"loud\"; write \"error\" or \"warn\" or \"info\" or \"debug\" or \"trace\"",
            "--set idle: unknown key; did you mean runs.idle?",
            "--set runs.idle: is zero, which leaves no time at all; write a duration like \"30s\"",
        ]
    );
}

#[test]
fn syntax_errors_are_reported_with_their_line() {
    for (toml, start) in [
        ("[runs]\nidle = '1s'\nidle = '2s'\n", "s.toml:3: not TOML: "),
        ("[runs]\n\nidle = \n", "s.toml:3: not TOML: "),
        ("[runs]\n[log]\n[runs]\n", "s.toml:3: not TOML: "),
    ] {
        let problems = load(toml, &[], &[]).problems();
        assert!(problems[0].starts_with(start), "{problems:?}");
    }
}

#[test]
fn a_named_file_must_exist_and_the_default_one_need_not() {
    let missing = PathBuf::from("no/such/file.toml");
    let none = Sources {
        default_file: missing.clone(),
        ..Sources::default()
    };
    assert_eq!(Config::load(&none).unwrap().0, Config::default());
    let by_flag = Sources {
        file: Some(missing.clone()),
        ..none.clone()
    };
    let by_variable = Sources {
        environment: vec![("SPANGATE_CONFIG".into(), missing.into())],
        ..none
    };
    for sources in [by_flag, by_variable] {
        let problems = Config::load(&sources).unwrap_err().to_string();
        assert!(
            problems.starts_with("no/such/file.toml: cannot be read ("),
            "{problems}"
        );
    }
}

/// The variables that Kubernetes sets for a Service of this name with a port of the name `http`.
fn service_links(service: &str) -> Vec<(String, &'static str)> {
    let links = [
        ("SERVICE_HOST", "10.0.0.1"),
        ("SERVICE_PORT", "8080"),
        ("SERVICE_PORT_HTTP", "8080"),
        ("PORT", "tcp://10.0.0.1:8080"),
        ("PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("PORT_8080_TCP_PROTO", "tcp"),
        ("PORT_8080_TCP_PORT", "8080"),
        ("PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("PORT_53_UDP", "udp://10.0.0.1:53"),
    ];
    let named = links.map(|(link, value)| (format!("{service}_{link}"), value));
    named.into()
}

#[test]
fn service_links_of_kubernetes_are_no_mistake() {
    for service in [
        "SPANGATE",
        "SPANGATE_ADMIN",
        "SPANGATE_SERVER",
        "SPANGATE_STORE",
        "SPANGATE_RESPAN",
        "SPANGATE_LOG_SERVICE_PORTAL",
    ] {
        let links = service_links(service);
        let environment: Vec<_> = links
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        let loaded = load("", &environment, &[]);
        assert_eq!(loaded.config(), &Config::default());
        assert_eq!(loaded.warnings(), Vec::<String>::new());
    }
}

#[test]
fn a_variable_of_no_section_is_warned_of_and_one_of_a_section_is_a_mistake() {
    let loaded = load(
        "",
        &[
            ("SPANGATE_VERSION", "1.2.3"),
            ("SPANGATE_IMAGE_TAG", "latest"),
            ("SPANGATE_PORT", "8080"),
            ("SPANGATE_SERVERLISTEN", "127.0.0.1:1"),
        ],
        &[],
    );
    assert_eq!(loaded.config(), &Config::default());
    let warnings = loaded.warnings();
    assert_eq!(warnings.len(), 4);
    for name in ["VERSION", "IMAGE_TAG", "PORT", "SERVERLISTEN"] {
        let start = format!("environment: SPANGATE_{name}: unknown variable");
        let is_named =
            |warning: &String| warning.starts_with(&start) && warning.ends_with("it has no effect");
        assert!(warnings.iter().any(is_named), "{name}: {warnings:?}");
    }
    for name in [
        "SERVER_LITSEN",
        "SERVER_PORT",
        "SERVER_",
        "STORE_PORT_HTTP",
        "LOG_PORT_8080_TCP_LEVEL",
        "UPSTREAM_SERVICE_PORTS",
    ] {
        let name = format!("SPANGATE_{name}");
        let problems = load("", &[(&name, "8080")], &[]).problems();
        assert_eq!(problems.len(), 1, "{name}");
        assert!(problems[0].contains(&name), "{problems:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_reload_can_tell_which_sections_changed() {
    let (one, other) = (
        load("", &[], &[("respan.encoding", "json")]),
        load("", &[], &[("respan.encoding", "protobuf")]),
    );
    assert_eq!(one.config().server, other.config().server);
    assert_ne!(one.config().respan, other.config().respan);
}
