//! Watches over `spangate export`: what it reads of a store, beside the gateway that writes it and after that has ended.

use serde_json::{Value, json};

use crate::harness::{
    ClientRequest, Gateway, Respan, Setup, Upstream, chat_reply, chat_request, export,
    export_into_closed_pipe, json_reply, until,
};

/// Whose runs are over soon.
fn with_short_runs(upstream: &Upstream) -> Setup {
    Setup::before(&upstream.url("/v1")).set("runs.idle", "300ms")
}

async fn ask(gateway: &Gateway, thread: &str, customer: &str, body: &str) {
    let ask = ClientRequest::post("/v1/chat/completions", body.to_owned())
        .header("x-respan-thread-identifier", thread)
        .header("x-respan-customer-identifier", customer);
    assert_eq!(gateway.ask(&ask).await.status, 200);
}

/// A store with traces of these threads, in this order, of a gateway that has ended.
async fn store_of(threads: &[(&str, &str)]) -> Gateway {
    let upstream = Upstream::always(chat_reply("It is fine.")).await;
    let mut gateway = with_short_runs(&upstream).start().await;
    for (thread, customer) in threads {
        ask(&gateway, thread, customer, &chat_request("Why?", false)).await;
    }
    assert!(gateway.stop().await.success());
    gateway
}

/// Runs an agent that uses a tool, as AutoGen asks.
async fn run_agent(gateway: &Gateway, thread: &str) {
    let tools = json!([{"type": "function", "function": {"name": "count_words"}}]);
    let mut messages = vec![
        json!({"role": "system", "content": "You criticise."}),
        json!({"role": "user", "name": "user", "content": "Are owls \"loud\"?"}),
    ];
    let request = |messages: &[Value]| {
        json!({"model": "gpt-4o-mini", "messages": messages, "tools": tools}).to_string()
    };
    ask(gateway, thread, "ada", &request(&messages)).await;
    messages.push(json!({"role": "assistant", "content": null, "tool_calls": [tool_call()]}));
    messages.push(json!({"role": "tool", "tool_call_id": "call_1", "content": "three words"}));
    ask(gateway, thread, "ada", &request(&messages)).await;
}

fn tool_call() -> Value {
    json!({"id": "call_1", "type": "function", "function": {"name": "count_words", "arguments": "{}"}})
}

/// What the model of [`run_agent`] answers.
fn answer(request: &crate::harness::Request) -> Vec<u8> {
    let asked = String::from_utf8_lossy(&request.body);
    if asked.contains("count_words") && !asked.contains("three words") {
        let message = json!({"role": "assistant", "content": null, "tool_calls": [tool_call()]});
        let body = json!({
            "id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-mini-2024-07-18",
            "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}],
        });
        json_reply("200 OK", &body.to_string())
    } else {
        chat_reply("Not very.")
    }
}

fn lines(printed: &str) -> Vec<Value> {
    assert!(printed.is_empty() || printed.ends_with('\n'), "{printed}");
    let lines = printed.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect()
}

/// The threads of the exported traces.
async fn threads(gateway: &Gateway, words: &[&str]) -> Vec<String> {
    let exported = export(&gateway.store(), words).await;
    assert_eq!(exported.code, Some(0), "{words:?}: {}", exported.said);
    assert_eq!(exported.said, "", "{words:?}");
    lines(&exported.printed).iter().map(thread).collect()
}

fn thread(trace: &Value) -> String {
    let thread = &trace["spans"][0]["attributes"]["respan.threads.thread_identifier"];
    thread.as_str().expect("a thread").to_owned()
}

#[tokio::test]
async fn a_running_and_an_ended_gateway_leave_the_same_lines_as_the_admin_api_gives() {
    let upstream = Upstream::answering(answer).await;
    let respan = Respan::start().await;
    let setup = with_short_runs(&upstream).exporting(&respan);
    let mut gateway = setup.start().await;
    run_agent(&gateway, "agent").await;
    ask(&gateway, "plain", "bob", &chat_request("Why?", false)).await;
    let running = until("both runs to be closed in the store", async || {
        let exported = export(&gateway.store(), &[]).await;
        assert_eq!(exported.code, Some(0), "{exported:?}");
        assert_eq!(exported.said, "");
        let traces = lines(&exported.printed);
        let closed = traces.iter().filter(|trace| trace["live"] == false);
        (closed.count() == 2).then_some(exported.printed)
    })
    .await;
    let traces = lines(&running);
    let spans = |trace: &Value| trace["spans"].as_array().map_or(0, Vec::len);
    assert_eq!(
        traces.iter().map(spans).collect::<Vec<_>>(),
        [4, 1],
        "agent, two calls and a tool, then a call: {traces:#?}"
    );
    for trace in traces {
        let id = trace["trace_id"].as_str().expect("an id");
        let shown = ClientRequest::new("GET", &format!("/api/traces/{id}"));
        let mut shown = shown.to(gateway.admin).await.json();
        let more = shown.as_object_mut().expect("an object").remove("more");
        assert_eq!(more, Some(Value::Null));
        assert_eq!(trace, shown);
    }
    assert!(gateway.stop().await.success());
    let ended = export(&gateway.store(), &[]).await;
    assert_eq!(ended.printed, running);
}

#[tokio::test]
async fn a_trace_that_goes_on_is_exported_as_far_as_it_is_written_and_says_so() {
    let upstream = Upstream::always(chat_reply("It is fine.")).await;
    let gateway = Gateway::before(&upstream).await;
    ask(&gateway, "open", "ada", &chat_request("Why?", false)).await;
    until("its call to be written", async || {
        let exported = export(&gateway.store(), &[]).await;
        let traces = lines(&exported.printed);
        let trace = traces.first()?;
        assert_eq!(trace["live"], true, "its run is open for runs.idle");
        Some(())
    })
    .await;
}

#[tokio::test]
async fn a_store_that_was_written_without_a_key_is_exported_as_it_is_asked_for() {
    let gateway = store_of(&[("one", "ada"), ("two", "bob"), ("three", "ada")]).await;
    for (words, wanted) in [
        (&[][..], &["one", "two", "three"][..]),
        (&["--thread", "two"], &["two"]),
        (&["--customer", "ada"], &["one", "three"]),
        (&["--thread", "two", "--customer", "ada"], &[]),
        (&["--thread", "tw"], &[]),
        (&["--since", "1h"], &["one", "two", "three"]),
        (&["--until", "1h"], &[]),
        (
            &["--since", "2000-01-01T00:00:00Z", "--until", "0s"],
            &["one", "two", "three"],
        ),
        (&["--until", "2000-01-01T00:00:00+01:00"], &[]),
    ] {
        assert_eq!(threads(&gateway, words).await, wanted, "{words:?}");
    }
    let all = export(&gateway.store(), &[]).await;
    let traces = lines(&all.printed);
    let start = traces[1]["totals"]["start"].as_str().expect("a time");
    assert_eq!(
        threads(&gateway, &["--since", start]).await,
        ["two", "three"]
    );
    assert_eq!(threads(&gateway, &["--until", start]).await, ["one"]);
}

#[tokio::test]
async fn a_record_that_was_damaged_costs_its_span_alone() {
    let gateway = store_of(&[("one", "ada"), ("damaged", "ada"), ("three", "ada")]).await;
    let log = gateway.store().join("log-1");
    let mut segments: Vec<_> = std::fs::read_dir(log)
        .expect("a log")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect();
    segments.sort();
    let mut hit = false;
    for segment in segments {
        let mut bytes = std::fs::read(&segment).expect("a segment");
        let name = b"\"damaged\"";
        if let Some(at) = bytes.windows(name.len()).rposition(|bytes| bytes == name) {
            bytes[at + 1] ^= 1;
            std::fs::write(segment, bytes).expect("it can be written");
            hit = true;
        }
    }
    assert!(hit, "the span names its thread");
    let exported = export(&gateway.store(), &[]).await;
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let traces = lines(&exported.printed);
    assert_eq!(
        traces.iter().map(thread).collect::<Vec<_>>(),
        ["one", "three"]
    );
}

#[tokio::test]
async fn whoever_stops_reading_ends_it_quietly() {
    let gateway = store_of(&[("one", "ada")]).await;
    let (code, said) = export_into_closed_pipe(&gateway.store()).await;
    assert_eq!((code, &*said), (Some(0), ""));
}

#[tokio::test]
async fn where_nothing_can_be_read_it_says_what_to_do() {
    let empty = tempfile::tempdir().expect("a directory");
    let nowhere = empty.path().join("nowhere");
    let file = empty.path().join("file");
    std::fs::write(&file, "not a directory").expect("a file");
    for (store, words, part) in [
        (empty.path(), &[][..], "set store.dir"),
        (&nowhere, &[], "set store.dir"),
        (&file, &[], "set store.dir"),
        (":memory:".as_ref(), &[], "nothing to read"),
        (empty.path(), &["--since", "yesterday"], "write it like 2h"),
    ] {
        let exported = export(store, words).await;
        assert_eq!(exported.code, Some(2), "{exported:?}");
        assert!(exported.said.contains(part), "{exported:?}");
        assert_eq!(exported.printed, "");
    }
    assert!(!nowhere.exists());
}
