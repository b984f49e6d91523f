//! Prometheus' text exposition format, version 0.0.4.
//!
//! Names, helps and most labels come from this crate's source. A [`Label`] escapes the values that come from outside.

use std::fmt::{self, Arguments, Display, Formatter, Write as _};

/// `name="value"`, with a value from outside that is escaped, so that it cannot end itself or its line.
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

    /// The head of a family, before its samples.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, name: &str, help: &str, count: u64) {
        self.family(name, "counter", help);
        self.line(format_args!("{name} {count}"));
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
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
