//! Whatever comes in pieces, late or broken, the sink is told of every exchange once.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::*;
use crate::capture::Begun;
use crate::clock::Moment;
use crate::exchange::tests::meta;
use crate::exchange::{Outcome, RequestMeta};
use crate::redact::KnownSecrets;
use crate::tap::{End, Observer};

type Seen = Arc<Mutex<Vec<Exchange>>>;

fn started(budget: usize) -> (Capture, Worker, Seen) {
    let seen = Seen::default();
    let sink = Arc::clone(&seen);
    let (capture, worker) = start(
        Budget::new(budget),
        Arc::new(()),
        move |exchange: Exchange| {
            assert_ne!(exchange.meta.path, "/panics", "as this test wants");
            sink.lock().unwrap().push(exchange);
        },
    )
    .unwrap();
    (capture, worker, seen)
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
    let (capture, worker, seen) = started(1 << 24);
    let (asked, mut answered) = capture.open(meta("/v1/chat/completions"), None);
    answered.head(StatusCode::OK, &events());
    let word = "x".repeat(1000);
    for _ in 0..100 {
        answered.data(&event(&word));
    }
    answered.data(&Bytes::from_static(b"data: [DONE]\n\n"));
    answered.end(End::Complete);
    drop(asked);
    worker.finish();
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
    let budget = Budget::new(1 << 24);
    let capture = Capture::new(Arc::clone(&budget), Arc::new(()));
    let (_asked, mut answered) = capture.open(meta("/v1/chat/completions"), None);
    answered.head(StatusCode::OK, &events());
    let mut next_piece = |content: &str| {
        // Longer than a piece: each goes by itself.
        answered.data(&event(content));
        answered.data(&Bytes::from(format!(": {}\n\n", " ".repeat(4000))));
        let mut events = capture.take(None).unwrap().into_iter();
        let is_piece = |event: &Event| matches!(event, Event::Piece { .. });
        events.find(is_piece).unwrap()
    };
    let (mut open, mut sink) = (HashMap::new(), |_: Exchange| ());
    let mut handled = |content| {
        let event = next_piece(content);
        let Event::Piece {
            ref meta,
            ref saw_token,
            ref piece,
            ..
        } = event
        else {
            unreachable!()
        };
        let times: Vec<Duration> = piece.marks.iter().map(|(_, at)| *at).collect();
        let (id, seen) = (meta.id, Arc::clone(saw_token));
        handle(event, &mut open, &budget, &mut sink);
        let first_token = open[&id].first_token;
        (times, seen.load(Ordering::Relaxed), first_token)
    };
    let (times, seen, first_token) = handled("");
    assert!(!times.is_empty() && !seen && first_token.is_none());
    let (times, seen, first_token) = handled("token");
    assert_eq!((seen, first_token), (true, Some(times[0])));
    // What was under way when it was seen, and then what was not.
    handled("token");
    let (times, seen, again) = handled("token");
    assert_eq!((times, seen, again), (vec![], true, first_token));
}

#[test]
fn beyond_the_budget_content_is_left_out_and_the_exchange_is_told_all_the_same() {
    let (capture, worker, seen) = started(10_000);
    let (asked, mut answered) = capture.open(meta("/v1/chat/completions"), None);
    answered.head(StatusCode::OK, &events());
    answered.data(&event(&"x".repeat(10_000)));
    answered.end(End::Complete);
    drop(asked);
    worker.finish();
    let seen = seen.lock().unwrap();
    assert!(
        matches!(seen.as_slice(), [Exchange { reply: Some(reply), .. }] if reply.chat.cut),
        "{seen:?}"
    );
}

#[test]
fn an_exchange_without_an_answer_has_no_reading() {
    let (capture, worker, seen) = started(10_000);
    drop(capture.open(meta("/v1/chat/completions"), None));
    worker.finish();
    let seen = seen.lock().unwrap();
    assert!(
        matches!(seen.as_slice(), [exchange] if exchange.reply.is_none() && exchange.outcome == Outcome::ClientLeft),
        "{seen:?}"
    );
}

#[test]
fn a_sink_that_panics_over_one_exchange_gets_the_next() {
    let (capture, worker, seen) = started(10_000);
    drop(capture.open(meta("/panics"), None));
    drop(capture.open(meta("/v1/models"), None));
    worker.finish();
    let seen = seen.lock().unwrap();
    assert!(
        matches!(seen.as_slice(), [exchange] if exchange.reply.is_none() && exchange.meta.path == "/v1/models"),
        "{seen:?}"
    );
}

/// Counts what is dropped.
#[derive(Default)]
struct Drops(AtomicUsize);

impl Journal for Drops {
    fn began(&self, _: Begun) {}

    fn asked(&self, _: &Arc<RequestMeta>, _: CapturedBody) {}

    fn dropped(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn while_the_worker_is_busy_exchanges_are_held_within_the_budget_and_each_is_told_or_counted() {
    const BUDGET: usize = 200_000;
    let (budget, drops) = (Budget::new(BUDGET), Arc::new(Drops::default()));
    let capture = Capture::new(Arc::clone(&budget), Arc::clone(&drops) as Arc<dyn Journal>);
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
        let (mut asked, mut answered) = capture.open(meta, None);
        asked.data(&Bytes::from_static(b"{}"));
        asked.complete();
        answered.head(StatusCode::OK, &headers);
        answered.data(&event("x"));
        answered.end(End::Complete);
        assert!(budget.held() <= BUDGET + BUDGET / 4);
    }
    let told = work_off(&capture, &budget).len();
    let dropped = drops.0.load(Ordering::Relaxed);
    assert_eq!(told + dropped, 1000);
    assert!(told > 20 && dropped > 100, "{told} {dropped}");
    assert_eq!(budget.held(), 0);
    // Now there is room again.
    drop(capture.open(meta("/v1/models"), None));
    assert_eq!(drops.0.load(Ordering::Relaxed), dropped);
}

/// What becomes of all that waits.
fn work_off(capture: &Capture, budget: &Arc<Budget>) -> Vec<Exchange> {
    let seen = Seen::default();
    let sink = Arc::clone(&seen);
    let mut sink = move |exchange: Exchange| sink.lock().unwrap().push(exchange);
    let mut open = HashMap::new();
    for event in capture.take(None).unwrap() {
        handle(event, &mut open, budget, &mut sink);
    }
    std::mem::take(&mut *seen.lock().unwrap())
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
        let capture = Capture::new(Arc::clone(&budget), Arc::new(()));
        let (asked, mut answered) = capture.open(meta(), None);
        let facts = budget.held();
        let seen = Seen::default();
        let sink = Arc::clone(&seen);
        let mut sink = move |exchange: Exchange| sink.lock().unwrap().push(exchange);
        let mut open = HashMap::new();
        answered.head(StatusCode::OK, &events());
        for frame in 1..=2000 {
            // Many frames for little text: what is kept of the reply is far below the limit.
            answered.data(&event("x"));
            assert!(budget.held() <= facts + MOST);
            if frame % at_once == 0 && frame < 2000 {
                for event in capture.take(None).unwrap() {
                    handle(event, &mut open, &budget, &mut sink);
                }
            }
        }
        answered.end(End::Complete);
        drop(asked);
        for event in capture.take(None).unwrap() {
            handle(event, &mut open, &budget, &mut sink);
        }
        let seen = seen.lock().unwrap();
        let reply = &seen[0].reply.as_ref().unwrap().chat;
        assert_eq!(reply.cut, is_cut, "{at_once}");
        assert_eq!(budget.held(), 0);
    }
}

#[test]
fn of_one_frame_that_is_too_long_as_much_is_kept_as_there_is_room_for() {
    let budget = Budget::new(1 << 24);
    let capture = Capture::new(Arc::clone(&budget), Arc::new(()));
    let meta = RequestMeta {
        max_body: 50_000,
        ..meta("/v1/chat/completions")
    };
    let (_asked, mut answered) = capture.open(meta, None);
    answered.head(StatusCode::OK, &HeaderMap::new());
    let content = "x".repeat(100_000);
    answered.data(&Bytes::from(format!(
        r#"{{"id":"c","choices":[{{"message":{{"content":"{content}"}}}}]}}"#
    )));
    answered.end(End::Complete);
    let seen = work_off(&capture, &budget);
    let reply = &seen[0].reply.as_ref().unwrap().chat;
    assert_eq!((reply.cut, reply.id.as_deref()), (true, Some("c")));
}

#[test]
fn the_time_of_an_exchange_goes_on_where_that_of_the_process_before_ended() {
    struct Before(Moment);
    impl Journal for Before {
        fn began(&self, _: Begun) {}
        fn asked(&self, _: &Arc<RequestMeta>, _: CapturedBody) {}
        fn last_moment(&self) -> Option<Moment> {
            Some(self.0)
        }
    }
    // The wall's clock was set back by years.
    let last = Moment {
        steady_ns: u64::MAX / 4,
        wall_offset_ns: 0,
    };
    let (told, seen) = std::sync::mpsc::sync_channel(2);
    let (capture, worker) = start(
        Budget::new(1 << 20),
        Arc::new(Before(last)),
        move |exchange: Exchange| told.send(exchange).unwrap(),
    )
    .unwrap();
    for _ in 0..2 {
        drop(capture.open(meta("/v1/models"), None));
    }
    worker.finish();
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
    let (capture, worker) = start(Arc::clone(&budget), Arc::new(()), |_: Exchange| ()).unwrap();
    let (asked, mut answered) = capture.open(meta("/v1/chat/completions"), None);
    let held = budget.held();
    answered.hides(cookie(&"long-".repeat(10_000)));
    assert!(budget.held() >= held + 50_000);
    drop((asked, answered));
    worker.finish();
    assert_eq!(budget.held(), 0);
}

#[test]
fn beside_an_error_status_no_part_of_the_reply_repeats_a_secret() {
    const SECRET: &str = "words-of-the-cookie";
    for (status, is_hidden) in [(StatusCode::UNAUTHORIZED, true), (StatusCode::OK, false)] {
        let (capture, worker, seen) = started(1 << 20);
        let (_asked, mut answered) = capture.open(meta("/v1/chat/completions"), None);
        answered.hides(cookie(SECRET));
        let json = HeaderValue::from_static("application/json");
        answered.head(status, &[(CONTENT_TYPE, json)].into_iter().collect());
        let message =
            format!(r#"{{"content":"no {SECRET}","refusal":"{SECRET}","reasoning":"{SECRET}?"}}"#);
        let body = format!(r#"{{"choices":[{{"index":0,"message":{message}}}]}}"#);
        answered.data(&body.into());
        answered.end(End::Complete);
        worker.finish();
        let seen = format!("{:?}", seen.lock().unwrap()[0].reply);
        assert!(seen.contains("refusal: Some"), "{seen}");
        assert_eq!(seen.contains(SECRET), !is_hidden, "{seen}");
    }
}
