//! The order of one request; the only place that knows all of it.
//!
//! Health first, then what a request must be, then who asks, then the watch, and only then the upstream: whatever happens from there on, to
//! the client, the upstream or this future, the watch tells how it ended.

mod admission;
mod headers;
mod lent;
mod refusal;
mod target;
mod tunnel;
mod upload;
mod watch;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::capture::{Answered, Asked, Capture};
use crate::config::Secret;
use crate::exchange::{ExchangeId, RequestMeta};
use crate::health;
use crate::identity::{self, Log};
use crate::metrics::{Endpoint, Metrics};
use crate::openai::Media;
use crate::redact::KnownSecrets;
use crate::server::Shutdown;
use crate::tap::Tap;
use crate::upstream::{CallError, Pulse, Reachability, ReplyBody, Upstream};
pub use admission::Limits;
use admission::{Gate, check_head, check_key, check_path, content_length};
use headers::{GATEWAY_REQUEST_ID, Upward, downward};
pub use lent::Lent;
use lent::{Back, lend};
use refusal::Refusal;
pub use upload::{Upload, UploadError};
use watch::{Blame, Count, Fault};
pub use watch::{Coming, Going};

/// What can be changed while the gateway runs.
pub struct Settings {
    /// Where requests go.
    pub upstream: Upstream<AskBody>,
    /// What replaces `/v1`.
    pub base_path: String,
    /// The upstream's authority as a header.
    pub host: HeaderValue,
    /// Sent in place of the client's `authorization`.
    pub authorization: Option<HeaderValue>,
    /// The gateway's own, which an upstream must not be heard to repeat.
    pub secrets: Arc<[Secret]>,
    /// Clients must present one of these; empty for any client.
    pub client_keys: Vec<Secret>,
    /// Bounds of a request.
    pub limits: Limits,
    /// What is told of every request unless it tells otherwise.
    pub identity: identity::Defaults,
    /// Content goes into spans unless a request says otherwise.
    pub content: bool,
    /// Content goes into chat spans twice.
    pub entity_content: bool,
    /// What spans have of images, audio and other media.
    pub media: Media,
    /// Most bytes of a body that a span keeps.
    pub max_captured: usize,
    /// `gen_ai.system` of the upstream.
    pub system: &'static str,
}

/// A request's body, watched.
type Watched = Tap<Upload, Going>;

/// A request's body as the upstream gets it.
pub type AskBody = Lent<Watched>;

/// A response's body as the server gets it.
pub type AnswerBody = Either<Full<Bytes>, Tap<ReplyBody<AskBody>, Coming>>;

/// The gateway's data port: answers every request. Clones are one.
#[derive(Clone)]
pub struct Proxy(Arc<Around>);

/// What requests share.
struct Around {
    settings: Arc<ArcSwap<Settings>>,
    capture: Capture,
    metrics: Arc<Metrics>,
    reachability: Arc<Reachability>,
    gate: Gate,
    shutdown: Shutdown,
    tasks: TaskTracker,
}

impl Proxy {
    /// A proxy whose settings can be replaced. What goes on after an answer, tunnels among it, runs as `tasks`.
    pub fn new(
        settings: Arc<ArcSwap<Settings>>,
        capture: Capture,
        metrics: Arc<Metrics>,
        reachability: Arc<Reachability>,
        shutdown: Shutdown,
        tasks: TaskTracker,
    ) -> Self {
        Proxy(Arc::new(Around {
            settings,
            capture,
            gate: Gate::new(Arc::clone(&metrics)),
            metrics,
            reachability,
            shutdown,
            tasks,
        }))
    }
}

impl Service<Request<Incoming>> for Proxy {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let around = Arc::clone(&self.0);
        Box::pin(async move {
            if let Some(response) = health::answer(&request, &around.shutdown) {
                return Ok(response.map(Either::Left));
            }
            let id = ExchangeId::new();
            let endpoint = endpoint(request.uri().path());
            let mut count = Count {
                metrics: &around.metrics,
                endpoint,
                status: None,
            };
            let settings = around.settings.load_full();
            let response = answer(&settings, &around, request, id, endpoint)
                .await
                .unwrap_or_else(|refusal| {
                    let mut response = refusal.into_response();
                    response
                        .headers_mut()
                        .insert(GATEWAY_REQUEST_ID, id.header_value());
                    response.map(Either::Left)
                });
            count.status = Some(response.status());
            Ok(response)
        })
    }
}

async fn answer(
    settings: &Settings,
    around: &Around,
    mut request: Request<Incoming>,
    id: ExchangeId,
    endpoint: Endpoint,
) -> Result<Response<AnswerBody>, Refusal> {
    let began = Instant::now();
    check_head(&request, &settings.limits)?;
    let target = target::resolve(&settings.base_path, request.uri()).ok_or(Refusal::NotFound)?;
    if settings.authorization.is_some() {
        check_path(&request)?;
    }
    if !settings.client_keys.is_empty() {
        check_key(request.headers(), &settings.client_keys)?;
    }
    let admission = around.gate.admit(settings.limits.max_in_flight)?;
    let (asked, answered) = watch(settings, around, &request, id, endpoint);
    let client = tunnel::is_asked_for(&request).then(|| hyper::upgrade::on(&mut request));
    let pulse = Pulse::default();
    let fault = Fault::default();
    let going = Going {
        asked,
        pulse: pulse.clone(),
        fault: fault.clone(),
    };
    // A client that waits to be told to go on has sent nothing.
    let waits = request.headers().contains_key(header::EXPECT);
    let (request, back) = upward(settings, request, target, client.is_some(), going)?;
    let mut coming = Coming::new(answered, admission);

    let called = Instant::now();
    let mut response = match settings.upstream.call(request, &pulse).await {
        Ok(response) => response,
        Err(error) => {
            return Err(match fault.told() {
                Some(Blame::Length) => {
                    let refusal =
                        Refusal::BodyTooLarge(settings.limits.max_body.unwrap_or_default());
                    coming.refuse(&refusal);
                    refusal
                }
                // Dropped, the watch tells that the client left, which is nearly always why.
                Some(Blame::Client) => Refusal::Malformed("its body broke off or is badly framed"),
                None => {
                    around.reachability.failed(&error);
                    coming.fail(&error);
                    if !waits && coming.wants_request() {
                        around.tasks.spawn(back.read_on(coming));
                    }
                    Refusal::Upstream(error)
                }
            });
        }
    };
    let head_came = Instant::now();
    drop(back);
    around.reachability.answered();
    coming.head(&around.metrics, &response);
    let upgraded = (response.status() == StatusCode::SWITCHING_PROTOCOLS)
        .then(|| hyper::upgrade::on(&mut response));
    let (mut parts, body) = response.into_parts();
    parts.version = Version::HTTP_11;
    parts.headers = downward(parts.headers, id.header_value(), upgraded.is_some());
    let answer = match (upgraded, client) {
        (Some(upstream), Some(client)) => {
            around.tasks.spawn(tunnel::run(
                client,
                upstream,
                around.shutdown.clone(),
                coming,
            ));
            Response::from_parts(parts, Either::Left(Full::default()))
        }
        (Some(_), None) => {
            let error = CallError::Broke("it switched protocols unasked".to_owned());
            coming.fail(&error);
            return Err(Refusal::Upstream(error));
        }
        (None, _) => Response::from_parts(parts, Either::Right(Tap::new(body, coming))),
    };
    around.metrics.first_byte(began.elapsed());
    around
        .metrics
        .overhead((called - began) + head_came.elapsed());
    Ok(answer)
}

/// The endpoint that a path under either prefix leads to, Azure's deployments among them.
fn endpoint(path: &str) -> Endpoint {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some((before, "completions")) if before.ends_with("/chat") => Endpoint::ChatCompletions,
        Some((_, "completions")) => Endpoint::Completions,
        Some((_, "responses")) => Endpoint::Responses,
        Some((_, "embeddings")) => Endpoint::Embeddings,
        _ => Endpoint::Other,
    }
}

/// How the clients of agents name themselves: AutoGen's are openai-python's asynchronous ones, and for Azure it puts its own name before
/// whatever the program says (autogen-ext 0.7, `AZURE_OPENAI_USER_AGENT`); then Microsoft's Agent Framework and OpenAI's Agents SDK.
const AGENTS_CLIENTS: [&[u8]; 5] = [
    b"AsyncOpenAI/",
    b"AsyncAzureOpenAI/",
    b"autogen-python/",
    b"agent-framework-python/",
    b"Agents/Python",
];

/// Whether an agent may ask, by the client's name. Programs put their own before it, or behind it.
fn is_agents_client(user_agent: &[u8]) -> bool {
    let mut products = user_agent.split(|byte| *byte == b' ');
    products.any(|product| AGENTS_CLIENTS.iter().any(|name| product.starts_with(name)))
}

/// Reads who asks, and begins to watch the exchange, unless the request asks not to be.
fn watch(
    settings: &Settings,
    around: &Around,
    request: &Request<Incoming>,
    id: ExchangeId,
    endpoint: Endpoint,
) -> (Asked, Answered) {
    let identity = identity::read(request.headers(), &settings.identity);
    identity
        .unreadable
        .iter()
        .for_each(|_| around.metrics.identity_unreadable());
    if identity.log == Log::Off {
        return (Asked::nothing(), Answered::nothing());
    }
    let meta = RequestMeta {
        id,
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        retry: request
            .headers()
            .get("x-stainless-retry-count")
            .and_then(|count| count.to_str().ok()?.parse().ok()),
        content_encoding: request
            .headers()
            .get(header::CONTENT_ENCODING)
            .and_then(|coding| Some(coding.to_str().ok()?.to_owned())),
        chat: endpoint == Endpoint::ChatCompletions && request.method() == Method::POST,
        content: settings.content && identity.log == Log::Full,
        entity_content: settings.entity_content,
        may_be_agent: request
            .headers()
            .get(header::USER_AGENT)
            .is_some_and(|agent| is_agents_client(agent.as_bytes())),
        media: settings.media,
        max_body: settings.max_captured,
        system: settings.system,
        wall_offset_ns: 0,
        identity,
    };
    let (asked, mut answered) = around.capture.open(meta, content_length(request.headers()));
    let query = request.uri().query();
    answered.hides(KnownSecrets::of(
        request.headers(),
        query,
        &settings.secrets,
    ));
    (asked, answered)
}

/// The request as the upstream gets it.
fn upward(
    settings: &Settings,
    request: Request<Incoming>,
    target: http::Uri,
    upgrade: bool,
    going: Going,
) -> Result<(Request<AskBody>, Back<Watched>), Refusal> {
    let (mut parts, body) = request.into_parts();
    let came_over = parts.version;
    let chunked = !body.is_end_stream() && !parts.headers.contains_key(header::CONTENT_LENGTH);
    let rules = Upward {
        host: &settings.host,
        authorization: settings.authorization.as_ref(),
        version: came_over,
        upgrade,
        chunked,
    };
    let headers: HeaderMap = std::mem::take(&mut parts.headers);
    parts.headers = rules
        .rewrite(headers, identity::is_consumed)
        .map_err(|_| Refusal::Malformed("Connection names a header that frames the message"))?;
    parts.uri = target;
    parts.version = Version::HTTP_11;
    let upload = Upload::new(body, settings.limits.max_body, came_over);
    let (body, back) = lend(Tap::new(upload, going));
    Ok((Request::from_parts(parts, body), back))
}
