//! The facts of an exchange that are known when it begins.

use http::Method;

use crate::id::ExchangeId;
use crate::identity::Identity;
use crate::openai::Media;

/// The facts of an exchange that are known when it begins, and how much of it goes into its span.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that do not depend on each other"
)]
#[derive(Debug)]
pub struct RequestMeta {
    /// Ordered by time.
    pub id: ExchangeId,
    /// Who asks.
    pub identity: Identity,
    /// As the client sent it.
    pub method: Method,
    /// The request's path, without its query: queries may hold keys.
    pub path: String,
    /// `x-stainless-retry-count`: which attempt of an SDK this is, 0 for the first.
    pub retry: Option<u32>,
    /// The request's `content-encoding`.
    pub content_encoding: Option<String>,
    /// Copy the bodies: they are read for the span.
    pub chat: bool,
    /// The bodies' content goes into the span, not only facts such as model and usage.
    pub content: bool,
    /// The content goes into the span a second time, as `traceloop.entity.input` and `.output`.
    pub entity_content: bool,
    /// The client is one that agents have, by its `user-agent`.
    pub may_be_agent: bool,
    /// How spans show images, audio and other media.
    pub media: Media,
    /// Most bytes kept of each body.
    pub max_body: usize,
    /// `gen_ai.system` of the upstream.
    pub system: &'static str,
    /// Nanoseconds to add to times of [`crate::clock`] for the wall's time, as it was when the exchange began. Capture sets it.
    pub wall_offset_ns: i64,
}

impl RequestMeta {
    /// About how many bytes it takes beyond its own size, in texts whose length clients choose.
    pub fn size_estimate(&self) -> usize {
        let coding = self.content_encoding.as_ref().map_or(0, String::len);
        self.path.len() + coding + self.identity.size_estimate()
    }
}
