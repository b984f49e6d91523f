//! Reads the configuration from its sources and checks it: a [`Config`] in hand is valid.
//!
//! Sources in their order: a TOML file, the environment, flags. The later wins, key by key. A start reports every problem at once, each
//! with its location, what is wrong there and what to write instead. No value is guessed, and no unknown key of spangate is passed over.
//! The environment is an argument, so a test needs no process of its own.
//!
//! ```text
//!  file ──► file               ┐
//!  environment ──► environment ├──► draft: assignments ──► keys: one reader each ──► Config ──► rules: what keys require of each other
//!  flags ──► environment       ┘                           (read: the readers)
//! ```
//!
//! A key is declared in one place, `keys`: its name, type, default and reader.

pub use base_url::{BaseUrl, Scheme};
pub use keys::{
    CaptureSection, Config, LimitsSection, LogSection, RespanSection, RunsSection, ServerSection,
    StoreSection, UpstreamSection,
};
pub use problem::{ConfigProblem, ConfigProblems, ConfigWarning};
pub use read::{ContentMode, LogFormat, UsageMode, WireEncoding};
pub use secret::Secret;
pub use sources::{DEFAULT_FILE, Sources};

use draft::Draft;

mod base_url;
mod draft;
mod environment;
mod file;
mod keys;
mod problem;
mod raw_value;
mod read;
mod rules;
mod secret;
mod sources;
#[cfg(test)]
mod tests;

impl Config {
    /// Reads and checks all sources, the key and certificate files they name included.
    ///
    /// The warnings are about values that are valid and yet unwise.
    ///
    /// # Errors
    ///
    /// Every problem of every source, also of values that a later source overrides: the override may be gone one day.
    pub fn load(sources: &Sources) -> Result<(Self, Vec<ConfigWarning>), ConfigProblems> {
        let mut draft = Draft::default();
        let file = sources.chosen_file();
        if let Some(path) = &file {
            file::read(path, &mut draft);
        }
        environment::read_variables(&sources.environment, &mut draft);
        environment::read_flags(&sources.flags, &mut draft);
        let file_holds_secret = draft.file_holds_secret();
        draft.apply();
        rules::check(&mut draft);
        if let Some(path) = file.filter(|_| file_holds_secret) {
            rules::warn_when_others_may_read(&path, &mut draft);
        }
        draft.finish()
    }
}
