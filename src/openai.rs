//! OpenAI's chat completions, out of the bytes that passed by.
//!
//! The rule: tolerant of everything. Every field may be missing, of the wrong type, repeated or new; a body may be cut, compressed, no JSON
//! at all. What can be read is kept, what cannot is unknown, and unknown is never zero. Nothing here fails or panics on any input.
//!
//! ```text
//!  request body ──► Skeleton (of long ones) ──► without_media ──► ChatRequest::parse ──► ChatRequest
//!
//!  reply bytes ──► encoding ──► sse ──► chunk (one JSON object) ──► assemble ────► ChatReply
//!                      └──────► a JSON body: one object, too ─────────┘
//!  └────────────────────────── ReplyReader ──────────────────────────┘
//! ```
//!
//! A chunk that differs from the one before in its text alone is not read as JSON again (`form`).
//!
//! Shapes are those of OpenAI's API description (`CreateChatCompletionRequest`, `CreateChatCompletionResponse`,
//! `CreateChatCompletionStreamResponse`) and what compatible servers make of them.

mod assemble;
mod body;
mod chunk;
mod form;
mod json;
mod media;
mod outline;
mod reader;
mod reply;
mod request;

pub(crate) use media::without_media;
pub use media::{Media, MediaSize, without_data_urls};
pub use reader::{Finished, ReplyReader};
pub use reply::{CallKind, ChatReply, Choice, Failure, FunctionCall, ToolCall, Usage};
pub(crate) use request::Skeleton;
pub use request::{ChatRequest, Content, ContentHash, Message, NotAnObject, Quoted};
