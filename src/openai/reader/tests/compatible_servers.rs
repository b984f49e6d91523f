//! Replies of OpenAI-compatible servers with shapes of their own: streamed and whole, with one choice and with several, cut at every byte.

mod calls;
mod errors;
mod media;

use super::super::*;
use super::{EVENTS, JSON, events};
use crate::openai::Usage;

const LIMIT: usize = 1 << 20;

fn finished(content_type: Option<&str>, pieces: &[&[u8]]) -> FinishedReply {
    let mut reader = ReplyReader::new(content_type, None, LIMIT);
    for piece in pieces {
        reader.push(piece);
    }
    reader.finish()
}

/// The reply in these bytes, which is the same with every cut.
#[track_caller]
fn read(content_type: Option<&str>, body: &str) -> FinishedReply {
    let bytes = body.as_bytes();
    let whole = finished(content_type, &[bytes]);
    for at in 0..bytes.len() {
        let (head, rest) = bytes.split_at(at);
        let cut = finished(content_type, &[head, rest]);
        assert_eq!(cut.reply, whole.reply, "cut at {at}: {body}");
        assert_eq!(cut.ended, whole.ended, "cut at {at}: {body}");
    }
    let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(finished(content_type, &bytewise).reply, whole.reply);
    whole
}

#[track_caller]
fn stream(data: &[&str]) -> ChatReply {
    read(EVENTS, &events(data)).reply
}

#[track_caller]
fn body(json: &str) -> ChatReply {
    read(JSON, json).reply
}

/// A chunk with `part` in the choices of these indices.
fn chunk(indices: &[u64], part: &str) -> String {
    let parts: Vec<String> = indices
        .iter()
        .map(|index| format!(r#"{{"index":{index},{part}}}"#))
        .collect();
    format!(
        r#"{{"id":"i","model":"m","choices":[{}]}}"#,
        parts.join(",")
    )
}

/// The choice of these deltas, the same alone in a stream and beside another one.
#[track_caller]
fn streamed(deltas: &[&str]) -> Choice {
    let [mut alone, mut first, mut second] = [&[0_u64][..], &[0, 1]]
        .map(|indices| {
            let mut data: Vec<String> = deltas
                .iter()
                .map(|delta| chunk(indices, &format!(r#""delta":{delta}"#)))
                .collect();
            data.push(chunk(indices, r#""delta":{},"finish_reason":"stop""#));
            data.push("[DONE]".to_owned());
            let data: Vec<&str> = data.iter().map(String::as_str).collect();
            stream(&data).choices
        })
        .concat()
        .try_into()
        .expect("one choice and two");
    for choice in [&mut alone, &mut first, &mut second] {
        choice.index = 0;
        assert_eq!(choice.finish_reason.take().as_deref(), Some("stop"));
    }
    assert_eq!((&alone, &alone), (&first, &second));
    alone
}

/// The choice of this message, the same alone in a body and beside another one.
#[track_caller]
fn whole(message: &str) -> Choice {
    let [mut alone, mut first, mut second] = [&[0_u64][..], &[0, 1]]
        .map(|indices| {
            let part = format!(r#""message":{message},"finish_reason":"stop""#);
            body(&chunk(indices, &part)).choices
        })
        .concat()
        .try_into()
        .expect("one choice and two");
    for choice in [&mut alone, &mut first, &mut second] {
        choice.index = 0;
        assert_eq!(choice.finish_reason.take().as_deref(), Some("stop"));
    }
    assert_eq!((&alone, &alone), (&first, &second));
    alone
}

/// Whether an event with this delta is a first token.
fn is_token(delta: &str) -> bool {
    let mut reader = ReplyReader::new(EVENTS, None, LIMIT);
    let data = chunk(&[0], &format!(r#""delta":{delta}"#));
    reader.push(events(&[&data]).as_bytes());
    reader.saw_token()
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "said once here instead of at every expectation"
)]
fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn a_whole_message_after_its_deltas_counts_once() {
    let deltas = [
        chunk(
            &[0],
            r#""delta":{"role":"assistant","content":"Hel","reasoning_content":"Hm."}"#,
        ),
        chunk(&[0], r#""delta":{"content":"lo"}"#),
        chunk(&[0], r#""delta":{},"finish_reason":"stop""#),
    ];
    for (message, content) in [
        (r#"{"role":"assistant","content":"Hello"}"#, "Hello"),
        // Its members replace those of the deltas; members that it lacks stay.
        (r#"{"role":"assistant","content":"Hello!"}"#, "Hello!"),
        (r#"{"role":"assistant","content":""}"#, "Hello"),
        (r#"{"role":"assistant"}"#, "Hello"),
    ] {
        let last = format!(
            r#"{{"id":"i","object":"chat.completion","choices":[{{"index":0,"finish_reason":"stop","message":{message}}}],"usage":{{"prompt_tokens":9,"completion_tokens":2}}}}"#
        );
        let data = [&*deltas[0], &deltas[1], &deltas[2], &last];
        let FinishedReply { reply, ended } = read(EVENTS, &events(&data));
        let [choice] = &reply.choices[..] else {
            panic!("one choice")
        };
        assert_eq!(choice.content.as_deref(), Some(content), "{message}");
        assert_eq!(choice.reasoning, some("Hm."), "{message}");
        assert_eq!(reply.usage.unwrap().completion, Some(2));
        assert!(ended, "{message}");
    }
}

#[test]
fn a_whole_message_replaces_calls_speech_and_media() {
    let delta = chunk(
        &[0],
        r#""delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":"}}],"images":["AAAA"],"audio":{"data":"AAAA","transcript":"on"}}"#,
    );
    let last = chunk(
        &[0],
        r#""message":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}],"images":["AAAAAAAA"],"audio":{"data":"AAAAAAAA","transcript":"one"}},"finish_reason":"tool_calls""#,
    );
    let choice = &stream(&[&delta, &last]).choices[0];
    assert_eq!(choice.tool_calls.len(), 1);
    assert_eq!(choice.tool_calls[0].arguments, r#"{"x":1}"#);
    assert_eq!(choice.media, ["[image, 6 B]", "[audio, 6 B]"]);
    assert_eq!(choice.audio_transcript, some("one"));
}

#[test]
fn messages_in_place_of_deltas_go_on_or_repeat_what_came_before() {
    let content = |contents: &[&str]| {
        let data: Vec<String> = contents
            .iter()
            .map(|content| chunk(&[0], &format!(r#""message":{{"content":"{content}"}}"#)))
            .collect();
        let data: Vec<&str> = data.iter().map(String::as_str).collect();
        stream(&data).choices[0].content.clone()
    };
    assert_eq!(content(&["On", "e two", " three"]), some("One two three"));
    assert_eq!(
        content(&["On", "One two", "One two three"]),
        some("One two three")
    );
}

#[test]
fn a_message_beside_each_delta_adds_nothing() {
    for messages in [["a", "b", "c"], ["a", "ab", "abc"]] {
        let data: Vec<String> = ["a", "b", "c"]
            .iter()
            .zip(messages)
            .map(|(delta, message)| {
                chunk(
                    &[0],
                    &format!(
                        r#""delta":{{"content":"{delta}"}},"message":{{"content":"{message}"}}"#
                    ),
                )
            })
            .collect();
        let data: Vec<&str> = data.iter().map(String::as_str).collect();
        assert_eq!(
            stream(&data).choices[0].content,
            some("abc"),
            "{messages:?}"
        );
    }
}

#[test]
fn the_last_finish_reason_that_is_not_null_counts() {
    let reason = |reasons: &[&str]| {
        let data: Vec<String> = reasons
            .iter()
            .map(|reason| {
                chunk(
                    &[0],
                    &format!(r#""delta":{{"content":"a"}},"finish_reason":{reason}"#),
                )
            })
            .collect();
        let data: Vec<&str> = data.iter().map(String::as_str).collect();
        stream(&data).choices[0].finish_reason.clone()
    };
    assert_eq!(reason(&[r#""stop""#, r#""length""#]), some("length"));
    assert_eq!(
        reason(&[r#""stop""#, "null", r#""""#, r#""null""#]),
        some("stop")
    );
    assert_eq!(reason(&["null", r#""null""#]), None);
}

#[test]
fn a_finish_reason_with_the_words_does_not_end_a_stream() {
    let ended = |parts: &[&str]| {
        let data: Vec<String> = parts.iter().map(|part| chunk(&[0], part)).collect();
        let data: Vec<&str> = data.iter().map(String::as_str).collect();
        read(EVENTS, &events(&data)).ended
    };
    let meta = r#""delta":{"role":"assistant","content":""},"finish_reason":"stop""#;
    let word = r#""delta":{"content":"a"},"finish_reason":"stop""#;
    let nothing = r#""delta":{},"finish_reason":"stop""#;
    let plain = r#""delta":{"content":"a"}"#;
    assert!(!ended(&[meta]));
    assert!(!ended(&[meta, word, word]));
    assert!(!ended(&[word]));
    assert!(!ended(&[word, nothing, plain]));
    assert!(!ended(&[plain, nothing, plain]));
    assert!(ended(&[plain, nothing]));
    let data = [&*chunk(&[0], word), "[DONE]"];
    assert!(read(EVENTS, &events(&data)).ended);
}

#[test]
fn usage_is_read_in_every_place() {
    let usage =
        r#"{"prompt_tokens":19,"completion_tokens":21,"cached_tokens":8,"reasoning_tokens":5}"#;
    let expected = Some(Usage {
        prompt: Some(19),
        completion: Some(21),
        cached: Some(8),
        reasoning: Some(5),
        ..Usage::default()
    });
    let in_choice = |key: &str| {
        chunk(
            &[0],
            &format!(r#""{key}":{{"content":"a"}},"usage":{usage}"#),
        )
    };
    assert_eq!(stream(&[&in_choice("delta"), "[DONE]"]).usage, expected);
    assert_eq!(body(&in_choice("message")).usage, expected);
    let on_top = format!(r#"{{"id":"i","choices":[],"usage":{usage}}}"#);
    assert_eq!(stream(&[&in_choice("delta"), &on_top]).usage, expected);
    // A count is both on top and in the details, and one of the two may be zero.
    for (top, detail) in [(0, 8), (8, 0), (8, 8)] {
        let both = format!(
            r#"{{"usage":{{"cached_tokens":{top},"prompt_tokens":19,"completion_tokens":21,"prompt_tokens_details":{{"cached_tokens":{detail}}}}}}}"#
        );
        assert_eq!(body(&both).usage.unwrap().cached, Some(8));
    }
}

#[test]
fn usages_of_several_choices_share_the_request() {
    let of = |completions: [u64; 2]| {
        let parts: Vec<String> = (0..)
            .zip(completions)
            .map(|(index, completion)| {
                format!(
                    r#"{{"index":{index},"delta":{{}},"finish_reason":"stop","usage":{{"prompt_tokens":19,"completion_tokens":{completion},"total_tokens":{}}}}}"#,
                    19 + completion
                )
            })
            .collect();
        let data: Vec<String> = parts
            .iter()
            .map(|part| format!(r#"{{"id":"i","choices":[{part}]}}"#))
            .collect();
        let usage = stream(&[&data[0], &data[1], "[DONE]"]).usage.unwrap();
        (usage.prompt, usage.completion)
    };
    assert_eq!(of([21, 30]), (Some(19), Some(51)));
    assert_eq!(of([21, 21]), (Some(19), Some(21)), "of the whole reply");
}

#[test]
fn a_usage_of_zeros_is_none_in_every_place() {
    let zeros = r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0,"cached_tokens":0}"#;
    for json in [
        format!(r#"{{"id":"i","choices":[],"usage":{zeros}}}"#),
        chunk(
            &[0, 1],
            &format!(r#""message":{{"content":"a"}},"usage":{zeros}"#),
        ),
    ] {
        assert_eq!(body(&json).usage, None);
        assert_eq!(stream(&[&json]).usage, None);
    }
}

#[test]
fn thoughts_are_reasoning_in_every_spelling() {
    for member in [
        r#""reasoning_content":"First add.""#,
        r#""reasoning":"First add.""#,
        r#""reasoning_text":"First add.""#,
        r#""thinking":"First add.""#,
        r#""reasoning":{"content":"First add.","effort":"low"}"#,
        r#""reasoning":{"summary":[{"type":"summary_text","text":"First add."}]}"#,
        r#""reasoning_details":[{"type":"reasoning.text","text":"First ","format":"x","index":0},{"type":"reasoning.summary","summary":"add."}]"#,
        r#""thinking_blocks":[{"type":"thinking","thinking":"First add.","signature":"s"}]"#,
        // The same text under two names counts once.
        r#""reasoning":"First add.","reasoning_details":[{"type":"reasoning.text","text":"First add."}]"#,
        r#""reasoning_content":"","reasoning":"First add.""#,
        r#""reasoning_content":"First add.","reasoning":"""#,
        r#""content":[{"type":"thinking","thinking":[{"type":"text","text":"First "},{"type":"text","text":"add."}],"closed":true}]"#,
        r#""content":[{"type":"thinking","thinking":"First add."}]"#,
        r#""content":[{"type":"reasoning","text":"First add."}]"#,
        r#""content":[{"text":"First add.","thought":true}]"#,
    ] {
        let delta = format!("{{{member}}}");
        assert!(is_token(&delta), "{member}");
        let choice = streamed(&[&delta, r#"{"content":"391"}"#]);
        assert_eq!(choice.reasoning, some("First add."), "{member}");
        assert_eq!(choice.content, some("391"), "{member}");
        let choice = whole(&format!(r#"{{"role":"assistant",{member}}}"#));
        assert_eq!(choice.reasoning, some("First add."), "{member}");
    }
    for nothing in [
        r#"{"reasoning":null,"reasoning_details":[]}"#,
        r#"{"reasoning":{}}"#,
        r#"{"content":[{"type":"thinking","thinking":[]}]}"#,
    ] {
        assert!(!is_token(nothing), "{nothing}");
        assert_eq!(whole(nothing).reasoning, None, "{nothing}");
    }
}

#[test]
fn thoughts_and_text_among_parts_are_kept_apart() {
    let parts = r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"First add."}]},{"type":"text","text":"39"},"1"]}"#;
    for choice in [streamed(&[parts]), whole(parts)] {
        assert_eq!(choice.content, some("391"));
        assert_eq!(choice.reasoning, some("First add."));
    }
    let deep = format!(
        r#"{{"reasoning":{}"x"{}}}"#,
        r#"{"content":"#.repeat(2000),
        "}".repeat(2000)
    );
    let data = chunk(&[0], &format!(r#""delta":{deep}"#));
    let reply = finished(EVENTS, &[events(&[&data]).as_bytes()]).reply;
    assert_eq!(reply.choices[0].reasoning, None, "no thoughts are so deep");
}

#[test]
fn a_reply_with_nothing_in_it_has_no_choice() {
    for (content_type, nothing) in [
        (
            EVENTS,
            ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n",
        ),
        (EVENTS, "data: [DONE]\n\n"),
        (EVENTS, "[DONE]\n\n"),
        (EVENTS, ""),
        (JSON, ""),
        (JSON, "{}"),
        (JSON, "[]"),
        (JSON, "null"),
        (JSON, r#"{"id":"i","model":"m","choices":[]}"#),
        (JSON, r#"{"id":"i","model":"m","choices":null}"#),
        (JSON, r#"{"id":"i","choices":[{}]}"#),
        (JSON, r#"{"id":"i","choices":[null]}"#),
        (
            JSON,
            r#"{"id":"i","choices":[{"index":0,"message":{"role":"assistant"}}]}"#,
        ),
        (
            JSON,
            r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":0}}"#,
        ),
        (
            EVENTS,
            "data: {\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\ndata: [DONE]\n\n",
        ),
    ] {
        let reply = read(content_type, nothing).reply;
        assert_eq!((reply.choices.len(), &reply.error), (0, &None), "{nothing}");
        assert!(!reply.broken_off, "{nothing}");
    }
    let silent = r#"{"choices":[{"index":0,"message":{"content":""},"finish_reason":"stop"}]}"#;
    assert_eq!(body(silent).choices.len(), 1, "a model may say nothing");
}

#[test]
fn a_value_that_breaks_off_is_not_nothing() {
    for (content_type, broken) in [
        (JSON, r#"{"id":"i","cho"#),
        (JSON, r#"[{"id":"i""#),
        (EVENTS, "data: {\"cho\n\n"),
        (EVENTS, "data: {\"cho"),
        (
            EVENTS,
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"cho",
        ),
    ] {
        let FinishedReply { reply, ended } = read(content_type, broken);
        assert!(reply.broken_off && !ended, "{broken}");
        assert_eq!(reply.error, None, "{broken}");
    }
}
