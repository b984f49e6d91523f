//! One JSON object of a reply: a chunk of a stream, or the whole body of a reply that is no stream. They differ in little (`delta` against
//! `message`), and compatible servers mix them, so both are read by the same eyes.

mod attached;
mod failure;
mod parts;
mod usage;

use std::borrow::Cow;
use std::ops::Range;

use super::json::{self, Json, Members, Raw, Read};
use super::reply::{CallKind, Failure, Usage};
pub(super) use attached::Attached;
pub(super) use parts::{thoughts, thoughts_among};

/// The members of a chunk or a body that mean something here.
#[derive(Debug, Default)]
pub(super) struct Chunk<'a> {
    pub(super) id: Option<Cow<'a, str>>,
    pub(super) object: Option<Cow<'a, str>>,
    pub(super) model: Option<Cow<'a, str>>,
    pub(super) created: Option<i64>,
    pub(super) system_fingerprint: Option<Cow<'a, str>>,
    pub(super) service_tier: Option<Cow<'a, str>>,
    pub(super) choices: Vec<Part<'a>>,
    pub(super) usage: Usage,
    /// Where the answer was found, as a JSON list. A server that sends it with one chunk sends it with each.
    pub(super) citations: Option<&'a str>,
    pub(super) error: Option<Box<Failure>>,
    /// An error's members where there is no `error` around them.
    pub(super) bare_error: Option<Box<Failure>>,
    /// Where its padding is: letters at random, so that nobody counts those of the text (OpenAI's `obfuscation`).
    pub(super) padding: Option<Range<usize>>,
}

/// What a chunk adds to one choice.
#[derive(Debug, Default)]
pub(super) struct Part<'a> {
    pub(super) index: Option<u64>,
    pub(super) delta: Option<Box<Delta<'a>>>,
    /// A whole message: its tool calls are all there is, whatever their indices say.
    pub(super) message: Option<Box<Delta<'a>>>,
    pub(super) finish_reason: Option<Cow<'a, str>>,
    pub(super) logprobs: bool,
    /// Moonshot's streams have it here.
    pub(super) usage: Option<Box<Usage>>,
    /// `OpenRouter`'s errors of one provider are here.
    pub(super) error: Option<Box<Failure>>,
}

/// A `delta` or a `message`.
#[derive(Debug, Default)]
pub(super) struct Delta<'a> {
    pub(super) role: Option<Cow<'a, str>>,
    pub(super) content: Option<Cow<'a, str>>,
    /// Where the content is, if it is a text.
    pub(super) content_at: Option<Range<usize>>,
    pub(super) refusal: Option<Cow<'a, str>>,
    pub(super) reasoning: Option<Cow<'a, str>>,
    pub(super) audio: Option<Audio<'a>>,
    /// Images and other media.
    pub(super) attached: Vec<Attached<'a>>,
    /// Each as JSON.
    pub(super) annotations: Vec<&'a str>,
    /// As a JSON list.
    pub(super) citations: Option<&'a str>,
    pub(super) tool_calls: Vec<Call<'a>>,
    pub(super) function_call: Option<Function<'a>>,
}

/// A piece of speech.
#[derive(Debug, Default)]
pub(super) struct Audio<'a> {
    pub(super) transcript: Option<Cow<'a, str>>,
    /// Base64.
    pub(super) data: Option<Cow<'a, str>>,
}

/// A piece of a tool call.
#[derive(Debug, Default)]
pub(super) struct Call<'a> {
    pub(super) index: Option<u64>,
    pub(super) id: Option<Cow<'a, str>>,
    pub(super) kind: Option<CallKind>,
    pub(super) function: Function<'a>,
}

/// The `function` of a call or the `custom` of one, or a `function_call`.
#[derive(Debug, Default)]
pub(super) struct Function<'a> {
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) arguments: Option<Cow<'a, str>>,
}

impl<'a> Members<'a> for Chunk<'a> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "id" => json.take(&mut self.id, json::text),
            "object" => json.take(&mut self.object, json::text),
            "model" => json.take(&mut self.model, json::text),
            "created" => json.take(&mut self.created, json::whole),
            "system_fingerprint" => json.take(&mut self.system_fingerprint, json::text),
            "service_tier" => json.take(&mut self.service_tier, json::text),
            "choices" => json.array_or_one(&mut self.choices),
            "usage" => json.object(&mut self.usage),
            "x_groq" => json.object(&mut usage::Wrapped(&mut self.usage)),
            "citations" => json.take(&mut self.citations, list),
            "error" | "errors" => {
                json.take(&mut self.error, |raw| failure::failure(raw).map(Box::new))
            }
            "base_resp" => json.take(&mut self.error, |raw| {
                failure::base_response(raw).map(Box::new)
            }),
            "obfuscation" => {
                let raw = json.value()?;
                self.padding = raw.is_text().then(|| json.inside_of(raw));
                Ok(())
            }
            "message" | "detail" | "msg" | "error_msg" | "error_message" | "type" | "status"
            | "code" | "error_code" | "param" => {
                let bare_error = self.bare_error.get_or_insert_default();
                bare_error.member(name, json)
            }
            _ => json.skip(),
        }
    }
}

impl Chunk<'_> {
    /// Whether the members of an error mean one here: a reply may have some of them, too.
    pub(super) fn may_be_error(&self) -> bool {
        self.object.as_deref() == Some("error")
            || self.choices.is_empty() && (self.id.is_none() || self.model.is_none())
    }

    /// Beside its choices there is nothing that changes with each chunk.
    pub(super) fn adds_text_alone(&self) -> bool {
        self.error.is_none()
            && self.bare_error.as_deref().is_none_or(Failure::says_nothing)
            && self.usage == Usage::default()
    }
}

impl Part<'_> {
    /// A text is all that it adds.
    pub(super) fn adds_text_alone(&self) -> bool {
        let Part {
            index: _,
            delta,
            message,
            finish_reason,
            logprobs: _,
            usage,
            error,
        } = self;
        delta.as_ref().is_some_and(|delta| delta.adds_text_alone())
            && message.is_none()
            && finish_reason.is_none()
            && usage.is_none()
            && error.is_none()
    }
}

impl<'a> Delta<'a> {
    fn adds_text_alone(&self) -> bool {
        let Delta {
            role: _,
            content,
            content_at: _,
            refusal,
            reasoning,
            audio,
            attached,
            annotations,
            citations,
            tool_calls,
            function_call,
        } = self;
        content.is_some()
            && refusal.is_none()
            && reasoning.is_none()
            && audio.is_none()
            && attached.is_empty()
            && annotations.is_empty()
            && citations.is_none()
            && tool_calls.is_empty()
            && function_call.is_none()
    }

    /// Whether there is more in it than a role or empty texts.
    pub(super) fn says_something(&self) -> bool {
        let says = |text: &Option<Cow<'_, str>>| text.as_ref().is_some_and(|text| !text.is_empty());
        says(&self.content)
            || says(&self.refusal)
            || says(&self.reasoning)
            || self
                .audio
                .as_ref()
                .is_some_and(|audio| says(&audio.data) || says(&audio.transcript))
            || !self.attached.is_empty()
            || !self.annotations.is_empty()
            || self.citations.is_some()
            || self.tool_calls.iter().any(Call::says_something)
            || self.function_call.is_some()
    }

    /// Takes thoughts. Servers that send them under several names say the same under each.
    fn think(&mut self, thoughts: Cow<'a, str>) {
        if self.reasoning.as_ref().is_none_or(|held| held.is_empty()) {
            self.reasoning = Some(thoughts);
        }
    }
}

impl Call<'_> {
    /// Whether it has an id, a name or arguments.
    pub(super) fn says_something(&self) -> bool {
        let says = |text: &Option<Cow<'_, str>>| text.as_ref().is_some_and(|text| !text.is_empty());
        says(&self.id) || says(&self.function.name) || says(&self.function.arguments)
    }
}

impl<'a> Members<'a> for Part<'a> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "index" => json.take(&mut self.index, json::count),
            "delta" => json.object(&mut **self.delta.get_or_insert_default()),
            "message" => json.object(&mut **self.message.insert(Box::default())),
            // `"null"` is DashScope's null.
            "finish_reason" => json.take(&mut self.finish_reason, |raw| {
                json::text(raw).filter(|reason| !reason.is_empty() && reason != "null")
            }),
            "usage" => json.take(&mut self.usage, |raw| {
                let mut usage = Usage::default();
                json::read(raw.get(), &mut usage).ok()?;
                (usage != Usage::default()).then(|| Box::new(usage))
            }),
            "error" => json.take(&mut self.error, |raw| failure::failure(raw).map(Box::new)),
            "annotations" | "citations" | "images" => {
                let delta = self.delta.get_or_insert_default();
                delta.member(name, json)
            }
            "logprobs" => {
                self.logprobs |= json.value()?.get() != "null";
                Ok(())
            }
            _ => json.skip(),
        }
    }
}

impl<'a> Members<'a> for Delta<'a> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "role" => json.take(&mut self.role, json::text),
            "content" => {
                let raw = json.value()?;
                self.content_at = raw.is_text().then(|| json.inside_of(raw));
                if raw.get().starts_with('[') {
                    parts::take_apart(raw, self);
                } else {
                    self.content = json::text(raw).or(self.content.take());
                }
                Ok(())
            }
            "refusal" => json.take(&mut self.refusal, json::text),
            "reasoning_content" | "reasoning" | "reasoning_text" | "reasoning_details"
            | "thinking" | "thinking_blocks" | "thoughts" => {
                if let Some(thoughts) = thoughts(json.value()?) {
                    self.think(thoughts);
                }
                Ok(())
            }
            "images" | "image" | "video" | "videos" | "files" => {
                let kind = match name {
                    "image" | "images" => "image",
                    "video" | "videos" => "video",
                    _ => "file",
                };
                let raw = json.value()?;
                if raw.get().starts_with('[') {
                    let elements = json::elements(raw.get()).into_iter();
                    self.attached
                        .extend(elements.filter_map(|raw| Attached::of(raw, kind)));
                } else {
                    self.attached.extend(Attached::of(raw, kind));
                }
                Ok(())
            }
            "annotations" => {
                let Some(raw) = json::filled(json.value()?) else {
                    return Ok(());
                };
                if raw.get().starts_with('[') {
                    let elements = json::elements(raw.get()).into_iter();
                    self.annotations.extend(elements.map(Raw::get));
                } else {
                    self.annotations.push(raw.get());
                }
                Ok(())
            }
            "citations" => json.take(&mut self.citations, list),
            "audio" => {
                let mut audio = Audio::default();
                json.object(&mut audio)?;
                self.audio = (audio.transcript.is_some() || audio.data.is_some()).then_some(audio);
                Ok(())
            }
            // TGI sends one call, where others send a list of them.
            "tool_calls" => json.array_or_one(&mut self.tool_calls),
            "function_call" => {
                let mut function = Function::default();
                json.object(&mut function)?;
                self.function_call =
                    (function.name.is_some() || function.arguments.is_some()).then_some(function);
                Ok(())
            }
            _ => json.skip(),
        }
    }
}

impl<'a> Members<'a> for Audio<'a> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "transcript" => json.take(&mut self.transcript, json::text),
            "data" => json.take(&mut self.data, json::text),
            _ => json.skip(),
        }
    }
}

impl<'a> Members<'a> for Call<'a> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "index" => json.take(&mut self.index, json::count),
            "id" => json.take(&mut self.id, json::text),
            "type" => json.take(&mut self.kind, |raw| match raw.get() {
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

impl<'a> Members<'a> for Function<'a> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "name" => json.take(&mut self.name, json::text),
            // Some servers send an object where OpenAI sends its text.
            "arguments" | "input" => json.take(&mut self.arguments, json::text_or_written),
            _ => json.skip(),
        }
    }
}

/// A JSON list with anything in it, as it was written.
fn list(raw: Raw<'_>) -> Option<&str> {
    json::filled(raw)
        .map(Raw::get)
        .filter(|written| written.starts_with('['))
}
