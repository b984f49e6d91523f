//! What watches a request and its response for the proxy: the copies go to capture, and what is counted or held for a request in flight is
//! kept here until its end, whichever that is.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{Response, StatusCode, header};

use super::refusal::Refusal;
use super::upload::UploadError;
use crate::capture::{Answered, Asked};
use crate::media_type;
use crate::metrics::{Counted, Endpoint, Metrics};
use crate::tap::{End, Observer};
use crate::upstream::{Broken, CallError, Pulse};

/// Counts a request when it is answered, or when its client left before that.
pub(super) struct Count<'m> {
    pub(super) metrics: &'m Metrics,
    pub(super) endpoint: Endpoint,
    pub(super) status: Option<StatusCode>,
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        match self.status {
            Some(status) => self.metrics.answered(self.endpoint, status),
            None => self.metrics.left(self.endpoint),
        }
    }
}

/// Watches a request's body: copies it, shows that it moves, and tells when it was at fault.
pub struct Going {
    pub(super) asked: Asked,
    pub(super) pulse: Pulse,
    pub(super) fault: Fault,
}

/// What was wrong with a request's body, if anything: an upstream call that fails on it is not the upstream's failure.
#[derive(Clone, Debug, Default)]
pub(super) struct Fault(Arc<OnceLock<Blame>>);

#[derive(Clone, Copy, Debug)]
pub(super) enum Blame {
    /// It is longer than the limit.
    Length,
    /// The client broke it off, or what it sent is no body.
    Client,
}

impl Fault {
    fn tell(&self, error: &UploadError) {
        let blame = match error {
            UploadError::TooLarge => Blame::Length,
            UploadError::Client(_) | UploadError::Withdrawn => Blame::Client,
        };
        self.0.get_or_init(|| blame);
    }

    pub(super) fn told(&self) -> Option<Blame> {
        self.0.get().copied()
    }
}

impl Observer<UploadError> for Going {
    fn data(&mut self, data: &Bytes) {
        self.pulse.beat();
        self.asked.data(data);
    }

    fn end(self, end: End<'_, UploadError>) {
        match end {
            End::Complete => self.asked.complete(),
            End::Failed(error) => self.fault.tell(error),
            End::Abandoned => {}
        }
    }
}

/// Watches a response, from before it exists until its body has ended, and keeps what is held for a request in flight.
pub struct Coming {
    answered: Option<Answered>,
    stream: Option<Counted>,
    _admission: Counted,
}

impl Coming {
    pub(super) fn new(answered: Answered, admission: Counted) -> Self {
        Coming {
            answered: Some(answered),
            stream: None,
            _admission: admission,
        }
    }

    pub(super) fn head<B>(&mut self, metrics: &Arc<Metrics>, response: &Response<B>) {
        let streams = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| media_type::is(kind, media_type::EVENT_STREAM));
        self.stream = streams.then(|| metrics.stream_opens());
        if let Some(answered) = &mut self.answered {
            answered.head(response.status(), response.headers());
        }
    }

    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        if let Some(answered) = self.answered.take() {
            answered.refused(refusal.status(), refusal.to_string());
        }
    }

    /// There will be no answer. It is told once this is dropped.
    pub(super) fn fail(&mut self, error: &CallError) {
        if let Some(answered) = &mut self.answered {
            answered.failed(error);
        }
    }

    /// Whether the span would keep more of the request than has come.
    pub(super) fn wants_request(&self) -> bool {
        let answered = self.answered.as_ref();
        answered.is_some_and(Answered::wants_request)
    }
}

impl Observer<Broken> for Coming {
    fn data(&mut self, data: &Bytes) {
        if let Some(answered) = &mut self.answered {
            answered.data(data);
        }
    }

    fn end(mut self, end: End<'_, Broken>) {
        if let Some(answered) = self.answered.take() {
            answered.end(end);
        }
    }
}
