//! What is wrong with a configuration, and where: a problem names its place first, then the key, then what to do.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A line of a file, counted from one. Line zero is the file as a whole.
    File { path: PathBuf, line: usize },
    /// A variable of the environment.
    Environment(String),
    /// A `--set` flag.
    Flag,
}

impl Place {
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

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    place: Place,
    /// `section.key`; empty where no key is meant, as in a syntax error.
    key: String,
    text: String,
}

impl Problem {
    pub(super) fn new(place: Place, key: impl Into<String>, text: impl Into<String>) -> Self {
        // What was written is quoted in both, and a line break in it must not make two problems of one.
        let on_one_line = |text: String| text.replace(char::is_control, " ");
        Self {
            place,
            key: on_one_line(key.into()),
            text: on_one_line(text.into()),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, key, text } = self;
        match place {
            Place::File { path, line: 0 } => write!(formatter, "{}: {text}", path.display()),
            Place::File { path, line } if key.is_empty() => {
                write!(formatter, "{}:{line}: {text}", path.display())
            }
            Place::File { path, line } => {
                write!(formatter, "{}:{line}: {key}: {text}", path.display())
            }
            Place::Environment(name) if key.is_empty() => {
                write!(formatter, "environment: {name}: {text}")
            }
            Place::Environment(name) => write!(formatter, "environment: {name} ({key}): {text}"),
            Place::Flag => write!(formatter, "--set {key}: {text}"),
        }
    }
}

/// Everything that is wrong, one line each: the file in the order of its lines, then the environment, then flags. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.place.rank(), problem.place.line()));
        Self(problems)
    }

    /// Each problem.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
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

impl std::error::Error for Problems {}

/// Something valid and yet unwise, as a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub(super) String);

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
