//! The scripted model: answers chat completions as OpenAI does, whole or streamed.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{Either, StreamBody};
use serde_json::{Value, json};

use super::service::{DemoBody, EventBody, JsonService, json_response, response};

/// Answers for every model name.
#[derive(Clone)]
pub(super) struct ScriptedModel;

const MODEL: &str = "gpt-4o-mini-2024-07-18";
/// The time before a reply, and before each event of a stream.
const REPLY_TIME: Duration = Duration::from_millis(40);
const EVENT_TIME: Duration = Duration::from_millis(8);

impl JsonService for ScriptedModel {
    async fn answer(self, request: Value) -> Response<DemoBody> {
        if request.is_null() {
            let mut response =
                json_response(r#"{"error":{"message":"not JSON","type":"invalid_request_error"}}"#);
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return response;
        }
        tokio::time::sleep(REPLY_TIME).await;
        if request["stream"] == true {
            streamed(&request)
        } else {
            whole(&request)
        }
    }
}

/// The model's next step in a conversation.
enum ModelTurn {
    Text(&'static str),
    Tool(&'static str, Value),
}

fn script(request: &Value) -> ModelTurn {
    let messages = request["messages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let system = messages
        .first()
        .and_then(|message| message["content"].as_str())
        .unwrap_or_default();
    let last = messages.last().map(|message| &message["role"]);
    if request["tools"].is_array() && last != Some(&json!("tool")) {
        return ModelTurn::Tool("get_weather", json!({"city": "Lisbon"}));
    }
    ModelTurn::Text(
        match (
            system.contains("planner"),
            system.contains("reviewer"),
            messages.len(),
        ) {
            (true, _, 0..=2) => "Plan: trace one agent first, then the whole team.",
            (true, _, _) => {
                "Plan: trace one agent first, then the whole team, and keep a dashboard open."
            }
            (_, true, 0..=3) => "Good, but say who watches it.",
            (_, true, _) => "APPROVE",
            _ => "It is sunny in Lisbon, 24 degrees.",
        },
    )
}

fn usage(request: &Value, turn: &ModelTurn) -> Value {
    let prompt = request["messages"].to_string().len() / 4;
    let completion = match turn {
        ModelTurn::Text(text) => text.split(' ').count(),
        ModelTurn::Tool(name, arguments) => (name.len() + arguments.to_string().len()) / 4,
    };
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
           "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}})
}

fn envelope(kind: &str, choices: &Value) -> Value {
    json!({"id": "chatcmpl-demo", "object": kind, "created": 1_700_000_000, "model": MODEL, "choices": choices})
}

fn tool_calls(name: &str, arguments: &Value) -> Value {
    json!([{"index": 0, "id": "call_demo", "type": "function", "function": {"name": name, "arguments": arguments.to_string()}}])
}

fn whole(request: &Value) -> Response<DemoBody> {
    let turn = script(request);
    let (message, reason) = match &turn {
        ModelTurn::Text(text) => (json!({"role": "assistant", "content": text}), "stop"),
        ModelTurn::Tool(name, arguments) => (
            json!({"role": "assistant", "content": null, "tool_calls": tool_calls(name, arguments)}),
            "tool_calls",
        ),
    };
    let mut reply = envelope(
        "chat.completion",
        &json!([{"index": 0, "message": message, "finish_reason": reason}]),
    );
    reply["usage"] = usage(request, &turn);
    json_response(reply.to_string())
}

fn streamed(request: &Value) -> Response<DemoBody> {
    let turn = script(request);
    let chunk = |delta: Value, reason: Value| {
        envelope(
            "chat.completion.chunk",
            &json!([{"index": 0, "delta": delta, "finish_reason": reason}]),
        )
    };
    let mut chunks = vec![chunk(
        json!({"role": "assistant", "content": ""}),
        Value::Null,
    )];
    let reason = match &turn {
        ModelTurn::Text(text) => {
            chunks.extend(
                text.split_inclusive(' ')
                    .map(|word| chunk(json!({"content": word}), Value::Null)),
            );
            "stop"
        }
        ModelTurn::Tool(name, arguments) => {
            chunks.push(chunk(
                json!({"tool_calls": tool_calls(name, arguments)}),
                Value::Null,
            ));
            "tool_calls"
        }
    };
    chunks.push(chunk(json!({}), json!(reason)));
    if request["stream_options"]["include_usage"] == true {
        let mut last = envelope("chat.completion.chunk", &json!([]));
        last["usage"] = usage(request, &turn);
        chunks.push(last);
    }
    let mut events: Vec<Bytes> = chunks
        .iter()
        .map(|chunk| Bytes::from(format!("data: {chunk}\n\n")))
        .collect();
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    let paced: EventBody = Box::pin(stream::unfold(events.into_iter(), |mut events| async {
        let event = events.next()?;
        tokio::time::sleep(EVENT_TIME).await;
        Some((Ok(Frame::data(event)), events))
    }));
    response(
        "text/event-stream; charset=utf-8",
        Either::Right(StreamBody::new(paced)),
    )
}
