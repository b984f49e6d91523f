//! The one thread that reads what was copied: it assembles replies and gives every finished exchange, with its reply, to a [`Sink`].
//!
//! A defect here costs the content of one span: panics are caught for each exchange, and the sink is told of the exchange all the same.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::queue::{Capture, Event, Journal, Piece};
use crate::exchange::{
    Budget, CapturedBody, Exchange, ExchangeId, Outcome, ParsedReply, RequestMeta, Reservation,
    ResponseHead,
};
use crate::openai::{Finished, ReplyReader};

/// The worker's thread; ends when it is told that nothing more will come.
pub struct Worker {
    capture: Capture,
    thread: JoinHandle<()>,
}

/// What becomes of what was seen. Called by the worker alone.
pub trait Sink: Send + 'static {
    /// Called once, before anything is told.
    fn begin(&mut self);

    /// The request of a chat completion is whole: its meta, when it began in nanoseconds of [`crate::clock`], and its body.
    fn asked(&mut self, meta: Arc<RequestMeta>, started_ns: u64, body: CapturedBody);

    /// An exchange is over. They come in the order they ended.
    fn settled(&mut self, exchange: Exchange);

    /// All that was seen by now has been told. Gives when this should be called again, whatever happens.
    fn rest(&mut self) -> Option<Instant>;

    /// Nothing more will be told.
    fn close(&mut self);
}

#[cfg(test)]
impl<F: FnMut(Exchange) + Send + 'static> Sink for F {
    fn begin(&mut self) {}

    fn asked(&mut self, _: Arc<RequestMeta>, _: u64, _: CapturedBody) {}

    fn settled(&mut self, exchange: Exchange) {
        self(exchange);
    }

    fn rest(&mut self) -> Option<Instant> {
        None
    }

    fn close(&mut self) {}
}

/// Starts the thread.
///
/// # Errors
/// When the operating system gives no thread.
pub fn start(
    budget: Arc<Budget>,
    journal: Arc<dyn Journal>,
    mut sink: impl Sink,
) -> io::Result<(Capture, Worker)> {
    let capture = Capture::new(budget, journal);
    let queue = capture.clone();
    let thread = std::thread::Builder::new()
        .name("capture".to_owned())
        .spawn(move || {
            // Boxed, for each piece takes one out and puts it back.
            let mut open = HashMap::new();
            unharmed(|| sink.begin());
            let mut until = unharmed(|| sink.rest()).flatten();
            while let Some(events) = queue.take(until) {
                for event in events {
                    handle(event, &mut open, queue.budget(), &mut sink);
                }
                until = unharmed(|| sink.rest()).flatten();
            }
            unharmed(|| sink.close());
        })?;
    Ok((capture.clone(), Worker { capture, thread }))
}

impl Worker {
    /// Waits until everything that was observed has reached the sink. Call it when all observers are gone.
    pub fn finish(self) {
        self.capture.close();
        if self.thread.join().is_err() {
            tracing::error!("the capture thread ended by a panic; spans were lost");
        }
    }
}

fn handle(
    event: Event,
    open: &mut HashMap<ExchangeId, Box<Assembly>>,
    budget: &Arc<Budget>,
    sink: &mut impl Sink,
) {
    match event {
        Event::Piece {
            meta,
            answer,
            saw_token,
            piece,
        } => {
            let id = meta.id;
            let mut assembly = open
                .remove(&id)
                .unwrap_or_else(|| Box::new(Assembly::new(&meta, &answer, Arc::clone(budget))));
            if let Some(assembly) = unharmed(move || {
                assembly.take(&piece);
                assembly
            }) {
                if assembly.first_token.is_some() {
                    saw_token.store(true, Ordering::Relaxed);
                }
                open.insert(id, assembly);
            }
        }
        Event::Asked {
            meta,
            started_ns,
            request,
        } => {
            unharmed(|| sink.asked(meta, started_ns, request));
        }
        Event::Looked => {}
        Event::Settled {
            mut exchange,
            last,
            facts,
            secrets,
        } => {
            let meta = Arc::clone(&exchange.meta);
            let assembly = open.remove(&meta.id);
            exchange.reply = exchange.response.as_ref().and_then(|answer| {
                unharmed(move || {
                    let mut assembly = assembly.map_or_else(
                        || Assembly::new(&meta, answer, Arc::clone(budget)),
                        |assembly| *assembly,
                    );
                    assembly.take(&last);
                    assembly.finish()
                })
            });
            if unharmed(|| exchange.hide(&secrets)).is_none() {
                // Each of these may hold what was to be hidden.
                exchange.reply = None;
                exchange.response = None;
                exchange.outcome =
                    Outcome::Broke("what the upstream answered is not shown".to_owned());
            }
            exchange.request.leave_budget();
            unharmed(|| sink.settled(*exchange));
            drop(facts);
        }
    }
}

/// What `work` gives, or nothing when it panics: what it worked on is gone with it.
pub(crate) fn unharmed<T>(work: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(work));
    if result.is_err() {
        tracing::error!(
            "reply a copy panicked; its span lacks content. Please report this with the panic's message"
        );
    }
    result.ok()
}

/// A reply on its way to be whole.
struct Assembly {
    reader: ReplyReader,
    first_token: Option<Duration>,
    cut: bool,
    /// For what the reader keeps.
    reserved: Reservation,
}

impl Assembly {
    fn new(meta: &RequestMeta, answer: &ResponseHead, budget: Arc<Budget>) -> Self {
        let reader = ReplyReader::with_media(
            answer.content_type.as_deref(),
            answer.content_encoding.as_deref(),
            meta.max_body,
            meta.media,
        );
        Assembly {
            reader,
            first_token: None,
            cut: false,
            reserved: Reservation::new(budget),
        }
    }

    fn take(&mut self, piece: &Piece) {
        // What follows a gap means nothing.
        if self.cut {
            return;
        }
        let bytes = piece.bytes.bytes();
        let mut done = 0;
        // Frame by frame only until the first token was seen: after that nobody asks when a frame came.
        for &(end, at) in &piece.marks {
            if self.first_token.is_some() {
                break;
            }
            self.reader.push(&bytes[done..end]);
            done = end;
            if self.reader.saw_token() {
                self.first_token = Some(at);
            }
        }
        self.reader.push(&bytes[done..]);
        self.cut = piece.bytes.is_cut() || !self.reserved.grow(self.reader.held());
    }

    fn finish(self) -> ParsedReply {
        let Finished { mut reply, ended } = self.reader.finish();
        reply.cut |= self.cut;
        ParsedReply {
            chat: reply,
            ended,
            first_token: self.first_token,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
