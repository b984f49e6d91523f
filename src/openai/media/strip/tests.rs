//! Media is found wherever it is, and nothing else changes.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::openai::JsonTruncator;

/// Base64 of this many bytes, with letters of every kind.
fn base64(beginning: &str, bytes: usize) -> String {
    let letters = "aZ0+/Qx9bY".chars().cycle();
    let length = bytes / 3 * 4;
    beginning.chars().chain(letters).take(length).collect()
}

fn without(json: &str) -> String {
    let without = without_media(json.as_bytes());
    without.map_or_else(
        || json.to_owned(),
        |without| String::from_utf8(without.json).unwrap(),
    )
}

#[test]
fn a_part_with_data_becomes_its_summary() {
    let png = base64("iVBORw0KGgo", 150_000);
    let some = base64("", 3_000);
    let zeros = "A".repeat(4_000);
    for (part, says) in [
        (
            json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{png}"), "detail": "low"}}),
            "[image image/png, 150 kB]",
        ),
        (
            json!({"type": "image_url", "image_url": {"url": png}}),
            "[image image/png, 150 kB]",
        ),
        (
            json!({"type": "input_audio", "input_audio": {"data": some, "format": "wav"}}),
            "[audio audio/wav, 3 kB]",
        ),
        (
            json!({"input_audio": {"data": zeros, "format": "mp3"}, "type": "input_audio"}),
            "[audio audio/mpeg, 3 kB]",
        ),
        (
            json!({"type": "file", "file": {"file_data": some, "filename": "a.bin"}}),
            "[file, 3 kB]",
        ),
        (
            json!({"type": "file", "file": {"file_data": format!("data:application/pdf;base64,{some}")}}),
            "[file application/pdf, 3 kB]",
        ),
        (
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/webp", "data": some}}),
            "[image image/webp, 3 kB]",
        ),
        (
            json!({"inline_data": {"data": some, "mime_type": "video/mp4"}}),
            "[video video/mp4, 3 kB]",
        ),
        (
            json!({"url": format!("data:image/svg+xml;charset=utf-8,{}", "%3Csvg%20x%3D'1'".repeat(100))}),
            "[image image/svg+xml, 1 kB]",
        ),
    ] {
        for written in [
            part.to_string(),
            serde_json::to_string_pretty(&part).unwrap(),
        ] {
            let kept = without(&written);
            assert!(kept.contains(&format!("\"{says}\"")), "{says}: {kept:.300}");
            let (mut kept, mut whole): (Value, Value) =
                (serde_json::from_str(&kept).unwrap(), part.clone());
            drop_texts(&mut kept, says);
            drop_texts(&mut whole, says);
            assert_eq!(kept, whole);
        }
        // The same in JSON within a string, as tools return it.
        let result = json!({"role": "tool", "content": part.to_string()}).to_string();
        let kept: Value = serde_json::from_str(&without(&result)).unwrap();
        let inner = kept["content"].as_str().unwrap();
        assert!(inner.contains(&format!("\"{says}\"")), "{inner:.300}");
        serde_json::from_str::<Value>(inner).unwrap();
    }
}

/// Removes long texts, and those that are `says`.
fn drop_texts(value: &mut Value, says: &str) {
    match value {
        Value::String(text) if text.len() >= MIN_DATA || text == says => *value = Value::Null,
        Value::Array(elements) => elements.iter_mut().for_each(|each| drop_texts(each, says)),
        Value::Object(members) => members.values_mut().for_each(|each| drop_texts(each, says)),
        _ => {}
    }
}

#[test]
fn bytes_from_the_first_damaged_one_are_left_out() {
    let mut json = format!(
        r#"{{"url":"data:image/png;base64,{}","a":""#,
        base64("", 3000)
    )
    .into_bytes();
    json.extend_from_slice(b"\xFF\",\"b\":1}");
    let kept = without_media(&json).unwrap().json;
    assert_eq!(
        String::from_utf8(kept).unwrap(),
        r#"{"url":"[image image/png, 3 kB]","a":""#
    );
}

#[test]
fn words_around_a_url_in_a_text_stay() {
    let url = format!("data:image/jpeg;base64,{}", base64("/9j/", 30_000));
    let text = format!("Before ![a]({url}) and \"{url}\", <img src='{url}'>\nafter.");
    let kept: Value =
        serde_json::from_str(&without(&json!({"content": text}).to_string())).unwrap();
    let says = "[image image/jpeg, 30 kB]";
    assert_eq!(
        kept["content"],
        format!("Before ![a]({says}) and \"{says}\", <img src='{says}'>\nafter.")
    );
}

#[test]
fn other_ways_to_write_base64_are_read() {
    let data = base64("iVBORw0KGgo", 30_000);
    let lines: Vec<_> = data
        .as_bytes()
        .chunks(76)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    for written in [
        data.replace('/', r"\/"),
        data.replace('+', r"\u002B").replace('/', r"\u002f"),
        data.replace('+', "%2B").replace('/', "%2F"),
        data.replace('+', "-").replace('/', "_"),
        lines.join(r"\n"),
        lines.join(r"\r\n"),
    ] {
        for (before, says) in [("data:image/png;base64,", "30 kB"), ("", "30 kB")] {
            let json = format!(r#"{{"url":"{before}{written}"}}"#);
            let kept = without(&json);
            assert_eq!(
                kept,
                format!(r#"{{"url":"[image image/png, {says}]"}}"#),
                "{json:.80}"
            );
        }
        let json =
            format!(r#"{{"content":"data:image/png;base64,{written}\nThen words follow."}}"#);
        let kept = without(&json);
        assert!(kept.ends_with(r#"]\nThen words follow."}"#), "{kept:.200}");
    }
}

#[test]
fn other_long_texts_stay() {
    let dense = base64("", 30_000);
    let minified = "{success:function(e){return e.data:e,a}},".repeat(100);
    for json in [
        json!({"content": dense}).to_string(),
        json!({"content": "x".repeat(10_000)}).to_string(),
        json!({"data": "x".repeat(10_000)}).to_string(),
        json!({"data": "1234567890".repeat(1000)}).to_string(),
        json!({"content": minified}).to_string(),
        json!({"content": "data:".repeat(1000)}).to_string(),
        json!({"url": format!("https://example.com/{dense}")}).to_string(),
        json!({"url": "data:image/png;base64,iVBORw0KGgo="}).to_string(),
        json!({"content": "日本語".repeat(1000)}).to_string(),
        json!({"signature": dense}).to_string(),
    ] {
        assert!(without_media(json.as_bytes()).is_none(), "{json:.80}");
    }
}

#[test]
fn different_data_of_the_same_size_has_another_hash() {
    let hash = |data: &str| {
        let json = format!(r#"{{"url":"data:image/png;base64,{data}"}}"#);
        without_media(json.as_bytes()).unwrap().hash
    };
    let data = base64("", 3000);
    let other = format!("{}a", &data[..data.len() - 1]);
    assert_eq!(hash(&data), hash(&data));
    assert_ne!(hash(&data), hash(&other));
}

#[test]
fn the_size_of_media_in_a_cut_text_is_that_of_the_whole() {
    let png = base64("iVBORw0KGgo", 150_000);
    for limit in [2_000, 10_000, 1 << 17] {
        for (url, says) in [
            (
                format!("data:image/png;base64,{png}"),
                "[image image/png, 150 kB]",
            ),
            (png.clone(), "[image image/png, 150 kB]"),
            (
                format!("See data:image/png;base64,{png}"),
                "See [image image/png, 150 kB]",
            ),
        ] {
            let body =
                json!({"messages": [{"content": [{"image_url": {"url": url}}]}]}).to_string();
            let cut = JsonTruncator::of(body.as_bytes(), limit).unwrap().finish();
            let cut = String::from_utf8(cut).unwrap();
            assert!(cut.len() <= limit && cut.contains("…[of "));
            let kept: Value = serde_json::from_str(&without(&cut)).unwrap();
            assert_eq!(kept["messages"][0]["content"][0]["image_url"]["url"], says);
        }
    }
}

proptest! {
    #[test]
    fn every_long_data_url_is_found_wherever_it_is(
        before in "[a-zé ,\n]{0,600}", length in MIN_DATA..600usize, after in "[a-zé ,\n]{0,600}",
    ) {
        let head = "data:image/gif;base64,";
        let url = format!("{head}{}", &base64("", 600)[..length - head.len()]);
        let text = format!("{before} {url} {after}");
        let written = json!({"content": text}).to_string();
        let kept: Value = serde_json::from_str(&without(&written)).unwrap();
        let size = (length - head.len()) * 3 / 4;
        prop_assert_eq!(&kept["content"], &format!("{before} [image image/gif, {size} B] {after}"));
    }

    #[test]
    fn no_text_panics(text in "[\"\\\\{}:,a-zA-Z0-9/=%+é…data;base64]{0,900}") {
        _ = without_media(text.as_bytes());
        _ = without(&format!(r#""data":"{}{text}""#, base64("", 300)));
        _ = without(&format!("data:image/png;base64,{}{text}", base64("", 300)));
    }
}
