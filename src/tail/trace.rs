//! A trace as the admin API gives it, and the lines that show it as a tree.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::line::{Line, Style};
use crate::span::key;
use crate::tree;

/// Most characters of an error message.
const MOST_OF_ERROR: usize = 200;

/// A trace in the list and in events.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ListedTrace {
    pub(super) trace_id: String,
    pub(super) title: String,
    pub(super) thread_identifier: Option<String>,
    pub(super) customer_identifier: Option<String>,
    pub(super) start: String,
    pub(super) end: String,
    pub(super) spans: u64,
    pub(super) status: String,
    pub(super) live: bool,
    pub(super) errors: u64,
    pub(super) model_calls: u64,
    pub(super) tool_calls: u64,
    pub(super) input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
}

/// The spans of a trace.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TraceTree {
    pub(super) live: bool,
    /// None where `spans` is complete.
    more: Option<UnprintedSpans>,
    pub(super) spans: Vec<PrintedSpan>,
}

#[derive(Clone, Debug, Deserialize)]
struct UnprintedSpans {
    spans: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct PrintedSpan {
    #[serde(rename = "span_id")]
    id: String,
    #[serde(rename = "parent_span_id")]
    parent: Option<String>,
    log_type: String,
    name: String,
    start: String,
    end: Option<String>,
    status: String,
    status_message: Option<String>,
    /// The sign of a failure in a tool's result.
    looks_failed: Option<String>,
    attributes: Map<String, Value>,
}

/// A line for the trace, and one for each span.
pub(super) fn lines(trace: &ListedTrace, tree: &TraceTree) -> Vec<Line> {
    let spans = tree.spans.iter();
    let spans: Vec<(&str, Option<&str>)> = spans
        .map(|span| (&*span.id, span.parent.as_deref()))
        .collect();
    let mut lines = vec![head(trace, tree.live)];
    for line in tree::layout(&spans) {
        lines.push(branch(&line.branches, &tree.spans[line.span]));
    }
    if let Some(UnprintedSpans { spans }) = tree.more {
        let mut line = Line::default();
        let counted = counted(spans, "more span", "more spans");
        line.add(Style::Dim, &format!("…{counted}, which the viewer shows"));
        lines.push(line);
    }
    lines
}

fn head(trace: &ListedTrace, is_live: bool) -> Line {
    let mut line = Line::default();
    line.add(
        Style::Dim,
        &format!("{}Z  ", trace.start.get(11..19).unwrap_or_default()),
    );
    line.add(Style::Dim, &trace.trace_id);
    line.add(Style::Bold, &format!("  {}", trace.title));
    for (word, identifier) in [
        ("thread", &trace.thread_identifier),
        ("customer", &trace.customer_identifier),
    ] {
        if let Some(identifier) = identifier {
            line.add(Style::Dim, &format!("  {word} "));
            line.add(Style::Plain, identifier);
        }
    }
    for (count, one, many) in [
        (trace.model_calls, "call", "calls"),
        (trace.tool_calls, "tool", "tools"),
    ] {
        if count > 0 {
            line.add(Style::Plain, &counted(count, one, many));
        }
    }
    if let (Some(input), Some(output)) = (trace.input_tokens, trace.output_tokens) {
        line.add(Style::Plain, &format!("  {input} + {output} tokens"));
    }
    if is_live {
        line.add(Style::Plain, "  live");
    } else if let Some(took) = took(&trace.start, Some(&trace.end)) {
        line.add(Style::Plain, &format!("  {took}"));
    }
    if trace.errors > 0 {
        line.add(Style::Red, &counted(trace.errors, "error", "errors"));
    }
    line
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("  {count} {}", if count == 1 { one } else { many })
}

fn branch(branches: &str, span: &PrintedSpan) -> Line {
    let mut line = Line::default();
    line.add(Style::Dim, branches);
    let is_error = span.status == "error";
    let style = match &*span.log_type {
        _ if is_error => Style::Red,
        "agent" => Style::of(&span.name),
        "workflow" => Style::Bold,
        _ => Style::Plain,
    };
    line.add(style, &span.name);
    let took = took(&span.start, span.end.as_deref()).unwrap_or_else(|| "…".to_owned());
    line.add(Style::Plain, &format!("  {took}"));
    let attribute = |key: &str| match span.attributes.get(key)? {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    for cost in tree::cost(attribute) {
        line.add(Style::Dim, &format!("  {cost}"));
    }
    if is_error {
        let message = span.status_message.clone().filter(|text| !text.is_empty());
        let message = message.or_else(|| attribute(key::ERROR_MESSAGE));
        let message = message.unwrap_or_else(|| "failed".to_owned());
        line.add(Style::Red, &format!("  {}", short(&message)));
    } else if let Some(sign) = &span.looks_failed {
        line.add(Style::Amber, &format!("  looks like an error: {sign}"));
    }
    line
}

fn short(message: &str) -> String {
    let message = message.trim();
    match message.char_indices().nth(MOST_OF_ERROR) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

/// The duration as text; none while there is no end.
fn took(start: &str, end: Option<&str>) -> Option<String> {
    let at = |text| humantime::parse_rfc3339(text).ok();
    let (start, end): (SystemTime, SystemTime) = (at(start)?, at(end?)?);
    Some(duration_text(end.duration_since(start).unwrap_or_default()))
}

fn duration_text(took: Duration) -> String {
    let seconds = took.as_secs();
    if seconds >= 60 {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    } else if seconds >= 1 {
        format!("{:.2} s", took.as_secs_f64())
    } else {
        format!("{} ms", took.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{ListedTrace, TraceTree, duration_text, lines};
    use std::time::Duration;

    fn time(second: &str) -> String {
        format!("2026-11-24T22:00:{second}Z")
    }

    fn listed_trace() -> ListedTrace {
        serde_json::from_value(json!({
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "name": "workflow", "title": "RoundRobinGroupChat.run_stream",
            "thread_identifier": "owls", "customer_identifier": "ada\u{1b}[31m", "environment": null,
            "start": time("00.000000000"), "end": time("02.340000000"), "spans": 4, "status": "error", "live": false, "errors": 1,
            "model_calls": 1, "tool_calls": 1, "agents": ["writer"], "models": ["gpt-4o-mini"],
            "input_tokens": 11, "output_tokens": 3, "preview": null,
        }))
        .unwrap()
    }

    fn tree() -> TraceTree {
        let span = |id: &str, parent: Option<&str>, kind: &str, name: &str, end: Option<&str>| {
            json!({
                "span_id": id, "parent_span_id": parent, "log_type": kind, "name": name, "start": time("00.5"), "end": end.map(time),
                "status": if end.is_some() { "ok" } else { "open" }, "status_message": null, "attributes": {}, "events": [],
            })
        };
        let mut call = span("c", Some("b"), "chat", "llm.gpt-4o-mini", Some("00.741"));
        call["attributes"] = json!({
            "gen_ai.usage.prompt_tokens": 11, "gen_ai.usage.completion_tokens": 3,
            "llm.openai.chat_completions.streaming_time_to_first_token": 0.1234,
        });
        let mut tool = span("d", Some("b"), "tool", "tool.count\u{7}", Some("01.6"));
        tool["status"] = json!("error");
        tool["status_message"] = json!("no such file\n\u{1b}]0;title\u{7}");
        serde_json::from_value(json!({
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "live": false, "title": "t", "spans": [
                span("a", None, "workflow", "workflow", Some("02.34")), span("b", Some("a"), "agent", "agent.writer", None), call, tool,
            ],
        }))
        .unwrap()
    }

    fn text(columns: Option<usize>, coloured: bool) -> String {
        let lines = lines(&listed_trace(), &tree());
        let lines = lines.iter().map(|line| line.text(columns, coloured));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_trace_is_a_head_and_a_line_for_each_span() {
        insta::assert_snapshot!(text(None, false));
    }

    #[test]
    fn on_a_narrow_terminal_lines_are_cut() {
        insta::assert_snapshot!(text(Some(30), false));
    }

    #[test]
    fn with_colours_agents_have_their_own_and_errors_are_red() {
        insta::assert_snapshot!(text(None, true).replace('\x1b', "<esc>"));
    }

    #[test]
    fn a_tool_that_looks_failed_says_by_what_and_spans_left_out_are_counted() {
        let tree: TraceTree = serde_json::from_value(json!({
            "live": false, "more": { "cursor": "1.1.0101010101010101", "spans": 298_000 }, "spans": [{
                "span_id": "d", "parent_span_id": null, "log_type": "tool", "name": "tool.read", "start": time("00.5"), "end": time("00.6"),
                "status": "ok", "status_message": null, "looks_failed": "OSError:", "attributes": {}, "events": [],
            }],
        }))
        .unwrap();
        let lines = lines(&listed_trace(), &tree);
        let shown: Vec<String> = lines[1..]
            .iter()
            .map(|line| line.text(None, true))
            .collect();
        assert_eq!(
            shown,
            [
                "\u{1b}[2m└─ \u{1b}[0mtool.read  100 ms\u{1b}[33m  looks like an error: OSError:\u{1b}[0m",
                "\u{1b}[2m…  298000 more spans, which the viewer shows\u{1b}[0m",
            ]
        );
    }

    #[test]
    fn durations_have_the_unit_that_fits_them() {
        let texts =
            [7, 999, 1000, 59_990, 125_000].map(|ms| duration_text(Duration::from_millis(ms)));
        assert_eq!(texts, ["7 ms", "999 ms", "1.00 s", "59.99 s", "2 min 05 s"]);
    }
}
