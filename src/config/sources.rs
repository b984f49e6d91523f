//! The sources of a configuration: which file is read, and the environment and flags beside it.

use std::ffi::OsString;
use std::path::PathBuf;

/// The file that is read when none is named and it exists, relative to the working directory.
pub const DEFAULT_FILE: &str = "config/spangate.toml";

/// The environment variable that names the configuration file when `--config` does not.
pub(super) const FILE_VARIABLE: &str = "SPANGATE_CONFIG";

/// The sources of a configuration.
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
            let mut variables = self.environment.iter();
            let (_, value) = variables.find(|(name, _)| name == FILE_VARIABLE)?;
            (!value.is_empty()).then(|| PathBuf::from(value))
        };
        let present = || Some(self.default_file.clone()).filter(|path| path.exists());
        self.file.clone().or_else(named).or_else(present)
    }
}
