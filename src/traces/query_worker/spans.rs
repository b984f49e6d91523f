//! The pages of one trace, and spans as bytes, in chunks as their reader takes them.

use std::collections::VecDeque;

use bytes::Bytes;

use super::QueryWorker;
use crate::export::{OtlpEncoding, otlp};
use crate::runs::{FinishedSpan, OpenSpan};
use crate::span::{Span, SpanId, TraceId, Value, key};
use crate::store::{SpanSummary, Unavailable};
use crate::traces::index::IndexedTrace;
use crate::traces::json::{SpanView, TraceSummary};
use crate::traces::live::SnapshotSpan;
use crate::traces::span_order::{self, MoreSpans, SpanNode, SpanQuery};

/// Bytes after which a chunk of spans ends.
const CHUNK: usize = 256 << 10;

/// A page of a trace.
#[derive(Debug)]
pub struct TracePage {
    /// The stats of the whole trace.
    pub summary: TraceSummary,
    /// The spans of the page, in the order of [`SpanQuery`].
    pub spans: VecDeque<SpanRef>,
    /// None after the last page.
    pub more: Option<MoreSpans>,
}

/// Where a span is read from.
#[derive(Clone, Debug)]
pub enum SpanRef {
    /// From the store, by its number.
    Stored(u64),
    /// From a snapshot of an open run.
    Open(SnapshotSpan),
}

/// The format of spans as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanFormat {
    /// Objects of the admin API.
    Api {
        /// Whether texts of prompts and replies are in it.
        content: bool,
    },
    /// OTLP in JSON, as in a post to Respan.
    Otlp,
}

impl QueryWorker {
    pub(in crate::traces) fn trace_page(
        &mut self,
        trace_id: TraceId,
        query: &SpanQuery,
    ) -> Result<Option<TracePage>, Unavailable> {
        self.refresh()?;
        self.check(trace_id)?;
        let Some(summary) = self.summary(trace_id) else {
            return Ok(None);
        };
        let entries = self.index.get(trace_id).into_iter();
        let stored = entries.flat_map(IndexedTrace::entries).map(|entry| {
            let node = SpanNode {
                span_id: entry.span_id,
                parent: entry.parent,
                start_ns: entry.start_ns,
                rank: entry.seq,
            };
            (node, SpanRef::Stored(entry.seq))
        });
        let open = self.open_spans(trace_id).map(|open| {
            let node = SpanNode {
                span_id: open.span.span_id,
                parent: open.span.parent_span_id,
                start_ns: open.span.start_ns,
                rank: span_order::OPEN + open.index() as u64,
            };
            (node, SpanRef::Open(open))
        });
        let (nodes, spans): (Vec<SpanNode>, Vec<SpanRef>) = stored.chain(open).unzip();
        let (order, more) = span_order::page(&nodes, query);
        let spans = order.into_iter().map(|index| spans[index].clone());
        Ok(Some(TracePage {
            summary,
            spans: spans.collect(),
            more,
        }))
    }

    pub(in crate::traces) fn span(
        &mut self,
        trace_id: TraceId,
        span_id: SpanId,
    ) -> Result<Option<Bytes>, Unavailable> {
        self.refresh()?;
        let stored = self
            .index
            .get(trace_id)
            .into_iter()
            .flat_map(IndexedTrace::entries)
            .find(|entry| entry.span_id == span_id)
            .map(|entry| SpanRef::Stored(entry.seq));
        let span = stored.or_else(|| {
            let mut open = self.open_spans(trace_id);
            open.find(|open| open.span.span_id == span_id)
                .map(SpanRef::Open)
        });
        let Some(span) = span else { return Ok(None) };
        let format = SpanFormat::Api { content: true };
        let (bytes, _) = self.spans(VecDeque::from([span]), format)?;
        Ok((!bytes.is_empty()).then(|| bytes.slice(1..)))
    }

    /// One chunk of `spans`, each after a comma, and the spans that are left. Spans that the store no longer has are left out.
    pub(in crate::traces) fn spans(
        &mut self,
        mut spans: VecDeque<SpanRef>,
        format: SpanFormat,
    ) -> Result<(Bytes, VecDeque<SpanRef>), Unavailable> {
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK
            && let Some(span) = spans.pop_front()
        {
            match span {
                SpanRef::Stored(seq) => {
                    let content = format != SpanFormat::Api { content: false };
                    if let Some(finished) = self.reader.made(seq, content)? {
                        let span = if content {
                            finished.span()
                        } else {
                            self.span_without_request(seq, &finished)?
                        };
                        write(&mut chunk, &span, false, format);
                    }
                }
                SpanRef::Open(open) => {
                    if format != SpanFormat::Otlp {
                        let OpenSpan { span, open } = &*open;
                        write(&mut chunk, span, *open, format);
                    }
                }
            }
        }
        Ok((chunk.into(), spans))
    }

    /// The span of a call whose request was not read from the disk, with the attributes that are known without it.
    fn span_without_request(
        &mut self,
        seq: u64,
        finished: &FinishedSpan,
    ) -> Result<Span, Unavailable> {
        let mut span = finished.span();
        let FinishedSpan::Call { exchange, .. } = finished else {
            return Ok(span);
        };
        if !exchange.meta.chat {
            return Ok(span);
        }
        let rows = self.reader.these(&[seq])?;
        let mut set = |key: &'static str, value| span.attributes.push((key.into(), value));
        let summary = rows.first().and_then(|row| SpanSummary::read(&row.summary));
        if let Some(summary) = &summary {
            span.name = summary.name.to_string();
            if let Some(model) = &summary.asked {
                set(key::REQUEST_MODEL, Value::Text(model.to_string()));
            }
        }
        let is_streamed = exchange.is_streamed();
        set(key::IS_STREAMING, Value::Bool(is_streamed));
        let reply = exchange.reply.as_ref().filter(|_| is_streamed);
        if let Some(first) = reply.and_then(|reply| reply.first_token) {
            set(key::TIME_TO_FIRST_TOKEN, Value::Double(first.as_secs_f64()));
        }
        Ok(span)
    }
}

/// Appends a comma and the span.
fn write(chunk: &mut Vec<u8>, span: &Span, open: bool, format: SpanFormat) {
    let start = chunk.len();
    chunk.push(b',');
    match format {
        SpanFormat::Api { content } => {
            let view = SpanView {
                span,
                open,
                content,
            };
            // A span that cannot be serialized is left out; none is known.
            if serde_json::to_writer(&mut *chunk, &view).is_err() {
                chunk.truncate(start);
            }
        }
        SpanFormat::Otlp => otlp::one_in_json(span, chunk),
    }
}

/// The bytes before and after the spans of a post.
pub(crate) fn otlp_frame() -> (Bytes, Bytes) {
    const SPANS: &[u8] = b"\"spans\":[";
    let post = OtlpEncoding::Json.encode(std::iter::empty::<&Span>());
    let found = post.windows(SPANS.len()).position(|part| part == SPANS);
    let end = found.map_or(post.len(), |start| start + SPANS.len());
    (post.slice(..end), post.slice(end..))
}
