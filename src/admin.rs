//! The admin port: the viewer and its API, health, metrics and the state of the export.
//!
//! It is never the data port, and answers only under names of this machine.

mod access;
mod api;
mod events;
mod health;
mod response;
mod state;
mod viewer;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use tower::Service;

use crate::media_type;
use crate::metrics;
use crate::server::Shutdown;
use crate::store::Replay;
use crate::traces::Unavailable;

pub(crate) use access::Access;
pub(crate) use response::AdminBody;
pub(crate) use state::{About, AdminState};

use access::SessionKey;
use events::EventStreams;
use response::{JSON, error, json, not_allowed, refused, text, whole};

/// The path that sends refused spans again.
pub(crate) const REPLAY_REFUSED: &str = "/api/refused/replay";
/// The path that sends spans that were made without a key.
pub(crate) const REPLAY_KEPT: &str = "/api/kept/replay";

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The service behind the admin port.
#[derive(Clone)]
pub(crate) struct Admin {
    access: Arc<ArcSwap<Access>>,
    session_key: Option<SessionKey>,
    state: Arc<AdminState>,
    events: EventStreams,
    /// Ends event streams, which never end by themselves.
    own_shutdown: Shutdown,
}

impl Admin {
    /// Shows `state` to clients with `access`, until `own_shutdown`.
    pub(crate) fn new(access: Access, state: AdminState, own_shutdown: Shutdown) -> Self {
        Admin {
            access: Arc::new(ArcSwap::from_pointee(access)),
            session_key: SessionKey::new(),
            state: Arc::new(state),
            events: EventStreams::new(),
            own_shutdown,
        }
    }

    /// Replaces the access rules, from the next request on.
    pub(crate) fn replace(&self, access: Access) {
        self.access.store(Arc::new(access));
    }

    async fn answer<B>(self, request: Request<B>) -> Response<AdminBody>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if let Some(response) = crate::health::answer(&request, &self.state.shutdown) {
            return response.map(whole_of);
        }
        if let Some(refusal) = self.refusal(&request) {
            return refusal;
        }
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, ());
        let path = request.uri().path().to_owned();
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let posts = *request.method() == Method::POST;
        match &*path {
            "/sign-in" if posts => self.sign_in(body).await,
            "/sign-out" if posts => viewer::signed_out(),
            REPLAY_REFUSED if posts => self.replay(&request, Replay::Refused).await,
            REPLAY_KEPT if posts => self.replay(&request, Replay::Kept).await,
            "/sign-in" | "/sign-out" | REPLAY_REFUSED | REPLAY_KEPT => not_allowed(&path, "POST"),
            _ if !is_read(&path) => refused(
                &path,
                StatusCode::NOT_FOUND,
                "served here: /, /healthz, /readyz, /metrics, /api/health, /api/traces, /api/events, /api/refused/replay, /api/kept/replay",
            ),
            _ if reads => self.read(&path, &request).await,
            _ => not_allowed(&path, "GET, HEAD"),
        }
    }

    async fn read(&self, path: &str, request: &Request<()>) -> Response<AdminBody> {
        let AdminState {
            metrics,
            store,
            traces,
            ..
        } = &*self.state;
        let query = request.uri().query();
        match path {
            "/metrics" => {
                let metrics = whole(metrics.render(store));
                response::with(StatusCode::OK, metrics::CONTENT_TYPE, metrics)
            }
            "/api/health" => json(health::report(&self.state)),
            "/api/traces" => api::list(traces, query)
                .await
                .unwrap_or_else(|refusal| refusal),
            "/api/events" => match api::filter(query) {
                Ok(filter) => {
                    let after = request.headers().get(LAST_EVENT_ID);
                    let after = after.and_then(|id| id.to_str().ok()?.parse().ok());
                    self.events
                        .follow(traces, &self.own_shutdown, filter, after)
                }
                Err(bad) => bad.into(),
            },
            _ => match path.strip_prefix("/api/traces/") {
                Some(below) => api::below(traces, below, query)
                    .await
                    .unwrap_or_else(|refusal| refusal),
                None => viewer::page(path)
                    .unwrap_or_else(|| text(StatusCode::NOT_FOUND, "no such page")),
            },
        }
    }

    /// The refusal for a client without access; it says what to do.
    fn refusal<B>(&self, request: &Request<B>) -> Option<Response<AdminBody>> {
        let (access, path) = (self.access.load(), request.uri().path());
        if !access.knows_host(request) {
            return Some(refused(
                path,
                StatusCode::MISDIRECTED_REQUEST,
                "this host name is not the gateway's; add it to server.admin_hosts if it is",
            ));
        }
        let is_open = viewer::is_open(path) || matches!(path, "/sign-in" | "/sign-out");
        if is_open || access.lets_in(request.headers(), self.session_key.as_ref()) {
            return None;
        }
        let mut response = if path == "/" {
            viewer::sign_in(false)
        } else {
            refused(
                path,
                StatusCode::UNAUTHORIZED,
                "send server.admin_token as `Authorization: Bearer <token>`, or sign in at /",
            )
        };
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        Some(response)
    }

    #[expect(clippy::disallowed_methods, reason = "bounded")]
    async fn sign_in<B>(&self, body: B) -> Response<AdminBody>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let form = Limited::new(body, viewer::MOST_FORM);
        match form.collect().await {
            Ok(form) => viewer::signed_in(
                &form.to_bytes(),
                &self.access.load(),
                self.session_key.as_ref(),
            ),
            Err(_) => text(
                StatusCode::PAYLOAD_TOO_LARGE,
                "send a form with one token, of at most 4 KiB",
            ),
        }
    }

    async fn replay(&self, request: &Request<()>, what: Replay) -> Response<AdminBody> {
        // A page of another origin can post a plain form here, but this type only after a preflight, which fails.
        let content_type = request.headers().get(CONTENT_TYPE);
        if !content_type.is_some_and(|kind| media_type::is(kind, JSON)) {
            return error(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "send `Content-Type: application/json`",
            );
        }
        // Without a key the spans would wait for one, and leave at some later time that nobody expects.
        if what == Replay::Kept && !self.state.export.state().configured {
            return error(
                StatusCode::CONFLICT,
                "set respan.api_key and send SIGHUP first: without a key nothing can be sent",
            );
        }
        match health::replay(&self.state.store, what).await {
            Some(replayed) => json(replayed),
            None => Unavailable("it takes no question".to_owned()).into(),
        }
    }
}

/// Whether there is something to read at `path`.
fn is_read(path: &str) -> bool {
    matches!(
        path,
        "/metrics" | "/api/health" | "/api/traces" | "/api/events"
    ) || path.starts_with("/api/traces/")
        || viewer::has(path)
}

fn whole_of(body: http_body_util::Full<Bytes>) -> AdminBody {
    body.map_err(|never| match never {}).boxed_unsync()
}

impl<B> Service<Request<B>> for Admin
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<AdminBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.clone().answer(request);
        Box::pin(async move { Ok(answer.await) })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use http::header::{AUTHORIZATION, HOST};
    use http_body_util::Empty;

    use super::*;
    use crate::export;
    use crate::metrics::Metrics;
    use crate::store::Store;
    use crate::traces::Traces;

    fn admin(access: Access) -> Admin {
        let store = Arc::new(Store::volatile(1 << 20));
        let state = AdminState {
            about: About {
                base_url: "http://127.0.0.1:8080/v1".to_owned(),
                started: std::time::SystemTime::UNIX_EPOCH,
            },
            metrics: Arc::new(Metrics::default()),
            traces: Traces::new(Arc::clone(&store), Arc::default()),
            store,
            export: export::ExportWatch::of_nothing(),
            upstream: Arc::default(),
            shutdown: Shutdown::default(),
        };
        Admin::new(access, state, Shutdown::default())
    }

    fn status(admin: &Admin, host: Option<&str>, path: &str, token: Option<&str>) -> u16 {
        let mut request = Request::builder().uri(path);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let answer = admin.clone().answer(request.body(Empty::new()).unwrap());
        answer.now_or_never().unwrap().status().as_u16()
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        let admin = admin(Access {
            token: None,
            hosts: vec!["gateway.internal".to_owned()],
        });
        for host in [
            "localhost:8081",
            "127.0.0.1:8081",
            "[::1]:8081",
            "10.1.2.3",
            "LOCALHOST",
            "gateway.internal:80",
        ] {
            assert_eq!(status(&admin, Some(host), "/metrics", None), 200, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "a@localhost.evil.example",
        ] {
            assert_eq!(status(&admin, Some(host), "/metrics", None), 421, "{host}");
        }
        assert_eq!(status(&admin, None, "/metrics", None), 421);
    }

    #[test]
    fn health_needs_no_token_and_no_known_host() {
        let admin = admin(Access {
            token: Some("secret".into()),
            hosts: vec![],
        });
        assert_eq!(status(&admin, None, "/healthz", None), 200);
        assert_eq!(status(&admin, Some("evil.example"), "/readyz", None), 200);
    }

    #[test]
    fn a_configured_token_is_required() {
        let admin = admin(Access {
            token: Some("secret".into()),
            hosts: vec![],
        });
        assert_eq!(status(&admin, Some("localhost"), "/metrics", None), 401);
        assert_eq!(
            status(&admin, Some("localhost"), "/metrics", Some("wrong")),
            401
        );
        assert_eq!(
            status(&admin, Some("localhost"), "/metrics", Some("secret")),
            200
        );
        admin.replace(Access::default());
        assert_eq!(status(&admin, Some("localhost"), "/metrics", None), 200);
    }
}
