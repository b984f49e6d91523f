//! A request's body on its way up: within `limits.max_body`, without trailers that would change how the message is understood.

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
    /// A request's body, see the module.
    pub struct Upload {
        #[pin]
        body: Incoming,
        left: u64,
        says_its_end: bool,
    }
}

/// Why a request's body has no end.
#[derive(Debug)]
pub enum UploadError {
    /// It is longer than the limit.
    TooLarge,
    /// The client broke off, or what it sent is no body.
    Client(hyper::Error),
    /// The client took its stream back.
    Withdrawn,
}

impl fmt::Display for UploadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UploadError::TooLarge => {
                formatter.write_str("the request's body is longer than limits.max_body")
            }
            UploadError::Client(error) => error.fmt(formatter),
            UploadError::Withdrawn => {
                formatter.write_str("the client reset its stream before the end")
            }
        }
    }
}

impl std::error::Error for UploadError {}

impl Upload {
    /// `limit` in bytes; none for any length.
    pub(super) fn new(body: Incoming, limit: Option<u64>, version: Version) -> Self {
        Upload {
            body,
            // hyper takes RST_STREAM(NO_ERROR) for an end; a request that was cut short must not go up as if whole.
            says_its_end: version == Version::HTTP_2,
            left: limit.unwrap_or(u64::MAX),
        }
    }
}

impl Body for Upload {
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
            None if *this.says_its_end && !this.body.is_end_stream() => {
                return Poll::Ready(Some(Err(UploadError::Withdrawn)));
            }
            None => return Poll::Ready(None),
        };
        if let Some(data) = frame.data_ref() {
            match this.left.checked_sub(data.remaining() as u64) {
                Some(left) => *this.left = left,
                None => return Poll::Ready(Some(Err(UploadError::TooLarge))),
            }
        }
        Poll::Ready(Some(Ok(match frame.into_trailers() {
            Ok(trailers) => Frame::trailers(harmless(&trailers)),
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

/// Trailers that may not frame, route or authenticate a message (RFC 9110, section 6.5.1), nor tell the upstream what the gateway consumes.
fn harmless(trailers: &HeaderMap) -> HeaderMap {
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
    let mut kept = HeaderMap::with_capacity(trailers.len());
    for (name, value) in trailers {
        if !forbidden(name) {
            kept.append(name, value.clone());
        }
    }
    kept
}
