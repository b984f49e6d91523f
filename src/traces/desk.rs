//! Answers the questions about traces, one after the other, on a thread that may wait for the disk: keeps the index current, reads spans.

mod spans;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::facts::Facts;
use super::index::{Index, PageCursor, Trace};
use super::live::Live;
use super::query::{Cursor, Filter, Query};
use super::search::{is_in_facts, is_in_span};
use super::written::{Listed, Page};
use crate::runs::Sketch;
use crate::span::{SpanId, TraceId};
use crate::store::{Position, Reader, Row, Summary, Unavailable};

/// Rows that are read at once: about a millisecond.
const STEP: usize = 512;
/// Traces that are taken from the index at once: what is looked at may change it.
const CANDIDATES: usize = 64;
/// How long one question may search in spans.
const SEARCH: Duration = Duration::from_millis(250);
/// Blocks of one trace that are looked at at once where spans may have gone: a list must not wait for a trace of hundreds of thousands.
const CHECKED_BLOCKS: usize = 2;
/// Traces that changed at once; where there are more, the list is better read anew.
const MOST_CHANGES: usize = 200;

pub use spans::{Form, Item, Outline, around_spans};

/// Who answers.
pub(super) struct Desk {
    reader: Reader,
    live: Arc<Live>,
    index: Index,
    /// Where the rows were when they were looked at last; none before that.
    position: Option<Position>,
    /// Rows up to here were read.
    seen: u64,
    /// Removals that all of the index knows of.
    known_removals: u64,
}

/// From where on changes are wanted.
#[derive(Clone, Debug, Default)]
pub struct Since {
    /// The last number that is known; none knows all that there is.
    pub seq: Option<u64>,
    /// Which state of what goes on is known, likewise.
    pub live: Option<u64>,
    /// Of which file that was.
    pub file: Option<u64>,
    /// What is wanted.
    pub filter: Filter,
    /// Traces that are wanted whatever they are, since they were told before.
    pub told: HashSet<TraceId>,
}

/// What happened.
#[derive(Debug)]
pub struct Changes {
    /// Traces that changed, each with the number up to which everything is told by then, in its order.
    pub traces: Vec<(u64, Listed)>,
    /// There may have been more.
    pub missed: bool,
    /// From where on the next changes are.
    pub seq: u64,
    /// Likewise.
    pub live: u64,
    /// Likewise.
    pub file: u64,
}

/// Whether a text was found in a trace.
enum Search {
    Found,
    NotThere,
    /// Time ran out after so many of its spans.
    Paused(usize),
}

impl Desk {
    /// Knows nothing yet.
    pub(super) fn new(reader: Reader, live: Arc<Live>) -> Self {
        Desk {
            reader,
            live,
            index: Index::default(),
            position: None,
            seen: 0,
            known_removals: 0,
        }
    }

    /// A page of the list.
    pub(super) fn list(&mut self, query: &Query) -> Result<Page, Unavailable> {
        self.list_until(query, Instant::now() + SEARCH)
    }

    /// The same, searching in spans no longer than that.
    fn list_until(&mut self, query: &Query, until: Instant) -> Result<Page, Unavailable> {
        self.refresh()?;
        let mut page = Page {
            traces: Vec::new(),
            next: None,
        };
        let mut cursor = query.cursor.unwrap_or(Cursor {
            place: PageCursor {
                as_of: self.seen,
                below: u64::MAX,
            },
            read: 0,
        });
        if query.cursor.is_none() {
            self.list_begun(query, &mut page);
        }
        let mut searched = false;
        loop {
            let candidates: Vec<(u64, TraceId)> =
                self.index.from(cursor.place).take(CANDIDATES).collect();
            if candidates.is_empty() {
                return Ok(page);
            }
            for (seq, id) in candidates {
                if page.traces.len() >= query.limit {
                    page.next = Some(cursor);
                    return Ok(page);
                }
                self.check(id)?;
                let read = std::mem::take(&mut cursor.read);
                if let Some(listed) = self.listed(id).filter(|listed| listed.is(&query.filter)) {
                    match self.search(query.text.as_deref(), &listed, read, until, &mut searched)? {
                        Search::Found => page.traces.push(listed),
                        Search::NotThere => {}
                        Search::Paused(read) => {
                            page.next = Some(Cursor { read, ..cursor });
                            return Ok(page);
                        }
                    }
                }
                cursor.place.below = seq;
            }
        }
    }

    /// Traces of which nothing is complete yet.
    fn list_begun(&self, query: &Query, page: &mut Page) {
        let begun = self.live.traces().into_iter();
        let begun = begun.filter(|id| self.index.get(*id).is_none());
        page.traces = begun
            .filter_map(|id| self.listed(id))
            .filter(|listed| listed.is(&query.filter))
            .filter(|listed| {
                query.text.as_deref().is_none_or(|wanted| {
                    is_in_facts(wanted, listed.trace_id, &listed.facts)
                        || self
                            .sketches(listed.trace_id)
                            .any(|(sketches, at)| is_in_span(wanted, &sketches[at].span))
                })
            })
            .collect();
        page.traces
            .sort_by_key(|listed| std::cmp::Reverse(listed.facts.end_ns));
        page.traces.truncate(query.limit);
    }

    /// A trace as the list has it, what is not complete of it included.
    fn listed(&self, id: TraceId) -> Option<Listed> {
        let stored = self.index.get(id);
        let live = self.live.of(id);
        if stored.is_none()
            && live
                .as_ref()
                .is_none_or(|runs| runs.iter().all(|run| run.is_empty()))
        {
            return None;
        }
        let mut facts = stored.map_or_else(Facts::default, Trace::facts);
        if live.is_some() {
            for (sketches, at) in self.sketches(id) {
                facts.add(&Summary::of_span(&sketches[at].span));
            }
        }
        Some(Listed {
            trace_id: id,
            facts,
            live: live.is_some(),
        })
    }

    /// What is not complete of a trace, and not written by now.
    fn sketches(&self, id: TraceId) -> impl Iterator<Item = (Arc<[Sketch]>, usize)> {
        let mut found: HashMap<SpanId, (Arc<[Sketch]>, usize)> = HashMap::new();
        for sketches in self.live.of(id).unwrap_or_default() {
            for (at, sketch) in sketches.iter().enumerate() {
                found.insert(sketch.span.span_id, (Arc::clone(&sketches), at));
            }
        }
        if let Some(trace) = self.index.get(id).filter(|_| !found.is_empty()) {
            for entry in trace.entries() {
                found.remove(&entry.span_id);
            }
        }
        found.into_values()
    }

    fn search(
        &mut self,
        text: Option<&str>,
        listed: &Listed,
        read: usize,
        until: Instant,
        searched: &mut bool,
    ) -> Result<Search, Unavailable> {
        let Some(wanted) = text else {
            return Ok(Search::Found);
        };
        let id = listed.trace_id;
        let is_begun = |desk: &Self| {
            let mut sketches = desk.sketches(id);
            sketches.any(|(sketches, at)| is_in_span(wanted, &sketches[at].span))
        };
        if is_in_facts(wanted, id, &listed.facts) || listed.live && is_begun(self) {
            return Ok(Search::Found);
        }
        let entries = self.index.get(id).into_iter().flat_map(Trace::entries);
        for (number, entry) in entries.enumerate().skip(read) {
            // Each question gets on by one span at least.
            if std::mem::replace(searched, true) && Instant::now() >= until {
                return Ok(Search::Paused(number));
            }
            if let Some(made) = self.reader.made(entry.seq, true)?
                && is_in_span(wanted, &made.span())
            {
                return Ok(Search::Found);
            }
        }
        Ok(Search::NotThere)
    }

    /// What happened since.
    pub(super) fn changes(&mut self, since: &Since) -> Result<Changes, Unavailable> {
        self.refresh()?;
        let position = self.position.unwrap_or_default();
        let (begun, live) = self.live.since(since.live.unwrap_or(u64::MAX));
        let mut changes = Changes {
            traces: Vec::new(),
            missed: false,
            seq: self.seen,
            live,
            file: position.file,
        };
        let Some(seq) = since.seq else {
            return Ok(changes);
        };
        let grown: Vec<(u64, TraceId)> = self.index.since(seq).take(MOST_CHANGES + 1).collect();
        let is_other = since.file.is_some_and(|file| file != position.file);
        // What went before it was told is not known.
        let is_gone = position.last > 0 && seq.saturating_add(1) < position.first;
        if is_other || seq > self.seen || is_gone || grown.len() > MOST_CHANGES || begun.is_none() {
            changes.missed = true;
            return Ok(changes);
        }
        let begun = begun.unwrap_or_default().into_iter();
        let others = begun.filter(|id| grown.iter().all(|(_, grown)| grown != id));
        let others: Vec<(u64, TraceId)> = others.map(|id| (self.seen, id)).collect();
        for (seq, id) in grown.into_iter().chain(others) {
            let wanted = |listed: &Listed| since.told.contains(&id) || listed.is(&since.filter);
            if let Some(listed) = self.listed(id).filter(wanted) {
                changes.traces.push((seq, listed));
            }
        }
        Ok(changes)
    }

    /// Brings the index to what is there now. Where nothing can be read, it stays what it was.
    fn refresh(&mut self) -> Result<(), Unavailable> {
        match self.caught_up() {
            Err(_) if self.position.is_some() => Ok(()),
            done => done,
        }
    }

    fn caught_up(&mut self) -> Result<(), Unavailable> {
        let position = self.reader.position()?;
        // Rows may come between the two looks: of none that there were, those that were seen before are gone.
        let first = match position.last {
            0 => self.seen.saturating_add(1),
            _ => position.first,
        };
        match self.position {
            Some(before) if before.file == position.file => loop {
                let rows = self.reader.after(self.seen, STEP)?;
                self.take(&rows, true);
                if rows.len() < STEP {
                    break;
                }
            },
            _ => self.build(position)?,
        }
        for id in self.index.gone_below(first) {
            self.recount(id, 0)?;
        }
        self.position = Some(position);
        Ok(())
    }

    fn build(&mut self, position: Position) -> Result<(), Unavailable> {
        (self.index, self.position) = (Index::default(), None);
        let mut before = position.last.saturating_add(1);
        loop {
            let rows = self.reader.before(before, STEP)?;
            self.take(&rows, false);
            match rows.last() {
                Some(row) => before = row.seq,
                None => break,
            }
        }
        self.seen = position.last;
        self.known_removals = position.removed;
        Ok(())
    }

    fn take(&mut self, rows: &[Row], newer: bool) {
        for row in rows {
            self.index.add(row, newer);
            if newer {
                self.seen = self.seen.max(row.seq);
            }
        }
    }

    /// Looks whether the spans of a trace are still there, where some may have gone: of a long one, some of them each time.
    fn check(&mut self, id: TraceId) -> Result<(), Unavailable> {
        let removed = self.position.unwrap_or_default().removed;
        if removed == self.known_removals {
            return Ok(());
        }
        for _ in 0..CHECKED_BLOCKS {
            let Some(block) = self.index.next_unchecked(id, removed) else {
                break;
            };
            self.recount(id, block)?;
        }
        Ok(())
    }

    fn recount(&mut self, id: TraceId, block: usize) -> Result<(), Unavailable> {
        let rows = self.reader.these(self.index.block(id, block))?;
        self.index.recount(id, block, &rows);
        Ok(())
    }
}

impl Listed {
    fn is(&self, filter: &Filter) -> bool {
        filter.wants(&self.facts, self.live)
    }
}

#[cfg(test)]
mod tests;
