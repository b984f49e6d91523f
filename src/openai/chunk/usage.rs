//! Token counts under the names of each server.

use crate::openai::json::{self, JsonObject, JsonReader, JsonResult};
use crate::openai::reply::Usage;

impl<'a> JsonObject<'a> for Usage {
    fn read_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult {
        match name {
            "prompt_tokens" | "input_tokens" => json.set(&mut self.prompt, json::count),
            "completion_tokens" | "output_tokens" => json.set(&mut self.completion, json::count),
            "total_tokens" => json.set(&mut self.total, json::count),
            // The names of DeepSeek, Anthropic and Moonshot.
            "prompt_cache_hit_tokens" | "cache_read_input_tokens" | "cached_tokens" => {
                set_larger(&mut self.cached, json)
            }
            "reasoning_tokens" => set_larger(&mut self.reasoning, json),
            "cache_creation_input_tokens" => set_larger(&mut self.cache_write, json),
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

/// Sets a count that may be in two places of a usage. A server that fills one of them leaves zero in the other.
fn set_larger(slot: &mut Option<u64>, json: &mut JsonReader<'_>) -> JsonResult {
    let held = *slot;
    json.set(slot, |raw| json::count(raw).max(held))
}

struct PromptDetails<'u>(&'u mut Usage);

impl<'a> JsonObject<'a> for PromptDetails<'_> {
    fn read_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult {
        match name {
            "cached_tokens" => set_larger(&mut self.0.cached, json),
            "cache_write_tokens" | "cache_creation_tokens" => {
                set_larger(&mut self.0.cache_write, json)
            }
            "audio_tokens" => json.set(&mut self.0.prompt_audio, json::count),
            _ => json.skip(),
        }
    }
}

struct CompletionDetails<'u>(&'u mut Usage);

impl<'a> JsonObject<'a> for CompletionDetails<'_> {
    fn read_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult {
        match name {
            "reasoning_tokens" => set_larger(&mut self.0.reasoning, json),
            "audio_tokens" => json.set(&mut self.0.completion_audio, json::count),
            "accepted_prediction_tokens" => json.set(&mut self.0.accepted_prediction, json::count),
            "rejected_prediction_tokens" => json.set(&mut self.0.rejected_prediction, json::count),
            _ => json.skip(),
        }
    }
}

/// An object around a usage: Groq's streams have `{"x_groq":{"id":…,"usage":{…}}}`.
pub(super) struct UsageEnvelope<'u>(pub(super) &'u mut Usage);

impl<'a> JsonObject<'a> for UsageEnvelope<'_> {
    fn read_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult {
        match name {
            "usage" => json.object(self.0),
            _ => json.skip(),
        }
    }
}
