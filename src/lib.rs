//! spangate stands between an AutoGen program and OpenAI, forwards every byte unchanged, and derives from the traffic the spans that
//! Respan shows.
//!
//! Four promises, and their order settles arguments: **transparent** (the client gets the upstream's bytes, as they arrive), **safe**
//! (nothing that tracing does can fail, delay or cut a request), **complete** (every exchange becomes a span that reaches Respan; losses are
//! counted), **fast** (the gateway costs little more than a plain proxy).
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
//!                                  capture: copies within a budget, a queue per worker
//!                                                 │ Exchange; openai and sse read the bytes
//!                                                 ▼
//!                                  pipeline ──► runs: exchanges become runs, turns of agents, tools
//!                                                 │ records: started, ended, span
//!                                                 ▼
//!                                  store: a log in segments on the disk ──► traces ──► admin (people)
//!                                                 │ spans not yet accepted
//!                                                 ▼
//!                                  export: batch, encode, post, retry ──► Respan
//! ```
//!
//! Left to right, never back: the proxy knows nothing of runs, runs know nothing of HTTP, export knows nothing of OpenAI.
//!
//! # Modules
//!
//! From the ground floor up. A module uses only modules that stand before it, and files beside each other use each other one way; tests
//! check both (`layers`).
//!
//! | module | one sentence |
//! |---|---|
//! | `background` | threads that nobody waits for, at a lower priority than those that relay |
//! | `json_escape`, `media_type`, `bearer`, `clock` | letters that JSON escapes, names of formats, bearer tokens, and a time that setting the wall's clock never turns back |
//! | `id` | ids of exchanges, traces and spans |
//! | `encoding`, `sse`, `openai` | bytes become requests and replies; every input is tolerated |
//! | [`config`] | file, environment and options become a `Config`; a `Config` in hand is valid |
//! | `redact` | keys are taken out of texts that others wrote |
//! | [`cli`], [`logging`] | arguments become one command; log lines go to stderr |
//! | `identity` | headers say who is asking: customer, thread, run, agent |
//! | `exchange` | the domain model: a request, its reply, how both ended, and copies of their bodies within a budget |
//! | `span`, `tree` | the model of a span, Respan's names for its attributes, and who sets them; spans as a tree of text |
//! | `runs` | exchanges become runs, turns of agents and tool calls |
//! | `tap` | a body forwards its frames and tells an observer of each, and once of the end |
//! | `upstream` | connections to the upstream: TLS, pool, timeouts |
//! | `capture` | the observers: bytes within limits, times, outcome; they make the `Exchange` |
//! | `store` | the log: exchanges under way, spans not yet accepted, and the account of them |
//! | `metrics` | counters, gauges and histograms |
//! | `export` | spans become posts, and posts become accepted |
//! | `traces` | stored and live traces as lists and trees; made only while somebody looks |
//! | `pipeline` | the heart: exchange, runs, store, metrics, in this order |
//! | `server`, `health` | connections are accepted, limited and drained; whether there is service |
//! | `proxy` | the order of one request; the only place that knows all of it |
//! | `admin` | the port that shows metrics, health and traces |
//! | [`gateway`] | all parts put together, and their orderly end |
//! | [`check`], [`demo`] | what a configuration amounts to; a first look at all of it |
//! | [`tail`], [`replay`] | traces of a running gateway on a terminal; sending spans that would not leave by themselves |
//! | [`export_command`] | traces of a store as lines of JSON, read beside a gateway or without one |
//!
//! `encoding`, `sse`, `openai`, `runs`, `span` and `export::otlp` are plain functions of bytes and times: no sockets, tasks or clocks inside.
//!
//! # Where to look
//!
//! | for | file |
//! |---|---|
//! | the way of an exchange from capture to the log | `pipeline.rs` |
//! | the format of a record in the log | `store/record.rs` |
//! | which records go when the store is full or old | `store/log/retention.rs` |
//! | retries of a post, and the search for a bad span in it | `export/delivery.rs` |
//! | which run, agent and tool call an exchange belongs to | `runs/attribution.rs` |
//! | snapshots of runs that go on, for the viewer | `pipeline/live.rs` |
//! | the scan for letters that JSON escapes | `json_escape.rs` |
//! | how a request's path is rewritten | `proxy/target.rs` |
//! | Respan's attribute names | `span/key.rs` |
//! | promises of every reader of strangers' bytes | `tests/fuzz/main.rs` |
//!
//! # Glossary
//!
//! | term | meaning |
//! |---|---|
//! | exchange | one request and its reply, whole or not: `Exchange` |
//! | `RequestMeta` | the part of an exchange that is known before the request's body: id, endpoint, times, identity |
//! | `ResponseHead` | status and header facts of a reply |
//! | `Outcome` | how an exchange ended: complete, the client left, the upstream broke, ... |
//! | `ParsedReply` | a reply as it was read while it passed by |
//! | `CapturedBody` | the copy of a body, cut to `capture.max_body` |
//! | budget | the bytes that all copies may take; beyond it content is left out, then whole exchanges, counted |
//! | tap, observer | a body that forwards frames; the value that it tells of each frame and, exactly once, of the end |
//! | identity | who is asking, as headers and configuration say |
//! | explicit | given in a header, where its opposite is inferred from the traffic |
//! | conversation | all that is known of the calls of one `ConversationKey`: a credential and a thread |
//! | attribution | the decision to which run, agent and tool call an exchange belongs, and its evidence |
//! | run | the calls of a team or agent for one task; it closes after `runs.idle` or when the next run begins |
//! | turn | the calls of one agent between two others' |
//! | attempt | one of several exchanges by which an SDK tries the same call |
//! | learned name | an agent's name, known by the hash of its system message |
//! | placement | trace, parent and start of a span |
//! | `FinishedSpan` | a span that will not change any more |
//! | live snapshot | a run as far as it has come, for the viewer |
//! | log, record | the files of the store; one entry in them, readable by itself and guarded by a checksum |
//! | segment | a file of the log: written to its end, sealed, read, and deleted whole |
//! | `RecordIndex` | in memory, which records still matter and where they are; rebuilt from the files |
//! | ack | to record that a span was accepted, refused or dropped, so that it is not sent again |
//! | finished | of an exchange: its run is closed and all its spans are in the log |
//! | quarantine | the place of a span that Respan refused for good, until it is replayed |
//! | replay | to send again a span that would not leave by itself |
//! | evict | to give up the oldest records for room, counted |
//! | shed | to refuse a request because a limit is reached |
//! | drain | to take nothing new and end what is under way, until a deadline |
//! | redact | to take keys out of a text |

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "who reads the docs works on the crate: they are built with private items"
)]

mod admin;
mod background;
mod bearer;
mod capture;
pub mod check;
pub mod cli;
mod clock;
pub mod config;
pub mod demo;
mod encoding;
mod exchange;
mod export;
pub mod export_command;
pub mod gateway;
mod health;
mod id;
mod identity;
mod json_escape;
#[cfg(test)]
mod layers;
pub mod logging;
mod media_type;
mod metrics;
mod openai;
mod pipeline;
mod proxy;
mod redact;
pub mod replay;
mod runs;
mod server;
mod span;
mod sse;
mod store;
pub mod tail;
mod tap;
mod traces;
mod tree;
mod upstream;

/// Insides for the benchmarks and the fuzz targets. Nobody else depends on them.
#[doc(hidden)]
pub mod internals {
    pub mod capture {
        pub use crate::capture::{Capture, CaptureSettings, ExchangeSink};
    }
    pub mod encoding {
        pub use crate::encoding::{DecodeStop, Decoder};
    }
    pub mod exchange {
        pub use crate::exchange::{
            Budget, CapturedBody, Exchange, ExchangeId, Outcome, ParsedReply, RequestMeta,
            ResponseHead,
        };
    }
    pub mod export {
        pub use crate::export::OtlpEncoding;
    }
    pub mod identity {
        pub use crate::identity::{
            Customer, Identity, IdentityDefaults, LogMode, is_consumed, read,
        };
    }
    pub mod openai {
        pub use crate::openai::{
            ChatReply, ChatRequest, Choice, Content, Media, ReplyReader, Usage,
        };
    }
    pub mod proxy {
        pub use crate::proxy::target;
    }
    pub mod runs {
        pub use crate::runs::{FinishedSpan, RunUpdate, Runs, Settings};
    }
    pub mod span {
        pub use crate::span::{
            Placement, Span, SpanId, Status, TraceId, chat, exchange, operation,
        };
    }
    pub mod sse {
        pub use crate::sse::{SseFrame, SseFramer};
    }
    pub mod store {
        pub use crate::store::{DropReason, Replay, Settings, Settled, SpanSummary, Store};
        pub mod record {
            pub use crate::store::record::{
                Damaged, HEAD, RecordBody, RecordKind, RecordScan, append,
            };
        }
    }
    pub mod traces {
        pub use crate::traces::{SpanFormat, SpanQuery, TraceFilter, TraceQuery, Traces};
    }
}
