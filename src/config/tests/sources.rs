//! Where values come from, what wins, and how every mistake is placed.

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
    assert_eq!(respan.encoding, Encoding::Protobuf);
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
fn all_problems_are_said_at_once_with_file_line_and_key() {
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
fn what_is_not_toml_is_said_with_its_line() {
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

#[test]
fn what_kubernetes_injects_for_a_service_of_that_name_is_no_mistake() {
    let names = [
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_HTTP",
        "PORT",
        "PORT_8080_TCP",
        "PORT_8080_TCP_ADDR",
    ];
    let names = names.map(|name| format!("SPANGATE_{name}"));
    let environment: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), "tcp://10.0.0.1:8080"))
        .collect();
    assert_eq!(load("", &environment, &[]).config(), &Config::default());
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
