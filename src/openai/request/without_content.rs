//! A request without anything that people, models or tools wrote: what is kept of it where content may not be.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::ChatRequest;

impl ChatRequest<'_> {
    /// The request as a JSON object of its settings, without messages, tools, stops and all else that holds or steers content.
    /// The object of an [`incomplete`](Self::incomplete) request lacks its last brace, so that its reader finds it incomplete, too.
    pub fn without_content(&self) -> String {
        let mut text = serde_json::to_string(&RequestSettings(self)).unwrap_or_default();
        if self.incomplete {
            text.pop();
        }
        text
    }
}

struct RequestSettings<'r>(&'r ChatRequest<'r>);

impl Serialize for RequestSettings<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let request = self.0;
        let max_tokens = request.max_completion_tokens.or(request.max_tokens);
        let mut map = serializer.serialize_map(None)?;
        put(&mut map, "model", request.model.as_deref())?;
        put(&mut map, "stream", request.stream)?;
        put(
            &mut map,
            "stream_options",
            raw(request.stream_options.as_deref()),
        )?;
        put(&mut map, "temperature", request.temperature)?;
        put(&mut map, "top_p", request.top_p)?;
        put(&mut map, "max_completion_tokens", max_tokens)?;
        put(&mut map, "n", request.n)?;
        put(&mut map, "seed", request.seed)?;
        put(&mut map, "presence_penalty", request.presence_penalty)?;
        put(&mut map, "frequency_penalty", request.frequency_penalty)?;
        put(
            &mut map,
            "reasoning_effort",
            request.reasoning_effort.as_deref(),
        )?;
        put(&mut map, "verbosity", request.verbosity.as_deref())?;
        put(&mut map, "parallel_tool_calls", request.parallel_tool_calls)?;
        put(&mut map, "service_tier", request.service_tier.as_deref())?;
        put(&mut map, "user", request.user.as_deref())?;
        put(&mut map, "logprobs", request.logprobs)?;
        put(&mut map, "top_logprobs", request.top_logprobs)?;
        put(&mut map, "store", request.store)?;
        put(
            &mut map,
            "safety_identifier",
            request.safety_identifier.as_deref(),
        )?;
        put(
            &mut map,
            "prompt_cache_key",
            request.prompt_cache_key.as_deref(),
        )?;
        put(&mut map, "modalities", raw(request.modalities.as_deref()))?;
        map.end()
    }
}

fn put<M: SerializeMap>(
    map: &mut M,
    name: &'static str,
    value: Option<impl Serialize>,
) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(name, &value))
}

fn raw(json: Option<&str>) -> Option<&RawValue> {
    serde_json::from_str(json?).ok()
}
