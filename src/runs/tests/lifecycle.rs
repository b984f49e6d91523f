//! When spans leave, how runs end, and what is kept of them.

use super::*;

fn play(settings: Settings, calls: &[Call]) -> Play {
    let mut play = Play::new(settings);
    play.all(&events(calls));
    play
}

fn ids(play: &Play) -> Vec<SpanId> {
    let mut ids: Vec<SpanId> = play.spans.iter().map(|span| span.span_id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn calls_and_tools_leave_at_once_and_the_rest_when_nothing_happened_for_long_enough() {
    let calls = [
        call(0, 10, &[WRITER, TASK], "").asking("call_1", "search", r#"{"for":"owls"}"#),
        call(20, 30, &[WRITER, TASK], "Owls fly.").showing("call_1", "search", "They fly."),
    ];
    let mut play = play(SETTINGS, &calls);
    let names =
        |play: &Play| -> Vec<String> { play.spans.iter().map(|span| span.name.clone()).collect() };
    assert_eq!(names(&play), ["llm.m", "tool.search", "llm.m"]);
    play.later(IDLE + Duration::from_millis(29));
    assert_eq!(play.spans.len(), 3);
    assert!(
        play.finished.is_empty(),
        "an open run is told again after a crash"
    );
    let due = play.runs.next_expiry(0).unwrap();
    let update = play.runs.expire(0, due);
    play.take(update);
    assert_eq!(names(&play)[3..], ["agent.unknown"]);
    assert_eq!(play.finished.len(), 2);
}

#[test]
fn the_next_message_ends_the_run_before_it() {
    let next = ["user", "user", "And cats?"];
    let calls = [
        call(0, 10, &[WRITER, TASK], "Owls fly."),
        call(
            20,
            30,
            &[WRITER, TASK, ["assistant", "", "Owls fly."], next],
            "Cats do not.",
        ),
    ];
    let play = play(SETTINGS, &calls);
    assert_eq!(play.tree(), "agent.unknown\n  llm.m\n\nllm.m\n");
}

#[test]
fn a_call_that_comes_after_its_run_was_closed_joins_it_and_nothing_is_told_twice() {
    let mut calls = team();
    calls[2].began_us = 100_000_000;
    calls[2].ended_us = 100_010_000;
    let mut play = Play::new(SETTINGS);
    let events = events(&calls);
    play.all(&events[..4]);
    play.later(Duration::from_mins(1));
    let first = play.spans.clone();
    assert!(first.iter().any(|span| span.name == "workflow"));
    play.all(&events[4..]);
    play.rest();
    assert!(
        play.spans
            .iter()
            .all(|span| span.trace_id == first[0].trace_id)
    );
    let added: Vec<&str> = play.spans[first.len()..]
        .iter()
        .map(|span| span.name.as_str())
        .collect();
    assert_eq!(added, ["llm.m", "agent.writer"]);
    let workflow = first.iter().find(|span| span.name == "workflow").unwrap();
    assert_eq!(
        play.spans.last().unwrap().parent_span_id,
        Some(workflow.span_id)
    );
    let all = ids(&play);
    assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn what_is_told_again_after_a_crash_comes_out_the_same() {
    for (name, calls) in programs::all() {
        let events = events(&calls);
        for cut in [events.len() / 3, events.len() / 2, events.len()] {
            let mut whole = Play::new(SETTINGS);
            whole.all(&events);
            whole.rest();
            // The first life tells what it can, the second hears all of it again.
            let mut first = Play::new(SETTINGS);
            first.all(&events[..cut]);
            let mut second = Play::new(SETTINGS);
            second.all(&events);
            second.rest();
            assert_eq!(ids(&second), ids(&whole), "{name}");
            for span in &first.spans {
                assert!(second.spans.contains(span), "{name}: {} changed", span.name);
            }
        }
    }
}

#[test]
fn at_the_end_everything_is_told_and_open_runs_are_not_released() {
    let mut play = play(SETTINGS, &team());
    let update = play.runs.close();
    play.take(update);
    assert_eq!(play.tree(), Play::of(&team()).tree());
    assert!(play.finished.is_empty());
}

#[test]
fn beyond_the_most_open_runs_the_oldest_is_closed_early_and_counted() {
    let settings = Settings {
        max_open: 2,
        ..SETTINGS
    };
    let calls: Vec<Call> = (0..5)
        .map(|n| {
            call(
                n * 100,
                n * 100 + 10,
                &[WRITER, ["user", "user", &format!("Task {n}")]],
                "Done.",
            )
        })
        .collect();
    let play = play(settings, &calls);
    assert_eq!(
        play.runs.counts(),
        RunCounts {
            open: 2,
            closed_early: 3,
            capped: 0,
        }
    );
    assert_eq!(play.finished.len(), 3);
    assert_eq!(
        play.spans
            .iter()
            .filter(|span| span.name == "agent.unknown")
            .count(),
        3
    );
}

#[test]
fn beyond_the_most_memory_and_age_runs_are_forgotten() {
    let task = "owl ".repeat(4096);
    let calls: Vec<Call> = (0..50)
        .map(|n| {
            call(
                n * 100,
                n * 100 + 10,
                &[WRITER, ["user", "user", &format!("{n} {task}")]],
                "Done.",
            )
        })
        .collect();
    let small = play(
        Settings {
            max_memory: 256 << 10,
            ..SETTINGS
        },
        &calls,
    );
    assert!(
        small.runs.shared.bytes.get() <= 256 << 10,
        "{}",
        small.runs.shared.bytes.get()
    );
    assert!(small.runs.counts().open < 20);
    let mut aged = play(SETTINGS, &calls);
    aged.later(SETTINGS.max_age + Duration::from_mins(1));
    assert_eq!(
        (aged.runs.shared.bytes.get(), aged.runs.counts()),
        (0, RunCounts::default())
    );
    assert!(aged.runs.conversations.is_empty());
}

#[test]
fn what_runs_are_told_of_who_asks_counts_as_memory() {
    let names = [
        "x-respan-metadata",
        "x-respan-thread-identifier",
        "x-respan-agent-name",
    ];
    let calls: Vec<Call> = (0..200)
        .map(|n| {
            let text = format!("{n:04}{}", "x".repeat(4000));
            let values = [format!(r#"{{"a":"{text}"}}"#), text.clone(), text];
            names.into_iter().zip(values).fold(
                call(n * 100, n * 100 + 10, &[WRITER, TASK], "Done."),
                |call, (name, value)| call.saying(name, &value),
            )
        })
        .collect();
    let most = 512 << 10;
    let mut bounded = play(
        Settings {
            max_memory: most,
            ..SETTINGS
        },
        &calls,
    );
    assert!(
        bounded.runs.shared.bytes.get() <= most,
        "{}",
        bounded.runs.shared.bytes.get()
    );
    // Each has 12 KB of them at least.
    let known: usize = bounded
        .runs
        .conversations
        .iter()
        .map(|conversation| conversation.runs.len())
        .sum();
    assert!((1..=most / 12_000).contains(&known), "{known}");
    bounded.later(SETTINGS.max_age + Duration::from_mins(1));
    assert_eq!(bounded.runs.shared.bytes.get(), 0);
}

#[test]
fn without_inference_only_told_runs_are_grouped() {
    let settings = Settings {
        infer: false,
        ..SETTINGS
    };
    let mut alone = play(settings, &team());
    alone.rest();
    assert_eq!(alone.tree(), "llm.m\n\nllm.m\n\nllm.m\n");
    let told = team().map(|call| call.saying("x-respan-trace-id", "run 1"));
    let mut told = play(settings, &told);
    told.rest();
    assert_eq!(told.tree(), Play::of(&team()).tree());
}

#[test]
fn a_run_shows_the_time_of_the_wall_as_it_was_when_it_began() {
    let hour = 3_600_000_000_000;
    for set_by in [-200_000_000, hour] {
        let mut calls = [
            call(0, 10, &[WRITER, TASK], "").asking("call_1", "search", r#"{"for":"owls"}"#),
            call(20, 30, &[WRITER, TASK], "Owls fly.").showing("call_1", "search", "They fly."),
            call(40, 50, &[["system", "", "Draw."]], "A cat."),
        ];
        // The first knows of an earlier setting of the clock.
        for (call, offset) in calls.iter_mut().zip([hour, hour + set_by, hour + set_by]) {
            call.wall_offset_ns = offset;
        }
        let play = Play::of(&calls);
        let times = |name: &str| -> Vec<(u64, u64)> {
            let spans = play.spans.iter().filter(|span| span.name == name);
            let milliseconds = |ns: u64| (ns - EPOCH_NS) / 1_000_000;
            spans
                .map(|span| (milliseconds(span.start_ns), milliseconds(span.end_ns)))
                .collect()
        };
        let hour: u64 = 3_600_000;
        let next = hour.saturating_add_signed(set_by / 1_000_000);
        let calls = [(0, 10), (20, 30)].map(|(start, end)| (hour + start, hour + end));
        assert_eq!(times("llm.m")[..2], calls);
        assert_eq!(times("llm.m")[2..], [(next + 40, next + 50)]);
        assert_eq!(times("tool.search"), [(hour + 10, hour + 20)]);
        assert_eq!(times("agent.unknown"), [(hour, hour + 30)]);
    }
}
