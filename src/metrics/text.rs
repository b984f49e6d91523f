//! Prometheus' text exposition format, version 0.0.4.
//!
//! Names, helps and labels come from this crate's source only, so nothing has to be escaped.

use std::fmt::{Arguments, Display, Write as _};

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
