//! Whichever way it is made, a summary says the same, and what is written is read back.

use proptest::prelude::*;

use super::*;
use crate::store::tests::{call, exchange};

#[test]
fn what_is_at_hand_says_the_same_as_the_span_itself() {
    let exchange = exchange("Why?", "Because.");
    let made = call(&exchange);
    let span = made.span();
    let (quick, slow) = (SpanSummary::of(&made), SpanSummary::of_span(&span));
    let known = SpanSummary {
        asked: Some("gpt-4o".into()),
        name: "llm.gpt-4o".into(),
        ..quick.clone()
    };
    assert_eq!(known, slow);
    assert_eq!(
        (quick.kind, quick.thread.as_deref()),
        (SpanKind::Chat, Some("thread"))
    );
}

#[test]
fn what_the_request_said_is_there_where_it_has_been_read() {
    let exchange = exchange("Why?", "Because.");
    let FinishedSpan::Call {
        exchange,
        mut place,
    } = call(&exchange)
    else {
        unreachable!()
    };
    place.model = Some("gpt-4o".into());
    place.task = Some("Why?".into());
    let made = FinishedSpan::Call { exchange, place };
    let summary = SpanSummary::of(&made);
    assert_eq!(summary.name, "llm.gpt-4o");
    assert_eq!(summary.asked.as_deref(), Some("gpt-4o"));
    assert_eq!(summary.preview.as_deref(), Some("Why?"));
}

#[test]
fn a_task_is_found_in_an_input_of_either_form() {
    assert_eq!(task(r#"{"task":"Write."}"#).as_deref(), Some("Write."));
    assert_eq!(task(r#""Write \"it\".""#).as_deref(), Some("Write \"it\"."));
    assert_eq!(task("[1]"), None);
    let long = serde_json::to_string(&"ü".repeat(300)).unwrap();
    assert_eq!(task(&long).unwrap().chars().count(), 200);
}

fn text() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(".{0,20}")
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        name in ".{0,30}", texts in [text(), text(), text(), text(), text(), text(), text(), text()],
        (start, end) in any::<(u64, u64)>(), tokens in any::<Option<u64>>(), failed in any::<bool>(),
    ) {
        let [entity, thread, customer, environment, agent, asked, answered, preview] =
            texts.map(|text| text.map(Cow::from));
        let summary = SpanSummary {
            kind: SpanKind::Agent, span: SpanId([7; 8]), parent: failed.then_some(SpanId([8; 8])), name: name.into(),
            entity, start, end, failed, thread, customer, environment, agent, asked, answered, input: tokens, output: None, preview,
        };
        let json = summary.json();
        prop_assert_eq!(SpanSummary::read(&json), Some(summary));
    }
}
