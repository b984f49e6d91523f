//! Replaces the data of media by its kind, type and size; all other bytes stay as they are.
//!
//! Two forms of media are found: data URLs anywhere in a text, and JSON strings of nothing but base64 whose member name or first letters are
//! those of media. Both are found within JSON in a string, too.
//!
//! Media is a long run of bytes without blanks, and nearly no body has one. A look at a few bytes of each [`STRIDE`] finds every run that is
//! long enough.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::ops::Range;

use super::{MIN_DATA, MediaSummary, decoded_bytes, kind_of, type_by_beginning, url_type};
use crate::encoding::text_before_damage;
use crate::openai::content_hash::KEYED_HASH;
use crate::openai::long_text::cut_mark;

/// Length of one look in bytes.
const WINDOW: usize = 16;

/// Distance of two looks: each run of [`MIN_DATA`] bytes has a whole look in it.
const STRIDE: usize = MIN_DATA - WINDOW;

/// How much of the text before and after a string may show what the string is, in bytes.
const CONTEXT: usize = 160;

/// JSON without the data of its media.
#[derive(Debug)]
pub(crate) struct StrippedJson {
    pub(crate) json: Vec<u8>,
    /// Hash of the data. It means nothing to another process.
    pub(crate) hash: u64,
}

/// The JSON without the data of its media; none where it has no media. Bytes from the first one that is not UTF-8 are left out, too.
pub(crate) fn without_media(json: &[u8]) -> Option<StrippedJson> {
    let first = long_run(json, 0)?;
    let (json, _) = text_before_damage(json);
    let mut hash = KEYED_HASH.build_hasher();
    let json = replace(json, first, first_media, |data| data.hash(&mut hash))?;
    Some(StrippedJson {
        json: json.into_bytes(),
        hash: hash.finish(),
    })
}

/// `text` with the summary of each long base64 data URL in its place. The text may be JSON as it was written.
pub(crate) fn without_data_urls(text: &str) -> Cow<'_, str> {
    let first = long_run(text.as_bytes(), 0);
    let base64 = |text, run| first_data_url(text, run, DataEncoding::Base64);
    let replaced = first.and_then(|first| replace(text, first, base64, |_| {}));
    replaced.map_or(Cow::Borrowed(text), Cow::Owned)
}

type FoundMedia<'t> = Option<(Range<usize>, MediaSummary<'t>)>;

/// Replaces the media that `find` finds in `first` and each long run after it, and calls `each` with its data; none where there is none.
fn replace<'t>(
    text: &'t str,
    first: Range<usize>,
    find: impl Fn(&'t str, Range<usize>) -> FoundMedia<'t>,
    mut each: impl FnMut(&str),
) -> Option<String> {
    let mut kept = String::new();
    let (mut run, mut copied) = (first, 0);
    loop {
        run.end = run.end.min(text.len());
        let mut from = run.start;
        while from < run.end
            && let Some((range, media)) = find(text, from..run.end)
        {
            kept.push_str(&text[copied..range.start]);
            kept.push_str(&media.to_string());
            each(&text[range.clone()]);
            (copied, from) = (range.end, range.end);
        }
        match long_run(text.as_bytes(), run.end.max(copied)) {
            Some(next) => run = next,
            None => break,
        }
    }
    if copied == 0 {
        return None;
    }
    kept.push_str(&text[copied..]);
    Some(kept)
}

/// The first run of bytes without blanks that begins at `least` or later and is long enough for media.
fn long_run(bytes: &[u8], least: usize) -> Option<Range<usize>> {
    let mut at = least;
    loop {
        let window = bytes.get(at..at + WINDOW)?;
        if !window.iter().all(|byte| is_dense(*byte)) {
            at += STRIDE;
            continue;
        }
        let run = dense_around(bytes, least, at);
        if run.len() >= MIN_DATA {
            return Some(run);
        }
        at = run.end + 1;
    }
}

/// Whether a URL or base64 in JSON may have this byte.
fn is_dense(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'"'
}

/// The run of dense bytes around `at`, from `least` on.
fn dense_around(bytes: &[u8], least: usize, at: usize) -> Range<usize> {
    let before = bytes[least..at].iter().rev();
    let after = bytes[at..].iter();
    let dense = |byte: &&u8| is_dense(**byte);
    at - before.take_while(dense).count()..at + after.take_while(dense).count()
}

/// The first media that begins in this run of JSON.
fn first_media(json: &str, run: Range<usize>) -> FoundMedia<'_> {
    let start = run.start;
    first_data_url(json, run, DataEncoding::Percent).or_else(|| base64_string(json, start))
}

/// The first long data URL that begins in this run: a base64 one, or with `Percent` any one.
fn first_data_url(text: &str, run: Range<usize>, encoding: DataEncoding) -> FoundMedia<'_> {
    let mut urls = memchr::memmem::find_iter(&text.as_bytes()[run.clone()], "data:");
    urls.find_map(|found| data_url(text, run.start + found, encoding))
}

fn data_url(text: &str, start: usize, encoding: DataEncoding) -> FoundMedia<'_> {
    const MAX_HEAD: usize = 128;
    let url = &text.as_bytes()[start..];
    let comma = memchr::memchr(b',', &url[..url.len().min(MAX_HEAD)])?;
    let head = text.get(start + "data:".len()..start + comma)?;
    let is_type = |byte: u8| byte.is_ascii_alphanumeric() || b"/\\+-.;=_".contains(&byte);
    if !head.bytes().all(is_type) {
        return None;
    }
    let data = start + comma + 1;
    let (encoding, head) = match head.strip_suffix(";base64") {
        Some(head) => (DataEncoding::Base64, head),
        // Code has `data:` too, without a type after it.
        None if head.contains('/') && encoding == DataEncoding::Percent => (encoding, head),
        None => return None,
    };
    let length = encoding.measure(&text[data..]);
    let end = data + length.written;
    if end - start < MIN_DATA {
        return None;
    }
    let media_type = url_type(head);
    let media = MediaSummary {
        kind: kind_of(&media_type),
        media_type: Some(media_type),
        bytes: Some(length.decoded),
    };
    Some((start..end, media))
}

/// The JSON string whose inside begins at `start`, if it is base64 and media.
fn base64_string(json: &str, start: usize) -> FoundMedia<'_> {
    let before = json[..start].strip_suffix('"')?;
    let length = DataEncoding::Base64.measure(&json[start..]);
    let end = start + length.written;
    let after = json[end..].trim_start_matches('\\').strip_prefix('"')?;
    if length.written < MIN_DATA {
        return None;
    }
    let (kind, media_type) = MemberContext::of(before, after).media_type(&json[start..end])?;
    let media = MediaSummary {
        kind,
        media_type: media_type.map(Into::into),
        bytes: Some(length.decoded),
    };
    Some((start..end, media))
}

/// The encoding of data in a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DataEncoding {
    Base64,
    /// Text in a URL.
    Percent,
}

/// The length of data.
struct DataLength {
    /// In the text, in bytes.
    written: usize,
    /// Decoded, in bytes, about.
    decoded: usize,
}

impl DataEncoding {
    /// Measures the data at the beginning of `text`. A cut mark in it counts as the middle that was cut.
    fn measure(self, text: &str) -> DataLength {
        let bytes = text.as_bytes();
        let (mut written, mut letters) = (0, 0);
        while let Some(byte) = bytes.get(written) {
            if self.is_letter(*byte) {
                letters += usize::from(*byte != b'=');
                written += 1;
            } else if let Some(length) = self.escape(&bytes[written..]) {
                letters += 1;
                written += length;
            } else if let Some(length) = self.line_end(&bytes[written..]) {
                written += length;
            } else if *byte >= 0x80
                && let Some(mark) = cut_mark(&text[written..])
            {
                letters += mark.left_out;
                written += mark.length;
            } else {
                break;
            }
        }
        let decoded = match self {
            DataEncoding::Base64 => decoded_bytes(letters),
            DataEncoding::Percent => letters,
        };
        DataLength { written, decoded }
    }

    fn is_letter(self, byte: u8) -> bool {
        let common = byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte);
        common || self == DataEncoding::Percent && b".~!*'();:@&$,?#".contains(&byte)
    }

    /// Length of an escape of JSON or a URL.
    fn escape(self, bytes: &[u8]) -> Option<usize> {
        match bytes {
            [b'\\', b'/', ..] => Some(2),
            // Cautious writers of JSON escape + / = & ' so.
            [b'\\', b'u', b'0', b'0', b'2' | b'3', digit, ..] if digit.is_ascii_hexdigit() => {
                Some(6)
            }
            [b'%', b'2' | b'3', digit, ..] if digit.is_ascii_hexdigit() => Some(3),
            [b'%', ..] if self == DataEncoding::Percent => Some(bytes.len().min(3)),
            _ => None,
        }
    }

    /// Length of an escaped line end between lines of base64, as in mail.
    fn line_end(self, bytes: &[u8]) -> Option<usize> {
        let ends = bytes.chunks(2).take(2);
        let length = 2 * ends
            .take_while(|end| matches!(end, [b'\\', b'r' | b'n']))
            .count();
        let rest = &bytes[length..];
        let line = rest
            .iter()
            .take(MIN_LINE)
            .take_while(|byte| self.is_letter(**byte))
            .count();
        let is_followed = line == MIN_LINE || matches!(rest.get(line), Some(b'"' | b'\\'));
        (self == DataEncoding::Base64 && length > 0 && is_followed).then_some(length)
    }
}

/// So many letters of base64 after a line end are more of it and no words.
const MIN_LINE: usize = 32;

/// The text around a string in its object.
struct MemberContext<'j> {
    /// The name of the member.
    member: &'j str,
    before: &'j str,
    after: &'j str,
}

impl<'j> MemberContext<'j> {
    /// The context of a string between `before` and `after`.
    fn of(before: &'j str, after: &'j str) -> Self {
        let is_brace = |byte: &u8| matches!(byte, b'{' | b'}');
        let near = &before.as_bytes()[before.len().saturating_sub(CONTEXT)..];
        let begins = near.iter().rev().take_while(|byte| !is_brace(byte)).count();
        let near = &after.as_bytes()[..after.len().min(CONTEXT)];
        let ends = near.iter().take_while(|byte| !is_brace(byte)).count();
        // An end within a character leaves no context.
        let own = before.get(before.len() - begins..).unwrap_or_default();
        MemberContext {
            member: name_before(own).unwrap_or_default(),
            before: before
                .get(before.len().saturating_sub(CONTEXT)..)
                .unwrap_or(own),
            after: after.get(..ends).unwrap_or_default(),
        }
    }

    /// Kind and type of the string `data`; none where nothing shows that it is media.
    fn media_type(&self, data: &'j str) -> Option<(&'static str, Option<String>)> {
        const NAMES: [(&str, &str); 13] = [
            ("b64_json", "image"),
            ("image", "image"),
            ("image_base64", "image"),
            ("image_url", "image"),
            ("url", "image"),
            ("audio", "audio"),
            ("video", "video"),
            ("base64", "file"),
            ("blob", "file"),
            ("bytes", "file"),
            ("data", "file"),
            ("file", "file"),
            ("file_data", "file"),
        ];
        let named = NAMES.iter().find(|(name, _)| *name == self.member);
        let is_audio = self.before.contains("audio");
        let declared = self.declared_type().or_else(|| {
            let format = self.member("format").filter(|_| is_audio)?;
            let format = if format == "mp3" { "mpeg" } else { format };
            Some(format!("audio/{format}"))
        });
        let media_type = declared
            .clone()
            .or_else(|| type_by_beginning(data).map(str::to_owned));
        let is_media = named.is_some() && declared.is_some()
            || is_mixed(data) && (named.is_some() || media_type.is_some());
        let kind = match (&media_type, named) {
            (Some(media_type), _) => kind_of(media_type),
            (None, Some((_, "file"))) if is_audio => "audio",
            (None, Some((_, kind))) => kind,
            (None, None) => "file",
        };
        is_media.then_some((kind, media_type))
    }

    fn declared_type(&self) -> Option<String> {
        const NAMES: [&str; 4] = ["media_type", "mime_type", "mimeType", "mediaType"];
        let declared = NAMES.iter().find_map(|name| self.member(name))?;
        declared.contains('/').then(|| declared.to_owned())
    }

    /// The text of another member of the object within the context.
    fn member(&self, name: &str) -> Option<&'j str> {
        let own = self.before.rfind(['{', '}']).map_or(0, |brace| brace + 1);
        [&self.before[own..], self.after]
            .into_iter()
            .find_map(|text| {
                let (_, rest) = text.split_once(name)?;
                let blank = [' ', '\\'];
                let rest = rest.trim_start_matches(blank).strip_prefix('"')?;
                let rest = rest.trim_start().strip_prefix(':')?;
                let rest = rest.trim_start_matches(blank).strip_prefix('"')?;
                let is_type = |byte: u8| byte.is_ascii_alphanumeric() || b"/+-.".contains(&byte);
                let length = rest.bytes().take_while(|byte| is_type(*byte)).count();
                (length > 0).then(|| &rest[..length])
            })
    }
}

/// The name of the member whose value comes after `before`.
fn name_before(before: &str) -> Option<&str> {
    let before = before.trim_end_matches(['\\', ' ', '\n', '\r', '\t']);
    let before = before.strip_suffix(':')?.trim_end().strip_suffix('"')?;
    let before = before.trim_end_matches('\\');
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let length = before
        .bytes()
        .rev()
        .take_while(|byte| is_name(*byte))
        .count();
    Some(&before[before.len() - length..])
}

/// Whether there are letters of every kind, as in base64 of anything but zeros: words and numbers have fewer kinds.
fn is_mixed(data: &str) -> bool {
    let beginning = &data.as_bytes()[..data.len().min(MIN_DATA)];
    let has = |is: fn(&u8) -> bool| beginning.iter().any(is);
    has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests;
