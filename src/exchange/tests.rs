//! The meta that tests of exchanges begin with.

use http::Method;

use super::{ExchangeId, RequestMeta};
use crate::identity::Identity;
use crate::openai::Media;

/// Of a call of the model at this path, of which everything is kept.
pub(crate) fn meta(path: &str) -> RequestMeta {
    RequestMeta {
        id: ExchangeId::new(),
        identity: Identity::default(),
        method: Method::POST,
        path: path.to_owned(),
        retry: None,
        content_encoding: None,
        chat: true,
        content: true,
        entity_content: false,
        may_be_agent: true,
        media: Media::Size,
        max_body: 1 << 20,
        system: "openai",
        wall_offset_ns: 0,
    }
}
