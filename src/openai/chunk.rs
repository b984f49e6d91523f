//! One JSON object of a reply: a chunk of a stream, or the whole body of a reply that is no stream. They differ in little (`delta` against
//! `message`), and compatible servers mix them, so both are read by the same eyes.

use std::borrow::Cow;
use std::ops::Range;

use super::json::{self, Broken, Json, Members, Raw, Read};
use super::reply::{CallKind, Failure, Usage};

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
    pub(super) error: Option<Failure>,
    /// An error's members where there is no `error` around them.
    pub(super) bare_error: Failure,
    /// Where its padding is: letters at random, so that nobody counts those of the text (OpenAI's `obfuscation`).
    pub(super) padding: Option<Range<usize>>,
}

/// What a chunk adds to one choice.
#[derive(Debug, Default)]
pub(super) struct Part<'a> {
    pub(super) index: Option<u64>,
    pub(super) delta: Delta<'a>,
    /// It is a whole `message`: its tool calls are all there is, whatever their indices say.
    pub(super) whole: bool,
    pub(super) finish_reason: Option<Cow<'a, str>>,
    pub(super) logprobs: bool,
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
    pub(super) tool_calls: Vec<Call<'a>>,
    pub(super) function_call: Option<Function<'a>>,
}

/// A piece of speech.
#[derive(Debug, Default)]
pub(super) struct Audio<'a> {
    pub(super) transcript: Option<Cow<'a, str>>,
    pub(super) sound: bool,
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
            "choices" => json.array(&mut self.choices, Broken::Kept),
            "usage" => json.object(&mut self.usage),
            // Groq's streams have it inside: `{"x_groq":{"id":…,"usage":{…}}}`.
            "x_groq" => json.object(&mut Wrapped(&mut self.usage)),
            "error" => json.take(&mut self.error, failure),
            "obfuscation" => {
                let raw = json.value()?;
                self.padding = raw.is_text().then(|| json.inside_of(raw));
                Ok(())
            }
            // FastAPI's servers say `detail`.
            "message" | "detail" => self.bare_error.member("message", json),
            "type" | "code" | "param" => self.bare_error.member(name, json),
            _ => json.skip(),
        }
    }
}

impl Chunk<'_> {
    /// Beside its choices there is nothing that changes with each chunk.
    pub(super) fn adds_text_alone(&self) -> bool {
        self.error.is_none()
            && self.bare_error == Failure::default()
            && self.usage == Usage::default()
    }
}

impl Part<'_> {
    /// A text is all that it adds.
    pub(super) fn adds_text_alone(&self) -> bool {
        let Delta {
            role: _,
            content,
            content_at: _,
            refusal,
            reasoning,
            audio,
            tool_calls,
            function_call,
        } = &self.delta;
        content.is_some()
            && self.finish_reason.is_none()
            && !self.whole
            && refusal.is_none()
            && reasoning.is_none()
            && audio.is_none()
            && tool_calls.is_empty()
            && function_call.is_none()
    }
}

struct Wrapped<'u>(&'u mut Usage);

impl<'a> Members<'a> for Wrapped<'_> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "usage" => json.object(self.0),
            _ => json.skip(),
        }
    }
}

impl<'a> Members<'a> for Part<'a> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "index" => json.take(&mut self.index, json::count),
            "delta" => json.object(&mut self.delta),
            "message" => {
                self.whole = true;
                json.object(&mut self.delta)
            }
            "finish_reason" => json.take(&mut self.finish_reason, json::text),
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
                self.content = spoken(raw).or(self.content.take());
                Ok(())
            }
            "refusal" => json.take(&mut self.refusal, json::text),
            // Some servers send both, and then they say the same.
            "reasoning_content" | "reasoning" => json.take(&mut self.reasoning, json::text),
            "audio" => {
                let mut audio = Audio::default();
                json.object(&mut audio)?;
                self.audio = Some(audio);
                Ok(())
            }
            "tool_calls" => json.array(&mut self.tool_calls, Broken::Kept),
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
            "data" => {
                self.sound = json.value()?.get().len() > r#""""#.len();
                Ok(())
            }
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

impl<'a> Members<'a> for Usage {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "prompt_tokens" | "input_tokens" => json.take(&mut self.prompt, json::count),
            "completion_tokens" | "output_tokens" => json.take(&mut self.completion, json::count),
            "total_tokens" => json.take(&mut self.total, json::count),
            // DeepSeek's and Anthropic's names, which compatible servers keep.
            "prompt_cache_hit_tokens" | "cache_read_input_tokens" => {
                json.take(&mut self.cached, json::count)
            }
            "cache_creation_input_tokens" => json.take(&mut self.cache_write, json::count),
            "prompt_tokens_details" | "input_tokens_details" => {
                json.object(&mut PromptDetails(self))
            }
            "completion_tokens_details" | "output_tokens_details" => {
                json.object(&mut CompletionDetails(self))
            }
            _ => json.skip(),
        }
    }
}

struct PromptDetails<'u>(&'u mut Usage);

impl<'a> Members<'a> for PromptDetails<'_> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "cached_tokens" => json.take(&mut self.0.cached, json::count),
            "cache_write_tokens" | "cache_creation_tokens" => {
                json.take(&mut self.0.cache_write, json::count)
            }
            "audio_tokens" => json.take(&mut self.0.prompt_audio, json::count),
            _ => json.skip(),
        }
    }
}

struct CompletionDetails<'u>(&'u mut Usage);

impl<'a> Members<'a> for CompletionDetails<'_> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "reasoning_tokens" => json.take(&mut self.0.reasoning, json::count),
            "audio_tokens" => json.take(&mut self.0.completion_audio, json::count),
            "accepted_prediction_tokens" => json.take(&mut self.0.accepted_prediction, json::count),
            "rejected_prediction_tokens" => json.take(&mut self.0.rejected_prediction, json::count),
            _ => json.skip(),
        }
    }
}

impl<'a> Members<'a> for Failure {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        let owned = |raw: Raw<'a>| json::text_or_written(raw).map(Cow::into_owned);
        match name {
            "message" => json.take(&mut self.message, owned),
            "type" => json.take(&mut self.kind, owned),
            "code" => json.take(&mut self.code, owned),
            "param" => json.take(&mut self.param, owned),
            _ => json.skip(),
        }
    }
}

/// An `error`: an object, or only its message.
fn failure(raw: Raw<'_>) -> Option<Failure> {
    let mut failure = Failure::default();
    if raw.get().starts_with('{') {
        json::read(raw.get(), &mut failure).ok()?;
    } else {
        failure.message = Some(json::text_or_written(raw)?.into_owned());
    }
    Some(failure)
}

/// A `content`: a text, or parts of which the texts are taken (Mistral's reasoning models).
fn spoken(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    if !raw.get().starts_with('[') {
        return json::text(raw);
    }
    let texts = json::elements(raw.get()).into_iter().filter_map(|part| {
        let mut spoken = Spoken::default();
        json::read(part.get(), &mut spoken).ok()?;
        spoken.text
    });
    Some(Cow::Owned(texts.collect()))
}

#[derive(Default)]
struct Spoken<'a> {
    text: Option<Cow<'a, str>>,
}

impl<'a> Members<'a> for Spoken<'a> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "text" => json.take(&mut self.text, json::text),
            _ => json.skip(),
        }
    }
}
