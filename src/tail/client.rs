//! A client of the admin API. Its errors say whether a later call may succeed, or one without this trace, or none.

use std::collections::VecDeque;
use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{HeaderValue, Request, Response, StatusCode, header, request};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::address::AdminAddress;
use super::error::CommandError;
use super::line::clean;
use super::trace::ListedTrace;
use crate::config::Secret;
use crate::sse::{EVENT_LIMIT, SseFrame, SseFramer};

const CONNECT_TIME: Duration = Duration::from_secs(5);
/// Longest wait for a response head, and for a whole body.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// Longest wait for the response to a replay: a store may have a million spans to send again.
const REPLAY_TIME: Duration = Duration::from_mins(10);
/// Longest silence of the events. The gateway sends a comment every 15 s.
const SILENCE: Duration = Duration::from_secs(45);
/// Most bytes of a body.
const MOST_BODY: usize = 512 << 20;

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum AdminCallError {
    /// No later call succeeds before the user has changed something; the message says what.
    Refused(String),
    /// This one trace cannot be had.
    Skip(String),
    /// A later call may succeed.
    Away(String),
}

impl AdminCallError {
    /// The error of a program that called the gateway at `address`.
    pub(crate) fn into_command_error(self, address: &AdminAddress) -> CommandError {
        match self {
            AdminCallError::Refused(message) => CommandError::configuration(message),
            AdminCallError::Away(why) | AdminCallError::Skip(why) => CommandError::other(format!(
                "start the gateway, or say with --admin where it is: {address} does not answer: {why}"
            )),
        }
    }
}

/// A page of the list.
#[derive(Debug, Deserialize)]
pub(super) struct ListPage {
    pub(super) traces: Vec<ListedTrace>,
    pub(super) next: Option<String>,
}

/// An event of the admin API.
pub(super) enum TraceEvent {
    Changed(Box<ListedTrace>),
    /// Events may be missing.
    Reset,
}

/// A client for one gateway.
pub(crate) struct AdminClient {
    http: Client<HttpConnector, Empty<Bytes>>,
    address: AdminAddress,
    authorization: Option<HeaderValue>,
    /// Query parameters of the list and the events.
    filter: Vec<(&'static str, String)>,
}

/// A stream of events.
pub(super) struct EventReader {
    body: Incoming,
    framer: SseFramer,
    unread: VecDeque<(String, TraceEvent)>,
}

impl AdminClient {
    /// Calls the gateway at `address` with its token. The list and the events have only traces that fit `filter`.
    pub(crate) fn new(
        address: AdminAddress,
        token: Option<&Secret>,
        filter: Vec<(&'static str, String)>,
    ) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIME));
        let http = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .build(tcp);
        let authorization = token.and_then(|token| {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.reveal())).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        AdminClient {
            http,
            address,
            authorization,
            filter,
        }
    }

    pub(crate) fn address(&self) -> &AdminAddress {
        &self.address
    }

    /// Has the gateway replay the spans that `path` names. Returns their number.
    pub(crate) async fn replay(&self, path: &str) -> Result<u64, AdminCallError> {
        #[derive(Deserialize)]
        struct Replayed {
            replayed: u64,
        }
        let request = Request::post(format!("{}{path}", self.address))
            .header(header::CONTENT_TYPE, "application/json");
        let answer = self.send(request, path, REPLAY_TIME).await?;
        let answer: Result<Replayed, _> = parse(&self.whole(answer).await?);
        answer
            .map(|answer| answer.replayed)
            .map_err(|why| self.no_gateway(&why))
    }

    /// A page of the list, the latest trace first.
    pub(super) async fn page(
        &self,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<ListPage, AdminCallError> {
        let mut query = self.query();
        query.append_pair("limit", &limit.to_string());
        if let Some(cursor) = cursor {
            query.append_pair("cursor", cursor);
        }
        let answer = self
            .ask(&format!("/api/traces?{}", query.finish()), None)
            .await?;
        parse(&self.whole(answer).await?).map_err(|why| self.no_gateway(&why))
    }

    /// A trace with its spans, as JSON.
    pub(super) async fn trace(&self, id: &str, content: bool) -> Result<Bytes, AdminCallError> {
        if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(self.no_gateway("a trace has no id"));
        }
        let none = if content { "" } else { "?content=none" };
        let answer = self.ask(&format!("/api/traces/{id}{none}"), None).await;
        let answer = answer.map_err(|failure| match failure {
            AdminCallError::Skip(why) => AdminCallError::Skip(format!("trace {id}: {why}")),
            other => other,
        })?;
        self.whole(answer).await
    }

    /// The events from now on, or from after the event with this id. Waits for the first bytes: from then on no event is missed, and the
    /// list has open runs.
    pub(super) async fn events(&self, after: Option<&str>) -> Result<EventReader, AdminCallError> {
        let target = format!("/api/events?{}", self.query().finish());
        let mut events = EventReader {
            body: self.ask(&target, after).await?.into_body(),
            framer: SseFramer::new(EVENT_LIMIT),
            unread: VecDeque::new(),
        };
        events.read().await?;
        Ok(events)
    }

    fn query(&self) -> Serializer<'static, String> {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(&self.filter);
        query
    }

    async fn ask(
        &self,
        target: &str,
        after: Option<&str>,
    ) -> Result<Response<Incoming>, AdminCallError> {
        let mut request = Request::get(format!("{}{target}", self.address));
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        self.send(request, target, ANSWER_TIME).await
    }

    async fn send(
        &self,
        mut request: request::Builder,
        target: &str,
        most: Duration,
    ) -> Result<Response<Incoming>, AdminCallError> {
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Empty::new());
        let request = request.map_err(|error| AdminCallError::Refused(error.to_string()))?;
        let answer = match tokio::time::timeout(most, self.http.request(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let mut cause = error.source();
                let mut why = error.to_string();
                while let Some(inner) = cause {
                    why = inner.to_string();
                    cause = inner.source();
                }
                return Err(AdminCallError::Away(why));
            }
            Err(_) => return Err(AdminCallError::Away(format!("no answer within {most:?}"))),
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
    ) -> AdminCallError {
        let body = self.whole(answer).await.unwrap_or_default();
        let body = serde_json::from_slice::<Value>(&body).unwrap_or_default();
        let message = clean(body["error"]["message"].as_str().unwrap_or_default());
        let address = &self.address;
        match status {
            StatusCode::UNAUTHORIZED => AdminCallError::Refused(format!(
                "set server.admin_token (SPANGATE_SERVER_ADMIN_TOKEN) to the token of the gateway at {address}: it lets nobody else in"
            )),
            StatusCode::MISDIRECTED_REQUEST => AdminCallError::Refused(format!(
                "add this host name to server.admin_hosts of the gateway, or give its address with --admin: {address} is not known there; where it asks for a token, set server.admin_token"
            )),
            StatusCode::CONFLICT => AdminCallError::Refused(message),
            StatusCode::NOT_FOUND if target.starts_with("/api/traces/") => {
                AdminCallError::Skip(message)
            }
            _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                AdminCallError::Away(format!("{status} {message}").trim_end().to_owned())
            }
            _ => self.no_gateway(format!("{status} {message}").trim_end()),
        }
    }

    fn no_gateway(&self, why: &str) -> AdminCallError {
        AdminCallError::Refused(format!(
            "give the admin port of a gateway with --admin or server.admin: {} does not answer like one: {}",
            self.address,
            clean(why)
        ))
    }

    #[expect(clippy::disallowed_methods, reason = "bounded")]
    async fn whole(&self, answer: Response<Incoming>) -> Result<Bytes, AdminCallError> {
        let body = Limited::new(answer.into_body(), MOST_BODY).collect();
        match tokio::time::timeout(ANSWER_TIME, body).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) => Err(AdminCallError::Away(format!(
                "the answer broke off: {error}"
            ))),
            Err(_) => Err(AdminCallError::Away(format!(
                "no whole answer within {ANSWER_TIME:?}"
            ))),
        }
    }
}

impl EventReader {
    /// The next event and its id. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<(String, TraceEvent), AdminCallError> {
        loop {
            if let Some(event) = self.unread.pop_front() {
                return Ok(event);
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), AdminCallError> {
        let away = |why: &str| AdminCallError::Away(why.to_owned());
        let frame = tokio::time::timeout(SILENCE, self.body.frame()).await;
        let frame = frame.map_err(|_| away("it fell silent"))?;
        let frame = frame.ok_or_else(|| away("it ended the events"))?;
        let frame = frame.map_err(|error| away(&error.to_string()))?;
        if let Some(bytes) = frame.data_ref() {
            let unread = &mut self.unread;
            self.framer.push(bytes, |frame| unread.extend(event(frame)));
        }
        Ok(())
    }
}

/// The event of a frame; none for an unknown kind.
fn event(frame: SseFrame<'_>) -> Option<(String, TraceEvent)> {
    let SseFrame::Event { kind, data, id } = frame else {
        return None;
    };
    let event = match &*kind {
        "trace" => TraceEvent::Changed(Box::new(parse(data.as_bytes()).ok()?)),
        "reset" => TraceEvent::Reset,
        _ => return None,
    };
    Some((id.into_owned(), event))
}

pub(super) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|error| error.to_string())
}
