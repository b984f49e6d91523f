//! Events are found wherever they are cut, within bounds.

use proptest::prelude::*;

use super::*;

fn frames_of(limit: usize, pieces: &[&[u8]]) -> (Vec<SseFrame<'static>>, u64) {
    let mut found = Vec::new();
    let mut framer = SseFramer::new(limit);
    for piece in pieces {
        framer.push(piece, |frame| found.push(owned(frame)));
    }
    let skipped = framer.skipped();
    framer.finish(|frame| found.push(owned(frame)));
    (found, skipped)
}

fn owned(frame: SseFrame<'_>) -> SseFrame<'static> {
    let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
    match frame {
        SseFrame::Event { kind, data, id } => SseFrame::Event {
            kind: own(kind),
            data: own(data),
            id: own(id),
        },
        SseFrame::Stray(text) => SseFrame::Stray(own(text)),
    }
}

fn data_of(bytes: &[u8]) -> Vec<String> {
    let (frames, _) = frames_of(EVENT_LIMIT, &[bytes]);
    frames
        .into_iter()
        .map(|frame| match frame {
            SseFrame::Event { data, .. } => data.into_owned(),
            SseFrame::Stray(text) => format!("stray {text}"),
        })
        .collect()
}

#[test]
fn every_line_end_of_the_grammar_ends_a_line() {
    for end in ["\n", "\r", "\r\n"] {
        let bytes = format!("data: a{end}data: b{end}{end}data: c{end}{end}");
        assert_eq!(data_of(bytes.as_bytes()), ["a\nb", "c"], "with {end:?}");
    }
}

#[test]
fn a_byte_order_mark_is_stripped_at_the_start_and_text_elsewhere() {
    assert_eq!(data_of(b"\xEF\xBB\xBFdata: a\n\n"), ["a"]);
    assert_eq!(
        data_of(b"data: a\n\n\xEF\xBB\xBFdata: b\n\ndata: c\n\n"),
        ["a", "stray \u{FEFF}data: b\n", "c"]
    );
    assert_eq!(
        data_of(b"\xEF\xBBdata: a\n\ndata: b\n\n"),
        ["stray \u{FFFD}data: a\n", "b"]
    );
}

#[test]
fn comments_and_events_without_data_are_silent() {
    assert_eq!(
        data_of(b": ping\n\n\n\nevent: x\n\n:\n\ndata: a\n\n"),
        ["a"]
    );
}

#[test]
fn the_last_event_needs_no_blank_line() {
    assert_eq!(data_of(b"data: a\n\ndata: b\n"), ["a", "b"]);
    assert_eq!(data_of(b"data: a\n\ndata: b"), ["a", "b"]);
}

#[test]
fn an_event_has_its_name() {
    let (frames, _) = frames_of(EVENT_LIMIT, &[b"event: error\ndata: {}\n\n"]);
    assert!(
        matches!(&frames[..], [SseFrame::Event { kind, data, .. }] if kind == "error" && data == "{}")
    );
}

#[test]
fn bad_utf8_becomes_the_replacement_character_and_the_stream_goes_on() {
    assert_eq!(data_of(b"data: a\xFFb\n\ndata: c\n\n"), ["a\u{FFFD}b", "c"]);
}

#[test]
fn json_without_a_field_is_a_stray_frame() {
    assert_eq!(
        data_of(b"data: a\n\n{\"error\":1}"),
        ["a", "stray {\"error\":1}\n"]
    );
    assert_eq!(
        data_of(b"data: a\n{\n \"error\":1}\ndata: b\n\n"),
        ["a", "stray {\n \"error\":1}\n", "b"]
    );
}

#[test]
fn text_without_a_field_is_a_stray_frame() {
    assert_eq!(
        data_of(b"upstream connect error\n\ndata: a\n\n[{\"error\":1}]\ndata: b\n\n"),
        [
            "stray upstream connect error\n",
            "a",
            "stray [{\"error\":1}]\n",
            "b"
        ]
    );
    assert_eq!(data_of(b"id: 1\nretry: 5\nnothing else\n\n"), [""; 0]);
}

#[test]
fn an_error_in_a_field_of_its_own_is_an_event_of_that_kind() {
    for bytes in [
        "error: {\"code\":400}\n\n",
        "error:{\"code\":400}",
        ": ping\nerror: {\"code\":400}\r\n\r\n",
        "id: 1\nerror: {\"code\":\ndata: 400}\n\n",
        "error: {\"code\":\n400}\n\n",
    ] {
        let (frames, _) = frames_of(EVENT_LIMIT, &[bytes.as_bytes()]);
        assert!(
            matches!(&frames[..], [SseFrame::Event { kind, data, .. }] if kind == "error" && data.replace('\n', "") == "{\"code\":400}"),
            "{bytes} {frames:?}"
        );
    }
    let (frames, _) = frames_of(EVENT_LIMIT, &[b"data: a\nerror: b\n\n"]);
    assert!(
        matches!(&frames[..], [SseFrame::Event { data, .. }, SseFrame::Event { kind, data: error, .. }] if data == "a" && kind == "error" && error == "b")
    );
}

#[test]
fn an_event_over_the_limit_is_left_out_and_counted() {
    let long = format!(
        "data: a\n\ndata: b\ndata: {}\ndata: d\n\ndata: c\n\n",
        "x".repeat(100)
    );
    let (frames, skipped) = frames_of(64, &[long.as_bytes()]);
    assert_eq!((frames.len(), skipped), (2, 1));
}

#[test]
fn the_limit_is_the_same_however_an_event_comes() {
    let event = b"data: 0123456789\n\n";
    let bytes: Vec<&[u8]> = event.chunks(1).collect();
    for limit in 8..24 {
        let frames = frames_of(limit, &[event]);
        assert_eq!(frames, frames_of(limit, &bytes), "{limit}");
        assert_eq!(frames.0.len(), usize::from(limit > 17), "{limit}");
    }
}

#[test]
fn megabytes_without_a_line_end_stay_within_the_limit() {
    let piece = vec![b'x'; 1 << 16];
    let mut framer = SseFramer::new(EVENT_LIMIT);
    for _ in 0..1024 {
        framer.push(&piece, |_| panic!("no event ended"));
        assert!(framer.event.capacity() <= 2 * EVENT_LIMIT);
    }
    assert_eq!(framer.skipped(), 1);
    let mut after = Vec::new();
    framer.push(b"\n\ndata: a\n\n", |frame| after.push(owned(frame)));
    assert_eq!(after.len(), 1);
}

#[test]
fn an_event_of_very_many_lines_is_read_in_linear_time() {
    let lines = "data\n".repeat(EVENT_LIMIT / 5 - 1);
    assert_eq!(data_of(lines.as_bytes()).len(), 1);
}

#[test]
fn an_event_of_one_line_is_read_as_the_grammar_reads_it() {
    for line in [
        "data: a",
        "data:a",
        "data:  a ",
        "data:",
        "data: ",
        "data: :",
        "data:data: a",
        "data:\u{FEFF}a",
    ] {
        let event = format!("{line}\n");
        let by_grammar = parse(&event).unwrap();
        assert_eq!(one_line(&event), Some(&*by_grammar.data), "{line}");
        assert_eq!((&*by_grammar.event, &*by_grammar.id), ("message", ""));
    }
    for event in [
        "data\n",
        "data : a\n",
        "event: a\n",
        "data: a\ndata: b\n",
        ": data: a\n",
    ] {
        assert_eq!(one_line(event), None, "{event}");
    }
}

/// Bytes in which the grammar's own characters are frequent.
fn stream_bytes() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just(b"data: ".to_vec()),
        Just(b"data: whole\n\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\n\n".to_vec()),
        Just(b"\xEF\xBB\xBF".to_vec()),
        Just(b"event: e".to_vec()),
        Just(b"{".to_vec()),
        Just(b"[".to_vec()),
        Just(b"error: ".to_vec()),
        Just(b":".to_vec()),
        Just("ü€".as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn frames_do_not_depend_on_how_the_bytes_are_cut(bytes in stream_bytes(), size in 1usize..9, limit in 8usize..200) {
        let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
        prop_assert_eq!(frames_of(limit, &pieces), frames_of(limit, &[&bytes]));
    }

    #[test]
    fn texts_written_as_events_are_read_back(texts in prop::collection::vec("[^\r\n\u{0}]{1,20}", 0..8), crlf in any::<bool>()) {
        let end = if crlf { "\r\n" } else { "\n" };
        let bytes: String = texts.iter().flat_map(|text| ["data: ", text, end, end]).collect();
        prop_assert_eq!(data_of(bytes.as_bytes()), texts);
    }
}
