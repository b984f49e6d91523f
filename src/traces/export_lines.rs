//! All traces of a store as lines of JSON, the oldest first. Of the store the numbers of its spans are held, of the trace that is being written
//! also who is whose parent; the spans themselves are read and written one by one.

use std::collections::HashMap;
use std::io::{self, Write};
use std::ops::Range;

use super::head::{AFTER_SPANS, before_spans, trace_head};
use super::json::{SpanView, TraceSummary};
use super::query::TraceFilter;
use super::span_order::{self, SpanNode, SpanQuery};
use super::stats::TraceStats;
use crate::span::TraceId;
use crate::store::{SpanReader, SpanRow, SpanSummary, Unavailable};

/// Rows that are held at once.
const STEP: usize = 512;

/// Why not all traces were written.
#[derive(Debug)]
pub(crate) enum WriteLinesError {
    /// The store cannot be read.
    Store(Unavailable),
    /// The output takes nothing.
    Output(io::Error),
}

impl From<Unavailable> for WriteLinesError {
    fn from(why: Unavailable) -> Self {
        WriteLinesError::Store(why)
    }
}

impl From<io::Error> for WriteLinesError {
    fn from(error: io::Error) -> Self {
        WriteLinesError::Output(error)
    }
}

/// The spans of one trace.
struct StoredTrace {
    trace_id: TraceId,
    /// When it began, in nanoseconds since the Unix epoch.
    start_ns: u64,
    /// Their numbers, in order.
    seqs: Vec<u64>,
}

/// Writes each trace that began within `began` (nanoseconds since the Unix epoch) and passes `filter` as a line: what the admin API gives for
/// it, with all spans and their content.
///
/// # Errors
/// The store cannot be read, or `output` not be written. What is written by then may end within a line.
pub(crate) fn write_lines(
    reader: &SpanReader,
    began: &Range<u64>,
    filter: &TraceFilter,
    output: &mut impl Write,
) -> Result<(), WriteLinesError> {
    let mut traces = traces(reader)?;
    traces.retain(|trace| began.contains(&trace.start_ns));
    traces.sort_unstable_by_key(|trace| (trace.start_ns, trace.trace_id));
    for trace in &traces {
        write_line(reader, trace, filter, output)?;
    }
    Ok(output.flush()?)
}

fn traces(reader: &SpanReader) -> Result<Vec<StoredTrace>, Unavailable> {
    let mut traces: HashMap<TraceId, StoredTrace> = HashMap::new();
    each_row(reader, &reader.numbers(), |row, summary| {
        let trace = traces.entry(row.trace_id).or_insert(StoredTrace {
            trace_id: row.trace_id,
            start_ns: summary.start,
            seqs: Vec::new(),
        });
        trace.start_ns = trace.start_ns.min(summary.start);
        trace.seqs.push(row.seq);
    })?;
    Ok(traces.into_values().collect())
}

/// Those of these spans that are there and read.
fn each_row(
    reader: &SpanReader,
    seqs: &[u64],
    mut each: impl FnMut(&SpanRow, &SpanSummary<'_>),
) -> Result<(), Unavailable> {
    for seqs in seqs.chunks(STEP) {
        for row in reader.these(seqs)? {
            if let Some(summary) = SpanSummary::read(&row.summary) {
                each(&row, &summary);
            }
        }
    }
    Ok(())
}

fn write_line(
    reader: &SpanReader,
    trace: &StoredTrace,
    filter: &TraceFilter,
    output: &mut impl Write,
) -> Result<(), WriteLinesError> {
    let mut trace_summary = TraceSummary {
        trace_id: trace.trace_id,
        stats: TraceStats::default(),
        live: false,
    };
    let mut nodes = Vec::with_capacity(trace.seqs.len());
    each_row(reader, &trace.seqs, |row, summary| {
        trace_summary.stats.add(summary);
        nodes.push(SpanNode {
            span_id: summary.span,
            parent: summary.parent,
            start_ns: summary.start,
            rank: row.seq,
        });
    })?;
    if !filter.fits(&trace_summary.stats, trace_summary.live) {
        return Ok(());
    }
    for seq in &trace.seqs {
        trace_summary.live |= reader.is_in_open_run(*seq)?;
    }
    output.write_all(before_spans(trace_head(&trace_summary)).as_bytes())?;
    let (order, _) = span_order::page(&nodes, &SpanQuery::ALL);
    let mut is_first = true;
    for number in order {
        let Some(made) = reader.made(nodes[number].rank, true)? else {
            continue;
        };
        if !std::mem::take(&mut is_first) {
            output.write_all(b",")?;
        }
        let written = SpanView {
            span: &made.span(),
            open: false,
            content: true,
        };
        serde_json::to_writer(&mut *output, &written).map_err(io::Error::from)?;
    }
    output.write_all(AFTER_SPANS.as_bytes())?;
    Ok(output.write_all(b"\n")?)
}

#[cfg(test)]
mod tests;
