//! The gateway from outside: the built binary between real sockets, configured through its environment, as a user would run it.
//!
//! Nothing here knows how it is made. The rule: a test plays the client, the upstream and Respan itself, waits for what it expects to
//! see (never for time to pass), and fails with the name of the thing that did not come. One binary, so that it links once; each
//! module says what it watches over.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by failing"
)]

mod harness;

mod autogen;
mod breaks;
mod captured;
mod configuration;
mod crash;
mod delivery;
mod disk;
mod draining;
mod ending;
mod export_command;
mod health;
mod identity;
mod kept;
mod leaving;
mod limits;
mod load;
mod metrics;
mod odd_replies;
mod outcomes;
mod pieces;
mod readme;
mod refusals;
mod reload;
mod requests;
mod responses;
mod restarts;
mod reuse;
mod runs;
mod secrets;
mod streams;
mod tail;
mod tls;
mod unreachable;
mod upgrade;
mod viewer;
