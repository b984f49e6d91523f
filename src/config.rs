//! What was written becomes what is meant: a [`Config`] in hand is valid.
//!
//! Sources in their order: a TOML file, the environment, flags. The later wins, key by key. Everything that is wrong is said at once, each
//! problem with the place where it was written, what is wrong there and what to write instead; nothing is guessed, and nothing unknown that
//! may be meant for spangate is passed over. The environment is an argument and not read in here, so a test needs no process of its own.
//!
//! ```text
//!  file ──► file        ┐
//!  environment ──► words├──► Written ──► keys: one reader each   ──► Config ──► rules: what keys ask of each other
//!  flags ──► words      ┘                   (read: the readers)
//! ```
//!
//! A key is declared in one place, `keys`: its name, type, default and reader.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use base_url::{BaseUrl, Scheme};
pub use keys::{Capture, Config, Limits, Log, Respan, Runs, Server, Store, Upstream};
pub use problem::{Problem, Problems, Warning};
pub use read::{Content, Encoding, LogFormat, LogLevel, Usage};
pub use secret::Secret;

use problem::Place;
use written::Written;

mod base_url;
mod file;
mod keys;
mod problem;
mod read;
mod rules;
mod secret;
#[cfg(test)]
mod tests;
mod words;
mod written;

/// The file that is read when none is named and it exists, relative to the working directory.
pub const DEFAULT_FILE: &str = "config/spangate.toml";

/// The environment variable that names the configuration file when `--config` does not.
const FILE_VARIABLE: &str = "SPANGATE_CONFIG";

/// Where a configuration is written.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The file named by `--config`; it must exist. None leaves the choice to `SPANGATE_CONFIG`, then to [`Self::default_file`].
    pub file: Option<PathBuf>,
    /// The file that is read when none is named; it need not exist. [`DEFAULT_FILE`] but for tests.
    pub default_file: PathBuf,
    /// The environment, whole: `std::env::vars_os().collect()`. An empty variable counts as not set, as compose files leave them.
    pub environment: Vec<(OsString, OsString)>,
    /// Each `--set section.key=value`, in order.
    pub flags: Vec<(String, String)>,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            file: None,
            default_file: PathBuf::from(DEFAULT_FILE),
            environment: Vec::new(),
            flags: Vec::new(),
        }
    }
}

impl Sources {
    /// The file that will be read; none when none is named and the default one is not there.
    pub fn chosen_file(&self) -> Option<PathBuf> {
        let named = || {
            let (_, value) = self
                .environment
                .iter()
                .find(|(name, _)| name == FILE_VARIABLE)?;
            (!value.is_empty()).then(|| PathBuf::from(value))
        };
        let present = || {
            self.default_file
                .exists()
                .then(|| self.default_file.clone())
        };
        self.file.clone().or_else(named).or_else(present)
    }
}

impl Config {
    /// Reads and checks all sources, the key and certificate files they name included.
    ///
    /// The warnings are about what is valid and yet unwise.
    ///
    /// # Errors
    ///
    /// Every problem of every source, also of values that a later source overrides: a file that is wrong should not wait for the day
    /// on which its override is gone.
    pub fn load(sources: &Sources) -> Result<(Self, Vec<Warning>), Problems> {
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let mut written = Vec::new();
        let file = sources.chosen_file();
        if let Some(path) = &file {
            file::read(path, &mut written, &mut problems);
        }
        let environment = &sources.environment;
        words::environment(environment, &mut written, &mut problems, &mut warnings);
        words::flags(&sources.flags, &mut written, &mut problems);

        let mut draft = Draft::default();
        for each in written {
            draft.put(each, &mut problems);
        }
        rules::check(&mut draft, &mut problems, &mut warnings);
        if let Some(path) = &file {
            draft.warn_of_secrets_in(path, &mut warnings);
        }

        if problems.is_empty() {
            Ok((draft.config, warnings))
        } else {
            Err(Problems::new(problems))
        }
    }
}

/// A configuration under way, and what the rules ask about how it came to be.
#[derive(Default)]
struct Draft {
    config: Config,
    /// Where the value in force of each written key stands.
    places: BTreeMap<&'static str, Place>,
    /// Keys that hold something unreadable: no rule judges by their values.
    failed: BTreeSet<&'static str>,
}

impl Draft {
    fn put(&mut self, written: Written, problems: &mut Vec<Problem>) {
        let name = written.key.name;
        if let Err(text) = (written.key.put)(&mut self.config, &written.raw) {
            self.failed.insert(name);
            problems.push(Problem::new(written.place.clone(), name, text));
        }
        self.places.insert(name, written.place);
    }

    fn warn_of_secrets_in(&self, path: &Path, warnings: &mut Vec<Warning>) {
        let holds_secret = keys::SECRETS
            .iter()
            .any(|name| matches!(self.places.get(name), Some(Place::File { .. })));
        if holds_secret {
            rules::warn_when_others_may_read(path, warnings);
        }
    }
}
