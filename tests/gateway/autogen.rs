//! Real AutoGen through the built binary: the three programs of Respan's AutoGen page, streamed and not.
//!
//! Each program runs twice, against the scripted model itself and through the gateway. AutoGen must get the same both times, the model must
//! get the same requests, and Respan must get one complete chat span for each call of the model.

pub(crate) mod model;
pub(crate) mod python;

use model::{ModelCall, ScriptedModel};
use serde_json::{Value, json};

use crate::harness::{KEY, Respan, Setup, Span, trees, value};

const WHOLE: &[&str] = &[];
const STREAMED: &[&str] = &["--stream"];
const STREAMED_WITH_USAGE: &[&str] = &["--stream", "--usage"];

/// `llm.<model>` of the scripted model is the model that answered.
const ONE_AGENT: &str = "\
agent.unknown
  llm.gpt-4o-mini-2024-07-18
";
const AGENT_WITH_TOOL: &str = "\
agent.unknown
  llm.gpt-4o-mini-2024-07-18
  tool.get_weather
  tool.get_weather
  llm.gpt-4o-mini-2024-07-18
";
const TEAM: &str = "\
workflow RoundRobinGroupChat.run_stream
  agent.planner
    llm.gpt-4o-mini-2024-07-18
  agent.reviewer
    llm.gpt-4o-mini-2024-07-18
  agent.planner
    llm.gpt-4o-mini-2024-07-18
  agent.reviewer
    llm.gpt-4o-mini-2024-07-18
";

#[tokio::test]
async fn one_agent_is_a_root_with_its_call() {
    assert_eq!(traced("one_agent.py", WHOLE).await, ONE_AGENT);
}

#[tokio::test]
async fn one_agent_that_streams_is_a_root_with_its_call() {
    assert_eq!(traced("one_agent.py", STREAMED).await, ONE_AGENT);
}

#[tokio::test]
async fn one_agent_that_streams_and_asks_for_usage_is_a_root_with_its_call() {
    assert_eq!(traced("one_agent.py", STREAMED_WITH_USAGE).await, ONE_AGENT);
}

#[tokio::test]
async fn an_agent_that_reflects_on_its_tools_holds_them_between_its_calls() {
    assert_eq!(traced("agent_with_tool.py", WHOLE).await, AGENT_WITH_TOOL);
}

#[tokio::test]
async fn an_agent_that_reflects_and_streams_holds_its_tools_between_its_calls() {
    assert_eq!(
        traced("agent_with_tool.py", STREAMED).await,
        AGENT_WITH_TOOL
    );
}

#[tokio::test]
async fn an_agent_that_streams_with_usage_holds_its_tools_between_its_calls() {
    assert_eq!(
        traced("agent_with_tool.py", STREAMED_WITH_USAGE).await,
        AGENT_WITH_TOOL
    );
}

#[tokio::test]
async fn planner_and_reviewer_are_a_workflow_of_four_turns() {
    assert_eq!(traced("team.py", WHOLE).await, TEAM);
}

#[tokio::test]
async fn planner_and_reviewer_that_stream_are_a_workflow_of_four_turns() {
    assert_eq!(traced("team.py", STREAMED).await, TEAM);
}

#[tokio::test]
async fn planner_and_reviewer_that_stream_and_ask_for_usage_are_a_workflow_of_four_turns() {
    assert_eq!(traced("team.py", STREAMED_WITH_USAGE).await, TEAM);
}

/// Runs a program both ways, checks everything, and gives the tree of its spans.
async fn traced(program: &'static str, args: &'static [&'static str]) -> String {
    let model = ScriptedModel::start();
    let direct = run(program, model.base_url(), args).await;
    let direct_calls = model.calls().await;

    let respan = Respan::start().await;
    let mut gateway = Setup::before(model.base_url())
        .exporting(&respan)
        .start()
        .await;
    let base_url = format!("http://{}/v1", gateway.address);
    let through = run(program, &base_url, args).await;
    let status = gateway.stop().await; // every span has been posted once it has ended
    assert_eq!(status.code(), Some(0));
    assert_eq!(
        through, direct,
        "AutoGen got something else through the gateway"
    );

    let calls = model.calls().await.split_off(direct_calls.len());
    assert_same_requests(&calls, &direct_calls);
    for post in respan.posts() {
        assert_eq!(
            value(&post.headers, "authorization"),
            Some(format!("Bearer {KEY}").as_str())
        );
    }
    let all = respan.spans();
    let (spans, others): (Vec<Span>, Vec<Span>) = all.iter().cloned().partition(Span::is_call);
    assert_eq!(
        spans.len(),
        calls.len(),
        "one span for each model call: {spans:#?}"
    );
    for other in &others {
        assert_identity(other);
    }
    for call in &calls {
        let its = |span: &&Span| span.text("gen_ai.response.id") == call.reply.id;
        let span = spans
            .iter()
            .find(its)
            .unwrap_or_else(|| panic!("no span of {call:#?} in {spans:#?}"));
        assert_chat_span(span, call);
    }
    trees(&all)
}

/// What AutoGen got, as the program prints it.
async fn run(program: &'static str, base_url: &str, args: &'static [&'static str]) -> Value {
    let args = [&[base_url], args]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let printed = python::run(python::programs().join(program), args).await;
    serde_json::from_str(&printed).unwrap_or_else(|e| panic!("{program} printed {printed} ({e})"))
}

/// Checks that the model gets the same bytes, without the headers for the gateway.
fn assert_same_requests(calls: &[ModelCall], direct_calls: &[ModelCall]) {
    let bodies = |all: &[ModelCall]| all.iter().map(|call| call.body.clone()).collect::<Vec<_>>();
    assert_eq!(bodies(calls), bodies(direct_calls));
    let headers = |call: &ModelCall| {
        let mut headers = call.headers.clone();
        headers.retain(|name, _| !matches!(name.as_str(), "host" | "connection"));
        headers
    };
    for (call, direct) in calls.iter().zip(direct_calls) {
        let mut expected = headers(direct);
        expected.retain(|name, _| !name.starts_with("x-respan-"));
        assert_eq!(
            expected.len() + 3,
            headers(direct).len(),
            "the program names customer, thread and metadata"
        );
        assert_eq!(headers(call), expected);
    }
}

/// Agents, tools and workflows say for whom they worked, as their run's first request did.
fn assert_identity(span: &Span) {
    for key in [
        "respan.customer_params.customer_identifier",
        "respan.threads.thread_identifier",
    ] {
        assert!(!span.text(key).is_empty(), "{key} of {span:#?}");
    }
    assert!(span.end >= span.start && !span.text("traceloop.entity.input").is_empty());
}

fn assert_chat_span(span: &Span, call: &ModelCall) {
    let request: Value = serde_json::from_str(&call.body).unwrap();
    let reply = &call.reply;
    let streamed = request["stream"] == true;
    let is = |key: &str, value: Value| assert_attribute(span, key, &value);

    // As the instrumentation of AutoGen names it: after the model that answered.
    assert_eq!(span.name, format!("llm.{}", reply.model));
    assert_ne!(span.status, 2, "{span:#?}");
    assert!(span.start < span.end, "{span:#?}");
    is("respan.entity.log_type", json!("chat"));
    is("llm.request.type", json!("chat"));
    is("gen_ai.request.model", json!("gpt-4o-mini"));
    is("gen_ai.response.model", json!(reply.model));
    is("status_code", json!(200));
    is("llm.is_streaming", json!(streamed));
    is("respan.metadata.spangate_outcome", json!("complete"));
    assert_ne!(span.text("respan.metadata.spangate_exchange"), "");

    is(
        "respan.customer_params.customer_identifier",
        json!("ada@example.com"),
    );
    is("respan.threads.thread_identifier", json!("thread-7"));
    is("respan.metadata.plan", json!("pro"));
    is("respan.metadata.attempt", json!("2"));

    assert_prompts(span, request["messages"].as_array().unwrap());
    assert_inner_json(span, "llm.request.functions", &request["tools"]);
    is("gen_ai.completion.0.role", json!("assistant"));
    is(
        "gen_ai.completion.0.content",
        json!(reply.text.as_deref().unwrap_or_default()),
    );
    is(
        "gen_ai.completion.0.finish_reason",
        json!(reply.finish_reason),
    );
    let calls = if reply.tool_calls.is_empty() {
        Value::Null
    } else {
        json!(reply.tool_calls)
    };
    assert_inner_json(span, "gen_ai.completion.0.tool_calls", &calls);
    is("traceloop.entity.input", Value::Null); // content is sent once
    is("traceloop.entity.output", Value::Null);

    let usage = reply.usage.clone().unwrap_or_default();
    is("gen_ai.usage.prompt_tokens", usage["prompt_tokens"].clone());
    is("gen_ai.usage.input_tokens", usage["prompt_tokens"].clone());
    is(
        "gen_ai.usage.completion_tokens",
        usage["completion_tokens"].clone(),
    );
    is(
        "gen_ai.usage.output_tokens",
        usage["completion_tokens"].clone(),
    );
    is("llm.usage.total_tokens", usage["total_tokens"].clone());
    is(
        "llm.usage.cache_read_input_tokens",
        usage["prompt_tokens_details"]["cached_tokens"].clone(),
    );
    is(
        "llm.usage.reasoning_tokens",
        usage["completion_tokens_details"]["reasoning_tokens"].clone(),
    );

    let first = span
        .attributes
        .get("llm.openai.chat_completions.streaming_time_to_first_token");
    assert_eq!(first.is_some(), streamed, "{span:#?}");
    if let Some(seconds) = first {
        let whole = std::time::Duration::from_nanos(span.end - span.start).as_secs_f64();
        assert!(
            (0.0..=whole).contains(&seconds.as_f64().unwrap()),
            "{span:#?}"
        );
    }
}

fn assert_prompts(span: &Span, messages: &[Value]) {
    for (n, message) in messages.iter().enumerate() {
        let key = |name: &str| format!("gen_ai.prompt.{n}.{name}");
        assert_attribute(span, &key("role"), &message["role"]);
        assert_attribute(
            span,
            &key("content"),
            &json!(message["content"].as_str().unwrap_or_default()),
        );
        assert_attribute(span, &key("name"), &message["name"]);
        assert_attribute(span, &key("tool_call_id"), &message["tool_call_id"]);
        assert_inner_json(span, &key("tool_calls"), &message["tool_calls"]);
    }
    let beyond = format!("gen_ai.prompt.{}.", messages.len());
    assert!(
        !span.attributes.keys().any(|key| key.starts_with(&beyond)),
        "{span:#?}"
    );
}

/// That an attribute has this value; with null, that it is not there.
fn assert_attribute(span: &Span, key: &str, value: &Value) {
    let value = Some(value).filter(|value| !value.is_null());
    assert_eq!(span.attributes.get(key), value, "{key} of {span:#?}");
}

/// That an attribute's text is this JSON; with null, that it is not there.
fn assert_inner_json(span: &Span, key: &str, value: &Value) {
    let inner = span.attributes.get(key).map(|text| {
        let text = text.as_str().expect("JSON is sent as text");
        serde_json::from_str::<Value>(text).unwrap_or_else(|e| panic!("{key} is {text} ({e})"))
    });
    assert_eq!(inner.unwrap_or_default(), *value, "{key} of {span:#?}");
}
