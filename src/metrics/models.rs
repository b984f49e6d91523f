//! What is counted by model: calls, tokens, times to the first token.
//!
//! The rule: a name that clients and upstreams make up takes no more than a bounded place. The first [`MOST_MODELS`] models have a label of
//! their own, all others share one. Only the capture thread counts here, once for each chat completion that has ended; no request waits.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::histogram::Histogram;
use super::text::{Exposition, Label};
use crate::openai::Usage;

/// Most models with a label of their own.
pub(super) const MOST_MODELS: usize = 100;
/// Most bytes of a name that becomes a label.
pub(super) const MOST_NAME: usize = 128;
/// The label of all models beyond [`MOST_MODELS`], and of names that are none.
const OTHER: &str = "other";
/// The label of calls of which no model is known.
const UNKNOWN: &str = "unknown";

/// Upper ends of the buckets of `spangate_first_token_seconds`, in nanoseconds. Fewer than of `spangate_first_byte_seconds`, since there are
/// as many for each model.
const FIRST_TOKEN_BUCKETS: [u64; 11] = [
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
    300_000_000_000,
];

/// One chat completion that has ended.
#[derive(Clone, Copy, Debug)]
pub struct ModelCall<'a> {
    /// The model that was asked for, whatever answered, so that failures and successes share a label; none where the request does not say.
    pub model: Option<&'a str>,
    /// How it ended, in the word that its span has for it.
    pub outcome: &'static str,
    /// The tokens it took, as far as the reply says so.
    pub usage: Option<Usage>,
    /// From its beginning to the first part of a streamed reply that says something.
    pub first_token: Option<Duration>,
}

#[derive(Debug, Default)]
pub(super) struct Models {
    counts: BTreeMap<Box<str>, Counts>,
    /// How many of them are models, neither [`OTHER`] nor [`UNKNOWN`].
    named: usize,
}

#[derive(Debug)]
struct Counts {
    outcomes: BTreeMap<&'static str, u64>,
    input: u64,
    output: u64,
    cached: u64,
    reasoning: u64,
    first_token: Histogram<{ FIRST_TOKEN_BUCKETS.len() }>,
}

impl Counts {
    fn new() -> Self {
        Counts {
            outcomes: BTreeMap::new(),
            input: 0,
            output: 0,
            cached: 0,
            reasoning: 0,
            first_token: Histogram::new(FIRST_TOKEN_BUCKETS),
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
                // An upstream may claim any number.
                *sum = sum.saturating_add(tokens.unwrap_or(0));
            }
        }
        if let Some(took) = call.first_token {
            counts.first_token.observe(took);
        }
    }

    fn of(&mut self, model: Option<&str>) -> &mut Counts {
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
        self.counts.entry(label.into()).or_insert_with(Counts::new)
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
        // Families of their own: parts of the above, which a sum over its labels would count twice.
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
        tokens: fn(&Counts) -> u64,
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
