//! HTTP for the demo's own servers: bodies, and a service that answers JSON.

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Either, Full, Limited, StreamBody};
use hyper::body::Incoming;
use serde_json::Value;
use tower::Service;

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// A stream of server-sent events.
pub(super) type EventBody = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

/// A body, whole or streamed.
pub(super) type DemoBody = Either<Full<Bytes>, StreamBody<EventBody>>;

const MOST_BODY: usize = 4 << 20;

/// A service that answers requests by their JSON, with null for a body that is none.
pub(super) trait JsonService: Clone + Send + Sync + 'static {
    fn answer(self, request: Value) -> impl Future<Output = Response<DemoBody>> + Send;
}

/// A [`JsonService`] behind HTTP.
#[derive(Clone)]
pub(super) struct OverHttp<S>(pub(super) S);

impl<S: JsonService> Service<Request<Incoming>> for OverHttp<S> {
    type Response = Response<DemoBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move {
            let body = read_body(request.into_body()).await.ok();
            let json = body.and_then(|body| serde_json::from_slice(&body).ok());
            Ok(service.answer(json.unwrap_or_default()).await)
        })
    }
}

pub(super) fn response(content_type: &'static str, body: DemoBody) -> Response<DemoBody> {
    let mut response = Response::new(body);
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

pub(super) fn json_response(json: impl Into<Bytes>) -> Response<DemoBody> {
    response("application/json", Either::Left(Full::new(json.into())))
}

#[expect(clippy::disallowed_methods, reason = "bounded, and the demo's own")]
pub(super) async fn read_body(body: Incoming) -> Result<Bytes, BoxError> {
    Ok(Limited::new(body, MOST_BODY).collect().await?.to_bytes())
}
