//! The gateway's clients, with the requests that AutoGen would send: an agent with a tool, and a team of planner and reviewer. Each runs once
//! with whole replies and once streamed.

use std::io::Write;
use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::service::{BoxError, read_body};

/// One run of a program.
struct Program<'a> {
    client: &'a Client<HttpConnector, Full<Bytes>>,
    gateway: SocketAddr,
    thread: &'a str,
    streams: bool,
    calls: usize,
}

/// Holds all conversations and writes the answer of each. Returns the number of their spans.
pub(super) async fn hold(gateway: SocketAddr, output: &mut impl Write) -> Result<usize, BoxError> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut spans = 0;
    for (streams, how) in [(false, "whole"), (true, "streamed")] {
        let mut agent = Program {
            client: &client,
            gateway,
            thread: "demo-weather",
            streams,
            calls: 0,
        };
        let answer = agent_with_tool(&mut agent).await?;
        writeln!(output, "An agent with a tool, {how}: {answer}")?;
        let mut team = Program {
            client: &client,
            gateway,
            thread: "demo-plan",
            streams,
            calls: 0,
        };
        let answer = team_of_two(&mut team).await?;
        writeln!(output, "A team of two, {how}: {answer}")?;
        // An agent and its tool; a workflow, and a turn for each call.
        spans += agent.calls + 2 + 2 * team.calls + 1;
    }
    Ok(spans)
}

async fn agent_with_tool(program: &mut Program<'_>) -> Result<String, BoxError> {
    let tools = json!([{"type": "function", "function": {"name": "get_weather", "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]);
    let mut messages = vec![
        system("You are a helpful assistant."),
        user("user", "What is the weather in Lisbon?"),
    ];
    let asks = program.call(&messages, Some(&tools)).await?;
    messages.push(json!({"role": "assistant", "content": null, "tool_calls": asks["tool_calls"]}));
    messages.push(json!({"role": "tool", "tool_call_id": asks["tool_calls"][0]["id"], "content": "sunny, 24 degrees"}));
    text(&program.call(&messages, None).await?)
}

async fn team_of_two(program: &mut Program<'_>) -> Result<String, BoxError> {
    const TASK: &str = "Plan how to make our agents visible.";
    let (mut planner, mut reviewer) = (
        vec![system("You are the planner."), user("user", TASK)],
        vec![system("You are the reviewer."), user("user", TASK)],
    );
    loop {
        let plan = text(&program.call(&planner, None).await?)?;
        planner.push(json!({"role": "assistant", "content": plan}));
        reviewer.push(user("planner", &plan));
        let review = text(&program.call(&reviewer, None).await?)?;
        if review.contains("APPROVE") {
            return Ok(plan);
        }
        reviewer.push(json!({"role": "assistant", "content": review}));
        planner.push(user("reviewer", &review));
    }
}

fn system(text: &str) -> Value {
    json!({"role": "system", "content": text})
}

fn user(name: &str, text: &str) -> Value {
    json!({"role": "user", "name": name, "content": text})
}

fn text(message: &Value) -> Result<String, BoxError> {
    Ok(message["content"]
        .as_str()
        .ok_or("the model's reply has no text")?
        .to_owned())
}

impl Program<'_> {
    /// Calls the model and returns its message.
    async fn call(&mut self, messages: &[Value], tools: Option<&Value>) -> Result<Value, BoxError> {
        let mut request = json!({"model": "gpt-4o-mini", "messages": messages});
        if let Some(tools) = tools {
            request["tools"] = tools.clone();
        }
        if self.streams {
            request["stream"] = json!(true);
            request["stream_options"] = json!({"include_usage": true});
        }
        let body = request.to_string();
        let request = Request::post(format!("http://{}/v1/chat/completions", self.gateway))
            .header(AUTHORIZATION, "Bearer sk-demo")
            .header(CONTENT_TYPE, "application/json")
            .header("X-Respan-Customer-Identifier", "demo-customer")
            .header("X-Respan-Thread-Identifier", self.thread)
            .body(Full::from(body))?;
        let response = self.client.request(request).await?;
        let status = response.status();
        let body = read_body(response.into_body()).await?;
        if !status.is_success() {
            return Err(format!(
                "the gateway answered {status}: {}",
                String::from_utf8_lossy(&body)
            )
            .into());
        }
        self.calls += 1;
        if self.streams {
            Ok(joined(&body))
        } else {
            Ok(serde_json::from_slice::<Value>(&body)?["choices"][0]["message"].clone())
        }
    }
}

/// The message of a streamed reply of the scripted model.
fn joined(stream: &[u8]) -> Value {
    let (mut content, mut calls) = (String::new(), Value::Null);
    for event in String::from_utf8_lossy(stream).split("\n\n") {
        let chunk: Value = event
            .strip_prefix("data: ")
            .and_then(|data| serde_json::from_str(data).ok())
            .unwrap_or_default();
        let delta = &chunk["choices"][0]["delta"];
        content.push_str(delta["content"].as_str().unwrap_or_default());
        if delta["tool_calls"].is_array() {
            calls = delta["tool_calls"].clone();
        }
    }
    json!({"content": content, "tool_calls": calls})
}
