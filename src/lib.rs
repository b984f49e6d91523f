//! spangate stands between an AutoGen program and OpenAI, forwards every byte unchanged, and derives from the traffic the spans that
//! Respan shows.
//!
//! Four promises, and their order settles arguments: **transparent** (the client gets the upstream's bytes, as they arrive), **safe**
//! (nothing that tracing does can fail, delay or cut a request), **complete** (every exchange becomes a span that reaches Respan, what is lost is counted),
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
//!                                      ┊          │ openai, sse: bytes become requests and replies
//!                                 began┊          ▼
//!                                      ┊        runs: calls become runs, turns of agents, tools
//!                                      ┊          │ ended, span
//!                                      ▼          ▼
//!                                    store (disk: exchanges under way, spans not yet accepted) ──► traces ──► admin (people)
//!                                                 │
//!                                                 ▼
//!                                               export: batch, encode, post, retry ──► Respan
//! ```
//!
//! Left to right, never back: the proxy knows nothing of runs, runs know nothing of HTTP, export knows nothing of OpenAI.
//!
//! The table goes from the ground floor up. A module uses only modules that stand before it, which a test checks (`layers`).
//!
//! | module | one sentence |
//! |---|---|
//! | `special`, `media_type`, `bearer`, [`clock`] | letters that JSON escapes, names of formats, bearer tokens, a time that no setting of the wall's clock turns back |
//! | `id` | ids of exchanges, traces and spans |
//! | [`encoding`], [`sse`], [`openai`] | bytes become requests and replies; tolerant of everything |
//! | [`config`] | what was written becomes what is meant; a `Config` in hand is valid |
//! | [`redact`] | keys are taken out of what others wrote |
//! | [`cli`], [`logging`] | words on the command line become one call; what happens is said on stderr |
//! | [`identity`] | headers become who is asking: customer, thread, run, agent |
//! | [`exchange`] | the domain model: one request, its reply, how both ended, and copies of their bodies within a budget |
//! | [`span`], `tree` | the model of a span, Respan's names for its attributes, and who sets them; spans as a tree of text |
//! | [`runs`] | exchanges become runs, turns of agents and tool calls, from what they show |
//! | [`tap`] | forwards frames, tells an observer what it saw and, once, how it ended |
//! | [`upstream`] | where requests go: TLS, pool, and what a silence is |
//! | [`capture`] | the observers: bytes within limits, times, outcome; makes the `Exchange` |
//! | [`store`] | what must not be lost: exchanges under way, spans not yet accepted, and the account of them |
//! | [`metrics`] | what is counted |
//! | [`export`] | spans become posts, and posts become accepted |
//! | [`traces`] | what the store holds and what goes on, as lists and trees for people; made only while somebody looks |
//! | [`pipeline`] | the heart: exchange, runs, store, metrics, in this order |
//! | [`server`], `health` | accepts, limits, drains; whether there is service |
//! | [`proxy`] | the order of one request; the only place that knows all of it |
//! | [`admin`] | the port that shows metrics, health and traces |
//! | [`gateway`] | the whole, put together, and its orderly end |
//! | [`check`], [`demo`] | what a configuration amounts to; a first look at all of it |
//! | [`tail`], [`replay`] | traces of a running gateway, as trees on a terminal; and its spans that leave only when somebody asks for it |
//!
//! `encoding`, `sse`, `openai`, `runs`, `span` and `export::otlp` are plain functions of bytes and times: no sockets, tasks or clocks inside.

pub mod admin;
mod bearer;
pub mod capture;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod encoding;
pub mod exchange;
pub mod export;
pub mod gateway;
mod health;
mod id;
pub mod identity;
#[cfg(test)]
mod layers;
pub mod logging;
mod media_type;
pub mod metrics;
pub mod openai;
pub mod pipeline;
pub mod proxy;
pub mod redact;
pub mod replay;
pub mod runs;
pub mod server;
pub mod span;
mod special;
pub mod sse;
pub mod store;
pub mod tail;
pub mod tap;
pub mod traces;
mod tree;
pub mod upstream;
