//! The work of attributing a request: linear in its texts, whatever they are and whatever calls are known.

use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::*;

/// Replies that are known before: more than are looked at under one key.
const REPLIES: u64 = 70;
/// With optimisation a megabyte takes about ten milliseconds. Without it, on a busy machine, an eighth of that takes a second; a search of the
/// text for each line takes an hour.
const FAR_TOO_LONG: Duration = Duration::from_mins(1);

/// A long text.
const LONG: usize = 128 << 10;

/// What is said over and over again.
const SHAPES: [&str; 6] = [
    "{\n  \"answer\": \"yes\",\n  \"why\": [\n    {\n      \"a\": 1\n    }\n  ]\n}\n",
    "```\nfn main() {\n}\n```\n",
    "{\n",
    "word ",
    "[[[[",
    "writer: {\nuser: ok\n",
];

/// As much of `shape` as fits, and nothing else.
fn repeated(shape: &str, bytes: usize) -> String {
    shape.repeat(bytes / shape.len()).trim().to_owned()
}

/// As long as [`repeated`], but no text that stands in it.
fn reply(shape: &str, number: u64, bytes: usize) -> String {
    format!("{}\nreply {number}", repeated(shape, bytes))
}

fn selector(prompt: &str) -> String {
    format!("You are in a role play game.\n{prompt}\nselect the next role. Only return the role.")
}

/// Runs whose replies have the same beginning as what comes next.
fn alike(shape: &str, bytes: usize) -> Vec<Call> {
    let mut calls = Vec::new();
    for number in 0..REPLIES {
        let (at, reply) = (number * 10, reply(shape, number, bytes));
        calls.push(call(at, at + 1, &[WRITER, TASK], &reply));
        let passed = json!({"task": reply}).to_string();
        calls.push(
            call(at + 2, at + 3, &[CRITIC, ["user", "user", "Go."]], "")
                .offering("ask")
                .asking("0", "ask", &passed),
        );
    }
    calls
}

/// When a call begins that shows what was said before, in milliseconds.
const LATER: u64 = 2000;

/// Every way a request can show a text within a message.
fn in_a_message(text: &str) -> Vec<Call> {
    let within = format!("He said\n{text}\nand left.");
    let prompt = selector(&within);
    [
        vec![CRITIC, ["user", "writer", &within]],
        vec![CRITIC, ["assistant", "", &within]],
        vec![["system", "", &prompt]],
        vec![["user", "", &prompt]],
        vec![CRITIC, ["user", "user", text]],
    ]
    .map(|messages| call(LATER, LATER + 1, &messages, "writer"))
    .into()
}

/// Every way a request can show the lines of a text as messages: to an agent, to a society, and as results of tools.
fn as_messages(text: &str) -> Vec<Call> {
    let both = |line| [["assistant", "", line], ["user", "writer", line]];
    let heard: Vec<_> = text.lines().flat_map(both).collect();
    let summed = [heard.clone(), vec![["system", "", "Sum up."]]].concat();
    let asked = [WRITER, ["user", "user", "?"]];
    let results = text
        .lines()
        .fold(call(LATER, LATER + 1, &asked, "a"), |call, line| {
            call.showing("0", "ask", line)
        });
    vec![
        call(LATER, LATER + 1, &heard, "a"),
        call(LATER, LATER + 1, &summed, "a"),
        results,
    ]
}

impl Play {
    /// How many steps it takes to place this call, and how long.
    fn steps(&mut self, call: &Call) -> (usize, Duration) {
        let spent = |play: &Play| play.runs.shared.steps.load(Ordering::Relaxed);
        let events = events(std::slice::from_ref(call));
        let (before, began) = (spent(self), Instant::now());
        self.all(&events);
        (spent(self) - before, began.elapsed())
    }
}

fn played(calls: &[Call]) -> Play {
    let mut play = Play::new(SETTINGS);
    play.all(&events(calls));
    play
}

/// The steps for each call that shows so many bytes of `shape`.
fn steps(shape: &str, bytes: usize) -> Vec<usize> {
    let text = repeated(shape, bytes);
    let mut play = played(&alike(shape, 300));
    let calls = [in_a_message(&text), as_messages(&text)].concat();
    calls.iter().map(|call| play.steps(call).0).collect()
}

#[test]
fn work_grows_no_faster_than_the_text() {
    for shape in SHAPES {
        let (once, twice) = (steps(shape, 8 << 10), steps(shape, 16 << 10));
        for (at, (once, twice)) in once.into_iter().zip(twice).enumerate() {
            // What does not depend on the text: calls that are known.
            let fixed = 6 * 64 * super::super::work_budget::LOOK;
            assert!(twice <= 2 * once + fixed, "{shape:?} {at}: {once}, {twice}");
        }
    }
}

#[test]
fn a_long_text_of_anything_is_placed_soon() {
    for shape in SHAPES {
        let text = repeated(shape, LONG);
        let mut play = played(&alike(shape, 4 << 10));
        for call in &in_a_message(&text) {
            let (_, took) = play.steps(call);
            assert!(took < FAR_TOO_LONG, "{took:?} for {shape:?}");
        }
    }
}

#[test]
fn a_reply_is_found_within_a_longer_text_whatever_it_shares_with_others() {
    let shape = SHAPES[0];
    for number in [REPLIES - 1, REPLIES - 40] {
        let quoted = format!("I quote:\n{}\nEnd.", reply(shape, number, 3000));
        let message = ["user", "writer", &quoted];
        let prompt = selector(&format!(
            "{}\n\nwriter: {}",
            TASK[2],
            reply(shape, number, 3000)
        ));
        for messages in [vec![CRITIC, TASK, message], vec![["system", "", &prompt]]] {
            let mut play = played(&alike(shape, 3000));
            play.all(&events(&[call(2000, 2001, &messages, "critic")]));
            play.rest();
            let calls: Vec<&Span> = play
                .spans
                .iter()
                .filter(|span| span.name == "llm.m")
                .collect();
            let ns = |ms: u64| EPOCH_NS + ms * 1_000_000;
            let at = |ms| calls.iter().find(|span| span.start_ns == ns(ms)).unwrap();
            assert_eq!(at(2000).trace_id, at(number * 10).trace_id);
            assert_eq!(play.runs.counts().capped, 0);
        }
    }
}

#[test]
fn a_call_that_would_be_too_much_work_is_placed_all_the_same_and_counted() {
    let shape = "{\n";
    let mut play = played(&alike(shape, 4 << 10));
    let prompt = selector(&repeated(shape, 1 << 20));
    play.steps(&call(2000, 2001, &[["system", "", &prompt]], "writer"));
    assert_eq!(play.runs.counts().capped, 1);
    for call in team() {
        let later = Call {
            began_us: call.began_us + 3_000_000,
            ended_us: call.ended_us + 3_000_000,
            ..call
        };
        play.steps(&later);
    }
    assert_eq!(play.runs.counts().capped, 1);
    play.rest();
    assert!(play.tree().contains("agent.critic"));
}

/// What is kept of a call is found under its lines, its texts, its tools: each takes memory that counts.
#[test]
fn what_is_known_of_a_call_is_no_more_than_a_few_times_its_bytes() {
    let lines: Vec<String> = (0..40_000).map(|line| format!("{line:05}")).collect();
    let prompt = selector(&lines.join("\n"));
    let answer = json!(lines).to_string();
    let arguments: Json = lines
        .iter()
        .map(|line| (line.clone(), json!(line)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let calls = [
        call(0, 1, &[["system", "", &prompt]], "writer"),
        call(0, 1, &[WRITER, TASK], &answer),
        call(0, 1, &[WRITER, TASK], "").asking("1", "ask", &arguments.to_string()),
    ];
    for call in calls {
        let bytes = call.request.to_string().len()
            + json!(call.reply.content).to_string().len()
            + json!(call.reply.tool_calls).to_string().len();
        let size_estimate = played(&[call]).runs.shared.size_estimate();
        assert!(size_estimate < 4 * bytes, "{size_estimate} for {bytes}");
    }
}

#[test]
fn a_message_that_holds_a_reply_is_recognised_however_long_the_task_is() {
    let task = "Write about owls. ".repeat(2000);
    let task = ["user", "user", task.trim()];
    let draft = "Owls fly by night, and nobody hears them.";
    let quoted = format!("I quote:\n{draft}\nEnd.");
    let calls = [
        call(0, 10, &[WRITER, task], draft),
        call(
            20,
            30,
            &[CRITIC, task, ["user", "writer", &quoted]],
            "Good.",
        ),
    ];
    assert!(Play::of(&calls).tree().starts_with("workflow "));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_is_said_the_work_has_a_bound(
        lines in proptest::collection::vec(r#"(\{|```|writer: |"a": 1,|word|\[|\}){0,3}"#, 1..24),
        times in 1_usize..200,
        at in 0_usize..8,
    ) {
        let shape = lines.join("\n") + "\n";
        let text = repeated(&shape, shape.len() * times);
        let call = &[in_a_message(&text), as_messages(&text)].concat()[at];
        let mut play = played(&alike(&shape, shape.len() * 4));
        let (steps, took) = play.steps(call);
        let bytes = call.request.to_string().len();
        // Once to find the run, once for names and results.
        prop_assert!(steps <= 2 * (super::super::work_budget::LEAST + bytes));
        prop_assert!(took < FAR_TOO_LONG, "{:?}", took);
    }
}
