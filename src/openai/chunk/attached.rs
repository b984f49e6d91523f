//! Images, sound and files in a reply, in the spellings of those who send them.

use std::borrow::Cow;

use crate::openai::json::{self, Json, Members, Raw, Read};
use crate::openai::media::{Media, MediaSize, kind_of};

/// How much of a link is shown, in bytes.
const LINK: usize = 512;

/// One image, sound or file that came with a reply.
#[derive(Debug, PartialEq)]
pub(in crate::openai) struct Attached<'a> {
    kind: &'static str,
    media_type: Option<Cow<'a, str>>,
    source: Cow<'a, str>,
}

/// The members of an object that may be one.
#[derive(Debug, Default)]
pub(super) struct Attachment<'a> {
    kind: Option<Cow<'a, str>>,
    media_type: Option<Cow<'a, str>>,
    format: Option<Cow<'a, str>>,
    /// A data URL, a link or base64.
    source: Option<Cow<'a, str>>,
}

impl<'a> Attached<'a> {
    /// One that may be written as a text alone, and is of this kind where it says no other.
    pub(super) fn of(raw: Raw<'a>, kind: &'static str) -> Option<Self> {
        let mut attachment = Attachment::default();
        match json::text(raw) {
            Some(text) => attachment.source = Some(text),
            None => json::read(raw.get(), &mut attachment).ok()?,
        }
        attachment.attached(kind)
    }

    /// As spans have it.
    pub(in crate::openai) fn shown(&self, media: Media) -> String {
        let source = &*self.source;
        let is_data_url = source.starts_with("data:");
        if source.contains("://") && !is_data_url {
            let link = &source[..source.floor_char_boundary(LINK)];
            return format!("[{} {link}]", self.kind);
        }
        match media {
            Media::Full if is_data_url => source.to_owned(),
            Media::Full => {
                let media_type = self.media_type.as_deref().unwrap_or_default();
                format!("data:{media_type};base64,{source}")
            }
            Media::Size => self.size().to_string(),
        }
    }

    fn size(&self) -> MediaSize<'_> {
        match MediaSize::of_data_url(&self.source) {
            Some(size) if size.kind == "file" => MediaSize {
                kind: self.kind,
                ..size
            },
            Some(size) => size,
            None => MediaSize::of_base64(self.kind, self.media_type.as_deref(), &self.source),
        }
    }
}

impl<'a> Attachment<'a> {
    /// What is attached, if anything is; `kind` is a word for it, `image_url` for example.
    pub(super) fn attached(self, kind: &str) -> Option<Attached<'a>> {
        let source = self.source.filter(|source| !source.is_empty())?;
        let kind = self
            .kind
            .as_deref()
            .map_or(kind, |own| if word_for(own) == "file" { kind } else { own });
        let word = word_for(kind);
        let by_format = || match (&*self.format?, word) {
            (_, "file") => None,
            (format, word) => Some(Cow::Owned(format!("{word}/{format}"))),
        };
        let media_type = self.media_type.or_else(by_format);
        Some(Attached {
            kind: match media_type.as_deref().map(kind_of) {
                None | Some("file") => word,
                Some(known) => known,
            },
            media_type,
            source,
        })
    }

    fn flat(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "type" => json.take(&mut self.kind, json::text),
            "mime_type" | "media_type" | "mimeType" | "content_type" => {
                json.take(&mut self.media_type, json::text)
            }
            "format" => json.take(&mut self.format, json::text),
            "url" | "uri" | "data" | "base64" | "b64_json" | "image_base64" | "file_data" => {
                json.take(&mut self.source, json::text)
            }
            _ => json.skip(),
        }
    }
}

impl<'a> Members<'a> for Attachment<'a> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "image_url" | "audio_url" | "video_url" | "file_url" | "image" | "audio" | "video"
            | "file" | "source" | "inline_data" | "inlineData" | "input_audio" | "output_audio"
            | "input_image" | "output_image" => {
                let raw = json.value()?;
                match json::text(raw) {
                    Some(text) => self.source = Some(text),
                    None if raw.get().starts_with('{') => {
                        json::read(raw.get(), &mut Source(self))?;
                    }
                    None => {}
                }
                Ok(())
            }
            _ => self.flat(name, json),
        }
    }
}

/// The object in a part that says where the data are.
struct Source<'s, 'a>(&'s mut Attachment<'a>);

impl<'a> Members<'a> for Source<'_, 'a> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            // `base64` or `url`: not what it is of.
            "type" => json.skip(),
            _ => self.0.flat(name, json),
        }
    }
}

/// The kind of media that the type of a part is a word for.
fn word_for(kind: &str) -> &'static str {
    ["image", "audio", "video"]
        .into_iter()
        .find(|word| kind.contains(word))
        .unwrap_or("file")
}
