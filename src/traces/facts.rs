//! What a list says of one trace: the sum of its spans' summaries. In whatever order they are added, the sum is the same.

use crate::span::SpanId;
use crate::store::{Kind, Summary};

/// Names of agents, or of models, that are kept of one trace.
const MOST_NAMES: usize = 100;

/// What is known of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Spans.
    pub spans: usize,
    /// Spans that did not go well.
    pub errors: usize,
    /// Calls of the model.
    pub model_calls: usize,
    /// Executions of tools.
    pub tool_calls: usize,
    /// When the first span began, in nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// When the last one ended.
    pub end_ns: u64,
    /// Tokens of all requests; none where no reply said.
    pub input_tokens: Option<u64>,
    /// Tokens of all answers, likewise.
    pub output_tokens: Option<u64>,
    agents: Names,
    models: Names,
    name: First<Box<str>>,
    entity: First<Option<Box<str>>>,
    thread: First<Box<str>>,
    customer: First<Box<str>>,
    environment: First<Box<str>>,
    preview: First<Box<str>>,
}

/// Where a span stands among those that could say something for all of the trace: a root before others, a team before its agents, then the
/// one that began first.
type Rank = (bool, Kind, u64, SpanId);

/// What the span of the least rank said.
#[derive(Clone, Debug, PartialEq, Eq)]
struct First<T>(Option<(Rank, T)>);

/// Names, each with when it was first used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names(Vec<(u64, Box<str>)>);

impl<T> Default for First<T> {
    fn default() -> Self {
        First(None)
    }
}

impl<T> First<T> {
    fn say(&mut self, rank: Rank, what: impl FnOnce() -> T) {
        if self.0.as_ref().is_none_or(|(first, _)| rank < *first) {
            self.0 = Some((rank, what()));
        }
    }

    fn merge(&mut self, other: &Self)
    where
        T: Clone,
    {
        if let Some((rank, what)) = &other.0 {
            self.say(*rank, || what.clone());
        }
    }

    fn get(&self) -> Option<&T> {
        Some(&self.0.as_ref()?.1)
    }
}

impl Names {
    fn add(&mut self, name: &str, at: u64) {
        if let Some(place) = self.0.iter().position(|(_, known)| **known == *name) {
            if self.0[place].0 <= at {
                return;
            }
            self.0.remove(place);
        }
        let place = self
            .0
            .partition_point(|(before, known)| (*before, &**known) < (at, name));
        self.0.insert(place, (at, name.into()));
        self.0.truncate(MOST_NAMES);
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|(_, name)| &**name)
    }
}

impl Facts {
    /// Adds a span.
    pub fn add(&mut self, summary: &Summary<'_>) {
        self.start_ns = if self.spans == 0 {
            summary.start
        } else {
            self.start_ns.min(summary.start)
        };
        self.end_ns = self.end_ns.max(summary.end);
        self.spans += 1;
        self.errors += usize::from(summary.failed);
        self.model_calls += usize::from(summary.kind == Kind::Chat);
        self.tool_calls += usize::from(summary.kind == Kind::Tool);
        add_tokens(&mut self.input_tokens, summary.input);
        add_tokens(&mut self.output_tokens, summary.output);
        if let Some(agent) = &summary.agent {
            self.agents.add(agent, summary.start);
        }
        for model in [&summary.asked, &summary.answered].into_iter().flatten() {
            self.models.add(model, summary.start);
        }
        let rank = (
            summary.parent.is_some(),
            summary.kind,
            summary.start,
            summary.span,
        );
        self.name.say(rank, || (*summary.name).into());
        let entity = summary.entity.as_deref();
        self.entity.say(rank, || entity.map(Into::into));
        for (first, text) in [
            (&mut self.thread, &summary.thread),
            (&mut self.customer, &summary.customer),
            (&mut self.environment, &summary.environment),
            (&mut self.preview, &summary.preview),
        ] {
            if let Some(text) = text {
                first.say(rank, || (**text).into());
            }
        }
    }

    /// Adds what other spans of the same trace amount to.
    pub fn merge(&mut self, other: &Facts) {
        self.start_ns = match (self.spans, other.spans) {
            (0, _) => other.start_ns,
            (_, 0) => self.start_ns,
            _ => self.start_ns.min(other.start_ns),
        };
        self.end_ns = self.end_ns.max(other.end_ns);
        self.spans += other.spans;
        self.errors += other.errors;
        self.model_calls += other.model_calls;
        self.tool_calls += other.tool_calls;
        add_tokens(&mut self.input_tokens, other.input_tokens);
        add_tokens(&mut self.output_tokens, other.output_tokens);
        for (names, others) in [
            (&mut self.agents, &other.agents),
            (&mut self.models, &other.models),
        ] {
            for (at, name) in &others.0 {
                names.add(name, *at);
            }
        }
        self.name.merge(&other.name);
        self.entity.merge(&other.entity);
        self.thread.merge(&other.thread);
        self.customer.merge(&other.customer);
        self.environment.merge(&other.environment);
        self.preview.merge(&other.preview);
    }

    /// The name of the root, or the best that is known.
    pub fn name(&self) -> &str {
        self.name.get().map_or("", |name| name)
    }

    /// What the root is, for people.
    pub fn title(&self) -> &str {
        let entity = self.entity.get().and_then(Option::as_deref);
        entity.unwrap_or_else(|| {
            let name = self.name();
            ["llm.", "agent.", "tool."]
                .iter()
                .find_map(|prefix| name.strip_prefix(prefix))
                .unwrap_or(name)
        })
    }

    /// The conversation.
    pub fn thread(&self) -> Option<&str> {
        self.thread.get().map(|text| &**text)
    }

    /// The customer.
    pub fn customer(&self) -> Option<&str> {
        self.customer.get().map(|text| &**text)
    }

    /// The environment.
    pub fn environment(&self) -> Option<&str> {
        self.environment.get().map(|text| &**text)
    }

    /// How its task begins.
    pub fn preview(&self) -> Option<&str> {
        self.preview.get().map(|text| &**text)
    }

    /// Its agents, in the order in which they first spoke.
    pub fn agents(&self) -> impl ExactSizeIterator<Item = &str> {
        self.agents.iter()
    }

    /// Models that were asked for or answered, likewise.
    pub fn models(&self) -> impl ExactSizeIterator<Item = &str> {
        self.models.iter()
    }
}

fn add_tokens(sum: &mut Option<u64>, tokens: Option<u64>) {
    if let Some(tokens) = tokens {
        *sum = Some(sum.unwrap_or(0).saturating_add(tokens));
    }
}
