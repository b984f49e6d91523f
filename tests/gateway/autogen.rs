//! Real AutoGen through the built binary: the three programs of Respan's AutoGen page, streamed and not.
//!
//! Each program runs twice, against the scripted model itself and through the gateway. AutoGen must get the same both times, the model must
//! be asked the same, and Respan must get one complete chat span for each model call.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "functions of tests: a failure here is a test's failure"
)]

pub(crate) mod processes;
pub(crate) mod python;
pub(crate) mod respan;

use processes::{Call, Gateway, ScriptedModel};
use respan::{ScriptedRespan, Span};
use serde_json::{Value, json};

const WHOLE: &[&str] = &[];
const STREAMED: &[&str] = &["--stream"];
const STREAMED_WITH_USAGE: &[&str] = &["--stream", "--usage"];

#[test]
fn one_agent_becomes_one_chat_span() {
    assert_eq!(traced("one_agent.py", WHOLE), 1);
}

#[test]
fn one_agent_that_streams_becomes_one_chat_span() {
    assert_eq!(traced("one_agent.py", STREAMED), 1);
}

#[test]
fn one_agent_that_streams_and_asks_for_usage_becomes_one_chat_span() {
    assert_eq!(traced("one_agent.py", STREAMED_WITH_USAGE), 1);
}

#[test]
fn an_agent_that_reflects_on_its_tool_becomes_two_chat_spans() {
    assert_eq!(traced("agent_with_tool.py", WHOLE), 2);
}

#[test]
fn an_agent_that_reflects_on_its_tool_and_streams_becomes_two_chat_spans() {
    assert_eq!(traced("agent_with_tool.py", STREAMED), 2);
}

#[test]
fn an_agent_that_reflects_on_its_tool_streams_and_asks_for_usage_becomes_two_chat_spans() {
    assert_eq!(traced("agent_with_tool.py", STREAMED_WITH_USAGE), 2);
}

#[test]
fn planner_and_reviewer_become_four_chat_spans() {
    assert_eq!(traced("team.py", WHOLE), 4);
}

#[test]
fn planner_and_reviewer_that_stream_become_four_chat_spans() {
    assert_eq!(traced("team.py", STREAMED), 4);
}

#[test]
fn planner_and_reviewer_that_stream_and_ask_for_usage_become_four_chat_spans() {
    assert_eq!(traced("team.py", STREAMED_WITH_USAGE), 4);
}

/// Runs a program both ways, checks everything, and gives the number of its model calls.
fn traced(program: &str, words: &[&str]) -> usize {
    let script = python::programs().join(program);
    let run = |base_url: &str| -> Value {
        let printed = python::run(&script, [&[base_url], words].concat());
        serde_json::from_str(&printed)
            .unwrap_or_else(|e| panic!("{program} printed {printed} ({e})"))
    };
    let (model, respan) = (ScriptedModel::start(), ScriptedRespan::start());
    let direct = run(model.base_url());
    let asked_directly = model.calls();

    let gateway = Gateway::start(model.base_url(), &respan.base_url());
    let through = run(&gateway.base_url());
    gateway.stop();
    assert_eq!(
        through, direct,
        "AutoGen got something else through the gateway"
    );

    let asked = model.calls().split_off(asked_directly.len());
    assert_same_requests(&asked, &asked_directly);
    let spans = respan.spans();
    assert_eq!(
        spans.len(),
        asked.len(),
        "one span for each model call: {spans:#?}"
    );
    for call in &asked {
        let span = spans
            .iter()
            .find(|span| span.text("gen_ai.response.id") == call.reply.id);
        assert_chat_span(
            span.unwrap_or_else(|| panic!("no span of {call:#?} in {spans:#?}")),
            call,
        );
    }
    asked.len()
}

/// The model is asked byte for byte the same, without the headers that are meant for the gateway.
fn assert_same_requests(asked: &[Call], asked_directly: &[Call]) {
    let bodies = |calls: &[Call]| {
        calls
            .iter()
            .map(|call| call.body.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(bodies(asked), bodies(asked_directly));
    let headers = |call: &Call| {
        let mut headers = call.headers.clone();
        headers.retain(|name, _| !matches!(name.as_str(), "host" | "connection"));
        headers
    };
    for (call, direct) in asked.iter().zip(asked_directly) {
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

fn assert_chat_span(span: &Span, call: &Call) {
    let request: Value = serde_json::from_str(&call.body).unwrap();
    let streamed = request["stream"] == true;
    let is = |key: &str, value: Value| {
        assert_eq!(
            span.attributes.get(key),
            Some(&value).filter(|v| !v.is_null()),
            "{key} of {span:#?}"
        )
    };

    assert_eq!(span.name, "llm.gpt-4o-mini");
    assert_ne!(span.status, 2, "{span:#?}");
    assert!(span.start_ns < span.end_ns, "{span:#?}");
    is("respan.entity.log_type", json!("chat"));
    is("llm.request.type", json!("chat"));
    is("gen_ai.request.model", json!("gpt-4o-mini"));
    is("gen_ai.response.model", json!(call.reply.model));
    is("status_code", json!(200));
    is("llm.is_streaming", json!(streamed));
    is("respan.metadata.spangate_outcome", json!("complete"));
    assert_eq!(
        span.attributes
            .contains_key("respan.metadata.spangate_exchange"),
        true,
        "{span:#?}"
    );

    is(
        "respan.customer_params.customer_identifier",
        json!("ada@example.com"),
    );
    is("respan.threads.thread_identifier", json!("thread-7"));
    is("respan.metadata.plan", json!("pro"));
    is("respan.metadata.attempt", json!("2"));

    assert_prompts(span, request["messages"].as_array().unwrap());
    if request["tools"].is_array() {
        assert_eq!(span.json("llm.request.functions"), request["tools"]);
    } else {
        is("llm.request.functions", Value::Null);
    }
    is("gen_ai.completion.0.role", json!("assistant"));
    is(
        "gen_ai.completion.0.content",
        json!(call.reply.text.as_deref().unwrap_or_default()),
    );
    is(
        "gen_ai.completion.0.finish_reason",
        json!(call.reply.finish_reason),
    );
    if call.reply.tool_calls.is_empty() {
        is("gen_ai.completion.0.tool_calls", Value::Null);
    } else {
        assert_eq!(
            span.json("gen_ai.completion.0.tool_calls"),
            json!(call.reply.tool_calls)
        );
    }
    assert_eq!(
        span.attributes.contains_key("traceloop.entity.input"),
        false,
        "content is sent once: {span:#?}"
    );

    let usage = call.reply.usage.clone().unwrap_or_default();
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

    let first_token = span
        .attributes
        .get("llm.openai.chat_completions.streaming_time_to_first_token");
    assert_eq!(first_token.is_some(), streamed, "{span:#?}");
    if let Some(seconds) = first_token {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a duration of seconds, compared roughly"
        )]
        let whole = (span.end_ns - span.start_ns) as f64 / 1e9;
        assert!(
            (0.0..=whole).contains(&seconds.as_f64().expect("seconds as a double")),
            "{span:#?}"
        );
    }
}

fn assert_prompts(span: &Span, messages: &[Value]) {
    for (n, message) in messages.iter().enumerate() {
        assert_eq!(
            span.text(&format!("gen_ai.prompt.{n}.role")),
            message["role"]
        );
        assert_eq!(
            span.text(&format!("gen_ai.prompt.{n}.content")),
            message["content"].as_str().unwrap_or_default()
        );
        if message["tool_calls"].is_array() {
            assert_eq!(
                span.json(&format!("gen_ai.prompt.{n}.tool_calls")),
                message["tool_calls"]
            );
        }
        if message["tool_call_id"].is_string() {
            assert_eq!(
                span.text(&format!("gen_ai.prompt.{n}.tool_call_id")),
                message["tool_call_id"]
            );
        }
        if message["name"].is_string() {
            assert_eq!(
                span.text(&format!("gen_ai.prompt.{n}.name")),
                message["name"]
            );
        }
    }
    let beyond = format!("gen_ai.prompt.{}.", messages.len());
    assert!(
        !span.attributes.keys().any(|key| key.starts_with(&beyond)),
        "{span:#?}"
    );
}
