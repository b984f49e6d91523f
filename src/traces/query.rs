//! What is asked of the list: which traces, how many, and from where on.

use std::fmt;
use std::str::FromStr;

use super::facts::Facts;
use super::index::PageCursor;

/// Traces of a page, unless it says otherwise, and at most.
pub const LIMIT: usize = 50;
/// Most traces of a page.
pub const MOST: usize = 500;

/// What a list is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Which traces.
    pub filter: Filter,
    /// A text that is somewhere in them, in lower case.
    pub text: Option<String>,
    /// How many, 1 to [`MOST`].
    pub limit: usize,
    /// From where on; none from the latest.
    pub cursor: Option<Cursor>,
}

/// Which traces are wanted: those for which all of this holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this conversation.
    pub thread: Option<String>,
    /// Of this customer.
    pub customer: Option<String>,
    /// In which this agent spoke.
    pub agent: Option<String>,
    /// In which this model was asked or answered.
    pub model: Option<String>,
    /// That stand so.
    pub status: Option<Status>,
}

/// How a trace stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// All went well so far.
    Ok,
    /// Something did not.
    Error,
    /// It goes on.
    Live,
}

/// Where a list goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The last of what was there, and below what it goes on.
    pub place: PageCursor,
    /// So many spans of the trace at the next place were read in vain.
    pub read: usize,
}

impl Default for Query {
    fn default() -> Self {
        Query {
            filter: Filter::default(),
            text: None,
            limit: LIMIT,
            cursor: None,
        }
    }
}

impl Filter {
    /// Whether this trace is wanted.
    pub fn wants(&self, facts: &Facts, live: bool) -> bool {
        let is = |wanted: &Option<String>, told: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| told == Some(wanted))
        };
        is(&self.thread, facts.thread())
            && is(&self.customer, facts.customer())
            && (self.agent.as_deref()).is_none_or(|wanted| facts.agents().any(|one| one == wanted))
            && (self.model.as_deref()).is_none_or(|wanted| facts.models().any(|one| one == wanted))
            && match self.status {
                None => true,
                Some(Status::Ok) => facts.errors == 0,
                Some(Status::Error) => facts.errors > 0,
                Some(Status::Live) => live,
            }
    }
}

impl FromStr for Status {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "ok" => Ok(Status::Ok),
            "error" => Ok(Status::Error),
            "live" => Ok(Status::Live),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PageCursor { as_of, below } = self.place;
        write!(formatter, "{as_of:x}.{below:x}.{:x}", self.read)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut numbers = text.split('.').map(|part| u64::from_str_radix(part, 16));
        let mut next = || numbers.next().ok_or(())?.map_err(|_| ());
        let place = PageCursor {
            as_of: next()?,
            below: next()?,
        };
        let read = usize::try_from(next()?).map_err(|_| ())?;
        match next() {
            Ok(_) => Err(()),
            Err(()) => Ok(Cursor { place, read }),
        }
    }
}
