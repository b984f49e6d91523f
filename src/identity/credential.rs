//! Whose calls these are, without the key itself.

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The hash of what a request authenticates with. Runs of different credentials never meet.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, third, fourth, ..] = self.0;
        write!(
            formatter,
            "Credential({first:02x}{second:02x}{third:02x}{fourth:02x}…)"
        )
    }
}
