//! Media in requests and replies: images, sound and files that travel as base64 among the texts.
//!
//! A span names each one by kind, type and size, `[image image/png, 1.5 MB]`, and leaves out its data, unless [`Media::Full`] asks for it.

mod strip;

use std::borrow::Cow;
use std::fmt;

pub(crate) use strip::without_data_urls;
pub(crate) use strip::without_media;

/// Shorter data stays in a text: a summary would hardly be shorter.
const MIN_DATA: usize = 256;

/// The type of a data URL that names none (RFC 2397).
const DEFAULT_TYPE: &str = "text/plain";

/// How much of media spans have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Media {
    /// Kind, type and size.
    #[default]
    Size,
    /// All data.
    Full,
}

/// One image, sound or file without its data. Spans have its `Display`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MediaSummary<'a> {
    /// `image`, `audio`, `video` or `file`.
    pub kind: &'static str,
    /// Its media type, `image/png`, if known.
    pub media_type: Option<Cow<'a, str>>,
    /// Its decoded length in bytes; none of a link.
    pub bytes: Option<usize>,
}

impl<'a> MediaSummary<'a> {
    /// Summary of a data URL; none of another URL.
    pub(crate) fn of_data_url(url: &'a str) -> Option<Self> {
        let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
        let (head, is_base64) = match head.strip_suffix(";base64") {
            Some(head) => (head, true),
            None => (head, false),
        };
        let media_type = url_type(head);
        Some(MediaSummary {
            kind: kind_of(&media_type),
            bytes: Some(if is_base64 {
                decoded_length(data)
            } else {
                data.len()
            }),
            media_type: Some(media_type),
        })
    }

    /// Summary of base64. Without a `media_type`, the first bytes show it.
    pub(crate) fn of_base64(kind: &'static str, media_type: Option<&'a str>, data: &str) -> Self {
        let media_type = media_type.or_else(|| type_by_beginning(data));
        MediaSummary {
            kind,
            media_type: media_type.map(Cow::Borrowed),
            bytes: Some(decoded_length(data)),
        }
    }
}

impl fmt::Display for MediaSummary<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "[{}", self.kind)?;
        if let Some(media_type) = &self.media_type {
            write!(formatter, " {media_type}")?;
        }
        if let Some(bytes) = self.bytes {
            formatter.write_str(", ")?;
            write_size(bytes, formatter)?;
        }
        formatter.write_str("]")
    }
}

/// Writes a length with three digits at most: `12 B`, `1.5 MB`.
fn write_size(bytes: usize, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    // Tenths of a unit are rounded first, so that 999,950 bytes are 1 MB and not 1000 kB.
    let mut tenths = bytes.saturating_mul(10);
    for unit in ["B", "kB", "MB"] {
        if tenths < 10_000 {
            return write_tenths(tenths, unit, formatter);
        }
        tenths = tenths.saturating_add(500) / 1000;
    }
    write_tenths(tenths, "GB", formatter)
}

fn write_tenths(tenths: usize, unit: &str, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    match (tenths / 10, tenths % 10) {
        (whole, 0) => write!(formatter, "{whole} {unit}"),
        (whole, _) if whole >= 100 => write!(formatter, "{whole} {unit}"),
        (whole, tenth) => write!(formatter, "{whole}.{tenth} {unit}"),
    }
}

/// The kind of a media type.
pub(super) fn kind_of(media_type: &str) -> &'static str {
    match media_type.split('/').next().unwrap_or_default() {
        "image" => "image",
        "audio" => "audio",
        "video" => "video",
        _ => "file",
    }
}

/// The decoded length of base64, in bytes.
pub(super) fn decoded_length(data: &str) -> usize {
    let escapes = memchr::memchr_iter(b'\\', data.as_bytes()).count();
    let letters = data.trim_end_matches('=').len() - escapes;
    decoded_bytes(letters)
}

fn decoded_bytes(letters: usize) -> usize {
    letters / 4 * 3 + letters % 4 * 3 / 4
}

/// The media type in a data URL, between its `data:` and its `;base64` or comma.
fn url_type(head: &str) -> Cow<'_, str> {
    match head.split(';').next().unwrap_or_default() {
        "" => Cow::Borrowed(DEFAULT_TYPE),
        // JSON as it was written may escape the slash.
        named if named.contains('\\') => Cow::Owned(named.replace('\\', "")),
        named => Cow::Borrowed(named),
    }
}

/// The media type by the first letters of base64, for types that replies do not name.
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

#[cfg(test)]
mod tests;
