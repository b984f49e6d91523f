//! Failures of the upstream, as far as a client of the gateway can tell them apart: before the response's head, and in its body.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// Why there is no response.
#[derive(Debug)]
pub enum CallError {
    /// No connection could be made.
    Unreachable(String),
    /// The connection broke before the response's head.
    Broke(String),
    /// No connection was made in time.
    ConnectTimeout,
    /// No byte of request or response moved for the idle timeout.
    Silent,
}

impl fmt::Display for CallError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Unreachable(why) => {
                write!(formatter, "the upstream cannot be reached: {why}")
            }
            CallError::Broke(why) => write!(
                formatter,
                "the upstream broke off before it answered: {why}"
            ),
            CallError::ConnectTimeout => formatter
                .write_str("connecting to the upstream took longer than upstream.connect_timeout"),
            CallError::Silent => {
                formatter.write_str("the upstream was silent for longer than upstream.idle_timeout")
            }
        }
    }
}

impl Error for CallError {}

/// Why a response's body ended early.
#[derive(Debug)]
pub(crate) enum ResponseBodyError {
    /// The upstream broke off.
    Upstream(hyper::Error),
    /// The upstream reset its HTTP/2 stream without an error.
    Reset,
    /// The upstream was silent for this long.
    Silent(Duration),
}

impl fmt::Display for ResponseBodyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResponseBodyError::Upstream(error) => match error.source() {
                Some(cause) => write!(formatter, "{error}: {cause}"),
                None => error.fmt(formatter),
            },
            ResponseBodyError::Reset => {
                formatter.write_str("the upstream reset its stream before the end")
            }
            ResponseBodyError::Silent(limit) => {
                write!(formatter, "the upstream was silent for {limit:?}")
            }
        }
    }
}

impl Error for ResponseBodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ResponseBodyError::Upstream(error) => Some(error),
            ResponseBodyError::Reset | ResponseBodyError::Silent(_) => None,
        }
    }
}

/// The error and its causes in one line.
pub(super) fn explain(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in causes(error) {
        let text = cause.to_string();
        // Some errors repeat the text of the one that they wrap.
        if texts.last() != Some(&text) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

pub(super) fn causes<'e>(
    error: &'e (dyn Error + 'static),
) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

#[expect(clippy::needless_pass_by_value, reason = "an error is mapped by value")]
pub(super) fn broke(error: hyper::Error) -> CallError {
    CallError::Broke(explain(&error))
}
