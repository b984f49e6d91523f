//! Whatever clients and upstreams send, what is held of it stays within `capture.max_memory` and a quarter of it.

use proptest::prelude::*;

use super::*;
use crate::exchange::CapturedBody;

const LIMIT: usize = 400_000;
const MOST_BODY: usize = 60_000;

/// Something that a client, an upstream or the processor does to memory.
#[derive(Clone, Debug)]
enum Step {
    Opens {
        is_chat: bool,
        identity: usize,
        secrets: usize,
        declared_length: Option<u64>,
    },
    /// A client sends more of a request.
    Asks(usize, usize),
    AsksNoMore(usize),
    /// An upstream answers with a head.
    Heads(usize, bool, usize),
    /// An upstream sends frames of a reply.
    Replies(usize, ReplyFrames),
    Ends(usize),
    /// The workers have time.
    WorksOff,
}

#[derive(Clone, Debug)]
enum ReplyFrames {
    /// So many frames of so many bytes that end no event.
    Endless(usize, usize),
    /// An event with so many choices, each with so many tool calls.
    Choices(usize, usize),
    /// So many events of a token.
    Tokens(usize),
}

impl ReplyFrames {
    fn frames(&self) -> Vec<Bytes> {
        match *self {
            ReplyFrames::Endless(count, length) => vec!["x".repeat(length).into(); count],
            ReplyFrames::Tokens(count) => vec![event("token"); count],
            ReplyFrames::Choices(choices, calls) => {
                let call = |index| format!(r#"{{"index":{index},"id":"","function":{{}}}}"#);
                let calls: Vec<_> = (0..calls).map(call).collect();
                let calls = calls.join(",");
                let choice =
                    |index| format!(r#"{{"index":{index},"delta":{{"tool_calls":[{calls}]}}}}"#);
                let choices: Vec<_> = (0..choices).map(choice).collect();
                vec![format!("data: {{\"choices\":[{}]}}\n\n", choices.join(",")).into()]
            }
        }
    }
}

fn reply_frames() -> impl Strategy<Value = ReplyFrames> {
    prop_oneof![
        (1_usize..300, 1_usize..4).prop_map(|(count, length)| ReplyFrames::Endless(count, length)),
        (1_usize..3, 1_usize..70_000)
            .prop_map(|(count, length)| ReplyFrames::Endless(count, length)),
        (1_usize..300, 0_usize..20).prop_map(|(all, calls)| ReplyFrames::Choices(all, calls)),
        (1_usize..100).prop_map(ReplyFrames::Tokens),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let exchange = 0_usize..1000;
    let opens = (
        any::<bool>(),
        0_usize..20_000,
        0_usize..60_000,
        prop::option::of(prop_oneof![0_u64..100_000, Just(u64::MAX)]),
    );
    prop_oneof![
        4 => opens.prop_map(|(is_chat, identity, secrets, declared_length)| Step::Opens {
            is_chat,
            identity,
            secrets,
            declared_length,
        }),
        4 => (exchange.clone(), 1_usize..50_000).prop_map(|(at, length)| Step::Asks(at, length)),
        1 => exchange.clone().prop_map(Step::AsksNoMore),
        3 => (exchange.clone(), any::<bool>(), 0_usize..30_000)
            .prop_map(|(at, is_refusal, length)| Step::Heads(at, is_refusal, length)),
        6 => (exchange.clone(), reply_frames()).prop_map(|(at, frames)| Step::Replies(at, frames)),
        1 => exchange.prop_map(Step::Ends),
        2 => Just(Step::WorksOff),
    ]
}

/// All that is held, as the traffic made it.
struct Traffic {
    budget: Arc<Budget>,
    by_hand: ByHand,
    open: Vec<(Option<RequestObserver>, ResponseObserver)>,
}

impl Traffic {
    fn new() -> Self {
        let budget = Budget::new(LIMIT);
        Traffic {
            by_hand: ByHand::new(settings(&budget)),
            budget,
            open: Vec::new(),
        }
    }

    /// Bytes that are held, by what holds them and not by what was counted.
    fn size_estimate(&self) -> usize {
        let open = self
            .open
            .iter()
            .map(|(_, answered)| answered.size_estimate());
        let queue = self.by_hand.queue().size_estimate();
        open.sum::<usize>() + queue + self.by_hand.worker.size_estimate()
    }

    fn does(&mut self, step: Step) {
        let at = |at: usize, all: usize| (all > 0).then(|| at % all);
        let count = self.open.len();
        match step {
            Step::Opens {
                is_chat,
                identity,
                secrets,
                declared_length,
            } => {
                let mut meta = meta("/v1/chat/completions");
                (meta.chat, meta.max_body) = (is_chat, MOST_BODY);
                meta.identity.thread = Some("t".repeat(identity));
                let (asked, mut answered) = self.by_hand.capture.open(meta, declared_length);
                answered.hides(cookie(&"s".repeat(secrets)));
                self.open.push((Some(asked), answered));
            }
            Step::Asks(number, length) => {
                let Some(number) = at(number, count) else {
                    return;
                };
                if let Some(asked) = &mut self.open[number].0 {
                    asked.data(&format!("{{\"x\":\"{}", "x".repeat(length)).into());
                }
            }
            Step::AsksNoMore(number) => {
                let Some(number) = at(number, count) else {
                    return;
                };
                if let Some(asked) = self.open[number].0.take() {
                    asked.complete();
                }
            }
            Step::Heads(number, is_refusal, length) => {
                let Some(number) = at(number, count) else {
                    return;
                };
                let mut headers = events();
                let value = HeaderValue::from_str(&"v".repeat(length)).unwrap();
                headers.insert("x-request-id", value);
                let status = [StatusCode::OK, StatusCode::BAD_REQUEST][usize::from(is_refusal)];
                self.open[number].1.head(status, &headers);
            }
            Step::Replies(number, frames) => {
                let Some(number) = at(number, count) else {
                    return;
                };
                for frame in frames.frames() {
                    self.open[number].1.data(&frame);
                }
            }
            Step::Ends(number) => {
                let Some(number) = at(number, count) else {
                    return;
                };
                self.open.swap_remove(number).1.end(BodyEnd::Complete);
            }
            Step::WorksOff => drop(self.work_off()),
        }
    }

    fn work_off(&mut self) -> Vec<Exchange> {
        self.by_hand.queue().nudge();
        self.by_hand.work_off()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn hostile_traffic_is_held_within_the_bound(steps in prop::collection::vec(step(), 1..120)) {
        let mut traffic = Traffic::new();
        for step in steps {
            let said = format!("{step:?}");
            traffic.does(step);
            let (held, counted) = (traffic.size_estimate(), traffic.budget.held());
            prop_assert!(held <= counted, "{} held and {} counted after {}", held, counted, said);
            prop_assert!(counted <= LIMIT + LIMIT / 4, "{} after {}", counted, said);
        }
        traffic.open.clear();
        traffic.work_off();
        prop_assert_eq!(traffic.budget.held(), 0);
    }
}

#[test]
fn a_reply_of_very_many_choices_and_tool_calls_weighs_no_more_than_its_reader_said() {
    for frames in [
        ReplyFrames::Choices(100_000, 0),
        ReplyFrames::Choices(1, 100_000),
        ReplyFrames::Choices(300, 300),
    ] {
        let mut traffic = Traffic::new();
        let mut meta = meta("/v1/chat/completions");
        meta.max_body = LIMIT / 2;
        let (_asked, mut answered) = traffic.by_hand.capture.open(meta, None);
        answered.head(StatusCode::OK, &events());
        for frame in frames.frames() {
            for piece in frame.chunks(1000) {
                answered.data(&Bytes::copy_from_slice(piece));
                traffic.work_off();
            }
        }
        let said = traffic.by_hand.worker.size_estimate();
        answered.end(BodyEnd::Complete);
        let exchange = traffic.work_off().remove(0);
        let reply = exchange.reply.unwrap().chat;
        assert!(
            reply.size_estimate() <= said,
            "{} of {said}",
            reply.size_estimate()
        );
        assert!(said <= LIMIT + LIMIT / 4);
        assert!(reply.cut, "all of it is more than is kept");
    }
}

#[test]
fn a_body_whose_media_cannot_be_taken_out_for_lack_of_room_is_cut() {
    let budget = Budget::new(30_000);
    let url = format!("data:image/png;base64,{}", "aZ0+".repeat(500));
    let text = "text ".repeat(3000);
    let body = format!(r#"{{"messages":[{{"content":"{text}"}},{{"content":"{url}"}}]}}"#);
    let mut by_hand = ByHand::new(settings(&budget));
    let (mut asked, answered) = by_hand.capture.open(meta("/v1/chat/completions"), None);
    asked.data(&body.into());
    asked.complete();
    drop(answered);
    let exchange = by_hand.work_off().remove(0);
    let body: &CapturedBody = &exchange.request;
    assert_eq!((body.bytes(), body.is_shortened()), (&b""[..], true));
    assert_eq!(budget.held(), 0);
}
