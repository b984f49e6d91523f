//! Chat completions as AutoGen's client sends them and as OpenAI answers them, small enough to read.

use serde_json::{Value, json};

/// The body of a request, one question long.
pub(crate) fn chat_request(question: &str, stream: bool) -> String {
    let mut body = json!({
        "model": "gpt-4o-mini",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}],
    });
    if stream {
        body["stream"] = Value::Bool(true);
        body["stream_options"] = json!({"include_usage": true});
    }
    body.to_string()
}

/// A whole reply on HTTP/1.1, head and body.
pub(crate) fn chat_reply(answer: &str) -> Vec<u8> {
    let body = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
    });
    json_reply("200 OK", &body.to_string())
}

/// Any JSON as a reply on HTTP/1.1.
pub(crate) fn json_reply(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The server-sent events of a streamed reply of these words, `[DONE]` the last of them.
pub(crate) fn chat_events(words: &[&str]) -> Vec<String> {
    let chunk = |choices: Value, usage: Value| {
        let body = json!({
            "id": "chatcmpl-2", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "gpt-4o-mini-2024-07-18",
            "choices": choices, "usage": usage,
        });
        format!("data: {body}\n\n")
    };
    let delta = |delta: Value, finish: Value| {
        chunk(
            json!([{"index": 0, "delta": delta, "finish_reason": finish}]),
            Value::Null,
        )
    };
    let mut events = vec![delta(
        json!({"role": "assistant", "content": ""}),
        Value::Null,
    )];
    events.extend(
        words
            .iter()
            .map(|word| delta(json!({"content": word}), Value::Null)),
    );
    events.push(delta(json!({}), json!("stop")));
    events.push(chunk(
        json!([]),
        json!({"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}),
    ));
    events.push("data: [DONE]\n\n".to_owned());
    events
}
