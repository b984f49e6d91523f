//! Watches over `spangate tail`: its output to files, pipes and terminals, its filters, and restarts of the gateway.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    Call, ClientRequest, Gateway, Protocol, Setup, Tail, Upstream, chat_events, chat_reply,
    chat_request, free_address, json_reply, until, within,
};

/// One whose runs are over soon.
async fn gateway(upstream: &Upstream) -> Gateway {
    let setup = Setup::before(&upstream.url("/v1"));
    setup.set("runs.idle", "300ms").start().await
}

/// Asks in a conversation.
async fn asks(gateway: &Gateway, thread: &str) {
    let ask = ClientRequest::post("/v1/chat/completions", chat_request("Why?", false))
        .header("x-respan-thread-identifier", thread)
        .header("x-respan-customer-identifier", "ada");
    within("an answer", gateway.ask(&ask)).await;
}

/// Asks, and waits until the trace is in the list and its run is over.
async fn traced(gateway: &Gateway, thread: &str) {
    asks(gateway, thread).await;
    until("the trace to be listed", async || {
        let target = format!("/api/traces?thread={thread}");
        let reply = ClientRequest::new("GET", &target).to(gateway.admin).await;
        let listed = reply.json()["traces"].get(0)?["live"] == false;
        let open = gateway.metrics().await.total("spangate_runs_open");
        (listed && open < 0.5).then_some(())
    })
    .await;
}

/// A gateway with a trace, of which whoever prints it follows by then.
async fn first(gateway: &Gateway, words: &[&str]) -> Tail {
    traced(gateway, "first").await;
    let words = [words, &["--last", "1"]].concat();
    let tail = Tail::piped(gateway.admin, &words);
    tail.prints("the first trace", |printed| printed.contains('\n'))
        .await;
    tail
}

fn heads(printed: &str) -> Vec<&str> {
    let heads = printed
        .lines()
        .filter_map(|line| line.split_once("  thread "));
    heads
        .filter_map(|(_, rest)| rest.split_whitespace().next())
        .collect()
}

#[tokio::test]
async fn a_complete_trace_is_piped_as_plain_lines() {
    let upstream = Upstream::always(chat_reply("Fine.")).await;
    let gateway = gateway(&upstream).await;
    traced(&gateway, "before").await;
    let mut tail = first(&gateway, &[]).await;
    asks(&gateway, "second").await;
    let printed = tail
        .prints("the second trace", |printed| printed.lines().count() == 4)
        .await;
    assert_eq!(heads(&printed), ["first", "second"], "{printed}");
    assert!(!printed.contains('\x1b'), "{printed}");
    let lines: Vec<&str> = printed.lines().skip(2).collect();
    assert!(
        lines[0].contains("  customer ada  1 call  11 + 3 tokens  "),
        "{printed}"
    );
    assert!(
        lines[1].starts_with("└─ llm.gpt-4o-mini-2024-07-18  "),
        "{printed}"
    );
    assert!(lines[1].ends_with(" ms  11 + 3 tokens"), "{printed}");
    assert_eq!(tail.said(), "");
    assert_eq!(tail.ends_on(Signal::INT).await.code(), Some(0));
}

#[tokio::test]
async fn a_whole_trace_is_one_line_of_json() {
    let upstream = Upstream::always(chat_reply("Fine\u{9b}2J.")).await;
    let gateway = gateway(&upstream).await;
    let tail = first(&gateway, &["--json"]).await;
    asks(&gateway, "second").await;
    let printed = tail
        .prints("two lines", |printed| printed.matches('\n').count() == 2)
        .await;
    for line in printed.lines() {
        assert!(!line.chars().any(char::is_control), "{line:?}");
        let trace: Value = serde_json::from_str(line).unwrap();
        let id = trace["trace_id"].as_str().unwrap();
        let answer = ClientRequest::new("GET", &format!("/api/traces/{id}"));
        assert_eq!(trace, answer.to(gateway.admin).await.json());
        let said = &trace["spans"][0]["attributes"]["gen_ai.completion.0.content"];
        assert_eq!(said, "Fine\u{9b}2J.");
    }
}

#[tokio::test]
async fn once_prints_the_stored_traces_and_ends() {
    let upstream = Upstream::always(chat_reply("Fine.")).await;
    let gateway = gateway(&upstream).await;
    for thread in ["one", "two", "three"] {
        traced(&gateway, thread).await;
    }
    for (words, threads) in [
        (&["--once"][..], &["one", "two", "three"][..]),
        (&["--once", "--last", "2"], &["two", "three"]),
        (&["--once", "--thread", "two"], &["two"]),
        (&["--once", "--customer", "bob"], &[]),
        (
            &["--once", "--model", "gpt-4o-mini", "--last", "1"],
            &["three"],
        ),
        (&["--once", "--agent", "nobody"], &[]),
        (&["--once", "--status", "error"], &[]),
    ] {
        let mut tail = Tail::piped(gateway.admin, words);
        assert_eq!(tail.ended().await.code(), Some(0), "{}", tail.said());
        assert_eq!(heads(&tail.printed()), threads, "{words:?}");
    }
    let mut tail = Tail::piped(free_address(), &["--once"]);
    assert_eq!(tail.ended().await.code(), Some(1));
    assert!(
        tail.said().starts_with("start the gateway"),
        "{}",
        tail.said()
    );
}

#[tokio::test]
async fn only_traces_that_fit_the_filter_are_printed() {
    let refusal = r#"{"error":{"message":"no \u001b[2Jsuch\u0007 model"}}"#;
    let upstream = Upstream::answering(move |request| {
        let thread = String::from_utf8_lossy(&request.body).into_owned();
        if thread.contains("Fail") {
            json_reply("404 Not Found", refusal)
        } else {
            chat_reply("Fine.")
        }
    })
    .await;
    let gateway = gateway(&upstream).await;
    let fail = async |thread: &str| {
        let ask = ClientRequest::post("/v1/chat/completions", chat_request("Fail!", false))
            .header("x-respan-thread-identifier", thread);
        assert_eq!(gateway.ask(&ask).await.status, 404);
    };
    fail("failed-0").await;
    until("the failure to be listed", async || {
        let reply = ClientRequest::new("GET", "/api/traces?status=error")
            .to(gateway.admin)
            .await;
        reply.json()["traces"].get(0).map(|_| ())
    })
    .await;
    let failed = Tail::piped(gateway.admin, &["--status", "error", "--last", "1"]);
    failed
        .prints("the first failure", |printed| printed.lines().count() == 2)
        .await;
    traced(&gateway, "well").await;
    fail("failed-1").await;
    let printed = failed
        .prints("the second failure", |printed| printed.lines().count() == 4)
        .await;
    assert_eq!(heads(&printed), ["failed-0", "failed-1"]);
    assert!(printed.contains("  1 error\n"), "{printed}");
    assert!(
        printed.contains("no \u{fffd}[2Jsuch\u{fffd} model"),
        "{printed}"
    );
    assert!(!printed.contains(['\x1b', '\x07']), "{printed:?}");
}

#[tokio::test]
async fn traces_around_a_restart_of_the_gateway_are_printed_once_each() {
    let upstream = Upstream::always(chat_reply("Fine.")).await;
    let mut gateway = gateway(&upstream).await;
    let mut tail = first(&gateway, &[]).await;
    assert!(gateway.stop().await.success());
    let said = tail.says("does not answer; trying again").await;
    assert!(
        said.starts_with("the gateway at http://127.0.0.1:"),
        "{said}"
    );
    gateway.restart().await;
    // Maybe before the tail is back.
    asks(&gateway, "second").await;
    tail.prints("the trace after the restart", |printed| {
        printed.contains("thread second")
    })
    .await;
    asks(&gateway, "third").await;
    let printed = tail
        .prints("another", |printed| printed.contains("thread third"))
        .await;
    assert_eq!(heads(&printed), ["first", "second", "third"]);
    assert_eq!(tail.said().lines().count(), 1, "{}", tail.said());
    assert_eq!(tail.ends_on(Signal::TERM).await.code(), Some(0));
}

#[tokio::test]
async fn tail_may_be_started_before_the_gateway() {
    let upstream = Upstream::always(chat_reply("Fine.")).await;
    let mut gateway = gateway(&upstream).await;
    assert!(gateway.stop().await.success());
    let tail = Tail::piped(gateway.admin, &["--last", "1"]);
    tail.says("does not answer; trying again").await;
    gateway.restart().await;
    asks(&gateway, "early").await;
    tail.prints("the trace", |printed| printed.contains("thread early"))
        .await;
}

#[tokio::test]
async fn a_closed_pipe_ends_tail_in_silence() {
    let upstream = Upstream::always(chat_reply("Fine.")).await;
    let gateway = gateway(&upstream).await;
    traced(&gateway, "first").await;
    let mut tail = Tail::into_closing_pipe(gateway.admin, &["--last", "1"]);
    tail.prints("the first line", |printed| printed.contains('\n'))
        .await;
    asks(&gateway, "second").await;
    assert_eq!(tail.ended().await.code(), Some(0));
    assert_eq!(tail.said(), "");
}

#[tokio::test]
async fn tail_sends_the_token_and_reports_a_missing_one() {
    let upstream = Upstream::always(chat_reply("Fine.")).await;
    let setup = Setup::before(&upstream.url("/v1"))
        .set("runs.idle", "300ms")
        .set("server.admin_token", "at-1");
    let gateway = setup.start().await;
    let ask = ClientRequest::post("/v1/chat/completions", chat_request("Why?", false))
        .header("x-respan-thread-identifier", "guarded");
    gateway.ask(&ask).await;
    let mut tail = Tail::piped(gateway.admin, &[]);
    assert_eq!(tail.ended().await.code(), Some(2));
    assert!(
        tail.said().starts_with("set server.admin_token"),
        "{}",
        tail.said()
    );
    let token = ("SPANGATE_SERVER_ADMIN_TOKEN", "at-1");
    let tail = Tail::with_environment(gateway.admin, &["--last", "1"], &[token]);
    tail.prints("the trace", |printed| printed.contains("thread guarded"))
        .await;
    let mut strange = Tail::piped(gateway.admin, &["--admin", "https://127.0.0.1"]);
    assert_eq!(strange.ended().await.code(), Some(2));
    assert!(
        strange.said().starts_with("--admin: "),
        "{}",
        strange.said()
    );
}

#[tokio::test]
async fn an_error_that_waiting_does_not_mend_ends_tail_with_advice() {
    for (status, advice) in [
        (
            "421 Misdirected Request",
            "add this host name to server.admin_hosts",
        ),
        (
            "404 Not Found",
            "give the admin port of a gateway with --admin",
        ),
    ] {
        let other = Upstream::always(json_reply(status, "{}")).await;
        let mut tail = Tail::piped(free_address(), &["--admin", &other.url("")]);
        assert_eq!(tail.ended().await.code(), Some(2));
        assert!(tail.said().starts_with(advice), "{}", tail.said());
    }
}

#[tokio::test]
async fn a_terminal_has_colours_and_a_width() {
    let upstream = Upstream::always(chat_reply("Fine.")).await;
    let gateway = gateway(&upstream).await;
    traced(&gateway, "wide").await;
    let once = ["--once"];
    let printed = async |words: &[&str], environment: &[(&str, &str)]| {
        let tail = Tail::on_terminal(gateway.admin, words, environment, 30);
        tail.prints("two lines", |printed| printed.matches('\n').count() == 2)
            .await
    };
    let coloured = printed(&once, &[]).await;
    assert!(coloured.contains("\x1b[2m└─ \x1b[0m"), "{coloured:?}");
    for (words, environment) in [
        (&once[..], ("NO_COLOR", "1")),
        (&once[..], ("TERM", "dumb")),
        (&["--once", "--color", "never"][..], ("LANG", "C")),
    ] {
        let plain = printed(words, &[environment]).await;
        assert!(!plain.contains('\x1b'), "{plain:?}");
        let widths: Vec<usize> = plain.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths, [30, 30], "{plain:?}");
    }
    let mut piped = Tail::piped(gateway.admin, &["--once", "--color", "always"]);
    piped.ended().await;
    assert!(piped.printed().contains("\x1b[1m"), "{}", piped.printed());
}

#[tokio::test]
async fn live_tail_redraws_a_growing_trace() {
    let mut upstream = Upstream::listen().await;
    let setup = Setup::before(&upstream.url("/v1")).set("runs.idle", "500ms");
    let gateway = setup.start().await;
    let ask = |thread: &str| {
        ClientRequest::post("/v1/chat/completions", chat_request("Tell me.", true))
            .header("user-agent", "AsyncOpenAI/Python 2.8.0")
            .header("x-respan-thread-identifier", thread)
    };
    let mut call = Call::begin(Protocol::One, gateway.address, &ask("live")).await;
    let mut peer = upstream.next_request().await;
    peer.send(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    )
    .await;
    let said = chat_events(&["Owls", " fly."]);
    peer.send_chunk(said[0].as_bytes()).await;
    call.head().await;
    let words = ["--live", "--last", "1", "--color", "never"];
    let terminal = Tail::on_terminal(gateway.admin, &words, &[], 200);
    let piped = Tail::piped(gateway.admin, &words);
    let begun = |printed: &str| printed.contains("   └─ llm.gpt-4o-mini  …");
    terminal.prints("the call in flight", begun).await;
    piped.prints("the call in flight", begun).await;
    for event in &said[1..] {
        peer.send_chunk(event.as_bytes()).await;
    }
    peer.send("0\r\n\r\n").await;
    call.rest().await;
    let over = |printed: &str| {
        let last = printed.rsplit("  thread ").next().unwrap_or_default();
        !last.contains("  live") && last.contains("llm.gpt-4o-mini-2024-07-18  ")
    };
    let drawn = terminal.prints("the trace that is over", over).await;
    // Up over the head and two spans, and all below is cleared.
    assert!(drawn.contains("\x1b[3F\x1b[J"), "{drawn:?}");
    let appended = piped.prints("the trace that is over", over).await;
    assert!(!appended.contains('\x1b'), "{appended}");
    assert!(heads(&appended).len() > 1, "{appended}");
}
