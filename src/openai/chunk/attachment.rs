//! Images, sound and files in a reply, under the names of each server.

use std::borrow::Cow;

use crate::openai::json::{self, JsonObject, JsonReader, JsonResult, RawJson};
use crate::openai::media::{Media, MediaSummary, kind_of};

/// Limit of a link in a span, in bytes.
const MAX_LINK: usize = 512;

/// One image, sound or file that came with a reply.
#[derive(Debug, PartialEq)]
pub(crate) struct Attachment<'a> {
    kind: &'static str,
    media_type: Option<Cow<'a, str>>,
    source: Cow<'a, str>,
}

/// The members of an object that may be an attachment.
#[derive(Debug, Default)]
pub(super) struct AttachmentFields<'a> {
    kind: Option<Cow<'a, str>>,
    media_type: Option<Cow<'a, str>>,
    format: Option<Cow<'a, str>>,
    /// A data URL, a link or base64.
    source: Option<Cow<'a, str>>,
}

impl<'a> Attachment<'a> {
    /// Reads an object, or a text alone, which is the source. `kind` counts where it has no kind of its own.
    pub(super) fn of(raw: RawJson<'a>, kind: &'static str) -> Option<Self> {
        let mut fields = AttachmentFields::default();
        match json::text(raw) {
            Some(text) => fields.source = Some(text),
            None => json::read(raw.get(), &mut fields).ok()?,
        }
        fields.into_attachment(kind)
    }

    /// Its text in a span.
    pub(crate) fn span_text(&self, media: Media) -> String {
        let source = &*self.source;
        let is_data_url = source.starts_with("data:");
        if source.contains("://") && !is_data_url {
            let link = &source[..source.floor_char_boundary(MAX_LINK)];
            return format!("[{} {link}]", self.kind);
        }
        match media {
            Media::Full if is_data_url => source.to_owned(),
            Media::Full => {
                let media_type = self.media_type.as_deref().unwrap_or_default();
                format!("data:{media_type};base64,{source}")
            }
            Media::Size => self.summary().to_string(),
        }
    }

    fn summary(&self) -> MediaSummary<'_> {
        match MediaSummary::of_data_url(&self.source) {
            Some(summary) if summary.kind == "file" => MediaSummary {
                kind: self.kind,
                ..summary
            },
            Some(summary) => summary,
            None => MediaSummary::of_base64(self.kind, self.media_type.as_deref(), &self.source),
        }
    }
}

impl<'a> AttachmentFields<'a> {
    /// The attachment, if the object has a source. `kind` is the type of a part: `image_url`, for example.
    pub(super) fn into_attachment(self, kind: &str) -> Option<Attachment<'a>> {
        let source = self.source.filter(|source| !source.is_empty())?;
        let kind =
            self.kind.as_deref().map_or(
                kind,
                |own| if media_kind(own) == "file" { kind } else { own },
            );
        let kind = media_kind(kind);
        let by_format = || match (&*self.format?, kind) {
            (_, "file") => None,
            (format, kind) => Some(Cow::Owned(format!("{kind}/{format}"))),
        };
        let media_type = self.media_type.or_else(by_format);
        Some(Attachment {
            kind: match media_type.as_deref().map(kind_of) {
                None | Some("file") => kind,
                Some(known) => known,
            },
            media_type,
            source,
        })
    }

    fn read_flat_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult {
        match name {
            "type" => json.set(&mut self.kind, json::text),
            "mime_type" | "media_type" | "mimeType" | "content_type" => {
                json.set(&mut self.media_type, json::text)
            }
            "format" => json.set(&mut self.format, json::text),
            "url" | "uri" | "data" | "base64" | "b64_json" | "image_base64" | "file_data" => {
                json.set(&mut self.source, json::text)
            }
            _ => json.skip(),
        }
    }
}

impl<'a> JsonObject<'a> for AttachmentFields<'a> {
    fn read_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult {
        match name {
            "image_url" | "audio_url" | "video_url" | "file_url" | "image" | "audio" | "video"
            | "file" | "source" | "inline_data" | "inlineData" | "input_audio" | "output_audio"
            | "input_image" | "output_image" => {
                let raw = json.value()?;
                match json::text(raw) {
                    Some(text) => self.source = Some(text),
                    None if raw.get().starts_with('{') => {
                        json::read(raw.get(), &mut SourceFields(self))?;
                    }
                    None => {}
                }
                Ok(())
            }
            _ => self.read_flat_member(name, json),
        }
    }
}

/// The object within a part that has the source.
struct SourceFields<'s, 'a>(&'s mut AttachmentFields<'a>);

impl<'a> JsonObject<'a> for SourceFields<'_, 'a> {
    fn read_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult {
        match name {
            // `base64` or `url`: the type of the source, not of the media.
            "type" => json.skip(),
            _ => self.0.read_flat_member(name, json),
        }
    }
}

/// The kind of media in the type of a part: `image` in `image_url`.
fn media_kind(kind: &str) -> &'static str {
    ["image", "audio", "video"]
        .into_iter()
        .find(|word| kind.contains(word))
        .unwrap_or("file")
}
