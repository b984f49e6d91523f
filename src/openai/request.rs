//! What was asked: the body of `POST /v1/chat/completions`.
//!
//! The rule: one pass over the body, borrowing from it. Structured values that only travel on (tools, tool calls, content in parts) keep
//! the text they were written with, so they arrive as the client sent them.

mod bare;
mod mark;
mod quoted;
mod skeleton;

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

pub use mark::ContentHash;
pub(super) use mark::SECRETS;
pub use quoted::Quoted;
pub(crate) use skeleton::Skeleton;
pub(super) use skeleton::cut_mark;

use crate::encoding::text_before_damage;

use super::chunk::{thoughts, thoughts_among};
use super::json::{self, Broken, Json, Members, Raw, Read};

/// About how many bytes a message of a long history takes: growing a list of them is felt.
const MESSAGE: usize = 1 << 10;

/// A request for a chat completion. Everything may be missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatRequest<'a> {
    /// The model as it was asked for, `gpt-4o` for example.
    pub model: Option<Cow<'a, str>>,
    /// Whether the reply shall come as a stream.
    pub stream: Option<bool>,
    /// Options of the stream, as JSON.
    pub stream_options: Option<Cow<'a, str>>,
    /// The conversation, in its order; message i of the body is element i.
    pub messages: Vec<Message<'a>>,
    /// The tools on offer, as JSON.
    pub tools: Option<Cow<'a, str>>,
    /// The functions on offer, as JSON: what `tools` were before November 2023.
    pub functions: Option<Cow<'a, str>>,
    /// Which tool to call: a word (`auto`), or JSON that names one. The old `function_call` is taken where this is missing.
    pub tool_choice: Option<Cow<'a, str>>,
    /// The form of the answer, as JSON.
    pub response_format: Option<Cow<'a, str>>,
    /// Sampling temperature, 0 to 2.
    pub temperature: Option<f64>,
    /// Nucleus sampling, 0 to 1.
    pub top_p: Option<f64>,
    /// Most tokens of the answer; superseded by `max_completion_tokens`.
    pub max_tokens: Option<u64>,
    /// Most tokens of the answer, reasoning included.
    pub max_completion_tokens: Option<u64>,
    /// How many choices to make.
    pub n: Option<u64>,
    /// Seed of the sampling.
    pub seed: Option<i64>,
    /// Texts at which to stop.
    pub stop: Vec<Cow<'a, str>>,
    /// -2 to 2.
    pub presence_penalty: Option<f64>,
    /// -2 to 2.
    pub frequency_penalty: Option<f64>,
    /// `minimal`, `low`, `medium`, `high` or another word.
    pub reasoning_effort: Option<Cow<'a, str>>,
    /// `low`, `medium`, `high` or another word.
    pub verbosity: Option<Cow<'a, str>>,
    /// Whether several tools may be called at once.
    pub parallel_tool_calls: Option<bool>,
    /// `auto`, `default`, `flex`, `priority` or another word.
    pub service_tier: Option<Cow<'a, str>>,
    /// The end user, as the client calls him.
    pub user: Option<Cow<'a, str>>,
    /// Whether log probabilities are wanted.
    pub logprobs: Option<bool>,
    /// How many alternatives for each token.
    pub top_logprobs: Option<u64>,
    /// Whether OpenAI shall store the completion.
    pub store: Option<bool>,
    /// Metadata of the stored completion, as JSON.
    pub metadata: Option<Cow<'a, str>>,
    /// The end user for abuse detection, hashed by the client: what takes the place of `user`.
    pub safety_identifier: Option<Cow<'a, str>>,
    /// What requests that shall share a cached prompt have in common.
    pub prompt_cache_key: Option<Cow<'a, str>>,
    /// Kinds of output that are wanted (`text`, `audio`), as JSON.
    pub modalities: Option<Cow<'a, str>>,
    /// Voice and format of a spoken answer, as JSON.
    pub audio: Option<Cow<'a, str>>,
    /// What the answer is expected to be, as JSON.
    pub prediction: Option<Cow<'a, str>>,
    /// How the web may be searched, as JSON.
    pub web_search_options: Option<Cow<'a, str>>,
    /// How input and output are to be moderated, as JSON.
    pub moderation: Option<Cow<'a, str>>,
    /// The body ended or went bad before its object did: what is here is what came before that.
    pub incomplete: bool,
}

/// One message of the conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message<'a> {
    /// `system`, `developer`, `user`, `assistant`, `tool` or another word.
    pub role: Option<Cow<'a, str>>,
    /// What it says; none when the member is missing or null.
    pub content: Option<Content<'a>>,
    /// Who says it, where several share a role.
    pub name: Option<Cow<'a, str>>,
    /// The tool calls of an assistant, as JSON.
    pub tool_calls: Option<Cow<'a, str>>,
    /// The call that a tool's message answers.
    pub tool_call_id: Option<Cow<'a, str>>,
    /// What an assistant said instead of an answer.
    pub refusal: Option<Cow<'a, str>>,
    /// The call of an assistant before there were tools, as JSON.
    pub function_call: Option<Cow<'a, str>>,
    /// What an assistant thought before it said this, where a member of its own has it.
    pub own_reasoning: Option<Box<Cow<'a, str>>>,
}

impl Message<'_> {
    /// What an assistant thought before it said this, also where it is among the parts of the content.
    pub fn reasoning(&self) -> Option<Cow<'_, str>> {
        match (&self.own_reasoning, &self.content) {
            (Some(own), _) => Some(Cow::Borrowed(&***own)),
            (None, Some(Content::Json(parts))) if self.role.as_deref() == Some("assistant") => {
                thoughts_among(parts).map(Cow::Owned)
            }
            (None, _) => None,
        }
    }
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// Plain text.
    Text(Quoted<'a>),
    /// Parts (text, images, audio, files), as JSON.
    Json(Cow<'a, str>),
}

impl Content<'_> {
    fn lasting(&self) -> Option<(&str, ContentHash)> {
        match self {
            Content::Text(text) => Some((text.written(), text.mark()?)),
            Content::Json(json) => marked(json),
        }
    }
}

fn marked(json: &str) -> Option<(&str, ContentHash)> {
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
    /// A body that was cut, or has a byte in it that is no UTF-8 (and so is no JSON: RFC 8259, section 8.1), gives what came before, whole
    /// messages only, and is marked [`incomplete`](Self::incomplete).
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

    /// Long texts that the next request of the same conversation is likely to have again, as they were written.
    pub fn lasting(&self) -> impl Iterator<Item = (&str, ContentHash)> {
        let said = self.messages.iter().flat_map(|message| {
            let content = message.content.as_ref().and_then(Content::lasting);
            [content, message.tool_calls.as_deref().and_then(marked)]
        });
        let offered = [&self.tools, &self.functions, &self.response_format];
        let offered = offered.map(|json| json.as_deref().and_then(marked));
        said.chain(offered).flatten()
    }

    /// Bytes that it takes beside the body that it borrows from.
    pub fn weight(&self) -> usize {
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
        let thoughts = self.messages.iter();
        let thoughts = thoughts.filter_map(|message| message.own_reasoning.as_deref());
        let boxes = thoughts.clone().count() * size_of::<Cow<'_, str>>();
        let texts = texts.into_iter().chain(of_messages).flatten();
        let read: usize = texts
            .chain(&self.stop)
            .chain(thoughts)
            .map(|text| match text {
                Cow::Owned(read) => read.capacity(),
                Cow::Borrowed(_) => 0,
            })
            .sum();
        read + boxes
            + self.messages.capacity() * size_of::<Message<'_>>()
            + self.stop.capacity() * size_of::<Cow<'_, str>>()
    }
}

impl<'a> Members<'a> for ChatRequest<'a> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "model" => json.take(&mut self.model, json::text),
            "stream" => json.take(&mut self.stream, json::flag),
            "stream_options" => json.take(&mut self.stream_options, json::written),
            "messages" => {
                self.messages.reserve_exact(1 + json.left() / MESSAGE);
                json.array(&mut self.messages, Broken::Dropped)
            }
            "tools" => json.take(&mut self.tools, json::written),
            "functions" => json.take(&mut self.functions, json::written),
            "tool_choice" => json.take(&mut self.tool_choice, json::text_or_written),
            "function_call" if self.tool_choice.is_none() => {
                json.take(&mut self.tool_choice, json::text_or_written)
            }
            "response_format" => json.take(&mut self.response_format, json::written),
            "temperature" => json.take(&mut self.temperature, json::number),
            "top_p" => json.take(&mut self.top_p, json::number),
            "max_tokens" => json.take(&mut self.max_tokens, json::count),
            "max_completion_tokens" => json.take(&mut self.max_completion_tokens, json::count),
            "n" => json.take(&mut self.n, json::count),
            "seed" => json.take(&mut self.seed, json::whole),
            "stop" => {
                self.stop = stops(json.value()?);
                Ok(())
            }
            "presence_penalty" => json.take(&mut self.presence_penalty, json::number),
            "frequency_penalty" => json.take(&mut self.frequency_penalty, json::number),
            "reasoning_effort" => json.take(&mut self.reasoning_effort, json::text),
            "verbosity" => json.take(&mut self.verbosity, json::text),
            "parallel_tool_calls" => json.take(&mut self.parallel_tool_calls, json::flag),
            "service_tier" => json.take(&mut self.service_tier, json::text),
            "user" => json.take(&mut self.user, json::text),
            "logprobs" => json.take(&mut self.logprobs, json::flag),
            "top_logprobs" => json.take(&mut self.top_logprobs, json::count),
            "store" => json.take(&mut self.store, json::flag),
            "metadata" => json.take(&mut self.metadata, json::written),
            "safety_identifier" => json.take(&mut self.safety_identifier, json::text),
            "prompt_cache_key" => json.take(&mut self.prompt_cache_key, json::text),
            "modalities" => json.take(&mut self.modalities, json::written),
            "audio" => json.take(&mut self.audio, json::written),
            "prediction" => json.take(&mut self.prediction, json::written),
            "web_search_options" => json.take(&mut self.web_search_options, json::written),
            "moderation" => json.take(&mut self.moderation, json::written),
            _ => json.skip(),
        }
    }
}

impl<'a> Members<'a> for Message<'a> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "role" => json.take(&mut self.role, json::text),
            "content" => json.take(&mut self.content, content),
            "name" => json.take(&mut self.name, json::text),
            "tool_calls" => json.take(&mut self.tool_calls, json::written),
            "tool_call_id" => json.take(&mut self.tool_call_id, json::text),
            "refusal" => json.take(&mut self.refusal, json::text),
            "function_call" => json.take(&mut self.function_call, json::written),
            "reasoning_content" | "reasoning" | "reasoning_text" | "reasoning_details"
            | "thinking" | "thinking_blocks" | "thoughts"
                if self.own_reasoning.is_none() =>
            {
                json.take(&mut self.own_reasoning, |raw| {
                    let said = thoughts(raw).filter(|thoughts| !thoughts.is_empty());
                    said.map(Box::new)
                })
            }
            _ => json.skip(),
        }
    }
}

fn content(raw: Raw<'_>) -> Option<Content<'_>> {
    Quoted::of(raw)
        .map(Content::Text)
        .or_else(|| json::written(raw).map(Content::Json))
}

/// One text or a list of them.
fn stops(raw: Raw<'_>) -> Vec<Cow<'_, str>> {
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
