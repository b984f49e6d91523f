//! Whatever comes in pieces, late or broken, the sink gets every exchange once.

mod memory;
mod order;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::queue::CaptureEvent;
use super::worker::Worker;
use super::*;
use crate::exchange::tests::meta;
use crate::exchange::{Exchange, Outcome};
use crate::redact::KnownSecrets;
use crate::tap::{BodyEnd, BodyObserver};

type Seen = Arc<Mutex<Vec<Exchange>>>;

/// A reply with these bytes in it cannot be read.
const PANIC: &[u8] = b"the reader panics here";

pub(super) fn panic_where_wanted(bytes: &[u8]) {
    let is_wanted = bytes.windows(PANIC.len()).any(|window| window == PANIC);
    assert!(!is_wanted, "as this test wants");
}

fn settings(budget: &Arc<Budget>) -> CaptureSettings {
    CaptureSettings {
        budget: Arc::clone(budget),
        workers: 1,
        partition: |_| 0,
        last_moment: None,
        on_dropped: Box::new(|| ()),
    }
}

/// Observes within `budget` bytes, and gives `sink` every exchange that settled.
pub(crate) fn start(budget: usize, sink: impl ExchangeSink) -> (Capture, Workers) {
    Capture::start(settings(&Budget::new(budget)), sink).unwrap()
}

fn started(budget: usize) -> (Capture, Workers, Seen) {
    let seen = Seen::default();
    let sink = Arc::clone(&seen);
    let (capture, workers) = start(budget, move |exchange: Exchange| {
        assert_ne!(exchange.meta.path, "/panics", "as this test wants");
        sink.lock().unwrap().push(exchange);
    });
    (capture, workers, seen)
}

/// A capture whose worker is this test's thread.
struct ByHand {
    capture: Capture,
    worker: Worker,
    seen: Seen,
}

impl ByHand {
    fn new(settings: CaptureSettings) -> Self {
        let seen = Seen::default();
        let sink = Arc::clone(&seen);
        let sink = Arc::new(move |exchange: Exchange| sink.lock().unwrap().push(exchange));
        let budget = Arc::clone(&settings.budget);
        ByHand {
            capture: Capture::new(settings),
            worker: Worker::new(0, budget, sink),
            seen,
        }
    }

    fn queue(&self) -> &EventQueue {
        &self.capture.0.queues[0]
    }

    /// Has the worker handle all that waits, and gives the exchanges that settled.
    fn work_off(&mut self) -> Vec<Exchange> {
        let queue = &self.capture.0.queues[0];
        queue.flush();
        self.worker.work_off(queue.take(None).unwrap(), queue);
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

fn events() -> HeaderMap {
    [(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"))]
        .into_iter()
        .collect()
}

fn event(content: &str) -> Bytes {
    format!("data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n").into()
}

#[test]
fn a_reply_that_came_in_many_pieces_is_put_together() {
    let (capture, workers, seen) = started(1 << 24);
    let (asked, mut answered) = capture.open(meta("/v1/chat/completions"), None);
    answered.head(StatusCode::OK, &events());
    let word = "x".repeat(1000);
    for _ in 0..100 {
        answered.data(&event(&word));
    }
    answered.data(&Bytes::from_static(b"data: [DONE]\n\n"));
    answered.end(BodyEnd::Complete);
    drop(asked);
    workers.finish();
    let seen = seen.lock().unwrap();
    let [exchange] = seen.as_slice() else {
        panic!("{seen:?}")
    };
    let reply = exchange.reply.as_ref().unwrap();
    assert_eq!(exchange.outcome, Outcome::Complete);
    assert!(reply.ended && !reply.chat.cut);
    assert!(
        reply
            .first_token
            .is_some_and(|first| first <= exchange.duration)
    );
    assert!(
        format!("{:?}", reply.chat).contains(&word.repeat(100)),
        "all of the content, in order"
    );
}

#[test]
fn once_the_first_token_was_seen_no_frame_is_timed() {
    let mut by_hand = ByHand::new(settings(&Budget::new(1 << 24)));
    let (_asked, mut answered) = by_hand.capture.open(meta("/v1/chat/completions"), None);
    answered.head(StatusCode::OK, &events());
    // Longer than a piece: each goes by itself.
    let mut send = |content: &str| {
        answered.data(&event(content));
        answered.data(&Bytes::from(format!(": {}\n\n", " ".repeat(4000))));
    };
    let handled = |by_hand: &mut ByHand| {
        let pending = by_hand.queue().take(None).unwrap();
        let piece = pending.events.iter().find_map(|event| match event {
            CaptureEvent::ReplyPiece {
                saw_token, piece, ..
            } => Some((Arc::clone(saw_token), piece.frame_times.clone())),
            CaptureEvent::Settled { .. } => None,
        });
        let (saw_token, times) = piece.unwrap();
        by_hand
            .worker
            .work_off(pending, &by_hand.capture.0.queues[0]);
        (times.len(), saw_token.load(Ordering::Relaxed))
    };
    send("");
    let (times, saw_token) = handled(&mut by_hand);
    assert!(times > 0 && !saw_token);
    send("token");
    let (times, saw_token) = handled(&mut by_hand);
    assert!(times > 0 && saw_token);
    // What was under way when it was seen, and then what was not.
    send("token");
    handled(&mut by_hand);
    send("token");
    assert_eq!(handled(&mut by_hand), (0, true));
}

#[test]
fn beyond_the_budget_content_is_left_out_and_the_exchange_is_told_all_the_same() {
    let (capture, workers, seen) = started(10_000);
    let (asked, mut answered) = capture.open(meta("/v1/chat/completions"), None);
    answered.head(StatusCode::OK, &events());
    answered.data(&event(&"x".repeat(10_000)));
    answered.end(BodyEnd::Complete);
    drop(asked);
    workers.finish();
    let seen = seen.lock().unwrap();
    assert!(
        matches!(seen.as_slice(), [Exchange { reply: Some(reply), .. }] if reply.chat.cut),
        "{seen:?}"
    );
}

#[test]
fn an_exchange_without_a_response_has_no_reply() {
    let (capture, workers, seen) = started(10_000);
    drop(capture.open(meta("/v1/chat/completions"), None));
    workers.finish();
    let seen = seen.lock().unwrap();
    assert!(
        matches!(seen.as_slice(), [exchange] if exchange.reply.is_none() && exchange.outcome == Outcome::ClientLeft),
        "{seen:?}"
    );
}

#[test]
fn a_sink_that_panics_over_one_exchange_gets_the_next() {
    let (capture, workers, seen) = started(10_000);
    drop(capture.open(meta("/panics"), None));
    drop(capture.open(meta("/v1/models"), None));
    workers.finish();
    let seen = seen.lock().unwrap();
    assert!(
        matches!(seen.as_slice(), [exchange] if exchange.reply.is_none() && exchange.meta.path == "/v1/models"),
        "{seen:?}"
    );
}

#[test]
fn while_the_worker_is_busy_exchanges_are_held_within_the_budget_and_each_is_told_or_counted() {
    const BUDGET: usize = 200_000;
    let (budget, drops) = (Budget::new(BUDGET), Arc::new(AtomicUsize::new(0)));
    let dropped = Arc::clone(&drops);
    let count = move || {
        dropped.fetch_add(1, Ordering::Relaxed);
    };
    let mut by_hand = ByHand::new(CaptureSettings {
        on_dropped: Box::new(count),
        ..settings(&budget)
    });
    let mut headers = events();
    headers.insert(
        "x-request-id",
        HeaderValue::from_str(&"r".repeat(5000)).unwrap(),
    );
    // Nobody takes anything from the queue. Some with bodies, some with an identity, some with much in their answer's head.
    for number in 0..1000 {
        let mut meta = meta(["/v1/chat/completions", "/v1/models"][number % 2]);
        meta.chat = number % 2 == 0;
        meta.identity.thread = (number % 3 == 0).then(|| "t".repeat(1000));
        let (mut asked, mut answered) = by_hand.capture.open(meta, None);
        asked.data(&Bytes::from_static(b"{}"));
        asked.complete();
        answered.head(StatusCode::OK, &headers);
        answered.data(&event("x"));
        answered.end(BodyEnd::Complete);
        assert!(budget.held() <= BUDGET + BUDGET / 4);
    }
    let told = by_hand.work_off().len();
    let dropped = drops.load(Ordering::Relaxed);
    assert_eq!(told + dropped, 1000);
    assert!(told > 20 && dropped > 100, "{told} {dropped}");
    assert_eq!(budget.held(), 0);
    // Now there is room again.
    drop(by_hand.capture.open(meta("/v1/models"), None));
    assert_eq!(drops.load(Ordering::Relaxed), dropped);
}

#[test]
fn what_waits_of_a_stream_keeps_to_the_limit_of_a_body_however_much_passes() {
    const MOST: usize = 50_000;
    let meta = || RequestMeta {
        max_body: MOST,
        ..meta("/v1/chat/completions")
    };
    for (at_once, is_cut) in [(2000, true), (100, false)] {
        let budget = Budget::new(1 << 24);
        let mut by_hand = ByHand::new(settings(&budget));
        let (asked, mut answered) = by_hand.capture.open(meta(), None);
        let facts = budget.held();
        answered.head(StatusCode::OK, &events());
        for frame in 1..=2000 {
            // Many frames for little text: what is kept of the reply is far below the limit.
            answered.data(&event("x"));
            assert!(budget.held() <= facts + MOST);
            if frame % at_once == 0 && frame < 2000 {
                by_hand.work_off();
            }
        }
        answered.end(BodyEnd::Complete);
        drop(asked);
        let seen = by_hand.work_off();
        let reply = &seen[0].reply.as_ref().unwrap().chat;
        assert_eq!(reply.cut, is_cut, "{at_once}");
        assert_eq!(budget.held(), 0);
    }
}

#[test]
fn of_one_frame_that_is_too_long_as_much_is_kept_as_there_is_room_for() {
    let mut by_hand = ByHand::new(settings(&Budget::new(1 << 24)));
    let meta = RequestMeta {
        max_body: 50_000,
        ..meta("/v1/chat/completions")
    };
    let (_asked, mut answered) = by_hand.capture.open(meta, None);
    answered.head(StatusCode::OK, &HeaderMap::new());
    let content = "x".repeat(100_000);
    answered.data(&Bytes::from(format!(
        r#"{{"id":"c","choices":[{{"message":{{"content":"{content}"}}}}]}}"#
    )));
    answered.end(BodyEnd::Complete);
    let seen = by_hand.work_off();
    let reply = &seen[0].reply.as_ref().unwrap().chat;
    assert_eq!((reply.cut, reply.id.as_deref()), (true, Some("c")));
}

#[test]
fn the_time_of_an_exchange_goes_on_where_that_of_the_process_before_ended() {
    // The wall's clock was set back by years.
    let last = Moment {
        steady_ns: u64::MAX / 4,
        wall_offset_ns: 0,
    };
    let (told, seen) = std::sync::mpsc::sync_channel(2);
    let settings = CaptureSettings {
        last_moment: Some(last),
        ..settings(&Budget::new(1 << 20))
    };
    let sink = move |exchange: Exchange| told.send(exchange).unwrap();
    let (capture, workers) = Capture::start(settings, sink).unwrap();
    for _ in 0..2 {
        drop(capture.open(meta("/v1/models"), None));
    }
    workers.finish();
    let [first, second] = [seen.recv().unwrap(), seen.recv().unwrap()];
    assert!(last.steady_ns <= first.started_ns);
    assert!(first.ended_ns() <= second.started_ns);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let shown = u128::from(
        first
            .started_ns
            .saturating_add_signed(first.meta.wall_offset_ns),
    );
    assert!(now.as_nanos().abs_diff(shown) < Duration::from_hours(1).as_nanos());
}

fn cookie(value: &str) -> KnownSecrets {
    let cookie = (http::header::COOKIE, HeaderValue::from_str(value).unwrap());
    KnownSecrets::of(&[cookie].into_iter().collect(), None, &Arc::default())
}

#[test]
fn what_a_request_authenticates_with_counts_until_its_exchange_is_told() {
    let budget = Budget::new(1 << 20);
    let (capture, workers) = Capture::start(settings(&budget), |_: Exchange| ()).unwrap();
    let (asked, mut answered) = capture.open(meta("/v1/chat/completions"), None);
    let held = budget.held();
    answered.hides(cookie(&"long-".repeat(10_000)));
    assert!(budget.held() >= held + 50_000);
    drop((asked, answered));
    workers.finish();
    assert_eq!(budget.held(), 0);
}

#[test]
fn beside_an_error_status_no_part_of_the_reply_repeats_a_secret() {
    const SECRET: &str = "words-of-the-cookie";
    for (status, is_hidden) in [(StatusCode::UNAUTHORIZED, true), (StatusCode::OK, false)] {
        let (capture, workers, seen) = started(1 << 20);
        let (_asked, mut answered) = capture.open(meta("/v1/chat/completions"), None);
        answered.hides(cookie(SECRET));
        let json = HeaderValue::from_static("application/json");
        answered.head(status, &[(CONTENT_TYPE, json)].into_iter().collect());
        let message =
            format!(r#"{{"content":"no {SECRET}","refusal":"{SECRET}","reasoning":"{SECRET}?"}}"#);
        let body = format!(r#"{{"choices":[{{"index":0,"message":{message}}}]}}"#);
        answered.data(&body.into());
        answered.end(BodyEnd::Complete);
        workers.finish();
        let seen = format!("{:?}", seen.lock().unwrap()[0].reply);
        assert!(seen.contains("refusal: Some"), "{seen}");
        assert_eq!(seen.contains(SECRET), !is_hidden, "{seen}");
    }
}

#[test]
fn where_there_is_no_room_for_secrets_nothing_of_a_failure_is_shown() {
    for (status, is_shown) in [(StatusCode::UNAUTHORIZED, false), (StatusCode::OK, true)] {
        let mut by_hand = ByHand::new(settings(&Budget::new(30_000)));
        let (_asked, mut answered) = by_hand.capture.open(meta("/v1/chat/completions"), None);
        answered.hides(cookie(&"words ".repeat(10_000)));
        answered.head(status, &HeaderMap::new());
        answered.data(&Bytes::from_static(b"{\"choices\":[{\"index\":0}]}"));
        answered.end(BodyEnd::Complete);
        let exchange = by_hand.work_off().remove(0);
        let parts = [exchange.reply.is_some(), exchange.response.is_some()];
        assert_eq!(parts, [is_shown; 2]);
        assert_eq!(exchange.outcome == Outcome::Complete, is_shown);
    }
}

#[test]
fn a_panic_while_a_reply_is_read_costs_that_reply_and_shows() {
    let words = |content: &[u8]| event(&String::from_utf8_lossy(content));
    for panics_at in 0..3 {
        let mut by_hand = ByHand::new(settings(&Budget::new(1 << 24)));
        let (_asked, mut answered) = by_hand.capture.open(meta("/v1/chat/completions"), None);
        let (_other, mut unharmed) = by_hand.capture.open(meta("/v1/chat/completions"), None);
        for observer in [&mut answered, &mut unharmed] {
            observer.head(StatusCode::OK, &events());
        }
        for piece in 0..3 {
            let text = if piece == panics_at { PANIC } else { b"whole" };
            answered.data(&words(text));
            unharmed.data(&words(b"whole"));
            if piece < 2 {
                // A frame that fills a piece sends it.
                let filler = Bytes::from(format!(": {}\n\n", " ".repeat(4000)));
                answered.data(&filler);
                unharmed.data(&filler);
            }
        }
        answered.end(BodyEnd::Complete);
        unharmed.end(BodyEnd::Complete);
        let exchanges = by_hand.work_off();
        let [reply, other] = [0, 1].map(|number| exchanges[number].reply.as_ref().unwrap());
        assert!(reply.chat.undecodable && reply.chat.choices.is_empty());
        assert_eq!(exchanges[0].outcome, Outcome::Complete);
        let said = other.chat.choices[0].content.as_deref();
        assert_eq!(
            (other.chat.undecodable, said),
            (false, Some("wholewholewhole"))
        );
    }
}
