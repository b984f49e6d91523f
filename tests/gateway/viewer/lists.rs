//! Lists, filters, pages, one trace, one span, one trace as OTLP.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use serde_json::Value;

use super::{
    answer, asks, complaint, get, header, listed, named, speaks, team, team_whose_tool_says,
};
use crate::harness::{ClientRequest, Gateway, Setup, Upstream, chat_reply, chat_request, until};

async fn a_team(gateway: &Gateway) -> Value {
    team(gateway, "owls").await;
    until("the run to be over", async || {
        let page = answer(gateway, "/api/traces").await;
        let first = page["traces"].get(0)?.clone();
        (first["live"] == false && first["spans"] == 7).then_some(first)
    })
    .await
}

#[tokio::test]
async fn a_run_is_listed_with_its_stats() {
    let upstream = Upstream::answering(speaks).await;
    let setup = Setup::before(&upstream.url("/v1")).set("runs.idle", "300ms");
    let gateway = setup.start().await;
    let listed = a_team(&gateway).await;
    let expected = serde_json::json!({
        "trace_id": listed["trace_id"], "start": listed["start"], "end": listed["end"],
        "name": "workflow", "title": "GroupChat.run_stream",
        "thread_identifier": "owls", "customer_identifier": null, "environment": null,
        "spans": 7, "status": "ok", "live": false, "errors": 0, "model_calls": 3, "tool_calls": 1,
        "agents": ["writer"], "models": ["gpt-4o-mini", "gpt-4o-mini-2024-07-18"],
        "input_tokens": 42, "output_tokens": 11, "preview": "Write about owls.",
    });
    assert_eq!(listed, expected);
    assert!(listed["start"].as_str() < listed["end"].as_str());
    assert_eq!(
        listed["start"].as_str().map(str::len),
        Some("2026-11-24T22:00:00.123456789Z".len())
    );
}

#[tokio::test]
async fn a_trace_and_each_of_its_spans_can_be_read() {
    let upstream = Upstream::answering(speaks).await;
    let setup = Setup::before(&upstream.url("/v1")).set("runs.idle", "300ms");
    let gateway = setup.start().await;
    let id = a_team(&gateway).await["trace_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let trace = answer(&gateway, &format!("/api/traces/{id}")).await;
    assert_eq!(
        (&trace["trace_id"], &trace["live"]),
        (&id.as_str().into(), &false.into())
    );
    let spans = trace["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 7);
    let starts: Vec<&str> = spans
        .iter()
        .map(|span| span["start"].as_str().unwrap())
        .collect();
    assert!(starts.is_sorted(), "{starts:?}");
    assert_eq!(
        (&spans[0]["name"], &spans[1]["name"]),
        (&"workflow".into(), &"agent.writer".into()),
        "what is around the rest comes first"
    );
    let workflow = named(&trace, "workflow");
    assert_eq!(
        (&workflow["parent_span_id"], &workflow["log_type"]),
        (&Value::Null, &"workflow".into())
    );
    let tool = named(&trace, "tool.count_words");
    assert_eq!(tool["status"], "ok");
    assert!(
        tool["attributes"]["traceloop.entity.output"]
            .as_str()
            .unwrap()
            .contains("two words")
    );
    let call = named(&trace, "llm.gpt-4o-mini-2024-07-18");
    let held = &call["attributes"];
    assert_eq!(held["gen_ai.prompt.1.content"], "Write about owls.");
    assert_eq!(held["gen_ai.completion.0.content"], "Owls fly. (writer)");
    assert_eq!(held["gen_ai.usage.input_tokens"], 11);

    let bare = answer(&gateway, &format!("/api/traces/{id}?content=none")).await;
    let text = bare.to_string();
    for content in ["Owls fly", "Write about owls", "two words", "You write"] {
        assert!(!text.contains(content), "{content}: {text}");
    }
    for span in bare["spans"].as_array().unwrap() {
        let keys = span["attributes"].as_object().unwrap().keys();
        assert!(
            keys.clone()
                .all(|key| !key.starts_with("gen_ai.prompt")
                    && !key.starts_with("traceloop.entity.o")),
            "{span:#}"
        );
    }
    let bare_call = named(&bare, "llm.gpt-4o-mini-2024-07-18");
    assert_eq!(bare_call["span_id"], call["span_id"]);
    assert_eq!(
        bare_call["attributes"]["gen_ai.request.model"],
        "gpt-4o-mini"
    );
    assert_eq!(bare_call["attributes"]["gen_ai.usage.input_tokens"], 11);

    for span in spans {
        let target = format!(
            "/api/traces/{id}/spans/{}",
            span["span_id"].as_str().unwrap()
        );
        assert_eq!(&answer(&gateway, &target).await, span);
    }
}

#[tokio::test]
async fn a_trace_is_read_page_by_page_and_each_span_comes_behind_its_parent() {
    let upstream = Upstream::answering(speaks).await;
    let setup = Setup::before(&upstream.url("/v1")).set("runs.idle", "300ms");
    let gateway = setup.start().await;
    let listed = a_team(&gateway).await;
    let target = format!("/api/traces/{}", listed["trace_id"].as_str().unwrap());
    let whole = answer(&gateway, &target).await;
    assert_eq!(whole["more"], Value::Null);
    let totals = whole["totals"].as_object().unwrap();
    assert_eq!(totals.len(), 8);
    for (name, total) in totals {
        assert_eq!(total, &listed[name], "{name}");
    }
    let all = whole["spans"].as_array().unwrap();

    let mut read: Vec<Value> = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = answer(&gateway, &format!("{target}?limit=2{cursor}")).await;
        read.extend(page["spans"].as_array().unwrap().iter().cloned());
        let Some(next) = page["more"]["cursor"].as_str() else {
            break;
        };
        assert_eq!(page["more"]["spans"], all.len() - read.len());
        cursor = format!("&cursor={next}");
    }
    assert_eq!(&read, all);
    for (place, span) in read.iter().enumerate() {
        let parent = &span["parent_span_id"];
        let before = read[..place].iter().any(|one| one["span_id"] == *parent);
        assert!(parent.is_null() || before, "{span:#}");
    }

    let agent = named(&whole, "agent.writer")["span_id"].as_str().unwrap();
    let page = answer(&gateway, &format!("{target}?parent={agent}")).await;
    let children = all.iter().filter(|span| span["parent_span_id"] == agent);
    let children: Vec<&Value> = children.collect();
    assert!(!children.is_empty());
    let found: Vec<&Value> = page["spans"].as_array().unwrap().iter().collect();
    assert_eq!(found, children);
}

#[tokio::test]
async fn a_tool_whose_result_looks_like_an_error_stays_ok_and_says_so() {
    let upstream = Upstream::answering(speaks).await;
    let setup = Setup::before(&upstream.url("/v1")).set("runs.idle", "300ms");
    let gateway = setup.start().await;
    let raised = "[Errno 2] No such file or directory. OSError: owls.txt";
    for (thread, result, sign) in [
        ("failed", raised, Some("OSError:")),
        ("well", "there are two words", None),
    ] {
        team_whose_tool_says(&gateway, thread, result).await;
        let list = listed(&gateway, &format!("/api/traces?thread={thread}"), 1).await;
        let target = format!("/api/traces/{}", list[0]["trace_id"].as_str().unwrap());
        let span = until("the tool to be there", async || {
            let trace = answer(&gateway, &format!("{target}?content=none")).await;
            let spans = trace["spans"].as_array().unwrap().clone();
            spans
                .into_iter()
                .find(|span| span["name"] == "tool.count_words" && span["status"] != "open")
        })
        .await;
        assert_eq!(
            (&span["status"], span["looks_failed"].as_str()),
            (&"ok".into(), sign)
        );
        let span = format!("{target}/spans/{}", span["span_id"].as_str().unwrap());
        assert_eq!(answer(&gateway, &span).await["looks_failed"].as_str(), sign);
        assert_eq!(list[0]["errors"], 0);
    }
}

#[tokio::test]
async fn a_trace_can_be_downloaded_as_otlp() {
    let upstream = Upstream::answering(speaks).await;
    let setup = Setup::before(&upstream.url("/v1")).set("runs.idle", "300ms");
    let gateway = setup.start().await;
    let id = a_team(&gateway).await["trace_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let reply = get(&gateway, &format!("/api/traces/{id}/otlp")).await;
    assert_eq!(
        header(&reply, "content-disposition"),
        format!("attachment; filename=\"trace-{id}.json\"")
    );
    let post: ExportTraceServiceRequest = serde_json::from_slice(&reply.body).expect("OTLP");
    let scopes = post
        .resource_spans
        .iter()
        .flat_map(|resource| &resource.scope_spans);
    let spans: Vec<_> = scopes.flat_map(|scope| &scope.spans).collect();
    assert_eq!(spans.len(), 7);
    let ids: BTreeSet<_> = spans.iter().map(|span| &span.span_id).collect();
    assert_eq!(ids.len(), 7);
    assert_eq!(post.resource_spans.len(), 1);
}

#[tokio::test]
async fn filters_and_a_search_choose_among_traces() {
    let upstream = Upstream::answering(|request| {
        let asked = String::from_utf8_lossy(&request.body);
        if asked.contains("fail") {
            crate::harness::json_reply(
                "400 Bad Request",
                r#"{"error":{"message":"no such thing"}}"#,
            )
        } else {
            chat_reply("An answer about Kraków.")
        }
    })
    .await;
    let gateway = Gateway::before(&upstream).await;
    asks(&gateway, "First question?", "one").await;
    asks(&gateway, "Second question?", "two").await;
    asks(&gateway, "Will it fail?", "three").await;
    listed(&gateway, "/api/traces", 3).await;
    for (query, threads) in [
        ("thread=one", &["one"][..]),
        ("thread=on", &[]),
        ("customer=ada", &["three", "two", "one"]),
        ("customer=ada&thread=two", &["two"]),
        ("agent=writer", &[]),
        ("model=gpt-4o-mini", &["three", "two", "one"]),
        ("model=gpt-4o-mini-2024-07-18", &["two", "one"]),
        ("status=error", &["three"]),
        ("q=SECOND+question", &["two"]),
        ("q=about+krak%C3%B3w", &["two", "one"]),
        ("q=such+thing", &["three"]),
        ("q=nowhere", &[]),
    ] {
        let found = listed(&gateway, &format!("/api/traces?{query}"), threads.len()).await;
        let found: Vec<&str> = found
            .iter()
            .map(|one| one["thread_identifier"].as_str().unwrap())
            .collect();
        assert_eq!(found, threads, "{query}");
    }
}

#[tokio::test]
async fn pages_neither_leave_out_nor_repeat_while_traces_arrive() {
    let upstream = Upstream::always(chat_reply("Fine.")).await;
    let gateway = Gateway::before(&upstream).await;
    for number in 0..7 {
        asks(&gateway, "How are you?", &format!("thread-{number}")).await;
    }
    listed(&gateway, "/api/traces", 7).await;
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = answer(&gateway, &format!("/api/traces?limit=3{cursor}")).await;
        for trace in page["traces"].as_array().unwrap() {
            seen.push(trace["thread_identifier"].as_str().unwrap().to_owned());
        }
        pages += 1;
        asks(&gateway, "Another?", &format!("new-{pages}")).await;
        listed(&gateway, &format!("/api/traces?thread=new-{pages}"), 1).await;
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let expected: Vec<String> = (0..7)
        .rev()
        .map(|number| format!("thread-{number}"))
        .collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_wrong_parameter_is_named() {
    let upstream = Upstream::always(chat_reply("Fine.")).await;
    let gateway = Gateway::before(&upstream).await;
    for (target, named) in [
        ("/api/traces?limit=0", "limit"),
        ("/api/traces?limit=501", "limit"),
        ("/api/traces?limit=many", "limit"),
        ("/api/traces?cursor=nothing", "cursor"),
        ("/api/traces?status=fine", "status"),
        ("/api/traces?color=red", "color"),
        ("/api/traces?thread=a&thread=b", "thread"),
        (
            "/api/traces/00000000000000000000000000000001?limit=2001",
            "limit",
        ),
        (
            "/api/traces/00000000000000000000000000000001?cursor=1",
            "cursor",
        ),
        (
            "/api/traces/00000000000000000000000000000001?parent=1",
            "parent",
        ),
        ("/api/events?status=fine", "status"),
        ("/api/events?limit=3", "limit"),
        (
            "/api/traces/00000000000000000000000000000001?content=all",
            "content",
        ),
    ] {
        let complaint = complaint(&gateway, target, 400).await;
        assert!(complaint.contains(named), "{target}: {complaint}");
    }
    let nobody = "00000000000000000000000000000001";
    for target in [
        format!("/api/traces/{nobody}"),
        format!("/api/traces/{nobody}/otlp"),
        format!("/api/traces/{nobody}/spans/0000000000000001"),
        format!("/api/traces/{nobody}/spans"),
        "/api/traces/1234".to_owned(),
        "/api/nothing".to_owned(),
    ] {
        complaint(&gateway, &target, 404).await;
    }
    for target in ["/api/traces", "/api/health", "/api/events", "/"] {
        let reply = ClientRequest::post(target, "{}").to(gateway.admin).await;
        assert_eq!(
            (reply.status, header(&reply, "allow")),
            (405, "GET, HEAD"),
            "{target}"
        );
    }
}

#[tokio::test]
async fn content_that_is_not_recorded_is_not_shown() {
    let upstream = Upstream::answering(speaks).await;
    let setup = Setup::before(&upstream.url("/v1"))
        .set("runs.idle", "300ms")
        .set("capture.content", "metadata");
    let gateway = setup.start().await;
    team(&gateway, "secret").await;
    let list = until("the run to be over", async || {
        let page = answer(&gateway, "/api/traces").await;
        (page["traces"].get(0)?["spans"] == 7).then_some(page)
    })
    .await;
    let id = list["traces"][0]["trace_id"].as_str().unwrap();
    assert_eq!(list["traces"][0]["preview"], Value::Null);
    let trace = answer(&gateway, &format!("/api/traces/{id}")).await;
    for text in ["owls", "Owls", "two words", "APPROVE", "criticise"] {
        assert!(!list.to_string().contains(text), "{text}: {list:#}");
        assert!(!trace.to_string().contains(text), "{text}: {trace:#}");
    }
    listed(&gateway, "/api/traces?q=owls", 0).await;
}

#[tokio::test]
async fn a_store_in_memory_is_shown_alike_and_one_on_the_disk_after_a_restart() {
    let upstream = Upstream::always(chat_reply("Fine.")).await;
    let memory = Setup::before(&upstream.url("/v1")).set("store.dir", ":memory:");
    let gateway = memory.start().await;
    asks(&gateway, "In memory?", "memory").await;
    let list = listed(&gateway, "/api/traces?q=in+memory", 1).await;
    let trace = answer(
        &gateway,
        &format!("/api/traces/{}", list[0]["trace_id"].as_str().unwrap()),
    )
    .await;
    assert_eq!(trace["spans"].as_array().map(Vec::len), Some(1));

    let mut gateway = Gateway::before(&upstream).await;
    asks(&gateway, "On the disk?", "disk").await;
    let before = listed(&gateway, "/api/traces?status=ok", 1).await;
    assert!(gateway.stop().await.success());
    gateway.restart().await;
    let after = listed(&gateway, "/api/traces", 1).await;
    assert_eq!(after[0]["trace_id"], before[0]["trace_id"]);
}

#[tokio::test]
async fn a_trace_beyond_retention_is_not_shown() {
    let upstream = Upstream::always(chat_reply("Fine.")).await;
    let setup = Setup::before(&upstream.url("/v1")).set("store.max_age", "2s");
    let gateway = setup.start().await;
    let ask = ClientRequest::post("/v1/chat/completions", chat_request("Why?", false));
    gateway.ask(&ask).await;
    let list = listed(&gateway, "/api/traces", 1).await;
    let trace = format!("/api/traces/{}", list[0]["trace_id"].as_str().unwrap());
    listed(&gateway, "/api/traces", 0).await;
    complaint(&gateway, &trace, 404).await;
}

#[tokio::test]
async fn an_unreadable_store_is_reported() {
    let upstream = Upstream::always(chat_reply("Fine.")).await;
    let setup = Setup::before(&upstream.url("/v1")).set("store.dir", "/proc/spangate");
    let gateway = setup.start().await;
    asks(&gateway, "Is there room?", "full").await;
    let message = complaint(&gateway, "/api/traces", 503).await;
    assert!(message.contains("/api/health"), "{message}");
    let nobody = "/api/traces/00000000000000000000000000000001";
    complaint(&gateway, nobody, 503).await;
    let health = answer(&gateway, "/api/health").await;
    assert_eq!(health["store"]["up"], false);
}
