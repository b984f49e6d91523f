//! The trace, parent and credential of a request.

use super::*;

#[test]
fn traceparent_is_read_as_w3c_asks() {
    let accepted = [
        PARENT.to_owned(),
        format!("00-{TRACE}-00f067aa0ba902b7-00"),
        format!("00-{TRACE}-00f067aa0ba902b7-ff"),
        format!("  {PARENT}\t"),
        format!("cc-{TRACE}-00f067aa0ba902b7-01"),
        format!("cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-holds"),
        format!("01-{TRACE}-00f067aa0ba902b7-01-"),
    ];
    for value in &accepted {
        let identity = of(&[("traceparent", value)]);
        assert_eq!(
            explicit_trace(&identity),
            Some((TRACE.to_owned(), TraceSource::Traceparent)),
            "{value}"
        );
        assert_eq!(
            identity.parent,
            Some(SpanId([0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7])),
            "{value}"
        );
    }
    let refused = [
        format!("ff-{TRACE}-00f067aa0ba902b7-01"),
        format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
        format!("00-{TRACE}-0000000000000000-01"),
        format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
        format!("0A-{TRACE}-00f067aa0ba902b7-01"),
        format!("00-{TRACE}-00f067aa0ba902b7-0"),
        format!("00-{TRACE}-00f067aa0ba902b7-0x"),
        format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
        format!("00-{TRACE}-00f067aa0ba902b7-01-"),
        format!("cc-{TRACE}-00f067aa0ba902b7-01.more"),
        format!("00_{TRACE}-00f067aa0ba902b7-01"),
        TRACE.to_owned(),
    ];
    for value in &refused {
        let identity = of(&[("traceparent", value)]);
        assert_eq!((identity.trace, identity.parent), (None, None), "{value}");
        assert_eq!(identity.unreadable, ["traceparent is not valid"], "{value}");
    }
}

#[test]
fn the_trace_header_wins_over_trace_unique_id_over_traceparent() {
    let object = params(&format!(r#"{{"trace_unique_id":"{}"}}"#, "b".repeat(32)));
    let header = "a".repeat(32);
    let mut pairs = vec![
        ("traceparent", PARENT),
        ("x-data-respan-params", &object),
        ("x-respan-trace-id", &header),
    ];
    assert_eq!(
        explicit_trace(&of(&pairs)),
        Some(("a".repeat(32), TraceSource::Header))
    );
    pairs.pop();
    assert_eq!(
        explicit_trace(&of(&pairs)),
        Some(("b".repeat(32), TraceSource::Params))
    );
    pairs.pop();
    assert_eq!(
        explicit_trace(&of(&pairs)),
        Some((TRACE.to_owned(), TraceSource::Traceparent))
    );
}

#[test]
fn the_span_of_traceparent_is_a_parent_only_in_its_own_trace() {
    let other = "a".repeat(32);
    assert_eq!(
        of(&[("traceparent", PARENT), ("x-respan-trace-id", &other)]).parent,
        None
    );
    let same = TRACE.to_uppercase();
    assert!(
        of(&[("traceparent", PARENT), ("x-respan-trace-id", &same)])
            .parent
            .is_some()
    );
    let object = params(r#"{"span_parent_id":"00000000000000ff"}"#);
    let told = of(&[("traceparent", PARENT), ("x-data-respan-params", &object)]);
    assert_eq!(told.parent, Some(SpanId([0, 0, 0, 0, 0, 0, 0, 0xff])));
}

#[test]
fn a_text_becomes_the_same_trace_id_on_every_replica() {
    let id = |pairs: &[(&str, &str)]| explicit_trace(&of(pairs)).unwrap().0;
    let run = ("x-respan-trace-id", "order 4711");
    assert_eq!(id(&[run]), "07bb21fbc1071759386aaa8d5dde6275");
    assert_eq!(
        id(&[run, ("authorization", "Bearer sk-one")]),
        "cc9d8fae01e0b3f2f556ddaffa665885"
    );
    assert_eq!(
        id(&[
            ("x-respan-trace-id", &"0".repeat(32)),
            ("authorization", "Bearer sk-one")
        ]),
        "8c97bbbe13d35814e4f1dda3161dc013"
    );
}

#[test]
fn a_text_of_another_credential_is_another_trace_and_an_id_is_the_same() {
    let with = |trace: &str, key: &str| of(&[("x-respan-trace-id", trace), ("authorization", key)]);
    assert_ne!(
        with("run", "Bearer one").trace,
        with("run", "Bearer two").trace
    );
    assert_eq!(
        with(TRACE, "Bearer one").trace,
        with(TRACE, "Bearer two").trace
    );
    assert_eq!(
        with(TRACE, "Bearer one").trace.unwrap().id,
        TraceId(*b"\x4b\xf9\x2f\x35\x77\xb3\x4d\xa6\xa3\xce\x92\x9d\x0e\x0e\x47\x36")
    );
}

#[test]
fn credentials_differ_by_header_and_value_and_reveal_neither() {
    let of = |pairs| Credential::of(&headers(pairs));
    let all = [
        of(&[]),
        of(&[("authorization", "Bearer sk-secret")]),
        of(&[("authorization", "Bearer sk-other")]),
        of(&[("api-key", "Bearer sk-secret")]),
        of(&[("x-api-key", "Bearer sk-secret")]),
        of(&[("authorization", "Bearer"), ("authorization", " sk-secret")]),
    ];
    for (index, one) in all.iter().enumerate() {
        assert!(all[index + 1..].iter().all(|other| other != one));
        assert!(!format!("{one:?}").contains("secret"));
    }
    assert_eq!(
        of(&[("authorization", "a"), ("api-key", "b")]),
        of(&[("api-key", "c"), ("authorization", "a")])
    );
}
