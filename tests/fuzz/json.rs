//! The JSON reader agrees with `serde_json` on which texts are JSON and on their values.
//!
//! A request reads its members with it: texts, numbers, flags, and values as they were written.

use serde::de::IgnoredAny;
use spangate::internals::openai::ChatRequest;

use crate::engine::{fingerprint, magnitude, run};
use crate::members::{Members, agree};

const TOKENS: &[&str] = &[
    r#""user":"#,
    r#""metadata":"#,
    r#""temperature":"#,
    r#""stream":"#,
    r#""messages":["#,
    r#""seed":"#,
    r"\ud83d",
    r"\ude00",
    r"\u0000",
    r#"\""#,
    r"\\",
    "true",
    "false",
    "null",
    "-0",
    "1e999",
    "1E+5",
    "18446744073709551616",
    "[[[[[[[[",
    "]]]]]]]]",
    "{\"\":",
    "\u{FEFF}",
    "\u{2028}",
];

#[test]
fn json() {
    run("json", TOKENS, |input| {
        let body = String::from_utf8_lossy(input);
        let read = ChatRequest::parse(body.as_bytes());
        let text = body.trim_start_matches('\u{FEFF}').trim_start();
        if !text.starts_with('{') {
            assert!(read.is_err());
            return 0;
        }
        let read = read.unwrap();
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
        let whole = values.next().unwrap().is_ok();
        assert_eq!(!read.incomplete, whole, "is it JSON?");
        let members = Members::of(text).filter(|_| whole);
        if let Some(members) = &members {
            let user = members.of_type("user", '"');
            assert!(
                agree(user, read.user.as_deref()),
                "{user:?} {:?}",
                read.user
            );
            assert_eq!(read.metadata.as_deref(), members.written("metadata"));
            assert_eq!(read.stream, members.all("stream").next());
            // Of `1e999` comes an infinity, which is no number.
            let mut temperatures = members.all("temperature");
            assert_eq!(
                read.temperature,
                temperatures.find(|value: &f64| value.is_finite())
            );
        }
        fingerprint((
            whole,
            members.map(|members| magnitude(members.len())),
            read.user.as_deref().map(|user| magnitude(user.len())),
            read.metadata.as_deref().map(|json| magnitude(json.len())),
            (read.stream, read.temperature.is_some(), read.seed.is_some()),
            magnitude(read.messages.len()),
        ))
    });
}
