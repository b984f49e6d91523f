//! The order of one request; the only place that knows all of it.
//!
//! Health checks first, then admission, then the identity, then the taps, and only then the upstream. From there on the taps report how the
//! exchange ends, whatever happens to the client, the upstream or this future.

mod admission;
mod headers;
mod refusal;
mod returnable_body;
mod taps;
pub mod target;
mod tunnel;
mod upload;

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

use crate::capture::{Capture, RequestObserver, ResponseObserver};
use crate::config::Secret;
use crate::exchange::{ExchangeId, RequestMeta};
use crate::health;
use crate::identity::{self, LogMode};
use crate::metrics::{Endpoint, Metrics};
use crate::openai::Media;
use crate::redact::KnownSecrets;
use crate::server::Shutdown;
use crate::tap::Tap;
use crate::upstream::{Activity, CallError, Reachability, Upstream, UpstreamResponseBody};
pub(crate) use admission::RequestLimits;
use admission::{admit, check_head, check_key, check_path, content_length};
use headers::{GATEWAY_REQUEST_ID, RequestHeaderRules, response_headers};
use refusal::Refusal;
pub(crate) use returnable_body::ReturnableBody;
use returnable_body::{BodyReturn, returnable};
use taps::{RequestCount, UploadFault, UploadFaultKind};
pub(crate) use taps::{RequestTap, ResponseTap};
pub(crate) use upload::UploadBody;

/// Settings that a reload can change while the gateway runs.
pub(crate) struct Settings {
    /// Where requests go.
    pub upstream: Upstream<UpstreamRequestBody>,
    /// The path that replaces `/v1`.
    pub base_path: String,
    /// The upstream's authority as a header.
    pub host: HeaderValue,
    /// Sent in place of the client's `authorization`.
    pub authorization: Option<HeaderValue>,
    /// The gateway's own secrets, redacted where an upstream repeats them.
    pub secrets: Arc<[Secret]>,
    /// Clients must present one of these; empty for any client.
    pub client_keys: Vec<Secret>,
    /// Bounds of a request.
    pub limits: RequestLimits,
    /// The identity of requests that bring none.
    pub identity: identity::IdentityDefaults,
    /// Whether spans record content; a request may ask for less.
    pub content: bool,
    /// Whether chat spans repeat their content as entity input and output.
    pub entity_content: bool,
    /// How images, audio and other media appear in spans.
    pub media: Media,
    /// Most bytes of a body that capture keeps.
    pub max_captured: usize,
    /// `gen_ai.system` of the upstream.
    pub system: &'static str,
}

type TappedUpload = Tap<UploadBody, RequestTap>;

/// A request's body as the upstream gets it.
pub(crate) type UpstreamRequestBody = ReturnableBody<TappedUpload>;

/// A response's body as the server gets it.
pub(crate) type ClientResponseBody =
    Either<Full<Bytes>, Tap<UpstreamResponseBody<UpstreamRequestBody>, ResponseTap>>;

/// The service of the data port: answers every request. Clones share all state.
#[derive(Clone)]
pub(crate) struct Proxy(Arc<ProxyState>);

struct ProxyState {
    settings: Arc<ArcSwap<Settings>>,
    capture: Capture,
    metrics: Arc<Metrics>,
    reachability: Arc<Reachability>,
    shutdown: Shutdown,
    tasks: TaskTracker,
}

impl Proxy {
    /// A proxy whose settings can be replaced. Work that outlasts a response, such as a tunnel, runs in `tasks`.
    pub(crate) fn new(
        settings: Arc<ArcSwap<Settings>>,
        capture: Capture,
        metrics: Arc<Metrics>,
        reachability: Arc<Reachability>,
        shutdown: Shutdown,
        tasks: TaskTracker,
    ) -> Self {
        Proxy(Arc::new(ProxyState {
            settings,
            capture,
            metrics,
            reachability,
            shutdown,
            tasks,
        }))
    }
}

impl Service<Request<Incoming>> for Proxy {
    type Response = Response<ClientResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let state = Arc::clone(&self.0);
        Box::pin(async move {
            if let Some(response) = health::answer(&request, &state.shutdown) {
                return Ok(response.map(Either::Left));
            }
            let id = ExchangeId::new();
            let endpoint = endpoint(request.uri().path());
            let mut count = RequestCount {
                metrics: &state.metrics,
                endpoint,
                status: None,
            };
            let settings = state.settings.load_full();
            let response = answer(&settings, &state, request, id, endpoint)
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
    state: &ProxyState,
    mut request: Request<Incoming>,
    id: ExchangeId,
    endpoint: Endpoint,
) -> Result<Response<ClientResponseBody>, Refusal> {
    let began = Instant::now();
    check_head(&request, &settings.limits)?;
    let target = target::resolve(&settings.base_path, request.uri()).ok_or(Refusal::NotFound)?;
    if settings.authorization.is_some() {
        check_path(&request)?;
    }
    if !settings.client_keys.is_empty() {
        check_key(request.headers(), &settings.client_keys)?;
    }
    let admission = admit(&state.metrics, settings.limits.max_in_flight)?;
    let (request_observer, response_observer) = observe(settings, state, &request, id, endpoint);
    let client = tunnel::is_requested(&request).then(|| hyper::upgrade::on(&mut request));
    let activity = Activity::default();
    let fault = UploadFault::default();
    let request_tap = RequestTap {
        observer: request_observer,
        activity: activity.clone(),
        fault: fault.clone(),
    };
    // A client that waits for `100 Continue` has sent nothing.
    let expects_continue = request.headers().contains_key(header::EXPECT);
    let (request, body_return) =
        upstream_request(settings, request, target, client.is_some(), request_tap);
    let mut response_tap = ResponseTap::new(response_observer, admission);

    let called = Instant::now();
    let mut response = match settings.upstream.call(request, &activity).await {
        Ok(response) => response,
        Err(error) => {
            return Err(match fault.get() {
                Some(UploadFaultKind::TooLarge) => {
                    let refusal =
                        Refusal::BodyTooLarge(settings.limits.max_body.unwrap_or_default());
                    response_tap.refuse(&refusal);
                    refusal
                }
                // The dropped tap reports that the client left, which is nearly always the cause.
                Some(UploadFaultKind::Client) => {
                    Refusal::Malformed("its body broke off or is badly framed")
                }
                None => {
                    state.reachability.failed(&error);
                    response_tap.fail(&error);
                    if !expects_continue && response_tap.wants_request() {
                        state.tasks.spawn(body_return.drain(response_tap));
                    }
                    Refusal::Upstream(error)
                }
            });
        }
    };
    let head_came = Instant::now();
    drop(body_return);
    state.reachability.answered();
    response_tap.head(&state.metrics, &response);
    let upgraded = (response.status() == StatusCode::SWITCHING_PROTOCOLS)
        .then(|| hyper::upgrade::on(&mut response));
    let (mut parts, body) = response.into_parts();
    parts.version = Version::HTTP_11;
    parts.headers = response_headers(parts.headers, id.header_value(), upgraded.is_some());
    let answer = match (upgraded, client) {
        (Some(upstream), Some(client)) => {
            state.tasks.spawn(tunnel::run(
                client,
                upstream,
                state.shutdown.clone(),
                response_tap,
            ));
            Response::from_parts(parts, Either::Left(Full::default()))
        }
        (Some(_), None) => {
            let error = CallError::Broke("it switched protocols unasked".to_owned());
            response_tap.fail(&error);
            return Err(Refusal::Upstream(error));
        }
        (None, _) => Response::from_parts(parts, Either::Right(Tap::new(body, response_tap))),
    };
    state.metrics.first_byte(began.elapsed());
    state
        .metrics
        .overhead((called - began) + head_came.elapsed());
    Ok(answer)
}

/// The endpoint of a path under either prefix, Azure's deployments included.
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

/// Whether the client may be an agent's, by its name. Programs put their own name before it or behind it.
fn is_agents_client(user_agent: &[u8]) -> bool {
    let mut products = user_agent.split(|byte| *byte == b' ');
    products.any(|product| AGENTS_CLIENTS.iter().any(|name| product.starts_with(name)))
}

/// Reads the identity and begins to capture the exchange, unless the request opts out.
fn observe(
    settings: &Settings,
    state: &ProxyState,
    request: &Request<Incoming>,
    id: ExchangeId,
    endpoint: Endpoint,
) -> (RequestObserver, ResponseObserver) {
    let identity = identity::read(request.headers(), &settings.identity);
    identity
        .unreadable
        .iter()
        .for_each(|_| state.metrics.identity_unreadable());
    if identity.log == LogMode::Off {
        return (RequestObserver::nothing(), ResponseObserver::nothing());
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
        content: settings.content && identity.log == LogMode::Full,
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
    let (request_observer, mut response_observer) =
        state.capture.open(meta, content_length(request.headers()));
    let query = request.uri().query();
    response_observer.hides(KnownSecrets::of(
        request.headers(),
        query,
        &settings.secrets,
    ));
    (request_observer, response_observer)
}

fn upstream_request(
    settings: &Settings,
    request: Request<Incoming>,
    target: http::Uri,
    upgrade: bool,
    request_tap: RequestTap,
) -> (Request<UpstreamRequestBody>, BodyReturn<TappedUpload>) {
    let (mut parts, body) = request.into_parts();
    let client_version = parts.version;
    let chunked = !body.is_end_stream() && !parts.headers.contains_key(header::CONTENT_LENGTH);
    let rules = RequestHeaderRules {
        host: &settings.host,
        authorization: settings.authorization.as_ref(),
        version: client_version,
        upgrade,
        chunked,
    };
    let headers: HeaderMap = std::mem::take(&mut parts.headers);
    parts.headers = rules.rewrite(headers, identity::is_consumed);
    parts.uri = target;
    parts.version = Version::HTTP_11;
    let upload = UploadBody::new(body, settings.limits.max_body, client_version);
    let (body, body_return) = returnable(Tap::new(upload, request_tap));
    (Request::from_parts(parts, body), body_return)
}
