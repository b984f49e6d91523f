//! ModelCounts by model: calls, tokens, times to the first token.
//!
//! The rule: names that clients and upstreams make up take bounded memory. The first [`MOST_MODELS`] models have their own label, all others
//! share one. A capture worker counts here, once for each chat completion that ended; no request waits.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::histogram::Histogram;
use super::text::{Exposition, Label};
use crate::openai::Usage;

/// Most models with their own label.
pub(super) const MOST_MODELS: usize = 100;
/// Most bytes of a name that is used as a label.
pub(super) const MOST_NAME: usize = 128;
/// The label of models beyond [`MOST_MODELS`], and of names that are empty or too long.
const OTHER: &str = "other";
/// The label of calls without a known model.
const UNKNOWN: &str = "unknown";

/// Upper ends of the buckets of `spangate_first_token_seconds`, in milliseconds: few, since each model has them.
const FIRST_TOKEN_MS: [u64; 11] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000,
];

/// A chat completion that ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModelCall<'a> {
    /// The requested model, whichever answered, so that failures and successes share a label. None where the request has none.
    pub model: Option<&'a str>,
    /// The outcome in the word of its span.
    pub outcome: &'static str,
    /// None where the reply has none.
    pub usage: Option<Usage>,
    /// The time from the request to the first token of a streamed reply.
    pub first_token: Option<Duration>,
}

#[derive(Debug, Default)]
pub(super) struct Models {
    counts: BTreeMap<Box<str>, ModelCounts>,
    /// The number of labels beside [`OTHER`] and [`UNKNOWN`].
    named: usize,
}

#[derive(Debug)]
struct ModelCounts {
    outcomes: BTreeMap<&'static str, u64>,
    input: u64,
    output: u64,
    cached: u64,
    reasoning: u64,
    first_token: Histogram<{ FIRST_TOKEN_MS.len() }>,
}

impl ModelCounts {
    fn new() -> Self {
        ModelCounts {
            outcomes: BTreeMap::new(),
            input: 0,
            output: 0,
            cached: 0,
            reasoning: 0,
            first_token: Histogram::new(FIRST_TOKEN_MS.map(Duration::from_millis)),
        }
    }
}

impl Models {
    pub(super) fn count(&mut self, call: &ModelCall<'_>) {
        let counts = self.of(call.model);
        *counts.outcomes.entry(call.outcome).or_default() += 1;
        if let Some(usage) = call.usage {
            for (sum, tokens) in [
                (&mut counts.input, usage.prompt),
                (&mut counts.output, usage.completion),
                (&mut counts.cached, usage.cached),
                (&mut counts.reasoning, usage.reasoning),
            ] {
                // An upstream may report any number.
                *sum = sum.saturating_add(tokens.unwrap_or(0));
            }
        }
        if let Some(took) = call.first_token {
            counts.first_token.observe(took);
        }
    }

    fn of(&mut self, model: Option<&str>) -> &mut ModelCounts {
        let label = match model {
            None | Some(UNKNOWN) => UNKNOWN,
            Some(name) if name.is_empty() || name.len() > MOST_NAME || name == OTHER => OTHER,
            Some(name) if self.counts.contains_key(name) => name,
            Some(name) if self.named < MOST_MODELS => {
                self.named += 1;
                name
            }
            Some(_) => OTHER,
        };
        self.counts
            .entry(label.into())
            .or_insert_with(ModelCounts::new)
    }

    pub(super) fn render(&self, text: &mut Exposition) {
        let name = "spangate_model_requests_total";
        let help = "Chat completions that ended, by model and by how they ended.";
        text.family(name, "counter", help);
        for (model, counts) in &self.counts {
            for (outcome, count) in &counts.outcomes {
                let labels = format_args!("{},outcome=\"{outcome}\"", labelled(model));
                text.labelled(name, labels, count);
            }
        }
        let name = "spangate_tokens_total";
        let help = "Tokens that replies say they took, by model; input holds cached ones, output holds reasoning.";
        text.family(name, "counter", help);
        for (model, counts) in &self.counts {
            for (direction, tokens) in [("input", counts.input), ("output", counts.output)] {
                let labels = format_args!("{},direction=\"{direction}\"", labelled(model));
                text.labelled(name, labels, tokens);
            }
        }
        // Not in the family above: these tokens are among its tokens, and a sum over its labels would count them twice.
        self.render_tokens(
            text,
            "spangate_cached_tokens_total",
            "Input tokens that were read from a cache, by model.",
            |counts| counts.cached,
        );
        self.render_tokens(
            text,
            "spangate_reasoning_tokens_total",
            "Output tokens that were reasoning, by model.",
            |counts| counts.reasoning,
        );
        let name = "spangate_first_token_seconds";
        let help = "Time from a request's arrival to the first part of its streamed reply that says something, by model.";
        text.family(name, "histogram", help);
        for (model, counts) in &self.counts {
            counts
                .first_token
                .samples(text, name, format_args!("{},", labelled(model)));
        }
    }

    fn render_tokens(
        &self,
        text: &mut Exposition,
        name: &str,
        help: &str,
        tokens: fn(&ModelCounts) -> u64,
    ) {
        text.family(name, "counter", help);
        for (model, counts) in &self.counts {
            text.labelled(name, format_args!("{}", labelled(model)), tokens(counts));
        }
    }
}

/// `model="…"`
fn labelled(model: &str) -> impl fmt::Display {
    Label {
        name: "model",
        value: model,
    }
}
