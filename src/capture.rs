//! The observers of an exchange: bytes within limits, times, outcome. What they saw becomes an [`Exchange`], exactly once.
//!
//! Observers live on the client's path, so they only copy. All else happens on one thread behind a queue ([`worker`]): copies go there in pieces,
//! and the thread is woken once for many. Every copied byte counts against one [`Budget`]; beyond it content is left out of spans, visibly, but
//! the exchange itself is always told. What a long body asks is read once, by whoever wants to know first, and stays with it (`question`).

mod asking;
mod budget;
mod exchange;
mod observers;
mod question;
mod queue;
pub mod worker;

pub use budget::{Budget, Kept};
pub use exchange::{Answer, CallKey, Ending, Exchange, ExchangeId, Opening, Reading, Retrying};
pub use observers::{Answered, Asked, kept_header};
pub use queue::{Begun, Capture, Journal};
