//! A key or token that is never shown: no `Display`, no serialisation, and a `Debug` without the text.

use std::fmt;

use subtle::ConstantTimeEq;

/// A key or token. [`Secret::reveal`] is the one way to its text, so that a search for it finds every use.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself: visible ASCII without spaces, never empty, so that it fits a header.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `presented` is this secret, in a time that depends on nothing but whether the lengths differ.
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}
