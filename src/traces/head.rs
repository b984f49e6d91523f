//! One trace as JSON: the members that describe it as a whole, and how its spans follow them without being held at once.

use serde_json::{Map, Value, json};

use super::json::{TraceSummary, time};
use super::stats::TraceStats;

/// What ends a trace in JSON, behind its last span.
pub(crate) const AFTER_SPANS: &str = "]}";

/// The members of a trace but for its spans.
pub(crate) fn trace_head(trace_summary: &TraceSummary) -> Map<String, Value> {
    Map::from_iter([
        ("trace_id".to_owned(), json!(trace_summary.trace_id)),
        ("live".to_owned(), json!(trace_summary.live)),
        ("title".to_owned(), json!(trace_summary.stats.title())),
        ("totals".to_owned(), totals(&trace_summary.stats)),
    ])
}

/// `head` as JSON that is not ended: the spans follow with commas between them, then [`AFTER_SPANS`].
pub(crate) fn before_spans(head: Map<String, Value>) -> String {
    let mut json = Value::Object(head).to_string();
    json.pop();
    json.push_str(",\"spans\":[");
    json
}

/// The sums of a whole trace, also where an answer has only a page of its spans. None of them is content.
fn totals(stats: &TraceStats) -> Value {
    json!({
        "spans": stats.spans,
        "errors": stats.errors,
        "model_calls": stats.model_calls,
        "tool_calls": stats.tool_calls,
        "input_tokens": stats.input_tokens,
        "output_tokens": stats.output_tokens,
        "start": time(stats.start_ns),
        "end": time(stats.end_ns),
    })
}
