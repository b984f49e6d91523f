//! OpenAI's chat completions: bytes of requests and replies become [`ChatRequest`] and [`ChatReply`].
//!
//! The readers are tolerant of everything. Every member may be missing, of the wrong type, repeated or new; a body may be cut, compressed or not
//! JSON at all. A member that cannot be read is unknown, and unknown is never zero. No input makes a reader fail or panic.
//!
//! ```text
//!  request body ──► truncate (a long one) ──► without_media ──► ChatRequest::parse ──► ChatRequest
//!
//!  reply bytes ──► encoding ──► sse ──► chunk (one JSON object) ──► assemble ────► ChatReply
//!                      └──────► a JSON body: one object, too ─────────┘
//!  └────────────────────────── ReplyReader ──────────────────────────┘
//! ```
//!
//! A chunk that differs from the one before in its text alone is not read as JSON again (`chunk::template`).
//!
//! Shapes are those of OpenAI's API description (`CreateChatCompletionRequest`, `CreateChatCompletionResponse`,
//! `CreateChatCompletionStreamResponse`) and what compatible servers make of them.

mod assemble;
mod chunk;
mod content_hash;
mod json;
mod long_text;
mod media;
mod reader;
mod reply;
mod request;

pub(crate) use content_hash::ContentHash;
pub use media::Media;
pub(crate) use media::without_media;
pub(crate) use reader::FinishedReply;
pub use reader::ReplyReader;
#[cfg(test)]
pub(crate) use reply::{CallKind, FunctionCall};
pub use reply::{ChatReply, Choice, Usage};
pub(crate) use reply::{ReplyError, ToolCall};
pub(crate) use request::JsonTruncator;
pub use request::{ChatRequest, Content};
pub(crate) use request::{JsonString, Message, NotAnObject};
