//! Properties of every reply in all pieces.

use proptest::prelude::*;

use super::super::*;
use super::{EVENTS, JSON, STREAM, call, events, read};
use crate::openai::ToolCall;

fn any_reply() -> impl Strategy<Value = (String, Vec<(String, String)>)> {
    (
        ".{0,40}",
        prop::collection::vec(("[a-z]{1,8}", ".{0,20}"), 0..4),
    )
}

/// Cuts a text into pieces of `size` characters.
fn split(text: &str, size: usize) -> Vec<String> {
    text.chars()
        .collect::<Vec<_>>()
        .chunks(size)
        .map(|chars| chars.iter().collect())
        .collect()
}

proptest! {
    #[test]
    fn a_reply_that_was_split_is_assembled_again((content, calls) in any_reply(), piece in 1usize..6, cut in 1usize..40, crlf in any::<bool>()) {
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        let mut deltas: Vec<String> = split(&content, piece).iter().map(|text| format!(r#"{{"content":{}}}"#, quoted(text))).collect();
        for (index, (name, arguments)) in calls.iter().enumerate() {
            deltas.push(format!(r#"{{"tool_calls":[{{"index":{index},"id":"id{index}","type":"function","function":{{"name":"{name}","arguments":""}}}}]}}"#));
            deltas.extend(split(arguments, piece).iter().map(|text| format!(r#"{{"tool_calls":[{{"index":{index},"function":{{"arguments":{}}}}}]}}"#, quoted(text))));
        }
        let end = if crlf { "\r\n\r\n" } else { "\n\n" };
        let body: String = deltas
            .iter()
            .flat_map(|delta| [r#"data: {"id":"i","choices":[{"index":0,"delta":"#, delta, "}]}", end])
            .collect();
        let reply = read(EVENTS, &body.as_bytes().chunks(cut).collect::<Vec<_>>());
        let choice = reply.choices.first().cloned().unwrap_or_default();
        prop_assert_eq!(choice.content.unwrap_or_default(), content);
        let expected: Vec<ToolCall> = calls.iter().enumerate().map(|(index, (name, arguments))| call(&format!("id{index}"), name, arguments)).collect();
        prop_assert_eq!(choice.tool_calls, expected);
    }

    #[test]
    fn a_reply_does_not_depend_on_how_its_bytes_are_cut(
        noise in prop::collection::vec(any::<u8>(), 0..60), at in 0usize..1500, size in 1usize..20, promised in any::<bool>(),
    ) {
        let mut body = events(&STREAM).into_bytes();
        body.splice(at.min(body.len()).., noise);
        let content_type = if promised { EVENTS } else { None };
        prop_assert_eq!(read(content_type, &body.chunks(size).collect::<Vec<_>>()), read(content_type, &[&body]));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), promised in any::<bool>(), limit in 0usize..300) {
        let mut reader = ReplyReader::new(if promised { EVENTS } else { JSON }, None, limit);
        reader.push(&bytes);
        reader.push(br#"data: {"choices":[{"delta":{"content":"x"}}]}"#);
        _ = reader.finish();
    }
}
