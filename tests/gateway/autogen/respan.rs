//! A scripted Respan: accepts every post of OTLP/HTTP JSON and keeps the spans.
//!
//! It is strict about what Respan's contract fixes: the path, the bearer key, ids as hex, times and whole numbers as decimal strings. What
//! breaks one of these is a problem, and [`ScriptedRespan::spans`] fails on the first.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// A span as it was posted, attributes by key.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) name: String,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) status: i64,
    pub(crate) attributes: BTreeMap<String, Value>,
}

impl Span {
    /// A text attribute; a missing one fails the test.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.attributes
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{key} is missing or no text: {self:#?}"))
    }

    /// The JSON inside a text attribute.
    pub(crate) fn json(&self, key: &str) -> Value {
        serde_json::from_str(self.text(key))
            .unwrap_or_else(|e| panic!("{key} is not JSON ({e}): {self:#?}"))
    }
}

/// Listens until the test's process ends.
pub(crate) struct ScriptedRespan {
    address: SocketAddr,
    posts: Arc<Mutex<Vec<Result<Vec<Span>, String>>>>,
}

impl ScriptedRespan {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let respan = Self {
            address: listener.local_addr().unwrap(),
            posts: Arc::default(),
        };
        let posts = Arc::clone(&respan.posts);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let posts = Arc::clone(&posts);
                thread::spawn(move || serve(stream, &posts));
            }
        });
        respan
    }

    /// What the gateway is given as `RESPAN_BASE_URL`.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/api", self.address)
    }

    /// Every span that was posted, in order of their start.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let posts: Result<Vec<_>, _> = self.posts.lock().unwrap().iter().cloned().collect();
        let mut spans = posts
            .unwrap_or_else(|problem| panic!("a post broke Respan's contract: {problem}"))
            .concat();
        spans.sort_by_key(|span| span.start_ns);
        spans
    }
}

/// Answers the posts of one connection; `None` inside means that the peer has left.
fn serve(stream: TcpStream, posts: &Mutex<Vec<Result<Vec<Span>, String>>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some((head, body)) = receive(&mut reader) {
        posts.lock().unwrap().push(accept(&head, &body));
        let answer = r#"{"partialSuccess":{}}"#;
        if write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()).is_err() {
            return;
        }
    }
}

/// Head (header lines in lower-case names) and body of the next request.
fn receive(reader: &mut impl BufRead) -> Option<(Vec<String>, Vec<u8>)> {
    let mut head = Vec::new();
    loop {
        let line = next_line(reader)?;
        if line.is_empty() {
            break;
        }
        head.push(line.split_once(':').map_or(line.clone(), |(name, value)| {
            format!("{}:{}", name.to_lowercase(), value.trim())
        }));
    }
    let length = head
        .iter()
        .find_map(|line| line.strip_prefix("content-length:"));
    let mut body = Vec::new();
    if let Some(length) = length {
        reader
            .take(length.parse().ok()?)
            .read_to_end(&mut body)
            .ok()?;
        return Some((head, body));
    }
    loop {
        let size = u64::from_str_radix(&next_line(reader)?, 16).ok()?;
        reader.take(size).read_to_end(&mut body).ok()?;
        next_line(reader)?;
        if size == 0 {
            return Some((head, body));
        }
    }
}

fn next_line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    let read = reader.read_line(&mut line).ok()?;
    (read > 0).then(|| line.trim_end().to_owned())
}

fn accept(head: &[String], body: &[u8]) -> Result<Vec<Span>, String> {
    if head[0] != "POST /api/v2/traces HTTP/1.1" {
        return Err(format!("posted to {}", head[0]));
    }
    for line in [
        "authorization:Bearer rk-test",
        "content-type:application/json",
    ] {
        if !head.iter().any(|given| given == line) {
            return Err(format!("no {line} in {head:?}"));
        }
    }
    let post: Value = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let inside = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let scopes = inside(&post, "resourceSpans")
        .into_iter()
        .flat_map(|resource| inside(&resource, "scopeSpans"));
    scopes
        .flat_map(|scope| inside(&scope, "spans"))
        .map(|span| read(&span).ok_or_else(|| format!("unreadable span {span}")))
        .collect()
}

fn read(span: &Value) -> Option<Span> {
    let hex = |key: &str, digits: usize| {
        let id = span[key].as_str()?;
        (id.len() == digits
            && id
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
        .then(|| id.to_owned())
    };
    let attributes = span["attributes"].as_array()?;
    let read = Span {
        trace_id: hex("traceId", 32)?,
        span_id: hex("spanId", 16)?,
        name: span["name"].as_str()?.to_owned(),
        start_ns: span["startTimeUnixNano"].as_str()?.parse().ok()?,
        end_ns: span["endTimeUnixNano"].as_str()?.parse().ok()?,
        status: span["status"]["code"].as_i64().unwrap_or(0),
        attributes: attributes
            .iter()
            .map(|a| Some((a["key"].as_str()?.to_owned(), plain(&a["value"])?)))
            .collect::<Option<_>>()?,
    };
    (read.attributes.len() == attributes.len()).then_some(read) // a key twice: which one Respan takes is anybody's guess
}

/// An OTLP AnyValue as plain JSON.
fn plain(value: &Value) -> Option<Value> {
    let (kind, inner) = value.as_object()?.iter().next()?;
    match kind.as_str() {
        "stringValue" | "boolValue" | "doubleValue" => Some(inner.clone()),
        "intValue" => inner.as_str()?.parse::<i64>().ok().map(Value::from),
        "arrayValue" => inner["values"].as_array()?.iter().map(plain).collect(),
        _ => None,
    }
}
