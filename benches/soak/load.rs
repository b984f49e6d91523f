//! Clients: at a rate, or as fast as they are answered.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// An exchange whose head a client got.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) exchange: String,
    pub(crate) began: Instant,
    pub(crate) head_after: Duration,
    pub(crate) streamed: bool,
}

pub(crate) type All = Arc<Mutex<Vec<Seen>>>;

/// A body of about this size that does not compress.
pub(crate) fn body(bytes: usize, streamed: bool) -> String {
    let question: String = (0..bytes).map(|_| fastrand::alphanumeric()).collect();
    format!(
        r#"{{"model":"gpt-4o-mini","messages":[{{"role":"user","content":"{question}"}}],"stream":{streamed}}}"#
    )
}

/// Begins `rate` requests a second for `duration`, every second one a stream where `streams`. Failures count as nothing: they are kills.
pub(crate) async fn paced(
    address: SocketAddr,
    rate: u32,
    duration: Duration,
    streams: bool,
    seen: &All,
) -> JoinSet<()> {
    let (mut clients, began) = (JoinSet::new(), Instant::now());
    let mut every = tokio::time::interval(Duration::from_secs(1) / rate);
    let mut number = 0_u32;
    while began.elapsed() < duration {
        every.tick().await;
        number += 1;
        let seen = Arc::clone(seen);
        let streamed = streams && number.is_multiple_of(2);
        clients.spawn(async move {
            if let Ok(stream) = TcpStream::connect(address).await {
                let mut stream = BufReader::new(stream);
                one(&mut stream, &body(800, streamed), "", streamed, Some(&seen)).await;
            }
        });
        while clients.try_join_next().is_some() {}
    }
    clients
}

/// Makes requests on `connections` connections, each as soon as the one before is answered. Gives how many were answered.
pub(crate) async fn closed(
    address: SocketAddr,
    connections: usize,
    requests: usize,
    size: usize,
    headers: &'static str,
) -> usize {
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        clients.spawn(async move {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut stream = BufReader::new(stream);
            let mut answered = 0;
            for _ in 0..requests / connections {
                let body = body(size, false);
                answered += usize::from(
                    one(&mut stream, &body, headers, false, None)
                        .await
                        .is_some(),
                );
            }
            answered
        });
    }
    clients.join_all().await.into_iter().sum()
}

async fn one(
    stream: &mut BufReader<TcpStream>,
    body: &str,
    headers: &str,
    streamed: bool,
    seen: Option<&All>,
) -> Option<()> {
    let began = Instant::now();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer sk-soak\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let (mut exchange, mut length) = (String::new(), None);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some(id) = line.strip_prefix("x-respan-gateway-request-id: ") {
            id.trim().clone_into(&mut exchange);
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().ok();
        }
    }
    if let Some(seen) = seen {
        seen.lock().unwrap().push(Seen {
            exchange,
            began,
            head_after: began.elapsed(),
            streamed,
        });
    }
    if let Some(length) = length {
        let mut reply = vec![0; length];
        stream.read_exact(&mut reply).await.ok()?;
    } else {
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            if line == "0\r\n" {
                break;
            }
        }
    }
    Some(())
}
