//! A shortened body has the short texts of the body and stays within its limit, whatever its pieces.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{ChatRequest, Content};
use super::*;
use crate::openai::long_text::cut_mark;

const LIMIT: usize = 64 << 10;

fn truncated_pieces(pieces: &[&[u8]], limit: usize) -> Vec<u8> {
    let (first, rest) = pieces.split_first().unwrap();
    let mut truncator = JsonTruncator::of(first, limit).unwrap();
    for piece in rest {
        truncator.push(piece);
        let held =
            truncator.kept.len() + truncator.newest.size_estimate() + truncator.unit.bytes.len();
        assert!(held <= limit, "{held}");
    }
    truncator.finish()
}

fn truncated(body: &str, limit: usize) -> String {
    String::from_utf8(truncated_pieces(&[body.as_bytes()], limit)).unwrap()
}

fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

fn text_of<'r>(request: &'r ChatRequest<'_>, message: usize) -> std::borrow::Cow<'r, str> {
    match &request.messages[message].content {
        Some(Content::Text(text)) => text.text(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_long_text_keeps_head_and_tail_and_says_how_long_it_is() {
    let long = format!("The beginning.{}The end.", "middle ".repeat(100_000));
    let body = json!({"messages": [
        {"role": "system", "content": "You help."},
        {"role": "user", "content": long},
        {"role": "user", "content": "And now?", "name": "ann"}],
        "model": "m-1", "stream": true, "tools": [{"type": "function", "function": {"name": "f"}}]});
    let kept = truncated(&body.to_string(), LIMIT);
    let request = ChatRequest::parse(kept.as_bytes()).unwrap();
    assert!(!request.incomplete);
    assert_eq!(
        (request.model.as_deref(), request.stream),
        (Some("m-1"), Some(true))
    );
    assert!(request.tools.as_deref().unwrap().contains("\"f\""));
    let cut = text_of(&request, 1);
    assert!(cut.starts_with("The beginning.middle") && cut.ends_with("middle The end."));
    assert!(
        cut.len() < 1000 && cut.contains(&format!("[of {} bytes ", long.len())),
        "{cut}"
    );
    let at = cut.find('…').unwrap();
    let mark = cut_mark(&cut[at..]).unwrap();
    assert_eq!(cut.len() - mark.length + mark.left_out, long.len());
    assert_eq!(text_of(&request, 0), "You help.");
    assert_eq!(text_of(&request, 2), "And now?");
}

#[test]
fn texts_that_differ_in_their_middle_alone_are_cut_differently() {
    let cut = |middle: &str| {
        let text = format!("{}{middle}{}", "a".repeat(5000), "b".repeat(5000));
        truncated(
            &json!({ "messages": [{"content": text}] }).to_string(),
            LIMIT,
        )
    };
    assert_eq!(cut("x"), cut("x"));
    assert_ne!(cut("x"), cut("y"));
    // Texts that differ in the bytes which the boundaries of a cut leave out.
    let cut = |shift: usize, end: &str| {
        let text = format!("{}{}{end}", "a".repeat(shift), "é".repeat(5000));
        truncated(
            &json!({ "messages": [{"content": text}] }).to_string(),
            LIMIT,
        )
    };
    assert_ne!(cut(1, ""), cut(1, "é"));
}

#[test]
fn a_cut_is_between_characters_and_not_within_an_escape() {
    // Each unit at every position relative to the cuts.
    for unit in [
        "é",
        "€",
        "😀",
        r"\n",
        r"\\",
        r#"\""#,
        r"\u00e9",
        r"\ud83d\ude00",
        "x",
    ] {
        for shift in 0..13 {
            let text = format!("{}{}", "y".repeat(shift), unit.repeat(3000));
            let body = format!(r#"{{"messages":[{{"content":"{text}"}}],"model":"m"}}"#);
            let kept = truncated(&body, LIMIT);
            let kept = value(&kept);
            let kept = kept["messages"][0]["content"].as_str().unwrap();
            let (head, tail) = kept.split_once("…[").unwrap();
            let (_, tail) = tail.split_once("]…").unwrap();
            let character = value(&format!("\"{unit}\""));
            let character = character.as_str().unwrap();
            let head = head.trim_start_matches('y');
            assert!(!head.is_empty() && !tail.is_empty());
            assert_eq!(head.replace(character, ""), "", "{unit} {shift}");
            assert_eq!(tail.replace(character, ""), "", "{unit} {shift}");
        }
    }
}

#[test]
fn too_many_messages_leave_the_first_and_the_newest() {
    let messages: Vec<_> = (0..10_000)
        .map(|number| json!({"role": "user", "content": format!("message {number}.")}))
        .collect();
    let body = json!({"messages": messages, "tools": [{"name": "f"}], "model": "m"});
    let kept = truncated(&body.to_string(), LIMIT);
    assert!(kept.len() <= LIMIT && kept.len() > LIMIT / 3);
    let request = ChatRequest::parse(kept.as_bytes()).unwrap();
    assert!(!request.incomplete);
    assert_eq!(request.model.as_deref(), Some("m"));
    assert!(request.tools.is_some());
    let count = request.messages.len();
    assert_eq!(text_of(&request, 0), "message 0.");
    assert_eq!(text_of(&request, count - 1), "message 9999.");
    let note = (0..count)
        .map(|at| text_of(&request, at))
        .find(|text| text.starts_with('['))
        .unwrap();
    assert!(
        note.starts_with(&format!("[{} elements of ", 10_000 - count + 1)),
        "{note}"
    );
}

#[test]
fn one_huge_member_or_element_leaves_room_for_the_others() {
    let many = |one: &str| vec![one; 200_000].join(",");
    for huge in [
        format!("[{}]", many("1")),
        format!("[{}]", many("[]")),
        format!("{{\"a\":[{}]}}", many(r#""x""#)),
        format!("[[{}],7]", many(r#"{"k":true}"#)),
        "[".repeat(100_000) + &"]".repeat(100_000),
        "1".repeat(200_000),
        format!("\"{}\"", "\\\"".repeat(200_000)),
        format!("[{}]", " ".repeat(200_000)),
    ] {
        let body = format!(
            r#"{{"a":1,"huge":{huge},"messages":[{{"role":"user","content":"hi"}}],"model":"m"}}"#
        );
        let kept = truncated(&body, LIMIT);
        assert!(kept.len() <= LIMIT);
        let request = ChatRequest::parse(kept.as_bytes()).unwrap();
        assert!(!request.incomplete, "{}", &kept[..200]);
        assert_eq!(text_of(&request, 0), "hi");
        assert_eq!(request.model.as_deref(), Some("m"));
        // The same as a part of a message.
        let body =
            format!(r#"{{"messages":[{{"content":{huge}}},{{"content":"hi"}}],"model":"m"}}"#);
        let kept = truncated(&body, LIMIT);
        let request = ChatRequest::parse(kept.as_bytes()).unwrap();
        assert_eq!((request.messages.len(), request.incomplete), (2, false));
        assert_eq!(text_of(&request, 1), "hi");
    }
    let members: Vec<_> = (0..50_000)
        .map(|number| format!("\"{number}\":0"))
        .collect();
    let body = format!(r#"{{"model":"m",":":2,{}}}"#, members.join(","));
    let kept = truncated(&body, LIMIT);
    assert!(kept.len() <= LIMIT);
    assert_eq!(value(&kept)["model"], "m");
    assert_eq!(value(&kept)[":"], 2);
}

#[test]
fn a_body_that_breaks_off_stays_broken() {
    let body = json!({"model": "m", "messages": [{"content": "a"}, {"content": "b".repeat(5000)}]})
        .to_string();
    let kept = truncated(&body[..body.len() - 40], LIMIT);
    let request = ChatRequest::parse(kept.as_bytes()).unwrap();
    assert_eq!((request.messages.len(), request.incomplete), (1, true));
    for body in ["", "[1]", "\"{}\"", "x", "\u{1f}\u{8b}"] {
        assert!(JsonTruncator::of(body.as_bytes(), LIMIT).is_none());
    }
    assert_eq!(truncated("\u{FEFF} { } {}", LIMIT), "{}");
}

fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 4.0)),
        ".{0,30}".prop_map(Value::from),
        // Long ones, of characters of every length and with escapes.
        ("[a-zé€😀\"\\\\\n]{1,9}", 50..400usize)
            .prop_map(|(text, times)| Value::from(text.repeat(times))),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,10}", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Whether `kept` differs from `whole` in cut texts alone.
fn same(whole: &Value, kept: &Value) -> bool {
    let lengths = TextLimits::within(LIMIT * 64);
    match (whole, kept) {
        (Value::String(whole), Value::String(kept)) => {
            // As written it may be six times as long.
            whole == kept || 6 * whole.len() > 5 * lengths.block && kept.contains("…[of ")
        }
        (Value::Array(whole), Value::Array(kept)) => {
            whole.len() == kept.len()
                && whole
                    .iter()
                    .zip(kept)
                    .all(|(whole, kept)| same(whole, kept))
        }
        (Value::Object(whole), Value::Object(kept)) => {
            whole.len() == kept.len()
                && whole
                    .iter()
                    .zip(kept)
                    .all(|((name, whole), (kept_name, kept))| {
                        name == kept_name && same(whole, kept)
                    })
        }
        _ => whole == kept,
    }
}

proptest! {
    #[test]
    fn all_but_long_texts_is_kept(members in prop::collection::btree_map(".{0,10}", json_values(), 0..6)) {
        let body = Value::Object(members.into_iter().collect());
        for written in [body.to_string(), serde_json::to_string_pretty(&body).unwrap()] {
            let kept = truncated(&written, LIMIT * 64);
            prop_assert!(same(&body, &value(&kept)), "{kept}");
        }
    }

    #[test]
    fn the_result_does_not_depend_on_the_pieces(
        body in json_values(),
        limit in 1000..20_000usize,
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let body = json!({"messages": [body.clone(), body], "model": "m"}).to_string();
        let body = body.as_bytes();
        cuts.sort_by_key(|cut| cut.index(body.len()));
        let whole = truncated_pieces(&[body], limit);
        prop_assert!(whole.len() <= limit);
        _ = value(std::str::from_utf8(&whole).unwrap());
        let mut pieces = vec![&body[..1]];
        let mut from = 1;
        for cut in cuts {
            let to = cut.index(body.len()).max(from);
            pieces.push(&body[from..to]);
            from = to;
        }
        pieces.push(&body[from..]);
        prop_assert_eq!(&truncated_pieces(&pieces, limit), &whole);
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        prop_assert_eq!(&truncated_pieces(&bytes, limit), &whole);
    }

    #[test]
    fn no_bytes_panic_or_outgrow_the_limit(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"{}[],:\"\\u0"[..])], 0..3000),
        // The shortest object has two bytes.
        limit in 2..3000usize,
    ) {
        let pieces: Vec<&[u8]> = [&b"{"[..]].into_iter().chain(bytes.chunks(7)).collect();
        prop_assert!(truncated_pieces(&pieces, limit).len() <= limit);
    }
}
