//! The exporter against a Respan that answers as each test says, over real sockets.
//!
//! The server hands every post to the test, which answers it, or does not: so a test waits for posts and never for time.

use std::net::SocketAddr;

use http::Response;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::runs::FinishedSpan;
use crate::span::{Span, SpanId, Status, TraceId};
use crate::store::{DropReason, SpanCounts};

mod answers;
mod ending;

/// What the server got, and the way to answer it.
struct Post {
    path: String,
    authorization: String,
    body: bytes::Bytes,
    answer: oneshot::Sender<Response<Full<bytes::Bytes>>>,
}

impl Post {
    /// The numbers of its spans.
    fn spans(&self) -> Vec<u8> {
        let request: ExportTraceServiceRequest = serde_json::from_slice(&self.body).unwrap();
        request.resource_spans[0].scope_spans[0]
            .spans
            .iter()
            .map(|span| span.span_id[0])
            .collect()
    }

    fn answer(self, status: u16) {
        self.answer_with(status, None, "{}");
    }

    fn answer_with(self, status: u16, retry_after: Option<&str>, body: &'static str) {
        let mut answer = Response::builder().status(status);
        if let Some(value) = retry_after {
            answer = answer
                .header("retry-after", value)
                .header("location", "http://127.0.0.1:1/");
        }
        // The exporter may have stopped waiting.
        drop(self.answer.send(answer.body(Full::from(body)).unwrap()));
    }
}

/// An exporter, its store, and the server that it posts to.
struct Scene {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    settings: watch::Sender<Arc<ExportSettings>>,
    exporter: Exporter,
    posts: mpsc::Receiver<Post>,
    tasks: TaskTracker,
}

/// Waits short enough for tests, where they are waited for, and long enough never to end, where they are not.
fn pace() -> RetryTimings {
    RetryTimings {
        backoff_base: Duration::from_millis(1),
        backoff_cap: Duration::from_millis(2),
        probe_every: Duration::from_hours(1),
        try_timeout: Duration::from_hours(1),
        ..RetryTimings::default()
    }
}

fn span(number: u8) -> Span {
    Span {
        trace_id: TraceId([1; 16]),
        span_id: SpanId([number; 8]),
        parent_span_id: None,
        name: "llm.gpt-4o".to_owned(),
        start_ns: 1,
        end_ns: 2,
        status: Status::Ok,
        attributes: Vec::new(),
        events: Vec::new(),
    }
}

async fn serve(listener: TcpListener, posts: mpsc::Sender<Post>, tasks: TaskTracker) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let posts = posts.clone();
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let posts = posts.clone();
            async move {
                let (head, body) = request.into_parts();
                #[expect(clippy::disallowed_methods, reason = "limited")]
                let body = Limited::new(body, 64 << 20)
                    .collect()
                    .await
                    .unwrap()
                    .to_bytes();
                let authorization = head.headers["authorization"].to_str().unwrap().to_owned();
                let (answer, answered) = oneshot::channel();
                posts
                    .send(Post {
                        path: head.uri.path().to_owned(),
                        authorization,
                        body,
                        answer,
                    })
                    .await
                    .unwrap();
                // A post whose `answer` is dropped breaks off.
                answered.await
            }
        });
        tasks.spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service),
        );
    }
}

fn settings(
    address: SocketAddr,
    key: Option<&str>,
    flush_interval: Duration,
) -> Arc<ExportSettings> {
    Arc::new(ExportSettings {
        url: format!("http://{address}/api/v2/traces").parse().unwrap(),
        api_key: key.map(|key| ApiKey::new(key).unwrap()),
        encoding: OtlpEncoding::Json,
        flush_interval,
    })
}

impl Scene {
    async fn new() -> Self {
        Self::with(Some("key"), Duration::ZERO, pace()).await
    }

    async fn with(key: Option<&str>, flush_interval: Duration, pace: RetryTimings) -> Self {
        let store = Arc::new(Store::volatile(usize::MAX));
        Self::of(store, key, flush_interval, pace).await
    }

    async fn of(
        store: Arc<Store>,
        key: Option<&str>,
        flush_interval: Duration,
        pace: RetryTimings,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, posts) = mpsc::channel(64);
        let tasks = TaskTracker::new();
        tasks.spawn(serve(listener, sender, tasks.clone()));
        let metrics = Arc::new(Metrics::default());
        let settings = watch::Sender::new(settings(address, key, flush_interval));
        let exporter = Exporter::start(
            Arc::clone(&store),
            settings.subscribe(),
            Arc::clone(&metrics),
            pace,
            &tasks,
        );
        Self {
            store,
            metrics,
            settings,
            exporter,
            posts,
            tasks,
        }
    }

    fn add(&self, numbers: impl IntoIterator<Item = u8>) {
        numbers
            .into_iter()
            .for_each(|number| self.store.add(FinishedSpan::from(span(number))));
    }

    async fn post(&mut self) -> Post {
        self.posts.recv().await.unwrap()
    }

    fn new_key(&self, key: Option<&str>) {
        self.settings.send_modify(|settings| {
            *settings = Arc::new(ExportSettings {
                api_key: key.map(|key| ApiKey::new(key).unwrap()),
                ..(**settings).clone()
            });
        });
    }

    /// Waits until no span is pending, answering further posts with 200.
    async fn settled(&mut self) -> SpanCounts {
        while self.store.counts().pending > 0 {
            tokio::select! {
                post = self.posts.recv() => post.unwrap().answer(200),
                () = tokio::task::yield_now() => {}
            }
        }
        self.store.counts()
    }

    /// Ends the exporter with time enough, answering posts with `status`.
    async fn drained(self, status: u16) -> u64 {
        let Self {
            exporter,
            mut posts,
            ..
        } = self;
        let mut drain = Box::pin(exporter.drain(Instant::now() + Duration::from_mins(1)));
        loop {
            tokio::select! {
                left = &mut drain => return left,
                post = posts.recv() => post.unwrap().answer(status),
            }
        }
    }
}
