//! `spangate tail`: traces of a running gateway, printed as trees when they are complete, or while they grow.
//!
//! The events of the admin API name the trace that grew; its spans are read when it is printed. Events may be missed while the gateway is
//! away, or when it says so. Then the list is read again. So no complete trace is left out, and none is printed twice in one state.

pub(crate) mod address;
pub(crate) mod client;
mod error;
mod line;
mod screen;
mod seen_traces;
mod trace;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use crate::cli;
use crate::config::Config;
pub use error::CommandError;

use address::AdminAddress;
use client::{AdminCallError, AdminClient, TraceEvent, parse};
use screen::Screen;
use seen_traces::SeenTraces;
use trace::{ListedTrace, TraceTree, lines};

/// The pause after the first failed connection. It doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a complete trace must not change before it is printed: its last spans are written after its run was closed.
const SETTLE_TIME: Duration = Duration::from_millis(400);
/// Traces of a page.
const PAGE: usize = 500;
/// Most pages of one reading of the list.
const MOST_PAGES: usize = 20;
/// Most attempts to read one trace.
const MOST_TRIES: usize = 5;
/// Traces that `--once` prints by default.
const LAST: usize = 10;

/// Why following ended.
enum TailError {
    Call(AdminCallError),
    /// The output is closed or cannot be written.
    Output(io::Error),
}

impl From<AdminCallError> for TailError {
    fn from(error: AdminCallError) -> Self {
        TailError::Call(error)
    }
}

impl From<io::Error> for TailError {
    fn from(error: io::Error) -> Self {
        TailError::Output(error)
    }
}

/// A trace that is printed at `at`, unless it changes before.
struct PendingPrint {
    trace: ListedTrace,
    at: Instant,
    tries: usize,
}

struct TraceFollower<'t, W> {
    client: AdminClient,
    args: &'t cli::TailArgs,
    screen: Screen<W>,
    notes: &'t mut (dyn Write + Send),
    seen: SeenTraces,
    pending: VecDeque<PendingPrint>,
    /// The id of the last event.
    last_event: Option<String>,
    has_begun: bool,
    /// The user knows that the gateway is away.
    has_complained: bool,
    pause: Duration,
}

/// Prints traces to `output`, which is standard output, and problems to `notes`. Runs until `output` is closed; with `--once` until all
/// is printed.
///
/// # Errors
/// When an address is wrong, the gateway lets nobody in, `output` cannot be written, or, with `--once`, the gateway does not answer.
pub async fn run(
    config: &Config,
    args: &cli::TailArgs,
    output: impl AsyncWrite + Unpin,
    notes: &mut (dyn Write + Send),
) -> Result<(), CommandError> {
    let address =
        AdminAddress::choose(args.admin.as_deref(), config).map_err(CommandError::configuration)?;
    let filter = [
        ("thread", args.thread.clone()),
        ("customer", args.customer.clone()),
        ("agent", args.agent.clone()),
        ("model", args.model.clone()),
        (
            "status",
            args.status.map(|status| status.as_str().to_owned()),
        ),
    ];
    let filter = filter.into_iter();
    let filter = filter.filter_map(|(name, value)| Some((name, value?)));
    let token = config.server.admin_token.as_ref();
    let mut follower = TraceFollower {
        client: AdminClient::new(address, token, filter.collect()),
        args,
        screen: Screen::new(output, args.color),
        notes,
        seen: SeenTraces::default(),
        pending: VecDeque::new(),
        last_event: None,
        has_begun: false,
        has_complained: false,
        pause: FIRST_PAUSE,
    };
    let result = if args.once {
        follower.begin(args.last.unwrap_or(LAST)).await
    } else {
        Err(follower.follow().await)
    };
    match result {
        Ok(()) => Ok(()),
        Err(TailError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(TailError::Output(error)) => Err(CommandError::other(format!(
            "make room for the output: {error}"
        ))),
        Err(TailError::Call(error)) => Err(error.into_command_error(follower.client.address())),
    }
}

impl<W: AsyncWrite + Unpin> TraceFollower<'_, W> {
    /// Follows, also while the gateway is away. Returns an error that waiting does not mend.
    async fn follow(&mut self) -> TailError {
        loop {
            let why = match self.follow_connection().await {
                Err(TailError::Call(AdminCallError::Away(why) | AdminCallError::Skip(why))) => why,
                Err(error) => return error,
            };
            if !std::mem::replace(&mut self.has_complained, true) {
                let address = self.client.address();
                self.say(&format!(
                    "the gateway at {address} does not answer; trying again ({why})"
                ));
            }
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Follows one connection until it fails.
    async fn follow_connection(&mut self) -> Result<Infallible, TailError> {
        let mut events = self.client.events(self.last_event.as_deref()).await?;
        // Every later change is an event; every earlier one is in the list.
        if self.has_begun {
            self.catch_up().await?;
        } else {
            self.begin(self.args.last.unwrap_or(0)).await?;
            self.has_begun = true;
        }
        (self.has_complained, self.pause) = (false, FIRST_PAUSE);
        loop {
            let next = self.pending.iter().map(|pending| pending.at).min();
            tokio::select! {
                event = events.next() => {
                    let (id, event) = event?;
                    match event {
                        TraceEvent::Changed(trace) => self.changed(*trace).await?,
                        TraceEvent::Reset => self.catch_up().await?,
                    }
                    // Only now, so that the gateway sends a trace again that could not be printed.
                    self.last_event = Some(id).filter(|id| !id.is_empty());
                }
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => self.print_settled().await?,
            }
        }
    }

    /// Remembers all traces of the list as seen, and prints the `last` ones that are wanted.
    async fn begin(&mut self, last: usize) -> Result<(), TailError> {
        let mut found = Vec::new();
        let mut cursor = None;
        for number in 0..MOST_PAGES {
            let page = self.client.page(PAGE, cursor.as_deref()).await?;
            if number == 0 {
                for trace in page.traces.iter().rev() {
                    self.seen.insert(trace, false);
                }
            }
            let wanted = page.traces.into_iter().filter(|trace| self.wants(trace));
            found.extend(wanted);
            cursor = page.next;
            if found.len() >= last || cursor.is_none() {
                break;
            }
        }
        found.truncate(last);
        for trace in found.into_iter().rev() {
            // An earlier connection may have failed after this trace.
            if self.seen.has_printed(&trace) {
                continue;
            }
            match self.print(&trace).await {
                Err(TailError::Call(AdminCallError::Skip(why))) => self.say(&why),
                result => result?,
            }
        }
        Ok(())
    }

    /// Finds the changes in the list.
    async fn catch_up(&mut self) -> Result<(), TailError> {
        let mut changed = Vec::new();
        let mut cursor = None;
        'pages: for _ in 0..MOST_PAGES {
            let page = self.client.page(PAGE, cursor.as_deref()).await?;
            for trace in page.traces {
                if !self.seen.has_seen(&trace) {
                    changed.push(trace);
                } else if !trace.live {
                    // All further traces are older.
                    break 'pages;
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        for trace in changed.into_iter().rev() {
            self.changed(trace).await?;
        }
        Ok(())
    }

    fn wants(&self, trace: &ListedTrace) -> bool {
        // The gateway sends a trace once more when the wanted status no longer fits it.
        let status = self.args.status;
        let fits = status.is_none_or(|status| status.as_str() == trace.status);
        fits && (self.args.live || !trace.live)
    }

    async fn changed(&mut self, trace: ListedTrace) -> Result<(), TailError> {
        let mut pending = self.pending.iter();
        let before = pending.position(|pending| pending.trace.trace_id == trace.trace_id);
        let before = before.and_then(|index| self.pending.remove(index));
        if !self.wants(&trace) || self.seen.has_printed(&trace) {
            return Ok(());
        }
        let now = Instant::now();
        self.pending.push_back(PendingPrint {
            trace,
            at: if self.args.live {
                now
            } else {
                now + SETTLE_TIME
            },
            tries: before.map_or(0, |before| before.tries),
        });
        if self.args.live {
            self.print_settled().await?;
        }
        Ok(())
    }

    /// Prints the traces that did not change for long enough.
    async fn print_settled(&mut self) -> Result<(), TailError> {
        let now = Instant::now();
        while let Some(index) = self.pending.iter().position(|pending| pending.at <= now) {
            let Some(pending) = self.pending.get_mut(index) else {
                break;
            };
            pending.tries += 1;
            let (trace, tries) = (pending.trace.clone(), pending.tries);
            match self.print(&trace).await {
                Err(TailError::Call(AdminCallError::Skip(why))) => self.say(&why),
                Err(TailError::Call(AdminCallError::Away(why))) if tries >= MOST_TRIES => {
                    self.say(&format!("trace {} is left out: {why}", trace.trace_id));
                }
                result => result?,
            }
            self.pending.remove(index);
            self.seen.insert(&trace, true);
        }
        Ok(())
    }

    async fn print(&mut self, trace: &ListedTrace) -> Result<(), TailError> {
        let id = &trace.trace_id;
        let json = self.client.trace(id, self.args.json).await?;
        let unreadable =
            |why: &dyn Display| AdminCallError::Skip(format!("trace {id} cannot be read: {why}"));
        if self.args.json {
            let json: &serde_json::value::RawValue =
                serde_json::from_slice(&json).map_err(|why| unreadable(&why))?;
            self.screen.json(json.get()).await?;
        } else {
            let tree: TraceTree = parse(&json).map_err(|why| unreadable(&why))?;
            self.screen.draw(id, &lines(trace, &tree)).await?;
        }
        self.seen.insert(trace, true);
        Ok(())
    }

    fn say(&mut self, note: &str) {
        self.screen.was_disturbed();
        // A closed stderr wants no notes.
        let _ = writeln!(self.notes, "{}", line::clean(note));
    }
}
