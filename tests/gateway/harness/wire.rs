//! HTTP/1.1 by hand, on either end of a connection: bytes are written as given and read as they come.
//!
//! The rule: strict where a sloppy reader would hide a fault. A missing last chunk, a short body or a wrong chunk is never a clean end.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use super::{End, Headers, Piece, Reply, Request, message::value, within};

/// One connection, read with a buffer.
#[derive(Debug)]
pub(crate) struct Wire<S = TcpStream> {
    stream: S,
    unread: Vec<u8>,
}

/// How much of a body is still to come.
#[derive(Debug)]
pub(crate) enum Framing {
    /// This many bytes.
    Length(u64),
    /// In chunks; `left` of the one under way, `first` before any.
    Chunked { left: u64, first: bool },
    /// Whatever comes until the connection is closed.
    UntilClose,
    /// Nothing.
    Ended,
}

impl Framing {
    /// A chunked body that has not begun.
    pub(crate) const CHUNKED: Self = Self::Chunked {
        left: 0,
        first: true,
    };

    fn of(headers: &Headers, otherwise: Self) -> Self {
        if value(headers, "transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
        {
            Self::CHUNKED
        } else if let Some(length) = value(headers, "content-length") {
            Self::Length(length.parse().expect("content-length is a number"))
        } else {
            otherwise
        }
    }
}

impl Wire {
    /// A new connection to this address.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address))
            .await
            .expect("something listens there");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        Self::new(stream)
    }

    /// Ends the connection with a reset instead of a close.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().expect("SO_LINGER can be set");
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Around a connection that is already there.
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    /// Writes these bytes. A peer that has gone is not a failure here: what it missed shows elsewhere.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within("room to write", self.stream.write_all(bytes.as_ref())).await;
        let _ = within("room to write", self.stream.flush()).await;
    }

    /// Writes one chunk of a chunked body.
    pub(crate) async fn send_chunk(&mut self, bytes: &[u8]) {
        let framed = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.send(framed).await;
    }

    /// Closes the writing side: the peer sees the end of what was sent.
    pub(crate) async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Resolves when the peer has closed or reset its side; what it sends before that is thrown away.
    pub(crate) async fn left(&mut self) -> End {
        loop {
            self.unread.clear();
            if let Some(end) = self.fill().await {
                return end;
            }
        }
    }

    /// Waits, for as long as it takes, for a first byte; false when the peer closes instead.
    pub(crate) async fn begins(&mut self) -> bool {
        !self.unread.is_empty()
            || matches!(self.stream.read_buf(&mut self.unread).await, Ok(count) if count > 0)
    }

    /// Exactly this many bytes, whatever they are.
    pub(crate) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            if let Some(end) = self.fill().await {
                panic!("{end:?} after {} of {count} bytes", self.unread.len());
            }
        }
        self.unread.drain(..count).collect()
    }

    /// Reads a whole request.
    pub(crate) async fn request(&mut self) -> Request {
        let (mut request, mut framing) = self.request_head().await;
        (request.body, request.trailers, request.end) = self.rest(&mut framing).await;
        request
    }

    /// Reads a request up to the end of its head.
    pub(crate) async fn request_head(&mut self) -> (Request, Framing) {
        let (line, headers) = self
            .head()
            .await
            .unwrap_or_else(|end| panic!("no whole request: {end:?}"));
        let mut words = line.splitn(3, ' ').map(str::to_owned);
        let (method, target) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        assert_eq!(words.next().as_deref(), Some("HTTP/1.1"), "{line}");
        let framing = Framing::of(&headers, Framing::Ended);
        (
            Request {
                method,
                target,
                headers,
                body: Vec::new(),
                trailers: Headers::new(),
                end: End::Clean,
            },
            framing,
        )
    }

    /// Reads a whole reply to a request of this method. Interim replies (1xx) are passed over, 101 is not one of them.
    pub(crate) async fn reply(&mut self, method: &str) -> Reply {
        let (status, headers, mut framing) = self.reply_head(method).await;
        let (body, trailers, end) = self.rest(&mut framing).await;
        Reply {
            status,
            headers,
            body,
            trailers,
            end,
        }
    }

    /// Reads a reply up to the end of its head.
    pub(crate) async fn reply_head(&mut self, method: &str) -> (u16, Headers, Framing) {
        loop {
            let (line, headers) = self
                .head()
                .await
                .unwrap_or_else(|end| panic!("no whole reply: {end:?}"));
            let status: u16 = line
                .split(' ')
                .nth(1)
                .and_then(|word| word.parse().ok())
                .unwrap_or_else(|| panic!("no status in {line:?}"));
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let bodiless = method == "HEAD" || matches!(status, 101 | 204 | 304);
            let framing = if bodiless {
                Framing::Ended
            } else {
                Framing::of(&headers, Framing::UntilClose)
            };
            return (status, headers, framing);
        }
    }

    /// The first line and the fields of a message.
    pub(crate) async fn head(&mut self) -> Result<(String, Headers), End> {
        let first = self.line().await?;
        Ok((first, self.fields().await?))
    }

    /// The rest of a body, its trailers, and how it ended.
    pub(crate) async fn rest(&mut self, framing: &mut Framing) -> (Vec<u8>, Headers, End) {
        let mut body = Vec::new();
        loop {
            match self.piece(framing).await {
                Piece::Bytes(bytes) => body.extend(bytes),
                Piece::End(end, trailers) => return (body, trailers, end),
            }
        }
    }

    /// What can be read of a body now, at least one byte of it, or its end.
    pub(crate) async fn piece(&mut self, framing: &mut Framing) -> Piece {
        match framing {
            Framing::Ended | Framing::Length(0) => Piece::End(End::Clean, Headers::new()),
            Framing::Length(left) => match self.some(*left).await {
                Ok(bytes) => {
                    *left -= bytes.len() as u64;
                    Piece::Bytes(bytes)
                }
                Err(end) => Piece::End(end, Headers::new()),
            },
            Framing::UntilClose => match self.some(u64::MAX).await {
                Ok(bytes) => Piece::Bytes(bytes),
                Err(End::Closed) => Piece::End(End::Clean, Headers::new()),
                Err(end) => Piece::End(end, Headers::new()),
            },
            Framing::Chunked { left, first } => match self.chunked(left, first).await {
                Ok(piece) => piece,
                Err(end) => Piece::End(end, Headers::new()),
            },
        }
    }

    async fn chunked(&mut self, left: &mut u64, first: &mut bool) -> Result<Piece, End> {
        if *left == 0 {
            if !std::mem::take(first) {
                let after = self.line().await?;
                assert_eq!(after, "", "a chunk is longer than it said");
            }
            let size = self.line().await?;
            let digits = size.split(';').next().unwrap_or_default();
            *left = u64::from_str_radix(digits.trim(), 16)
                .unwrap_or_else(|_| panic!("no chunk size: {size:?}"));
            if *left == 0 {
                return Ok(Piece::End(End::Clean, self.fields().await?));
            }
        }
        let bytes = self.some(*left).await?;
        *left -= bytes.len() as u64;
        Ok(Piece::Bytes(bytes))
    }

    /// At least one byte, at most `most`.
    async fn some(&mut self, most: u64) -> Result<Vec<u8>, End> {
        if self.unread.is_empty()
            && let Some(end) = self.fill().await
        {
            return Err(end);
        }
        let count = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .min(self.unread.len());
        if count == self.unread.len() {
            return Ok(std::mem::take(&mut self.unread));
        }
        Ok(self.unread.drain(..count).collect())
    }

    async fn fields(&mut self) -> Result<Headers, End> {
        let mut fields = Headers::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line
                .split_once(':')
                .unwrap_or_else(|| panic!("no field: {line:?}"));
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// One line without its end; bytes above ASCII are read as Latin-1, so that none is lost.
    async fn line(&mut self) -> Result<String, End> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.unread[searched..]
                .windows(2)
                .position(|two| two == b"\r\n")
            {
                let line = self.unread[..searched + at]
                    .iter()
                    .copied()
                    .map(char::from)
                    .collect();
                self.unread.drain(..searched + at + 2);
                return Ok(line);
            }
            searched = self.unread.len().saturating_sub(1);
            if let Some(end) = self.fill().await {
                return Err(end);
            }
        }
    }

    /// Reads more into the buffer; says how it ended when there is no more.
    async fn fill(&mut self) -> Option<End> {
        self.unread.reserve(16 * 1024);
        match within(
            "bytes from the peer",
            self.stream.read_buf(&mut self.unread),
        )
        .await
        {
            Ok(0) => Some(End::Closed),
            Ok(_) => None,
            Err(_) => Some(End::Reset),
        }
    }
}
