//! Full-text search in a trace: in its stats, or in the attributes of its spans. Case does not matter.

use super::stats::TraceStats;
use crate::span::{AttributeKey, Span, Status, TraceId, Value};

/// Whether the trace's id or stats contain `wanted`, which is in lower case.
pub(super) fn is_in_stats(wanted: &str, trace_id: TraceId, stats: &TraceStats) -> bool {
    let texts = [stats.name(), stats.title()].into_iter().chain(
        [
            stats.thread.text(),
            stats.customer.text(),
            stats.preview.text(),
        ]
        .into_iter()
        .flatten(),
    );
    is_in(wanted, &trace_id.to_string())
        || texts
            .chain(stats.agents())
            .chain(stats.models())
            .any(|text| is_in(wanted, text))
}

/// Whether the span's id, name, status, attributes or events contain `wanted`, which is in lower case.
pub(super) fn is_in_span(wanted: &str, span: &Span) -> bool {
    let message = match &span.status {
        Status::Ok => "",
        Status::Error(message) => message,
    };
    is_in(wanted, &span.name)
        || is_in(wanted, message)
        || is_in_attributes(wanted, &span.attributes)
        || is_in(wanted, &span.span_id.to_string())
        || (span.events.iter()).any(|event| is_in_attributes(wanted, &event.attributes))
}

fn is_in_attributes(wanted: &str, attributes: &[(AttributeKey, Value)]) -> bool {
    attributes.iter().any(|(_, value)| match value {
        Value::Text(text) => is_in(wanted, text),
        Value::Texts(texts) => texts.iter().any(|text| is_in(wanted, text)),
        Value::Int(_) | Value::Double(_) | Value::Bool(_) => false,
    })
}

fn is_in(wanted: &str, text: &str) -> bool {
    text.len() >= wanted.len() && text.to_lowercase().contains(wanted)
}
