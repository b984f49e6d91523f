//! The scripted model: answers chat completions as OpenAI does, whole or streamed, from what the request says.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{Either, Full, StreamBody};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tower::Service;

/// Answers for every model name.
#[derive(Clone)]
pub(super) struct Model;

type Events = Pin<Box<dyn futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

/// A body, whole or as events.
pub(super) type Reply = Either<Full<Bytes>, StreamBody<Events>>;

const MODEL: &str = "gpt-4o-mini-2024-07-18";
/// How long the model thinks, and how long it takes for a word.
const THINKING: Duration = Duration::from_millis(40);
const WORD: Duration = Duration::from_millis(8);

impl Service<Request<Incoming>> for Model {
    type Response = Response<Reply>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        Box::pin(async move {
            let asked = super::whole(request.into_body())
                .await
                .ok()
                .and_then(|body| serde_json::from_slice::<Value>(&body).ok());
            let Some(asked) = asked else {
                let mut response = Response::new(Either::Left(Full::from(
                    r#"{"error":{"message":"not JSON","type":"invalid_request_error"}}"#,
                )));
                *response.status_mut() = StatusCode::BAD_REQUEST;
                return Ok(response);
            };
            tokio::time::sleep(THINKING).await;
            Ok(if asked["stream"] == true {
                streamed(&asked)
            } else {
                whole(&asked)
            })
        })
    }
}

/// What the model says to a conversation.
enum Says {
    Text(&'static str),
    Tool(&'static str, Value),
}

fn script(asked: &Value) -> Says {
    let messages = asked["messages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let system = messages
        .first()
        .and_then(|message| message["content"].as_str())
        .unwrap_or_default();
    let last = messages.last().map(|message| &message["role"]);
    if asked["tools"].is_array() && last != Some(&json!("tool")) {
        return Says::Tool("get_weather", json!({"city": "Lisbon"}));
    }
    Says::Text(
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

fn usage(asked: &Value, says: &Says) -> Value {
    let prompt = asked["messages"].to_string().len() / 4;
    let completion = match says {
        Says::Text(text) => text.split(' ').count(),
        Says::Tool(name, arguments) => (name.len() + arguments.to_string().len()) / 4,
    };
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
           "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}})
}

fn envelope(kind: &str, choices: &Value) -> Value {
    json!({"id": "chatcmpl-demo", "object": kind, "created": 1_700_000_000, "model": MODEL, "choices": choices})
}

fn called(name: &str, arguments: &Value) -> Value {
    json!([{"index": 0, "id": "call_demo", "type": "function", "function": {"name": name, "arguments": arguments.to_string()}}])
}

fn whole(asked: &Value) -> Response<Reply> {
    let says = script(asked);
    let (message, reason) = match &says {
        Says::Text(text) => (json!({"role": "assistant", "content": text}), "stop"),
        Says::Tool(name, arguments) => (
            json!({"role": "assistant", "content": null, "tool_calls": called(name, arguments)}),
            "tool_calls",
        ),
    };
    let mut reply = envelope(
        "chat.completion",
        &json!([{"index": 0, "message": message, "finish_reason": reason}]),
    );
    reply["usage"] = usage(asked, &says);
    let mut response = Response::new(Either::Left(Full::from(reply.to_string())));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn streamed(asked: &Value) -> Response<Reply> {
    let says = script(asked);
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
    let reason = match &says {
        Says::Text(text) => {
            chunks.extend(
                text.split_inclusive(' ')
                    .map(|word| chunk(json!({"content": word}), Value::Null)),
            );
            "stop"
        }
        Says::Tool(name, arguments) => {
            chunks.push(chunk(
                json!({"tool_calls": called(name, arguments)}),
                Value::Null,
            ));
            "tool_calls"
        }
    };
    chunks.push(chunk(json!({}), json!(reason)));
    if asked["stream_options"]["include_usage"] == true {
        let mut last = envelope("chat.completion.chunk", &json!([]));
        last["usage"] = usage(asked, &says);
        chunks.push(last);
    }
    let mut events: Vec<Bytes> = chunks
        .iter()
        .map(|chunk| Bytes::from(format!("data: {chunk}\n\n")))
        .collect();
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    let paced: Events = Box::pin(stream::unfold(events.into_iter(), |mut events| async {
        let event = events.next()?;
        tokio::time::sleep(WORD).await;
        Some((Ok(Frame::data(event)), events))
    }));
    let mut response = Response::new(Either::Right(StreamBody::new(paced)));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    response
}
