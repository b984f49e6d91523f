//! The stats of one trace: the sum of its spans' summaries, the same in whatever order they are added.

use crate::span::SpanId;
use crate::store::{SpanKind, SpanSummary};

/// Most names of agents, and of models, that are kept of one trace.
const MOST_NAMES: usize = 100;

/// The stats of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceStats {
    /// All spans.
    pub spans: usize,
    /// Spans that failed.
    pub errors: usize,
    /// Chat spans.
    pub model_calls: usize,
    /// Tool spans.
    pub tool_calls: usize,
    /// The earliest start, in nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// The latest end, in nanoseconds since the Unix epoch.
    pub end_ns: u64,
    /// Tokens of all requests; none where no reply has usage.
    pub input_tokens: Option<u64>,
    /// Tokens of all replies; none where no reply has usage.
    pub output_tokens: Option<u64>,
    agents: Names,
    models: Names,
    name: First<Box<str>>,
    entity: First<Option<Box<str>>>,
    pub(super) thread: First<Box<str>>,
    pub(super) customer: First<Box<str>>,
    pub(super) environment: First<Box<str>>,
    pub(super) preview: First<Box<str>>,
}

/// Which span's value counts for the whole trace: a root's, then a team's, then that of the earliest span.
type Rank = (bool, SpanKind, u64, SpanId);

/// The value of the span with the least rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct First<T>(Option<(Rank, T)>);

/// Names, each with the time of its first use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names(Vec<(u64, Box<str>)>);

impl<T> Default for First<T> {
    fn default() -> Self {
        First(None)
    }
}

impl<T> First<T> {
    fn offer(&mut self, rank: Rank, value: impl FnOnce() -> T) {
        if self.0.as_ref().is_none_or(|(first, _)| rank < *first) {
            self.0 = Some((rank, value()));
        }
    }

    fn merge(&mut self, other: &Self)
    where
        T: Clone,
    {
        if let Some((rank, value)) = &other.0 {
            self.offer(*rank, || value.clone());
        }
    }

    fn get(&self) -> Option<&T> {
        Some(&self.0.as_ref()?.1)
    }
}

impl First<Box<str>> {
    pub(super) fn text(&self) -> Option<&str> {
        self.get().map(|text| &**text)
    }
}

impl Names {
    fn add(&mut self, name: &str, at: u64) {
        if let Some(index) = self.0.iter().position(|(_, known)| **known == *name) {
            if self.0[index].0 <= at {
                return;
            }
            self.0.remove(index);
        }
        let index = self
            .0
            .partition_point(|(before, known)| (*before, &**known) < (at, name));
        self.0.insert(index, (at, name.into()));
        self.0.truncate(MOST_NAMES);
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|(_, name)| &**name)
    }
}

impl TraceStats {
    /// Adds a span.
    pub fn add(&mut self, summary: &SpanSummary<'_>) {
        self.start_ns = if self.spans == 0 {
            summary.start
        } else {
            self.start_ns.min(summary.start)
        };
        self.end_ns = self.end_ns.max(summary.end);
        self.spans += 1;
        self.errors += usize::from(summary.failed);
        self.model_calls += usize::from(summary.kind == SpanKind::Chat);
        self.tool_calls += usize::from(summary.kind == SpanKind::Tool);
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
        self.name.offer(rank, || (*summary.name).into());
        let entity = summary.entity.as_deref();
        self.entity.offer(rank, || entity.map(Into::into));
        for (first, text) in [
            (&mut self.thread, &summary.thread),
            (&mut self.customer, &summary.customer),
            (&mut self.environment, &summary.environment),
            (&mut self.preview, &summary.preview),
        ] {
            if let Some(text) = text {
                first.offer(rank, || (**text).into());
            }
        }
    }

    /// Adds the stats of other spans of the same trace.
    pub fn merge(&mut self, other: &TraceStats) {
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

    /// The name of the span with the least rank; empty before the first span.
    pub fn name(&self) -> &str {
        self.name.text().unwrap_or_default()
    }

    /// The entity of the root, else its name without the prefix of its kind.
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

    /// At most 100 agents, in the order in which they first spoke.
    pub fn agents(&self) -> impl ExactSizeIterator<Item = &str> {
        self.agents.iter()
    }

    /// At most 100 models that were requested or answered, in the order of their first call.
    pub fn models(&self) -> impl ExactSizeIterator<Item = &str> {
        self.models.iter()
    }
}

fn add_tokens(sum: &mut Option<u64>, tokens: Option<u64>) {
    if let Some(tokens) = tokens {
        *sum = Some(sum.unwrap_or(0).saturating_add(tokens));
    }
}
