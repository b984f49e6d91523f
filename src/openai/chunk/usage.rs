//! Tokens, under every name that compatible servers have for them.

use crate::openai::json::{self, Json, Members, Read};
use crate::openai::reply::Usage;

impl<'a> Members<'a> for Usage {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "prompt_tokens" | "input_tokens" => json.take(&mut self.prompt, json::count),
            "completion_tokens" | "output_tokens" => json.take(&mut self.completion, json::count),
            "total_tokens" => json.take(&mut self.total, json::count),
            // DeepSeek's, Anthropic's and Moonshot's names, which compatible servers keep.
            "prompt_cache_hit_tokens" | "cache_read_input_tokens" | "cached_tokens" => {
                larger(&mut self.cached, json)
            }
            "reasoning_tokens" => larger(&mut self.reasoning, json),
            "cache_creation_input_tokens" => larger(&mut self.cache_write, json),
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

/// The same count may be in two places of a usage, and a server that fills one of them leaves zero in the other.
fn larger(slot: &mut Option<u64>, json: &mut Json<'_>) -> Read {
    let held = *slot;
    json.take(slot, |raw| json::count(raw).max(held))
}

struct PromptDetails<'u>(&'u mut Usage);

impl<'a> Members<'a> for PromptDetails<'_> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "cached_tokens" => larger(&mut self.0.cached, json),
            "cache_write_tokens" | "cache_creation_tokens" => larger(&mut self.0.cache_write, json),
            "audio_tokens" => json.take(&mut self.0.prompt_audio, json::count),
            _ => json.skip(),
        }
    }
}

struct CompletionDetails<'u>(&'u mut Usage);

impl<'a> Members<'a> for CompletionDetails<'_> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "reasoning_tokens" => larger(&mut self.0.reasoning, json),
            "audio_tokens" => json.take(&mut self.0.completion_audio, json::count),
            "accepted_prediction_tokens" => json.take(&mut self.0.accepted_prediction, json::count),
            "rejected_prediction_tokens" => json.take(&mut self.0.rejected_prediction, json::count),
            _ => json.skip(),
        }
    }
}

/// An object around a usage: Groq's streams have `{"x_groq":{"id":…,"usage":{…}}}`.
pub(super) struct Wrapped<'u>(pub(super) &'u mut Usage);

impl<'a> Members<'a> for Wrapped<'_> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "usage" => json.object(self.0),
            _ => json.skip(),
        }
    }
}
