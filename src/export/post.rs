//! One try: a post goes out, and its answer is read within bounds.
//!
//! No redirect is followed (it could carry the key elsewhere) and no proxy is taken from the environment.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as HyperClient, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tokio::time::Instant;

use super::respan::{Verdict, judge};
use super::{ApiKey, ExportSettings, RetryTimings};
use crate::redact::KnownSecrets;
use crate::upstream;

/// How much of an answer is read.
const ANSWER_LIMIT: usize = 4 << 20;

/// An idle connection is closed before the server's load balancer does it in the middle of a post.
const POOL_IDLE: Duration = Duration::from_secs(15);

#[derive(Clone, Debug)]
pub(super) struct PostClient {
    http: HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    try_timeout: Duration,
}

impl PostClient {
    pub(super) fn new(timings: &RetryTimings) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timings.connect_timeout));
        let tls = ClientConfig::builder()
            .with_root_certificates(upstream::default_roots())
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(tcp);
        let http = HyperClient::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .build(connector);
        Self {
            http,
            try_timeout: timings.try_timeout,
        }
    }

    /// Posts `body` and waits for the answer. A failure on the way is worth another try.
    pub(super) async fn post(
        &self,
        settings: &ExportSettings,
        key: &ApiKey,
        body: Bytes,
    ) -> Verdict {
        let deadline = Instant::now() + self.try_timeout;
        let retry = |reason: String| Verdict::Retry {
            after: None,
            reason,
        };
        let answer = match tokio::time::timeout_at(
            deadline,
            self.http.request(request(settings, key, body)),
        )
        .await
        {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return retry(whole_story(&error)),
            Err(_) => return retry(format!("no answer within {:?}", self.try_timeout)),
        };
        let (head, body) = answer.into_parts();
        let mut verdict = judge(
            head.status,
            &head.headers,
            &beginning_of(body, deadline).await,
            SystemTime::now(),
        );
        if let Some(words) = verdict.words() {
            let secrets = KnownSecrets::of_header(&key.authorization);
            *words = secrets.redact(words).into_owned();
        }
        verdict
    }
}

fn request(settings: &ExportSettings, key: &ApiKey, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = settings.url.clone();
    let headers = request.headers_mut();
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("spangate/", env!("CARGO_PKG_VERSION"))),
    );
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(settings.encoding.content_type()),
    );
    headers.insert(header::AUTHORIZATION, key.authorization.clone());
    request
}

/// The bytes of a body until it ended, broke, became too long or too late. The status has already decided about the post, so none of these is
/// an error.
async fn beginning_of(mut body: Incoming, deadline: Instant) -> Bytes {
    let mut read = BytesMut::new();
    while read.len() < ANSWER_LIMIT {
        match tokio::time::timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                if let Some(piece) = frame.data_ref() {
                    read.extend_from_slice(piece);
                }
            }
            Ok(None | Some(Err(_))) | Err(_) => break,
        }
    }
    read.freeze()
}

/// An error with its causes: hyper's own text says only which step failed.
fn whole_story(error: &Error) -> String {
    let mut story = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        story.push_str(": ");
        story.push_str(&inner.to_string());
        cause = inner.source();
    }
    story
}
