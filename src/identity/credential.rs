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
        let (halves, _) = self.0.as_chunks::<16>();
        let [high, low] = [halves[0], halves[1]].map(u128::from_be_bytes);
        serializer.collect_str(&format_args!("{high:032x}{low:032x}"))
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
    let (high, low) = digits.split_at_checked(32)?;
    for (half, digits) in bytes.as_chunks_mut::<16>().0.iter_mut().zip([high, low]) {
        *half = u128::from_str_radix(digits, 16).ok()?.to_be_bytes();
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
