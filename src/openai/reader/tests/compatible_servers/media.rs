//! Images, sound, annotations and citations in replies.

use super::*;

#[test]
fn media_is_named_and_is_a_token() {
    for (member, named) in [
        (
            r#""images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]"#,
            "[image image/png, 8 B]",
        ),
        (
            r#""images":[{"type":"image_url","image_url":"data:image\/webp;base64,AAAA"}]"#,
            "[image image/webp, 3 B]",
        ),
        (r#""images":["iVBORw0KGgo="]"#, "[image image/png, 8 B]"),
        (
            r#""images":[{"b64_json":"iVBORw0KGgo="}]"#,
            "[image image/png, 8 B]",
        ),
        (
            r#""images":{"url":"https://example.com/a.png"}"#,
            "[image https://example.com/a.png]",
        ),
        (
            r#""content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]"#,
            "[image image/png, 8 B]",
        ),
        (
            r#""content":[{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"AAAA"}}]"#,
            "[image image/jpeg, 3 B]",
        ),
        (
            r#""content":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]"#,
            "[image image/png, 3 B]",
        ),
        (
            r#""content":[{"type":"output_audio","output_audio":{"format":"mp3","data":"AAAA"}}]"#,
            "[audio audio/mp3, 3 B]",
        ),
        (
            r#""content":[{"type":"file","file":{"file_data":"data:application/pdf;base64,AAAA"}}]"#,
            "[file application/pdf, 3 B]",
        ),
        (
            r#""audio":{"id":"x","data":"UklGRiQA"}"#,
            "[audio audio/wav, 6 B]",
        ),
    ] {
        let delta = format!("{{{member}}}");
        assert!(is_token(&delta), "{member}");
        for choice in [streamed(&[&delta]), whole(&delta)] {
            assert_eq!(choice.media, [named], "{member}");
        }
    }
}

#[test]
fn data_urls_within_texts_are_named_in_their_place() {
    let url = format!("data:image/png;base64,{}", "AAAA".repeat(100));
    let delta = format!(
        r#"{{"content":"![a]({url})","reasoning":"{url}","tool_calls":[{{"index":0,"id":"a","function":{{"name":"f","arguments":"{{\"url\":\"{url}\"}}"}}}}]}}"#
    );
    for choice in [streamed(&[&delta]), whole(&delta)] {
        assert_eq!(choice.content, some("![a]([image image/png, 300 B])"));
        assert_eq!(choice.reasoning, some("[image image/png, 300 B]"));
        assert_eq!(
            choice.tool_calls[0].arguments,
            r#"{"url":"[image image/png, 300 B]"}"#
        );
    }
    let data = chunk(&[0], &format!(r#""delta":{delta}"#));
    let mut reader = ReplyReader::with_media(EVENTS, None, LIMIT, Media::Full);
    reader.push(events(&[&data]).as_bytes());
    assert_eq!(reader.finish().reply.choices[0].reasoning, Some(url));
}

#[test]
fn speech_in_pieces_is_one_sound() {
    let choice = streamed(&[
        r#"{"audio":{"id":"x","transcript":"Hel"}}"#,
        r#"{"audio":{"data":"UklGRiQA"}}"#,
        r#"{"audio":{"data":"AAAAAA==","transcript":"lo"}}"#,
        r#"{"audio":{"expires_at":7}}"#,
    ]);
    assert_eq!(choice.media, ["[audio audio/wav, 10 B]"]);
    assert_eq!(choice.audio_transcript, some("Hello"));
}

#[test]
fn media_is_kept_whole_with_full_media() {
    let full = |delta: &str, limit| {
        let mut reader = ReplyReader::with_media(EVENTS, None, limit, Media::Full);
        let data = chunk(&[0], &format!(r#""delta":{delta}"#));
        reader.push(events(&[&data]).as_bytes());
        reader.finish().reply
    };
    let url = "data:image/png;base64,iVBORw0KGgo=";
    let delta = format!(
        r#"{{"images":[{{"image_url":{{"url":"{url}"}}}}],"audio":{{"data":"UklGRiQA"}}}}"#
    );
    let reply = full(&delta, LIMIT);
    assert_eq!(
        reply.choices[0].media,
        [url, "data:audio/wav;base64,UklGRiQA"]
    );
    let long = format!(
        r#"{{"images":["data:image/png;base64,{}"]}}"#,
        "A".repeat(600)
    );
    let reply = full(&long, 900);
    assert_eq!(reply.choices[0].media, ["[image image/png, 450 B]"]);
}

#[test]
fn an_image_of_megabytes_is_one_event() {
    let url = format!("data:image/png;base64,{}", "AAAA".repeat(500_000));
    let delta = format!(r#""delta":{{"images":[{{"image_url":{{"url":"{url}"}}}}]}}"#);
    let body = events(&[&chunk(&[0], &delta), "[DONE]"]);
    let mut reader = ReplyReader::new(EVENTS, None, 4 << 20);
    for piece in body.as_bytes().chunks(16 << 10) {
        reader.push(piece);
    }
    let reply = reader.finish().reply;
    assert_eq!(reply.choices[0].media, ["[image image/png, 1.5 MB]"]);
    assert!(!reply.cut);
}

#[test]
fn annotations_and_citations_are_kept_as_json() {
    let first = r#"{"type":"url_citation","url_citation":{"url":"https://a"}}"#;
    let second = r#"{"type":"url_citation","url_citation":{"url":"https://b"}}"#;
    assert!(is_token(&format!(r#"{{"annotations":[{first}]}}"#)));
    assert!(!is_token(r#"{"annotations":[]}"#));
    assert!(!is_token(r#"{"annotations":{}}"#));
    let lone = format!(r#"{{"annotations":{first}}}"#);
    assert_eq!(streamed(&[&lone]).annotations, [first]);
    let choice = streamed(&[
        &format!(r#"{{"content":"a","annotations":[{first}]}}"#),
        &format!(r#"{{"annotations":[{second}]}}"#),
    ]);
    assert_eq!(choice.annotations, [first, second]);
    let choice = whole(&format!(
        r#"{{"content":"a","annotations":[{first},{second}]}}"#
    ));
    assert_eq!(
        choice.annotations_json(),
        Some(format!("[{first},{second}]"))
    );
    // A part of an unknown kind is an annotation.
    let reference = r#"{"type":"reference","reference_ids":[1]}"#;
    let delta = format!(r#"{{"content":["a",{reference}]}}"#);
    assert_eq!(streamed(&[&delta]).annotations, [reference]);
    assert_eq!(whole(&delta).annotations, [reference]);
}

#[test]
fn citations_are_taken_from_all_places_and_count_once() {
    let list = r#"["https://a","https://b"]"#;
    let on_top = |key: &str| {
        format!(
            r#"{{"id":"i","citations":{list},"choices":[{{"index":0,"{key}":{{"content":"a"}}}}]}}"#
        )
    };
    let reply = stream(&[&on_top("delta"), &on_top("delta"), "[DONE]"]);
    assert_eq!(reply.choices[0].citations, some(list));
    assert_eq!(reply.choices[0].content, some("aa"));
    assert_eq!(body(&on_top("message")).choices[0].citations, some(list));
    let before = format!(r#"{{"id":"i","citations":{list},"choices":[]}}"#);
    let reply = stream(&[
        &before,
        &chunk(&[0], r#""delta":{"content":"a"}"#),
        "[DONE]",
    ]);
    assert_eq!(reply.choices[0].citations, some(list));
    let within = format!(r#"{{"content":"a","citations":{list}}}"#);
    assert_eq!(streamed(&[&within]).citations, some(list));
    assert_eq!(whole(&within).citations, some(list));
    assert_eq!(whole(r#"{"content":"a","citations":[]}"#).citations, None);
}
