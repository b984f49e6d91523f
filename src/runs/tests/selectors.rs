//! `SelectorGroupChat` (autogen-agentchat 0.7): its prompts, its choices, and answers that it cannot use.

use super::*;

const NOBODY: &str = "No valid name was mentioned. Please select from: ['writer', 'critic'].";

/// A prompt for choosing between the two, as a default one or a program's own has the history.
fn prompt(before: &str, history: &str, after: &str) -> String {
    format!("{before}writer: Writes.\ncritic: Criticises.\n{history}\n\n{after}")
}

fn default(history: &str) -> String {
    prompt(
        "You are in a role play game. The following roles are available:\n",
        history,
        "Read the above conversation. Then select the next role from ['writer', 'critic'] to play. Only return the role.",
    )
}

fn chooses(began: u64, prompt: &str, answer: &str) -> Call {
    call(began, began + 5, &[["system", "", prompt]], answer)
}

fn traces(play: &Play) -> usize {
    let mut traces: Vec<TraceId> = play.spans.iter().map(|span| span.trace_id).collect();
    traces.sort_unstable();
    traces.dedup();
    traces.len()
}

const TREE: &str = "\
workflow SelectorGroupChat.run_stream
  llm.m
  agent.writer
    llm.m
  llm.m
  agent.critic
    llm.m
";

#[test]
fn a_prompt_with_words_of_its_own_before_the_history_begins_the_run() {
    for before in [
        "History: ",
        "What was said so far (latest last): ",
        ">> ",
        "",
        "Note: the chat: ",
    ] {
        let first = format!("{before}user: Write about owls.");
        let second = format!("{before}user: Write about owls.\n\n\nwriter: Owls fly.");
        let prompt =
            |history: &str| prompt("Roles:\n", history, "Who is next of ['writer', 'critic']?");
        let calls = [
            chooses(0, &prompt(&first), "writer"),
            call(10, 20, &[WRITER, TASK], "Owls fly."),
            chooses(30, &prompt(&second), "critic"),
            call(
                40,
                50,
                &[CRITIC, TASK, ["user", "writer", "Owls fly."]],
                "Fine.",
            ),
        ];
        assert_eq!(Play::of(&calls).tree(), TREE, "{before:?}");
    }
}

#[test]
fn a_selector_that_asks_again_goes_on_with_its_run() {
    let own = prompt(
        "Roles:\n",
        "History: user: Write about owls.",
        "Who is next of ['writer', 'critic']? Be brief.",
    );
    for prompt in [default("user: Write about owls."), own] {
        for unusable in ["I cannot tell.", "writer or critic", ""] {
            let again = chooses(10, &prompt, "still nobody")
                .then(["assistant", "", unusable])
                .then(["user", "user", NOBODY]);
            let once_more = chooses(20, &prompt, "writer")
                .then(["assistant", "", unusable])
                .then(["user", "user", NOBODY])
                .then(["assistant", "", "still nobody"])
                .then(["user", "user", NOBODY]);
            let calls = [
                chooses(0, &prompt, unusable),
                again,
                once_more,
                call(30, 40, &[WRITER, TASK], "Owls fly."),
            ];
            let play = Play::of(&calls);
            assert_eq!(traces(&play), 1, "{unusable:?}: {}", play.tree());
            let expected = "workflow SelectorGroupChat.run_stream\n  llm.m\n  llm.m\n  llm.m\n  agent.writer\n    llm.m\n";
            assert_eq!(play.tree(), expected, "{unusable:?}");
        }
    }
}

#[test]
fn the_choice_that_was_refused_names_nobody() {
    let prompt = default("user: Write about owls.");
    let repeated =
        "Repeated speaker is not allowed, please select a different name from: ['writer'].";
    let calls = [
        chooses(0, &prompt, "critic"),
        chooses(10, &prompt, "writer")
            .then(["assistant", "", "critic"])
            .then(["user", "user", repeated]),
        call(20, 30, &[WRITER, TASK], "Owls fly."),
    ];
    let tree = Play::of(&calls).tree();
    assert!(
        tree.contains("agent.writer") && !tree.contains("agent.critic"),
        "{tree}"
    );
}

#[test]
fn a_choice_that_nobody_followed_ends_with_its_run() {
    let prompt = default("user: Write about owls.");
    let later = Duration::from_secs(40);
    let mut play = Play::new(SETTINGS);
    play.all(&events(&[chooses(0, &prompt, "writer")]));
    play.later(later);
    let other = ["system", "", "You are somebody else."];
    let ms = u64::try_from(later.as_millis()).unwrap();
    play.all(&events(&[
        call(ms, ms + 10, &[other, TASK], "Owls sleep."),
        call(
            ms + 20,
            ms + 30,
            &[CRITIC, TASK, ["user", "sleeper", "Owls sleep."]],
            "Fine.",
        ),
    ]));
    play.rest();
    assert_eq!(traces(&play), 2, "{}", play.tree());
    assert!(!play.tree().contains("agent.writer"), "{}", play.tree());
}

#[test]
fn a_choice_is_nothing_to_an_agent_that_cannot_have_its_name() {
    let history = "user: Write about owls.\n\n\nwriter: Owls fly.";
    let team = [
        chooses(0, &default("user: Write about owls."), "writer"),
        call(10, 20, &[WRITER, TASK], "Owls fly.").offering("search"),
        chooses(30, &default(history), "critic"),
        call(
            40,
            50,
            &[CRITIC, TASK, ["user", "writer", "Owls fly."]],
            "Fine.",
        ),
        // The user stops here, and nobody follows it.
        chooses(
            60,
            &default(&format!("{history}\n\n\ncritic: Fine.")),
            "writer",
        ),
    ];
    let stranger = |system| call(80, 90, &[system, TASK], "Owls sleep.");
    // Other instructions, or other tools than the writer's; or known under another name.
    for (stranger, names) in [
        (stranger(["system", "", "You are somebody else."]), 1),
        (stranger(WRITER).offering("fetch"), 1),
        (stranger(CRITIC), 1),
    ] {
        let mut calls = team.to_vec();
        calls.push(stranger);
        let play = Play::of(&calls);
        assert_eq!(traces(&play), 2, "{}", play.tree());
        assert_eq!(
            play.tree().matches("agent.writer").count(),
            names,
            "{}",
            play.tree()
        );
    }
}
