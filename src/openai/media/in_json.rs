//! Media in JSON as it was written: each one's data gives way to its kind, type and size, and the rest stays as it is.
//!
//! Found are data URLs wherever they stand, and texts that are base64 as a whole, where their member's name or their beginning says that they
//! are media; both also within JSON that stands in a text.
//!
//! Nearly no body has any, so nearly nothing is looked at: media is a long run without a blank, and every run that is long enough is seen by
//! looking at a few bytes of each [`STRIDE`].

use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::ops::Range;

use super::{DEFAULT_TYPE, LONG_URL, MediaSize, kind_of, type_by_beginning};
use crate::encoding::text_before_damage;
use crate::openai::request::{SECRETS, cut_mark};

/// So many bytes in a row are looked at.
const WINDOW: usize = 16;

/// From one look to the next: every run of [`LONG_URL`] bytes is met.
const STRIDE: usize = LONG_URL - WINDOW;

/// How much of what stands around a text is asked what the text is.
const AROUND: usize = 160;

/// JSON without its media.
#[derive(Debug)]
pub(crate) struct WithoutMedia {
    pub(crate) json: Vec<u8>,
    /// Of the data that was left out. It means nothing to another process.
    pub(crate) hash: u64,
}

/// The JSON without its media; none where it has none. What follows a byte that is no UTF-8 is no JSON, and goes with it.
pub(crate) fn without_media(json: &[u8]) -> Option<WithoutMedia> {
    let mut run = long_run(json, 0)?;
    let (json, _) = text_before_damage(json);
    let mut kept = Vec::new();
    let mut hash = SECRETS.build_hasher();
    let mut copied = 0;
    loop {
        run.end = run.end.min(json.len());
        let mut from = run.start;
        while from < run.end
            && let Some((place, media)) = first_media(json, from..run.end)
        {
            kept.extend_from_slice(&json.as_bytes()[copied..place.start]);
            kept.extend_from_slice(media.to_string().as_bytes());
            json[place.clone()].hash(&mut hash);
            (copied, from) = (place.end, place.end);
        }
        match long_run(json.as_bytes(), run.end.max(copied)) {
            Some(next) => run = next,
            None => break,
        }
    }
    if copied == 0 {
        return None;
    }
    kept.extend_from_slice(&json.as_bytes()[copied..]);
    Some(WithoutMedia {
        json: kept,
        hash: hash.finish(),
    })
}

/// Whether a run may be in it that is long enough for media; there is none where it says no.
pub(super) fn has_long_word(text: &[u8]) -> bool {
    let mut windows = text
        .chunks(STRIDE)
        .filter_map(|stride| stride.get(..WINDOW));
    windows.any(|window| window.iter().all(|byte| is_dense(*byte)))
}

/// The first run from `least` on that may be media.
fn long_run(bytes: &[u8], least: usize) -> Option<Range<usize>> {
    let mut at = least;
    loop {
        let window = bytes.get(at..at + WINDOW)?;
        if !window.iter().all(|byte| is_dense(*byte)) {
            at += STRIDE;
            continue;
        }
        let run = dense_around(bytes, least, at);
        if run.len() >= LONG_URL {
            return Some(run);
        }
        at = run.end + 1;
    }
}

/// Whether a URL or base64 in JSON may have it.
fn is_dense(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'"'
}

/// The bytes around `at`, from `least` on, that are dense.
fn dense_around(bytes: &[u8], least: usize, at: usize) -> Range<usize> {
    let before = bytes[least..at].iter().rev();
    let after = bytes[at..].iter();
    let dense = |byte: &&u8| is_dense(**byte);
    at - before.take_while(dense).count()..at + after.take_while(dense).count()
}

/// The first media that begins in this part.
fn first_media(json: &str, run: Range<usize>) -> Option<(Range<usize>, MediaSize<'_>)> {
    let text = &json[run.clone()];
    let mut urls = memchr::memmem::find_iter(text.as_bytes(), "data:");
    let url = urls.find_map(|found| data_url(json, run.start + found));
    url.or_else(|| whole_text(json, run.start))
}

/// The long data URL that begins here.
fn data_url(json: &str, start: usize) -> Option<(Range<usize>, MediaSize<'_>)> {
    const LONGEST_HEAD: usize = 128;
    let url = &json.as_bytes()[start..];
    let comma = memchr::memchr(b',', &url[..url.len().min(LONGEST_HEAD)])?;
    let head = json.get(start + "data:".len()..start + comma)?;
    let is_type = |byte: u8| byte.is_ascii_alphanumeric() || b"/\\+-.;=_".contains(&byte);
    if !head.bytes().all(is_type) {
        return None;
    }
    let data = start + comma + 1;
    let (encoding, head) = match head.strip_suffix(";base64") {
        Some(head) => (Encoding::Base64, head),
        // Code has `data:` too, and no type after it.
        None if head.contains('/') => (Encoding::Percent, head),
        None => return None,
    };
    let measured = encoding.measure(&json[data..]);
    let end = data + measured.written;
    if end - start < LONG_URL {
        return None;
    }
    let media_type = match head.split(';').next() {
        None | Some("") => DEFAULT_TYPE.to_owned(),
        // JSON may escape the slash.
        Some(named) => named.replace('\\', ""),
    };
    let media = MediaSize {
        kind: kind_of(&media_type),
        media_type: Some(media_type.into()),
        bytes: Some(measured.decoded),
    };
    Some((start..end, media))
}

/// The text that is base64 from here to its end, if it is media.
fn whole_text(json: &str, start: usize) -> Option<(Range<usize>, MediaSize<'_>)> {
    let before = json[..start].strip_suffix('"')?;
    let measured = Encoding::Base64.measure(&json[start..]);
    let end = start + measured.written;
    let after = json[end..].trim_start_matches('\\').strip_prefix('"')?;
    if measured.written < LONG_URL {
        return None;
    }
    let (kind, media_type) = MemberContext::of(before, after).says(&json[start..end])?;
    let media = MediaSize {
        kind,
        media_type: media_type.map(Into::into),
        bytes: Some(measured.decoded),
    };
    Some((start..end, media))
}

/// How the data of media is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Base64,
    /// As URLs have text.
    Percent,
}

/// How long data is.
#[derive(Default)]
struct Measured {
    /// In bytes of the JSON.
    written: usize,
    /// In bytes that it stands for, about.
    decoded: usize,
}

impl Encoding {
    /// How much of this is data. The middle of a text that was cut counts as what it was.
    fn measure(self, json: &str) -> Measured {
        let bytes = json.as_bytes();
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
                && let Some(mark) = cut_mark(&json[written..])
            {
                letters += mark.left_out;
                written += mark.length;
            } else {
                break;
            }
        }
        let decoded = match self {
            Encoding::Base64 => letters / 4 * 3 + letters % 4 * 3 / 4,
            Encoding::Percent => letters,
        };
        Measured { written, decoded }
    }

    fn is_letter(self, byte: u8) -> bool {
        let common = byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte);
        common || self == Encoding::Percent && b".~!*'();:@&$,?#".contains(&byte)
    }

    /// The length of a letter that JSON or a URL escapes.
    fn escape(self, bytes: &[u8]) -> Option<usize> {
        match bytes {
            [b'\\', b'/', ..] => Some(2),
            // What cautious writers of JSON make of + / = & '.
            [b'\\', b'u', b'0', b'0', b'2' | b'3', digit, ..] if digit.is_ascii_hexdigit() => {
                Some(6)
            }
            [b'%', b'2' | b'3', digit, ..] if digit.is_ascii_hexdigit() => Some(3),
            [b'%', ..] if self == Encoding::Percent => Some(bytes.len().min(3)),
            _ => None,
        }
    }

    /// The length of a line end between lines of base64, as mail has it.
    fn line_end(self, bytes: &[u8]) -> Option<usize> {
        let ends = bytes.chunks(2).take(2);
        let length = 2 * ends
            .take_while(|end| matches!(end, [b'\\', b'r' | b'n']))
            .count();
        let rest = &bytes[length..];
        let line = rest
            .iter()
            .take(LINE)
            .take_while(|byte| self.is_letter(**byte))
            .count();
        let goes_on = line == LINE || matches!(rest.get(line), Some(b'"' | b'\\'));
        (self == Encoding::Base64 && length > 0 && goes_on).then_some(length)
    }
}

/// So many letters of base64 after a line end are more of it, and no words.
const LINE: usize = 32;

/// What stands around a text in its object.
struct MemberContext<'j> {
    /// The name of the member.
    member: &'j str,
    before: &'j str,
    after: &'j str,
}

impl<'j> MemberContext<'j> {
    /// Of the text between these quotes.
    fn of(before: &'j str, after: &'j str) -> Self {
        let is_brace = |byte: &u8| matches!(byte, b'{' | b'}');
        let near = &before.as_bytes()[before.len().saturating_sub(AROUND)..];
        let begins = near.iter().rev().take_while(|byte| !is_brace(byte)).count();
        let near = &after.as_bytes()[..after.len().min(AROUND)];
        let ends = near.iter().take_while(|byte| !is_brace(byte)).count();
        // Both ends may be within a character: then nothing is known.
        let before_it = before.get(before.len() - begins..).unwrap_or_default();
        MemberContext {
            member: name_before(before_it).unwrap_or_default(),
            before: before
                .get(before.len().saturating_sub(AROUND)..)
                .unwrap_or(before_it),
            after: after.get(..ends).unwrap_or_default(),
        }
    }

    /// Kind and type of this text; nothing where it is no media as far as anybody can tell.
    fn says(&self, data: &'j str) -> Option<(&'static str, Option<String>)> {
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

    /// The text of another member of the object, near by.
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

/// The name of the member whose value is next.
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

/// Base64 of anything but zeros has letters of every kind; words and numbers do not.
fn is_mixed(data: &str) -> bool {
    let beginning = &data.as_bytes()[..data.len().min(LONG_URL)];
    let has = |is: fn(&u8) -> bool| beginning.iter().any(is);
    has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests;
