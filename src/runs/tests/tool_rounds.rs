//! Tool calls whose ids say little: empty ones, equal ones, ones that come again in every reply.

use super::*;

const ASK: [&str; 3] = ["user", "user", "Find out about tides."];
const PAPERS: [&str; 3] = ["system", "", "You search papers."];
const NEWS: [&str; 3] = ["system", "", "You search news."];

/// Of the chat spans in the order they began, which trace each is of: the number of the trace's first one.
fn traces(play: &Play) -> Vec<usize> {
    let mut chats: Vec<&Span> = play
        .spans
        .iter()
        .filter(|span| span.name == "llm.m")
        .collect();
    chats.sort_by_key(|span| span.start_ns);
    let first = |trace| chats.iter().position(|span| span.trace_id == trace);
    chats
        .iter()
        .map(|span| first(span.trace_id).unwrap())
        .collect()
}

#[test]
fn results_under_equal_ids_go_to_the_calls_in_their_order() {
    for id in ["", "0", "functions.f:0"] {
        let calls = [
            call(0, 10, &[WRITER, ASK], "")
                .asking(id, "population", r#"{"city":"Oslo"}"#)
                .asking(id, "weather", r#"{"city":"Oslo"}"#)
                .asking(id, "weather", r#"{"city":"Rome"}"#),
            call(20, 30, &[WRITER, ASK], "Done.").showing_all(&[
                (id, "population", r#"{"city":"Oslo"}"#, "709000"),
                (id, "weather", r#"{"city":"Oslo"}"#, "rain"),
                (id, "weather", r#"{"city":"Rome"}"#, "sun"),
            ]),
        ];
        let play = Play::of(&calls);
        let tree = play.tree();
        let outputs: Vec<&str> = tree.lines().filter(|line| line.contains("tool.")).collect();
        assert_eq!(traces(&play), [0, 0], "{id}");
        assert_eq!(outputs.len(), 3, "{id}: {tree}");
        for output in [
            "tool.population = \"709000\"",
            "tool.weather = \"rain\"",
            "tool.weather = \"sun\"",
        ] {
            assert!(tree.contains(output), "{id}: {tree}");
        }
        let mut ids: Vec<SpanId> = play.spans.iter().map(|span| span.span_id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), play.spans.len(), "{id}: a span id came twice");
    }
}

#[test]
fn of_two_agents_with_the_same_id_each_shows_its_own_call_beside_its_result() {
    let other = ["user", "user", "Compare."];
    // A graph whose two agents begin at once: they have other instructions, or other tools, or pass other arguments.
    for (one, two, tools) in [
        (PAPERS, NEWS, ["search", "search"]),
        (PAPERS, PAPERS, ["search_papers", "search_news"]),
        (PAPERS, PAPERS, ["search", "search"]),
    ] {
        let (x, y) = (r#"{"q":"x"}"#, r#"{"q":"y"}"#);
        let calls = [
            call(0, 2, &[CRITIC, other], "Go.").offering("ask"),
            call(10, 20, &[one, other, ["user", "lead", "Go."]], "").asking("0", tools[0], x),
            call(11, 21, &[two, other, ["user", "lead", "Go."]], "").asking("0", tools[1], y),
            call(
                30,
                40,
                &[one, other, ["user", "lead", "Go."]],
                "First read.",
            )
            .showing_all(&[("0", tools[0], x, "result of x")]),
            call(
                31,
                41,
                &[two, other, ["user", "lead", "Go."]],
                "Second read.",
            )
            .showing_all(&[("0", tools[1], y, "result of y")]),
        ];
        let play = Play::of(&calls);
        assert_eq!(traces(&play), [0; 5]);
        for (arguments, result) in [(x, "result of x"), (y, "result of y")] {
            let mut tools = play.spans.iter().filter(|span| {
                text(span, key::LOG_TYPE) == Some("tool")
                    && text(span, key::ENTITY_INPUT).is_some_and(|input| input.contains(arguments))
            });
            let tool = tools.next().unwrap();
            assert_eq!(
                text(tool, key::ENTITY_OUTPUT),
                Some(&*format!("\"{result}\"")),
                "{}",
                play.tree()
            );
            assert!(tools.next().is_none());
        }
        let agents = play
            .spans
            .iter()
            .filter(|span| span.name.starts_with("agent."));
        assert_eq!(agents.count(), 3, "{}", play.tree());
    }
}

#[test]
fn ids_that_come_again_in_every_reply_of_a_loop_are_told_apart_by_what_stands_before_them() {
    let rounds = [
        ("0", "search", r#"{"q":"same"}"#, "first"),
        ("0", "search", r#"{"q":"same"}"#, "second"),
        ("0", "search", r#"{"q":"same"}"#, "third"),
    ];
    let shown = |began, rounds: &[(&str, &str, &str, &str)]| {
        rounds
            .iter()
            .fold(call(began, began + 5, &[PAPERS, ASK], ""), |call, round| {
                call.showing_all(&[*round])
            })
            .offering("search")
    };
    let asks = |call: Call| call.asking("0", "search", r#"{"q":"same"}"#);
    let mut calls: Vec<Call> = (0..3)
        .map(|at| asks(shown(10 * at as u64, &rounds[..at])))
        .collect();
    calls.push(shown(30, &rounds));
    let play = Play::of(&calls);
    assert_eq!(
        play.tree(),
        "agent.unknown\n  llm.m\n  tool.search = \"first\"\n  llm.m\n  tool.search = \"second\"\n  llm.m\n  tool.search = \"third\"\n  llm.m\n"
    );
}

#[test]
fn an_id_never_links_to_a_conversation_with_another_history() {
    for id in ["", "0", "functions.search:0", "call_8Zr3kQ0aTn5"] {
        let elsewhere = ["user", "user", "Find out about owls."];
        let calls = [
            call(0, 10, &[PAPERS, ASK], "").asking(id, "search", r#"{"q":"x"}"#),
            // Its own call went another way.
            call(20, 30, &[PAPERS, elsewhere], "Read.").showing_all(&[(
                id,
                "search",
                r#"{"q":"x"}"#,
                "owls",
            )]),
        ];
        let play = Play::of(&calls);
        assert_eq!(traces(&play), [0, 1], "{id}: {}", play.tree());
        assert!(play.tree().contains("tool.search (unanswered)"), "{id}");
    }
}

#[test]
fn conversations_at_once_with_the_same_ids_keep_to_their_own_tools() {
    let tasks: Vec<String> = (0..80)
        .map(|number| format!("Count to {number}."))
        .collect();
    let mut calls = Vec::new();
    for (number, task) in tasks.iter().enumerate() {
        let (ask, at) = (["user", "user", task], number as u64);
        calls.push(call(at, at + 100, &[PAPERS, ask], "").asking("0", "count", "{}"));
        let result = format!("counted {number}");
        calls
            .push(call(at + 200, at + 300, &[PAPERS, ask], "Done.").showing("0", "count", &result));
    }
    let tree = Play::of(&calls).tree();
    assert_eq!(tree.split("\n\n").count(), tasks.len(), "{tree}");
    assert!(!tree.contains("unanswered"));
    for number in 0..tasks.len() {
        assert!(tree.contains(&format!("= \"counted {number}\"")));
    }
}

#[test]
fn an_id_of_its_own_is_known_where_the_history_is_cut_short() {
    let [first, last] = [["user", "user", "Hello."], ["user", "user", "Look it up."]];
    let said = ["assistant", "", "Hi."];
    let id = "call_8Zr3kQ0aTn5";
    let calls = [
        call(0, 10, &[PAPERS, first], "Hi."),
        call(20, 30, &[PAPERS, first, said, last], "").asking(id, "search", r#"{"q":"x"}"#),
        // The last three messages of all.
        call(40, 50, &[PAPERS, last], "Read.").showing_all(&[(
            id,
            "search",
            r#"{"q":"x"}"#,
            "tides",
        )]),
    ];
    let play = Play::of(&calls);
    assert_eq!(traces(&play), [0, 1, 1], "{}", play.tree());
    assert!(play.tree().contains("tool.search = \"tides\""));
}

#[test]
fn of_runs_that_cannot_be_told_apart_each_says_so() {
    let asks = |began| {
        call(began, began + 10, &[PAPERS, ASK], "").asking("call_1", "search", r#"{"q":"x"}"#)
    };
    let shows = |began, result| {
        call(began, began + 10, &[PAPERS, ASK], "Read.").showing_all(&[(
            "call_1",
            "search",
            r#"{"q":"x"}"#,
            result,
        )])
    };
    let ambiguous = |calls: &[Call]| {
        let play = Play::of(calls);
        let chats = play.spans.iter().filter(|span| span.name == "llm.m");
        chats
            .filter(|span| text(span, key::AMBIGUOUS) == Some("true"))
            .count()
    };
    let swapped = [asks(0), asks(1), shows(30, "b"), shows(31, "a")];
    assert_eq!(ambiguous(&swapped), 2);
    let one_after_another = [asks(0), shows(20, "a"), asks(40), shows(60, "b")];
    assert_eq!(ambiguous(&one_after_another), 0);
}

#[test]
fn an_agent_as_a_tool_with_its_callers_instructions_does_not_become_its_caller() {
    let instructions = [
        "system",
        "",
        "You are a helpful AI assistant. Solve tasks using your tools. Reply with TERMINATE when the task has been completed.",
    ];
    for task in ["Write about owls.", "Owls, please."] {
        let arguments = json!({"task": task}).to_string();
        let ask = ["user", "user", "Owls, please."];
        let calls = [
            call(0, 10, &[instructions, ask], "")
                .asking("call_1", "worker", &arguments)
                .offering("worker"),
            call(20, 30, &[instructions, ["user", "user", task]], "Owls fly."),
            call(40, 50, &[instructions, ask], "They fly.").showing_all(&[(
                "call_1",
                "worker",
                &arguments,
                "Owls fly.",
            )]),
        ];
        let play = Play::of(&calls);
        assert_eq!(
            play.tree(),
            "agent.unknown\n  llm.m\n  tool.worker = \"Owls fly.\"\n    agent.worker\n      llm.m\n  llm.m\n"
        );
        let coordinator = play.spans.iter().find(|span| span.name == "agent.unknown");
        assert_eq!(
            text(coordinator.unwrap(), key::ENTITY_OUTPUT),
            Some("\"They fly.\"")
        );
    }
}

#[test]
fn a_reply_is_known_without_the_thoughts_before_it() {
    for thoughts in [
        "<think>Short plan.</think>\n\n",
        "Short plan.\n</think>\n\n",
        "\n<think>\n</think>",
    ] {
        for kept in [false, true] {
            let [mut one, mut two, mut three] = team();
            let said: Vec<String> = [&one, &two]
                .iter()
                .map(|call| format!("{thoughts}{}", call.reply.content.as_deref().unwrap()))
                .collect();
            for (call, said) in [(&mut one, &said[0]), (&mut two, &said[1])] {
                call.reply.content = Some(said.clone());
            }
            if kept {
                two.request["messages"][2]["content"] = json!(said[0]);
                three.request["messages"][2]["content"] = json!(said[0]);
                three.request["messages"][3]["content"] = json!(said[1]);
            }
            let play = Play::of(&[one, two, three]);
            assert_eq!(
                play.tree(),
                "workflow RoundRobinGroupChat.run_stream\n  agent.writer\n    llm.m\n  agent.critic\n    llm.m\n  agent.writer\n    llm.m\n",
                "{thoughts:?}, kept: {kept}"
            );
        }
    }
    // An answer that speaks of the tag is an answer.
    let quoting = "It ends in `</think>`, as you know.";
    let calls = [call(0, 10, &[WRITER, TASK], quoting)];
    let play = Play::of(&calls);
    assert_eq!(
        text(
            play.spans
                .iter()
                .find(|span| span.name == "agent.unknown")
                .unwrap(),
            key::ENTITY_OUTPUT
        ),
        Some(&*json!(quoting).to_string())
    );
}
