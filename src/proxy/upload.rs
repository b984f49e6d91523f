//! A request's body on its way up: at most `limits.max_body` bytes, and without trailers that frame, route or authenticate a message.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, TE, TRAILER,
    TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use crate::identity;

pin_project! {
    /// A request's body within its limit.
    pub(crate) struct UploadBody {
        #[pin]
        body: Incoming,
        remaining: u64,
        ends_explicitly: bool,
    }
}

/// Why a request's body ended early.
#[derive(Debug)]
pub(crate) enum UploadError {
    /// The body is longer than the limit.
    TooLarge,
    /// The client broke off, or framed the body badly.
    Client(hyper::Error),
    /// The client reset its HTTP/2 stream without an error.
    Reset,
}

impl fmt::Display for UploadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UploadError::TooLarge => {
                formatter.write_str("the request's body is longer than limits.max_body")
            }
            UploadError::Client(error) => error.fmt(formatter),
            UploadError::Reset => formatter.write_str("the client reset its stream before the end"),
        }
    }
}

impl std::error::Error for UploadError {}

impl UploadBody {
    /// `limit` in bytes; none for any length.
    pub(super) fn new(body: Incoming, limit: Option<u64>, version: Version) -> Self {
        UploadBody {
            body,
            // hyper takes RST_STREAM(NO_ERROR) for an end; a request that was cut short must not go up as if whole.
            ends_explicitly: version == Version::HTTP_2,
            remaining: limit.unwrap_or(u64::MAX),
        }
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let mut this = self.project();
        let frame = match ready!(this.body.as_mut().poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(UploadError::Client(error)))),
            None if *this.ends_explicitly && !this.body.is_end_stream() => {
                return Poll::Ready(Some(Err(UploadError::Reset)));
            }
            None => return Poll::Ready(None),
        };
        if let Some(data) = frame.data_ref() {
            match this.remaining.checked_sub(data.remaining() as u64) {
                Some(remaining) => *this.remaining = remaining,
                None => return Poll::Ready(Some(Err(UploadError::TooLarge))),
            }
        }
        Poll::Ready(Some(Ok(match frame.into_trailers() {
            Ok(trailers) => Frame::trailers(allowed_trailers(&trailers)),
            Err(data) => data,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The trailers without those that frame, route or authenticate a message (RFC 9110, section 6.5.1), and without those that the gateway
/// consumes.
fn allowed_trailers(trailers: &HeaderMap) -> HeaderMap {
    let forbidden = |name: &HeaderName| {
        matches!(
            *name,
            AUTHORIZATION
                | CONTENT_ENCODING
                | CONTENT_LENGTH
                | CONTENT_TYPE
                | COOKIE
                | HOST
                | TE
                | TRAILER
                | TRANSFER_ENCODING
        ) || identity::is_consumed(name)
    };
    let mut allowed = HeaderMap::with_capacity(trailers.len());
    for (name, value) in trailers {
        if !forbidden(name) {
            allowed.append(name, value.clone());
        }
    }
    allowed
}
