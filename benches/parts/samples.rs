//! Requests, and exchanges that are over, as the parts behind the proxy get them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use spangate::internals::exchange::{
    CapturedBody, Exchange, ExchangeId, Outcome, ParsedReply, RequestMeta,
};
use spangate::internals::identity::Identity;
use spangate::internals::openai::{ChatReply, Choice};

use crate::words::Words;

/// A text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The body of a request whose conversation, of messages of 1 KB, is this long.
pub(crate) fn request(words: &mut Words, bytes: usize) -> String {
    let mut body = String::from(
        r#"{"model":"gpt-4o","stream":true,"messages":[{"role":"system","content":"You help."}"#,
    );
    let mut role = "user";
    for _ in 0..bytes >> 10 {
        let text = quoted(&words.text(1 << 10));
        _ = write!(body, r#",{{"role":"{role}","content":{text}}}"#);
        role = if role == "user" { "assistant" } else { "user" };
    }
    body + r#"],"temperature":0.2,"tools":[{"type":"function","function":{"name":"search","parameters":{"type":"object"}}}]}"#
}

/// What is known of an exchange from the beginning.
pub(crate) fn meta() -> RequestMeta {
    RequestMeta {
        id: ExchangeId::new(),
        identity: Identity::default(),
        method: Method::POST,
        path: "/v1/chat/completions".to_owned(),
        retry: None,
        content_encoding: None,
        chat: true,
        content: true,
        entity_content: false,
        may_be_agent: true,
        media: spangate::internals::openai::Media::Size,
        max_body: 4 << 20,
        system: "openai",
        wall_offset_ns: 0,
    }
}

/// An exchange with this request, a millisecond after the one before.
pub(crate) fn exchange(number: u64, body: String) -> Arc<Exchange> {
    let choice = Choice {
        content: Some(format!("ResponseHead {number}, and nothing more.")),
        ..Choice::default()
    };
    let reply = ChatReply {
        choices: vec![choice],
        ..ChatReply::default()
    };
    Arc::new(Exchange {
        meta: Arc::new(meta()),
        started_ns: 1_764_000_000_000_000_000 + number * 1_000_000,
        duration: Duration::from_micros(500),
        request: CapturedBody::new(body.into(), false),
        response: None,
        outcome: Outcome::Complete,
        reply: Some(ParsedReply {
            chat: reply,
            ended: true,
            first_token: None,
        }),
    })
}
