//! One JSON object of a reply: a chunk of a stream, or the whole body of a reply that is no stream. They differ in little (`delta` against
//! `message`), and compatible servers mix them, so both are read by the same eyes.

use std::borrow::Cow;

use serde::de::MapAccess;
use serde_json::value::RawValue;

use super::json::{self, Array, Broken, Members, Object};
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

impl<'de> Members<'de> for Chunk<'de> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "id" => json::take(map, &mut self.id, json::text),
            "object" => json::take(map, &mut self.object, json::text),
            "model" => json::take(map, &mut self.model, json::text),
            "created" => json::take(map, &mut self.created, json::whole),
            "system_fingerprint" => json::take(map, &mut self.system_fingerprint, json::text),
            "service_tier" => json::take(map, &mut self.service_tier, json::text),
            "choices" => map.next_value_seed(Array {
                into: &mut self.choices,
                broken: Broken::Kept,
            }),
            "usage" => map.next_value_seed(Object(&mut self.usage)),
            // Groq's streams have it inside: `{"x_groq":{"id":…,"usage":{…}}}`.
            "x_groq" => map.next_value_seed(Object(&mut Wrapped(&mut self.usage))),
            "error" => json::take(map, &mut self.error, failure),
            // FastAPI's servers say `detail`.
            "message" | "detail" => self.bare_error.member("message", map),
            "type" | "code" | "param" => self.bare_error.member(name, map),
            _ => json::skip(map),
        }
    }
}

struct Wrapped<'u>(&'u mut Usage);

impl<'de> Members<'de> for Wrapped<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "usage" => map.next_value_seed(Object(self.0)),
            _ => json::skip(map),
        }
    }
}

impl<'de> Members<'de> for Part<'de> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "index" => json::take(map, &mut self.index, json::count),
            "delta" => map.next_value_seed(Object(&mut self.delta)),
            "message" => {
                self.whole = true;
                map.next_value_seed(Object(&mut self.delta))
            }
            "finish_reason" => json::take(map, &mut self.finish_reason, json::text),
            "logprobs" => {
                self.logprobs |= map.next_value::<&'de RawValue>()?.get() != "null";
                Ok(())
            }
            _ => json::skip(map),
        }
    }
}

impl<'de> Members<'de> for Delta<'de> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "role" => json::take(map, &mut self.role, json::text),
            "content" => json::take(map, &mut self.content, spoken),
            "refusal" => json::take(map, &mut self.refusal, json::text),
            // Some servers send both, and then they say the same.
            "reasoning_content" | "reasoning" => json::take(map, &mut self.reasoning, json::text),
            "audio" => {
                let mut audio = Audio::default();
                map.next_value_seed(Object(&mut audio))?;
                self.audio = Some(audio);
                Ok(())
            }
            "tool_calls" => map.next_value_seed(Array {
                into: &mut self.tool_calls,
                broken: Broken::Kept,
            }),
            "function_call" => {
                let mut function = Function::default();
                map.next_value_seed(Object(&mut function))?;
                self.function_call =
                    (function.name.is_some() || function.arguments.is_some()).then_some(function);
                Ok(())
            }
            _ => json::skip(map),
        }
    }
}

impl<'de> Members<'de> for Audio<'de> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "transcript" => json::take(map, &mut self.transcript, json::text),
            "data" => {
                self.sound = map.next_value::<&'de RawValue>()?.get().len() > r#""""#.len();
                Ok(())
            }
            _ => json::skip(map),
        }
    }
}

impl<'de> Members<'de> for Call<'de> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "index" => json::take(map, &mut self.index, json::count),
            "id" => json::take(map, &mut self.id, json::text),
            "type" => json::take(map, &mut self.kind, |raw| match raw.get() {
                r#""function""# => Some(CallKind::Function),
                r#""custom""# => Some(CallKind::Custom),
                _ => None,
            }),
            "function" => map.next_value_seed(Object(&mut self.function)),
            "custom" => {
                self.kind = Some(CallKind::Custom);
                map.next_value_seed(Object(&mut self.function))
            }
            _ => json::skip(map),
        }
    }
}

impl<'de> Members<'de> for Function<'de> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "name" => json::take(map, &mut self.name, json::text),
            // Some servers send an object where OpenAI sends its text.
            "arguments" | "input" => json::take(map, &mut self.arguments, json::text_or_written),
            _ => json::skip(map),
        }
    }
}

impl<'de> Members<'de> for Usage {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "prompt_tokens" | "input_tokens" => json::take(map, &mut self.prompt, json::count),
            "completion_tokens" | "output_tokens" => {
                json::take(map, &mut self.completion, json::count)
            }
            "total_tokens" => json::take(map, &mut self.total, json::count),
            // DeepSeek's and Anthropic's names, which compatible servers keep.
            "prompt_cache_hit_tokens" | "cache_read_input_tokens" => {
                json::take(map, &mut self.cached, json::count)
            }
            "cache_creation_input_tokens" => json::take(map, &mut self.cache_write, json::count),
            "prompt_tokens_details" | "input_tokens_details" => {
                map.next_value_seed(Object(&mut PromptDetails(self)))
            }
            "completion_tokens_details" | "output_tokens_details" => {
                map.next_value_seed(Object(&mut CompletionDetails(self)))
            }
            _ => json::skip(map),
        }
    }
}

struct PromptDetails<'u>(&'u mut Usage);

impl<'de> Members<'de> for PromptDetails<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "cached_tokens" => json::take(map, &mut self.0.cached, json::count),
            "cache_write_tokens" | "cache_creation_tokens" => {
                json::take(map, &mut self.0.cache_write, json::count)
            }
            "audio_tokens" => json::take(map, &mut self.0.prompt_audio, json::count),
            _ => json::skip(map),
        }
    }
}

struct CompletionDetails<'u>(&'u mut Usage);

impl<'de> Members<'de> for CompletionDetails<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "reasoning_tokens" => json::take(map, &mut self.0.reasoning, json::count),
            "audio_tokens" => json::take(map, &mut self.0.completion_audio, json::count),
            "accepted_prediction_tokens" => {
                json::take(map, &mut self.0.accepted_prediction, json::count)
            }
            "rejected_prediction_tokens" => {
                json::take(map, &mut self.0.rejected_prediction, json::count)
            }
            _ => json::skip(map),
        }
    }
}

impl<'de> Members<'de> for Failure {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let owned = |raw: &'de RawValue| json::text_or_written(raw).map(Cow::into_owned);
        match name {
            "message" => json::take(map, &mut self.message, owned),
            "type" => json::take(map, &mut self.kind, owned),
            "code" => json::take(map, &mut self.code, owned),
            "param" => json::take(map, &mut self.param, owned),
            _ => json::skip(map),
        }
    }
}

/// An `error`: an object, or only its message.
fn failure(raw: &RawValue) -> Option<Failure> {
    let mut failure = Failure::default();
    if raw.get().starts_with('{') {
        json::read(raw.get(), &mut failure).ok()?;
    } else {
        failure.message = Some(json::text_or_written(raw)?.into_owned());
    }
    Some(failure)
}

/// A `content`: a text, or parts of which the texts are taken (Mistral's reasoning models).
fn spoken(raw: &RawValue) -> Option<Cow<'_, str>> {
    if !raw.get().starts_with('[') {
        return json::text(raw);
    }
    let parts: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
    let texts = parts.into_iter().filter_map(|part| {
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

impl<'de> Members<'de> for Spoken<'de> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "text" => json::take(map, &mut self.text, json::text),
            _ => json::skip(map),
        }
    }
}
