//! Media is named by kind, type and size, and data URLs are found in every text.

use super::*;

#[test]
fn media_is_named_by_kind_type_and_size() {
    let named = |bytes| MediaSummary {
        kind: "image",
        media_type: Some("image/png".into()),
        bytes: Some(bytes),
    };
    for (bytes, says) in [
        (0, "[image image/png, 0 B]"),
        (8, "[image image/png, 8 B]"),
        (999, "[image image/png, 999 B]"),
        (1_000, "[image image/png, 1 kB]"),
        (1_550, "[image image/png, 1.6 kB]"),
        (123_456, "[image image/png, 123 kB]"),
        (999_950, "[image image/png, 1 MB]"),
        (1_500_000, "[image image/png, 1.5 MB]"),
        (2_000_000_000, "[image image/png, 2 GB]"),
    ] {
        assert_eq!(named(bytes).to_string(), says);
    }
    let linked = MediaSummary {
        kind: "image",
        media_type: None,
        bytes: None,
    };
    assert_eq!(linked.to_string(), "[image]");
}

#[test]
fn a_data_url_says_its_type_and_base64_its_length() {
    for (url, says) in [
        (
            "data:image/png;base64,iVBORw0KGgo=",
            "[image image/png, 8 B]",
        ),
        (
            r"data:image\/png;base64,iVBORw0KGg\/=",
            "[image image/png, 8 B]",
        ),
        (
            "data:audio/ogg;codecs=opus;base64,AAAA",
            "[audio audio/ogg, 3 B]",
        ),
        ("data:video/mp4;base64,AA==", "[video video/mp4, 1 B]"),
        (
            "data:application/pdf;base64,AAAAAA",
            "[file application/pdf, 4 B]",
        ),
        ("data:,hello", "[file text/plain, 5 B]"),
    ] {
        assert_eq!(MediaSummary::of_data_url(url).unwrap().to_string(), says);
    }
    for other in ["https://example.com/a.png", "data:image/png", "", "data"] {
        assert_eq!(MediaSummary::of_data_url(other), None, "{other}");
    }
    let wav = MediaSummary::of_base64("audio", None, "UklGRiQA");
    assert_eq!(wav.to_string(), "[audio audio/wav, 6 B]");
    let pcm = MediaSummary::of_base64("audio", None, "AAAA");
    assert_eq!(pcm.to_string(), "[audio, 3 B]");
}

#[test]
fn long_data_urls_leave_a_text_and_nothing_else_does() {
    let long = "QUJD".repeat(100);
    let url = format!("data:image/png;base64,{long}");
    for (text, says) in [
        (url.clone(), "[image image/png, 300 B]".to_owned()),
        (
            format!("![a]({url}) and {url}."),
            "![a]([image image/png, 300 B]) and [image image/png, 300 B].".to_owned(),
        ),
        (
            format!(r#"[{{"url":"{}"}}]"#, url.replace('/', r"\/")),
            r#"[{"url":"[image image/png, 300 B]"}]"#.to_owned(),
        ),
        (
            format!("data:data:{url}"),
            "data:data:[image image/png, 300 B]".to_owned(),
        ),
    ] {
        assert_eq!(without_data_urls(&text), says);
    }
    for kept in [
        "data:image/png;base64,QUJD".to_owned(),
        format!("data: {long}"),
        format!("data:image/png,{long}"),
        format!("data:a b;base64,{long}"),
        "data:".repeat(1000),
        "ü data:".to_owned(),
    ] {
        assert_eq!(without_data_urls(&kept), kept);
    }
}

#[test]
fn the_shortest_long_data_url_is_found_at_every_place() {
    let head = "data:image/png;base64,";
    let url = format!("{head}{}", "A".repeat(MIN_DATA - head.len()));
    for place in 0..2 * MIN_DATA {
        let before = "é".repeat(place / 2) + &"-".repeat(place % 2) + " ";
        let without = without_data_urls(&format!("{before}{url} after")).into_owned();
        assert_eq!(without, format!("{before}[image image/png, 175 B] after"));
    }
}
