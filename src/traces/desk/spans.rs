//! One trace: what it is made of, and its spans as bytes, so many at a time as their reader takes.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::Desk;
use crate::export::{Encoding, otlp};
use crate::runs::{FinishedSpan, Sketch};
use crate::span::{Span, SpanId, TraceId, Value, key};
use crate::store::{Summary, Unavailable};
use crate::traces::index::Trace;
use crate::traces::pages::{self, MoreSpans, SpanNode, SpanQuery};
use crate::traces::written::{Listed, Written};

/// Bytes of spans that are written at once, unless one alone is more.
const CHUNK: usize = 256 << 10;

/// What a trace is made of, or a page of it.
#[derive(Debug)]
pub struct Outline {
    /// What all of it amounts to.
    pub listed: Listed,
    /// Its spans, in the order of [`crate::traces::SpanQuery`].
    pub items: VecDeque<Item>,
    /// What is not among them.
    pub more: Option<MoreSpans>,
}

/// A span that is still to be read, or is not complete.
#[derive(Clone, Debug)]
pub enum Item {
    /// Its number in the store.
    Stored(u64),
    /// As it was sketched: of these sketches, the one at this place.
    Sketched(Arc<[Sketch]>, usize),
}

/// How spans are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As objects of the admin API, with or without what was asked and answered.
    Plain {
        /// With it.
        content: bool,
    },
    /// As they are exported.
    Otlp,
}

impl Desk {
    /// A page of a trace.
    pub(in crate::traces) fn outline(
        &mut self,
        trace_id: TraceId,
        query: &SpanQuery,
    ) -> Result<Option<Outline>, Unavailable> {
        self.refresh()?;
        self.check(trace_id)?;
        let Some(listed) = self.listed(trace_id) else {
            return Ok(None);
        };
        let entries = self.index.get(trace_id).into_iter();
        let stored = entries.flat_map(Trace::entries).map(|entry| {
            let node = SpanNode {
                span_id: entry.span_id,
                parent: entry.parent,
                start_ns: entry.start_ns,
                rank: entry.seq,
            };
            (node, Item::Stored(entry.seq))
        });
        let under_way = self.sketches(trace_id).map(|(sketches, at)| {
            let span = &sketches[at].span;
            let node = SpanNode {
                span_id: span.span_id,
                parent: span.parent_span_id,
                start_ns: span.start_ns,
                rank: pages::UNDER_WAY + at as u64,
            };
            (node, Item::Sketched(sketches, at))
        });
        let (nodes, items): (Vec<SpanNode>, Vec<Item>) = stored.chain(under_way).unzip();
        let (order, more) = pages::page(&nodes, query);
        let items = order.into_iter().map(|number| items[number].clone());
        Ok(Some(Outline {
            listed,
            items: items.collect(),
            more,
        }))
    }

    /// One span of a trace.
    pub(in crate::traces) fn span(
        &mut self,
        trace_id: TraceId,
        span_id: SpanId,
    ) -> Result<Option<Bytes>, Unavailable> {
        self.refresh()?;
        let form = Form::Plain { content: true };
        let stored = self.index.get(trace_id).and_then(|trace| {
            let mut entries = trace.entries();
            let found = entries.find(|entry| entry.span_id == span_id)?;
            Some(Item::Stored(found.seq))
        });
        let item = stored.or_else(|| {
            let mut sketches = self.sketches(trace_id);
            let found = sketches.find(|(sketches, at)| sketches[*at].span.span_id == span_id);
            found.map(|(sketches, at)| Item::Sketched(sketches, at))
        });
        let Some(item) = item else { return Ok(None) };
        let (written, _) = self.spans(VecDeque::from([item]), form)?;
        Ok((!written.is_empty()).then(|| written.slice(1..)))
    }

    /// As many of `items` as make a chunk, each after a comma; what is gone is left out. And the others.
    pub(in crate::traces) fn spans(
        &mut self,
        mut items: VecDeque<Item>,
        form: Form,
    ) -> Result<(Bytes, VecDeque<Item>), Unavailable> {
        let mut written = Vec::new();
        while written.len() < CHUNK
            && let Some(item) = items.pop_front()
        {
            match item {
                Item::Stored(seq) => {
                    let content = form != Form::Plain { content: false };
                    if let Some(made) = self.reader.made(seq, content)? {
                        let span = if content {
                            made.span()
                        } else {
                            self.without_request(seq, &made)?
                        };
                        write(&mut written, &span, false, form);
                    }
                }
                Item::Sketched(sketches, at) => {
                    let Sketch { span, open } = &sketches[at];
                    if form != Form::Otlp {
                        write(&mut written, span, *open, form);
                    }
                }
            }
        }
        Ok((written.into(), items))
    }

    /// The span of a call whose request was not read, with what is known of that all the same.
    fn without_request(&mut self, seq: u64, made: &FinishedSpan) -> Result<Span, Unavailable> {
        let mut span = made.span();
        let FinishedSpan::Call { exchange, .. } = made else {
            return Ok(span);
        };
        if !exchange.meta.chat {
            return Ok(span);
        }
        let rows = self.reader.these(vec![seq])?;
        let summary = rows.first().and_then(|row| Summary::read(&row.summary));
        if let Some(summary) = &summary {
            span.name = summary.name.to_string();
            if let Some(model) = &summary.asked {
                let model = Value::Text(model.to_string());
                span.attributes.push((key::REQUEST_MODEL.into(), model));
            }
        }
        let streams = exchange.is_streamed();
        span.attributes
            .push((key::IS_STREAMING.into(), Value::Bool(streams)));
        let first = exchange.reply.as_ref().and_then(|reply| reply.first_token);
        if let Some(first) = first.filter(|_| streams) {
            let first = Value::Double(first.as_secs_f64());
            span.attributes
                .push((key::TIME_TO_FIRST_TOKEN.into(), first));
        }
        Ok(span)
    }
}

fn write(written: &mut Vec<u8>, span: &Span, open: bool, form: Form) {
    let start = written.len();
    written.push(b',');
    let done = match form {
        Form::Plain { content } => {
            let span = Written {
                span,
                open,
                content,
            };
            serde_json::to_writer(&mut *written, &span).is_ok()
        }
        Form::Otlp => {
            otlp::one_in_json(span, written);
            true
        }
    };
    // A span that cannot be written is left out; none is known.
    if !done {
        written.truncate(start);
    }
}

/// What stands before and after the spans of a post.
pub fn around_spans() -> (Bytes, Bytes) {
    const MARK: &[u8] = b"\"spans\":[";
    let empty = Encoding::Json.encode(std::iter::empty::<&Span>());
    let mark = empty.windows(MARK.len()).position(|part| part == MARK);
    let end = mark.map_or(empty.len(), |mark| mark + MARK.len());
    (empty.slice(..end), empty.slice(end..))
}
