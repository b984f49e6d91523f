//! The evidence that attributes requests, piece by piece.

use super::*;

const TEAM: &str = "\
workflow RoundRobinGroupChat.run_stream
  agent.writer
    llm.m
  agent.critic
    llm.m
  agent.writer
    llm.m
";

fn rules(play: &Play) -> Vec<&str> {
    play.spans
        .iter()
        .filter(|span| span.name == "llm.m")
        .filter_map(|span| text(span, key::RULE))
        .collect()
}

#[test]
fn a_reply_that_comes_back_under_a_name_names_its_agent() {
    let play = Play::of(&team());
    assert_eq!(play.tree(), TEAM);
    assert_eq!(rules(&play), ["root", "chain", "chain"]);
}

#[test]
fn runs_of_other_threads_credentials_or_told_traces_never_meet() {
    for header in [
        "x-respan-thread-identifier",
        "authorization",
        "x-respan-trace-id",
    ] {
        let [one, two, three] = team();
        let calls = [
            one.saying(header, "Bearer 1"),
            two.saying(header, "Bearer 2"),
            three.saying(header, "Bearer 1"),
        ];
        let play = Play::of(&calls);
        let traces: Vec<TraceId> = play
            .spans
            .iter()
            .filter(|span| span.name == "llm.m")
            .map(|span| span.trace_id)
            .collect();
        assert!(traces[0] == traces[2] && traces[0] != traces[1], "{header}");
    }
}

#[test]
fn one_told_trace_of_two_credentials_is_two_runs_whose_workflows_differ() {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let calls: Vec<Call> = ["Bearer 1", "Bearer 2"]
        .iter()
        .flat_map(|key| {
            team().map(|call| {
                call.saying("x-respan-trace-id", trace)
                    .saying("authorization", key)
            })
        })
        .collect();
    let play = Play::of(&calls);
    let mut workflows: Vec<SpanId> = play
        .spans
        .iter()
        .filter(|span| span.name == "workflow")
        .map(|span| span.span_id)
        .collect();
    workflows.dedup();
    assert_eq!(workflows.len(), 2);
    assert!(
        play.spans
            .iter()
            .all(|span| span.trace_id.to_string() == trace)
    );
}

#[test]
fn a_traceparent_is_the_parent_of_the_root() {
    let told = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let calls = team().map(|call| call.saying("traceparent", told));
    let play = Play::of(&calls);
    let workflow = play
        .spans
        .iter()
        .find(|span| span.name == "workflow")
        .unwrap();
    assert_eq!(
        workflow.parent_span_id.unwrap().to_string(),
        "b7ad6b7169203331"
    );
}

#[test]
fn told_names_win() {
    let [one, two, last] = team();
    let calls = [
        one.saying("x-respan-agent-name", "author")
            .saying("x-respan-workflow-name", "owls"),
        two,
        last,
    ];
    let tree = Play::of(&calls).tree();
    assert!(
        tree.starts_with("workflow owls\n  agent.author\n"),
        "{tree}"
    );
}

#[test]
fn runs_that_are_alike_so_far_go_on_in_the_order_of_their_replies_and_say_so() {
    let [one, two, _] = team();
    let at = |call: &Call, by: u64| Call {
        began_us: call.began_us + by * 1000,
        ended_us: call.ended_us + by * 1000,
        ..call.clone()
    };
    let calls = [one.clone(), at(&one, 2), at(&two, 0), at(&two, 2)];
    let play = Play::of(&calls);
    let chats: Vec<&Span> = play
        .spans
        .iter()
        .filter(|span| span.name == "llm.m")
        .collect();
    let [first, second, third, fourth] = chats[..] else {
        panic!("{chats:?}")
    };
    assert_eq!(
        (first.trace_id, second.trace_id),
        (third.trace_id, fourth.trace_id)
    );
    assert_eq!(text(third, key::AMBIGUOUS), Some("true"));
    assert_eq!(text(first, key::AMBIGUOUS), None);
}

#[test]
fn an_agent_as_a_tool_takes_the_tools_name_and_a_client_within_a_tool_does_not() {
    for (tool, arguments, name) in [
        ("poet", r#"{"task":"Write about owls."}"#, "agent.poet"),
        (
            "summarize",
            r#"{"text":"Write about owls."}"#,
            "agent.unknown",
        ),
    ] {
        let ask = ["user", "user", "A poem, please."];
        let calls = [
            call(0, 10, &[CRITIC, ask], "").asking("call_1", tool, arguments),
            call(20, 30, &[WRITER, TASK], "Owls fly."),
            call(40, 50, &[CRITIC, ask], "Here it is.").showing("call_1", tool, "Owls fly."),
        ];
        let expected = format!(
            "agent.unknown\n  llm.m\n  tool.{tool} = \"Owls fly.\"\n    {name}\n      llm.m\n  llm.m\n"
        );
        assert_eq!(Play::of(&calls).tree(), expected);
    }
}

#[test]
fn a_tool_without_an_answer_says_so_and_one_that_is_missing_is_an_error() {
    let asks = call(0, 10, &[WRITER, TASK], "").asking("call_1", "search", "{}");
    assert_eq!(
        Play::of(std::slice::from_ref(&asks)).tree(),
        "agent.unknown\n  llm.m\n  tool.search (unanswered)\n"
    );
    for (said, failed) in [
        ("Error: tool 'search' not found in any workbench", true),
        ("Tool search not found.", true),
        ("Error: the owl is out", false),
    ] {
        let answered = call(20, 30, &[WRITER, TASK], "Sorry.").showing("call_1", "search", said);
        let tree = Play::of(&[asks.clone(), answered]).tree();
        assert_eq!(tree.contains("(error)"), failed, "{tree}");
    }
}

#[test]
fn ids_of_tool_calls_that_come_again_are_told_apart_by_their_order() {
    let next = ["user", "user", "Again."];
    let calls = [
        call(0, 10, &[WRITER, TASK], "")
            .asking("call_1", "search", "{}")
            .offering("search"),
        call(20, 30, &[WRITER, TASK], "One.").showing("call_1", "search", "first"),
        call(40, 50, &[WRITER, TASK], "")
            .showing("call_1", "search", "first")
            .asking("call_1", "search", "{}")
            .offering("search"),
    ];
    let mut calls = calls.to_vec();
    let messages = calls[2].request["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": "One."}));
    messages.push(json!({"role": next[0], "name": next[1], "content": next[2]}));
    let mut last = Call {
        began_us: 60_000,
        ended_us: 70_000,
        ..calls[2].clone()
    }
    .showing("call_1", "search", "second");
    last.reply = Reply {
        content: Some("Two.".to_owned()),
        ..Reply::default()
    };
    calls.push(last);
    let tree = Play::of(&calls).tree();
    assert_eq!(
        tree,
        "agent.unknown\n  llm.m\n  tool.search = \"first\"\n  llm.m\n\nagent.unknown\n  llm.m\n  tool.search = \"second\"\n  llm.m\n"
    );
}

#[test]
fn a_swarm_that_hands_over_to_the_user_goes_on_in_a_run_of_its_own_and_names_nobody_user() {
    let asks = call(0, 10, &[WRITER, TASK], "")
        .asking("call_1", "transfer_to_user", "{}")
        .offering("transfer_to_user");
    let goes_on = call(20, 30, &[WRITER, TASK], "Done.").showing(
        "call_1",
        "transfer_to_user",
        "Transferred to user, adopting the role of user immediately.",
    );
    let mut goes_on = goes_on.offering("transfer_to_user");
    goes_on.request["messages"]
        .as_array_mut()
        .unwrap()
        .push(json!({"role": "user", "name": "user", "content": "About barn owls."}));
    let tree = Play::of(&[asks, goes_on]).tree();
    assert!(!tree.contains("agent.user"), "{tree}");
    assert_eq!(
        tree.matches("workflow Swarm.run_stream").count(),
        2,
        "{tree}"
    );
}

#[test]
fn a_client_by_itself_is_a_call_by_itself() {
    let alone = call(
        0,
        10,
        &[["user", "user", "What is the capital of France?"]],
        "Paris.",
    );
    assert_eq!(Play::of(&[alone]).tree(), "llm.m\n");
}

#[test]
fn names_learned_in_a_team_are_known_in_the_next_one_unless_two_agents_share_their_instructions() {
    let mut play = Play::new(SETTINGS);
    play.all(&events(&team()));
    play.rest();
    let learned = std::mem::take(&mut play.learned);
    assert_eq!(learned.len(), 2);
    let other = ["user", "user", "Write about cats."];
    let next = [
        call(0, 10, &[WRITER, other], "Cats purr."),
        call(
            20,
            30,
            &[CRITIC, other, ["user", "writer", "Cats purr."]],
            "Fine.",
        ),
    ];
    let known_with = |names: Vec<LearnedName>| {
        let mut play = Play::knowing(SETTINGS, names);
        play.all(&events(&next));
        play.rest();
        play.tree()
    };
    assert!(known_with(learned.clone()).contains("agent.critic"));
    assert!(!known_with(Vec::new()).contains("agent.critic"));
    let shared = learned
        .into_iter()
        .map(|(prompt, _)| (prompt, None))
        .collect();
    assert!(!known_with(shared).contains("agent.critic"));
}
