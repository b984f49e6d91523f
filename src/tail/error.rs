//! The errors that end `spangate tail` and `spangate replay`.

use std::fmt;

/// A message for the user, and whose fault it is.
#[derive(Debug)]
pub struct CommandError {
    message: String,
    is_configuration: bool,
}

impl CommandError {
    /// Whether the command line or the configuration is wrong.
    pub fn is_configuration(&self) -> bool {
        self.is_configuration
    }

    pub(crate) fn configuration(message: String) -> Self {
        CommandError {
            message,
            is_configuration: true,
        }
    }

    pub(crate) fn other(message: String) -> Self {
        CommandError {
            message,
            is_configuration: false,
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for CommandError {}
