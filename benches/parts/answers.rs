//! Replies as they come from the upstream, and spans on their way to Respan.

use spangate::internals::openai::ChatRequest;
use spangate::internals::span::chat::request_attributes;
use spangate::internals::span::{Span, SpanId, Status, TraceId};

use crate::samples::{quoted, request};
use crate::words::Words;

/// Events of a stream, each with one word.
const EVENTS: usize = 100;

/// The body of a streamed reply, one event for each word, and its end.
pub(crate) fn stream(words: &mut Words) -> Vec<Vec<u8>> {
    let head = r#"{"id":"chatcmpl-9yQ","object":"chat.completion.chunk","created":1764000000,"model":"gpt-4o-2024-08-06","system_fingerprint":"fp_1","choices":"#;
    let mut events: Vec<String> = (0..EVENTS)
        .map(|_| {
            let word = quoted(words.word());
            format!(
                "data: {head}[{{\"index\":0,\"delta\":{{\"content\":{word}}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
            )
        })
        .collect();
    events.push(format!(
        "data: {head}[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\n"
    ));
    events.push("data: [DONE]\n\n".to_owned());
    events.into_iter().map(String::into_bytes).collect()
}

/// The body of a reply in one piece, with a text of 1 KB.
pub(crate) fn whole(words: &mut Words) -> String {
    let text = quoted(&words.text(1 << 10));
    format!(
        r#"{{"id":"chatcmpl-9yQ","object":"chat.completion","created":1764000000,"model":"gpt-4o-2024-08-06","choices":[{{"index":0,"message":{{"role":"assistant","content":{text},"refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":256,"completion_tokens":196,"total_tokens":452,"prompt_tokens_details":{{"cached_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0}}}},"system_fingerprint":"fp_1"}}"#
    )
}

/// A span whose prompt has 20 KB.
pub(crate) fn span(words: &mut Words, number: u8) -> Span {
    let body = request(words, 20 << 10);
    let mut attributes = Vec::new();
    if let Ok(request) = ChatRequest::parse(body.as_bytes()) {
        request_attributes(&request, request.stream, true, &mut attributes);
    }
    Span {
        trace_id: TraceId([1; 16]),
        span_id: SpanId([number.max(1); 8]),
        parent_span_id: None,
        name: "llm.gpt-4o".to_owned(),
        start_ns: 1_764_000_000_000_000_000,
        end_ns: 1_764_000_001_000_000_000,
        status: Status::Ok,
        attributes,
        events: Vec::new(),
    }
}
