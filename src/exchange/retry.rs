//! Whether a failed exchange may be repeated: decided here, where statuses and headers are known, for all that group attempts.

use std::time::Duration;

use http::StatusCode;

use super::{Exchange, Outcome};

impl Exchange {
    /// Whether an SDK repeats a request that ended like this: as OpenAI's SDKs do, unless the upstream's `x-should-retry` says otherwise.
    pub fn is_repeatable(&self) -> bool {
        if !self.meta.chat {
            return false;
        }
        let status = self.response.as_ref().map(|answer| answer.status);
        match (&self.outcome, status) {
            (Outcome::ClientLeft | Outcome::Recovered, _) => false,
            (Outcome::Unreachable(_) | Outcome::Broke(_) | Outcome::Timeout(_), None) => true,
            // A stream's break reaches the program; only a whole reply is asked for again.
            (Outcome::Broke(_), Some(status)) if status.is_success() => !self.is_streamed(),
            (_, Some(status)) => match self.response_header("x-should-retry") {
                Some("true") => true,
                Some("false") => false,
                _ => {
                    status.is_server_error()
                        || matches!(
                            status,
                            StatusCode::REQUEST_TIMEOUT
                                | StatusCode::CONFLICT
                                | StatusCode::TOO_MANY_REQUESTS
                        )
                }
            },
            (_, None) => false,
        }
    }

    /// How long the upstream asked to be left alone, at most an hour.
    pub fn announced_delay(&self) -> Option<Duration> {
        let number = |name: &str| {
            self.response_header(name)?
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|number| *number > 0.0)
        };
        let seconds = number("retry-after-ms")
            .map(|milliseconds| milliseconds / 1000.0)
            .or_else(|| number("retry-after"))?;
        Duration::try_from_secs_f64(seconds.min(3600.0)).ok()
    }
}
