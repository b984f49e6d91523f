//! The hash of a request's credential, which separates callers without a copy of their key.

use std::borrow::Cow;
use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::id::{from_hex, to_hex};

/// A SHA-256 of the header that authenticates a request. Requests of different credentials never share a run.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Credential(pub [u8; 32]);

impl Credential {
    /// The credential in `Authorization`, or in the headers that Azure and others have instead. Requests without any have zeros.
    pub fn of(headers: &HeaderMap) -> Self {
        for name in [AUTHORIZATION.as_str(), "api-key", "x-api-key"] {
            let mut values = headers.get_all(name).iter().peekable();
            if values.peek().is_none() {
                continue;
            }
            let mut hash = Sha256::new();
            for part in
                std::iter::once(name.as_bytes()).chain(values.map(http::HeaderValue::as_bytes))
            {
                // With lengths, different parts never make the same input.
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
            return Self(hash.finalize().into());
        }
        Self([0; 32])
    }
}

/// As 64 hex digits.
impl Serialize for Credential {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits: [u8; 64] = to_hex(&self.0);
        serializer.serialize_str(std::str::from_utf8(&digits).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Credential {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = Cow::<'_, str>::deserialize(deserializer)?;
        let bytes = from_hex(digits.as_bytes());
        bytes
            .map(Self)
            .ok_or_else(|| D::Error::custom("no credential"))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, third, fourth, ..] = self.0;
        write!(
            formatter,
            "Credential({first:02x}{second:02x}{third:02x}{fourth:02x}…)"
        )
    }
}
