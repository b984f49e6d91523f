//! Clients that ask: as soon as they are answered, or at a rate.
//!
//! Every reply is compared with what the upstream sent, and the first of each connection with its headers too; whether the upstream got
//! every byte of the body is for it to say.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::traffic::{self, Call, Pool, Replies};
use crate::upstream;

/// Where requests go.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Lines that are added to each head.
    pub(crate) headers: &'static str,
    /// Passes the upstream's headers on in their order and unchanged.
    pub(crate) keeps_headers: bool,
}

/// What is asked, and how.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) pool: Arc<Pool>,
    pub(crate) connections: usize,
    pub(crate) requests: usize,
    /// Requests a second of all connections together; none for as many as are answered.
    pub(crate) rate: Option<f64>,
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) answered: usize,
    /// Replies that were not what the upstream sent, and connections that broke.
    pub(crate) wrong: usize,
    pub(crate) took: Duration,
    /// From the first byte of a request to the last one of its reply, in nanoseconds.
    pub(crate) latencies: Vec<u64>,
}

/// Runs of all loads: no two have the same number.
static RUNS: AtomicU64 = AtomicU64::new(1);

pub(crate) fn next_run() -> u64 {
    RUNS.fetch_add(1, Ordering::Relaxed)
}

/// Carries a plan out.
pub(crate) async fn ask(target: Target, plan: &Plan) -> Done {
    let left = Arc::new(AtomicUsize::new(plan.requests));
    let replies = Arc::new(Replies::new());
    let mut clients = JoinSet::new();
    let began = Instant::now();
    for place in 0..plan.connections {
        let pace = plan
            .rate
            .map(|rate| Pace::new(rate, place, plan.connections));
        let client = Client::connect(target, Arc::clone(&replies)).await;
        clients.spawn(client.work(Arc::clone(&plan.pool), Arc::clone(&left), pace));
    }
    let mut all = Done::default();
    while let Some(done) = clients.join_next().await {
        let done = done.unwrap();
        all.answered += done.answered;
        all.wrong += done.wrong;
        all.latencies.extend(done.latencies);
    }
    all.took = began.elapsed();
    all.latencies.sort_unstable();
    all
}

/// When a connection's requests are due.
struct Pace {
    next: tokio::time::Instant,
    every: Duration,
}

impl Pace {
    #[expect(clippy::cast_precision_loss, reason = "a few hundred connections")]
    fn new(rate: f64, place: usize, connections: usize) -> Self {
        let every = connections as f64 / rate;
        let offset = place as f64 / rate;
        Pace {
            next: tokio::time::Instant::now()
                + Duration::from_millis(20)
                + Duration::from_secs_f64(offset),
            every: Duration::from_secs_f64(every),
        }
    }

    /// A connection that is behind asks at once.
    async fn wait(&mut self) {
        tokio::time::sleep_until(self.next).await;
        self.next += self.every;
    }
}

/// One connection.
struct Client {
    stream: TcpStream,
    target: Target,
    head: Vec<u8>,
    replies: Arc<Replies>,
    output: Vec<u8>,
    input: Vec<u8>,
    expected: Vec<u8>,
    done: Done,
}

impl Client {
    async fn connect(target: Target, replies: Arc<Replies>) -> Self {
        let stream = TcpStream::connect(target.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client {
            stream,
            target,
            head: head(target),
            replies,
            output: Vec::new(),
            input: Vec::with_capacity(16 << 10),
            expected: Vec::new(),
            done: Done::default(),
        }
    }

    async fn work(
        mut self,
        pool: Arc<Pool>,
        left: Arc<AtomicUsize>,
        mut pace: Option<Pace>,
    ) -> Done {
        loop {
            let run = next_run();
            for call in pool.conversation(run) {
                if left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                        left.checked_sub(1)
                    })
                    .is_err()
                {
                    return self.done;
                }
                if let Some(pace) = &mut pace {
                    pace.wait().await;
                }
                let began = Instant::now();
                let Some(same) = self.call(call, run).await else {
                    self.done.wrong += 1;
                    return self.done;
                };
                let took = u64::try_from(began.elapsed().as_nanos()).unwrap();
                self.done.latencies.push(took);
                self.done.answered += 1;
                self.done.wrong += usize::from(!same);
            }
        }
    }

    /// Whether the reply is what the upstream sent; none when the connection broke.
    async fn call(&mut self, call: &Call, run: u64) -> Option<bool> {
        let number = traffic::number(run);
        traffic::write_request(&self.head, &call.body, number, &mut self.output);
        self.stream.write_all(&self.output).await.ok()?;
        self.input.clear();
        let (head, length) = upstream::read_head(&mut self.stream, &mut self.input).await?;
        while self.input.len() < head + length {
            if self.stream.read_buf(&mut self.input).await.ok()? == 0 {
                return None;
            }
        }
        let body = self.replies.write(number, call.initial, &mut self.expected);
        let mut same = self.input.starts_with(b"HTTP/1.1 200 ")
            && self.input[head..] == self.expected[body.clone()];
        if self.done.answered == 0 && self.target.keeps_headers {
            same &= is_in(&self.expected[..body.start], &self.input[..head]);
        }
        Some(same)
    }
}

/// As openai-python writes it, up to what there is to say about the body.
pub(crate) fn head(target: Target) -> Vec<u8> {
    let Target {
        address, headers, ..
    } = target;
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\n\
         Host: {address}\r\n\
         Accept-Encoding: gzip, deflate\r\n\
         Connection: keep-alive\r\n\
         authorization: Bearer sk-proj-9Qw8Er7Ty6Ui5Op4As3Df2Gh1Jk0Lz9Xc8Vb7Nm6\r\n\
         accept: application/json\r\n\
         content-type: application/json\r\n\
         user-agent: AsyncOpenAI/Python 2.8.0\r\n\
         x-stainless-lang: python\r\n\
         x-stainless-package-version: 2.8.0\r\n\
         x-stainless-os: Linux\r\n\
         x-stainless-arch: x64\r\n\
         x-stainless-runtime: CPython\r\n\
         x-stainless-runtime-version: 3.12.8\r\n\
         x-stainless-async: async:asyncio\r\n\
         x-stainless-retry-count: 0\r\n\
         x-stainless-read-timeout: 600\r\n\
         {headers}"
    )
    .into_bytes()
}

/// Whether all lines of `sent` are in `got`, in their order.
fn is_in(sent: &[u8], got: &[u8]) -> bool {
    let mut got = got.split(|byte| *byte == b'\n');
    sent.split(|byte| *byte == b'\n').all(|line| {
        got.by_ref()
            .any(|candidate| candidate.eq_ignore_ascii_case(line))
    })
}
