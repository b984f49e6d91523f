//! Attributes of model calls in the names of Respan.

use std::fmt::Write;

use super::*;
use crate::openai::ReplyReader;
use crate::span::{AttributeKey, Value};

fn lines(out: &[(AttributeKey, Value)]) -> String {
    let mut lines = String::new();
    for (key, value) in out {
        writeln!(lines, "{key} = {value:?}").unwrap();
    }
    lines
}

fn attributes(request: &str, reply: &str, content: bool) -> Vec<(AttributeKey, Value)> {
    let request = ChatRequest::parse(request.as_bytes()).unwrap();
    let mut reader = ReplyReader::new(None, None, 1 << 20);
    reader.push(reply.as_bytes());
    let mut out = Vec::new();
    kind_attributes("openai", &mut out);
    request_attributes(&request, request.stream.or(Some(false)), content, &mut out);
    reply_attributes(&reader.finish().reply, content, &mut out);
    let mut keys: Vec<&AttributeKey> = out.iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), out.len(), "each key at most once");
    out
}

/// An agent that has called a tool and is about to call two more, in a stream.
const TOOLS_REQUEST: &str = r#"{"model":"gpt-4o-mini","stream":true,"messages":[{"content":"Use the tools.","role":"system"},
 {"role":"user","name":"ann","content":[{"type":"text","text":"And in Paris?"}]},
 {"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"get_weather","arguments":"{\"city\": \"Rome\"}"}}]},
 {"role":"tool","tool_call_id":"call_1","content":"73 degrees"}],
 "tool_choice":"auto","temperature":0.2,"max_tokens":100,"stop":"END","n":1,"tools":[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object"}}}]}"#;
const TOOLS_REPLY: &str = r#"data: {"id":"chatcmpl-1","model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp","choices":[{"index":0,"delta":{"role":"assistant","content":null},"finish_reason":null}]}

data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_2","type":"function","function":{"name":"get_weather","arguments":"{\"city\""}}]}}]}

data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":": \"Paris\"}"}},{"index":1,"id":"call_3","function":{"name":"now","arguments":"{}"}}]}}]}

data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

data: {"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":124,"completion_tokens":15,"total_tokens":139,"prompt_tokens_details":{"cached_tokens":64,"cache_write_tokens":8},"completion_tokens_details":{"reasoning_tokens":3}}}

data: [DONE]

"#;

const PLAIN_REQUEST: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Why?"}],"n":2,"reasoning_effort":"low","max_completion_tokens":50,
 "response_format":{"type":"json_object"},"seed":7,"user":"u1"}"#;
const PLAIN_REPLY: &str = r#"{"id":"chatcmpl-2","model":"gpt-4o-2024","choices":[
 {"index":0,"message":{"role":"assistant","content":"Because.","reasoning_content":"Hm."},"finish_reason":"stop"},
 {"index":1,"message":{"role":"assistant","content":null,"refusal":"No."},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#;

#[test]
fn a_streamed_turn_with_tools_becomes_attributes() {
    insta::assert_snapshot!(lines(&attributes(TOOLS_REQUEST, TOOLS_REPLY, true)));
}

#[test]
fn a_plain_turn_with_two_choices_becomes_attributes() {
    insta::assert_snapshot!(lines(&attributes(PLAIN_REQUEST, PLAIN_REPLY, true)));
}

#[test]
fn without_content_no_text_of_the_exchange_is_emitted() {
    insta::assert_snapshot!(lines(&attributes(TOOLS_REQUEST, TOOLS_REPLY, false)));
    let error =
        r#"{"error":{"message":"quotes the prompt","type":"invalid_request_error","code":"bad"}}"#;
    let out = lines(&attributes(PLAIN_REQUEST, error, false));
    assert!(
        out.contains("error.type") && out.contains("error.code") && !out.contains("quotes"),
        "{out}"
    );
}

#[test]
fn an_unknown_fact_has_no_attribute() {
    let mut out = Vec::new();
    request_attributes(
        &ChatRequest {
            incomplete: true,
            ..ChatRequest::default()
        },
        None,
        true,
        &mut out,
    );
    reply_attributes(&ChatReply::default(), true, &mut out);
    assert_eq!(out, []);
}

#[test]
fn rare_members_are_attributes_and_their_texts_only_with_content() {
    let request = r#"{"safety_identifier":"s1","prompt_cache_key":"k1","stream_options":{"include_usage":true},"modalities":["text","audio"],
 "audio":{"voice":"alloy"},"prediction":{"type":"content","content":"a draft"},"web_search_options":{"user_location":{"city":"Rome"}},"moderation":{"mode":"on"}}"#;
    let always = [
        ("llm.request.safety_identifier", "s1"),
        ("llm.request.prompt_cache_key", "k1"),
        ("llm.request.stream_options", r#"{"include_usage":true}"#),
        ("llm.request.modalities", r#"["text","audio"]"#),
    ];
    let with_content = [
        ("llm.request.audio", r#"{"voice":"alloy"}"#),
        (
            "llm.request.prediction",
            r#"{"type":"content","content":"a draft"}"#,
        ),
        (
            "llm.request.web_search_options",
            r#"{"user_location":{"city":"Rome"}}"#,
        ),
        ("llm.request.moderation", r#"{"mode":"on"}"#),
    ];
    for content in [true, false] {
        let out = attributes(request, "{}", content);
        let is_there = |(name, text): (&'static str, &str)| {
            out.contains(&(name.into(), Value::Text(text.to_owned())))
        };
        assert!(always.into_iter().all(is_there), "{}", lines(&out));
        let texts = with_content
            .into_iter()
            .filter(|each| is_there(*each))
            .count();
        assert_eq!(texts, if content { 4 } else { 0 }, "{}", lines(&out));
    }
}

#[test]
fn a_message_that_is_no_object_counts() {
    let request =
        ChatRequest::parse(br#"{"messages":[null,7,{"role":"user","content":"hi"}]}"#).unwrap();
    let mut out = Vec::new();
    request_attributes(&request, None, true, &mut out);
    assert!(out.contains(&("gen_ai.prompt.2.content".into(), Value::Text("hi".into()))));
}

fn attribute(request: &str, reply: &str, name: &str) -> Option<String> {
    let mut out = attributes(request, reply, true);
    out.retain(|(key, _)| key == name);
    only_text(out, name)
}

#[test]
fn a_choice_without_a_role_is_the_assistants() {
    for (part, role) in [
        (r#""delta":{"content":"a"}"#, "assistant"),
        (r#""message":{"content":"a"}"#, "assistant"),
        (r#""delta":{"role":"","content":"a"}"#, "assistant"),
        (r#""delta":{"role":"tool","content":"a"}"#, "tool"),
    ] {
        let json = format!(r#"{{"choices":[{{"index":0,{part}}},{{"index":1,{part}}}]}}"#);
        for reply in [format!("data: {json}\n\n"), json] {
            for number in 0..2 {
                let name = format!("gen_ai.completion.{number}.role");
                assert_eq!(
                    attribute("{}", &reply, &name).as_deref(),
                    Some(role),
                    "{reply}"
                );
            }
        }
    }
}

#[test]
fn media_follow_the_text_and_annotations_have_attributes() {
    let image = r#""images":[{"image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]"#;
    for (rest, content) in [
        ("", "[image image/png, 8 B]"),
        (r#","content":"A cat.""#, "A cat.\n[image image/png, 8 B]"),
        (
            r#","content":"","audio":{"transcript":"Meow.","data":"UklGRiQA"}"#,
            "Meow.\n[image image/png, 8 B]\n[audio audio/wav, 6 B]",
        ),
    ] {
        let reply = format!(r#"{{"choices":[{{"message":{{{image}{rest}}}}}]}}"#);
        let got = attribute("{}", &reply, "gen_ai.completion.0.content");
        assert_eq!(got.as_deref(), Some(content));
    }
    let reply = r#"{"choices":[{"message":{"content":"a","annotations":[{"type":"url_citation"}],"citations":["https://a"]}}]}"#;
    for (name, json) in [
        ("annotations", r#"[{"type":"url_citation"}]"#),
        ("citations", r#"["https://a"]"#),
    ] {
        let name = format!("gen_ai.completion.0.{name}");
        assert_eq!(attribute("{}", reply, &name).as_deref(), Some(json));
    }
}

#[test]
fn reasoning_in_the_history_is_read_in_every_spelling() {
    for member in [
        r#""reasoning_content":"Look outside.""#,
        r#""reasoning":"Look outside.""#,
        r#""reasoning":{"text":"Look outside."}"#,
        r#""reasoning_text":"Look outside.""#,
        r#""reasoning_content":"","reasoning":"Look outside.""#,
        r#""reasoning_details":[{"type":"reasoning.text","text":"Look outside."}]"#,
        r#""thinking_blocks":[{"type":"thinking","thinking":"Look outside."}]"#,
        r#""content":[{"type":"thinking","thinking":[{"type":"text","text":"Look outside."}]},{"type":"text","text":"Rain."}]"#,
    ] {
        let request = format!(
            r#"{{"messages":[{{"role":"user","content":"Weather?"}},{{"role":"assistant",{member}}}]}}"#
        );
        let reasoning = attribute(&request, "{}", "gen_ai.prompt.1.reasoning");
        assert_eq!(reasoning.as_deref(), Some("Look outside."), "{member}");
        let mut out = Vec::new();
        entity_input(&ChatRequest::parse(request.as_bytes()).unwrap(), &mut out);
        let input: serde_json::Value =
            serde_json::from_str(&only_text(out, key::ENTITY_INPUT).unwrap()).unwrap();
        assert_eq!(input[1]["reasoning"], "Look outside.", "{member}");
    }
    for none in [
        r#""content":"Rain.""#,
        r#""content":[{"type":"text","text":"Rain."}]"#,
        r#""reasoning":null,"reasoning_content":"""#,
    ] {
        let request = format!(r#"{{"messages":[{{"role":"assistant",{none}}}]}}"#);
        assert_eq!(attribute(&request, "{}", "gen_ai.prompt.0.reasoning"), None);
    }
}

fn only_text(out: Vec<(AttributeKey, Value)>, name: &str) -> Option<String> {
    let (key, value) = out.into_iter().next()?;
    assert_eq!(key, name);
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

#[test]
fn entity_input_and_output_are_json_of_the_same() {
    let input = |request| {
        let mut out = Vec::new();
        entity_input(&ChatRequest::parse(request).unwrap(), &mut out);
        only_text(out, key::ENTITY_INPUT).unwrap()
    };
    let input_json = input(TOOLS_REQUEST.as_bytes());
    let input_json: serde_json::Value = serde_json::from_str(&input_json).unwrap();
    assert_eq!(input_json[1]["content"][0]["text"], "And in Paris?");
    assert_eq!(input_json[2]["tool_calls"][0]["id"], "call_1");
    assert_eq!(input_json[2]["content"], "");
    assert_eq!(input_json[3]["content"], "73 degrees");

    let read = |text: &str| {
        let mut reader = ReplyReader::new(None, None, 1 << 20);
        reader.push(text.as_bytes());
        let mut out = Vec::new();
        entity_output(&reader.finish().reply, &mut out);
        only_text(out, key::ENTITY_OUTPUT)
    };
    let output: serde_json::Value = serde_json::from_str(&read(TOOLS_REPLY).unwrap()).unwrap();
    assert_eq!(output["tool_calls"][1]["function"]["name"], "now");
    let output: serde_json::Value = serde_json::from_str(&read(PLAIN_REPLY).unwrap()).unwrap();
    assert_eq!(
        (&output[0]["content"], &output[1]["refusal"]),
        (&"Because.".into(), &"No.".into())
    );
    assert_eq!(read(r#"{"error":"no"}"#), None);
    assert_eq!(input(b"{}"), "[]");
}
