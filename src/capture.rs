//! The observers of an exchange: bytes within limits, times, outcome. What they saw becomes an [`Exchange`](crate::exchange::Exchange), exactly once.
//!
//! Observers live on the client's path, so they only copy. All else happens on one thread behind a queue ([`worker`]): copies go there in pieces,
//! and the thread is woken once for many. Every byte that is held counts against one [`Budget`](crate::exchange::Budget); beyond it content is left out of spans, visibly,
//! and an exchange that begins when there is not even room for its facts is not watched, and counted as lost. What a long body asks is read
//! once, by whoever wants to know first, and stays with it; media has gone from it by then.

mod asking;
mod observers;
mod queue;
pub mod worker;

pub use observers::{Answered, Asked, kept_header};
pub use queue::{Begun, Capture, Journal};
