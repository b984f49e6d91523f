//! Problems and warnings of a configuration. A problem names its location first, then the key, then what to do.

use std::fmt;
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SourceLocation {
    /// A line of a file, counted from one. Line zero is the file as a whole.
    File {
        path: PathBuf,
        line: usize,
    },
    Environment(String),
    /// `--set`
    Flag,
}

impl SourceLocation {
    /// The order of sources: the higher wins.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::File { .. } => 0,
            Self::Environment(name) if name.starts_with("RESPAN_") => 1,
            Self::Environment(_) => 2,
            Self::Flag => 3,
        }
    }

    fn line(&self) -> usize {
        if let Self::File { line, .. } = self {
            *line
        } else {
            0
        }
    }
}

/// One problem, with its location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    location: SourceLocation,
    /// `section.key`; empty where the problem is of no key, as a syntax error is.
    key: String,
    text: String,
}

impl ConfigProblem {
    pub(super) fn new(
        location: SourceLocation,
        key: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        // Both quote the source, and a line break in it must not make two problems of one.
        let on_one_line = |text: String| text.replace(char::is_control, " ");
        Self {
            location,
            key: on_one_line(key.into()),
            text: on_one_line(text.into()),
        }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            location,
            key,
            text,
        } = self;
        match location {
            SourceLocation::File { path, line: 0 } => write!(formatter, "{}", path.display())?,
            SourceLocation::File { path, line } => write!(formatter, "{}:{line}", path.display())?,
            SourceLocation::Environment(name) => write!(formatter, "environment: {name}")?,
            SourceLocation::Flag => formatter.write_str("--set")?,
        }
        match location {
            _ if key.is_empty() => {}
            SourceLocation::File { .. } => write!(formatter, ": {key}")?,
            SourceLocation::Environment(_) => write!(formatter, " ({key})")?,
            SourceLocation::Flag => write!(formatter, " {key}")?,
        }
        write!(formatter, ": {text}")
    }
}

/// All problems, one line each: the file in the order of its lines, then the environment, then flags. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblems(Vec<ConfigProblem>);

impl ConfigProblems {
    pub(super) fn new(mut problems: Vec<ConfigProblem>) -> Self {
        problems.sort_by_key(|problem| (problem.location.rank(), problem.location.line()));
        Self(problems)
    }

    /// Each problem.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigProblem> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigProblems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.0.iter().enumerate() {
            if number > 0 {
                formatter.write_str("\n")?;
            }
            problem.fmt(formatter)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigProblems {}

/// A value that is valid and yet unwise, as a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigWarning(pub(super) String);

impl fmt::Display for ConfigWarning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
