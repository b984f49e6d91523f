//! Traces over HTTP: what a request asks, read strictly, and the answer as JSON. A trace is written span by span, as its reader takes it.

use std::collections::VecDeque;
use std::str::FromStr;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_DISPOSITION, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::answer::{self, Body, JSON, error, json, unavailable};
use crate::span::{SpanId, TraceId};
use crate::traces::{
    Facts, Filter, Form, Item, LIMIT, MOST, MOST_SPANS, Outline, Query, SpanQuery, Traces,
    around_otlp, time,
};

/// What a request says that cannot be meant, in words that name the parameter.
pub(super) struct Bad(String);

impl From<Bad> for Response<Body> {
    fn from(Bad(message): Bad) -> Self {
        error(StatusCode::BAD_REQUEST, &message)
    }
}

/// The parameters of a query, of which each is known and comes once. One without a value is as good as none.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn read(query: Option<&str>, known: &[&str]) -> Result<Self, Bad> {
        let mut read: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                return Err(Bad(format!(
                    "{}: there is no such parameter; there are {}",
                    short(&name),
                    known.join(", ")
                )));
            }
            if read.iter().any(|(other, _)| *other == name) {
                return Err(Bad(format!("{name}: give it once")));
            }
            read.push((name.into_owned(), value.into_owned()));
        }
        Ok(Parameters(read))
    }

    fn text(&mut self, name: &str) -> Option<String> {
        let place = self.0.iter().position(|(other, _)| other == name)?;
        let (_, value) = self.0.swap_remove(place);
        (!value.is_empty()).then_some(value)
    }

    fn parsed<T: FromStr>(&mut self, name: &str, wanted: &str) -> Result<Option<T>, Bad> {
        let value = self.text(name);
        let parsed = value.map(|value| value.parse());
        parsed
            .transpose()
            .map_err(|_| Bad(format!("{name}: {wanted}")))
    }

    fn limit(&mut self, default: usize, most: usize) -> Result<usize, Bad> {
        let wanted = format!("must be a number from 1 to {most}");
        let limit = self.parsed("limit", &wanted)?.unwrap_or(default);
        if (1..=most).contains(&limit) {
            Ok(limit)
        } else {
            Err(Bad(format!("limit: {wanted}")))
        }
    }

    fn filter(&mut self) -> Result<Filter, Bad> {
        Ok(Filter {
            thread: self.text("thread"),
            customer: self.text("customer"),
            agent: self.text("agent"),
            model: self.text("model"),
            status: self.parsed("status", "must be ok, error or live")?,
        })
    }
}

/// What is asked of `/api/events`.
pub(super) fn filter(query: Option<&str>) -> Result<Filter, Bad> {
    Parameters::read(query, &["thread", "customer", "agent", "model", "status"])?.filter()
}

fn query(query: Option<&str>) -> Result<Query, Bad> {
    let known = [
        "limit", "cursor", "thread", "customer", "agent", "model", "status", "q",
    ];
    let mut parameters = Parameters::read(query, &known)?;
    let limit = parameters.limit(LIMIT, MOST)?;
    Ok(Query {
        filter: parameters.filter()?,
        text: parameters.text("q").map(|text| text.to_lowercase()),
        limit,
        cursor: parameters.parsed("cursor", "must be the `next` of an earlier answer")?,
    })
}

/// `/api/traces`
pub(super) async fn list(traces: &Traces, asked: Option<&str>) -> Response<Body> {
    let query = match query(asked) {
        Ok(query) => query,
        Err(bad) => return bad.into(),
    };
    match traces.list(query).await {
        Ok(page) => json(serde_json::to_vec(&page).unwrap_or_default()),
        Err(why) => unavailable(&why.0),
    }
}

/// What lies below `/api/traces/`.
pub(super) async fn below(traces: &Traces, path: &str, asked: Option<&str>) -> Response<Body> {
    let mut parts = path.split('/');
    let Some(trace) = parts.next().and_then(|id| TraceId::parse(id.as_bytes())) else {
        return not_there("a trace's id is 32 hex digits");
    };
    match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => one(traces, trace, asked).await,
        (Some("otlp"), None, _) => match Parameters::read(asked, &[]) {
            Ok(_) => otlp(traces, trace).await,
            Err(bad) => bad.into(),
        },
        (Some("spans"), Some(span), None) => match SpanId::parse(span.as_bytes()) {
            Some(span) => one_span(traces, trace, span).await,
            None => not_there("a span's id is 16 hex digits"),
        },
        _ => not_there("of a trace there are /otlp and /spans/{span_id}"),
    }
}

/// Which spans of a trace are asked for, and in which form.
fn span_query(asked: Option<&str>) -> Result<(SpanQuery, Form), Bad> {
    let mut parameters = Parameters::read(asked, &["content", "limit", "cursor", "parent"])?;
    let content = match parameters.text("content").as_deref() {
        None => true,
        Some("none") => false,
        Some(_) => return Err(Bad("content: must be none, or left out".to_owned())),
    };
    let parent = parameters.text("parent").map(|id| {
        SpanId::parse(id.as_bytes()).ok_or_else(|| Bad("parent: must be 16 hex digits".to_owned()))
    });
    let query = SpanQuery {
        parent: parent.transpose()?,
        cursor: parameters.parsed("cursor", "must be the `more.cursor` of an earlier answer")?,
        limit: parameters.limit(MOST_SPANS, MOST_SPANS)?,
    };
    Ok((query, Form::Plain { content }))
}

async fn one(traces: &Traces, trace: TraceId, asked: Option<&str>) -> Response<Body> {
    let (query, form) = match span_query(asked) {
        Ok(query) => query,
        Err(bad) => return bad.into(),
    };
    let outline = match outline(traces, trace, query).await {
        Ok(outline) => outline,
        Err(refusal) => return refusal,
    };
    let head = serde_json::json!({
        "trace_id": trace,
        "live": outline.listed.live,
        "title": outline.listed.facts.title(),
        "totals": totals(&outline.listed.facts),
        "more": outline.more,
    });
    let mut head = head.to_string();
    // The spans are its last member.
    head.pop();
    head.push_str(",\"spans\":[");
    let body = written(
        traces.clone(),
        head.into(),
        outline.items,
        form,
        "]}".into(),
    );
    answer::with(StatusCode::OK, JSON, body)
}

/// What all of a trace amounts to, of which an answer may hold a page alone. Nothing of it is content.
fn totals(facts: &Facts) -> serde_json::Value {
    serde_json::json!({
        "spans": facts.spans,
        "errors": facts.errors,
        "model_calls": facts.model_calls,
        "tool_calls": facts.tool_calls,
        "input_tokens": facts.input_tokens,
        "output_tokens": facts.output_tokens,
        "start": time(facts.start_ns),
        "end": time(facts.end_ns),
    })
}

async fn otlp(traces: &Traces, trace: TraceId) -> Response<Body> {
    let outline = match outline(traces, trace, SpanQuery::ALL).await {
        Ok(outline) => outline,
        Err(refusal) => return refusal,
    };
    let (head, end) = around_otlp();
    let body = written(traces.clone(), head, outline.items, Form::Otlp, end);
    let mut response = answer::with(StatusCode::OK, JSON, body);
    let name = format!("attachment; filename=\"trace-{trace}.json\"");
    if let Ok(name) = HeaderValue::try_from(name) {
        response.headers_mut().insert(CONTENT_DISPOSITION, name);
    }
    response
}

async fn one_span(traces: &Traces, trace: TraceId, span: SpanId) -> Response<Body> {
    match traces.span(trace, span).await {
        Ok(Some(span)) => json(span),
        Ok(None) => not_there("no such span is stored; it may be too old, or not be over"),
        Err(why) => unavailable(&why.0),
    }
}

async fn outline(
    traces: &Traces,
    trace: TraceId,
    query: SpanQuery,
) -> Result<Outline, Response<Body>> {
    match traces.outline(trace, query).await {
        Ok(Some(outline)) => Ok(outline),
        Ok(None) => Err(not_there(
            "no such trace is stored; it may be older than store.max_age, or have made room",
        )),
        Err(why) => Err(unavailable(&why.0)),
    }
}

/// Spans between a head and an end, read as they are taken.
fn written(traces: Traces, head: Bytes, items: VecDeque<Item>, form: Form, end: Bytes) -> Body {
    enum Next {
        Head(Bytes),
        Spans { first: bool },
        End,
    }
    let state = (Next::Head(head), items, end);
    let pieces = stream::try_unfold(state, move |(next, items, end)| {
        let traces = traces.clone();
        async move {
            let first = match next {
                Next::Head(head) => {
                    let next = (Next::Spans { first: true }, items, end);
                    return Ok(Some((Frame::data(head), next)));
                }
                Next::End => return Ok(None),
                Next::Spans { first } => first,
            };
            if items.is_empty() {
                return Ok(Some((Frame::data(end.clone()), (Next::End, items, end))));
            }
            let (mut piece, left) = traces
                .spans(items, form)
                .await
                .map_err(|why| std::io::Error::other(why.0))?;
            let is_empty = piece.is_empty();
            if first && !is_empty {
                // What is between spans does not stand before the first.
                piece = piece.slice(1..);
            }
            let next = Next::Spans {
                first: first && is_empty,
            };
            Ok(Some((Frame::data(piece), (next, left, end))))
        }
    });
    BodyExt::map_err(StreamBody::new(pieces), |error: std::io::Error| {
        error.into()
    })
    .boxed_unsync()
}

fn not_there(message: &str) -> Response<Body> {
    error(StatusCode::NOT_FOUND, message)
}

/// As much of a name as is worth repeating.
fn short(name: &str) -> &str {
    &name[..name.floor_char_boundary(40)]
}
