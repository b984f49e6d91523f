//! The admin port: health, metrics and the state of the export, for operators. It is never the data port, and answers only to names that are this machine's.

mod state;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tower::Service;

use crate::bearer;
use crate::config::Secret;
use crate::export;
use crate::metrics::{self, Metrics};
use crate::server::Shutdown;
use crate::store::Store;

const JSON: &str = "application/json";

/// Who may look.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Asked for as a bearer token on every path but the health checks; none asks for nothing.
    pub token: Option<Secret>,
    /// Host names beside loopback's and IP literals, in lower case.
    pub hosts: Vec<String>,
}

/// The service behind the admin port.
#[derive(Clone)]
pub struct Admin {
    access: Arc<ArcSwap<Access>>,
    metrics: Arc<Metrics>,
    store: Arc<Store>,
    export: export::Watch,
    shutdown: Shutdown,
}

impl Admin {
    /// Shows `metrics`, the accounts of `store` and how the export does; readiness is that of `shutdown`.
    pub fn new(
        access: Access,
        metrics: Arc<Metrics>,
        store: Arc<Store>,
        export: export::Watch,
        shutdown: Shutdown,
    ) -> Self {
        Admin {
            access: Arc::new(ArcSwap::from_pointee(access)),
            metrics,
            store,
            export,
            shutdown,
        }
    }

    /// Changes who may look, from the next request on.
    pub fn replace(&self, access: Access) {
        self.access.store(Arc::new(access));
    }

    async fn answer<B>(self, request: Request<B>) -> Response<Full<Bytes>> {
        if let Some(response) = crate::health::answer(&request, &self.shutdown) {
            return response;
        }
        if let Some(refusal) = self.refusal(&request) {
            return refusal;
        }
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/metrics" if reads => answer_with(
                metrics::CONTENT_TYPE,
                self.metrics.render(&self.store).into(),
            ),
            "/api/health" if reads => answer_with(
                JSON,
                state::health(&self.store, &self.export.state())
                    .await
                    .into(),
            ),
            "/api/refused/replay" if *request.method() == Method::POST => {
                self.replay(&request).await
            }
            "/metrics" | "/api/health" => not_allowed("GET, HEAD", "only GET is served here\n"),
            "/api/refused/replay" => not_allowed("POST", "only POST is served here\n"),
            _ => text(
                StatusCode::NOT_FOUND,
                "served here: /healthz, /readyz, /metrics, /api/health, /api/refused/replay\n",
            ),
        }
    }

    /// Whoever may not look is told what to do.
    fn refusal<B>(&self, request: &Request<B>) -> Option<Response<Full<Bytes>>> {
        let access = self.access.load();
        if !is_known_host(request, &access.hosts) {
            return Some(text(
                StatusCode::MISDIRECTED_REQUEST,
                "this host name is not the gateway's; add it to server.admin_hosts if it is\n",
            ));
        }
        if !may_look(request, access.token.as_ref()) {
            let mut response = text(
                StatusCode::UNAUTHORIZED,
                "send server.admin_token as `Authorization: Bearer <token>`\n",
            );
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return Some(response);
        }
        None
    }

    async fn replay<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        // A page elsewhere can send a plain form here, but not this type without being asked first.
        if request
            .headers()
            .get(CONTENT_TYPE)
            .map(HeaderValue::as_bytes)
            != Some(JSON.as_bytes())
        {
            return text(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "send `Content-Type: application/json`\n",
            );
        }
        match state::replay(&self.store).await {
            Some(replayed) => answer_with(JSON, replayed.into()),
            None => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the store gives nothing now; see /api/health, and try again\n",
            ),
        }
    }
}

impl<B: Send + 'static> Service<Request<B>> for Admin {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // Bodies say nothing here.
        let request = request.map(drop);
        let answer = self.clone().answer(request);
        Box::pin(async move { Ok(answer.await) })
    }
}

/// A page elsewhere can let its own name lead to this machine (DNS rebinding), but not choose the name that a browser sends.
fn is_known_host<B>(request: &Request<B>, known: &[String]) -> bool {
    let named = request.headers().get(HOST).map_or_else(
        || request.uri().authority().cloned(),
        |host| Authority::try_from(host.as_bytes()).ok(),
    );
    let Some(named) = named else { return false };
    let host = named
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok()
        || known.contains(&host)
}

fn may_look<B>(request: &Request<B>, token: Option<&Secret>) -> bool {
    let Some(token) = token else { return true };
    bearer::presented(request.headers()).is_some_and(|presented| token.matches(presented))
}

fn answer_with(content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn not_allowed(allowed: &'static str, why: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, why);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use http::header::AUTHORIZATION;

    use super::*;

    fn admin(access: Access) -> Admin {
        Admin::new(
            access,
            Arc::new(Metrics::default()),
            Arc::new(Store::volatile(1 << 20)),
            export::Watch::of_nothing(),
            Shutdown::default(),
        )
    }

    fn status(admin: &Admin, host: Option<&str>, path: &str, token: Option<&str>) -> u16 {
        let mut request = Request::builder().uri(path);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let answer = admin.clone().answer(request.body(()).unwrap());
        answer.now_or_never().unwrap().status().as_u16()
    }

    #[test]
    fn it_answers_only_under_this_machines_names() {
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
    fn health_is_told_to_everyone() {
        let admin = admin(Access {
            token: Some("secret".into()),
            hosts: vec![],
        });
        assert_eq!(status(&admin, None, "/healthz", None), 200);
        assert_eq!(status(&admin, Some("evil.example"), "/readyz", None), 200);
    }

    #[test]
    fn a_token_is_asked_for_where_there_is_one() {
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
