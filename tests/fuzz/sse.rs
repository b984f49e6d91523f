//! Events are the same wherever a stream is cut, stay within the limit, and agree with the grammar (WHATWG HTML, section 9.2.6).

use spangate::internals::sse::{SseFrame, SseFramer};

use crate::engine::{fingerprint, magnitude, pieces, run};

const TOKENS: &[&str] = &[
    "data: ",
    "data:",
    "data",
    "\n",
    "\n\n",
    "\r",
    "\r\n",
    "\r\n\r\n",
    ": ping\n\n",
    "event: error\n",
    "event:",
    "id: 1\n",
    "retry: 5\n",
    "error: ",
    "{",
    "[",
    "data: [DONE]\n\n",
    "\u{FEFF}",
    "\0",
];

/// Kind, data and id of an event; stray text has none of the first and the last.
type Read = (Option<String>, String, Option<String>);

fn frames<'p>(limit: usize, pieces: impl IntoIterator<Item = &'p [u8]>) -> (Vec<Read>, u64) {
    let mut read = Vec::new();
    let mut each = |frame: SseFrame<'_>| {
        read.push(match frame {
            SseFrame::Event { kind, data, id } => (
                Some(kind.into_owned()),
                data.into_owned(),
                Some(id.into_owned()),
            ),
            SseFrame::Stray(text) => (None, text.into_owned(), None),
        });
    };
    let mut framer = SseFramer::new(limit);
    for piece in pieces {
        framer.push(piece, &mut each);
        assert!(framer.held() <= limit, "{} bytes are held", framer.held());
    }
    let skipped = framer.skipped();
    framer.finish(&mut each);
    (read, skipped)
}

/// The events by the grammar alone. None where a line begins as only our framer takes it: as JSON, or as llama.cpp's error.
fn events(bytes: &[u8]) -> Option<Vec<Read>> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut data) = (Vec::new(), Vec::new());
    let (mut kind, mut id) = ("message", "");
    for line in text.split('\n').chain([""]) {
        if line.starts_with(['{', '[']) || line.starts_with("error:") {
            return None;
        }
        if line.is_empty() {
            if !data.is_empty() {
                let own = |text: &str| Some(text.to_owned());
                events.push((own(kind), data.join("\n"), own(id)));
            }
            data.clear();
            (kind, id) = ("message", "");
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => data.push(value),
            "event" => kind = if value.is_empty() { "message" } else { value },
            "id" if !value.contains('\0') => id = value,
            _ => {}
        }
    }
    Some(events)
}

#[test]
fn sse() {
    run("sse", TOKENS, |input| {
        let limit = [1 << 20, 1 << 20, 64, 17][input.len() % 4];
        let whole = frames(limit, [input]);
        assert_eq!(frames(limit, input.chunks(1)), whole, "byte by byte");
        assert_eq!(frames(limit, pieces(input)), whole, "in pieces");
        let by_grammar = events(input).filter(|_| limit > input.len());
        if let Some(by_grammar) = &by_grammar {
            let read = whole.0.iter().filter(|(kind, ..)| kind.is_some());
            assert!(read.eq(by_grammar), "{:?} {by_grammar:?}", whole.0);
        }
        fingerprint((
            magnitude(whole.0.len()),
            whole.1,
            by_grammar.map(|events| magnitude(events.len())),
            whole.0.iter().filter(|(kind, ..)| kind.is_none()).count(),
            whole
                .0
                .iter()
                .map(|(_, data, _)| magnitude(data.len()))
                .max(),
        ))
    });
}
