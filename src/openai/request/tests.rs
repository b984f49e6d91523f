//! A request is read as far as possible, whatever is wrong with the rest.

use proptest::prelude::*;

use super::*;

#[expect(
    clippy::unnecessary_wraps,
    reason = "said once here instead of at every expectation"
)]
fn text(text: &str) -> Option<Cow<'_, str>> {
    Some(Cow::Borrowed(text))
}

/// The content of this text.
fn content_of(text: &str) -> Content<'static> {
    let written = serde_json::json!({"messages": [{"content": text}]}).to_string();
    let request = ChatRequest::parse(written.leak().as_bytes()).unwrap();
    request.messages[0].content.clone().unwrap()
}

const BODY: &str = r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},"messages":[
  {"content":"Be brief.","role":"system"},
  {"role":"user","name":"ann","content":[{"type":"text","text":"Hi"}]},
  {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},
  {"role":"tool","tool_call_id":"c1","content":"a \"b\"\n\u00e4"}],
 "tools":[ {"type":"function","function":{"name":"f"}} ],"tool_choice":"auto","temperature":0,"top_p":1e0,"max_tokens":12.0,
 "n":2,"seed":-3,"stop":["x","y"],"parallel_tool_calls":false,"reasoning_effort":"low","user":"u","metadata":{"k":"v"}}"#;

#[test]
fn a_request_is_read_whole() {
    let request = ChatRequest::parse(BODY.as_bytes()).unwrap();
    assert_eq!(
        (request.model, request.stream, request.incomplete),
        (text("gpt-4o"), Some(true), false)
    );
    let [system, user, assistant, tool] = &request.messages[..] else {
        panic!("four messages")
    };
    assert_eq!(
        (&system.role, &system.content),
        (&text("system"), &Some(content_of("Be brief.")))
    );
    assert_eq!(
        user.content,
        Some(Content::Json(r#"[{"type":"text","text":"Hi"}]"#.into()))
    );
    assert_eq!(user.name, text("ann"));
    assert_eq!(
        (&assistant.content, assistant.tool_calls.is_some()),
        (&None, true)
    );
    assert_eq!(
        (&tool.tool_call_id, &tool.content),
        (&text("c1"), &Some(content_of("a \"b\"\nä")))
    );
    assert_eq!(
        request.tools,
        text(r#"[ {"type":"function","function":{"name":"f"}} ]"#)
    );
    assert_eq!(
        (request.temperature, request.top_p, request.max_tokens),
        (Some(0.0), Some(1.0), Some(12))
    );
    assert_eq!(
        (request.n, request.seed, request.parallel_tool_calls),
        (Some(2), Some(-3), Some(false))
    );
    assert_eq!(request.stop, ["x", "y"]);
    assert_eq!(request.tool_choice, text("auto"));
}

#[test]
fn a_wrong_type_costs_only_its_own_field() {
    let body = r#"{"model":7,"stream":"yes","messages":[5,{"role":1,"content":{"a":1}},null,[[]],{"role":"user","content":"hi"}],
        "temperature":"hot","n":-1,"max_tokens":1.5,"seed":1e999,"stop":{"a":1},"user":"u"}"#;
    let request = ChatRequest::parse(body.as_bytes()).unwrap();
    assert_eq!(
        (&request.model, request.stream, request.temperature),
        (&None, None, None)
    );
    assert_eq!(
        (request.n, request.max_tokens, request.seed),
        (None, None, None)
    );
    assert_eq!((request.messages.len(), request.incomplete), (5, false));
    assert_eq!(request.messages[4].content, Some(content_of("hi")));
    assert_eq!(request.user, text("u"));
}

#[test]
fn of_repeated_keys_the_last_one_counts() {
    let body = r#"{"model":"a","messages":[{"role":"x"},{"role":"y"}],"model":"b","messages":[{"role":"z"}]}"#;
    let request = ChatRequest::parse(body.as_bytes()).unwrap();
    assert_eq!((request.model, request.messages.len()), (text("b"), 1));
}

#[test]
fn a_deeply_nested_body_overflows_no_stack() {
    let deep = "[".repeat(1_000_000);
    for body in [
        format!(r#"{{"model":"a","messages":[{deep}"#),
        format!(r#"{{"model":"a","x":{deep}"#),
        format!(r#"{{"model":"a","tools":{deep}"#),
    ] {
        let request = ChatRequest::parse(body.as_bytes()).unwrap();
        assert_eq!((request.model, request.incomplete), (text("a"), true));
    }
}

#[test]
fn a_body_that_is_no_object_is_an_error() {
    for body in [&b""[..], b"[]", b"null", b"hello", b"\0{}", b"\xFF\xFE{"] {
        assert_eq!(ChatRequest::parse(body), Err(NotAnObject));
    }
    assert!(ChatRequest::parse(b"\xEF\xBB\xBF {}").is_ok());
}

#[test]
fn a_text_may_have_lone_surrogates_and_nul() {
    let request = ChatRequest::parse(br#"{"\ud800":1,"model":"a\ud800b\u0000c"}"#).unwrap();
    assert!(
        request
            .model
            .is_some_and(|model| model.starts_with('a') && model.ends_with("b\0c"))
    );
}

#[test]
fn members_before_a_byte_that_is_not_utf8_are_read() {
    let request = ChatRequest::parse(
        b"{\"model\":\"a\",\"messages\":[{\"role\":\"user\"},{\"role\":\"\xFF\"}]}",
    )
    .unwrap();
    assert_eq!(
        (request.model, request.messages.len(), request.incomplete),
        (text("a"), 1, true)
    );
}

proptest! {
    #[test]
    fn a_cut_body_gives_its_whole_messages_and_no_other(at in 1..BODY.len()) {
        let whole = ChatRequest::parse(BODY.as_bytes()).unwrap();
        let cut = ChatRequest::parse(&BODY.as_bytes()[..at]).unwrap();
        prop_assert!(cut.incomplete);
        prop_assert!(whole.messages.starts_with(&cut.messages));
        if at > BODY.find("\"tools\"").unwrap() {
            prop_assert_eq!(cut.messages.len(), 4);
        }
        if at > 32 {
            prop_assert_eq!((cut.model, cut.stream), (whole.model, whole.stream));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..BODY.len()) {
        _ = ChatRequest::parse(&bytes);
        let mut damaged = BODY.as_bytes().to_vec();
        damaged.splice(at.min(BODY.len() - 1)..=at, bytes);
        _ = ChatRequest::parse(&damaged);
    }
}
