//! A configuration under construction: the assignments of all sources, the values in force, and the problems and warnings so far.

use std::collections::{BTreeMap, BTreeSet};

use super::keys::{Config, ConfigKey, SECRET_KEYS};
use super::problem::{ConfigProblem, ConfigProblems, ConfigWarning, SourceLocation};
use super::raw_value::RawValue;

/// One key with its value, and where a source says so.
struct Assignment {
    key: &'static ConfigKey,
    value: RawValue,
    location: SourceLocation,
}

#[derive(Default)]
pub(super) struct Draft {
    pub(super) config: Config,
    /// In the order of the sources. [`Self::apply`] puts them into `config`.
    assignments: Vec<Assignment>,
    /// The location of the value in force of each assigned key.
    pub(super) locations: BTreeMap<&'static str, SourceLocation>,
    /// Keys with an unreadable value: no rule judges by them.
    pub(super) unreadable: BTreeSet<&'static str>,
    problems: Vec<ConfigProblem>,
    warnings: Vec<ConfigWarning>,
}

impl Draft {
    pub(super) fn assign(
        &mut self,
        key: &'static ConfigKey,
        value: RawValue,
        location: SourceLocation,
    ) {
        self.assignments.push(Assignment {
            key,
            value,
            location,
        });
    }

    pub(super) fn refuse(
        &mut self,
        location: SourceLocation,
        key: impl Into<String>,
        text: impl Into<String>,
    ) {
        let problem = ConfigProblem::new(location, key, text);
        self.problems.push(problem);
    }

    pub(super) fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(ConfigWarning(text.into()));
    }

    /// Whether the file assigns a secret, overridden or not. To be called before [`Self::apply`].
    pub(super) fn file_holds_secret(&self) -> bool {
        self.assignments.iter().any(|assignment| {
            matches!(assignment.location, SourceLocation::File { .. })
                && SECRET_KEYS.contains(&assignment.key.name)
        })
    }

    /// Reads every assigned value into `config`; of one key the last assignment stays.
    pub(super) fn apply(&mut self) {
        for assignment in std::mem::take(&mut self.assignments) {
            let Assignment {
                key,
                value,
                location,
            } = assignment;
            if let Err(text) = (key.assign)(&mut self.config, &value) {
                self.unreadable.insert(key.name);
                self.refuse(location.clone(), key.name, text);
            }
            self.locations.insert(key.name, location);
        }
    }

    pub(super) fn finish(self) -> Result<(Config, Vec<ConfigWarning>), ConfigProblems> {
        if self.problems.is_empty() {
            Ok((self.config, self.warnings))
        } else {
            Err(ConfigProblems::new(self.problems))
        }
    }
}
