//! Requests are read as `serde_json` reads them, and one that was cut gives whole messages only.

use fastrand::Rng;
use serde_json::value::RawValue;
use spangate::internals::openai::{ChatRequest, Content};

use crate::engine::{fingerprint, magnitude, run};
use crate::members::{Members, agree};

const TOKENS: &[&str] = &[
    r#""messages":["#,
    r#"{"role":"user","content":"hi"},"#,
    r#"{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},"#,
    r#"{"role":"tool","tool_call_id":"c1","content":"42"},"#,
    r#""content":[{"type":"text","text":"hi"}],"#,
    r#""name":"#,
    r#""model":"gpt-4o","#,
    r#""stop":["a","b"],"#,
    r#""reasoning_content":"#,
    r"\ud83d",
    "\\u006d",
    "null",
    "[]",
    "{}",
    "\u{FEFF}",
];

fn check_messages(read: &ChatRequest<'_>, written: &str) {
    let elements: Vec<Box<RawValue>> = serde_json::from_str(written).unwrap();
    assert_eq!(read.messages.len(), elements.len(), "one message each");
    for (message, element) in read.messages.iter().zip(&elements) {
        let element = element.get();
        let Some(members) = Members::of(element).filter(|_| element.starts_with('{')) else {
            continue;
        };
        for (name, value) in [
            ("role", &message.role),
            ("name", &message.name),
            ("tool_call_id", &message.tool_call_id),
            ("refusal", &message.refusal),
        ] {
            let written = members.of_type(name, '"');
            assert!(
                agree(written, value.as_deref()),
                "{name}: {written:?} {value:?}"
            );
        }
        assert_eq!(message.tool_calls.as_deref(), members.written("tool_calls"));
        let content = members.written("content");
        match &message.content {
            Some(Content::Text(text)) => {
                assert_eq!(content, Some(&*format!("\"{}\"", text.written())));
            }
            Some(Content::Json(json)) => assert_eq!(content, Some(&**json)),
            None => assert_eq!(content, None),
        }
    }
}

#[test]
fn requests() {
    run("requests", TOKENS, |input| {
        let Ok(whole) = ChatRequest::parse(input) else {
            return 0;
        };
        let text = String::from_utf8_lossy(input);
        let text = text.trim_start_matches('\u{FEFF}').trim_start();
        let members = Members::of(text).filter(|_| !whole.incomplete);
        if let Some(members) = &members {
            assert!(agree(members.of_type("model", '"'), whole.model.as_deref()));
            match members.of_type("messages", '[') {
                Some(written) => check_messages(&whole, written),
                None => assert!(whole.messages.is_empty()),
            }
        }
        let cut = Rng::with_seed(fingerprint(input)).usize(0..=input.len());
        if let Ok(part) = ChatRequest::parse(&input[..cut]) {
            let looks_whole = !part.incomplete && !whole.incomplete;
            assert!(!looks_whole || part == whole, "a part that looks whole");
            let once = input.windows(8).filter(|part| part == b"messages").count() <= 1;
            if once && !text.contains("\\u00") {
                assert!(
                    whole.messages.starts_with(&part.messages),
                    "a part of a message"
                );
            }
        }
        let reusable_texts: usize = whole.reusable_texts().map(|(text, _)| text.len()).sum();
        assert!(reusable_texts <= input.len(), "texts are not made up");
        fingerprint((
            whole.incomplete,
            members.map(|members| magnitude(members.len())),
            whole.messages.len().min(9),
            (
                whole.stop.len(),
                whole.tools.is_some(),
                whole.model.is_some(),
            ),
            whole
                .messages
                .last()
                .map(|last| (last.content.is_some(), last.tool_calls.is_some())),
        ))
    });
}
