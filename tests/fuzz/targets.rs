//! A request target keeps its bytes on its way up and leads nowhere but below the base path.
//!
//! An input is a base path and a target, with a line end between them.

use http::Uri;
use spangate::internals::proxy::target::{has_dot_segment, resolve};

use crate::engine::{fingerprint, magnitude, run};

const TOKENS: &[&str] = &[
    "/v1",
    "/api",
    "/",
    "//",
    "/.",
    "/..",
    "%2e",
    "%2E%2e",
    "%2f",
    "%5C",
    "\\",
    "?",
    "#",
    "@",
    "http://user@evil.example",
    "//evil.example",
    ":443",
    "%",
    "%00",
    "*",
    ";",
    "é",
    "%252e",
];

/// A base path as the configuration lets it pass.
fn is_base(path: &str) -> bool {
    let mut segments = path.split('/');
    path.is_empty()
        || segments.next() == Some("")
            && segments.all(|segment| !["", ".", ".."].contains(&segment))
            && !path.contains(['?', '#'])
            && path.parse::<Uri>().is_ok()
}

/// How deep a path leads where a server undoes percent-encoding once and takes both slashes for one: the lowest depth on the way.
fn lowest(path: &str) -> i64 {
    let mut plain = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| byte == b'%');
        let hex = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        plain.push(hex.unwrap_or(byte));
        rest = if hex.is_some() { &after[2..] } else { after };
    }
    let (mut depth, mut lowest) = (0, 0);
    for segment in plain.split(|byte| matches!(byte, b'/' | b'\\')) {
        match segment {
            b"" | b"." => {}
            b".." => depth -= 1,
            _ => depth += 1,
        }
        lowest = lowest.min(depth);
    }
    lowest
}

#[test]
fn targets() {
    run("targets", TOKENS, |input| {
        let text = String::from_utf8_lossy(input);
        let Some((base, target)) = text.split_once('\n').filter(|(base, _)| is_base(base)) else {
            return 0;
        };
        let Ok(target) = target.parse::<Uri>() else {
            return 1;
        };
        let came = target.path_and_query().map_or("", |both| both.as_str());
        let rest = ["/v1/", "/api/"]
            .iter()
            .find(|prefix| came.starts_with(**prefix))
            .map(|prefix| &came[prefix.len() - 1..]);
        let led = resolve(base, &target);
        let Some(led) = led else {
            assert!(rest.is_none() || format!("{base}{came}").parse::<Uri>().is_err());
            return 2;
        };
        let rest = rest.expect("nothing but what is below a prefix is served");
        assert_eq!(led.to_string(), format!("{base}{rest}"), "bytes are kept");
        assert_eq!((led.scheme(), led.authority()), (None, None));
        assert_eq!(led.query(), target.query());
        let dots = has_dot_segment(target.path());
        if !dots {
            let below = led.path().strip_prefix(base).unwrap();
            assert_eq!(lowest(below), 0, "{below} climbs out");
        }
        fingerprint((
            base,
            dots,
            led.query().map(str::len).map(magnitude),
            magnitude(rest.len()),
        ))
    });
}
