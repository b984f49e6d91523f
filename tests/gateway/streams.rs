//! Watches over the number of calls on one HTTP/2 connection: the upstream's limit of the moment. Further calls go to other connections.
//!
//! The upstream here writes its frames by hand, since h2 cannot change the limit of an open connection.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;

use crate::harness::{Call, Certificate, ClientRequest, Gateway, Protocol, Setup, within};

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;
const END_STREAM_AND_HEADERS: u8 = 5;
const MAX_CONCURRENT_STREAMS: u8 = 3;
/// `:status: 200`, by HPACK's static table.
const OK: [u8; 1] = [0x88];

type TlsSocket = TlsStream<TcpStream>;

/// An event at the upstream, with the number of its connection from 0.
#[derive(Debug)]
enum UpstreamEvent {
    /// A request on this stream.
    Request(usize, u32),
    /// The gateway acknowledged settings.
    Acknowledged(usize),
}

struct Upstream {
    gateway: Gateway,
    events: mpsc::Receiver<UpstreamEvent>,
    requests: VecDeque<(usize, u32)>,
    /// Connections that acknowledged settings.
    acknowledgements: Vec<usize>,
    connections: Arc<Mutex<Vec<WriteHalf<TlsSocket>>>>,
    _tasks: JoinSet<()>,
}

async fn write(to: &mut WriteHalf<TlsSocket>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len())
        .expect("a short one")
        .to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    let frame = [&head, payload].concat();
    to.write_all(&frame).await.expect("room to write");
    to.flush().await.expect("room to write");
}

fn admits(most: u32) -> Vec<u8> {
    [&[0, MAX_CONCURRENT_STREAMS], &most.to_be_bytes()[..]].concat()
}

/// Reads frames until the connection ends.
async fn read(
    mut from: ReadHalf<TlsSocket>,
    connections: Arc<Mutex<Vec<WriteHalf<TlsSocket>>>>,
    number: usize,
    events: mpsc::Sender<UpstreamEvent>,
) {
    let mut preface = [0; 24];
    let mut head = [0; 9];
    if from.read_exact(&mut preface).await.is_err() {
        return;
    }
    while from.read_exact(&mut head).await.is_ok() {
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        if from.read_exact(&mut payload).await.is_err() {
            return;
        }
        let what = match (kind, flags & ACK) {
            (HEADERS, _) => UpstreamEvent::Request(number, u32::from_be_bytes(stream)),
            (SETTINGS, ACK) => UpstreamEvent::Acknowledged(number),
            (SETTINGS, _) => {
                let mut connections = connections.lock().await;
                write(&mut connections[number], SETTINGS, ACK, 0, &[]).await;
                continue;
            }
            _ => continue,
        };
        if events.send(what).await.is_err() {
            return;
        }
    }
}

impl Upstream {
    /// One whose connections admit so many calls when they begin.
    async fn admitting(most: u32) -> Self {
        let certificate = Certificate::make();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let file = certificate.file();
        let setup = Setup::before(&format!("https://localhost:{port}/v1"))
            .set("upstream.ca_file", file.to_str().expect("UTF-8"));
        let gateway = setup.start().await;
        let connections = Arc::<Mutex<Vec<_>>>::default();
        let (sender, events) = mpsc::channel(1024);
        let mut tasks = JoinSet::new();
        let accepted = Arc::clone(&connections);
        tasks.spawn(async move {
            let mut reading = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = certificate.server(&["h2"]);
                let stream = acceptor.accept(stream).await.expect("a handshake");
                let (from, mut to) = split(stream);
                write(&mut to, SETTINGS, 0, 0, &admits(most)).await;
                let mut connections = accepted.lock().await;
                connections.push(to);
                let number = connections.len() - 1;
                reading.spawn(read(from, Arc::clone(&accepted), number, sender.clone()));
            }
        });
        Upstream {
            gateway,
            events,
            requests: VecDeque::new(),
            acknowledgements: Vec::new(),
            connections,
            _tasks: tasks,
        }
    }

    async fn call(&self) -> Call {
        let ask = ClientRequest::new("GET", "/v1/models");
        Call::begin(Protocol::One, self.gateway.address, &ask).await
    }

    /// The next request: its connection and its stream.
    async fn request(&mut self) -> (usize, u32) {
        within("a request at the upstream", async {
            loop {
                if let Some(request) = self.requests.pop_front() {
                    return request;
                }
                self.next_event().await;
            }
        })
        .await
    }

    async fn acknowledged(&mut self, connection: usize) {
        within("settings to be acknowledged", async {
            loop {
                let found = self
                    .acknowledgements
                    .iter()
                    .position(|acknowledged| *acknowledged == connection);
                if let Some(at) = found {
                    self.acknowledgements.remove(at);
                    return;
                }
                self.next_event().await;
            }
        })
        .await;
    }

    async fn next_event(&mut self) {
        match self.events.recv().await.expect("it listens") {
            UpstreamEvent::Request(connection, stream) => {
                self.requests.push_back((connection, stream));
            }
            UpstreamEvent::Acknowledged(connection) => self.acknowledgements.push(connection),
        }
    }

    /// Makes the limit of one connection another, and waits until that is known.
    async fn admit(&mut self, connection: usize, most: u32) {
        let mut connections = self.connections.lock().await;
        write(&mut connections[connection], SETTINGS, 0, 0, &admits(most)).await;
        drop(connections);
        self.acknowledged(connection).await;
    }

    async fn answer(&self, (connection, stream): (usize, u32)) {
        let mut connections = self.connections.lock().await;
        let to = &mut connections[connection];
        write(to, HEADERS, END_STREAM_AND_HEADERS, stream, &OK).await;
    }
}

#[tokio::test]
async fn calls_beyond_the_limit_of_a_connection_go_to_further_ones() {
    let mut upstream = Upstream::admitting(2).await;
    let mut calls = Vec::new();
    for _ in 0..7 {
        calls.push(upstream.call().await);
    }
    // All of them come though none is answered.
    let mut requests = Vec::new();
    let mut carried = [0; 7];
    for _ in 0..7 {
        let request = upstream.request().await;
        carried[request.0] += 1;
        requests.push(request);
    }
    assert!(carried.iter().all(|count| *count <= 2), "{carried:?}");
    for request in requests {
        upstream.answer(request).await;
    }
    for call in calls {
        assert_eq!(call.reply().await.status, 200);
    }
    // What has become free is used again.
    let before = upstream.connections.lock().await.len();
    let call = upstream.call().await;
    let request = upstream.request().await;
    upstream.answer(request).await;
    assert_eq!(call.reply().await.status, 200);
    assert_eq!(upstream.connections.lock().await.len(), before);
}

#[tokio::test]
async fn a_changed_limit_counts_from_then_on() {
    let mut upstream = Upstream::admitting(10).await;
    let mut calls = vec![upstream.call().await];
    let mut requests = vec![upstream.request().await];
    upstream.acknowledged(0).await;
    for _ in 0..2 {
        calls.push(upstream.call().await);
        requests.push(upstream.request().await);
    }
    assert!(requests.iter().all(|(connection, _)| *connection == 0));
    for most in [1, 0] {
        upstream.admit(0, most).await;
        calls.push(upstream.call().await);
        let request = upstream.request().await;
        assert_eq!(request.0, 1, "at a limit of {most}");
        requests.push(request);
        if most == 1 {
            upstream.acknowledged(1).await;
        }
    }
    upstream.admit(0, 4).await;
    calls.push(upstream.call().await);
    let request = upstream.request().await;
    assert_eq!(request.0, 0);
    requests.push(request);
    for request in requests {
        upstream.answer(request).await;
    }
    for call in calls {
        assert_eq!(call.reply().await.status, 200);
    }
}

#[tokio::test]
async fn connections_that_admit_nothing_each_carry_the_call_that_they_were_made_for() {
    let mut upstream = Upstream::admitting(0).await;
    let mut calls = Vec::new();
    let mut requests = Vec::new();
    for number in 0..3 {
        calls.push(upstream.call().await);
        let request = upstream.request().await;
        assert_eq!(request.0, number);
        requests.push(request);
    }
    for request in requests {
        upstream.answer(request).await;
    }
    for call in calls {
        assert_eq!(call.reply().await.status, 200);
    }
}
