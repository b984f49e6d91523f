//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
