//! Copies of bodies made readable: content codings undone, `gzip`, `deflate`, `br`, `zstd`, and several of them stacked (RFC 9110, section
//! 8.4), and bytes as text.
//!
//! The rule: what the peer flushed comes through at once, since streams are compressed too; and a hostile body costs no more than its bytes
//! earn. Decoding never fails loudly: it stops, keeps what came before, and says why.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// Decoded bytes that any body may have, before [`RATIO`] asks how many encoded ones there were.
const FREE: usize = 1 << 20;

/// Decoded bytes that one encoded byte may stand for. Compressed event streams stay under 100; a bomb comes near 1000.
const RATIO: usize = 200;

/// More codings than this on one body are an attack, not a habit.
const MOST_CODINGS: usize = 4;

/// log2 of the largest window that a `zstd` content coding may ask for (RFC 9659: 8 MiB).
const ZSTD_WINDOW_LOG: u32 = 23;

/// Bytes as text; what is no UTF-8 in them becomes U+FFFD. Looking for what is wrong takes several times as long as seeing that nothing is, and
/// nearly always nothing is.
pub(crate) fn readable(bytes: &[u8]) -> Cow<'_, str> {
    simdutf8::basic::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// The text that bytes begin with, and whether it is all of them.
pub(crate) fn text_before_damage(bytes: &[u8]) -> (&str, bool) {
    if let Ok(all) = simdutf8::basic::from_utf8(bytes) {
        return (all, true);
    }
    let first = bytes.utf8_chunks().next();
    (first.map_or("", |chunk| chunk.valid()), false)
}

/// Why a decoder gives nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The decoded body is over the limit, or out of all proportion to the encoded one.
    Cut,
    /// The coding is unknown, or the bytes are not what it promised.
    Undecodable,
}

/// Undoes the codings of one body, piece by piece.
#[derive(Debug)]
pub struct Decoder {
    /// The coding that was applied last comes first. Empty for `identity`.
    stages: Vec<Stage>,
    limit: usize,
    taken: usize,
    given: usize,
    stopped: Option<Stopped>,
}

impl Decoder {
    /// A decoder for a body with this `Content-Encoding`, giving at most `limit` bytes.
    pub fn new(content_encoding: Option<&str>, limit: usize) -> Self {
        let codings = content_encoding
            .unwrap_or_default()
            .split(',')
            .map(|coding| coding.trim().to_ascii_lowercase());
        let stages: Option<Vec<Stage>> = codings
            .filter(|coding| !coding.is_empty() && coding != "identity")
            .map(|coding| Stage::new(&coding))
            .rev()
            .collect();
        let known = stages.filter(|stages| stages.len() <= MOST_CODINGS);
        let stopped = if known.is_none() {
            Some(Stopped::Undecodable)
        } else {
            None
        };
        Self {
            stages: known.unwrap_or_default(),
            limit,
            taken: 0,
            given: 0,
            stopped,
        }
    }

    /// Why nothing more comes; none while all is well.
    pub fn stopped(&self) -> Option<Stopped> {
        self.stopped
    }

    /// Takes the next encoded bytes and hands over what they decode to, perhaps nothing.
    pub fn push(&mut self, encoded: &[u8], mut decoded: impl FnMut(&[u8])) {
        if self.stopped.is_some() {
            return;
        }
        self.taken = self.taken.saturating_add(encoded.len());
        let room = self.limit - self.given;
        let Some((first, later)) = self.stages.split_first_mut() else {
            let fits = encoded.len().min(room);
            self.given += fits;
            if fits < encoded.len() {
                self.stopped = Some(Stopped::Cut);
            }
            return decoded(&encoded[..fits]);
        };
        let earned = FREE.saturating_add(self.taken.saturating_mul(RATIO));
        let mut bytes = Vec::new();
        self.stopped = first.decode(encoded, earned, &mut bytes).err();
        for stage in later {
            let input = std::mem::take(&mut bytes);
            let stopped = stage.decode(&input, earned, &mut bytes).err();
            self.stopped = self.stopped.or(stopped);
        }
        if bytes.len() > room {
            bytes.truncate(room);
            self.stopped = Some(Stopped::Cut);
        }
        self.given += bytes.len();
        decoded(&bytes);
    }
}

/// One coding, undone.
struct Stage {
    coding: Coding,
    /// Bytes given so far.
    given: usize,
}

enum Coding {
    Gzip(MultiGzDecoder<Sink>),
    /// `deflate`, of which the first two bytes will say whether it is zlib (RFC 1950) as it should be or raw (RFC 1951) as it often is.
    Deflate(Option<u8>),
    Zlib(ZlibDecoder<Sink>),
    Raw(DeflateDecoder<Sink>),
    Brotli(Box<brotli::DecompressorWriter<Sink>>),
    Zstd(zstd::stream::write::Decoder<'static, Sink>),
}

impl Stage {
    /// Nothing for a coding that is not known.
    fn new(coding: &str) -> Option<Self> {
        let coding = match coding {
            "gzip" | "x-gzip" => Coding::Gzip(MultiGzDecoder::new(Sink::default())),
            "deflate" => Coding::Deflate(None),
            "br" => Coding::Brotli(Box::new(brotli::DecompressorWriter::new(
                Sink::default(),
                4096,
            ))),
            "zstd" => {
                let mut decoder = zstd::stream::write::Decoder::new(Sink::default()).ok()?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).ok()?;
                Coding::Zstd(decoder)
            }
            _ => return None,
        };
        Some(Self { coding, given: 0 })
    }

    /// Decodes into `decoded`, so far as the stage as a whole gives no more than `earned` bytes.
    fn decode(
        &mut self,
        encoded: &[u8],
        earned: usize,
        decoded: &mut Vec<u8>,
    ) -> Result<(), Stopped> {
        let mut encoded = encoded;
        let first_two;
        if let Coding::Deflate(held) = &mut self.coding {
            let (first, rest) = match (*held, encoded) {
                (Some(first), _) => (first, encoded),
                (None, [first, rest @ ..]) => (*first, rest),
                (None, []) => return Ok(()),
            };
            let Some((&second, rest)) = rest.split_first() else {
                *held = Some(first);
                return Ok(());
            };
            let zlib = first & 0x0F == 8 && u16::from_be_bytes([first, second]) % 31 == 0;
            self.coding = if zlib {
                Coding::Zlib(ZlibDecoder::new(Sink::default()))
            } else {
                Coding::Raw(DeflateDecoder::new(Sink::default()))
            };
            first_two = [first, second];
            self.write(&first_two, earned, decoded)?;
            encoded = rest;
        }
        self.write(encoded, earned, decoded)
    }

    fn write(
        &mut self,
        encoded: &[u8],
        earned: usize,
        decoded: &mut Vec<u8>,
    ) -> Result<(), Stopped> {
        let room = earned.saturating_sub(self.given);
        let (result, sink) = match &mut self.coding {
            Coding::Deflate(_) => return Ok(()),
            Coding::Gzip(gzip) => {
                gzip.get_mut().room = room;
                (all(gzip, encoded), gzip.get_mut())
            }
            Coding::Zlib(zlib) => {
                zlib.get_mut().room = room;
                (all(zlib, encoded), zlib.get_mut())
            }
            Coding::Raw(deflate) => {
                deflate.get_mut().room = room;
                (all(deflate, encoded), deflate.get_mut())
            }
            Coding::Brotli(brotli) => {
                brotli.get_mut().room = room;
                (all(brotli, encoded), brotli.get_mut())
            }
            Coding::Zstd(zstd) => {
                zstd.get_mut().room = room;
                (all(zstd, encoded), zstd.get_mut())
            }
        };
        self.given += sink.bytes.len();
        decoded.append(&mut sink.bytes);
        let full = sink.full;
        result.map_err(|_| {
            if full {
                Stopped::Cut
            } else {
                Stopped::Undecodable
            }
        })
    }
}

/// Writes all of it and brings out what it decodes to.
fn all(decoder: &mut impl Write, encoded: &[u8]) -> io::Result<()> {
    decoder.write_all(encoded)?;
    decoder.flush()
}

impl fmt::Debug for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.coding {
            Coding::Gzip(_) => "gzip",
            Coding::Deflate(_) | Coding::Zlib(_) | Coding::Raw(_) => "deflate",
            Coding::Brotli(_) => "br",
            Coding::Zstd(_) => "zstd",
        };
        formatter
            .debug_struct("Stage")
            .field("coding", &name)
            .field("given", &self.given)
            .finish()
    }
}

/// Where a coding writes to: refuses what there is no room for, which ends the decoding from within.
#[derive(Default)]
struct Sink {
    bytes: Vec<u8>,
    room: usize,
    full: bool,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(self.room);
        if fits == 0 && !bytes.is_empty() {
            self.full = true;
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.room -= fits;
        self.bytes.extend_from_slice(&bytes[..fits]);
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
