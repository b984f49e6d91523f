//! Tool calls: without an index, with equal ones, under changing ids, as one object.

use super::*;
use crate::openai::ToolCall;
use crate::openai::reader::tests::call;

const POPULATION: &str = r#"{"city":"Oslo"}"#;

/// Two calls, the second of which has its arguments in two pieces. The parameters are the other members of each piece.
#[track_caller]
fn two(population: &str, weather: &str, rest: &str) -> Vec<ToolCall> {
    streamed(&[
        &format!(
            r#"{{"tool_calls":[{{{population}"function":{{"name":"population","arguments":"{{\"city\":\"Oslo\"}}"}}}}]}}"#
        ),
        &format!(
            r#"{{"tool_calls":[{{{weather}"function":{{"name":"weather","arguments":"{{\"city\":"}}}}]}}"#
        ),
        &format!(r#"{{"tool_calls":[{{{rest}"function":{{"arguments":"\"Oslo\"}}"}}}}]}}"#),
    ])
    .tool_calls
}

#[test]
fn calls_without_a_useful_index_begin_with_another_name() {
    for (population, weather, rest, ids) in [
        ("", "", "", ["", ""]),
        (
            r#""index":null,"#,
            r#""index":null,"#,
            r#""index":null,"#,
            ["", ""],
        ),
        (r#""index":0,"#, r#""index":0,"#, r#""index":0,"#, ["", ""]),
        (
            r#""index":0,"id":"","#,
            r#""index":0,"id":"","#,
            r#""index":0,"id":"","#,
            ["", ""],
        ),
        (r#""id":"a","#, r#""id":"b","#, "", ["a", "b"]),
        (r#""id":"a","#, r#""id":"b","#, r#""id":"b","#, ["a", "b"]),
        // The second call continues under a new id, under another index, or under both.
        (r#""id":"a","#, r#""id":"b","#, r#""id":"c","#, ["a", "b"]),
        (
            r#""index":0,"id":"a","#,
            r#""index":1,"id":"b","#,
            r#""index":2,"#,
            ["a", "b"],
        ),
        (
            r#""index":0,"id":"a","#,
            r#""index":1,"id":"b","#,
            r#""index":2,"id":"c","#,
            ["a", "b"],
        ),
        (
            r#""index":0,"id":"same","#,
            r#""index":0,"id":"same","#,
            r#""index":0,"id":"same","#,
            ["same", "same"],
        ),
        (r#""index":1,"#, r#""index":2,"#, r#""index":2,"#, ["", ""]),
    ] {
        assert_eq!(
            two(population, weather, rest),
            [
                call(ids[0], "population", POPULATION),
                call(ids[1], "weather", POPULATION)
            ],
            "{population} {weather} {rest}"
        );
    }
}

#[test]
fn calls_of_one_tool_are_told_apart_by_their_arguments() {
    for (first, second) in [
        ("", ""),
        (r#""index":0,"#, r#""index":0,"#),
        (r#""id":"","#, r#""id":"","#),
        (r#""id":"0","#, r#""id":"0","#),
        (r#""id":"a","#, r#""id":"b","#),
    ] {
        let one = |head: &str, city: &str| {
            format!(
                r#"{{"tool_calls":[{{{head}"function":{{"name":"weather","arguments":"{{\"city\":\"{city}\"}}"}}}}]}}"#
            )
        };
        let calls = streamed(&[&one(first, "Oslo"), &one(second, "Rome")]).tool_calls;
        let arguments: Vec<&str> = calls.iter().map(|call| &*call.arguments).collect();
        assert_eq!(
            arguments,
            [r#"{"city":"Oslo"}"#, r#"{"city":"Rome"}"#],
            "{first}"
        );
    }
}

#[test]
fn several_calls_in_one_chunk_are_each_a_call() {
    for head in [
        "",
        r#""index":null,"#,
        r#""index":0,"#,
        r#""index":0,"id":"","#,
    ] {
        for arguments in [r#""{\"city\":\"Oslo\"}""#, r#""""#] {
            let delta = format!(
                r#"{{"tool_calls":[{{{head}"type":"function","function":{{"name":"population","arguments":{arguments}}}}},{{{head}"type":"function","function":{{"name":"weather","arguments":{arguments}}}}}]}}"#
            );
            for calls in [streamed(&[&delta]).tool_calls, whole(&delta).tool_calls] {
                let names: Vec<&str> = calls.iter().map(|call| &*call.name).collect();
                assert_eq!(names, ["population", "weather"], "{delta}");
            }
        }
    }
}

#[test]
fn a_name_repeated_with_each_piece_begins_no_call() {
    let piece = |id: &str, arguments: &str| {
        format!(
            r#"{{"tool_calls":[{{"index":0,"id":"{id}","type":"function","function":{{"name":"f","arguments":"{arguments}"}}}}]}}"#
        )
    };
    for ids in [["a", "a", "a"], ["a", "b", "c"], ["a", "", ""]] {
        let pieces = [
            piece(ids[0], ""),
            piece(ids[1], r#"{\"x\":"#),
            piece(ids[2], "1}"),
        ];
        let calls = streamed(&[&pieces[0], &pieces[1], &pieces[2]]).tool_calls;
        assert_eq!(calls, [call("a", "f", r#"{"x":1}"#)], "{ids:?}");
    }
}

#[test]
fn a_delta_without_arguments_changes_no_whole_call() {
    let first =
        r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}]}"#;
    for more in [
        r#"{"tool_calls":[{"index":0,"function":{"arguments":""}}]}"#,
        r#"{"tool_calls":[{"index":0,"id":"","function":{"name":"","arguments":""}}]}"#,
        r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}"#,
        r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f"}}]}"#,
        r#"{"tool_calls":[{}]}"#,
        r#"{"tool_calls":[]}"#,
        r#"{"tool_calls":null}"#,
        // A repetition under the same id.
        first,
    ] {
        let calls = streamed(&[first, more]).tool_calls;
        assert_eq!(calls, [call("a", "f", r#"{"x":1}"#)], "{more}");
    }
}

#[test]
fn text_after_whole_arguments_stays_with_them() {
    let calls = streamed(&[
        r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]}"#,
    ])
    .tool_calls;
    assert_eq!(calls, [call("a", "f", r#"{"x":1}}"#)]);
}

#[test]
fn empty_arguments_that_open_a_call_give_way_to_the_true_ones() {
    let calls = streamed(&[
        r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}"#,
    ])
    .tool_calls;
    assert_eq!(calls, [call("a", "f", r#"{"x":1}"#)]);
}

#[test]
fn one_call_may_stand_in_place_of_a_list() {
    let calls = streamed(&[
        r#"{"tool_calls":{"index":0,"id":"","type":"function","function":{"name":"weather","arguments":"{\"city\""}}}"#,
        r#"{"tool_calls":{"index":0,"function":{"name":null,"arguments":":\"Oslo\"}"}}}"#,
    ])
    .tool_calls;
    assert_eq!(calls, [call("", "weather", POPULATION)]);
    let calls = whole(
        r#"{"tool_calls":{"id":"a","type":"function","function":{"name":"weather","arguments":{"city":"Oslo"}}}}"#,
    )
    .tool_calls;
    assert_eq!(calls, [call("a", "weather", POPULATION)]);
}

#[test]
fn arguments_in_very_many_pieces_are_one_call() {
    const PIECES: usize = 5_000;
    let head =
        r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":\""}}]}"#;
    let piece = r#"{"tool_calls":[{"index":0,"function":{"arguments":"abcd"}}]}"#;
    let mut reader = ReplyReader::new(EVENTS, None, LIMIT);
    reader.push(events(&[&chunk(&[0], &format!(r#""delta":{head}"#))]).as_bytes());
    let more = events(&[&chunk(&[0], &format!(r#""delta":{piece}"#))]);
    for _ in 0..PIECES {
        reader.push(more.as_bytes());
    }
    let reply = reader.finish().reply;
    let [call] = &reply.choices[0].tool_calls[..] else {
        panic!("one call")
    };
    assert_eq!(call.arguments.len(), r#"{"x":""#.len() + PIECES * 4);
}
