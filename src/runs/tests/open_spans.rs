//! Open spans of runs that go on, and that a look at them changes nothing.

use super::programs::all;
use super::*;

/// The open spans, by the changes so far.
#[derive(Default)]
struct Shown {
    cursor: OpenSpanCursor,
    runs: HashMap<u64, Vec<OpenSpan>>,
}

impl Shown {
    fn look(&mut self, play: &Play) {
        for change in play.runs.open_spans(&mut self.cursor) {
            match change {
                RunChange::Open { run, spans, .. } => {
                    self.runs.insert(run, spans);
                }
                RunChange::Over { run } => {
                    self.runs.remove(&run);
                }
            }
        }
    }

    fn spans(&self) -> Vec<&Span> {
        let all = self.runs.values().flatten();
        all.map(|open| &open.span).collect()
    }

    fn open(&self) -> Vec<&str> {
        let all = self.runs.values().flatten();
        let open = all.filter(|open| open.open);
        let mut names: Vec<&str> = open.map(|open| &*open.span.name).collect();
        names.sort_unstable();
        names
    }
}

/// Plays these calls and looks after everything that happens, or never.
fn played(events: &[Event], looks: bool) -> (Play, Vec<Span>) {
    let (mut play, mut shown, mut seen) = (Play::new(SETTINGS), Shown::default(), Vec::new());
    for event in events {
        play.on(event);
        let now = match event {
            Event::Complete(exchange) => exchange.started_ns,
            Event::Settled(exchange) => exchange.ended_ns(),
        };
        // A call that is under way is attributed after a second.
        let update = play.runs.expire(0, play.now(now) + ATTRIBUTED_AFTER);
        play.take(update);
        if looks {
            shown.look(&play);
            seen.extend(shown.spans().into_iter().cloned());
        }
    }
    play.rest();
    if looks {
        shown.look(&play);
        assert!(shown.runs.is_empty(), "what is over is not shown");
    }
    (play, seen)
}

#[test]
fn a_run_that_was_looked_at_all_the_time_is_told_as_one_that_was_not() {
    for (name, calls) in all() {
        let events = events(&calls);
        let (looked_at, seen) = played(&events, true);
        let (left_alone, _) = played(&events, false);
        assert_eq!(looked_at.spans, left_alone.spans, "{name}");
        assert_eq!(looked_at.finished, left_alone.finished, "{name}");
        assert!(!seen.is_empty(), "{name}");
        let told: std::collections::HashSet<_> = left_alone
            .spans
            .iter()
            .map(|span| (span.trace_id, span.span_id))
            .collect();
        for span in &seen {
            let is_agent = span.name.starts_with("agent.") || span.name.starts_with("llm.");
            if is_agent {
                assert!(
                    told.contains(&(span.trace_id, span.span_id)),
                    "{name}: {} had another id in the end",
                    span.name
                );
            }
        }
    }
}

#[test]
fn a_call_in_flight_and_a_tool_that_is_waited_for_are_shown_until_they_are_over() {
    let calls = [
        call(0, 10, &[WRITER, TASK], "").asking("call_1", "search", r#"{"for":"owls"}"#),
        call(2000, 2010, &[WRITER, TASK], "Owls fly.").showing("call_1", "search", "They fly."),
    ];
    let events = events(&calls);
    let (mut play, mut shown) = (Play::new(SETTINGS), Shown::default());
    play.on(&events[0]);
    shown.look(&play);
    assert!(shown.open().is_empty(), "it is not attributed yet");
    play.later(ATTRIBUTED_AFTER);
    shown.look(&play);
    assert_eq!(shown.open(), ["agent.unknown", "llm.m"]);
    play.on(&events[1]);
    shown.look(&play);
    assert_eq!(shown.open(), ["agent.unknown", "tool.search"]);
    play.on(&events[2]);
    play.later(Duration::from_secs(4));
    shown.look(&play);
    assert_eq!(shown.open(), ["agent.unknown", "llm.m"]);
    assert_eq!(play.spans.last().unwrap().name, "tool.search");
    play.on(&events[3]);
    shown.look(&play);
    assert_eq!(shown.open(), ["agent.unknown"]);
    play.rest();
    shown.look(&play);
    assert!(shown.runs.is_empty());
}

#[test]
fn a_turn_that_another_has_followed_is_not_open_any_more() {
    let events = events(&team());
    let (mut play, mut shown) = (Play::new(SETTINGS), Shown::default());
    play.all(&events[..4]);
    shown.look(&play);
    let spans: Vec<(&str, bool)> = shown
        .runs
        .values()
        .flatten()
        .map(|open| (&*open.span.name, open.open))
        .collect();
    assert_eq!(
        spans,
        [
            ("workflow", true),
            ("agent.writer", false),
            ("agent.unknown", true)
        ]
    );
}

#[test]
fn a_run_that_did_not_change_is_not_shown_again() {
    let events = events(&team());
    let (mut play, mut cursor) = (Play::new(SETTINGS), OpenSpanCursor::default());
    play.all(&events[..2]);
    assert_eq!(play.runs.open_spans(&mut cursor).len(), 1);
    assert!(play.runs.open_spans(&mut cursor).is_empty());
    play.all(&events[2..4]);
    assert_eq!(play.runs.open_spans(&mut cursor).len(), 1);
}
