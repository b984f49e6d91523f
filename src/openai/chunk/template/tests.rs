//! A chunk read by a template has the content that it has as JSON, and a chunk of another shape does not match.

use proptest::prelude::*;

use super::*;
use crate::openai::assemble::ReplyAssembler;
use crate::openai::media::Media;
use crate::sse::SseFrame;

fn chunk(content: &str, padding: &str) -> String {
    format!(
        r#"{{"id":"a","choices":[{{"index":1,"delta":{{"content":"{content}"}},"finish_reason":null}}]{padding}}}"#
    )
}

fn template(data: &str) -> Option<ChunkTemplate> {
    let mut chunk = Chunk::default();
    json::read(data, &mut chunk).unwrap();
    ChunkTemplate::of(data, &chunk)
}

#[test]
fn chunks_of_one_template_differ_in_their_text_alone() {
    let template = template(&chunk("a", "")).unwrap();
    assert_eq!(template.index, Some(1));
    assert_eq!(template.content(&chunk("b", "")).as_deref(), Some("b"));
    assert_eq!(template.content(&chunk("", "")).as_deref(), Some(""));
    assert_eq!(
        template.content(&chunk(r#"\"\u00e9}]"#, "")).as_deref(),
        Some("\"é}]")
    );
    for other in [
        chunk("b", r#","x":1"#),
        chunk("b", " "),
        chunk("b\n", ""),
        chunk(r"\q", ""),
        chunk("b", "")[..40].to_owned(),
        chunk("b", "").replace("null", r#""stop""#),
        chunk("b", "").replace(":1,", ":2,"),
        String::new(),
    ] {
        assert_eq!(template.content(&other), None, "{other}");
    }
}

#[test]
fn padding_may_differ_before_and_after_the_content() {
    let after = template(&chunk("a", r#","obfuscation":"xyz""#)).unwrap();
    let next = chunk("b", r#","obfuscation":"q\"""#);
    assert_eq!(after.content(&next).as_deref(), Some("b"));
    let first = |content: &str, padding: &str| {
        let chunk = chunk(content, "");
        chunk.replacen('{', &format!(r#"{{"obfuscation":"{padding}","#), 1)
    };
    let before = template(&first("a", "xyz")).unwrap();
    assert_eq!(before.content(&first("b", "")).as_deref(), Some("b"));
    assert_eq!(before.content(&next), None);
}

/// Chunks of a server that varies their shape.
fn any_chunk() -> impl Strategy<Value = String> {
    let text = prop_oneof![Just("a"), Just(""), Just(r"\n\u00e9"), Just("long enough")];
    let delta = (text.clone(), text, 0..12_u8).prop_map(|(text, other, kind)| match kind {
        0 => format!(r#"{{"content":"{text}","content":"{other}"}}"#),
        1 => format!(r#"{{"role":"assistant","content":"{text}"}}"#),
        2 => format!(r#"{{"content":"{text}","refusal":"{other}"}}"#),
        3 => format!(r#"{{"content":null,"refusal":"{other}"}}"#),
        4 => format!(r#"{{"content":"{text}","content":null}}"#),
        5 => format!(r#"{{"content":[{{"text":"{text}"}}]}}"#),
        _ => format!(r#"{{"content":"{text}"}}"#),
    });
    let rest = prop_oneof![
        Just(String::new()),
        Just(r#","usage":null"#.to_owned()),
        Just(r#","usage":{"prompt_tokens":1,"completion_tokens":2}"#.to_owned()),
        Just(r#","choices":5"#.to_owned()),
        "[a-z]{0,4}".prop_map(|padding| format!(r#","obfuscation":"{padding}""#)),
    ];
    let finish = prop_oneof![4 => Just("null"), 1 => Just(r#""stop""#)];
    (delta, rest, 0..2_u8, finish).prop_map(|(delta, rest, index, finish)| {
        format!(
            r#"{{"id":"a","choices":[{{"index":{index},"delta":{delta},"finish_reason":{finish}}}]{rest}}}"#
        )
    })
}

proptest! {
    #[test]
    fn a_stream_reads_the_same_with_and_without_templates(chunks in prop::collection::vec(any_chunk(), 0..12), limit in 0..600_usize) {
        let (mut with, mut without) = (ReplyAssembler::new(limit, Media::Size), ReplyAssembler::new(limit, Media::Size));
        for chunk in &chunks {
            let frame = SseFrame::Event { kind: "message".into(), data: chunk.into(), id: "".into() };
            with.frame(&frame);
            without.forget_template();
            without.frame(&frame);
            prop_assert_eq!(with.has_token(), without.has_token());
            prop_assert_eq!(with.held(), without.held());
        }
        prop_assert_eq!(with.finish(), without.finish());
    }
}

#[test]
fn a_chunk_with_more_than_a_text_has_no_template() {
    for data in [
        chunk("a", "").replace("null", r#""stop""#),
        chunk("a", r#","usage":{"total_tokens":1}"#),
        chunk("a", r#","error":{"message":"no"}"#),
        chunk("a", "").replace(r#""content""#, r#""refusal":"","content""#),
        chunk("a", "").replace(r#""content""#, r#""tool_calls":[{}],"content""#),
        chunk("a", "").replace(r#""content":"a""#, r#""content":null"#),
        chunk("a", "").replace("}]", r#"},{"index":0}]"#),
        r#"{"choices":[]}"#.to_owned(),
        chunk(&"a".repeat(MAX_CHUNK), ""),
    ] {
        assert!(template(&data).is_none(), "{data}");
    }
}
