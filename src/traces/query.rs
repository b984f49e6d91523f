//! A query of the list: which traces, how many, and from where on. Cursors are opaque texts for clients.

use std::fmt;
use std::str::FromStr;

use super::index::PageCursor;
use super::stats::TraceStats;

/// Traces of a page by default.
pub(crate) const LIMIT: usize = 50;
/// Most traces of a page.
pub(crate) const MOST: usize = 500;

/// A query of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceQuery {
    /// Which traces.
    pub filter: TraceFilter,
    /// A text to search for, in lower case.
    pub text: Option<String>,
    /// Traces of the page, 1 to [`MOST`].
    pub limit: usize,
    /// Where the page begins; none for the latest trace.
    pub cursor: Option<ListCursor>,
}

/// Conditions on a trace, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceFilter {
    /// The thread's identifier.
    pub thread: Option<String>,
    /// The customer's identifier.
    pub customer: Option<String>,
    /// An agent that spoke in the trace.
    pub agent: Option<String>,
    /// A model that was requested or answered.
    pub model: Option<String>,
    /// The status of the whole trace.
    pub status: Option<TraceStatus>,
}

/// The status of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceStatus {
    /// No span has failed.
    Ok,
    /// A span has failed.
    Error,
    /// A run of the trace is open.
    Live,
}

/// Where a page of the list begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListCursor {
    /// The place in the index.
    pub page: PageCursor,
    /// Spans of the next trace that a search has read in vain.
    pub searched_spans: usize,
}

impl Default for TraceQuery {
    fn default() -> Self {
        TraceQuery {
            filter: TraceFilter::default(),
            text: None,
            limit: LIMIT,
            cursor: None,
        }
    }
}

impl TraceFilter {
    /// Whether a trace meets all conditions.
    pub fn fits(&self, stats: &TraceStats, live: bool) -> bool {
        let is = |wanted: &Option<String>, actual: Option<&str>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| actual == Some(wanted))
        };
        is(&self.thread, stats.thread.text())
            && is(&self.customer, stats.customer.text())
            && (self.agent.as_deref()).is_none_or(|wanted| stats.agents().any(|one| one == wanted))
            && (self.model.as_deref()).is_none_or(|wanted| stats.models().any(|one| one == wanted))
            && match self.status {
                None => true,
                Some(TraceStatus::Ok) => stats.errors == 0,
                Some(TraceStatus::Error) => stats.errors > 0,
                Some(TraceStatus::Live) => live,
            }
    }
}

impl FromStr for TraceStatus {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "ok" => Ok(TraceStatus::Ok),
            "error" => Ok(TraceStatus::Error),
            "live" => Ok(TraceStatus::Live),
            _ => Err(()),
        }
    }
}

impl fmt::Display for ListCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PageCursor { as_of, below } = self.page;
        write!(formatter, "{as_of:x}.{below:x}.{:x}", self.searched_spans)
    }
}

impl FromStr for ListCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut numbers = text.split('.').map(|part| u64::from_str_radix(part, 16));
        let mut next = || numbers.next().ok_or(())?.map_err(|_| ());
        let page = PageCursor {
            as_of: next()?,
            below: next()?,
        };
        let searched_spans = usize::try_from(next()?).map_err(|_| ())?;
        match next() {
            Ok(_) => Err(()),
            Err(()) => Ok(ListCursor {
                page,
                searched_spans,
            }),
        }
    }
}
