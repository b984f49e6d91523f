//! Ids of exchanges, traces and spans: bytes in memory, lower-case hex outside (W3C Trace Context, section 3.2.2).

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};
use uuid::{Builder, Uuid};

/// The id of an exchange: a UUID of version 7, ordered by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExchangeId(Uuid);

impl ExchangeId {
    /// A new id of the time in milliseconds and 74 random bits. They need no secrecy, so they cost no system call.
    pub fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let milliseconds = since.map_or(0, |since| since.as_millis());
        let mut random = [0; 10];
        fastrand::fill(&mut random);
        let builder = Builder::from_unix_timestamp_millis(
            u64::try_from(milliseconds).unwrap_or(u64::MAX),
            &random,
        );
        ExchangeId(builder.into_uuid())
    }

    /// The id of these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        ExchangeId(Uuid::from_bytes(bytes))
    }

    /// Its bytes, from which ids of spans are derived.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// As the value of a header.
    pub fn header_value(&self) -> HeaderValue {
        let mut buffer = Uuid::encode_buffer();
        HeaderValue::from_str(self.0.hyphenated().encode_lower(&mut buffer))
            .unwrap_or(HeaderValue::from_static("unknown"))
    }
}

impl Default for ExchangeId {
    fn default() -> Self {
        ExchangeId::new()
    }
}

impl fmt::Display for ExchangeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(formatter)
    }
}

/// A trace id: 16 bytes, never all zero (W3C Trace Context, section 3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(pub [u8; 16]);

/// A span id: 8 bytes, never all zero (W3C Trace Context, section 3.2.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(pub [u8; 8]);

impl TraceId {
    /// Reads 32 hex digits of any case, not all zero.
    pub fn parse(digits: &[u8]) -> Option<Self> {
        non_zero(digits).map(Self)
    }
}

impl SpanId {
    /// Reads 16 hex digits of any case, not all zero.
    pub fn parse(digits: &[u8]) -> Option<Self> {
        non_zero(digits).map(Self)
    }
}

fn non_zero<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    from_hex(digits).filter(|bytes| *bytes != [0; N])
}

/// `N` bytes from `2 * N` hex digits of any case.
pub(crate) fn from_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// `2 * N` lower-case hex digits. Every span writes several ids, and formatting byte by byte is slow.
pub(crate) fn to_hex<const N: usize, const TWICE: usize>(bytes: &[u8; N]) -> [u8; TWICE] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [b'0'; TWICE];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    digits
}

macro_rules! as_hex {
    ($Id:ident, $digits:literal) => {
        impl $Id {
            /// Its hex digits.
            pub fn digits(self) -> [u8; $digits] {
                to_hex(&self.0)
            }
        }

        impl fmt::Display for $Id {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
            }
        }

        impl Serialize for $Id {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
            }
        }

        impl<'de> Deserialize<'de> for $Id {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
                Self::parse(text.as_bytes())
                    .ok_or_else(|| D::Error::custom(concat!("no ", stringify!($Id))))
            }
        }
    };
}

as_hex!(TraceId, 32);
as_hex!(SpanId, 16);
