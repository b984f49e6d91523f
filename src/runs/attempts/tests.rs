//! Attempts are joined when they are of one call, and only then.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};

use super::*;
use crate::exchange::{Outcome, RequestMeta, ResponseHead};
use crate::identity;
use crate::span::Span;
use crate::span::exchange::explicit_placement;

const IDLE: Duration = Duration::from_secs(30);
const SECOND: u64 = 1_000_000_000;

/// One attempt of a call, a second long.
struct Attempt {
    number: Option<u32>,
    body: &'static str,
    started_ns: u64,
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    outcome: Outcome,
    wall_offset_ns: i64,
}

const FIRST: Attempt = Attempt {
    number: Some(0),
    body: "{}",
    started_ns: SECOND,
    status: 500,
    headers: Vec::new(),
    outcome: Outcome::Complete,
    wall_offset_ns: 0,
};

impl Attempt {
    fn next(number: u32) -> Self {
        Attempt {
            number: Some(number),
            started_ns: SECOND * (1 + 2 * u64::from(number)),
            ..FIRST
        }
    }

    fn exchange(&self) -> Exchange {
        let meta = RequestMeta {
            id: ExchangeId::new(),
            identity: identity::read(&HeaderMap::new(), &identity::IdentityDefaults::default()),
            method: Method::POST,
            path: "/v1/chat/completions".to_owned(),
            retry: self.number,
            content_encoding: None,
            chat: true,
            content: true,
            entity_content: false,
            may_be_agent: true,
            media: crate::openai::Media::Size,
            max_body: 1024,
            system: "openai",
            wall_offset_ns: self.wall_offset_ns,
        };
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let answer = (self.status != 0).then(|| ResponseHead {
            status: StatusCode::from_u16(self.status).unwrap(),
            first_byte: Duration::ZERO,
            content_type: Some("application/json".into()),
            content_encoding: None,
            headers: headers.into(),
        });
        let meta = Arc::new(meta);
        let duration = Duration::from_secs(1);
        Exchange {
            meta,
            started_ns: self.started_ns,
            duration,
            request: self.body.into(),
            response: answer,
            outcome: self.outcome.clone(),
            reply: None,
        }
    }
}

/// The attempts of a conversation without runs.
#[derive(Default)]
struct Alone {
    attempts: Attempts,
    held: HeldBytes,
}

impl Alone {
    fn claim(&mut self, exchange: &Exchange) {
        self.attempts
            .claim(&exchange.meta, exchange.started_ns, &exchange.request);
    }

    fn settle(&mut self, exchange: Exchange, now: Instant) -> Option<Span> {
        self.claim(&exchange);
        let place = explicit_placement(&exchange);
        let exchange = Arc::new(exchange);
        let waits = (IDLE, now);
        match self
            .attempts
            .settle(&exchange, place, None, &self.held, waits)
        {
            (SettledAttempt::Last(call), _) => Some(call.span.span()),
            (SettledAttempt::Held(_), _) => None,
        }
    }

    fn expire(&mut self, now: Instant) -> Vec<Span> {
        let finished = self.attempts.expire(now, &self.held);
        finished.iter().map(|call| call.span.span()).collect()
    }

    fn close(&mut self) -> usize {
        self.attempts.close(&self.held).len()
    }

    fn held_bytes(&self) -> usize {
        self.held.0.load(Ordering::Relaxed)
    }
}

/// The spans that are complete at once when these settle one after another.
fn settled(alone: &mut Alone, attempts: &[Attempt], now: Instant) -> Vec<Span> {
    let exchanges = attempts.iter().map(Attempt::exchange);
    exchanges
        .filter_map(|exchange| alone.settle(exchange, now))
        .collect()
}

fn attempts_of(span: &Span) -> Vec<i64> {
    let number = |event: &SpanEvent| {
        event
            .attributes
            .iter()
            .find_map(|(name, value)| match value {
                Value::Int(number) if name == key::ATTEMPT => Some(*number),
                _ => None,
            })
    };
    span.events.iter().filter_map(number).collect()
}

#[test]
fn attempts_of_one_call_are_one_span_from_the_first_to_the_last() {
    let mut alone = Alone::default();
    let last = Attempt {
        status: 200,
        ..Attempt::next(2)
    };
    let spans = settled(&mut alone, &[FIRST, Attempt::next(1), last], Instant::now());
    let [call] = &spans[..] else {
        panic!("{spans:?}")
    };
    assert_eq!(
        (call.start_ns, call.end_ns, &call.status),
        (SECOND, 6 * SECOND, &Status::Ok)
    );
    assert_eq!(attempts_of(call), [0, 1]);
    assert_eq!(call.events[0].time_ns, 2 * SECOND);
    assert_eq!(alone.close(), 0);
    assert_eq!(alone.held_bytes(), 0);
}

#[test]
fn a_clock_that_is_set_between_attempts_makes_their_span_no_longer() {
    for set_by in [3600 * SECOND.cast_signed(), -200_000_000] {
        let last = Attempt {
            status: 200,
            wall_offset_ns: set_by,
            ..Attempt::next(2)
        };
        let second = Attempt {
            wall_offset_ns: set_by,
            ..Attempt::next(1)
        };
        let mut alone = Alone::default();
        let spans = settled(&mut alone, &[FIRST, second, last], Instant::now());
        let times: Vec<_> = spans.iter().map(|s| (s.start_ns, s.end_ns)).collect();
        assert_eq!(times, [(SECOND, 6 * SECOND)]);
        let attempts: Vec<_> = spans[0].events.iter().map(|event| event.time_ns).collect();
        assert_eq!(attempts, [2 * SECOND, 4 * SECOND]);
    }
}

#[test]
fn a_failure_that_is_not_repeated_in_time_was_the_last() {
    let (mut alone, now) = (Alone::default(), Instant::now());
    assert!(settled(&mut alone, &[FIRST, Attempt::next(1)], now).is_empty());
    assert_eq!(alone.attempts.next_expiry(), Some(now + IDLE));
    assert!(alone.expire(now + IDLE / 2).is_empty());
    let spans = alone.expire(now + IDLE);
    assert_eq!(spans.iter().map(attempts_of).collect::<Vec<_>>(), [[0]]);
    assert!(matches!(spans[0].status, Status::Error(_)));
    assert_eq!(
        (alone.attempts.next_expiry(), alone.held_bytes()),
        (None, 0)
    );
}

#[test]
fn an_announced_delay_is_waited_for() {
    for (name, value, expected) in [
        ("retry-after", "60", 70),
        ("retry-after-ms", "100000", 110),
        ("retry-after", "5", 30),
        ("retry-after", "soon", 30),
    ] {
        let (mut alone, now) = (Alone::default(), Instant::now());
        let attempt = Attempt {
            status: 429,
            headers: vec![(name, value)],
            ..FIRST
        };
        assert!(settled(&mut alone, &[attempt], now).is_empty());
        assert_eq!(
            alone.attempts.next_expiry(),
            Some(now + Duration::from_secs(expected)),
            "{name}: {value}"
        );
    }
}

#[test]
fn only_what_an_sdk_repeats_is_waited_for() {
    let waits =
        |attempt: Attempt| settled(&mut Alone::default(), &[attempt], Instant::now()).is_empty();
    for status in [408, 409, 429, 500, 503] {
        assert!(waits(Attempt { status, ..FIRST }), "{status}");
    }
    for status in [200, 400, 401, 404, 422] {
        assert!(!waits(Attempt { status, ..FIRST }), "{status}");
    }
    assert!(waits(Attempt {
        status: 0,
        outcome: Outcome::Unreachable(String::new()),
        ..FIRST
    }));
    assert!(waits(Attempt {
        status: 200,
        outcome: Outcome::Broke(String::new()),
        ..FIRST
    }));
    assert!(waits(Attempt {
        status: 400,
        headers: vec![("x-should-retry", "true")],
        ..FIRST
    }));
    assert!(!waits(Attempt {
        headers: vec![("x-should-retry", "false")],
        ..FIRST
    }));
    assert!(!waits(Attempt {
        outcome: Outcome::ClientLeft,
        ..FIRST
    }));
    assert!(!waits(Attempt {
        number: None,
        ..FIRST
    }));
}

#[test]
fn other_calls_are_not_attempts_of_this_one() {
    for stranger in [
        Attempt {
            body: "{\"other\":1}",
            status: 200,
            ..Attempt::next(1)
        },
        Attempt {
            status: 200,
            ..Attempt::next(2)
        },
        Attempt {
            status: 200,
            started_ns: SECOND,
            ..Attempt::next(1)
        },
        Attempt {
            number: None,
            status: 200,
            ..Attempt::next(1)
        },
    ] {
        let mut alone = Alone::default();
        let spans = settled(&mut alone, &[FIRST, stranger], Instant::now());
        assert_eq!(
            spans.iter().map(attempts_of).collect::<Vec<_>>(),
            [[0_i64; 0]]
        );
        assert_eq!(alone.close(), 1);
    }
}

#[test]
fn a_repetition_under_way_is_not_given_up() {
    let (mut alone, now) = (Alone::default(), Instant::now());
    settled(&mut alone, &[FIRST], now);
    let second = Attempt {
        status: 200,
        ..Attempt::next(1)
    }
    .exchange();
    alone.claim(&second);
    assert!(alone.expire(now + 2 * IDLE).is_empty());
    let call = alone.settle(second, now + 3 * IDLE).unwrap();
    assert_eq!(attempts_of(&call), [0]);
}

#[test]
fn equal_calls_at_once_each_keep_their_own_attempts() {
    let mut alone = Alone::default();
    let second = || Attempt {
        status: 200,
        ..Attempt::next(1)
    };
    let spans = settled(
        &mut alone,
        &[FIRST, FIRST, second(), second()],
        Instant::now(),
    );
    assert_eq!(
        spans.iter().map(attempts_of).collect::<Vec<_>>(),
        [[0], [0]]
    );
    assert_eq!(alone.close(), 0);
}

#[test]
fn a_body_is_hashed_only_where_an_attempt_failed_before_and_then_once() {
    let mut alone = Alone::default();
    let second = || Attempt::next(1).exchange();
    alone.claim(&second());
    assert!(alone.attempts.keys.is_empty());
    let other = Attempt {
        body: "{\"other\":1}",
        ..FIRST
    };
    settled(&mut alone, &[other], Instant::now());
    let second = second();
    alone.claim(&second);
    alone.claim(&second);
    assert_eq!(alone.attempts.keys.len(), 1);
    alone.settle(second, Instant::now());
    assert!(alone.attempts.keys.is_empty());
    assert_eq!(alone.close(), 2);
}
