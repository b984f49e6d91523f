//! Streams of events, each with the time at which the upstream wrote it.
//!
//! Upstream and clients are threads of one process, so both read the same clock. All events but the first and the last ones have the same
//! length, and differ in that time alone: the client finds it where it must be, and compares the rest.

use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::load::{self, Target};
use crate::traffic::{self, Call, Event, Number, Pool};

/// Events of a stream.
pub(crate) const EVENTS: usize = 100;

/// Milliseconds between two events, for streams that begin from now on.
static INTERVAL: AtomicU64 = AtomicU64::new(10);

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

fn now() -> u64 {
    u64::try_from(BEGAN.elapsed().as_nanos()).unwrap()
}

/// The upstream's side: a head, the events, an end.
pub(crate) async fn send(
    stream: &mut TcpStream,
    number: Number,
    output: &mut Vec<u8>,
) -> Option<()> {
    let mut every = tokio::time::interval(Duration::from_millis(INTERVAL.load(Ordering::Relaxed)));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let event = Event::new(number);
    output.clear();
    output.extend_from_slice(&traffic::stream_head(number));
    chunk(&traffic::first_event(number), output);
    stream.write_all(output).await.ok()?;
    every.tick().await;
    for _ in 0..EVENTS {
        every.tick().await;
        output.clear();
        chunk(&event.at(now()), output);
        stream.write_all(output).await.ok()?;
    }
    output.clear();
    for last in traffic::last_events(number) {
        chunk(&last, output);
    }
    output.extend_from_slice(b"0\r\n\r\n");
    stream.write_all(output).await.ok()
}

fn chunk(payload: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(format!("{:x}\r\n", payload.len()).as_bytes());
    into.extend_from_slice(payload);
    into.extend_from_slice(b"\r\n");
}

/// How many streams, and which.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) pool: Arc<Pool>,
    /// Streams at the same time.
    pub(crate) streams: usize,
    /// How often all of them are asked for.
    pub(crate) turns: usize,
    /// Between two events.
    pub(crate) interval: Duration,
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) streams: usize,
    pub(crate) wrong: usize,
    /// From the request to the end, of all streams together.
    pub(crate) took: Duration,
    /// From the moment at which the upstream wrote an event to the one at which the client has it, in nanoseconds.
    pub(crate) delays: Vec<u64>,
}

pub(crate) async fn ask(target: Target, plan: &Plan) -> Done {
    let interval = u64::try_from(plan.interval.as_millis()).unwrap();
    INTERVAL.store(interval, Ordering::Relaxed);
    let mut clients = JoinSet::new();
    let began = Instant::now();
    let spread = (plan.interval * 100).min(Duration::from_secs(1));
    for place in 0..plan.streams {
        let stream = TcpStream::connect(target.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (plan, head) = (plan.clone(), load::head(target));
        let start = began
            + Duration::from_millis(200)
            + spread * u32::try_from(place).unwrap() / u32::try_from(plan.streams).unwrap();
        clients.spawn(async move {
            tokio::time::sleep_until(start.into()).await;
            follow(stream, &head, &plan.pool).await
        });
    }
    let mut all = Done::default();
    while let Some(done) = clients.join_next().await {
        all.add(done.unwrap());
    }
    all
}

impl Done {
    pub(crate) fn add(&mut self, other: Done) {
        self.streams += other.streams;
        self.wrong += other.wrong;
        self.took += other.took;
        self.delays.extend(other.delays);
    }
}

/// Only the first call of a run: its second would have to wait for it, and streams are to be open at the same time.
async fn follow(mut stream: TcpStream, head: &[u8], pool: &Pool) -> Done {
    let run = load::next_run();
    let call = &pool.conversation(run)[0];
    let (began, mut delays) = (Instant::now(), Vec::with_capacity(EVENTS));
    let same = one(&mut stream, head, call, traffic::number(run), &mut delays).await;
    Done {
        streams: usize::from(same.is_some()),
        wrong: usize::from(same != Some(true)),
        took: began.elapsed(),
        delays,
    }
}

/// Whether the stream was what the upstream sent; none when the connection broke.
async fn one(
    stream: &mut TcpStream,
    head: &[u8],
    call: &Call,
    number: Number,
    delays: &mut Vec<u64>,
) -> Option<bool> {
    let mut output = Vec::new();
    traffic::write_request(head, &call.body, number, &mut output);
    stream.write_all(&output).await.ok()?;
    let mut input = Vec::with_capacity(4 << 10);
    let end = loop {
        if let Some(end) = memchr::memmem::find(&input, b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut input).await.ok()? == 0 {
            return None;
        }
    };
    let mut same = input.starts_with(b"HTTP/1.1 200 ");
    input.drain(..end);
    let (mut chunks, mut events) = (Chunks::default(), Events::new(number));
    loop {
        let over = chunks.read(&input, |payload| same &= events.take(payload, delays));
        input.clear();
        if over {
            return Some(same && events.are_whole());
        }
        if stream.read_buf(&mut input).await.ok()? == 0 {
            return None;
        }
    }
}

/// Where in a chunked body the next byte is.
#[derive(Default)]
struct Chunks {
    /// Digits of a length so far.
    length: usize,
    /// Bytes of the chunk's payload that are to come, and its line end.
    payload: usize,
    line_end: usize,
    last: bool,
}

impl Chunks {
    /// Whether the body is over.
    fn read(&mut self, mut input: &[u8], mut take: impl FnMut(&[u8])) -> bool {
        while let Some(byte) = input.first() {
            if self.payload > 0 {
                let (now, rest) = input.split_at(self.payload.min(input.len()));
                take(now);
                self.payload -= now.len();
                input = rest;
                continue;
            }
            input = &input[1..];
            if self.line_end > 0 {
                self.line_end -= 1;
                if self.line_end == 0 && self.last {
                    return true;
                }
            } else if *byte == b'\n' {
                self.payload = std::mem::take(&mut self.length);
                self.line_end = 2;
                self.last = self.payload == 0;
            } else if let Some(digit) = char::from(*byte).to_digit(16) {
                self.length = self.length * 16 + digit as usize;
            }
        }
        false
    }
}

/// Which event the next byte is of.
struct Events {
    first: Vec<u8>,
    event: Event,
    last: Vec<u8>,
    number: usize,
    partial: Vec<u8>,
}

impl Events {
    fn new(number: Number) -> Self {
        Events {
            first: traffic::first_event(number),
            event: Event::new(number),
            last: traffic::last_events(number).concat(),
            number: 0,
            partial: Vec::new(),
        }
    }

    /// Whether all of it was as sent.
    fn take(&mut self, mut payload: &[u8], delays: &mut Vec<u64>) -> bool {
        let mut same = true;
        while !payload.is_empty() {
            let length = match self.number {
                0 => self.first.len(),
                1..=EVENTS => self.event.len(),
                _ => self.last.len(),
            };
            let missing = length - self.partial.len();
            let (now, rest) = payload.split_at(missing.min(payload.len()));
            payload = rest;
            self.partial.extend_from_slice(now);
            if self.partial.len() < length {
                break;
            }
            match self.number {
                0 => same &= self.partial == self.first,
                1..=EVENTS => match self.event.time(&self.partial) {
                    Some(sent) => delays.push(self::now().saturating_sub(sent)),
                    None => same = false,
                },
                EVENTS_AND_ONE => same &= self.partial == self.last,
                _ => return false,
            }
            self.number += 1;
            self.partial.clear();
        }
        same
    }

    fn are_whole(&self) -> bool {
        self.number == EVENTS + 2 && self.partial.is_empty()
    }
}

const EVENTS_AND_ONE: usize = EVENTS + 1;
