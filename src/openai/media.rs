//! Media in requests and replies: images, sound and files that travel as base64 among the texts.
//!
//! The rule: a span says of each one what it is, of which type and how long, `[image image/png, 1.5 MB]`, and leaves its data out, unless
//! [`Media::Full`] asks for it.

mod in_json;

use std::borrow::Cow;
use std::fmt;

use in_json::has_long_word;
pub(crate) use in_json::without_media;
use memchr::memmem;

/// Shorter data URLs stay where a text has them: they take no more room than what would stand in their place.
const LONG_URL: usize = 256;

/// The type of a data URL that names none (RFC 2397).
const DEFAULT_TYPE: &str = "text/plain";

/// What spans hold of media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Media {
    /// Kind, type and size.
    #[default]
    Size,
    /// The data, too.
    Full,
}

/// One image, sound or file without its data. It is displayed as it stands in spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaSize<'a> {
    /// `image`, `audio`, `video` or `file`.
    pub kind: &'static str,
    /// Its media type, `image/png`, if it is known.
    pub media_type: Option<Cow<'a, str>>,
    /// How long it is once it is decoded, if it is at hand: not where it is only linked to.
    pub bytes: Option<usize>,
}

impl<'a> MediaSize<'a> {
    /// Of a data URL; none where `url` is another one.
    pub fn of_data_url(url: &'a str) -> Option<Self> {
        let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
        let (head, is_base64) = match head.strip_suffix(";base64") {
            Some(head) => (head, true),
            None => (head, false),
        };
        let media_type = head.split(';').next().unwrap_or_default();
        let media_type = match media_type {
            "" => Cow::Borrowed(DEFAULT_TYPE),
            // JSON may escape the slash, and this may be asked of JSON as it was written.
            named if named.contains('\\') => Cow::Owned(named.replace('\\', "")),
            named => Cow::Borrowed(named),
        };
        Some(MediaSize {
            kind: kind_of(&media_type),
            bytes: Some(if is_base64 {
                decoded_length(data)
            } else {
                data.len()
            }),
            media_type: Some(media_type),
        })
    }

    /// Of base64 `data`, whose type `media_type` or its first bytes say.
    pub fn of_base64(kind: &'static str, media_type: Option<&'a str>, data: &str) -> Self {
        let media_type = media_type.or_else(|| type_by_beginning(data));
        MediaSize {
            kind,
            media_type: media_type.map(Cow::Borrowed),
            bytes: Some(decoded_length(data)),
        }
    }
}

impl fmt::Display for MediaSize<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "[{}", self.kind)?;
        if let Some(media_type) = &self.media_type {
            write!(formatter, " {media_type}")?;
        }
        if let Some(bytes) = self.bytes {
            formatter.write_str(", ")?;
            size(bytes, formatter)?;
        }
        formatter.write_str("]")
    }
}

/// A length with three digits or less: `12 B`, `1.5 MB`.
fn size(bytes: usize, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    // In tenths of the unit, rounded, so that 999,950 bytes are 1 MB and not 1000 kB.
    let mut tenths = bytes.saturating_mul(10);
    for unit in ["B", "kB", "MB"] {
        if tenths < 10_000 {
            return amount(tenths, unit, formatter);
        }
        tenths = tenths.saturating_add(500) / 1000;
    }
    amount(tenths, "GB", formatter)
}

fn amount(tenths: usize, unit: &str, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    match (tenths / 10, tenths % 10) {
        (whole, 0) => write!(formatter, "{whole} {unit}"),
        (whole, _) if whole >= 100 => write!(formatter, "{whole} {unit}"),
        (whole, tenth) => write!(formatter, "{whole}.{tenth} {unit}"),
    }
}

/// The kind of media that a type belongs to.
pub(super) fn kind_of(media_type: &str) -> &'static str {
    match media_type.split('/').next().unwrap_or_default() {
        "image" => "image",
        "audio" => "audio",
        "video" => "video",
        _ => "file",
    }
}

/// How many bytes this base64 stands for.
pub(super) fn decoded_length(data: &str) -> usize {
    let escapes = memchr::memchr_iter(b'\\', data.as_bytes()).count();
    let letters = data.trim_end_matches('=').len() - escapes;
    letters / 4 * 3 + letters % 4 * 3 / 4
}

/// The type of media by the bytes that it begins with, of types that replies leave unsaid.
fn type_by_beginning(data: &str) -> Option<&'static str> {
    const KNOWN: [(&str, &str); 8] = [
        ("iVBORw0KGgo", "image/png"),
        ("/9j/", "image/jpeg"),
        ("R0lGOD", "image/gif"),
        ("UklGR", "audio/wav"),
        ("SUQz", "audio/mpeg"),
        ("T2dnUw", "audio/ogg"),
        ("ZkxhQ", "audio/flac"),
        ("JVBERi", "application/pdf"),
    ];
    let known = KNOWN
        .into_iter()
        .find(|(beginning, _)| data.starts_with(beginning));
    known.map(|(_, media_type)| media_type)
}

/// `text` with each long base64 data URL replaced by its kind, type and size. The text may be JSON as it was written.
pub fn without_data_urls(text: &str) -> Cow<'_, str> {
    // Nearly no text has a word as long as such a URL.
    if !has_long_word(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let mut kept: Option<String> = None;
    let mut copied = 0;
    let mut from = 0;
    let finder = memmem::Finder::new("data:");
    while let Some(found) = finder.find(&text.as_bytes()[from..]) {
        let start = from + found;
        from = start + "data:".len();
        let Some(length) = long_data_url(&text[start..]) else {
            continue;
        };
        let Some(media) = MediaSize::of_data_url(&text[start..start + length]) else {
            continue;
        };
        let kept = kept.get_or_insert_default();
        kept.push_str(&text[copied..start]);
        kept.push_str(&media.to_string());
        (copied, from) = (start + length, start + length);
    }
    match kept {
        None => Cow::Borrowed(text),
        Some(mut kept) => {
            kept.push_str(&text[copied..]);
            Cow::Owned(kept)
        }
    }
}

/// How long the base64 data URL is that `text` begins with; none where it is none, or is short.
fn long_data_url(text: &str) -> Option<usize> {
    const LONGEST_HEAD: usize = 128;
    let bytes = text.as_bytes();
    let head = &bytes[..bytes.len().min(LONGEST_HEAD)];
    let data = memchr::memchr(b',', head)? + 1;
    let is_type = |byte: &u8| byte.is_ascii_alphanumeric() || b"/\\+-.;=_".contains(byte);
    if !head[..data].ends_with(b";base64,") || !head["data:".len()..data - 1].iter().all(is_type) {
        return None;
    }
    let length = bytes[data..]
        .iter()
        .enumerate()
        .take_while(|&(at, byte)| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'-' | b'_' | b'=' => true,
            // The slash of base64, as some writers of JSON escape it.
            b'\\' => bytes.get(data + at + 1) == Some(&b'/'),
            _ => false,
        })
        .count();
    (data + length >= LONG_URL).then_some(data + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_is_named_by_kind_type_and_size() {
        let named = |bytes| MediaSize {
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
        let linked = MediaSize {
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
            assert_eq!(MediaSize::of_data_url(url).unwrap().to_string(), says);
        }
        for other in ["https://example.com/a.png", "data:image/png", "", "data"] {
            assert_eq!(MediaSize::of_data_url(other), None, "{other}");
        }
        let wav = MediaSize::of_base64("audio", None, "UklGRiQA");
        assert_eq!(wav.to_string(), "[audio audio/wav, 6 B]");
        let pcm = MediaSize::of_base64("audio", None, "AAAA");
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
        let url = format!("{head}{}", "A".repeat(LONG_URL - head.len()));
        for place in 0..2 * LONG_URL {
            let before = "é".repeat(place / 2) + &"-".repeat(place % 2) + " ";
            let without = without_data_urls(&format!("{before}{url} after")).into_owned();
            assert_eq!(without, format!("{before}[image image/png, 175 B] after"));
        }
    }
}
