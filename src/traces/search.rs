//! A text that is somewhere in a trace: in what the list says of it, or in what its spans hold. Case does not matter.

use super::facts::Facts;
use crate::span::{Key, Span, Status, TraceId, Value};

/// Whether the list's facts hold `wanted`, which is in lower case.
pub(super) fn is_in_facts(wanted: &str, trace_id: TraceId, facts: &Facts) -> bool {
    let texts = [facts.name(), facts.title()].into_iter().chain(
        [facts.thread(), facts.customer(), facts.preview()]
            .into_iter()
            .flatten(),
    );
    is_in(wanted, &trace_id.to_string())
        || texts
            .chain(facts.agents())
            .chain(facts.models())
            .any(|text| is_in(wanted, text))
}

/// Whether a span holds it: in its id, its name, or what was asked, answered, called or came back.
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

fn is_in_attributes(wanted: &str, attributes: &[(Key, Value)]) -> bool {
    attributes.iter().any(|(_, value)| match value {
        Value::Text(text) => is_in(wanted, text),
        Value::Texts(texts) => texts.iter().any(|text| is_in(wanted, text)),
        Value::Int(_) | Value::Double(_) | Value::Bool(_) => false,
    })
}

fn is_in(wanted: &str, text: &str) -> bool {
    text.len() >= wanted.len() && text.to_lowercase().contains(wanted)
}
