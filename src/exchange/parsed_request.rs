//! What a body asks, read once for everybody who wants to know: grouping is first, and the exporter next, on another thread.
//!
//! A short body is read anew each time; that is cheaper than to keep what was read.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use self_cell::self_cell;

use crate::openai::{ChatRequest, NotAnObject};

/// Shortest body, in bytes, of which it is kept what was read.
pub(super) const LONG: usize = 16 << 10;

/// CapturedBody is what takes no more memory than this part of the body: not what was read of a million empty messages.
const SHARE: usize = 2;

self_cell!(
    /// A request, and the body that it borrows from.
    struct Read {
        owner: Bytes,
        #[covariant]
        dependent: ChatRequest,
    }

    impl { Debug }
);

/// What a body asks, as soon as it was read; none where it is not kept. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct ParsedRequestCache(Option<Arc<OnceLock<Option<Read>>>>);

impl ParsedRequestCache {
    /// Of a body that is read anew each time.
    pub(super) const NOT_KEPT: ParsedRequestCache = ParsedRequestCache(None);

    /// Of this body, which nobody has read yet.
    pub(super) fn of(body: &Bytes) -> Self {
        ParsedRequestCache((body.len() >= LONG).then(Arc::default))
    }

    /// Whether what is read is kept.
    pub(super) fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Calls `see` with what `body` asks; with none where it is not the beginning of a JSON object.
    pub(super) fn answer<T>(
        &self,
        body: &Bytes,
        see: impl FnOnce(Option<&ChatRequest<'_>>) -> T,
    ) -> T {
        let Some(question) = &self.0 else {
            return see(ChatRequest::parse(body).ok().as_ref());
        };
        let mut not_kept = None;
        let kept = question.get_or_init(|| {
            let read = read(body)?;
            if read.borrow_dependent().weight() <= body.len() / SHARE {
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

    /// Whether what was read was kept.
    #[cfg(test)]
    pub(super) fn was_kept(&self) -> bool {
        let read = self.0.as_ref().and_then(|read| read.get());
        read.is_some_and(Option::is_some)
    }

    /// Most bytes that it may come to take.
    pub(super) fn weight(&self, body: &Bytes) -> usize {
        self.0.as_ref().map_or(0, |_| body.len() / SHARE)
    }
}

fn read(body: &Bytes) -> Option<Read> {
    Read::try_new(body.clone(), |body| {
        let mut request = ChatRequest::parse(body)?;
        request.messages.shrink_to_fit();
        Ok::<_, NotAnObject>(request)
    })
    .ok()
}
