//! The members of a JSON object as `serde_json` reads them, in their order, repeated ones too.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Names and values as they were written.
pub(crate) struct Members(Vec<(String, Box<RawValue>)>);

impl Members {
    /// The object that `json` begins with. None where it is not whole or `serde_json` refuses a name.
    pub(crate) fn of(json: &str) -> Option<Self> {
        let mut values = serde_json::Deserializer::from_str(json).into_iter();
        values.next()?.ok()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Values of this name as they were written, the last first.
    fn last_first(&self, name: &'static str) -> impl Iterator<Item = &str> {
        let named = self.0.iter().rev().filter(move |(own, _)| own == name);
        named.map(|(_, value)| value.get())
    }

    /// The last value of this name that is not null.
    pub(crate) fn written(&self, name: &'static str) -> Option<&str> {
        self.last_first(name).find(|value| *value != "null")
    }

    /// The last value of this name that begins like a value of the wanted type.
    pub(crate) fn of_type(&self, name: &'static str, first: char) -> Option<&str> {
        self.last_first(name).find(|value| value.starts_with(first))
    }

    /// The values of this name that are a `T`, the last first. Of a number `serde_json` would miss the last bit.
    pub(crate) fn all<T: FromStr>(&self, name: &'static str) -> impl Iterator<Item = T> {
        let values = self.last_first(name);
        values.filter_map(|value| value.parse().ok())
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// Whether a string, as it was written, agrees with how it was read: `serde_json` refuses half a surrogate pair, which we read as U+FFFD.
pub(crate) fn agree(written: Option<&str>, read: Option<&str>) -> bool {
    match (written, read) {
        (Some(written), Some(read)) => serde_json::from_str::<String>(written)
            .map_or(read.contains('\u{FFFD}'), |text| text == read),
        (None, None) => true,
        _ => false,
    }
}
