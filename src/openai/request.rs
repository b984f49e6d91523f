//! A chat request: the body of `POST /v1/chat/completions`, read in one pass and borrowed from.
//!
//! Structured values that are only passed on (tools, tool calls, content in parts) stay JSON as it was written: Respan gets them as the client
//! sent them.

mod json_string;
mod truncate;
mod without_content;

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

pub(crate) use json_string::JsonString;
pub(crate) use truncate::JsonTruncator;

use crate::encoding::text_before_damage;

use super::ContentHash;
use super::chunk::{reasoning_in_parts, reasoning_text};
use super::json::{self, BrokenElement, JsonObject, JsonReader, JsonResult, RawJson};

/// Typical length of a message in bytes, to reserve memory for a long history at once.
const TYPICAL_MESSAGE: usize = 1 << 10;

/// A request for a chat completion. Every member may be missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatRequest<'a> {
    /// The model, `gpt-4o` for example.
    pub model: Option<Cow<'a, str>>,
    /// Whether the reply comes as a stream.
    pub stream: Option<bool>,
    /// Options of the stream, as JSON.
    pub stream_options: Option<Cow<'a, str>>,
    /// The conversation: element i is message i of the body.
    pub messages: Vec<Message<'a>>,
    /// The tools that the model may call, as JSON.
    pub tools: Option<Cow<'a, str>>,
    /// The functions that the model may call, as JSON: `tools` before November 2023.
    pub functions: Option<Cow<'a, str>>,
    /// The tool to call: a word (`auto`), or JSON that names one. The older `function_call` counts where this is missing.
    pub tool_choice: Option<Cow<'a, str>>,
    /// The format of the answer, as JSON.
    pub response_format: Option<Cow<'a, str>>,
    /// Sampling temperature, 0 to 2.
    pub temperature: Option<f64>,
    /// Nucleus sampling, 0 to 1.
    pub top_p: Option<f64>,
    /// Limit of the answer in tokens, the predecessor of `max_completion_tokens`.
    pub max_tokens: Option<u64>,
    /// Limit of the answer in tokens, reasoning included.
    pub max_completion_tokens: Option<u64>,
    /// Number of choices.
    pub n: Option<u64>,
    /// Seed of the sampling.
    pub seed: Option<i64>,
    /// Texts at which to stop.
    pub stop: Vec<Cow<'a, str>>,
    /// Penalty for tokens that occurred, -2 to 2.
    pub presence_penalty: Option<f64>,
    /// Penalty for tokens by how often they occurred, -2 to 2.
    pub frequency_penalty: Option<f64>,
    /// `minimal`, `low`, `medium`, `high` or another word.
    pub reasoning_effort: Option<Cow<'a, str>>,
    /// `low`, `medium`, `high` or another word.
    pub verbosity: Option<Cow<'a, str>>,
    /// Whether several tools may be called at once.
    pub parallel_tool_calls: Option<bool>,
    /// `auto`, `default`, `flex`, `priority` or another word.
    pub service_tier: Option<Cow<'a, str>>,
    /// The client's identifier of the end user.
    pub user: Option<Cow<'a, str>>,
    /// Whether the reply has log probabilities.
    pub logprobs: Option<bool>,
    /// Number of alternatives for each token, with log probabilities.
    pub top_logprobs: Option<u64>,
    /// Whether OpenAI stores the completion.
    pub store: Option<bool>,
    /// Metadata of the stored completion, as JSON.
    pub metadata: Option<Cow<'a, str>>,
    /// The end user for abuse detection, hashed by the client: the successor of `user`.
    pub safety_identifier: Option<Cow<'a, str>>,
    /// A key that requests with the same cached prompt share.
    pub prompt_cache_key: Option<Cow<'a, str>>,
    /// Kinds of output (`text`, `audio`), as JSON.
    pub modalities: Option<Cow<'a, str>>,
    /// Voice and format of a spoken answer, as JSON.
    pub audio: Option<Cow<'a, str>>,
    /// The expected answer, as JSON.
    pub prediction: Option<Cow<'a, str>>,
    /// Settings of the web search, as JSON.
    pub web_search_options: Option<Cow<'a, str>>,
    /// Settings of the moderation of input and output, as JSON.
    pub moderation: Option<Cow<'a, str>>,
    /// The body ended or was damaged within its object: the members before that place are here.
    pub incomplete: bool,
}

/// One message of the conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message<'a> {
    /// `system`, `developer`, `user`, `assistant`, `tool` or another word.
    pub role: Option<Cow<'a, str>>,
    /// Its content; none where the member is missing or null.
    pub content: Option<Content<'a>>,
    /// The speaker, where several share a role.
    pub name: Option<Cow<'a, str>>,
    /// An assistant's tool calls, as JSON.
    pub tool_calls: Option<Cow<'a, str>>,
    /// The id of the call that a tool's message answers.
    pub tool_call_id: Option<Cow<'a, str>>,
    /// An assistant's refusal to answer.
    pub refusal: Option<Cow<'a, str>>,
    /// An assistant's function call, as JSON: the predecessor of `tool_calls`.
    pub function_call: Option<Cow<'a, str>>,
    /// An assistant's reasoning, where a member of its own has it.
    pub own_reasoning: Option<Box<Cow<'a, str>>>,
}

impl Message<'_> {
    /// An assistant's reasoning, also where it is among the parts of the content.
    pub fn reasoning(&self) -> Option<Cow<'_, str>> {
        match (&self.own_reasoning, &self.content) {
            (Some(own), _) => Some(Cow::Borrowed(&***own)),
            (None, Some(Content::Json(parts))) if self.role.as_deref() == Some("assistant") => {
                reasoning_in_parts(parts).map(Cow::Owned)
            }
            (None, _) => None,
        }
    }
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// Plain text.
    Text(JsonString<'a>),
    /// Parts (text, images, audio, files), as JSON.
    Json(Cow<'a, str>),
}

impl Content<'_> {
    fn hashed(&self) -> Option<(&str, ContentHash)> {
        match self {
            Content::Text(text) => Some((text.written(), text.content_hash()?)),
            Content::Json(json) => hashed(json),
        }
    }
}

fn hashed(json: &str) -> Option<(&str, ContentHash)> {
    Some((json, ContentHash::of(json)?))
}

/// The body of a request is not the beginning of a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnObject;

impl fmt::Display for NotAnObject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the body is not a JSON object")
    }
}

impl Error for NotAnObject {}

impl<'a> ChatRequest<'a> {
    /// Reads a body, or as much as there is of one.
    ///
    /// Of a body that was cut, the members and the whole messages before the cut are read, and the request is
    /// [`incomplete`](Self::incomplete). A byte that is not UTF-8, and so not JSON (RFC 8259, section 8.1), counts as a cut.
    ///
    /// # Errors
    ///
    /// [`NotAnObject`] when the body does not begin with `{`.
    pub fn parse(body: &'a [u8]) -> Result<Self, NotAnObject> {
        let (text, all) = text_before_damage(body);
        let text = text.trim_start_matches('\u{FEFF}').trim_start();
        if !text.starts_with('{') {
            return Err(NotAnObject);
        }
        let mut request = Self::default();
        let read = json::read(text, &mut request);
        request.incomplete = read.is_err() || !all;
        Ok(request)
    }

    /// The long texts that the next request of the same conversation is likely to repeat, as they were written.
    pub fn reusable_texts(&self) -> impl Iterator<Item = (&str, ContentHash)> {
        let messages = self.messages.iter().flat_map(|message| {
            let content = message.content.as_ref().and_then(Content::hashed);
            [content, message.tool_calls.as_deref().and_then(hashed)]
        });
        let settings = [&self.tools, &self.functions, &self.response_format];
        let settings = settings.map(|json| json.as_deref().and_then(hashed));
        messages.chain(settings).flatten()
    }

    /// Its memory in bytes, without the body that it borrows from.
    pub fn size_estimate(&self) -> usize {
        let texts = [
            &self.model,
            &self.tool_choice,
            &self.reasoning_effort,
            &self.verbosity,
            &self.service_tier,
            &self.user,
            &self.safety_identifier,
            &self.prompt_cache_key,
        ];
        let messages = self.messages.iter();
        let of_messages = messages.flat_map(|message| {
            [
                &message.role,
                &message.name,
                &message.tool_call_id,
                &message.refusal,
            ]
        });
        let reasoning = self.messages.iter();
        let reasoning = reasoning.filter_map(|message| message.own_reasoning.as_deref());
        let boxes = reasoning.clone().count() * size_of::<Cow<'_, str>>();
        let texts = texts.into_iter().chain(of_messages).flatten();
        let owned: usize = texts
            .chain(&self.stop)
            .chain(reasoning)
            .map(|text| match text {
                Cow::Owned(text) => text.capacity(),
                Cow::Borrowed(_) => 0,
            })
            .sum();
        owned
            + boxes
            + self.messages.capacity() * size_of::<Message<'_>>()
            + self.stop.capacity() * size_of::<Cow<'_, str>>()
    }
}

impl<'a> JsonObject<'a> for ChatRequest<'a> {
    fn read_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult {
        match name {
            "model" => json.set(&mut self.model, json::text),
            "stream" => json.set(&mut self.stream, json::boolean),
            "stream_options" => json.set(&mut self.stream_options, json::written),
            "messages" => {
                self.messages
                    .reserve_exact(1 + json.remaining() / TYPICAL_MESSAGE);
                json.array(&mut self.messages, BrokenElement::Dropped)
            }
            "tools" => json.set(&mut self.tools, json::written),
            "functions" => json.set(&mut self.functions, json::written),
            "tool_choice" => json.set(&mut self.tool_choice, json::text_or_written),
            "function_call" if self.tool_choice.is_none() => {
                json.set(&mut self.tool_choice, json::text_or_written)
            }
            "response_format" => json.set(&mut self.response_format, json::written),
            "temperature" => json.set(&mut self.temperature, json::number),
            "top_p" => json.set(&mut self.top_p, json::number),
            "max_tokens" => json.set(&mut self.max_tokens, json::count),
            "max_completion_tokens" => json.set(&mut self.max_completion_tokens, json::count),
            "n" => json.set(&mut self.n, json::count),
            "seed" => json.set(&mut self.seed, json::integer),
            "stop" => {
                self.stop = stop_texts(json.value()?);
                Ok(())
            }
            "presence_penalty" => json.set(&mut self.presence_penalty, json::number),
            "frequency_penalty" => json.set(&mut self.frequency_penalty, json::number),
            "reasoning_effort" => json.set(&mut self.reasoning_effort, json::text),
            "verbosity" => json.set(&mut self.verbosity, json::text),
            "parallel_tool_calls" => json.set(&mut self.parallel_tool_calls, json::boolean),
            "service_tier" => json.set(&mut self.service_tier, json::text),
            "user" => json.set(&mut self.user, json::text),
            "logprobs" => json.set(&mut self.logprobs, json::boolean),
            "top_logprobs" => json.set(&mut self.top_logprobs, json::count),
            "store" => json.set(&mut self.store, json::boolean),
            "metadata" => json.set(&mut self.metadata, json::written),
            "safety_identifier" => json.set(&mut self.safety_identifier, json::text),
            "prompt_cache_key" => json.set(&mut self.prompt_cache_key, json::text),
            "modalities" => json.set(&mut self.modalities, json::written),
            "audio" => json.set(&mut self.audio, json::written),
            "prediction" => json.set(&mut self.prediction, json::written),
            "web_search_options" => json.set(&mut self.web_search_options, json::written),
            "moderation" => json.set(&mut self.moderation, json::written),
            _ => json.skip(),
        }
    }
}

impl<'a> JsonObject<'a> for Message<'a> {
    fn read_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult {
        match name {
            "role" => json.set(&mut self.role, json::text),
            "content" => json.set(&mut self.content, content),
            "name" => json.set(&mut self.name, json::text),
            "tool_calls" => json.set(&mut self.tool_calls, json::written),
            "tool_call_id" => json.set(&mut self.tool_call_id, json::text),
            "refusal" => json.set(&mut self.refusal, json::text),
            "function_call" => json.set(&mut self.function_call, json::written),
            "reasoning_content" | "reasoning" | "reasoning_text" | "reasoning_details"
            | "thinking" | "thinking_blocks" | "thoughts"
                if self.own_reasoning.is_none() =>
            {
                json.set(&mut self.own_reasoning, |raw| {
                    let text = reasoning_text(raw).filter(|text| !text.is_empty());
                    text.map(Box::new)
                })
            }
            _ => json.skip(),
        }
    }
}

fn content(raw: RawJson<'_>) -> Option<Content<'_>> {
    JsonString::of(raw)
        .map(Content::Text)
        .or_else(|| json::written(raw).map(Content::Json))
}

/// One text or a list of texts.
fn stop_texts(raw: RawJson<'_>) -> Vec<Cow<'_, str>> {
    match json::text(raw) {
        Some(text) => vec![text],
        None => json::elements(raw.get())
            .into_iter()
            .filter_map(json::text)
            .collect(),
    }
}

#[cfg(test)]
mod tests;
