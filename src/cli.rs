//! What can be said on the command line.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

/// An OpenAI-compatible reverse proxy that makes agent runs visible in Respan without changing a byte of them.
#[derive(Debug, Parser)]
#[command(name = "spangate", version, about, disable_help_subcommand = true)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    /// Where the configuration is written.
    #[command(flatten)]
    pub written: Written,
}

/// What to do.
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
    Tail(Tail),
    /// Have a running gateway send again what was refused, or made while no key was set
    Replay(ReplayArgs),
}

/// What `spangate replay` sends.
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

/// What `spangate tail` prints, and how.
#[derive(Clone, Debug, Args)]
pub struct Tail {
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
    pub status: Option<Went>,
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

/// How a trace went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Went {
    /// All of it went well
    Ok,
    /// Something in it did not
    Error,
}

impl Went {
    /// The word for it, as the admin API has it.
    pub fn word(self) -> &'static str {
        match self {
            Went::Ok => "ok",
            Went::Error => "error",
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

/// Where the configuration is written.
#[derive(Clone, Debug, Args)]
pub struct Written {
    /// The configuration file [default: config/spangate.toml where it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set a key of the configuration, over file and environment; may be repeated
    #[arg(long = "set", global = true, value_name = "SECTION.KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
}

impl CommandLine {
    /// What to do: to serve when nothing is said.
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
