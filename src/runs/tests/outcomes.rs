//! What went wrong, as agents and teams say it.

use super::*;
use crate::span::Status;

const REFUSED: Came = Came::Refused(401, "Incorrect API key provided.");

fn statuses(play: &Play) -> Vec<(&str, Option<&str>)> {
    let mut spans: Vec<&Span> = play
        .spans
        .iter()
        .filter(|span| !span.name.starts_with("llm."))
        .collect();
    spans.sort_by_key(|span| (span.start_ns, std::cmp::Reverse(span.end_ns)));
    spans
        .iter()
        .map(|span| match &span.status {
            Status::Error(why) => {
                assert_eq!(text(span, key::ERROR_MESSAGE), Some(why.as_str()));
                (span.name.as_str(), Some(why.as_str()))
            }
            Status::Ok => (span.name.as_str(), None),
        })
        .collect()
}

fn output<'p>(play: &'p Play, name: &str) -> Option<&'p str> {
    let span = play.spans.iter().find(|span| span.name == name).unwrap();
    text(span, key::ENTITY_OUTPUT)
}

#[test]
fn an_agent_whose_last_call_failed_failed_and_so_did_its_team() {
    let why = Some("Incorrect API key provided.");
    let refused = |call: Call| {
        let mut call = call.coming(REFUSED);
        call.reply = Reply::default();
        call
    };
    let alone = Play::of(&[refused(call(0, 10, &[WRITER, TASK], ""))]);
    assert_eq!(statuses(&alone), [("agent.unknown", why)]);

    let [one, two, _] = team();
    let ends_so = Play::of(&[one.clone(), refused(two.clone())]);
    assert_eq!(
        statuses(&ends_so),
        [
            ("workflow", why),
            ("agent.writer", None),
            ("agent.unknown", why)
        ]
    );
    assert_eq!(output(&ends_so, "workflow"), Some("\"Owls fly.\""));

    // Whoever goes on after a failure has not failed.
    let asked = call(0, 10, &[WRITER, TASK], "").asking("call_1", "search", "{}");
    let shows =
        |began| call(began, began + 10, &[WRITER, TASK], "Done.").showing("call_1", "search", "x");
    let goes_on = Play::of(&[asked, refused(shows(20)), shows(40)]);
    let failed = statuses(&goes_on)
        .iter()
        .filter(|(_, why)| why.is_some())
        .count();
    assert_eq!(failed, 0, "{}", goes_on.tree());
}

#[test]
fn an_agent_that_is_a_tool_fails_alone() {
    let ask = ["user", "user", "A poem, please."];
    let arguments = r#"{"task":"Write about owls."}"#;
    let mut inner = call(20, 30, &[WRITER, TASK], "").coming(REFUSED);
    inner.reply = Reply::default();
    let calls = [
        call(0, 10, &[CRITIC, ask], "").asking("call_1", "poet", arguments),
        inner,
        call(40, 50, &[CRITIC, ask], "Sorry.").showing("call_1", "poet", "Error: refused"),
    ];
    assert_eq!(
        statuses(&Play::of(&calls)),
        [
            ("agent.unknown", None),
            ("tool.poet", None),
            ("agent.poet", Some("Incorrect API key provided."))
        ]
    );
}

#[test]
fn what_is_left_of_a_stream_that_the_client_left_is_nobodys_answer() {
    let [one, two, _] = team();
    let left = |call: Call, part: &str| {
        let mut call = call.coming(Came::Left);
        call.reply.content = Some(part.to_owned());
        call
    };
    let play = Play::of(&[one.clone(), left(two, "Too sh")]);
    assert_eq!(output(&play, "workflow"), Some("\"Owls fly.\""));
    let play = Play::of(&[left(one, "Owl").saying("x-respan-workflow-name", "owls")]);
    assert_eq!(output(&play, "workflow"), None);
}

#[test]
fn what_names_a_run_is_on_all_of_its_spans() {
    let ask = ["user", "user", "A poem, please."];
    let calls = [
        call(0, 10, &[CRITIC, ask], "").asking("call_1", "poet", r#"{"task":"Write about owls."}"#),
        call(20, 30, &[WRITER, TASK], "Owls fly."),
        call(40, 50, &[CRITIC, ask], "Here.").showing("call_1", "poet", "Owls fly."),
        call(60, 70, &[WRITER, ask, ["user", "critic", "Here."]], "Fine."),
    ]
    .map(|call| {
        call.saying("x-respan-custom-identifier", "order-7")
            .saying("x-respan-trace-group-identifier", "nightly")
    });
    let play = Play::of(&calls);
    let kinds: std::collections::BTreeSet<&str> = play
        .spans
        .iter()
        .filter_map(|span| text(span, key::LOG_TYPE))
        .collect();
    assert_eq!(kinds.len(), 4, "{kinds:?}");
    for span in &play.spans {
        let names = [key::CUSTOM_IDENTIFIER, key::TRACE_GROUP_IDENTIFIER];
        assert_eq!(
            names.map(|name| text(span, name)),
            [Some("order-7"), Some("nightly")],
            "{}",
            span.name
        );
    }
}
