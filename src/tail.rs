//! `spangate tail`: traces of a running gateway, printed as trees when they are complete, or while they grow.
//!
//! The events of the admin API say which trace grew; its spans are asked for when it is printed. What may have been missed, while the gateway
//! was away or by its own account, is found by reading the list anew: no trace that was complete meanwhile is left out, and none is
//! printed twice as it stands.

pub(crate) mod address;
pub(crate) mod client;
mod known;
mod line;
mod screen;
mod trace;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use crate::cli;
use crate::config::Config;
use address::Address;
use client::{Client, Failure, Told, read};
use known::Known;
use screen::Screen;
use trace::{Listed, Trace, lines};

/// Before the first of several tries, and before the later ones.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long nothing more comes of a trace that is complete: its last spans are written when its run is over already.
const SETTLED: Duration = Duration::from_millis(400);
/// Traces of a page.
const PAGE: usize = 500;
/// Pages that are read at once.
const MOST_PAGES: usize = 20;
/// Times that a trace is asked for in vain.
const MOST_TRIES: usize = 5;
/// Traces that `--once` prints when it is not said how many.
const LAST: usize = 10;

/// Why it ended.
#[derive(Debug)]
pub struct Problem {
    message: String,
    is_configuration: bool,
}

impl Problem {
    /// The command line or the configuration is wrong.
    pub fn is_configuration(&self) -> bool {
        self.is_configuration
    }

    pub(crate) fn wrong(message: String) -> Self {
        Problem {
            message,
            is_configuration: true,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// Why a try ended.
enum End {
    Failure(Failure),
    /// Nobody reads any more, or nothing can be written.
    Output(io::Error),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        End::Failure(failure)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        End::Output(error)
    }
}

/// A trace that is printed when nothing more comes of it.
struct Due {
    listed: Listed,
    at: Instant,
    tries: usize,
}

struct Tail<'t, W> {
    client: Client,
    words: &'t cli::Tail,
    screen: Screen<W>,
    notes: &'t mut (dyn Write + Send),
    known: Known,
    due: VecDeque<Due>,
    /// The last event.
    after: Option<String>,
    began: bool,
    /// That the gateway is away was said.
    complained: bool,
    pause: Duration,
}

/// Prints to `output`, which is standard output, and says on `notes` what hinders it, until `output` is closed; with `--once` until all is
/// printed.
///
/// # Errors
/// When an address is wrong, the gateway lets nobody in, `output` cannot be written, or, with `--once`, the gateway does not answer.
pub async fn run(
    config: &Config,
    words: &cli::Tail,
    output: impl AsyncWrite + Unpin,
    notes: &mut (dyn Write + Send),
) -> Result<(), Problem> {
    let address = Address::choose(words.admin.as_deref(), config).map_err(Problem::wrong)?;
    let filter = [
        ("thread", words.thread.clone()),
        ("customer", words.customer.clone()),
        ("agent", words.agent.clone()),
        ("model", words.model.clone()),
        ("status", words.status.map(|went| went.word().to_owned())),
    ];
    let filter = filter.into_iter();
    let filter = filter.filter_map(|(name, value)| Some((name, value?)));
    let token = config.server.admin_token.as_ref();
    let mut tail = Tail {
        client: Client::new(address, token, filter.collect()),
        words,
        screen: Screen::new(output, words.color),
        notes,
        known: Known::default(),
        due: VecDeque::new(),
        after: None,
        began: false,
        complained: false,
        pause: FIRST_PAUSE,
    };
    let end = if words.once {
        match tail.begin(words.last.unwrap_or(LAST)).await {
            Ok(()) => return Ok(()),
            Err(end) => end,
        }
    } else {
        tail.follow().await
    };
    match end {
        End::Output(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        End::Output(error) => Err(Problem {
            message: format!("make room for the output: {error}"),
            is_configuration: false,
        }),
        End::Failure(failure) => Err(failure.into_problem(tail.client.address())),
    }
}

impl<W: AsyncWrite + Unpin> Tail<'_, W> {
    /// Follows, through whatever the gateway does; gives what cannot be mended by waiting.
    async fn follow(&mut self) -> End {
        loop {
            let why = match self.connected().await {
                Err(End::Failure(Failure::Away(why) | Failure::Useless(why))) => why,
                Err(end) => return end,
            };
            if !std::mem::replace(&mut self.complained, true) {
                let address = self.client.address();
                self.say(&format!(
                    "the gateway at {address} does not answer; trying again ({why})"
                ));
            }
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One connection, for as long as it lasts.
    async fn connected(&mut self) -> Result<Infallible, End> {
        let mut events = self.client.events(self.after.as_deref()).await?;
        // From here on all that happens is told; what happened before is in the list.
        if self.began {
            self.catch_up().await?;
        } else {
            self.begin(self.words.last.unwrap_or(0)).await?;
            self.began = true;
        }
        (self.complained, self.pause) = (false, FIRST_PAUSE);
        loop {
            let next = self.due.iter().map(|due| due.at).min();
            tokio::select! {
                told = events.next() => {
                    let (id, told) = told?;
                    match told {
                        Told::Grew(listed) => self.grew(*listed).await?,
                        Told::Missed => self.catch_up().await?,
                    }
                    // Only now: what could not be printed is told again.
                    self.after = Some(id).filter(|id| !id.is_empty());
                }
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => self.print_due().await?,
            }
        }
    }

    /// Takes the list as what was there before, and prints the last of it.
    async fn begin(&mut self, last: usize) -> Result<(), End> {
        let mut found = Vec::new();
        let mut cursor = None;
        for number in 0..MOST_PAGES {
            let page = self.client.page(PAGE, cursor.as_deref()).await?;
            if number == 0 {
                for listed in page.traces.iter().rev() {
                    self.known.see(listed, false);
                }
            }
            let wanted = page.traces.into_iter().filter(|listed| self.wants(listed));
            found.extend(wanted);
            cursor = page.next;
            if found.len() >= last || cursor.is_none() {
                break;
            }
        }
        found.truncate(last);
        for listed in found.into_iter().rev() {
            // An earlier try may have come that far.
            if self.known.has_printed(&listed) {
                continue;
            }
            match self.print(&listed).await {
                Err(End::Failure(Failure::Useless(why))) => self.say(&why),
                done => done?,
            }
        }
        Ok(())
    }

    /// Reads in the list what is new.
    async fn catch_up(&mut self) -> Result<(), End> {
        let mut news = Vec::new();
        let mut cursor = None;
        'pages: for _ in 0..MOST_PAGES {
            let page = self.client.page(PAGE, cursor.as_deref()).await?;
            for listed in page.traces {
                if !self.known.has_seen(&listed) {
                    news.push(listed);
                } else if !listed.live {
                    // What comes now is older.
                    break 'pages;
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        for listed in news.into_iter().rev() {
            self.grew(listed).await?;
        }
        Ok(())
    }

    fn wants(&self, listed: &Listed) -> bool {
        // A trace that was told while it went well is told, too, when it does not any more.
        let went = self
            .words
            .status
            .is_none_or(|went| went.word() == listed.status);
        went && (self.words.live || !listed.live)
    }

    async fn grew(&mut self, listed: Listed) -> Result<(), End> {
        let waiting = self
            .due
            .iter()
            .position(|due| due.listed.trace_id == listed.trace_id);
        let waiting = waiting.and_then(|place| self.due.remove(place));
        if !self.wants(&listed) || self.known.has_printed(&listed) {
            return Ok(());
        }
        let at = if self.words.live {
            Instant::now()
        } else {
            Instant::now() + SETTLED
        };
        let tries = waiting.map_or(0, |due| due.tries);
        self.due.push_back(Due { listed, at, tries });
        if self.words.live {
            self.print_due().await?;
        }
        Ok(())
    }

    /// Prints what nothing more came of.
    async fn print_due(&mut self) -> Result<(), End> {
        let now = Instant::now();
        while let Some(place) = self.due.iter().position(|due| due.at <= now) {
            let Some(due) = self.due.get_mut(place) else {
                break;
            };
            due.tries += 1;
            let (listed, tries) = (due.listed.clone(), due.tries);
            match self.print(&listed).await {
                Err(End::Failure(Failure::Useless(why))) => self.say(&why),
                Err(End::Failure(Failure::Away(why))) if tries >= MOST_TRIES => {
                    self.say(&format!("trace {} is left out: {why}", listed.trace_id));
                }
                done => done?,
            }
            self.due.remove(place);
            self.known.see(&listed, true);
        }
        Ok(())
    }

    async fn print(&mut self, listed: &Listed) -> Result<(), End> {
        let id = &listed.trace_id;
        let json = self.client.trace(id, self.words.json).await?;
        let unreadable =
            |why: &dyn fmt::Display| Failure::Useless(format!("trace {id} cannot be read: {why}"));
        if self.words.json {
            // Whatever it holds, it is JSON.
            let json: &serde_json::value::RawValue =
                serde_json::from_slice(&json).map_err(|why| unreadable(&why))?;
            self.screen.json(json.get()).await?;
        } else {
            let trace: Trace = read(&json).map_err(|why| unreadable(&why))?;
            self.screen.draw(id, &lines(listed, &trace)).await?;
        }
        self.known.see(listed, true);
        Ok(())
    }

    fn say(&mut self, note: &str) {
        self.screen.was_disturbed();
        // Who closed stderr does not want to know.
        let _ = writeln!(self.notes, "{}", line::clean(note));
    }
}
