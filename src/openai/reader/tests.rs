//! Every shape of a reply is read, in whatever pieces it comes.

mod compatible_servers;
mod properties;

use super::*;
use crate::openai::{CallKind, Choice, FunctionCall, ReplyError, ToolCall, Usage};

pub(super) const EVENTS: Option<&str> = Some("text/event-stream; charset=utf-8");
pub(super) const JSON: Option<&str> = Some("application/json");
const LIMIT: usize = 1 << 20;

pub(super) fn read(content_type: Option<&str>, pieces: &[&[u8]]) -> ChatReply {
    let mut reader = ReplyReader::new(content_type, None, LIMIT);
    for piece in pieces {
        reader.push(piece);
    }
    reader.finish().reply
}

/// A reply of events with these data.
fn stream(data: &[&str]) -> ChatReply {
    read(EVENTS, &[events(data).as_bytes()])
}

pub(super) fn events(data: &[&str]) -> String {
    data.iter()
        .flat_map(|data| ["data: ", data, "\n\n"])
        .collect()
}

/// The choice that a stream of these deltas gives.
fn choice(deltas: &[&str]) -> Choice {
    let chunks: Vec<String> = deltas
        .iter()
        .map(|delta| format!(r#"{{"id":"i","choices":[{{"index":0,"delta":{delta}}}]}}"#))
        .collect();
    let mut reply = stream(&chunks.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(reply.choices.len(), 1);
    reply.choices.remove(0)
}

pub(super) fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
    ToolCall {
        id: id.into(),
        kind: CallKind::Function,
        name: name.into(),
        arguments: arguments.into(),
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "said once here instead of at every expectation"
)]
fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

pub(super) const STREAM: [&str; 6] = [
    r#"{"id":"c1","object":"chat.completion.chunk","created":7,"model":"gpt-4o-2024","service_tier":"default","system_fingerprint":"fp","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}"#,
    r#"{"id":"c1","choices":[{"index":0,"delta":{"content":"Grü"},"finish_reason":null}],"usage":null}"#,
    r#"{"id":"c1","choices":[{"index":0,"delta":{"content":"ße 👋"},"finish_reason":null}],"usage":null}"#,
    r#"{"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#,
    r#"{"id":"c1","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":1,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":2}}}"#,
    "[DONE]",
];

#[test]
fn a_stream_is_put_together() {
    let reply = stream(&STREAM);
    assert_eq!(
        (reply.id.as_deref(), reply.model.as_deref(), reply.created),
        (Some("c1"), Some("gpt-4o-2024"), Some(7))
    );
    assert_eq!(
        (reply.system_fingerprint, reply.service_tier),
        (some("fp"), some("default"))
    );
    let usage = reply.usage.unwrap();
    assert_eq!(
        (usage.prompt, usage.completion, usage.total),
        (Some(9), Some(3), Some(12))
    );
    assert_eq!(
        (
            usage.cached,
            usage.cache_write,
            usage.reasoning,
            usage.completion_audio
        ),
        (Some(4), Some(1), Some(2), None)
    );
    let content = some("Grüße 👋");
    let expected = Choice {
        role: some("assistant"),
        content,
        finish_reason: some("stop"),
        ..Choice::default()
    };
    assert_eq!(reply.choices, [expected]);
    assert_eq!(
        (reply.error, reply.cut, reply.undecodable),
        (None, false, false)
    );
}

#[test]
fn a_body_that_is_no_stream_gives_the_same_reply() {
    let body = r#" {"id":"c1","created":7,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":null,"refusal":null,
        "tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},
        {"id":"b","type":"custom","custom":{"name":"g","input":"text"}}]},"logprobs":{"content":[]},"finish_reason":"tool_calls"}],
        "usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;
    let reply = read(JSON, &[body.as_bytes()]);
    let [choice] = &reply.choices[..] else {
        panic!("one choice")
    };
    let custom = ToolCall {
        kind: CallKind::Custom,
        ..call("b", "g", "text")
    };
    assert_eq!(choice.tool_calls, [call("a", "f", r#"{"x":1}"#), custom]);
    assert_eq!((&choice.content, choice.logprobs), (&None, true));
    assert_eq!(
        choice.tool_calls_json().unwrap(),
        r#"[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},{"id":"b","type":"custom","custom":{"name":"g","input":"text"}}]"#
    );
    assert_eq!(reply.usage.unwrap().total, Some(3));
}

#[test]
fn a_role_or_an_empty_text_is_not_yet_a_token() {
    let mut reader = ReplyReader::new(EVENTS, None, LIMIT);
    reader.push(events(&STREAM[..1]).as_bytes());
    assert!(!reader.saw_token());
    reader.push(events(&STREAM[1..2]).as_bytes());
    assert!(reader.saw_token());
    for delta in [
        r#"{"refusal":"n"}"#,
        r#"{"reasoning":"h"}"#,
        r#"{"audio":{"data":"AA"}}"#,
        r#"{"tool_calls":[{"index":0,"id":"a"}]}"#,
    ] {
        let mut reader = ReplyReader::new(EVENTS, None, LIMIT);
        reader.push(events(&[&format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#)]).as_bytes());
        assert!(reader.saw_token(), "{delta}");
    }
}

#[test]
fn a_stream_has_ended_at_done_or_when_every_choice_has_its_reason() {
    let ended = |data: &[&str]| {
        let mut reader = ReplyReader::new(EVENTS, None, LIMIT);
        reader.push(events(data).as_bytes());
        reader.finish().ended
    };
    assert!(!ended(&STREAM[..3]));
    assert!(ended(&STREAM[..4]));
    assert!(ended(&["[DONE]"]));
    let mut reader = ReplyReader::new(EVENTS, None, LIMIT);
    reader.push(b"data: [DONE]\n");
    assert!(!reader.finish().ended, "its frame may go on");
    let two = r#"{"choices":[{"index":0,"finish_reason":"stop"},{"index":1}]}"#;
    assert!(!ended(&[two]));
    assert!(ended(&[
        two,
        r#"{"choices":[{"index":1,"finish_reason":"stop"}]}"#
    ]));
}

#[test]
fn a_body_has_ended_where_its_json_value_does() {
    // Other values end, too, and so do objects with errors in them.
    for body in [
        r#"{"a":"}\"}{","b":[{"c":"\\"}]}"#,
        r#"[{"error":{"message":"]"}}]"#,
        "{\"a\":\"\t\",b}",
    ] {
        // The same with a limit before the end.
        for limit in [LIMIT, 12, 0] {
            let ended = |length| {
                let mut reader = ReplyReader::new(JSON, None, limit);
                for byte in &body.as_bytes()[..length] {
                    reader.push(&[*byte]);
                }
                reader.finish().ended
            };
            assert!((0..body.len()).all(|length| !ended(length)), "{body}");
            assert!(ended(body.len()), "{body}");
        }
    }
}

#[test]
fn tool_calls_are_told_apart_by_index() {
    let choice = choice(&[
        r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}"#,
        r#"{"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":"{"}},{"index":0,"function":{"arguments":"{\"x\""}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]}"#,
        r#"{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"}"}}]}"#,
    ]);
    assert_eq!(
        choice.tool_calls,
        [call("a", "f", r#"{"x":1}"#), call("b", "g", "{}")]
    );
}

#[test]
fn a_new_id_with_a_name_begins_a_call_even_under_an_old_index() {
    let ollama = [
        r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}"#,
        r#"{"tool_calls":[{"index":0,"id":"b","function":{"name":"f","arguments":"{\"x\":"}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"2}"}}]}"#,
    ];
    assert_eq!(
        choice(&ollama).tool_calls,
        [call("a", "f", "{}"), call("b", "f", r#"{"x":2}"#)]
    );
    let unnumbered: Vec<String> = ollama
        .iter()
        .map(|delta| delta.replace(r#""index":0,"#, ""))
        .collect();
    let unnumbered: Vec<&str> = unnumbered.iter().map(String::as_str).collect();
    assert_eq!(choice(&unnumbered).tool_calls, choice(&ollama).tool_calls);
}

#[test]
fn a_name_may_come_in_pieces_or_again_and_again() {
    let pieces = ["get_", "weather"]
        .map(|name| format!(r#"{{"tool_calls":[{{"index":0,"function":{{"name":"{name}"}}}}]}}"#));
    assert_eq!(
        choice(&[&pieces[0], &pieces[1]]).tool_calls[0].name,
        "get_weather"
    );
    assert_eq!(
        choice(&[&pieces[1], &pieces[1]]).tool_calls[0].name,
        "weather"
    );
}

#[test]
fn the_old_function_call_refusal_reasoning_and_speech_are_put_together() {
    let choice = choice(&[
        r#"{"function_call":{"name":"f","arguments":""},"refusal":"I ","reasoning_content":"Let ","audio":{"id":"x","transcript":"Hel"}}"#,
        r#"{"function_call":{"arguments":"{}"},"refusal":"can't","reasoning":"me","audio":{"transcript":"lo","data":"AA"}}"#,
    ]);
    assert_eq!(
        choice.function_call,
        Some(FunctionCall {
            name: "f".into(),
            arguments: "{}".into()
        })
    );
    assert_eq!(
        (choice.refusal, choice.reasoning),
        (some("I can't"), some("Let me"))
    );
    assert_eq!(choice.audio_transcript, some("Hello"));
}

#[test]
fn choices_that_interleave_are_kept_in_the_order_of_their_indices() {
    let reply = stream(&[
        r#"{"choices":[{"index":1,"delta":{"content":"b"}},{"index":0,"delta":{"content":"a"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"A"}}]}"#,
        r#"{"choices":[{"index":1,"delta":{"content":"B"}}]}"#,
    ]);
    let contents: Vec<_> = reply
        .choices
        .iter()
        .map(|choice| (choice.index, choice.content.as_deref()))
        .collect();
    assert_eq!(contents, [(0, Some("aA")), (1, Some("bB"))]);
}

#[test]
fn azures_odd_chunks_and_broken_ones_cost_nothing() {
    let reply = stream(&[
        r#"{"id":"","object":"","created":0,"model":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#,
        STREAM[0],
        r#"{"id":"c1","choices":[{"index":0,"finish_reason":null,"content_filter_offsets":{"check_offset":1}}]}"#,
        r#"{"id":"c1","choices":[{"index":0,"delta":{"content":"lost"#,
        "no json",
        "7",
        r#"{"id":"c1","choices":[{"index":0,"delta":null}]}"#,
        r#"{"id":"c1","choices":[{"index":0,"delta":{"content":"kept","tool_calls":null}}]}"#,
    ]);
    assert_eq!(
        (reply.id, reply.created, reply.error),
        (some("c1"), Some(7), None)
    );
    assert_eq!(reply.choices[0].content, some("kept"));
}

#[test]
fn the_last_complete_usage_counts_and_zeros_are_no_usage() {
    let usage = |usages: &[&str]| {
        let chunks: Vec<String> = usages
            .iter()
            .map(|usage| format!(r#"{{"choices":[{{"index":0,"delta":{{}}}}],"usage":{usage}}}"#))
            .collect();
        stream(&chunks.iter().map(String::as_str).collect::<Vec<_>>()).usage
    };
    let complete = r#"{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}"#;
    let expected = Some(Usage {
        prompt: Some(5),
        completion: Some(2),
        total: Some(7),
        ..Usage::default()
    });
    let early = r#"{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6}"#;
    let zeros = r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#;
    assert_eq!(
        usage(&[
            early,
            complete,
            zeros,
            "null",
            r#"{"total_tokens":9}"#,
            "{}"
        ]),
        expected
    );
    assert_eq!(
        usage(&[
            r#"{"prompt_tokens":5}"#,
            r#"{"completion_tokens":2,"total_tokens":7}"#
        ]),
        expected
    );
    assert_eq!(usage(&[zeros, "null"]), None);
}

#[test]
fn groqs_usage_is_found() {
    let reply = stream(&[
        r#"{"choices":[],"x_groq":{"id":"r","usage":{"prompt_tokens":5,"completion_tokens":2}}}"#,
    ]);
    assert_eq!(reply.usage.unwrap().completion, Some(2));
}

#[test]
fn an_error_is_found_in_every_place() {
    let error = r#"{"error":{"message":"no","type":"server_error","param":null,"code":500}}"#;
    let expected = Some(ReplyError {
        message: some("no"),
        kind: some("server_error"),
        code: some("500"),
        param: None,
    });
    for body in [
        events(&[STREAM[1], error]),
        format!("{}{error}", events(&[STREAM[1]])),
        format!("data: {}\n{error}\n", STREAM[1]),
    ] {
        let reply = read(EVENTS, &[body.as_bytes()]);
        assert_eq!(
            (&reply.error, reply.choices.len()),
            (&expected, 1),
            "{body}"
        );
    }
    for content_type in [EVENTS, JSON, None] {
        assert_eq!(read(content_type, &[error.as_bytes()]).error, expected);
        let list = format!("[{error}\n]");
        assert_eq!(read(content_type, &[list.as_bytes()]).error, expected);
    }
    assert_eq!(
        read(
            EVENTS,
            &[b"event: error\ndata: {\"message\":\"no\",\"code\":\"x\"}\n\n"]
        )
        .error
        .unwrap()
        .code,
        some("x")
    );
    assert_eq!(
        read(EVENTS, &[b"event: error\ndata: gone\n\n"])
            .error
            .unwrap()
            .message,
        some("gone")
    );
    for body in [
        r#"{"detail":"no"}"#,
        r#"{"error":"no"}"#,
        r#"{"object":"error","message":"no"}"#,
        "no",
    ] {
        assert_eq!(
            read(JSON, &[body.as_bytes()]).error.unwrap().message,
            some("no"),
            "{body}"
        );
    }
}

#[test]
fn the_first_kilobyte_of_an_error_page_is_kept() {
    let page = format!("<html>{}", "ü".repeat(1000));
    let message = read(Some("text/html"), &[page.as_bytes()])
        .error
        .unwrap()
        .message
        .unwrap();
    assert!(page.starts_with(&message) && (1020..=1024).contains(&message.len()));
    assert_eq!(read(None, &[]).error, None);
}

#[test]
fn the_bytes_say_what_they_are_when_the_header_does_not() {
    let stream = events(&STREAM);
    for head in ["", "\n", "\u{FEFF}", ": ping\n\n", "event: message\n"] {
        for content_type in [None, JSON, Some("text/plain")] {
            let body = format!("{head}{stream}");
            assert_eq!(
                read(content_type, &[body.as_bytes()]).choices.len(),
                1,
                "{head:?} {content_type:?}"
            );
        }
    }
    let body = br#"{"id":"c","choices":[{"message":{"content":"x"}}]}"#;
    for content_type in [None, EVENTS, Some("text/plain")] {
        assert_eq!(
            read(content_type, &[body]).choices.len(),
            1,
            "{content_type:?}"
        );
    }
}

#[test]
fn a_compressed_stream_is_read_as_it_comes() {
    let body = zstd::encode_all(events(&STREAM).as_bytes(), 3).unwrap();
    let mut reader = ReplyReader::new(EVENTS, Some("zstd"), LIMIT);
    for byte in &body {
        reader.push(&[*byte]);
    }
    let FinishedReply { reply, ended } = reader.finish();
    assert_eq!((reply, ended), (stream(&STREAM), true));
    let mut reader = ReplyReader::new(EVENTS, Some("gzip"), LIMIT);
    reader.push(b"data: {}\n\n");
    assert!(reader.finish().reply.undecodable);
}

#[test]
fn a_reply_over_the_limit_is_cut_and_says_so() {
    let mut reader = ReplyReader::new(EVENTS, None, 2000);
    for _ in 0..100 {
        reader.push(events(&[r#"{"id":"i","choices":[{"index":0,"delta":{"content":"0123456789012345678901234567890123456789"}}]}"#]).as_bytes());
    }
    reader.push(events(&[r#"{"choices":[{"index":0,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#]).as_bytes());
    let reply = reader.finish().reply;
    let kept = reply.choices[0].content.as_ref().unwrap().len();
    assert!(reply.cut && (1000..=2000).contains(&kept));
    assert_eq!(reply.usage.unwrap().prompt, Some(1));

    let mut reader = ReplyReader::new(JSON, None, 60);
    reader.push(br#"{"id":"i","model":"m","choices":[{"message":{"role":"assistant","content":"too long for this"#);
    reader.push(br#""}}]}"#);
    let FinishedReply { reply, ended } = reader.finish();
    assert!(ended);
    assert_eq!(
        (reply.cut, reply.id, reply.model),
        (true, some("i"), some("m"))
    );
}

#[test]
fn a_flood_of_choices_or_calls_is_cut() {
    let choices: Vec<String> = (0..1000)
        .map(|index| format!(r#"{{"index":{index}}}"#))
        .collect();
    let reply = stream(&[&format!(r#"{{"choices":[{}]}}"#, choices.join(","))]);
    assert!(reply.cut && reply.choices.len() < 1000);
    let calls = vec![r#"{"id":"a"}"#; 5000].join(",");
    let body = format!(r#"{{"choices":[{{"message":{{"tool_calls":[{calls}]}}}}]}}"#);
    assert!(read(JSON, &[body.as_bytes()]).cut);
}

#[test]
fn a_stream_that_breaks_off_gives_what_came() {
    let whole = events(&STREAM);
    let at = whole.find("👋").unwrap() + 2;
    let reply = read(EVENTS, &[&whole.as_bytes()[..at]]);
    assert_eq!(
        (reply.choices[0].content.as_deref(), reply.cut),
        (Some("Grü"), false)
    );
    let last = events(&STREAM[..2]);
    assert_eq!(
        read(EVENTS, &[last.trim_end().as_bytes()]).choices[0].content,
        some("Grü")
    );
}
