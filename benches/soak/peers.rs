//! The scripted upstream and the scripted Respan, over plain HTTP/1.1.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request's body; none at the connection's end.
async fn request(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(body)
}

/// Answers at once; a stream takes ten events of 20 ms.
pub(crate) async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "it lives as long as the process")]
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                while let Some(body) = request(&mut stream).await {
                    if answer(&mut stream, &body).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

async fn answer(stream: &mut BufReader<TcpStream>, body: &[u8]) -> std::io::Result<()> {
    let streamed = body.windows(13).any(|window| window == b"\"stream\":true");
    if !streamed {
        let reply = format!(
            r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o-mini","choices":[{{"index":0,"message":{{"role":"assistant","content":"{}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":9,"completion_tokens":9,"total_tokens":18}}}}"#,
            "It is fine. ".repeat(80)
        );
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{reply}",
            reply.len()
        );
        return stream.write_all(head.as_bytes()).await;
    }
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        .await?;
    for number in 0..10 {
        let event = format!(
            "data: {{\"id\":\"chatcmpl-1\",\"model\":\"gpt-4o-mini\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"word {number} \"}}}}]}}\n\n"
        );
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        stream.write_all(chunk.as_bytes()).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stream
        .write_all(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        .await
}

/// What Respan got.
#[derive(Default)]
pub(crate) struct Got {
    /// Ids of spans by exchange.
    pub(crate) by_exchange: HashMap<String, HashSet<String>>,
    content: HashMap<String, u64>,
    pub(crate) spans: u64,
    pub(crate) twice: u64,
    pub(crate) changed: u64,
}

#[derive(Clone)]
pub(crate) struct Respan {
    pub(crate) address: SocketAddr,
    pub(crate) down: Arc<AtomicBool>,
    pub(crate) got: Arc<Mutex<Got>>,
    /// Only counts, without reply: a fast one.
    counts: bool,
}

impl Respan {
    pub(crate) async fn start(counts: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let respan = Respan {
            address: listener.local_addr().unwrap(),
            down: Arc::default(),
            got: Arc::default(),
            counts,
        };
        let shared = respan.clone();
        #[expect(clippy::disallowed_methods, reason = "it lives as long as the process")]
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(shared.clone().serve(BufReader::new(stream)));
            }
        });
        respan
    }

    async fn serve(self, mut stream: BufReader<TcpStream>) {
        while let Some(body) = request(&mut stream).await {
            let status = if self.down.load(Ordering::Relaxed) {
                "503 Service Unavailable"
            } else {
                self.take(&body);
                "200 OK"
            };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn take(&self, body: &[u8]) {
        let mut got = self.got.lock().unwrap();
        if self.counts {
            let spans = body
                .windows(10)
                .filter(|window| window == b"\"spanId\":\"")
                .count();
            got.spans += spans as u64;
            return;
        }
        let post: Value = serde_json::from_slice(body).unwrap();
        for span in post["resourceSpans"][0]["scopeSpans"][0]["spans"]
            .as_array()
            .unwrap()
        {
            let id = span["spanId"].as_str().unwrap().to_owned();
            let mut hasher = DefaultHasher::new();
            span.to_string().hash(&mut hasher);
            let content = hasher.finish();
            got.spans += 1;
            if let Some(before) = got.content.insert(id.clone(), content) {
                got.twice += 1;
                got.changed += u64::from(before != content);
            }
            let attributes = span["attributes"].as_array().unwrap();
            let exchange = attributes
                .iter()
                .find(|attribute| attribute["key"] == "respan.metadata.spangate_exchange");
            if let Some(exchange) =
                exchange.and_then(|found| found["value"]["stringValue"].as_str())
            {
                got.by_exchange
                    .entry(exchange.to_owned())
                    .or_default()
                    .insert(id);
            }
        }
    }
}
