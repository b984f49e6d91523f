//! Asks the admin port of a gateway, and sorts what comes back into what can be used, what may be better later, and what never will.

use std::collections::VecDeque;
use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{HeaderValue, Request, Response, StatusCode, header, request};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Problem;
use super::address::Address;
use super::line::clean;
use super::trace::Listed;
use crate::config::Secret;
use crate::sse::{EVENT_LIMIT, Frame, Framer};

const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for a head, and between two pieces of an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Longest wait until all spans of a replay are on their way to be sent: a store may have a million of them.
const REPLAYED: Duration = Duration::from_mins(10);
/// Longest silence of the events: the gateway gives a sign of life every 15 s.
const SILENCE: Duration = Duration::from_secs(45);
/// Most bytes of one answer.
const MOST: usize = 512 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nor will there be, until somebody changes something: in words that say what.
    Refused(String),
    /// Only to this one question.
    Useless(String),
    /// For now.
    Away(String),
}

impl Failure {
    /// What whoever started the program at a gateway's `address` has to do.
    pub(crate) fn into_problem(self, address: &Address) -> Problem {
        match self {
            Failure::Refused(message) => Problem::wrong(message),
            Failure::Away(why) | Failure::Useless(why) => Problem {
                message: format!(
                    "start the gateway, or say with --admin where it is: {address} does not answer: {why}"
                ),
                is_configuration: false,
            },
        }
    }
}

/// A page of the list.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) traces: Vec<Listed>,
    pub(super) next: Option<String>,
}

/// What an event says.
pub(super) enum Told {
    /// A trace grew or ended.
    Grew(Box<Listed>),
    /// Something may have been missed.
    Missed,
}

/// Asks one gateway.
pub(crate) struct Client {
    http: HyperClient<HttpConnector, Empty<Bytes>>,
    address: Address,
    authorization: Option<HeaderValue>,
    /// Which traces are asked for.
    filter: Vec<(&'static str, String)>,
}

/// Events under way.
pub(super) struct Events {
    body: Incoming,
    framer: Framer,
    came: VecDeque<(String, Told)>,
}

impl Client {
    /// Asks at `address`, with the gateway's token where it has one; for traces that fit `filter` alone.
    pub(crate) fn new(
        address: Address,
        token: Option<&Secret>,
        filter: Vec<(&'static str, String)>,
    ) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let http = HyperClient::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .build(tcp);
        let authorization = token.and_then(|token| {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.reveal())).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Client {
            http,
            address,
            authorization,
            filter,
        }
    }

    /// Where it asks.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Has spans sent that would not leave by themselves: the path says which. Gives how many.
    pub(crate) async fn replay(&self, path: &str) -> Result<u64, Failure> {
        #[derive(Deserialize)]
        struct Replayed {
            replayed: u64,
        }
        let request = Request::post(format!("{}{path}", self.address))
            .header(header::CONTENT_TYPE, "application/json");
        let answer = self.send(request, path, REPLAYED).await?;
        let answer: Result<Replayed, _> = read(&self.whole(answer).await?);
        answer
            .map(|answer| answer.replayed)
            .map_err(|why| self.is_no_gateway(&why))
    }

    /// Traces of the list, the latest first.
    pub(super) async fn page(&self, limit: usize, cursor: Option<&str>) -> Result<Page, Failure> {
        let mut query = self.query();
        query.append_pair("limit", &limit.to_string());
        if let Some(cursor) = cursor {
            query.append_pair("cursor", cursor);
        }
        let answer = self
            .ask(&format!("/api/traces?{}", query.finish()), None)
            .await?;
        read(&self.whole(answer).await?).map_err(|why| self.is_no_gateway(&why))
    }

    /// A trace with its spans, as JSON.
    pub(super) async fn trace(&self, id: &str, content: bool) -> Result<Bytes, Failure> {
        if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(self.is_no_gateway("a trace has no id"));
        }
        let none = if content { "" } else { "?content=none" };
        let answer = self.ask(&format!("/api/traces/{id}{none}"), None).await;
        let answer = answer.map_err(|failure| match failure {
            Failure::Useless(why) => Failure::Useless(format!("trace {id}: {why}")),
            other => other,
        })?;
        self.whole(answer).await
    }

    /// What happens from here on, or after the event of this id. The first sign of life says that nothing is missed any more, and that
    /// a list knows what goes on.
    pub(super) async fn events(&self, after: Option<&str>) -> Result<Events, Failure> {
        let target = format!("/api/events?{}", self.query().finish());
        let mut events = Events {
            body: self.ask(&target, after).await?.into_body(),
            framer: Framer::new(EVENT_LIMIT),
            came: VecDeque::new(),
        };
        events.piece().await?;
        Ok(events)
    }

    fn query(&self) -> Serializer<'static, String> {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(&self.filter);
        query
    }

    async fn ask(&self, target: &str, after: Option<&str>) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::get(format!("{}{target}", self.address));
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        self.send(request, target, ANSWER).await
    }

    async fn send(
        &self,
        mut request: request::Builder,
        target: &str,
        most: Duration,
    ) -> Result<Response<Incoming>, Failure> {
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Empty::new());
        let request = request.map_err(|error| Failure::Refused(error.to_string()))?;
        let answer = match tokio::time::timeout(most, self.http.request(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let mut cause = error.source();
                let mut why = error.to_string();
                while let Some(inner) = cause {
                    why = inner.to_string();
                    cause = inner.source();
                }
                return Err(Failure::Away(why));
            }
            Err(_) => return Err(Failure::Away(format!("no answer within {most:?}"))),
        };
        match answer.status() {
            StatusCode::OK => Ok(answer),
            status => Err(self.failed(status, target, answer).await),
        }
    }

    async fn failed(
        &self,
        status: StatusCode,
        target: &str,
        answer: Response<Incoming>,
    ) -> Failure {
        let said = self.whole(answer).await.unwrap_or_default();
        let said = serde_json::from_slice::<Value>(&said).unwrap_or_default();
        let said = clean(said["error"]["message"].as_str().unwrap_or_default());
        let address = &self.address;
        match status {
            StatusCode::UNAUTHORIZED => Failure::Refused(format!(
                "set server.admin_token (SPANGATE_SERVER_ADMIN_TOKEN) to the token of the gateway at {address}: it lets nobody else in"
            )),
            StatusCode::MISDIRECTED_REQUEST => Failure::Refused(format!(
                "add this host name to server.admin_hosts of the gateway, or give its address with --admin: {address} is not known there; where it asks for a token, set server.admin_token"
            )),
            StatusCode::CONFLICT => Failure::Refused(said),
            StatusCode::NOT_FOUND if target.starts_with("/api/traces/") => Failure::Useless(said),
            _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Failure::Away(format!("{status} {said}").trim_end().to_owned())
            }
            _ => self.is_no_gateway(format!("{status} {said}").trim_end()),
        }
    }

    fn is_no_gateway(&self, why: &str) -> Failure {
        Failure::Refused(format!(
            "give the admin port of a gateway with --admin or server.admin: {} does not answer like one: {}",
            self.address,
            clean(why)
        ))
    }

    #[expect(clippy::disallowed_methods, reason = "bounded")]
    async fn whole(&self, answer: Response<Incoming>) -> Result<Bytes, Failure> {
        let body = Limited::new(answer.into_body(), MOST).collect();
        match tokio::time::timeout(ANSWER, body).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) => Err(Failure::Away(format!("the answer broke off: {error}"))),
            Err(_) => Err(Failure::Away(format!("no whole answer within {ANSWER:?}"))),
        }
    }
}

impl Events {
    /// The next event, and its id. What was not given is given next time, so this may be left at any time.
    pub(super) async fn next(&mut self) -> Result<(String, Told), Failure> {
        loop {
            if let Some(told) = self.came.pop_front() {
                return Ok(told);
            }
            self.piece().await?;
        }
    }

    async fn piece(&mut self) -> Result<(), Failure> {
        let away = |why: &str| Failure::Away(why.to_owned());
        let frame = tokio::time::timeout(SILENCE, self.body.frame()).await;
        let frame = frame.map_err(|_| away("it fell silent"))?;
        let frame = frame.ok_or_else(|| away("it ended the events"))?;
        let frame = frame.map_err(|error| away(&error.to_string()))?;
        if let Some(bytes) = frame.data_ref() {
            let came = &mut self.came;
            self.framer.push(bytes, |frame| came.extend(event(frame)));
        }
        Ok(())
    }
}

/// What a frame says; none where it is not for us.
fn event(frame: Frame<'_>) -> Option<(String, Told)> {
    let Frame::Event { kind, data, id } = frame else {
        return None;
    };
    let told = match &*kind {
        "trace" => Told::Grew(Box::new(read(data.as_bytes()).ok()?)),
        "reset" => Told::Missed,
        _ => return None,
    };
    Some((id.into_owned(), told))
}

/// What JSON says.
pub(super) fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|error| error.to_string())
}
