//! Rules between keys, and secrets.

use super::*;

#[test]
fn keys_that_require_each_other_are_refused_alone() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (
            &[("server.client_keys", "a")],
            "--set server.client_keys: works only together with upstream.api_key",
        ),
        (
            &[("upstream.api_key", "a"), ("server.listen", "0.0.0.0:8080")],
            "--set upstream.api_key: would be lent",
        ),
        (
            &[("server.admin", "0.0.0.0:8081")],
            "--set server.admin: is 0.0.0.0:8081, which others can reach",
        ),
        (
            &[("server.admin", "127.0.0.1:8080")],
            "--set server.admin: is 127.0.0.1:8080, which server.listen takes too",
        ),
        (
            &[("server.listen", "0.0.0.0:8081")],
            "--set server.listen: is 127.0.0.1:8081, which server.listen takes too",
        ),
        (
            &[("upstream.base_url", "http://localhost:8080/v1")],
            "--set upstream.base_url: is the gateway's own",
        ),
        (
            &[
                ("respan.base_url", "http://r.example"),
                ("respan.api_key", "a"),
            ],
            "--set respan.base_url: is http://, over which",
        ),
        (
            &[("capture.max_body", "300MiB")],
            "--set capture.max_body: is less than",
        ),
        (
            &[("respan.api_key_file", "a"), ("respan.api_key", "a")],
            "--set respan.api_key_file: stands beside",
        ),
        (
            &[("server.tls_cert", "DIR/cert.pem")],
            "--set server.tls_cert: needs server.tls_key",
        ),
        (
            &[("server.tls_key", "DIR/cert.pem")],
            "--set server.tls_key: needs server.tls_cert",
        ),
        (
            &[("upstream.ca_file", "DIR/cert.pem")],
            "--set upstream.ca_file: cert.pem holds no certificate in PEM",
        ),
        (
            &[("respan.api_key_file", "DIR/empty")],
            "--set respan.api_key_file: empty is empty",
        ),
        (
            &[("respan.api_key_file", "DIR/none")],
            "--set respan.api_key_file: none cannot be read",
        ),
    ];
    for (flags, start) in cases {
        let problems =
            load_beside(&[("cert.pem", "nothing"), ("empty", "\n")], "", &[], flags).problems();
        assert!(problems[0].starts_with(start), "{start}: {problems:?}");
    }
    let fine: &[&[(&str, &str)]] = &[
        &[
            ("server.client_keys", "a"),
            ("upstream.api_key", "b"),
            ("server.listen", "0.0.0.0:8080"),
        ],
        &[("upstream.api_key", "b")],
        &[
            ("server.admin", "0.0.0.0:8081"),
            ("server.admin_token", "t"),
        ],
        &[
            ("server.listen", "127.0.0.1:0"),
            ("server.admin", "127.0.0.1:0"),
        ],
        &[
            ("respan.base_url", "http://127.0.0.1:9"),
            ("respan.api_key", "a"),
        ],
        &[("respan.base_url", "http://r.example")],
    ];
    for flags in fine {
        load("", &[], flags).config();
    }
}

#[test]
fn one_mistake_is_one_problem() {
    let problems = load(
        "[server]\nclient_keys = ['a']\n[upstream]\napi_key = 'two words'\n",
        &[],
        &[],
    )
    .problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn of_key_and_key_file_the_later_source_counts() {
    let files = [("key", "rk-file\n")];
    let toml = "[respan]\napi_key_file = 'DIR/key'\n";
    assert_eq!(
        load_beside(&files, toml, &[], &[])
            .config()
            .respan
            .api_key
            .as_ref()
            .unwrap()
            .reveal(),
        "rk-file"
    );
    let loaded = load_beside(&files, toml, &[("RESPAN_API_KEY", "rk-variable")], &[]);
    assert_eq!(
        loaded.config().respan.api_key.as_ref().unwrap().reveal(),
        "rk-variable"
    );
    assert_eq!(loaded.config().respan.api_key_file, None);
    let environment = [
        ("RESPAN_API_KEY", "rk-variable"),
        ("SPANGATE_RESPAN_API_KEY_FILE", "DIR/key"),
    ];
    assert_eq!(
        load_beside(&files, "", &environment, &[])
            .config()
            .respan
            .api_key
            .as_ref()
            .unwrap()
            .reveal(),
        "rk-file"
    );
}

#[test]
fn a_secret_that_others_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("key");
    fs::write(&path, "rk").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let loaded = load(
        "",
        &[("SPANGATE_RESPAN_API_KEY_FILE", path.to_str().unwrap())],
        &[],
    );
    let shown = path.display();
    assert_eq!(
        loaded.warnings(),
        [format!(
            "{shown} holds a secret and others may read it (mode 640); chmod 600 {shown}"
        )]
    );
    assert_eq!(
        load("", &[], &[("respan.api_key", "rk")]).warnings().len(),
        1,
        "every user of the machine can see a flag"
    );
    assert_eq!(
        load("[respan]\napi_key = 'rk'", &[], &[]).warnings(),
        Vec::<String>::new()
    );
}

#[test]
fn secrets_are_never_shown() {
    let flags = [
        ("upstream.api_key", "hidden-a"),
        ("server.client_keys", "hidden-b"),
        ("server.admin_token", "hidden-c"),
        ("respan.api_key", "hidden-d"),
    ];
    let loaded = load("", &[], &flags);
    let shown = format!("{:?}", loaded.config());
    assert!(
        shown.contains("[secret]") && !shown.contains("hidden"),
        "{shown}"
    );
    for (key, value) in [
        ("respan.api_key", "hidden x"),
        ("upstream.base_url", "https://u:hidden@h/"),
        ("server.client_keys", "hidden x"),
    ] {
        let problems = load("", &[], &[(key, value)]).problems();
        assert!(!problems[0].contains("hidden"), "{problems:?}");
    }
    let key = loaded.config().respan.api_key.as_ref().unwrap();
    assert!(key.matches(b"hidden-d") && !key.matches(b"hidden-a") && !key.matches(b"hidden"));
}

#[cfg(unix)]
#[test]
fn a_secret_in_the_file_is_warned_of_although_another_source_overrides_it() {
    use std::os::unix::fs::PermissionsExt;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("s.toml");
    fs::write(&path, "[respan]\napi_key = 'rk-file'\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let sources = Sources {
        file: Some(path.clone()),
        environment: vec![("RESPAN_API_KEY".into(), "rk-variable".into())],
        ..Sources::default()
    };
    let (config, warnings) = Config::load(&sources).unwrap();
    assert_eq!(config.respan.api_key.unwrap().reveal(), "rk-variable");
    let expected = format!("{} holds a secret", path.display());
    assert!(warnings[0].to_string().starts_with(&expected));
}
