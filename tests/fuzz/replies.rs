//! A reply that is read in pieces is the reply that is read whole, compressed or not, and is kept as it was read.
//!
//! The first byte of an input chooses what the head promised and how much is kept; the rest is the body.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use spangate::internals::openai::{ChatReply, ReplyReader};

use crate::engine::{fingerprint, magnitude, pieces, run};

const TYPES: [Option<&str>; 3] = [Some("text/event-stream"), Some("application/json"), None];
const LIMITS: [usize; 3] = [1 << 20, 1 << 20, 200];
const TOKENS: &[&str] = &[
    "data: ",
    "\n\n",
    "\r\n\r\n",
    "data: [DONE]\n\n",
    "error: ",
    r#""choices":["#,
    r#"{"index":0,"delta":{"content":"hi"}}"#,
    r#""index":1,"#,
    r#""finish_reason":"stop","#,
    r#""delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"f","arguments":"{"}}]},"#,
    r#""message":{"role":"assistant","content":"#,
    r#""usage":{"prompt_tokens":9,"completion_tokens":3},"#,
    r#""error":{"message":"no","code":429},"#,
    r#""reasoning_content":"#,
    r#""audio":{"transcript":"hi"},"#,
    r"\ud83d",
    "null",
    "\u{FEFF}",
];

/// The reply, whether it ended, and whether it had a token.
type Read = (ChatReply, bool, bool);

fn read<'p>(
    content_type: Option<&str>,
    coding: Option<&str>,
    limit: usize,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Read {
    let mut reader = ReplyReader::new(content_type, coding, limit);
    for piece in pieces {
        reader.push(piece);
        // One event or body, and the texts.
        let most = 2 * limit + piece.len();
        assert!(reader.held() <= most, "{} bytes are held", reader.held());
    }
    let token = reader.saw_token();
    let finished = reader.finish();
    (finished.reply, finished.ended, token)
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn replies() {
    run("replies", TOKENS, |input| {
        let Some((&first, body)) = input.split_first() else {
            return 0;
        };
        let content_type = TYPES[usize::from(first) % TYPES.len()];
        let limit = LIMITS[usize::from(first) / TYPES.len() % LIMITS.len()];
        let whole = read(content_type, None, limit, [body]);
        assert_eq!(
            read(content_type, None, limit, pieces(body)),
            whole,
            "in pieces"
        );
        assert_eq!(
            read(content_type, None, limit, body.chunks(1)),
            whole,
            "byte by byte"
        );
        let encoded = gzipped(body);
        let decoded = read(content_type, Some("gzip"), limit, pieces(&encoded));
        assert_eq!(decoded, whole, "compressed");

        let (reply, ended, token) = &whole;
        let kept = serde_json::to_string(reply).unwrap();
        assert_eq!(serde_json::from_str::<ChatReply>(&kept).unwrap(), *reply);
        let texts = reply.choices.iter().flat_map(|choice| {
            [&choice.content, &choice.refusal, &choice.reasoning]
                .into_iter()
                .flatten()
        });
        let texts: usize = texts.map(String::len).sum();
        assert!(texts <= limit, "{texts} bytes of texts");
        let calls = reply
            .choices
            .iter()
            .map(|choice| choice.tool_calls.len())
            .sum();
        fingerprint((
            (content_type, limit, *ended, *token),
            (
                reply.cut,
                reply.broken_off,
                reply.usage.is_some(),
                reply.error.is_some(),
            ),
            (
                magnitude(reply.choices.len()),
                magnitude(calls),
                magnitude(texts),
            ),
            reply
                .choices
                .first()
                .map(|choice| (choice.finish_reason.is_some(), choice.content.is_some())),
        ))
    });
}
