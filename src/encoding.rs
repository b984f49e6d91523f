//! Decodes copies of bodies: content codings (`gzip`, `deflate`, `br`, `zstd` and several of them stacked, RFC 9110, section 8.4), and UTF-8.
//!
//! Streams are compressed, too, so bytes that the peer flushed are decoded at once. The decoded length is bounded by the encoded one, against
//! hostile bodies. A decoder that cannot go on stops with a reason, and the bytes before that stay.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// Decoded bytes that any body may have, besides those of [`MAX_RATIO`].
const BASE_ALLOWANCE: usize = 1 << 20;

/// Decoded bytes for each encoded byte. Compressed event streams stay under 100; a bomb comes near 1000.
const MAX_RATIO: usize = 200;

/// Codings of one body. No server stacks more.
const MAX_CODINGS: usize = 4;

/// log2 of the largest window that a `zstd` content coding may ask for (RFC 9659: 8 MiB).
const ZSTD_WINDOW_LOG: u32 = 23;

/// Bytes as text, with U+FFFD for bytes that are not UTF-8. A check of the whole is several times as fast as the search for those bytes, and
/// nearly always there are none.
pub(crate) fn lossy_text(bytes: &[u8]) -> Cow<'_, str> {
    simdutf8::basic::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// The text before the first byte that is not UTF-8, and whether that is all.
pub(crate) fn text_before_damage(bytes: &[u8]) -> (&str, bool) {
    if let Ok(all) = simdutf8::basic::from_utf8(bytes) {
        return (all, true);
    }
    let first = bytes.utf8_chunks().next();
    (first.map_or("", |chunk| chunk.valid()), false)
}

/// The reason for which a decoder stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeStop {
    /// The decoded body is longer than the limit, or too long for the encoded one.
    Cut,
    /// The coding is unknown, or the bytes are damaged.
    Undecodable,
}

/// Decodes one body in pieces.
#[derive(Debug)]
pub struct Decoder {
    /// The last coding of the sender comes first. Empty for `identity`.
    stages: Vec<CodingStage>,
    limit: usize,
    encoded: usize,
    decoded: usize,
    stopped: Option<DecodeStop>,
}

impl Decoder {
    /// A decoder for a body with this `Content-Encoding`. It decodes at most `limit` bytes.
    pub fn new(content_encoding: Option<&str>, limit: usize) -> Self {
        let codings = content_encoding.unwrap_or_default().split(',');
        // A decoder takes up to 160 KB, so no more are made than may be used.
        let codings: Vec<String> = codings
            .map(|coding| coding.trim().to_ascii_lowercase())
            .filter(|coding| !coding.is_empty() && coding != "identity")
            .take(MAX_CODINGS + 1)
            .collect();
        let stages = (codings.len() <= MAX_CODINGS).then_some(codings);
        let stages: Option<Vec<CodingStage>> = stages.and_then(|codings| {
            codings
                .iter()
                .rev()
                .map(|coding| CodingStage::new(coding))
                .collect()
        });
        Self {
            stopped: stages.is_none().then_some(DecodeStop::Undecodable),
            stages: stages.unwrap_or_default(),
            limit,
            encoded: 0,
            decoded: 0,
        }
    }

    /// The reason for which it stopped; none while it goes on.
    pub fn stopped(&self) -> Option<DecodeStop> {
        self.stopped
    }

    /// Decodes the next bytes, and calls `emit` once at most with the decoded ones.
    pub fn push(&mut self, encoded: &[u8], mut emit: impl FnMut(&[u8])) {
        if self.stopped.is_some() {
            return;
        }
        self.encoded = self.encoded.saturating_add(encoded.len());
        let room = self.limit - self.decoded;
        let Some((first, later)) = self.stages.split_first_mut() else {
            let fits = encoded.len().min(room);
            self.decoded += fits;
            if fits < encoded.len() {
                self.stopped = Some(DecodeStop::Cut);
            }
            return emit(&encoded[..fits]);
        };
        let allowance = BASE_ALLOWANCE.saturating_add(self.encoded.saturating_mul(MAX_RATIO));
        let mut bytes = Vec::new();
        self.stopped = first.decode(encoded, allowance, &mut bytes).err();
        for stage in later {
            let input = std::mem::take(&mut bytes);
            let stopped = stage.decode(&input, allowance, &mut bytes).err();
            self.stopped = self.stopped.or(stopped);
        }
        if bytes.len() > room {
            bytes.truncate(room);
            self.stopped = Some(DecodeStop::Cut);
        }
        self.decoded += bytes.len();
        emit(&bytes);
    }
}

/// The decoder of one coding.
struct CodingStage {
    decoder: CodingDecoder,
    /// Bytes so far.
    decoded: usize,
}

enum CodingDecoder {
    Gzip(MultiGzDecoder<BoundedSink>),
    /// `deflate` before its first two bytes. They show whether it is zlib (RFC 1950), as it should be, or raw (RFC 1951), as it often is.
    UndecidedDeflate(Option<u8>),
    Zlib(ZlibDecoder<BoundedSink>),
    RawDeflate(DeflateDecoder<BoundedSink>),
    Brotli(Box<brotli::DecompressorWriter<BoundedSink>>),
    Zstd(zstd::stream::write::Decoder<'static, BoundedSink>),
}

impl CodingStage {
    /// None for an unknown coding.
    fn new(coding: &str) -> Option<Self> {
        let decoder = match coding {
            "gzip" | "x-gzip" => CodingDecoder::Gzip(MultiGzDecoder::new(BoundedSink::default())),
            "deflate" => CodingDecoder::UndecidedDeflate(None),
            "br" => CodingDecoder::Brotli(Box::new(brotli::DecompressorWriter::new(
                BoundedSink::default(),
                4096,
            ))),
            "zstd" => {
                let mut decoder = zstd::stream::write::Decoder::new(BoundedSink::default()).ok()?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).ok()?;
                CodingDecoder::Zstd(decoder)
            }
            _ => return None,
        };
        Some(Self {
            decoder,
            decoded: 0,
        })
    }

    /// Appends to `decoded`, with an allowance of bytes for the stage as a whole.
    fn decode(
        &mut self,
        encoded: &[u8],
        allowance: usize,
        decoded: &mut Vec<u8>,
    ) -> Result<(), DecodeStop> {
        // zstd fails when it is asked sixteen times without a byte.
        if encoded.is_empty() {
            return Ok(());
        }
        let mut encoded = encoded;
        let first_two;
        if let CodingDecoder::UndecidedDeflate(held) = &mut self.decoder {
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
            self.decoder = if zlib {
                CodingDecoder::Zlib(ZlibDecoder::new(BoundedSink::default()))
            } else {
                CodingDecoder::RawDeflate(DeflateDecoder::new(BoundedSink::default()))
            };
            first_two = [first, second];
            self.write(&first_two, allowance, decoded)?;
            encoded = rest;
        }
        self.write(encoded, allowance, decoded)
    }

    fn write(
        &mut self,
        encoded: &[u8],
        allowance: usize,
        decoded: &mut Vec<u8>,
    ) -> Result<(), DecodeStop> {
        let room = allowance.saturating_sub(self.decoded);
        // The decoders share no trait with `get_mut`.
        macro_rules! decode {
            ($decoder:ident) => {{
                $decoder.get_mut().room = room;
                (write_all($decoder, encoded), $decoder.get_mut())
            }};
        }
        let (result, sink) = match &mut self.decoder {
            CodingDecoder::UndecidedDeflate(_) => return Ok(()),
            CodingDecoder::Gzip(gzip) => decode!(gzip),
            CodingDecoder::Zlib(zlib) => decode!(zlib),
            CodingDecoder::RawDeflate(deflate) => decode!(deflate),
            CodingDecoder::Brotli(brotli) => decode!(brotli),
            CodingDecoder::Zstd(zstd) => decode!(zstd),
        };
        self.decoded += sink.bytes.len();
        decoded.append(&mut sink.bytes);
        let is_full = sink.is_full;
        result.map_err(|_| {
            if is_full {
                DecodeStop::Cut
            } else {
                DecodeStop::Undecodable
            }
        })
    }
}

/// Writes all bytes and flushes what they decode to.
fn write_all(decoder: &mut impl Write, encoded: &[u8]) -> io::Result<()> {
    decoder.write_all(encoded)?;
    decoder.flush()
}

impl fmt::Debug for CodingStage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.decoder {
            CodingDecoder::Gzip(_) => "gzip",
            CodingDecoder::UndecidedDeflate(_)
            | CodingDecoder::Zlib(_)
            | CodingDecoder::RawDeflate(_) => "deflate",
            CodingDecoder::Brotli(_) => "br",
            CodingDecoder::Zstd(_) => "zstd",
        };
        formatter
            .debug_struct("CodingStage")
            .field("coding", &name)
            .field("decoded", &self.decoded)
            .finish()
    }
}

/// A buffer that refuses bytes beyond its room. The error ends the decoder that writes to it.
#[derive(Default)]
struct BoundedSink {
    bytes: Vec<u8>,
    room: usize,
    is_full: bool,
}

impl Write for BoundedSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(self.room);
        if fits == 0 && !bytes.is_empty() {
            self.is_full = true;
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
