//! The admin port: health and metrics, for operators. It is never the data port, and answers only to names that are this machine's.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tower::Service;

use crate::bearer;
use crate::config::Secret;
use crate::metrics::{self, Metrics};
use crate::server::Shutdown;
use crate::store::Store;

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
    shutdown: Shutdown,
}

impl Admin {
    /// Shows `metrics` and the accounts of `store`; readiness is that of `shutdown`.
    pub fn new(
        access: Access,
        metrics: Arc<Metrics>,
        store: Arc<Store>,
        shutdown: Shutdown,
    ) -> Self {
        Admin {
            access: Arc::new(ArcSwap::from_pointee(access)),
            metrics,
            store,
            shutdown,
        }
    }

    /// Changes who may look, from the next request on.
    pub fn replace(&self, access: Access) {
        self.access.store(Arc::new(access));
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if let Some(response) = crate::health::answer(request, &self.shutdown) {
            return response;
        }
        let access = self.access.load();
        if !is_known_host(request, &access.hosts) {
            return text(
                StatusCode::MISDIRECTED_REQUEST,
                "this host name is not the gateway's; add it to server.admin_hosts if it is\n",
            );
        }
        if !may_look(request, access.token.as_ref()) {
            let mut response = text(
                StatusCode::UNAUTHORIZED,
                "send server.admin_token as `Authorization: Bearer <token>`\n",
            );
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return response;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/metrics" => {
                let mut response = Response::new(Full::from(self.metrics.render(&self.store)));
                response.headers_mut().insert(
                    CONTENT_TYPE,
                    HeaderValue::from_static(metrics::CONTENT_TYPE),
                );
                response
                    .headers_mut()
                    .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                response
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "served here: /healthz, /readyz, /metrics\n",
            ),
        }
    }
}

impl<B> Service<Request<B>> for Admin {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(&request)))
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
    use http::header::AUTHORIZATION;

    use super::*;

    fn admin(access: Access) -> Admin {
        Admin::new(
            access,
            Arc::new(Metrics::default()),
            Arc::new(Store::volatile(1 << 20)),
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
        admin.answer(&request.body(()).unwrap()).status().as_u16()
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
