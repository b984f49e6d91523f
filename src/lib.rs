//! spangate stands between an AutoGen program and OpenAI, forwards every byte unchanged, and derives from the traffic the spans that
//! Respan shows.
//!
//! Four promises, and their order settles arguments: **transparent** (the client gets the upstream's bytes, as they arrive), **safe**
//! (nothing that tracing does can fail, delay or cut a request), **complete** (every exchange becomes a span, what is lost is counted),
//! **fast** (the cost of being there is close to that of a plain proxy).
//!
//! ```text
//!  AutoGen                                                                                    OpenAI
//!     │ request                                                                                  ▲
//!     ▼                                                                                          │
//!  server ──► proxy ──► identity (headers) ──► tap(request) ──► upstream ────────────────────────┘
//!     ▲                                           ┊                 │ response, frame by frame
//!     └────────────────────────── tap(response) ◄─┊─────────────────┘
//!                                      ┊          ┊       copies; may be lost, never waited for
//!  ═════════════════ the client's time ╪══════════╪═════════ ours ═══════════════════════════════
//!                                      ▼          ▼
//!                                  capture ──► Exchange (what was asked, what came back, when, how it ended)
//!                                                 │ openai, sse: bytes become requests and replies
//!                                                 ▼
//!                                               span ──► store (what is not yet accepted)
//!                                                           │
//!                                                           ▼
//!                                         export: batch, encode, post, retry ──► Respan
//! ```

pub mod admin;
mod bearer;
pub mod capture;
pub mod check;
pub mod cli;
pub mod config;
pub mod demo;
pub mod encoding;
pub mod export;
pub mod gateway;
mod health;
pub mod identity;
pub mod logging;
pub mod metrics;
pub mod openai;
pub mod proxy;
pub mod redact;
pub mod runs;
pub mod server;
pub mod span;
pub mod sse;
pub mod store;
pub mod tap;
pub mod upstream;
