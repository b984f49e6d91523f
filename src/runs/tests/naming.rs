//! Names that are given, and those that are not because a request contradicts them.

use super::*;

const DEFAULT: [&str; 3] = [
    "system",
    "",
    "You are a helpful AI assistant. Solve tasks using your tools. Reply with TERMINATE when the task has been completed.",
];
const SHARED: [&str; 3] = ["system", "", "You take part in a debate."];

fn agents(play: &Play) -> Vec<&str> {
    let mut agents: Vec<&Span> = play
        .spans
        .iter()
        .filter(|span| span.name.starts_with("agent."))
        .collect();
    agents.sort_by_key(|span| span.start_ns);
    agents.iter().map(|span| span.name.as_str()).collect()
}

/// Each says something once, and hears all before it.
fn in_turn(began: u64, task: [&str; 3], members: &[([&str; 3], &str, &str)]) -> Vec<Call> {
    (0..members.len())
        .map(|at| {
            let (system, _, said) = members[at];
            let mut messages = vec![system, task];
            messages.extend(
                members[..at]
                    .iter()
                    .map(|(_, name, said)| ["user", name, said]),
            );
            let began = began + 20 * at as u64;
            call(began, began + 10, &messages, said)
        })
        .collect()
}

#[test]
fn a_name_that_the_request_shows_as_somebody_elses_is_not_given() {
    for system in [DEFAULT, SHARED] {
        let calls = in_turn(
            0,
            TASK,
            &[
                (system, "optimist", "Owls are fine."),
                (system, "pessimist", "Owls are few."),
            ],
        );
        let play = Play::of(&calls);
        assert_eq!(agents(&play), ["agent.optimist", "agent.unknown"]);
        assert!(play.tree().starts_with("workflow GroupChat.run_stream\n"));
    }
}

#[test]
fn a_system_message_whose_agents_differ_names_nobody_in_later_runs() {
    let mut play = Play::new(SETTINGS);
    let members = [
        (SHARED, "optimist", "Owls are fine."),
        (SHARED, "pessimist", "Owls are few."),
    ];
    play.all(&events(&in_turn(0, TASK, &members)));
    play.rest();
    let learned = std::mem::take(&mut play.learned);
    let last: Vec<_> = learned.last().into_iter().collect();
    assert!(matches!(last[..], [(_, None)]), "{learned:?}");
    // The other one speaks first, and hears nobody.
    let mut next = Play::knowing(SETTINGS, learned);
    let cats = ["user", "user", "Write about cats."];
    let members = [
        (SHARED, "pessimist", "Cats are few."),
        (WRITER, "writer", "Cats purr."),
        (SHARED, "optimist", "Cats are fine."),
    ];
    next.all(&events(&in_turn(0, cats, &members)));
    next.rest();
    assert_eq!(
        agents(&next),
        ["agent.pessimist", "agent.writer", "agent.unknown"]
    );
}

#[test]
fn a_name_learned_elsewhere_is_not_given_where_another_agent_has_it() {
    let mut play = Play::new(SETTINGS);
    play.all(&events(&team()));
    play.rest();
    // The critic's instructions are known, and here somebody else is the critic.
    let learned = std::mem::take(&mut play.learned);
    assert!(learned.len() >= 2);
    let mut next = Play::knowing(SETTINGS, learned);
    let cats = ["user", "user", "Write about cats."];
    let members = [
        (SHARED, "critic", "Cats are overrated."),
        (CRITIC, "reviewer", "Fine."),
    ];
    next.all(&events(&in_turn(0, cats, &members)));
    next.rest();
    assert_eq!(agents(&next), ["agent.critic", "agent.unknown"]);
}

#[test]
fn a_default_system_message_names_nobody() {
    for text in [
        DEFAULT[2],
        "You are a helpful assistant.",
        "You are a helpful AI assistant",
        "",
    ] {
        let mut play = Play::new(SETTINGS);
        let default = ["system", "", text];
        let members = [
            (default, "helper", "Owls fly."),
            (CRITIC, "critic", "Too short."),
        ];
        play.all(&events(&in_turn(0, TASK, &members)));
        play.rest();
        let learned = std::mem::take(&mut play.learned);
        assert_eq!(learned.len(), 0, "{text}: {learned:?}");
        let cats = ["user", "user", "Write about cats."];
        let members = [
            (CRITIC, "critic", "Cats?"),
            (default, "other", "Cats purr."),
        ];
        let mut next = Play::knowing(SETTINGS, learned);
        next.all(&events(&in_turn(0, cats, &members)));
        next.rest();
        assert_eq!(agents(&next), ["agent.critic", "agent.unknown"], "{text}");
    }
}

#[test]
fn a_team_goes_in_rounds_only_once_somebody_has_spoken_again() {
    let members = [
        (WRITER, "writer", "Owls fly."),
        (CRITIC, "critic", "Too short."),
        (SHARED, "editor", "Owls fly at night."),
    ];
    let mut calls = in_turn(0, TASK, &members);
    let class = |calls: &[Call]| {
        let tree = Play::of(calls).tree();
        tree.lines().next().unwrap().to_owned()
    };
    assert_eq!(class(&calls), "workflow GroupChat.run_stream");
    let again = call(
        80,
        90,
        &[WRITER, TASK, ["assistant", "", "Owls fly."]],
        "More.",
    )
    .then(["user", "critic", "Too short."])
    .then(["user", "editor", "Owls fly at night."]);
    calls.push(again);
    assert_eq!(class(&calls), "workflow RoundRobinGroupChat.run_stream");
    // Two of one system message are two.
    let members = [
        (DEFAULT, "one", "Owls fly."),
        (DEFAULT, "two", "Too short."),
        (DEFAULT, "three", "So what."),
    ];
    assert_eq!(
        class(&in_turn(0, TASK, &members)),
        "workflow GroupChat.run_stream"
    );
}
