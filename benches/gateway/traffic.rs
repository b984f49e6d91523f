//! What goes over the wire: requests as AutoGen's client writes them, and replies as OpenAI does.
//!
//! The rule: no two requests are alike. Every message of a conversation holds the number of its run, written into prepared bytes, so that
//! nothing is gained by knowing a text from another run. Calls of one run share their history, as AutoGen's do.

use std::fmt::Write as _;
use std::ops::Range;

use crate::words::Words;

/// Where the run's number goes while a text is being made.
const SLOT: &str = "########";

/// What is before the agent's initial in every body; the upstream answers with that letter.
const OPENING: &str = r#"{"model":"gpt-4o-mini","stream":false,"messages":[{"content":"You are a "#;
const STREAM_OPENING: &str =
    r#"{"model":"gpt-4o-mini","stream":true,"messages":[{"content":"You are a "#;

/// What is before the run's number in every body, once.
pub(crate) const TASK: &[u8] = b"Task ";

const AGENTS: [&str; 2] = ["planner", "reviewer"];

/// The number of a run as it is written.
pub(crate) type Number = [u8; 8];

pub(crate) fn number(run: u64) -> Number {
    let mut digits = [b'0'; 8];
    let mut rest = run;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap();
        rest /= 10;
    }
    digits
}

/// Bytes with gaps for the number of a run.
#[derive(Clone)]
pub(crate) struct Form {
    bytes: Vec<u8>,
    slots: Vec<usize>,
}

impl Form {
    fn new(text: &str) -> Self {
        let slots = memchr::memmem::find_iter(text.as_bytes(), SLOT).collect();
        Form {
            bytes: text.into(),
            slots,
        }
    }

    /// Appends the bytes with this number.
    pub(crate) fn fill(&self, number: Number, into: &mut Vec<u8>) {
        let start = into.len();
        into.extend_from_slice(&self.bytes);
        for slot in &self.slots {
            into[start + slot..][..number.len()].copy_from_slice(&number);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// Before the sum of a body, by which the upstream sees that it got every byte.
const SUM: &str = "x-body-crc32: ";

/// Writes a request: `head`, what there is to say about the body, and the body.
pub(crate) fn write_request(head: &[u8], body: &Form, number: Number, into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(head);
    into.extend_from_slice(format!("Content-Length: {}\r\n{SUM}", body.len()).as_bytes());
    let sum = into.len();
    into.extend_from_slice(format!("{SLOT}\r\n\r\n").as_bytes());
    let start = into.len();
    body.fill(number, into);
    let digits = format!("{:08x}", crc32c::crc32c(&into[start..]));
    into[sum..][..digits.len()].copy_from_slice(digits.as_bytes());
}

/// The sum that a head tells.
pub(crate) fn told_sum(head: &[u8]) -> Option<u32> {
    let digits = memchr::memmem::find(head, SUM.as_bytes())? + SUM.len();
    u32::from_str_radix(str::from_utf8(head.get(digits..digits + 8)?).ok()?, 16).ok()
}

/// One call of a run.
pub(crate) struct Call {
    pub(crate) body: Form,
    /// Of whoever asks.
    pub(crate) initial: u8,
}

/// The calls of one run, in their order.
pub(crate) type Conversation = Vec<Call>;

/// Conversations that differ in all their texts.
pub(crate) struct Pool {
    conversations: Vec<Conversation>,
}

impl Pool {
    /// Conversations of `calls` calls each, whose requests have about `bytes` bytes on average.
    pub(crate) fn new(conversations: usize, calls: usize, bytes: usize, streamed: bool) -> Self {
        let mut words = Words::new();
        let conversations: Vec<Conversation> = (0..conversations)
            .map(|_| conversation(&mut words, calls, bytes, streamed))
            .collect();
        Pool { conversations }
    }

    /// The calls of a run.
    pub(crate) fn conversation(&self, run: u64) -> &Conversation {
        let place = usize::try_from(run).unwrap() % self.conversations.len();
        &self.conversations[place]
    }
}

/// A message: who said it, by place in `AGENTS`, and what, as JSON.
type Said = (usize, String);

fn conversation(words: &mut Words, calls: usize, bytes: usize, streamed: bool) -> Conversation {
    let instructions = AGENTS.map(|agent| {
        let text = words.text(100);
        quoted(&format!("You are a {agent}. {text}"))
    });
    // Each call adds a reply of the one before.
    let fixed = 450 + (calls - 1) * REPLY_TEXT / 2;
    let history_bytes = bytes.saturating_sub(fixed);
    let task = quoted(&format!("Task {SLOT}: {}", words.text(120)));
    let (mut history, mut speaker, mut written) = (Vec::<Said>::new(), 0, 0);
    while written + 200 < history_bytes {
        let length = (history_bytes - written).min(300 + words.below(1_400));
        let text = quoted(&format!("({SLOT}) {}", words.text(length - 60)));
        written += text.len() + 50;
        history.push((speaker, text));
        speaker = 1 - speaker;
    }
    let mut conversation = Vec::new();
    for _ in 0..calls {
        let meta = if streamed { STREAM_OPENING } else { OPENING };
        let instruction = instructions[speaker]
            .strip_prefix("\"You are a ")
            .unwrap()
            .to_owned();
        let mut body = format!(
            r#"{meta}{instruction},"role":"system"}},{{"role":"user","name":"user","content":{task}}}"#
        );
        for (by, text) in &history {
            if *by == speaker {
                _ = write!(body, r#",{{"role":"assistant","content":{text}}}"#);
            } else {
                let name = AGENTS[*by];
                _ = write!(
                    body,
                    r#",{{"role":"user","name":"{name}","content":{text}}}"#
                );
            }
        }
        body += "]";
        if streamed {
            body += r#","stream_options":{"include_usage":true}"#;
        }
        body += "}";
        let initial = AGENTS[speaker].as_bytes()[0];
        conversation.push(Call {
            body: Form::new(&body),
            initial,
        });
        let reply = reply_text(char::from(initial));
        history.push((speaker, quoted(&reply)));
        speaker = 1 - speaker;
    }
    conversation
}

/// What a body tells the upstream: the run, who asks, and whether the reply is a stream.
pub(crate) fn asked(body: &[u8]) -> Option<(Number, u8, bool)> {
    let streamed = body.starts_with(STREAM_OPENING.as_bytes());
    let meta = if streamed { STREAM_OPENING } else { OPENING };
    let initial = *body.get(meta.len())?;
    let task = memchr::memmem::find(body, TASK)? + TASK.len();
    let number = body.get(task..task + 8)?.try_into().ok()?;
    Some((number, initial, streamed))
}

/// About the length of a reply's text.
const REPLY_TEXT: usize = 420;

fn reply_text(initial: char) -> String {
    format!(
        "ResponseHead {initial} to task {SLOT}. The first step is to write down what is known, and the second to ask for what is not. \
         Then compare both \"ways\" by cost:\n1. keep what works today;\n2. move one part, watch it for a week, and go on.\n\
         I would take the second one, since a mistake is then small – and it can be undone at any time. The numbers from last month \
         (12.5 % and 48 ms) say the same. What is missing is a name for who decides."
    )
}

pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

const HEADERS: &str = "access-control-expose-headers: X-Request-ID\r\n\
    openai-organization: org-8d1k2m3n4p5q6r7s\r\n\
    openai-processing-ms: 412\r\n\
    openai-version: 2020-10-01\r\n\
    x-ratelimit-limit-requests: 10000\r\n\
    x-ratelimit-limit-tokens: 2000000\r\n\
    x-ratelimit-remaining-requests: 9999\r\n\
    x-ratelimit-remaining-tokens: 1998342\r\n\
    x-ratelimit-reset-requests: 6ms\r\n\
    x-ratelimit-reset-tokens: 49ms\r\n\
    x-request-id: req_3f0c9b7e5d1a42860000000000########\r\n\
    strict-transport-security: max-age=31536000; includeSubDomains; preload\r\n\
    cf-cache-status: DYNAMIC\r\n\
    server: cloudflare\r\n";

/// A whole reply, as the upstream sends it to one of the agents.
pub(crate) struct Reply {
    form: Form,
    body: usize,
}

impl Reply {
    fn new(agent: &str) -> Self {
        let text = quoted(&reply_text(char::from(agent.as_bytes()[0])));
        let body = format!(
            "{{\n  \"id\": \"chatcmpl-Bq{SLOT}Vn3kX8wY5tLr2sZ\",\n  \"object\": \"chat.completion\",\n  \"created\": 1764000000,\n  \
             \"model\": \"gpt-4o-mini-2024-07-18\",\n  \"choices\": [\n    {{\n      \"index\": 0,\n      \"message\": {{\n        \
             \"role\": \"assistant\",\n        \"content\": {text},\n        \"refusal\": null,\n        \"annotations\": []\n      }},\n      \
             \"logprobs\": null,\n      \"finish_reason\": \"stop\"\n    }}\n  ],\n  \"usage\": {{\n    \"prompt_tokens\": 256,\n    \
             \"completion_tokens\": 96,\n    \"total_tokens\": 352,\n    \"prompt_tokens_details\": {{\n      \"cached_tokens\": 0,\n      \
             \"audio_tokens\": 0\n    }},\n    \"completion_tokens_details\": {{\n      \"reasoning_tokens\": 0,\n      \"audio_tokens\": 0,\n      \
             \"accepted_prediction_tokens\": 0,\n      \"rejected_prediction_tokens\": 0\n    }}\n  }},\n  \"service_tier\": \"default\",\n  \
             \"system_fingerprint\": \"fp_560af6e559\"\n}}\n"
        );
        let head = format!(
            "HTTP/1.1 200 OK\r\ndate: Sat, 22 Nov 2025 10:00:00 GMT\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{HEADERS}\r\n",
            body.len()
        );
        Reply {
            body: head.len(),
            form: Form::new(&(head + &body)),
        }
    }
}

/// All replies that there are.
pub(crate) struct Replies([(u8, Reply); 2]);

impl Replies {
    pub(crate) fn new() -> Self {
        Replies(AGENTS.map(|agent| (agent.as_bytes()[0], Reply::new(agent))))
    }

    /// Writes the reply in place of what `into` held. Gives where its body is.
    pub(crate) fn write(&self, number: Number, initial: u8, into: &mut Vec<u8>) -> Range<usize> {
        into.clear();
        let reply = &self.0.iter().find(|(of, _)| *of == initial).unwrap().1;
        reply.form.fill(number, into);
        reply.body..into.len()
    }
}

pub(crate) fn stream_head(number: Number) -> Vec<u8> {
    filled(
        &format!(
            "HTTP/1.1 200 OK\r\ndate: Sat, 22 Nov 2025 10:00:00 GMT\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
         transfer-encoding: chunked\r\n{HEADERS}\r\n"
        ),
        number,
    )
}

fn filled(text: &str, number: Number) -> Vec<u8> {
    let mut bytes = Vec::new();
    Form::new(text).fill(number, &mut bytes);
    bytes
}

fn event(choices: &str, usage: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-Bq{SLOT}Vn3kX8wY5tLr2sZ\",\"object\":\"chat.completion.chunk\",\"created\":1764000000,\
         \"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_560af6e559\",\
         \"choices\":[{choices}],\"usage\":{usage}}}\n\n"
    )
}

fn delta(delta: &str, finish_reason: &str) -> String {
    event(
        &format!(
            "{{\"index\":0,\"delta\":{{{delta}}},\"logprobs\":null,\"finish_reason\":{finish_reason}}}"
        ),
        "null",
    )
}

pub(crate) fn first_event(number: Number) -> Vec<u8> {
    filled(
        &delta(r#""role":"assistant","content":"","refusal":null"#, "null"),
        number,
    )
}

pub(crate) fn last_events(number: Number) -> [Vec<u8>; 3] {
    let usage = r#"{"prompt_tokens":256,"completion_tokens":100,"total_tokens":356,"prompt_tokens_details":{"cached_tokens":0}}"#;
    [
        delta("", r#""stop""#),
        event("", usage),
        "data: [DONE]\n\n".to_owned(),
    ]
    .map(|text| filled(&text, number))
}

/// An event with one word: the time at which it is sent.
pub(crate) struct Event {
    bytes: Vec<u8>,
    time: usize,
}

/// Digits of a time.
const DIGITS: usize = 16;

impl Event {
    pub(crate) fn new(number: Number) -> Self {
        let bytes = filled(&delta(r#""content":" @@@@@@@@@@@@@@@@""#, "null"), number);
        let time = memchr::memchr(b'@', &bytes).unwrap();
        Event { bytes, time }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn at(&self, time: u64) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[self.time..][..DIGITS].copy_from_slice(format!("{time:016}").as_bytes());
        bytes
    }

    /// The time in an event that is this one but for it.
    pub(crate) fn time(&self, event: &[u8]) -> Option<u64> {
        let (before, rest) = event.split_at_checked(self.time)?;
        let (time, after) = rest.split_at_checked(DIGITS)?;
        let same = before == &self.bytes[..self.time] && after == &self.bytes[self.time + DIGITS..];
        let time = std::str::from_utf8(time).ok()?.parse().ok()?;
        same.then_some(time)
    }
}
