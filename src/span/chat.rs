//! One call of the model as attributes: what was asked, what came back.
//!
//! The rule: a fact that is not known has no attribute. Nothing here says who asked, when, or how the exchange ended; those are the caller's.
//! With `content` false, as `capture.content = "metadata"` asks, no text of a prompt, an answer, a tool or an error leaves.

use std::borrow::Cow;
use std::fmt::Display;

use super::{Key, Value, key};
use crate::openai::{ChatReply, ChatRequest, Choice, Content, Message, Usage};

/// What every chat span has, also when neither request nor reply could be read. `system` is the provider.
pub fn kind_attributes(system: &str, out: &mut Vec<(Key, Value)>) {
    put(out, key::LOG_TYPE, Some("chat"));
    put(out, key::REQUEST_TYPE, Some("chat"));
    put(out, key::SYSTEM, Some(system));
}

/// What was asked.
pub fn request_attributes(request: &ChatRequest<'_>, content: bool, out: &mut Vec<(Key, Value)>) {
    put(out, key::REQUEST_MODEL, request.model.as_deref());
    // Without the member OpenAI does not stream; of a body that was cut nobody knows.
    put(
        out,
        key::IS_STREAMING,
        request.stream.or((!request.incomplete).then_some(false)),
    );
    put(out, key::TEMPERATURE, request.temperature);
    put(out, key::TOP_P, request.top_p);
    put(
        out,
        key::MAX_TOKENS,
        request.max_completion_tokens.or(request.max_tokens),
    );
    put(out, key::CHOICE_COUNT, request.n);
    put(out, key::SEED, request.seed);
    put(out, key::PRESENCE_PENALTY, request.presence_penalty);
    put(out, key::FREQUENCY_PENALTY, request.frequency_penalty);
    put(
        out,
        key::REASONING_EFFORT,
        request.reasoning_effort.as_deref(),
    );
    put(out, key::VERBOSITY, request.verbosity.as_deref());
    put(out, key::PARALLEL_TOOL_CALLS, request.parallel_tool_calls);
    put(out, key::LOGPROBS, request.logprobs);
    put(out, key::TOP_LOGPROBS, request.top_logprobs);
    put(out, key::STORE, request.store);
    put(
        out,
        key::REQUEST_SERVICE_TIER,
        request.service_tier.as_deref(),
    );
    for (name, text) in [
        (key::USER, &request.user),
        (key::SAFETY_IDENTIFIER, &request.safety_identifier),
        (key::PROMPT_CACHE_KEY, &request.prompt_cache_key),
        (key::STREAM_OPTIONS, &request.stream_options),
        (key::MODALITIES, &request.modalities),
    ] {
        put(out, name, text.as_deref());
    }
    if !content {
        return;
    }
    for (name, text) in [
        (key::TOOL_CHOICE, &request.tool_choice),
        (key::RESPONSE_FORMAT, &request.response_format),
        (key::REQUEST_METADATA, &request.metadata),
        (key::AUDIO, &request.audio),
        (key::PREDICTION, &request.prediction),
        (key::WEB_SEARCH_OPTIONS, &request.web_search_options),
        (key::MODERATION, &request.moderation),
    ] {
        put(out, name, text.as_deref());
    }
    if !request.stop.is_empty() {
        let stop = request
            .stop
            .iter()
            .map(|text| text.clone().into_owned())
            .collect();
        out.push((key::STOP_SEQUENCES.into(), Value::Texts(stop)));
    }
    put(
        out,
        key::FUNCTIONS,
        request.tools.as_deref().or(request.functions.as_deref()),
    );
    for (number, message) in request.messages.iter().enumerate() {
        message_attributes(number, message, out);
    }
}

fn message_attributes(number: usize, message: &Message<'_>, out: &mut Vec<(Key, Value)>) {
    let mut put = |member, text| put(out, numbered("gen_ai.prompt", number, member), text);
    put("role", message.role.as_deref());
    put("content", content_text(message));
    put("name", message.name.as_deref());
    put("tool_calls", message.tool_calls.as_deref());
    put("tool_call_id", message.tool_call_id.as_deref());
    put("function_call", message.function_call.as_deref());
    put("refusal", message.refusal.as_deref());
}

/// Plain text as it is, parts as JSON. An assistant that only calls tools says "", as Respan's SDK writes it.
fn content_text<'m>(message: &'m Message<'_>) -> Option<&'m str> {
    match &message.content {
        Some(Content::Text(text) | Content::Json(text)) => Some(text),
        None => (message.tool_calls.is_some() || message.function_call.is_some()).then_some(""),
    }
}

/// What came back.
///
/// An error that the reply itself tells is here, too (`error.*`); whether the exchange failed is for the caller to say.
pub fn reply_attributes(reply: &ChatReply, content: bool, out: &mut Vec<(Key, Value)>) {
    put(out, key::RESPONSE_MODEL, reply.model.as_deref());
    put(out, key::RESPONSE_ID, reply.id.as_deref());
    put(
        out,
        key::RESPONSE_SERVICE_TIER,
        reply.service_tier.as_deref(),
    );
    put(
        out,
        key::SYSTEM_FINGERPRINT,
        reply.system_fingerprint.as_deref(),
    );
    if let Some(usage) = &reply.usage {
        usage_attributes(usage, out);
    }
    let reasons: Vec<String> = reply
        .choices
        .iter()
        .filter_map(|choice| choice.finish_reason.clone())
        .collect();
    if !reasons.is_empty() {
        out.push((key::FINISH_REASONS.into(), Value::Texts(reasons)));
    }
    if content {
        for (number, choice) in reply.choices.iter().enumerate() {
            choice_attributes(number, choice, out);
        }
    }
    if let Some(error) = &reply.error {
        put(out, key::ERROR_TYPE, error.kind.as_deref());
        put(out, key::ERROR_CODE, error.code.as_deref());
        // Moderation and validation quote what was sent.
        put(
            out,
            key::ERROR_MESSAGE,
            error.message.as_deref().filter(|_| content),
        );
    }
}

fn usage_attributes(usage: &Usage, out: &mut Vec<(Key, Value)>) {
    let total = usage
        .total
        .or_else(|| usage.prompt?.checked_add(usage.completion?));
    for (name, tokens) in [
        (key::PROMPT_TOKENS, usage.prompt),
        (key::INPUT_TOKENS, usage.prompt),
        (key::COMPLETION_TOKENS, usage.completion),
        (key::OUTPUT_TOKENS, usage.completion),
        (key::TOTAL_TOKENS, total),
        (key::GEN_AI_TOTAL_TOKENS, total),
        (key::CACHE_READ_TOKENS, usage.cached),
        (key::GEN_AI_CACHE_READ_TOKENS, usage.cached),
        (key::CACHE_CREATION_TOKENS, usage.cache_write),
        (key::REASONING_TOKENS, usage.reasoning),
        (key::AUDIO_INPUT_TOKENS, usage.prompt_audio),
        (key::AUDIO_OUTPUT_TOKENS, usage.completion_audio),
        (key::ACCEPTED_PREDICTION_TOKENS, usage.accepted_prediction),
        (key::REJECTED_PREDICTION_TOKENS, usage.rejected_prediction),
    ] {
        put(out, name, tokens);
    }
}

fn choice_attributes(number: usize, choice: &Choice, out: &mut Vec<(Key, Value)>) {
    let mut put = |member, text| put(out, numbered("gen_ai.completion", number, member), text);
    let calls = choice.tool_calls_json();
    let function_call = choice
        .function_call
        .as_ref()
        .and_then(|call| serde_json::to_string(call).ok());
    put("role", choice.role.as_deref());
    put("content", spoken(choice));
    put("refusal", choice.refusal.as_deref());
    put("reasoning", choice.reasoning.as_deref());
    put("tool_calls", calls.as_deref());
    put("function_call", function_call.as_deref());
    put("finish_reason", choice.finish_reason.as_deref());
}

/// The answer: its text, else what was spoken, else "" where there are only calls.
fn spoken(choice: &Choice) -> Option<&str> {
    let calls = !choice.tool_calls.is_empty() || choice.function_call.is_some();
    choice
        .content
        .as_deref()
        .or(choice.audio_transcript.as_deref())
        .or(calls.then_some(""))
}

/// The conversation as one JSON array of messages, for [`key::ENTITY_INPUT`]: the form of respan-instrumentation-openai 1.3.0.
pub fn entity_input(request: &ChatRequest<'_>) -> String {
    let mut json = String::from("[");
    for (number, message) in request.messages.iter().enumerate() {
        if number > 0 {
            json.push(',');
        }
        let mut object = Object::open(&mut json);
        match &message.content {
            Some(Content::Json(parts)) => object.json("content", Some(parts)),
            _ => object.text("content", content_text(message)),
        }
        object.text("role", message.role.as_deref());
        object.text("name", message.name.as_deref());
        object.json("tool_calls", message.tool_calls.as_deref());
        object.text("tool_call_id", message.tool_call_id.as_deref());
        object.json("function_call", message.function_call.as_deref());
        object.text("refusal", message.refusal.as_deref());
        object.close();
    }
    json.push(']');
    json
}

/// The assistant's message as one JSON object, or an array of them where there are several choices, for [`key::ENTITY_OUTPUT`]; none where
/// there are no choices.
pub fn entity_output(reply: &ChatReply) -> Option<String> {
    let mut json = String::new();
    let several = reply.choices.len() > 1;
    for choice in &reply.choices {
        json.push(if json.is_empty() { '[' } else { ',' });
        let mut object = Object::open(&mut json);
        object.text("content", spoken(choice));
        object.text("role", choice.role.as_deref());
        object.text("refusal", choice.refusal.as_deref());
        object.text("reasoning", choice.reasoning.as_deref());
        object.json("tool_calls", choice.tool_calls_json().as_deref());
        let function_call = choice
            .function_call
            .as_ref()
            .and_then(|call| serde_json::to_string(call).ok());
        object.json("function_call", function_call.as_deref());
        object.text("finish_reason", choice.finish_reason.as_deref());
        object.close();
    }
    match (json.is_empty(), several) {
        (true, _) => None,
        (false, true) => Some(json + "]"),
        (false, false) => Some(json.split_off(1)),
    }
}

/// A JSON object under way. serde would have to read again what is JSON already.
struct Object<'j> {
    json: &'j mut String,
    before: char,
}

impl<'j> Object<'j> {
    fn open(json: &'j mut String) -> Self {
        Self { json, before: '{' }
    }

    /// Adds a member whose value is JSON.
    fn json(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.json.push(std::mem::replace(&mut self.before, ','));
            self.json.extend(["\"", name, "\":", value]);
        }
    }

    fn text(&mut self, name: &str, value: Option<&str>) {
        let quoted = value.and_then(|text| serde_json::to_string(text).ok());
        self.json(name, quoted.as_deref());
    }

    fn close(self) {
        if self.before == '{' {
            self.json.push('{');
        }
        self.json.push('}');
    }
}

/// `gen_ai.prompt.3.role`
fn numbered(list: &str, number: impl Display, member: &str) -> Key {
    Cow::Owned(format!("{list}.{number}.{member}"))
}

fn put(out: &mut Vec<(Key, Value)>, name: impl Into<Key>, value: Option<impl Into<Known>>) {
    if let Some(value) = value {
        out.push((name.into(), value.into().0));
    }
}

/// A value that is known, from what it is kept as.
struct Known(Value);

impl From<&str> for Known {
    fn from(text: &str) -> Self {
        Self(Value::Text(text.to_owned()))
    }
}

impl From<bool> for Known {
    fn from(flag: bool) -> Self {
        Self(Value::Bool(flag))
    }
}

impl From<f64> for Known {
    fn from(number: f64) -> Self {
        Self(Value::Double(number))
    }
}

impl From<i64> for Known {
    fn from(number: i64) -> Self {
        Self(Value::Int(number))
    }
}

impl From<u64> for Known {
    /// OTLP's integers are signed; no count of tokens comes near the end of them.
    fn from(count: u64) -> Self {
        Self(Value::Int(i64::try_from(count).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests;
