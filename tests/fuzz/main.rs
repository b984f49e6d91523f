//! Feeds the readers of strangers' bytes with inputs made from a kept corpus. None may panic, and the promises of each hold for every input.
//!
//! A target is a function of bytes that fails where a promise is broken. Its seeds are the files of `corpus/TARGET/`; [`engine`] reads them as
//! they are, then makes others of them. `cargo test --test fuzz` takes some seconds. `SPANGATE_FUZZ_SECONDS=60` goes on for that long with
//! each target, from another beginning each time. An input that fails is made smaller and written to `target/fuzz/TARGET/`; a copy of it in
//! the corpus is a test from then on.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by failing"
)]

mod engine;
mod members;
mod mutation;

mod decoders;
mod identity;
mod json;
mod records;
mod replies;
mod requests;
mod sse;
mod targets;
