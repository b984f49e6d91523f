//! Errors in every place and shape, and texts that resemble an error.

use super::*;
use crate::openai::ReplyError;

fn error_of(message: &str, kind: Option<&str>, code: Option<&str>) -> ReplyError {
    ReplyError {
        message: some(message),
        kind: kind.map(str::to_owned),
        code: code.map(str::to_owned),
        param: None,
    }
}

#[test]
fn an_error_is_read_in_every_shape() {
    for (json, expected) in [
        (
            r#"{"error":{"message":"no","type":"t","code":"c"}}"#,
            error_of("no", Some("t"), Some("c")),
        ),
        (
            r#"{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}"#,
            error_of("no", Some("INVALID_ARGUMENT"), Some("400")),
        ),
        (
            r#"[{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}]"#,
            error_of("no", Some("INVALID_ARGUMENT"), Some("400")),
        ),
        (
            r#"{"code":"invalid argument","error":"no"}"#,
            error_of("no", None, Some("invalid argument")),
        ),
        (r#"{"error":["no","more"]}"#, error_of("no", None, None)),
        (
            r#"{"errors":[{"code":7000,"message":"no"}]}"#,
            error_of("no", None, Some("7000")),
        ),
        (
            r#"{"error":{"error":{"message":"no","type":"t"},"code":502}}"#,
            error_of("no", Some("t"), Some("502")),
        ),
        (
            r#"{"error":{"reason":"no"}}"#,
            error_of(r#"{"reason":"no"}"#, None, None),
        ),
        (
            r#"{"id":"i","choices":null,"base_resp":{"status_code":1004,"status_msg":"no"}}"#,
            error_of("no", None, Some("1004")),
        ),
        (r#"{"detail":"no"}"#, error_of("no", None, None)),
        (
            r#"{"error_code":336003,"error_msg":"no"}"#,
            error_of("no", None, Some("336003")),
        ),
        (
            r#"{"object":"error","message":"no","type":"t","code":40}"#,
            error_of("no", Some("t"), Some("40")),
        ),
        (
            r#"{"id":"i","choices":[{"index":0,"error":{"code":502,"message":"no"}}]}"#,
            error_of("no", None, Some("502")),
        ),
        (
            r#"{"id":"i","choices":[{"index":0},{"index":1,"error":{"code":502,"message":"no"},"finish_reason":"error"}]}"#,
            error_of("no", None, Some("502")),
        ),
    ] {
        assert_eq!(body(json).error.as_ref(), Some(&expected), "{json}");
        // The same in a stream before its end, in a body with the head of events, and without `data:`.
        let word = chunk(&[0], r#""delta":{"content":"Par"}"#);
        let reply = stream(&[&word, json, "[DONE]"]);
        assert_eq!(reply.error.as_ref(), Some(&expected), "{json}");
        assert_eq!(reply.choices[0].content, some("Par"));
        assert_eq!(
            read(EVENTS, json).reply.error.as_ref(),
            Some(&expected),
            "{json}"
        );
        let stray = format!("data: {word}\n\n{json}\n");
        assert_eq!(
            read(EVENTS, &stray).reply.error.as_ref(),
            Some(&expected),
            "{json}"
        );
    }
}

#[test]
fn an_error_event_is_one_by_its_name_or_its_field() {
    for head in [
        "error: ",
        "error:",
        "event: error\ndata: ",
        "event: upstream_error\ndata: ",
    ] {
        for (data, expected) in [
            (
                r#"{"code":400,"message":"too long","type":"t"}"#,
                error_of("too long", Some("t"), Some("400")),
            ),
            (
                r#"{"error":{"message":"too long"}}"#,
                error_of("too long", None, None),
            ),
            ("too long", error_of("too long", None, None)),
            (r#""too long""#, error_of("too long", None, None)),
            (
                r#"{"reason":"too long"}"#,
                error_of(r#"{"reason":"too long"}"#, None, None),
            ),
        ] {
            for content_type in [EVENTS, None] {
                let body = format!("{head}{data}\n\ndata: [DONE]\n\n");
                let reply = read(content_type, &body).reply;
                assert_eq!(reply.error.as_ref(), Some(&expected), "{body}");
            }
        }
    }
}

#[test]
fn an_error_is_found_where_an_event_or_a_body_broke_off() {
    let error = r#"{"error":{"type":"upstream_error","message":"read failed"}}"#;
    let expected = error_of("read failed", Some("upstream_error"), None);
    let broken = r#"{"id":"a","choices":[{"index":0,"delta":{"content":"hel"#;
    for body in [
        format!("data: {broken}\ndata: {error}\n\ndata: [DONE]\n\n"),
        format!("data: {broken}\n\ndata: {error}\n\ndata: [DONE]\n\n"),
        format!("data: {broken}\n{error}\n\n"),
        format!("data: {broken}data: {error}\n\n"),
        format!("data: {broken}{error}\n\n"),
        format!("data: {broken}\ndata: {error}\ndata: [DONE]\n\n"),
        format!("data: {broken}\nevent: error\ndata: {error}\n\n"),
        format!("data: {broken}\n\nevent: error\ndata: {error}"),
        format!("data: {broken}\nerror: {error}\n\n"),
    ] {
        let reply = read(EVENTS, &body).reply;
        assert_eq!(reply.error.as_ref(), Some(&expected), "{body}");
    }
    let broken = r#"{"id":"a","choices":[{"index":0,"message":{"content":"hel"#;
    for between in ["", "\n", "\r\n\r\n"] {
        let reply = body(&format!("{broken}{between}{error}"));
        assert_eq!(reply.error.as_ref(), Some(&expected), "{between:?}");
    }
    let whole = r#"{"id":"a","choices":[{"index":0,"message":{"content":"hello"}}]}"#;
    assert_eq!(body(&format!("{whole}\n{error}")).error, Some(expected));
}

#[test]
fn chunks_that_share_an_event_are_all_read() {
    let word = |text: &str| chunk(&[0], &format!(r#""delta":{{"content":"{text}"}}"#));
    for between in ["\ndata: ", "\n", " "] {
        let body = format!(
            "data: {}{between}{}\n\ndata: {}\ndata: [DONE]\n\n",
            word("a"),
            word("b"),
            word("c")
        );
        let FinishedReply { reply, ended } = read(EVENTS, &body);
        assert_eq!(reply.choices[0].content, some("abc"), "{between:?}");
        assert!(ended);
    }
}

#[test]
fn a_finish_reason_alone_may_be_an_error() {
    for (reason, code) in [("error", None), ("network_error", Some("network_error"))] {
        for part in ["delta", "message"] {
            let json = chunk(
                &[0, 1],
                &format!(r#""{part}":{{"content":"Par"}},"finish_reason":"{reason}""#),
            );
            for reply in [stream(&[&json, "[DONE]"]), body(&json)] {
                let error = reply.error.unwrap();
                assert!(error.message.unwrap().contains(reason));
                assert_eq!(error.code.as_deref(), code);
                assert_eq!(reply.choices[0].content, some("Par"));
            }
        }
    }
}

#[test]
fn a_text_in_place_of_a_chunk_is_an_error_if_no_chunk_follows() {
    let word = chunk(&[0], r#""delta":{"content":"Par"}"#);
    let end = chunk(&[0], r#""delta":{},"finish_reason":"stop""#);
    let error = |body: &str| {
        read(EVENTS, body)
            .reply
            .error
            .and_then(|error| error.message)
    };
    assert_eq!(error("upstream timed out\n\n"), some("upstream timed out"));
    assert_eq!(
        error("data: upstream timed out\n\ndata: [DONE]\n\n"),
        some("upstream timed out")
    );
    assert_eq!(error("<html>502</html>"), some("<html>502</html>"));
    assert_eq!(
        error(&format!("data: {word}\n\ndata: timed out\n\n")),
        some("timed out")
    );
    for good in [
        format!("data: {word}\n\ndata: ping\n\ndata: {end}\n\n"),
        format!("data: {word}\n\ndata: {end}\n\ndata: bye\n\ndata: [DONE]\n\n"),
        format!("data: 1\n\ndata: : ping\n\ndata: {word}\n\n"),
        ": ping\n\nevent: ping\n\nid: 1\n\n".to_owned(),
    ] {
        assert_eq!(error(&good), None, "{good}");
    }
}

#[test]
fn an_empty_error_is_none() {
    for falsy in [
        "{}",
        r#""""#,
        r#""  ""#,
        "false",
        "null",
        "0",
        "[]",
        "[{}]",
        r#"{"message":"","code":null}"#,
        r#"{"message":null,"type":"","code":0,"extra":{}}"#,
        r#"{"error":{}}"#,
    ] {
        let part = |key: &str| {
            format!(
                r#"{{"id":"i","model":"m","error":{falsy},"choices":[{{"index":0,"{key}":{{"content":"hi"}},"error":{falsy},"finish_reason":"stop"}}],"base_resp":{{"status_code":0,"status_msg":""}}}}"#
            )
        };
        let reply = body(&part("message"));
        assert_eq!((&reply.error, reply.choices.len()), (&None, 1), "{falsy}");
        let reply = stream(&[&part("delta"), "[DONE]"]);
        assert_eq!((&reply.error, reply.choices.len()), (&None, 1), "{falsy}");
    }
}
