//! A request without anything that people or tools wrote: what may be kept of it where content may not.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::ChatRequest;

#[derive(Serialize)]
struct Bare<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    safety_identifier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modalities: Option<&'a RawValue>,
}

impl ChatRequest<'_> {
    /// The request as JSON, without messages, tools, stops and whatever else holds or steers content. One that was
    /// [`incomplete`](Self::incomplete) stays so.
    pub fn without_content(&self) -> String {
        let bare = Bare {
            model: self.model.as_deref(),
            stream: self.stream,
            stream_options: raw(self.stream_options.as_ref()),
            temperature: self.temperature,
            top_p: self.top_p,
            max_completion_tokens: self.max_completion_tokens.or(self.max_tokens),
            n: self.n,
            seed: self.seed,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            reasoning_effort: self.reasoning_effort.as_deref(),
            verbosity: self.verbosity.as_deref(),
            parallel_tool_calls: self.parallel_tool_calls,
            service_tier: self.service_tier.as_deref(),
            user: self.user.as_deref(),
            logprobs: self.logprobs,
            top_logprobs: self.top_logprobs,
            store: self.store,
            safety_identifier: self.safety_identifier.as_deref(),
            prompt_cache_key: self.prompt_cache_key.as_deref(),
            modalities: raw(self.modalities.as_ref()),
        };
        let mut text = serde_json::to_string(&bare).unwrap_or_default();
        if self.incomplete {
            // Read again, it is found to have no end.
            text.pop();
        }
        text
    }
}

fn raw<'t>(text: Option<&'t Cow<'_, str>>) -> Option<&'t RawValue> {
    serde_json::from_str(text?).ok()
}
