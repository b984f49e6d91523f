//! The reader accepts, refuses and understands JSON as `serde_json` does.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// All members as they were written.
#[derive(Default)]
struct AllMembers(Vec<(String, String)>);

impl<'a> JsonObject<'a> for AllMembers {
    fn read_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult {
        let value = json.value()?;
        self.0.push((name.to_owned(), value.get().to_owned()));
        Ok(())
    }
}

/// Whether the reader accepts `text` as one JSON value and nothing else.
fn accepts(text: &str) -> bool {
    let mut json = JsonReader::new(text);
    json.skip().is_ok() && json.peek().is_err()
}

fn one(text: &str) -> RawJson<'_> {
    JsonReader::new(text).value().unwrap()
}

#[test]
fn the_grammar_is_that_of_serde_json() {
    for (json, is) in [
        (r#" {"a":[1,-2.5e+3,{"b":null}],"c":"\u00e9\"\\"} "#, true),
        ("[]", true),
        ("{}", true),
        ("[[[]],{}]", true),
        ("-0", true),
        ("0.0e-0", true),
        ("[1,]", false),
        (r#"{"a":1,}"#, false),
        (r#"{"a" 1}"#, false),
        (r#"{"a":}"#, false),
        ("{1:2}", false),
        ("{,}", false),
        ("[,]", false),
        ("[1 2]", false),
        ("[1}", false),
        (r#"{"a":1]"#, false),
        ("01", false),
        ("1.", false),
        (".5", false),
        ("+1", false),
        ("-", false),
        ("1e", false),
        ("nul", false),
        ("True", false),
        ("NaN", false),
        (r#""a"#, false),
        (r#""\x""#, false),
        (r#""\u12g4""#, false),
        (r#""\u12"#, false),
        (r#""\"#, false),
        ("\"a\nb\"", false),
        ("", false),
        (" ", false),
    ] {
        assert_eq!(accepts(json), is, "{json}");
        assert_eq!(serde_json::from_str::<Value>(json).is_ok(), is, "{json}");
    }
}

#[test]
fn numbers_convert_to_floats_integers_and_counts_where_they_can() {
    for (json, as_number, as_whole, as_count) in [
        ("12", Some(12.0), Some(12), Some(12)),
        ("12.0", Some(12.0), Some(12), Some(12)),
        ("1.2e1", Some(12.0), Some(12), Some(12)),
        ("-3", Some(-3.0), Some(-3), None),
        ("0.5", Some(0.5), None, None),
        ("1e999", None, None, None),
        (
            "9007199254740993",
            Some(9_007_199_254_740_992.0),
            Some(9_007_199_254_740_993),
            Some(9_007_199_254_740_993),
        ),
        (r#""12""#, None, None, None),
        ("true", None, None, None),
        ("null", None, None, None),
    ] {
        let raw = one(json);
        assert_eq!(
            (number(raw), integer(raw), count(raw)),
            (as_number, as_whole, as_count),
            "{json}"
        );
    }
}

#[test]
fn a_lone_surrogate_becomes_the_replacement_character() {
    for (json, said) in [
        (r#""\ud83d\ude00!""#, "😀!"),
        (r#""\ud83d!""#, "\u{FFFD}!"),
        (r#""\ude00\ud83d""#, "\u{FFFD}\u{FFFD}"),
        (r#""\ud83d\ud83d\ude00""#, "\u{FFFD}😀"),
        (r#""\ud83d\n""#, "\u{FFFD}\n"),
        (r#""\ud83d\u0041""#, "\u{FFFD}A"),
        (r#""\u0041\ud83d\ude00""#, "A😀"),
    ] {
        assert_eq!(text(one(json)).as_deref(), Some(said), "{json}");
    }
}

#[test]
fn a_text_without_escapes_is_borrowed() {
    assert!(matches!(text(one(r#""plain é""#)), Some(Cow::Borrowed(_))));
    assert!(matches!(text(one(r#""a\tb""#)), Some(Cow::Owned(_))));
    assert_eq!(text(one("[1]")), None);
}

#[test]
fn members_before_the_break_are_read() {
    let mut all = AllMembers::default();
    assert_eq!(read(r#"{"a":1,"b":[2],"c":tru"#, &mut all), Err(Malformed));
    let names: Vec<&str> = all.0.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn elements_are_given_as_they_are_written() {
    let written = |text| -> Vec<&str> { elements(text).into_iter().map(RawJson::get).collect() };
    assert_eq!(
        written(r#"[ 1, "a" ,{"b":[]}]"#),
        ["1", r#""a""#, r#"{"b":[]}"#]
    );
    assert_eq!(written("[1,"), [""; 0]);
    assert_eq!(written(r#"{"a":1}"#), [""; 0]);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        any::<String>().prop_map(Value::from),
        r#"["\\/\n\t\u{8}\u{c}\u{0}é😀a-z]{0,20}"#.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_json_is_read_as_serde_json_reads_it(value in any_json(), pretty in any::<bool>()) {
        let written = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        prop_assert!(accepts(&written));
        let said = text(one(&written));
        prop_assert_eq!(said.as_deref(), value.as_str());
        prop_assert_eq!(number(one(&written)), value.as_f64());
        if let Value::Object(members) = &value {
            let mut all = AllMembers::default();
            prop_assert!(read(&written, &mut all).is_ok());
            let members_read = all.0.iter().map(|(name, json)| (name.clone(), serde_json::from_str(json).unwrap())).collect();
            prop_assert_eq!(members, &members_read);
        }
    }

    // Strings of several blocks have runs of backslashes and their end at every place of a block.
    #[test]
    fn a_string_full_of_escapes_is_one_where_serde_json_says_so(inside in r#"(\\\\|\\"|\\n|\\[tbfr]|\\/|\\u00e9|\\ud83d\\ude00|\u{7f}|[a-zé n]{1,9}){0,90}"#, at in any::<prop::sample::Index>(), other in prop::sample::select(vec!["", "", "\\", "\"", "\n", "x", "\\u12", "\\x", "\u{1f}"])) {
        let mut written = format!("\"{inside}\"");
        let at = written.floor_char_boundary(at.index(written.len()));
        written.insert_str(at, other);
        let says = serde_json::from_str::<String>(&written);
        // The reader accepts lone surrogates.
        let has_lone_surrogate = says.as_ref().is_err_and(|error| {
            let error = error.to_string();
            error.contains("surrogate") || error.contains("hex escape")
        });
        prop_assert!(has_lone_surrogate || accepts(&written) == says.is_ok(), "{}", written);
        if let Ok(says) = says {
            let said = text(one(&written));
            prop_assert_eq!(said.as_deref(), Some(&*says));
        }
    }

    #[test]
    fn damaged_json_is_refused_where_serde_json_refuses_it(value in any_json(), at in any::<prop::sample::Index>(), byte in 0_u8..128, cut in any::<bool>()) {
        let mut written = serde_json::to_string(&value).unwrap().into_bytes();
        let at = at.index(written.len());
        if cut { written.truncate(at) } else { written[at] = byte }
        let Ok(written) = String::from_utf8(written) else { return Ok(()) };
        let says = serde_json::from_str::<Value>(&written);
        // serde_json's own values cannot hold a lone surrogate, a number beyond their range, or depth.
        let beyond = says.as_ref().is_err_and(|error| {
            let error = error.to_string();
            error.contains("surrogate") || error.contains("hex escape") || error.contains("out of range") || error.contains("recursion")
        });
        prop_assert!(beyond || accepts(&written) == says.is_ok(), "{}", written);
    }
}
