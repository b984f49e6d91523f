//! A request is parsed once for all its readers: grouping is first, and the exporter next, on another thread.
//!
//! A short body is read anew each time; that is cheaper than to keep the parsed request.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use self_cell::self_cell;

use crate::openai::{ChatRequest, NotAnObject};

/// Shortest body, in bytes, whose parsed request is kept.
pub(super) const LONG: usize = 16 << 10;

/// A parsed request is kept where it takes at most this part of the body's memory: a million empty messages would take more than the body.
const SHARE: usize = 2;

self_cell!(
    /// A request, and the body that it borrows from.
    struct ParsedRequest {
        owner: Bytes,
        #[covariant]
        dependent: ChatRequest,
    }

    impl { Debug }
);

/// The parsed request of a body, once it was parsed; none where it is not kept. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct ParsedRequestCache(Option<Arc<OnceLock<Option<ParsedRequest>>>>);

impl ParsedRequestCache {
    /// Of a body that is read anew each time.
    pub(super) const NOT_KEPT: ParsedRequestCache = ParsedRequestCache(None);

    /// Of this body, which nobody has read yet.
    pub(super) fn of(body: &Bytes) -> Self {
        ParsedRequestCache((body.len() >= LONG).then(Arc::default))
    }

    /// Whether the parsed request is kept.
    pub(super) fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Calls `see` with the parsed request; with none where it is not the beginning of a JSON object.
    pub(super) fn with_request<T>(
        &self,
        body: &Bytes,
        see: impl FnOnce(Option<&ChatRequest<'_>>) -> T,
    ) -> T {
        let Some(parsed) = &self.0 else {
            return see(ChatRequest::parse(body).ok().as_ref());
        };
        let mut not_kept = None;
        let kept = parsed.get_or_init(|| {
            let read = read(body)?;
            if read.borrow_dependent().size_estimate() <= body.len() / SHARE {
                return Some(read);
            }
            not_kept = Some(read);
            None
        });
        match kept.as_ref().or(not_kept.as_ref()) {
            Some(read) => see(Some(read.borrow_dependent())),
            None => see(ChatRequest::parse(body).ok().as_ref()),
        }
    }

    /// Whether a parsed request was kept.
    #[cfg(test)]
    pub(super) fn was_kept(&self) -> bool {
        let read = self.0.as_ref().and_then(|read| read.get());
        read.is_some_and(Option::is_some)
    }

    /// Most bytes that it may come to take.
    pub(super) fn size_estimate(&self, body: &Bytes) -> usize {
        self.0.as_ref().map_or(0, |_| body.len() / SHARE)
    }
}

fn read(body: &Bytes) -> Option<ParsedRequest> {
    ParsedRequest::try_new(body.clone(), |body| {
        let mut request = ChatRequest::parse(body)?;
        request.messages.shrink_to_fit();
        Ok::<_, NotAnObject>(request)
    })
    .ok()
}
