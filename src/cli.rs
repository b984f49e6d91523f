//! The command line: subcommands, their arguments, and the sources of the configuration.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

/// An OpenAI-compatible reverse proxy that makes agent runs visible in Respan without changing a byte of them.
#[derive(Debug, Parser)]
#[command(name = "spangate", version, about, disable_help_subcommand = true)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    /// The sources of the configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// A subcommand.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the gateway (the default)
    Serve,
    /// Run the gateway with a scripted upstream and a conversation through it; needs no key and no network
    Demo {
        /// Exit when the conversation is over instead of serving on
        #[arg(long)]
        once: bool,
    },
    /// Say what is wrong with the configuration
    Check {
        /// Also reach the upstream, and post an empty request to Respan
        #[arg(long)]
        online: bool,
    },
    /// Print the traces of a running gateway as trees, each when it is complete
    Tail(TailArgs),
    /// Have a running gateway send again what was refused, or made while no key was set
    Replay(ReplayArgs),
    /// Print the traces of a store as lines of JSON, the oldest first, whether a gateway uses it or not
    Export(ExportArgs),
}

/// What `spangate export` prints.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// Only traces that began so long ago at most (2h, 1d), or not before this time (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "AGE|TIME", value_parser = age_or_time)]
    pub since: Option<SystemTime>,
    /// Only traces that began before this
    #[arg(long, value_name = "AGE|TIME", value_parser = age_or_time)]
    pub until: Option<SystemTime>,
    /// Only traces of this conversation
    #[arg(long)]
    pub thread: Option<String>,
    /// Only traces of this customer
    #[arg(long)]
    pub customer: Option<String>,
}

/// Arguments of `spangate replay`.
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).multiple(true)))]
pub struct ReplayArgs {
    /// Spans that Respan refused for good: mend the cause first
    #[arg(long, group = "which")]
    pub refused: bool,
    /// Spans that were made while no key was set
    #[arg(long, group = "which")]
    pub kept: bool,
    /// The admin port of the gateway [default: the configuration's server.admin]
    #[arg(long, value_name = "http://HOST:PORT")]
    pub admin: Option<String>,
}

/// Arguments of `spangate tail`.
#[derive(Clone, Debug, Args)]
pub struct TailArgs {
    /// The admin port of the gateway [default: the configuration's server.admin]
    #[arg(long, value_name = "http://HOST:PORT")]
    pub admin: Option<String>,
    /// Only traces of this conversation
    #[arg(long)]
    pub thread: Option<String>,
    /// Only traces of this customer
    #[arg(long)]
    pub customer: Option<String>,
    /// Only traces in which this agent spoke
    #[arg(long)]
    pub agent: Option<String>,
    /// Only traces in which this model was asked or answered
    #[arg(long)]
    pub model: Option<String>,
    /// Only traces that went so
    #[arg(long)]
    pub status: Option<StatusFilter>,
    /// First print so many of the latest traces [default: 0, with --once 10]
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
    /// Print traces while they grow, too
    #[arg(long)]
    pub live: bool,
    /// Print what is there and exit
    #[arg(long)]
    pub once: bool,
    /// Print each trace as one line of JSON, with all of its content
    #[arg(long)]
    pub json: bool,
    /// When to use colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

/// The status of a trace, as a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatusFilter {
    /// All of it went well
    Ok,
    /// Something in it did not
    Error,
}

impl StatusFilter {
    /// The status in the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            StatusFilter::Ok => "ok",
            StatusFilter::Error => "error",
        }
    }
}

/// When colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The sources of the configuration.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file [default: config/spangate.toml where it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set a key of the configuration, over file and environment; may be repeated
    #[arg(long = "set", global = true, value_name = "SECTION.KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
}

impl CommandLine {
    /// The subcommand; to serve where none is given.
    pub fn command(&self) -> Command {
        self.command.clone().unwrap_or(Command::Serve)
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("write it like upstream.idle_timeout=60s")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

fn age_or_time(text: &str) -> Result<SystemTime, String> {
    let time = match humantime::parse_duration(text) {
        Ok(age) => SystemTime::now().checked_sub(age),
        Err(_) => rfc3339(text),
    };
    time.ok_or_else(|| "write it like 2h, 1d or 2026-01-31T12:00:00Z".to_owned())
}

/// humantime reads RFC 3339 without an offset from UTC only.
fn rfc3339(text: &str) -> Option<SystemTime> {
    if let Ok(time) = humantime::parse_rfc3339(text) {
        return Some(time);
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
    let time = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let minutes = hours.parse::<u64>().ok()? * 60 + minutes.parse::<u64>().ok()?;
    let offset_from_utc = Duration::from_mins(minutes);
    match offset.as_bytes()[0] {
        b'+' => time.checked_sub(offset_from_utc),
        b'-' => time.checked_add(offset_from_utc),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn times_are_read_with_any_offset() {
        let noon = at("2026-01-31T12:00:00Z");
        for text in [
            "2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00.000Z",
            "2026-01-31T14:00:00+02:00",
            "2026-01-31T08:30:00-03:30",
        ] {
            assert_eq!(age_or_time(text), Ok(noon), "{text}");
        }
    }

    #[test]
    fn an_age_counts_from_now() {
        let before = SystemTime::now();
        let time = age_or_time("1d 2h").unwrap();
        let age = Duration::from_hours(26);
        assert!((before..=SystemTime::now()).contains(&(time + age)));
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in [
            "",
            "yesterday",
            "2026-01-31",
            "2026-01-31T14:00:00*02:00",
            "2026-01-31T14:00:00+0200",
            "é12:00",
        ] {
            let refused = age_or_time(text).unwrap_err();
            assert!(refused.starts_with("write it like 2h"), "{text}");
        }
    }
}
