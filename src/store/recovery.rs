//! What a start finds: exchanges that were not finished, told again in the order in which things happened, and what was learned.

use std::collections::HashSet;

use super::codec::{EndedHeader, Location, StartedHeader};
use super::index::ReadError;
use super::log::{Log, OpenExchange};
use super::reader::read_exchange;
use super::{Store, WriteCommand, lock, unix_nanoseconds};
use crate::clock::Moment;
use crate::exchange::{Exchange, ExchangeId};
use crate::runs::{FinishedSpan, PromptHash};
use crate::span::SpanId;

/// What a crash left behind.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    /// What happened, in its order.
    steps: Vec<Step>,
    /// When the earlier process is last known to have lived.
    last: Moment,
    /// Spans that were made before it of what is told again.
    present: HashSet<SpanId>,
}

/// Something that happened before a crash to an exchange.
#[derive(Clone, Copy, Debug)]
struct Step {
    at_ns: u64,
    ends: bool,
    /// At one moment they are told in the order in which they began.
    started_ns: u64,
    id: ExchangeId,
    open: OpenExchange,
}

/// When an exchange began and ended.
struct Times {
    started: Moment,
    first_seq: u64,
    ended_ns: Option<u64>,
}

/// What is told again after a crash.
#[derive(Debug)]
pub enum Recovered {
    /// An exchange began; how it ended is not in this yet.
    Began(Exchange),
    /// An exchange ended.
    Ended(Exchange),
}

impl Store {
    /// Notes what `log` has unfinished. `last` is the last moment that it tells of.
    pub(super) fn look_back(&self, log: &Log, mut last: Moment) {
        let mut steps = Vec::with_capacity(2 * log.open.len());
        let mut first_seq = u64::MAX;
        for (id, open) in &log.open {
            let Ok(times) = self.times(*open) else {
                // Its bytes changed on the disk: nothing will ever be made of it.
                self.finished(vec![*id]);
                continue;
            };
            first_seq = first_seq.min(times.first_seq);
            let seen_ns = times.ended_ns.unwrap_or(times.started.steady_ns);
            if seen_ns > last.steady_ns {
                last = Moment {
                    steady_ns: seen_ns,
                    ..times.started
                };
            }
            // What did not end, ends last.
            let ended_ns = times.ended_ns.unwrap_or(u64::MAX);
            let step = |at_ns, ends| Step {
                at_ns,
                ends,
                started_ns: times.started.steady_ns,
                id: *id,
                open: *open,
            };
            steps.extend([step(times.started.steady_ns, false), step(ended_ns, true)]);
        }
        steps.sort_unstable_by_key(|step| {
            (step.at_ns, step.ends, step.started_ns, step.open.number)
        });
        let index = log.read_index();
        let spans = index.spans().range(first_seq..);
        let present = spans.map(|(_, entry)| entry.span_id).collect();
        self.state_of(|state| state.recovered = steps.len() as u64 / 2);
        let names = index.ledger.learned.iter();
        *lock(&self.agents) = names
            .map(|(prompt, name)| (PromptHash(*prompt), name.clone()))
            .collect();
        *lock(&self.unfinished) = Unfinished {
            steps,
            last,
            present,
        };
    }

    fn times(&self, open: OpenExchange) -> Result<Times, ReadError> {
        let header = |Location(segment, offset)| {
            let reader = self.read_index().reader(segment);
            reader.ok_or(ReadError::Damaged)?.read(offset, false)
        };
        let bytes = header(open.started)?;
        let started: StartedHeader<'_> = bytes.record()?.header()?;
        let ended_ns = match open.ended {
            Some(ended) => {
                let bytes = header(ended)?;
                let ended: EndedHeader<'_> = bytes.record()?.header()?;
                Some(started.started_ns.saturating_add(ended.duration_ns))
            }
            None => None,
        };
        Ok(Times {
            started: Moment {
                steady_ns: started.started_ns,
                wall_offset_ns: started.wall_offset_ns.unwrap_or_default(),
            },
            first_seq: started.first_seq,
            ended_ns,
        })
    }

    /// Names of agents that were learned before the start, by their system messages; none where several have one. They are given once.
    pub fn agent_names(&self) -> Vec<(PromptHash, Option<String>)> {
        std::mem::take(&mut lock(&self.agents))
    }

    /// Remembers names of agents.
    pub fn learned(&self, names: Vec<(PromptHash, Option<String>)>) {
        if !names.is_empty() {
            let names = names.into_iter().map(|(prompt, name)| (prompt.0, name));
            self.commands.send(WriteCommand::Learned(names.collect()));
        }
    }

    /// Tells again what a crash or an end left unfinished, in the order in which it happened, and what did not end last, as recovered. Spans
    /// that had been made of it are not taken in once more. Waits for the disk, so not for the client's path.
    pub fn recover(&self, mut tell: impl FnMut(Recovered)) {
        let (steps, last_seen_ns) = {
            let mut unfinished = lock(&self.unfinished);
            let steps = std::mem::take(&mut unfinished.steps);
            (steps, unfinished.last.steady_ns)
        };
        for Step { ends, id, open, .. } in steps {
            match read_exchange(&self.index, open.started, open.ended, last_seen_ns, true) {
                Ok(exchange) if ends => tell(Recovered::Ended(exchange)),
                Ok(exchange) => tell(Recovered::Began(exchange)),
                // Nothing will ever be made of it.
                Err(_) if ends => self.finished(vec![id]),
                Err(_) => {}
            }
        }
    }

    /// When an earlier process that left something unfinished is last known to have lived.
    pub fn last_moment(&self) -> Option<Moment> {
        let unfinished = lock(&self.unfinished);
        (!unfinished.steps.is_empty()).then_some(unfinished.last)
    }

    /// Whether this span was made before a crash.
    pub(super) fn is_present(&self, made: &FinishedSpan) -> bool {
        let unfinished = lock(&self.unfinished);
        !unfinished.present.is_empty() && unfinished.present.contains(&made.span_id())
    }

    /// The disk does not give what there may be: spans are numbered above anything that shows up later.
    pub(super) fn number_above_files(&self) {
        self.next_seq_at_least(unix_nanoseconds() / 1_000);
    }
}
