//! The API of traces over HTTP: query parameters, read strictly, and answers as JSON. The spans of a trace are streamed.

use std::collections::VecDeque;
use std::str::FromStr;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_DISPOSITION, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::response::{self, AdminBody, JSON, error, json};
use crate::span::{SpanId, TraceId};
use crate::traces::{
    AFTER_SPANS, LIMIT, MOST, MOST_SPANS, SpanFormat, SpanQuery, SpanRef, TraceFilter, TracePage,
    TraceQuery, Traces, before_spans, otlp_frame, trace_head,
};

/// A message that names the wrong parameter.
pub(super) struct BadRequest(String);

impl From<BadRequest> for Response<AdminBody> {
    fn from(BadRequest(message): BadRequest) -> Self {
        error(StatusCode::BAD_REQUEST, &message)
    }
}

/// The parameters of a query, each known and given once. A parameter without a value counts as left out.
struct QueryParameters(Vec<(String, String)>);

impl QueryParameters {
    fn read(query: Option<&str>, known: &[&str]) -> Result<Self, BadRequest> {
        let mut read: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                return Err(BadRequest(format!(
                    "{}: there is no such parameter; there are {}",
                    short(&name),
                    known.join(", ")
                )));
            }
            if read.iter().any(|(other, _)| *other == name) {
                return Err(BadRequest(format!("{name}: give it once")));
            }
            read.push((name.into_owned(), value.into_owned()));
        }
        Ok(QueryParameters(read))
    }

    fn text(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|(other, _)| other == name)?;
        let (_, value) = self.0.swap_remove(index);
        (!value.is_empty()).then_some(value)
    }

    fn parsed<T: FromStr>(&mut self, name: &str, wanted: &str) -> Result<Option<T>, BadRequest> {
        let value = self.text(name);
        let parsed = value.map(|value| value.parse());
        parsed
            .transpose()
            .map_err(|_| BadRequest(format!("{name}: {wanted}")))
    }

    fn limit(&mut self, default: usize, most: usize) -> Result<usize, BadRequest> {
        let wanted = format!("must be a number from 1 to {most}");
        let limit = self.parsed("limit", &wanted)?.unwrap_or(default);
        if (1..=most).contains(&limit) {
            Ok(limit)
        } else {
            Err(BadRequest(format!("limit: {wanted}")))
        }
    }

    fn filter(&mut self) -> Result<TraceFilter, BadRequest> {
        Ok(TraceFilter {
            thread: self.text("thread"),
            customer: self.text("customer"),
            agent: self.text("agent"),
            model: self.text("model"),
            status: self.parsed("status", "must be ok, error or live")?,
        })
    }
}

/// The parameters of `/api/events`.
pub(super) fn filter(query: Option<&str>) -> Result<TraceFilter, BadRequest> {
    QueryParameters::read(query, &["thread", "customer", "agent", "model", "status"])?.filter()
}

fn query(query: Option<&str>) -> Result<TraceQuery, BadRequest> {
    let known = [
        "limit", "cursor", "thread", "customer", "agent", "model", "status", "q",
    ];
    let mut parameters = QueryParameters::read(query, &known)?;
    let limit = parameters.limit(LIMIT, MOST)?;
    Ok(TraceQuery {
        filter: parameters.filter()?,
        text: parameters.text("q").map(|text| text.to_lowercase()),
        limit,
        cursor: parameters.parsed("cursor", "must be the `next` of an earlier answer")?,
    })
}

type Answer = Result<Response<AdminBody>, Response<AdminBody>>;

/// `/api/traces`
pub(super) async fn list(traces: &Traces, parameters: Option<&str>) -> Answer {
    let page = traces.list(query(parameters)?).await?;
    Ok(json(serde_json::to_vec(&page).unwrap_or_default()))
}

/// The paths below `/api/traces/`.
pub(super) async fn below(traces: &Traces, path: &str, parameters: Option<&str>) -> Answer {
    let mut parts = path.split('/');
    let trace = parts.next().and_then(|id| TraceId::parse(id.as_bytes()));
    let trace = trace.ok_or_else(|| not_found("a trace's id is 32 hex digits"))?;
    match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => page(traces, trace, parameters).await,
        (Some("otlp"), None, _) => {
            QueryParameters::read(parameters, &[])?;
            otlp(traces, trace).await
        }
        (Some("spans"), Some(span), None) => {
            let span = SpanId::parse(span.as_bytes())
                .ok_or_else(|| not_found("a span's id is 16 hex digits"))?;
            let span = traces.span(trace, span).await?.ok_or_else(|| {
                not_found("no such span is stored; it may be too old, or not be over")
            })?;
            Ok(json(span))
        }
        _ => Err(not_found("of a trace there are /otlp and /spans/{span_id}")),
    }
}

fn span_query(parameters: Option<&str>) -> Result<(SpanQuery, SpanFormat), BadRequest> {
    let mut parameters =
        QueryParameters::read(parameters, &["content", "limit", "cursor", "parent"])?;
    let content = match parameters.text("content").as_deref() {
        None => true,
        Some("none") => false,
        Some(_) => return Err(BadRequest("content: must be none, or left out".to_owned())),
    };
    let parent = parameters.text("parent").map(|id| {
        SpanId::parse(id.as_bytes())
            .ok_or_else(|| BadRequest("parent: must be 16 hex digits".to_owned()))
    });
    let query = SpanQuery {
        parent: parent.transpose()?,
        cursor: parameters.parsed("cursor", "must be the `more.cursor` of an earlier answer")?,
        limit: parameters.limit(MOST_SPANS, MOST_SPANS)?,
    };
    Ok((query, SpanFormat::Api { content }))
}

async fn page(traces: &Traces, trace: TraceId, parameters: Option<&str>) -> Answer {
    let (query, format) = span_query(parameters)?;
    let page = trace_page(traces, trace, query).await?;
    let mut head = trace_head(&page.summary);
    head.insert("more".to_owned(), serde_json::json!(page.more));
    let body = stream_spans(
        traces.clone(),
        before_spans(head).into(),
        page.spans,
        format,
        AFTER_SPANS.into(),
    );
    Ok(response::with(StatusCode::OK, JSON, body))
}

async fn otlp(traces: &Traces, trace: TraceId) -> Answer {
    let page = trace_page(traces, trace, SpanQuery::ALL).await?;
    let (head, end) = otlp_frame();
    let body = stream_spans(traces.clone(), head, page.spans, SpanFormat::Otlp, end);
    let mut response = response::with(StatusCode::OK, JSON, body);
    let name = format!("attachment; filename=\"trace-{trace}.json\"");
    if let Ok(name) = HeaderValue::try_from(name) {
        response.headers_mut().insert(CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

async fn trace_page(
    traces: &Traces,
    trace: TraceId,
    query: SpanQuery,
) -> Result<TracePage, Response<AdminBody>> {
    traces.trace_page(trace, query).await?.ok_or_else(|| {
        not_found("no such trace is stored; it may be older than store.max_age, or have made room")
    })
}

/// The progress of [`stream_spans`].
struct SpanStream {
    /// None once it was sent.
    head: Option<Bytes>,
    spans: VecDeque<SpanRef>,
    /// Whether no span was sent yet.
    is_first: bool,
    /// None once it was sent.
    end: Option<Bytes>,
}

/// Streams spans between `head` and `end`. A chunk of spans is read when the client takes it.
fn stream_spans(
    traces: Traces,
    head: Bytes,
    spans: VecDeque<SpanRef>,
    format: SpanFormat,
    end: Bytes,
) -> AdminBody {
    let progress = SpanStream {
        head: Some(head),
        spans,
        is_first: true,
        end: Some(end),
    };
    let pieces = stream::try_unfold(progress, move |mut progress| {
        let traces = traces.clone();
        async move {
            if let Some(head) = progress.head.take() {
                return Ok(Some((Frame::data(head), progress)));
            }
            if progress.spans.is_empty() {
                let end = progress.end.take();
                return Ok(end.map(|end| (Frame::data(end), progress)));
            }
            let spans = std::mem::take(&mut progress.spans);
            let (mut chunk, left) = traces
                .spans(spans, format)
                .await
                .map_err(|why| std::io::Error::other(why.0))?;
            progress.spans = left;
            if progress.is_first && !chunk.is_empty() {
                // No comma stands before the first span.
                chunk = chunk.slice(1..);
                progress.is_first = false;
            }
            Ok(Some((Frame::data(chunk), progress)))
        }
    });
    BodyExt::map_err(StreamBody::new(pieces), |error: std::io::Error| {
        error.into()
    })
    .boxed_unsync()
}

fn not_found(message: &str) -> Response<AdminBody> {
    error(StatusCode::NOT_FOUND, message)
}

/// As much of a parameter's name as an error message repeats.
fn short(name: &str) -> &str {
    &name[..name.floor_char_boundary(40)]
}
