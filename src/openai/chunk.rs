//! One JSON object of a reply: a chunk of a stream, or the whole body of a reply that is no stream. Both have the same types here, because
//! they differ in little (`delta` against `message`) and compatible servers mix them.

mod attachment;
mod content_parts;
mod error;
mod template;
mod usage;

use std::borrow::Cow;
use std::ops::Range;

use super::json::{self, JsonObject, JsonReader, JsonResult, RawJson};
use super::reply::{CallKind, ReplyError, Usage};
pub(super) use attachment::Attachment;
pub(super) use content_parts::{reasoning_in_parts, reasoning_text};
pub(super) use template::ChunkTemplate;

/// The members of a chunk or a body that spans have.
#[derive(Debug, Default)]
pub(super) struct Chunk<'a> {
    pub(super) id: Option<Cow<'a, str>>,
    pub(super) object: Option<Cow<'a, str>>,
    pub(super) model: Option<Cow<'a, str>>,
    pub(super) created: Option<i64>,
    pub(super) system_fingerprint: Option<Cow<'a, str>>,
    pub(super) service_tier: Option<Cow<'a, str>>,
    pub(super) choices: Vec<ChoiceDelta<'a>>,
    pub(super) usage: Usage,
    /// Sources of the answer, as a JSON array. Servers repeat it with each chunk.
    pub(super) citations: Option<&'a str>,
    pub(super) error: Option<Box<ReplyError>>,
    /// Members of an error without an `error` around them.
    pub(super) bare_error: Option<Box<ReplyError>>,
    /// The place of OpenAI's `obfuscation`: random letters that hide the length of the text.
    pub(super) padding: Option<Range<usize>>,
}

/// The part of a chunk that belongs to one choice.
#[derive(Debug, Default)]
pub(super) struct ChoiceDelta<'a> {
    pub(super) index: Option<u64>,
    pub(super) delta: Option<Box<MessageDelta<'a>>>,
    /// A whole message: each of its tool calls is whole, whatever its index.
    pub(super) message: Option<Box<MessageDelta<'a>>>,
    pub(super) finish_reason: Option<Cow<'a, str>>,
    pub(super) logprobs: bool,
    /// Moonshot's streams have the usage here.
    pub(super) usage: Option<Box<Usage>>,
    /// OpenRouter reports a provider's error here.
    pub(super) error: Option<Box<ReplyError>>,
}

/// A `delta` or a `message`.
#[derive(Debug, Default)]
pub(super) struct MessageDelta<'a> {
    pub(super) role: Option<Cow<'a, str>>,
    pub(super) content: Option<Cow<'a, str>>,
    /// The place of the content, if it is a text.
    pub(super) content_range: Option<Range<usize>>,
    pub(super) refusal: Option<Cow<'a, str>>,
    pub(super) reasoning: Option<Cow<'a, str>>,
    pub(super) audio: Option<AudioDelta<'a>>,
    /// Images and other media.
    pub(super) attachments: Vec<Attachment<'a>>,
    /// Each as JSON.
    pub(super) annotations: Vec<&'a str>,
    /// As a JSON array.
    pub(super) citations: Option<&'a str>,
    pub(super) tool_calls: Vec<ToolCallDelta<'a>>,
    pub(super) function_call: Option<FunctionDelta<'a>>,
}

/// A piece of speech.
#[derive(Debug, Default)]
pub(super) struct AudioDelta<'a> {
    pub(super) transcript: Option<Cow<'a, str>>,
    /// Base64.
    pub(super) data: Option<Cow<'a, str>>,
}

/// A piece of a tool call.
#[derive(Debug, Default)]
pub(super) struct ToolCallDelta<'a> {
    pub(super) index: Option<u64>,
    pub(super) id: Option<Cow<'a, str>>,
    pub(super) kind: Option<CallKind>,
    pub(super) function: FunctionDelta<'a>,
}

/// The `function` or `custom` member of a tool call, or a `function_call`.
#[derive(Debug, Default)]
pub(super) struct FunctionDelta<'a> {
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) arguments: Option<Cow<'a, str>>,
}

impl<'a> JsonObject<'a> for Chunk<'a> {
    fn read_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult {
        match name {
            "id" => json.set(&mut self.id, json::text),
            "object" => json.set(&mut self.object, json::text),
            "model" => json.set(&mut self.model, json::text),
            "created" => json.set(&mut self.created, json::integer),
            "system_fingerprint" => json.set(&mut self.system_fingerprint, json::text),
            "service_tier" => json.set(&mut self.service_tier, json::text),
            "choices" => json.array_or_one(&mut self.choices),
            "usage" => json.object(&mut self.usage),
            "x_groq" => json.object(&mut usage::UsageEnvelope(&mut self.usage)),
            "citations" => json.set(&mut self.citations, array),
            "error" | "errors" => {
                json.set(&mut self.error, |raw| error::reply_error(raw).map(Box::new))
            }
            "base_resp" => json.set(&mut self.error, |raw| {
                error::base_response(raw).map(Box::new)
            }),
            "obfuscation" => {
                let raw = json.value()?;
                self.padding = raw.is_text().then(|| json.inside_range(raw));
                Ok(())
            }
            "message" | "detail" | "msg" | "error_msg" | "error_message" | "type" | "status"
            | "code" | "error_code" | "param" => {
                let bare_error = self.bare_error.get_or_insert_default();
                bare_error.read_member(name, json)
            }
            _ => json.skip(),
        }
    }
}

impl Chunk<'_> {
    /// Whether the members in `bare_error` are an error: a reply may have members of these names, too.
    pub(super) fn may_be_error(&self) -> bool {
        self.object.as_deref() == Some("error")
            || self.choices.is_empty() && (self.id.is_none() || self.model.is_none())
    }

    /// Whether nothing but the choices changes from chunk to chunk.
    pub(super) fn is_text_alone(&self) -> bool {
        self.error.is_none()
            && self.bare_error.as_deref().is_none_or(ReplyError::is_empty)
            && self.usage == Usage::default()
    }
}

impl ChoiceDelta<'_> {
    /// Whether it adds a text to the content and nothing else.
    pub(super) fn is_text_alone(&self) -> bool {
        let ChoiceDelta {
            index: _,
            delta,
            message,
            finish_reason,
            logprobs: _,
            usage,
            error,
        } = self;
        delta.as_ref().is_some_and(|delta| delta.is_text_alone())
            && message.is_none()
            && finish_reason.is_none()
            && usage.is_none()
            && error.is_none()
    }
}

impl<'a> MessageDelta<'a> {
    fn is_text_alone(&self) -> bool {
        let MessageDelta {
            role: _,
            content,
            content_range: _,
            refusal,
            reasoning,
            audio,
            attachments,
            annotations,
            citations,
            tool_calls,
            function_call,
        } = self;
        content.is_some()
            && refusal.is_none()
            && reasoning.is_none()
            && audio.is_none()
            && attachments.is_empty()
            && annotations.is_empty()
            && citations.is_none()
            && tool_calls.is_empty()
            && function_call.is_none()
    }

    /// Whether it has more than a role and empty texts.
    pub(super) fn has_content(&self) -> bool {
        is_filled(self.content.as_deref())
            || is_filled(self.refusal.as_deref())
            || is_filled(self.reasoning.as_deref())
            || self.audio.as_ref().is_some_and(|audio| {
                is_filled(audio.data.as_deref()) || is_filled(audio.transcript.as_deref())
            })
            || !self.attachments.is_empty()
            || !self.annotations.is_empty()
            || self.citations.is_some()
            || self.tool_calls.iter().any(ToolCallDelta::has_content)
            || self.function_call.is_some()
    }

    /// Sets the reasoning, unless it is set. Servers that send it under several names repeat the same text.
    fn set_reasoning(&mut self, text: Cow<'a, str>) {
        if self.reasoning.as_ref().is_none_or(|held| held.is_empty()) {
            self.reasoning = Some(text);
        }
    }
}

impl ToolCallDelta<'_> {
    /// Whether it has an id, a name or arguments.
    pub(super) fn has_content(&self) -> bool {
        is_filled(self.id.as_deref())
            || is_filled(self.function.name.as_deref())
            || is_filled(self.function.arguments.as_deref())
    }
}

impl<'a> JsonObject<'a> for ChoiceDelta<'a> {
    fn read_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult {
        match name {
            "index" => json.set(&mut self.index, json::count),
            "delta" => json.object(&mut **self.delta.get_or_insert_default()),
            "message" => json.object(&mut **self.message.insert(Box::default())),
            // DashScope writes null as `"null"`.
            "finish_reason" => json.set(&mut self.finish_reason, |raw| {
                json::text(raw).filter(|reason| !reason.is_empty() && reason != "null")
            }),
            "usage" => json.set(&mut self.usage, |raw| {
                let mut usage = Usage::default();
                json::read(raw.get(), &mut usage).ok()?;
                (usage != Usage::default()).then(|| Box::new(usage))
            }),
            "error" => json.set(&mut self.error, |raw| error::reply_error(raw).map(Box::new)),
            "annotations" | "citations" | "images" => {
                let delta = self.delta.get_or_insert_default();
                delta.read_member(name, json)
            }
            "logprobs" => {
                self.logprobs |= json.value()?.get() != "null";
                Ok(())
            }
            _ => json.skip(),
        }
    }
}

impl<'a> JsonObject<'a> for MessageDelta<'a> {
    fn read_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult {
        match name {
            "role" => json.set(&mut self.role, json::text),
            "content" => {
                let raw = json.value()?;
                self.content_range = raw.is_text().then(|| json.inside_range(raw));
                if raw.get().starts_with('[') {
                    content_parts::read_parts(raw, self);
                } else {
                    self.content = json::text(raw).or(self.content.take());
                }
                Ok(())
            }
            "refusal" => json.set(&mut self.refusal, json::text),
            "reasoning_content" | "reasoning" | "reasoning_text" | "reasoning_details"
            | "thinking" | "thinking_blocks" | "thoughts" => {
                if let Some(text) = reasoning_text(json.value()?) {
                    self.set_reasoning(text);
                }
                Ok(())
            }
            "images" | "image" | "video" | "videos" | "files" => {
                let kind = match name {
                    "image" | "images" => "image",
                    "video" | "videos" => "video",
                    _ => "file",
                };
                let media = json::elements_or_one(json.value()?).into_iter();
                self.attachments
                    .extend(media.filter_map(|raw| Attachment::of(raw, kind)));
                Ok(())
            }
            "annotations" => {
                let notes = json::non_empty(json.value()?).map(json::elements_or_one);
                self.annotations
                    .extend(notes.into_iter().flatten().map(RawJson::get));
                Ok(())
            }
            "citations" => json.set(&mut self.citations, array),
            "audio" => {
                let mut audio = AudioDelta::default();
                json.object(&mut audio)?;
                self.audio = (audio.transcript.is_some() || audio.data.is_some()).then_some(audio);
                Ok(())
            }
            // TGI sends one call in place of an array.
            "tool_calls" => json.array_or_one(&mut self.tool_calls),
            "function_call" => {
                let mut function = FunctionDelta::default();
                json.object(&mut function)?;
                self.function_call =
                    (function.name.is_some() || function.arguments.is_some()).then_some(function);
                Ok(())
            }
            _ => json.skip(),
        }
    }
}

impl<'a> JsonObject<'a> for AudioDelta<'a> {
    fn read_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult {
        match name {
            "transcript" => json.set(&mut self.transcript, json::text),
            "data" => json.set(&mut self.data, json::text),
            _ => json.skip(),
        }
    }
}

impl<'a> JsonObject<'a> for ToolCallDelta<'a> {
    fn read_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult {
        match name {
            "index" => json.set(&mut self.index, json::count),
            "id" => json.set(&mut self.id, json::text),
            "type" => json.set(&mut self.kind, |raw| match raw.get() {
                r#""function""# => Some(CallKind::Function),
                r#""custom""# => Some(CallKind::Custom),
                _ => None,
            }),
            "function" => json.object(&mut self.function),
            "custom" => {
                self.kind = Some(CallKind::Custom);
                json.object(&mut self.function)
            }
            _ => json.skip(),
        }
    }
}

impl<'a> JsonObject<'a> for FunctionDelta<'a> {
    fn read_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult {
        match name {
            "name" => json.set(&mut self.name, json::text),
            // Some servers send an object in place of its text.
            "arguments" | "input" => json.set(&mut self.arguments, json::text_or_written),
            _ => json.skip(),
        }
    }
}

/// Whether there is a text that is not empty.
pub(super) fn is_filled(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

/// A JSON array that is not empty, as it was written.
fn array(raw: RawJson<'_>) -> Option<&str> {
    json::non_empty(raw)
        .map(RawJson::get)
        .filter(|written| written.starts_with('['))
}
