//! Attributes of a model call, from its request and its reply.
//!
//! The rule: an unknown fact has no attribute. Identity, times and outcome are the caller's.
//! With `content` false (`capture.content = "metadata"`), no text of a prompt, an answer, a tool or an error is emitted.

use std::borrow::Cow;

use super::json::{JsonWriter, ObjectWriter};
use super::{AttributeEncoder, AttributeName, ValueRef, key};
use crate::openai::{ChatReply, ChatRequest, Choice, Content, Message, Usage};

/// Attributes of every chat span, also where neither request nor reply could be read. `system` is the provider.
pub fn kind_attributes(system: &str, out: &mut impl AttributeEncoder) {
    put(out, key::LOG_TYPE, Some("chat"));
    put(out, key::REQUEST_TYPE, Some("chat"));
    put(out, key::SYSTEM, Some(system));
}

/// Attributes of the request. `streaming` is none where it is not known.
pub fn request_attributes(
    request: &ChatRequest<'_>,
    streaming: Option<bool>,
    content: bool,
    out: &mut impl AttributeEncoder,
) {
    put(out, key::REQUEST_MODEL, request.model.as_deref());
    put(out, key::IS_STREAMING, streaming);
    put(out, key::TEMPERATURE, request.temperature);
    put(out, key::TOP_P, request.top_p);
    let max_tokens = request.max_completion_tokens.or(request.max_tokens);
    put(out, key::MAX_TOKENS, max_tokens);
    put(out, key::CHOICE_COUNT, request.n);
    put(out, key::SEED, request.seed);
    put(out, key::PRESENCE_PENALTY, request.presence_penalty);
    put(out, key::FREQUENCY_PENALTY, request.frequency_penalty);
    let reasoning_effort = request.reasoning_effort.as_deref();
    put(out, key::REASONING_EFFORT, reasoning_effort);
    put(out, key::VERBOSITY, request.verbosity.as_deref());
    put(out, key::PARALLEL_TOOL_CALLS, request.parallel_tool_calls);
    put(out, key::LOGPROBS, request.logprobs);
    put(out, key::TOP_LOGPROBS, request.top_logprobs);
    put(out, key::STORE, request.store);
    for (name, text) in [
        (key::REQUEST_SERVICE_TIER, &request.service_tier),
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
        let stop: Vec<&str> = request.stop.iter().map(AsRef::as_ref).collect();
        put(out, key::STOP_SEQUENCES, Some(&*stop));
    }
    let tools = request.tools.as_deref().or(request.functions.as_deref());
    put(out, key::FUNCTIONS, tools);
    for (number, message) in request.messages.iter().enumerate() {
        message_attributes(number, message, out);
    }
}

fn message_attributes(number: usize, message: &Message<'_>, out: &mut impl AttributeEncoder) {
    let name = |member| AttributeName::Numbered("gen_ai.prompt", number, member);
    put(out, name("role"), message.role.as_deref());
    match &message.content {
        Some(Content::Text(text)) => put(out, name("content"), Some(*text)),
        Some(Content::Json(parts)) => put(out, name("content"), Some(&**parts)),
        None => put(out, name("content"), content_of_tool_calls(message)),
    }
    put(out, name("name"), message.name.as_deref());
    put(out, name("tool_calls"), message.tool_calls.as_deref());
    put(out, name("tool_call_id"), message.tool_call_id.as_deref());
    put(out, name("function_call"), message.function_call.as_deref());
    put(out, name("refusal"), message.refusal.as_deref());
    put(out, name("reasoning"), message.reasoning().as_deref());
}

/// The content of a message that only calls tools: empty, as Respan's SDK writes it.
fn content_of_tool_calls(message: &Message<'_>) -> Option<&'static str> {
    (message.tool_calls.is_some() || message.function_call.is_some()).then_some("")
}

/// Attributes of the reply, an error in it included (`error.*`). The caller decides whether the exchange failed.
pub fn reply_attributes(reply: &ChatReply, content: bool, out: &mut impl AttributeEncoder) {
    for (name, text) in [
        (key::RESPONSE_MODEL, &reply.model),
        (key::RESPONSE_ID, &reply.id),
        (key::RESPONSE_SERVICE_TIER, &reply.service_tier),
        (key::SYSTEM_FINGERPRINT, &reply.system_fingerprint),
    ] {
        put(out, name, text.as_deref());
    }
    if let Some(usage) = &reply.usage {
        usage_attributes(usage, out);
    }
    let reasons: Vec<&str> = reply
        .choices
        .iter()
        .filter_map(|choice| choice.finish_reason.as_deref())
        .collect();
    if !reasons.is_empty() {
        put(out, key::FINISH_REASONS, Some(&*reasons));
    }
    if content {
        for (number, choice) in reply.choices.iter().enumerate() {
            choice_attributes(number, choice, out);
        }
    }
    if let Some(error) = &reply.error {
        put(out, key::ERROR_TYPE, error.kind.as_deref());
        put(out, key::ERROR_CODE, error.code.as_deref());
        // Messages of moderation and validation quote the prompt.
        let message = error.message.as_deref().filter(|_| content);
        put(out, key::ERROR_MESSAGE, message);
    }
}

fn usage_attributes(usage: &Usage, out: &mut impl AttributeEncoder) {
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

fn choice_attributes(number: usize, choice: &Choice, out: &mut impl AttributeEncoder) {
    let (calls, function_call) = calls(choice);
    let (content, annotations) = (answer_text(choice), choice.annotations_json());
    let mut put = |member, text| {
        put(
            out,
            AttributeName::Numbered("gen_ai.completion", number, member),
            text,
        );
    };
    put("role", Some(role(choice)));
    put("content", content.as_deref());
    put("refusal", choice.refusal.as_deref());
    put("reasoning", choice.reasoning.as_deref());
    put("annotations", annotations.as_deref());
    put("citations", choice.citations.as_deref());
    put("tool_calls", calls.as_deref());
    put("function_call", function_call.as_deref());
    put("finish_reason", choice.finish_reason.as_deref());
}

/// Tool calls and function call of a choice, as JSON.
fn calls(choice: &Choice) -> (Option<String>, Option<String>) {
    let function_call = choice.function_call.as_ref();
    (
        choice.tool_calls_json(),
        function_call.and_then(|call| serde_json::to_string(call).ok()),
    )
}

/// The author of a choice. Many servers leave the role out of a stream.
fn role(choice: &Choice) -> &str {
    choice.role.as_deref().unwrap_or("assistant")
}

/// The text of a choice, else the transcript of its audio, else "" where it only calls tools. Media follow, one a line.
fn answer_text(choice: &Choice) -> Option<Cow<'_, str>> {
    let calls = !choice.tool_calls.is_empty() || choice.function_call.is_some();
    let text = choice.content.as_deref();
    let text = match &choice.audio_transcript {
        Some(transcript) if text.is_none_or(str::is_empty) => Some(&**transcript),
        _ => text.or(calls.then_some("")),
    };
    if choice.media.is_empty() {
        return text.map(Cow::Borrowed);
    }
    let text = text.filter(|text| !text.is_empty()).into_iter();
    let lines: Vec<&str> = text
        .chain(choice.media.iter().map(String::as_str))
        .collect();
    Some(Cow::Owned(lines.join("\n")))
}

/// All messages of the request as one JSON array, in the format of respan-instrumentation-openai 1.3.0.
pub fn entity_input(request: &ChatRequest<'_>, out: &mut impl AttributeEncoder) {
    out.json(AttributeName::Fixed(key::ENTITY_INPUT), |json| {
        json.list(&request.messages, |json, message| {
            json.object(|members| message_members(message, members));
        });
    });
}

fn message_members(message: &Message<'_>, members: &mut ObjectWriter<'_, '_>) {
    match &message.content {
        Some(Content::Text(text)) => members.quoted("content", *text),
        Some(Content::Json(parts)) => members.raw("content", Some(parts)),
        None => members.text("content", content_of_tool_calls(message)),
    }
    members.text("role", message.role.as_deref());
    members.text("name", message.name.as_deref());
    members.raw("tool_calls", message.tool_calls.as_deref());
    members.text("tool_call_id", message.tool_call_id.as_deref());
    members.raw("function_call", message.function_call.as_deref());
    members.text("refusal", message.refusal.as_deref());
    members.text("reasoning", message.reasoning().as_deref());
}

/// The reply's message as one JSON object; an array for several choices, nothing for none.
pub fn entity_output(reply: &ChatReply, out: &mut impl AttributeEncoder) {
    let choice = |json: &mut JsonWriter<'_>, choice: &Choice| {
        json.object(|members| choice_members(choice, members));
    };
    let name = AttributeName::Fixed(key::ENTITY_OUTPUT);
    match &*reply.choices {
        [] => {}
        [only] => out.json(name, |json| choice(json, only)),
        several => out.json(name, |json| json.list(several, choice)),
    }
}

fn choice_members(choice: &Choice, members: &mut ObjectWriter<'_, '_>) {
    let (calls, function_call) = calls(choice);
    members.text("content", answer_text(choice).as_deref());
    members.text("role", Some(role(choice)));
    members.text("refusal", choice.refusal.as_deref());
    members.text("reasoning", choice.reasoning.as_deref());
    members.raw("annotations", choice.annotations_json().as_deref());
    members.raw("citations", choice.citations.as_deref());
    members.raw("tool_calls", calls.as_deref());
    members.raw("function_call", function_call.as_deref());
    members.text("finish_reason", choice.finish_reason.as_deref());
}

fn put<'n, 'v>(
    out: &mut impl AttributeEncoder,
    name: impl Into<AttributeName<'n>>,
    value: Option<impl Into<ValueRef<'v>>>,
) {
    if let Some(value) = value {
        out.put(name.into(), value.into());
    }
}

#[cfg(test)]
mod tests;
