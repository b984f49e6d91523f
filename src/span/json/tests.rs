//! The spelling is `serde_json`'s at every depth.

use proptest::prelude::*;

use super::*;

/// The bytes that the scan reads at once.
const BLOCK: usize = 32;

fn escaped_by_us(text: &str, depth: JsonDepth) -> String {
    let mut out = Vec::new();
    escape(&mut out, text, depth);
    String::from_utf8(out).unwrap()
}

/// The text between the quotes that `serde_json` writes.
fn escaped_by_serde(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap();
    quoted[1..quoted.len() - 1].to_owned()
}

fn assert_spelled_alike(text: &str) {
    let once = escaped_by_serde(text);
    assert_eq!(escaped_by_us(text, JsonDepth::Plain), text);
    assert_eq!(escaped_by_us(text, JsonDepth::String), once);
    assert_eq!(
        escaped_by_us(text, JsonDepth::StringInString),
        escaped_by_serde(&once)
    );
}

#[test]
fn every_byte_at_every_place_of_a_block_is_escaped_as_serde_json_does() {
    for character in ('\0'..='\u{ff}').chain(['\u{2028}', '😀']) {
        for place in 0..3 * BLOCK {
            for after in [0, 1, BLOCK - 1, BLOCK] {
                let (before, after) = ("x".repeat(place), "y".repeat(after));
                assert_spelled_alike(&format!("{before}{character}{after}"));
            }
        }
    }
}

#[test]
fn an_object_leaves_out_members_without_a_value() {
    let write = |in_string| {
        let mut out = Vec::new();
        JsonWriter::new(&mut out, in_string).list([Some("a\n\"b\""), None], |json, text| {
            json.object(|members| {
                members.text("text", text);
                members.raw("json", Some(r#"["\n"]"#));
            });
        });
        String::from_utf8(out).unwrap()
    };
    let plain = write(false);
    assert_eq!(
        plain,
        r#"[{"text":"a\n\"b\"","json":["\n"]},{"json":["\n"]}]"#
    );
    assert_eq!(write(true), escaped_by_serde(&plain));
}

proptest! {
    #[test]
    fn any_text_is_escaped_as_serde_json_does(text in "([ -~]{0,40}[\\x00-\\x1f\"\\\\é😀]{0,3}){0,6}") {
        assert_spelled_alike(&text);
    }
}
