//! The taps of a request and its response: each passes copies to capture, and keeps what is counted or held until its body has ended.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{Response, StatusCode, header};

use super::refusal::Refusal;
use super::upload::UploadError;
use crate::capture::{RequestObserver, ResponseObserver};
use crate::media_type;
use crate::metrics::{Endpoint, GaugeGuard, Metrics};
use crate::tap::{BodyEnd, BodyObserver};
use crate::upstream::{Activity, CallError, ResponseBodyError};

/// Counts a request when it is answered, or when its client leaves before that.
pub(super) struct RequestCount<'m> {
    pub(super) metrics: &'m Metrics,
    pub(super) endpoint: Endpoint,
    pub(super) status: Option<StatusCode>,
}

impl Drop for RequestCount<'_> {
    fn drop(&mut self) {
        match self.status {
            Some(status) => self.metrics.answered(self.endpoint, status),
            None => self.metrics.left(self.endpoint),
        }
    }
}

/// Observes a request's body: copies it, notes its activity for the idle timeout, and notes its fault.
pub(crate) struct RequestTap {
    pub(super) observer: RequestObserver,
    pub(super) activity: Activity,
    pub(super) fault: UploadFault,
}

/// The fault of a request's body, if any: an upstream call that fails on it is not the upstream's failure.
#[derive(Clone, Debug, Default)]
pub(super) struct UploadFault(Arc<OnceLock<UploadFaultKind>>);

#[derive(Clone, Copy, Debug)]
pub(super) enum UploadFaultKind {
    /// The body is longer than the limit.
    TooLarge,
    /// The client broke off, or framed the body badly.
    Client,
}

impl UploadFault {
    fn set(&self, error: &UploadError) {
        let kind = match error {
            UploadError::TooLarge => UploadFaultKind::TooLarge,
            UploadError::Client(_) | UploadError::Reset => UploadFaultKind::Client,
        };
        self.0.get_or_init(|| kind);
    }

    pub(super) fn get(&self) -> Option<UploadFaultKind> {
        self.0.get().copied()
    }
}

impl BodyObserver<UploadError> for RequestTap {
    fn data(&mut self, data: &Bytes) {
        self.activity.touch();
        self.observer.data(data);
    }

    fn end(self, end: BodyEnd<'_, UploadError>) {
        match end {
            BodyEnd::Complete => self.observer.complete(),
            BodyEnd::Failed(error) => self.fault.set(error),
            BodyEnd::Abandoned => {}
        }
    }
}

/// Observes a response, from before it exists until its body has ended, and holds the request's admission as long.
pub(crate) struct ResponseTap {
    observer: Option<ResponseObserver>,
    open_stream: Option<GaugeGuard>,
    _admission: GaugeGuard,
}

impl ResponseTap {
    pub(super) fn new(observer: ResponseObserver, admission: GaugeGuard) -> Self {
        ResponseTap {
            observer: Some(observer),
            open_stream: None,
            _admission: admission,
        }
    }

    pub(super) fn head<B>(&mut self, metrics: &Arc<Metrics>, response: &Response<B>) {
        let is_stream = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| media_type::is(value, media_type::EVENT_STREAM));
        self.open_stream = is_stream.then(|| metrics.stream_opens());
        if let Some(observer) = &mut self.observer {
            observer.head(response.status(), response.headers());
        }
    }

    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        if let Some(observer) = self.observer.take() {
            observer.refused(refusal.status(), refusal.to_string());
        }
    }

    /// The call failed. The observer reports it once this tap is dropped.
    pub(super) fn fail(&mut self, error: &CallError) {
        if let Some(observer) = &mut self.observer {
            observer.failed(error);
        }
    }

    /// Whether the span would keep more of the request than has come.
    pub(super) fn wants_request(&self) -> bool {
        let observer = self.observer.as_ref();
        observer.is_some_and(ResponseObserver::wants_request)
    }
}

impl BodyObserver<ResponseBodyError> for ResponseTap {
    fn data(&mut self, data: &Bytes) {
        if let Some(observer) = &mut self.observer {
            observer.data(data);
        }
    }

    fn end(mut self, end: BodyEnd<'_, ResponseBodyError>) {
        if let Some(observer) = self.observer.take() {
            observer.end(end);
        }
    }
}
