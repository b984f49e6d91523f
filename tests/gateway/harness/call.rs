//! One request and its reply, step by step, with the same functions for HTTP/1.1 and HTTP/2.
//!
//! The rule: one connection per call, and the caller gets the bytes of each frame when it comes, never a collected body.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};

use super::{End, Framing, Headers, Piece, Reply, Wire, value, within};

/// The header by which an exchange is found again.
pub(crate) const REQUEST_ID: &str = "x-respan-gateway-request-id";

/// The gateway's id of this exchange.
pub(crate) fn request_id(headers: &Headers) -> Option<&str> {
    value(headers, REQUEST_ID)
}

/// The client's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    One,
    /// HTTP/2, by prior knowledge on plain connections.
    Two,
}

impl Protocol {
    /// Both, for tests that hold on either.
    pub(crate) const BOTH: [Self; 2] = [Self::One, Self::Two];
}

/// A request to be made.
#[derive(Clone, Debug)]
pub(crate) struct ClientRequest {
    method: String,
    target: String,
    headers: Headers,
    payload: Payload,
}

/// Its body.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// None, and no length either.
    None,
    /// These bytes, with `content-length`.
    Whole(Vec<u8>),
    /// The bytes of [`Call::send`] until [`Call::finish`], chunked on HTTP/1.1.
    Open,
}

impl ClientRequest {
    /// A request without a body.
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Headers::new(),
            payload: Payload::None,
        }
    }

    /// A POST of JSON.
    pub(crate) fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target)
            .header("content-type", "application/json")
            .payload(Payload::Whole(body.into()))
    }

    /// With one more header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this body.
    pub(crate) fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    /// With another target.
    pub(crate) fn target(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    /// Makes the request on a new connection and reads the whole reply.
    pub(crate) async fn over(&self, protocol: Protocol, address: SocketAddr) -> Reply {
        Call::begin(protocol, address, self).await.reply().await
    }

    /// The same over HTTP/1.1, where it does not matter.
    pub(crate) async fn to(&self, address: SocketAddr) -> Reply {
        self.over(Protocol::One, address).await
    }

    /// The fields as they are sent, with the length that the payload has.
    fn fields(&self) -> Headers {
        let mut fields = self.headers.clone();
        if let Payload::Whole(body) = &self.payload {
            fields.push(("content-length".to_owned(), body.len().to_string()));
        }
        fields
    }
}

/// Anything bytes go through.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A request under way.
pub(crate) enum Call {
    /// On HTTP/1.1.
    One {
        wire: Wire<Box<dyn Socket>>,
        method: String,
        framing: Framing,
    },
    /// On HTTP/2.
    Two {
        sending: h2::SendStream<Bytes>,
        answer: ReplyState,
        driver: JoinSet<()>,
        _connection: SendRequest<Bytes>,
    },
}

/// The state of the reply on HTTP/2.
pub(crate) enum ReplyState {
    /// No head yet.
    Awaited(ResponseFuture),
    /// The body is coming.
    Coming(h2::RecvStream),
}

impl Call {
    /// Sends the head of a request, and its body if it is whole, on a new plain connection.
    pub(crate) async fn begin(
        protocol: Protocol,
        address: SocketAddr,
        ask: &ClientRequest,
    ) -> Self {
        let stream = within("a connection", TcpStream::connect(address))
            .await
            .expect("something listens there");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        Self::over(
            protocol,
            Box::new(stream),
            "http",
            &address.to_string(),
            ask,
        )
        .await
    }

    /// The same on a connection that is there already.
    pub(crate) async fn over(
        protocol: Protocol,
        stream: Box<dyn Socket>,
        scheme: &str,
        authority: &str,
        ask: &ClientRequest,
    ) -> Self {
        match protocol {
            Protocol::One => {
                let mut fields = ask.fields();
                fields.insert(0, ("host".to_owned(), authority.to_owned()));
                if matches!(ask.payload, Payload::Open) {
                    fields.push(("transfer-encoding".to_owned(), "chunked".to_owned()));
                }
                let fields = fields
                    .iter()
                    .map(|(name, value)| format!("{name}: {value}\r\n"))
                    .collect::<Vec<_>>()
                    .concat();
                let mut bytes =
                    format!("{} {} HTTP/1.1\r\n{fields}\r\n", ask.method, ask.target).into_bytes();
                if let Payload::Whole(body) = &ask.payload {
                    bytes.extend(body);
                }
                let mut wire = Wire::new(stream);
                wire.send(bytes).await;
                Self::One {
                    wire,
                    method: ask.method.clone(),
                    framing: Framing::Ended,
                }
            }
            Protocol::Two => {
                let (connection, driving) =
                    within("an HTTP/2 connection", h2::client::handshake(stream))
                        .await
                        .expect("it speaks HTTP/2");
                let mut driver = JoinSet::new();
                driver.spawn(async move {
                    let _ = driving.await;
                });
                let mut connection = within("room for a stream", connection.ready())
                    .await
                    .expect("the connection is open");
                let mut request = http::Request::builder()
                    .method(ask.method.as_str())
                    .uri(format!("{scheme}://{authority}{}", ask.target));
                for (name, value) in ask.fields() {
                    request = request.header(name, value);
                }
                let request = request.body(()).expect("a well-formed request");
                let bodiless = matches!(ask.payload, Payload::None);
                let (answer, mut sending) = connection
                    .send_request(request, bodiless)
                    .expect("the request can be sent");
                if let Payload::Whole(body) = &ask.payload {
                    let _ = sending.send_data(Bytes::copy_from_slice(body), true);
                }
                Self::Two {
                    sending,
                    answer: ReplyState::Awaited(answer),
                    driver,
                    _connection: connection,
                }
            }
        }
    }

    /// Sends some of an open body.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        match self {
            Self::One { wire, .. } => wire.send_chunk(bytes).await,
            Self::Two { sending, .. } => {
                let _ = sending.send_data(Bytes::copy_from_slice(bytes), false);
            }
        }
    }

    /// Ends an open body, with these trailers.
    pub(crate) async fn finish_with(&mut self, trailers: &[(&str, &str)]) {
        match self {
            Self::One { wire, .. } => {
                let fields = trailers
                    .iter()
                    .map(|(name, value)| format!("{name}: {value}\r\n"))
                    .collect::<Vec<_>>()
                    .concat();
                wire.send(format!("0\r\n{fields}\r\n")).await;
            }
            Self::Two { sending, .. } if trailers.is_empty() => {
                let _ = sending.send_data(Bytes::new(), true);
            }
            Self::Two { sending, .. } => {
                let fields = trailers.iter().map(|(name, value)| {
                    (
                        name.parse().expect("a name"),
                        value.parse().expect("a value"),
                    )
                });
                let _ = sending.send_trailers(fields.collect::<http::HeaderMap>());
            }
        }
    }

    /// Ends an open body.
    pub(crate) async fn finish(&mut self) {
        self.finish_with(&[]).await;
    }

    /// Breaks an open body off: the connection, or the stream, is given up.
    pub(crate) async fn leave(&mut self) {
        match self {
            Self::One { wire, .. } => wire.finish().await,
            Self::Two { sending, .. } => sending.send_reset(h2::Reason::CANCEL),
        }
    }

    /// Closes the whole connection. On HTTP/2 that is harsher than [`Call::leave`].
    pub(crate) async fn hang_up(self) {
        match self {
            Self::One { mut wire, .. } => wire.finish().await,
            Self::Two { mut driver, .. } => driver.shutdown().await,
        }
    }

    /// Status and headers of the reply.
    pub(crate) async fn head(&mut self) -> (u16, Headers) {
        match self {
            Self::One {
                wire,
                method,
                framing,
            } => {
                let (status, headers, rest) = wire.reply_head(method).await;
                *framing = rest;
                (status, headers)
            }
            Self::Two { answer, .. } => {
                let ReplyState::Awaited(response) = answer else {
                    panic!("the head was read before")
                };
                let response = within("a reply", response)
                    .await
                    .unwrap_or_else(|error| panic!("no reply: {error}"));
                let (head, body) = response.into_parts();
                *answer = ReplyState::Coming(body);
                (head.status.as_u16(), fields(&head.headers))
            }
        }
    }

    /// What has come of the body, at least one byte, or its end.
    pub(crate) async fn piece(&mut self) -> Piece {
        let Self::Two { answer, .. } = self else {
            let Self::One { wire, framing, .. } = self else {
                unreachable!()
            };
            return wire.piece(framing).await;
        };
        let ReplyState::Coming(body) = answer else {
            panic!("the head comes first")
        };
        loop {
            match within("a piece of the body", body.data()).await {
                Some(Ok(bytes)) => {
                    let _ = body.flow_control().release_capacity(bytes.len());
                    if !bytes.is_empty() {
                        return Piece::Bytes(bytes.to_vec());
                    }
                }
                Some(Err(error)) => return Piece::End(broken(&error), Headers::new()),
                None => {
                    return match within("trailers", body.trailers()).await {
                        Ok(trailers) => Piece::End(
                            End::Clean,
                            trailers.as_ref().map(fields).unwrap_or_default(),
                        ),
                        Err(error) => Piece::End(broken(&error), Headers::new()),
                    };
                }
            }
        }
    }

    /// Exactly these bytes next, and no more for now.
    #[track_caller]
    pub(crate) fn expect(&mut self, wanted: &[u8]) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let mut got = Vec::new();
            while got.len() < wanted.len() {
                match self.piece().await {
                    Piece::Bytes(bytes) => got.extend(bytes),
                    Piece::End(end, _) => panic!(
                        "{caller}: {end:?} after {:?}",
                        String::from_utf8_lossy(&got)
                    ),
                }
            }
            assert_eq!(
                String::from_utf8_lossy(&got),
                String::from_utf8_lossy(wanted),
                "{caller}"
            );
        }
    }

    /// The rest of the body, its trailers, and how it ended.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, Headers, End) {
        let mut body = Vec::new();
        loop {
            match self.piece().await {
                Piece::Bytes(bytes) => body.extend(bytes),
                Piece::End(end, trailers) => return (body, trailers, end),
            }
        }
    }

    /// The whole reply.
    pub(crate) async fn reply(mut self) -> Reply {
        let (status, headers) = self.head().await;
        let (body, trailers, end) = self.rest().await;
        Reply {
            status,
            headers,
            body,
            trailers,
            end,
        }
    }
}

fn fields(map: &http::HeaderMap) -> Headers {
    map.iter()
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                value.as_bytes().iter().copied().map(char::from).collect(),
            )
        })
        .collect()
}

fn broken(error: &h2::Error) -> End {
    match error.reason() {
        Some(reason) if error.is_reset() => End::StreamReset(reason.into()),
        _ => End::Closed,
    }
}
