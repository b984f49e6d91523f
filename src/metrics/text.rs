//! Prometheus' text exposition format, version 0.0.4.
//!
//! Names and helps come from this crate's source only. So do labels, but for the values that a [`Label`] escapes.

use std::fmt::{self, Arguments, Display, Formatter, Write as _};

/// A label whose value comes from outside: `name="value"`, in which nothing can end the value or the line early.
pub(super) struct Label<'a> {
    pub(super) name: &'static str,
    pub(super) value: &'a str,
}

impl Display for Label<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}=\"", self.name)?;
        for character in self.value.chars() {
            match character {
                '\\' => formatter.write_str("\\\\")?,
                '"' => formatter.write_str("\\\"")?,
                '\n' => formatter.write_str("\\n")?,
                other => formatter.write_char(other)?,
            }
        }
        formatter.write_char('"')
    }
}

pub(super) struct Exposition {
    text: String,
}

impl Exposition {
    pub(super) fn new() -> Self {
        Self {
            text: String::with_capacity(8 << 10),
        }
    }

    /// Opens a family; its samples follow.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    /// A family of one sample without labels.
    pub(super) fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.line(format_args!("{name} {value}"));
    }

    pub(super) fn labelled(&mut self, name: &str, labels: Arguments<'_>, value: impl Display) {
        self.line(format_args!("{name}{{{labels}}} {value}"));
    }

    pub(super) fn line(&mut self, line: Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}
