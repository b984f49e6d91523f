//! Whose calls these are, without the key itself.

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

/// The hash of what a request authenticates with. Runs of different credentials never meet.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Credential(pub [u8; 32]);

impl Credential {
    /// The hash of `Authorization`, or of the headers that Azure and others have instead. Requests without any share one credential.
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
                // With its length before it, no part can be taken for another.
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
            return Self(hash.finalize().into());
        }
        Self([0; 32])
    }
}

/// 64 hex digits.
impl Serialize for Credential {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let digits: String = digits
            .map(|half| char::from(DIGITS[usize::from(half)]))
            .collect();
        serializer.serialize_str(&digits)
    }
}

impl<'de> Deserialize<'de> for Credential {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Digits(String),
            /// As the first versions wrote it.
            Bytes([u8; 32]),
        }
        match Written::deserialize(deserializer)? {
            Written::Digits(digits) => {
                read(&digits).ok_or_else(|| de::Error::custom("no credential"))
            }
            Written::Bytes(bytes) => Ok(Self(bytes)),
        }
    }
}

fn read(digits: &str) -> Option<Credential> {
    let mut bytes = [0; 32];
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Credential(bytes))
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
