//! Watches over the start: a wrong configuration is reported by file, line and key, with exit code 2, before anything listens.

use crate::harness::{ClientRequest, Setup, Upstream, refusal};

#[tokio::test]
async fn a_wrong_file_is_refused_by_file_line_and_key() {
    for (text, line, key) in [
        (
            "[server]\nlisten = \"127.0.0.1:0\"\nlissten = 1\n",
            3,
            "lissten",
        ),
        ("[server]\nlisten = 8080\n", 2, "listen"),
        ("[upstream]\n\nidle_timeout = \"soon\"\n", 3, "idle_timeout"),
        ("[limits]\nmax_head = \"64 elephants\"\n", 2, "max_head"),
        (
            "[upstream]\nbase_url = \"ftp://example.test\"\n",
            2,
            "base_url",
        ),
        ("[respan]\nencoding = \"xml\"\n", 2, "encoding"),
        ("[nothing]\na = 1\n", 1, "nothing"),
        ("[log]\nlevel = \"info\"\nformat = \n", 3, ""),
        ("[capture]\nusage = \"inject\"\n", 2, "usage"),
    ] {
        for command in ["serve", "check"] {
            let (code, said) =
                refusal(&[command, "--config", "spangate.toml"], Some(text), &[]).await;
            assert_eq!(code, Some(2), "{command} {text:?}: {said}");
            assert!(
                said.contains(&format!("spangate.toml:{line}"))
                    || said.contains(&format!("line {line}")),
                "{text:?}: {said}"
            );
            assert!(
                said.contains("spangate.toml") && said.contains(key),
                "{text:?}: {said}"
            );
        }
    }
}

#[tokio::test]
async fn a_wrong_variable_is_refused_by_name() {
    for (name, value) in [
        ("SPANGATE_SERVER_LISTEN", "here"),
        ("SPANGATE_UPSTREAM_IDLE_TIMEOUT", "soon"),
        ("SPANGATE_RESPAN_METADATA", "not json"),
        ("SPANGATE_SERVER_LISSTEN", "127.0.0.1:0"),
        ("SPANGATE_LIMITS_MAX_HEADERS", "many"),
    ] {
        let (code, said) = refusal(&["serve"], None, &[(name, value)]).await;
        assert_eq!(code, Some(2), "{name}: {said}");
        assert!(said.contains(name), "{name}: {said}");
    }
}

#[tokio::test]
async fn an_unsafe_configuration_is_refused() {
    let key = ("SPANGATE_UPSTREAM_API_KEY", "sk-upstream");
    for environment in [
        vec![("SPANGATE_SERVER_ADMIN", "0.0.0.0:0")],
        vec![("SPANGATE_SERVER_LISTEN", "0.0.0.0:0"), key],
        vec![("SPANGATE_SERVER_CLIENT_KEYS", "ck-1")],
        vec![("SPANGATE_SERVER_TLS_CERT", "only-half.pem")],
    ] {
        let (code, said) = refusal(&["serve"], None, &environment).await;
        assert_eq!(code, Some(2), "{environment:?}: {said}");
        assert!(!said.contains("sk-upstream"), "{said}");
    }
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_before_a_port_is_bound() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let (code, said) = refusal(
        &["serve", "--config", "spangate.toml"],
        Some("[server]\nwrong = 1\n"),
        &[("SPANGATE_SERVER_LISTEN", &address)],
    )
    .await;
    assert_eq!(code, Some(2));
    assert!(said.contains("wrong"), "{said}");
    let admin = crate::harness::free_address().to_string();
    let (code, said) = refusal(
        &["serve"],
        None,
        &[
            ("SPANGATE_SERVER_LISTEN", &address),
            ("SPANGATE_SERVER_ADMIN", &admin),
        ],
    )
    .await;
    assert!(
        matches!(code, Some(1 | 2)),
        "a port that is taken is said: {said}"
    );
    assert!(said.contains(&address), "{said}");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_refused_when_it_was_named() {
    let (code, said) = refusal(&["check", "--config", "elsewhere.toml"], None, &[]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("elsewhere.toml"), "{said}");
}

#[tokio::test]
async fn an_unknown_command_line_is_refused_with_2() {
    for words in [&["sevre"][..], &["serve", "--nothing"], &["check", "extra"]] {
        assert_eq!(refusal(words, None, &[]).await.0, Some(2), "{words:?}");
    }
    for words in [
        &["--version"][..],
        &["--help"],
        &["serve", "--help"],
        &["check"],
    ] {
        assert_eq!(refusal(words, None, &[]).await.0, Some(0), "{words:?}");
    }
}

#[tokio::test]
async fn the_environment_wins_over_the_file() {
    let upstream = Upstream::always("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let file = "[upstream]\nbase_url = \"http://127.0.0.1:1/v1\"\n[limits]\nmax_target = \"32B\"\n";
    let gateway = Setup::before(&upstream.url("/v1")).file(file).start().await;
    assert_eq!(
        gateway
            .ask(&ClientRequest::new("GET", "/v1/models"))
            .await
            .status,
        200
    );
    gateway
        .ask(&ClientRequest::new(
            "GET",
            &format!("/v1/{}", "x".repeat(32)),
        ))
        .await
        .expect_own_error(414);
}
