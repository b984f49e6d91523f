//! The form of a record, the one thing that segments consist of.
//!
//! A segment file is named `{number:08}-{mark:08x}.log`. It begins with 32 bytes that say what it is (`SPANGATE LOG 1\n`, then zeros), and
//! its records follow, each at an offset that is a multiple of 8. What lies behind the last record was reserved and is zero.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 4 | the segment's mark, a random number that only its file's name tells: no client can send bytes that look like a record |
//! | 4 | 4 | CRC-32C of the bytes from 8 to the end of the header |
//! | 8 | 4 | H, the length of the header |
//! | 12 | 4 | B, the length of the body |
//! | 16 | 1 | the kind, see [`RecordKind`] |
//! | 17 | 1 | how the body is coded: 0 as it is, 1 LZ4 with its length before it, 2 a recipe (see `texts`) |
//! | 18 | 2 | zero |
//! | 20 | 8 | the number: of the exchange (`Started`, `Ended`), of the span (`Span`, `KeptSpan`), otherwise zero |
//! | 28 | 4 | CRC-32C of the body |
//! | 32 | H | the header: MessagePack, maps with the names of the fields |
//! | 32 + H | B | the body |
//!
//! Numbers are little-endian. A record is valid by itself: bytes that changed cost its body, or the record, and no other. A reader that finds
//! something else where a record should be goes on at the next offset where mark and checksum fit.

use std::borrow::Cow;

use crc32c::{crc32c, crc32c_append};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes before the header.
pub const HEAD: usize = 32;
/// What a segment begins with, as long as a record's head.
pub(super) const SEGMENT_HEAD: &[u8; HEAD] = b"SPANGATE LOG 1\n\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// Records begin at multiples of it.
pub(super) const ALIGNMENT: usize = 8;
/// Shorter bodies are written as they are: the codec would cost more than it saves.
const WORTH_COMPRESSING: usize = 4096;
/// Of a longer body, a sample of its middle tells whether compressing pays: prose costs more time than it saves in writing.
const WORTH_A_SAMPLE: usize = 8 << 10;
const SAMPLE: usize = 4 << 10;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// An exchange began: header `StartedHeader`, body the request's.
    Started = 1,
    /// An exchange settled: header `EndedHeader`, body the reply (MessagePack).
    Ended = 2,
    /// A span that is to be exported: header `SpanHeader`, body MessagePack, a placement or the whole span.
    Span = 3,
    /// A span that was made while there was no destination; otherwise the same.
    KeptSpan = 4,
    /// A text of the bodies behind it: the body alone.
    Text = 5,
    /// Something that happened to spans or exchanges: header [`super::ledger::Change`].
    Change = 6,
    /// The sum of all changes before it, at the head of each segment: header [`super::ledger::Checkpoint`].
    Checkpoint = 7,
}

impl RecordKind {
    pub(super) fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Started,
            2 => Self::Ended,
            3 => Self::Span,
            4 => Self::KeptSpan,
            5 => Self::Text,
            6 => Self::Change,
            7 => Self::Checkpoint,
            _ => return None,
        })
    }
}

/// Bytes on the disk are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

/// How a body is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyCoding {
    Plain = 0,
    Lz4 = 1,
    Recipe = 2,
}

/// A body, coded as it is to be written.
#[derive(Debug)]
pub struct RecordBody<'b> {
    pub(super) coding: BodyCoding,
    pub(super) bytes: Cow<'b, [u8]>,
}

impl<'b> RecordBody<'b> {
    pub(super) const EMPTY: RecordBody<'static> = RecordBody {
        coding: BodyCoding::Plain,
        bytes: Cow::Borrowed(&[]),
    };

    /// Compressed, where the body is long and its middle says that this pays.
    pub fn new(bytes: impl Into<Cow<'b, [u8]>>) -> Self {
        let bytes = bytes.into();
        if bytes.len() >= WORTH_COMPRESSING
            && promises_to_shrink(&bytes)
            && let Some(compressed) = compressed(&bytes)
        {
            return RecordBody {
                coding: BodyCoding::Lz4,
                bytes: compressed.into(),
            };
        }
        RecordBody {
            coding: BodyCoding::Plain,
            bytes,
        }
    }
}

/// Whether compressing is likely to save a third of a long text.
fn promises_to_shrink(bytes: &[u8]) -> bool {
    if bytes.len() <= WORTH_A_SAMPLE {
        return true;
    }
    let sample = &bytes[(bytes.len() - SAMPLE) / 2..][..SAMPLE];
    lz4_flex::block::compress(sample).len() <= SAMPLE / 3 * 2
}

/// None where it would be no shorter.
fn compressed(bytes: &[u8]) -> Option<Vec<u8>> {
    u32::try_from(bytes.len()).ok()?;
    let compressed = lz4_flex::block::compress_prepend_size(bytes);
    (compressed.len() < bytes.len()).then_some(compressed)
}

/// Appends a record to `buffer`, which holds whole records, and returns its offset there.
pub fn append(
    buffer: &mut Vec<u8>,
    mark: u32,
    kind: RecordKind,
    number: u64,
    header: &impl Serialize,
    body: &RecordBody<'_>,
) -> usize {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEAD]);
    if rmp_serde::encode::write_named(buffer, header).is_err() {
        // Maps with names as keys cannot fail. The reader takes an empty header for damage.
        buffer.truncate(start + HEAD);
    }
    let header_length = buffer.len() - start - HEAD;
    buffer.extend_from_slice(&body.bytes);
    let record = &mut buffer[start..];
    record[..4].copy_from_slice(&mark.to_le_bytes());
    record[8..12].copy_from_slice(&length(header_length).to_le_bytes());
    record[12..16].copy_from_slice(&length(body.bytes.len()).to_le_bytes());
    record[16] = kind as u8;
    record[17] = body.coding as u8;
    record[20..28].copy_from_slice(&number.to_le_bytes());
    record[28..32].copy_from_slice(&crc32c(&body.bytes).to_le_bytes());
    let checksum = crc32c(&record[8..HEAD + header_length]);
    record[4..8].copy_from_slice(&checksum.to_le_bytes());
    buffer.resize(buffer.len().next_multiple_of(ALIGNMENT), 0);
    start
}

/// A segment is never longer than a `u32` tells.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// A record that was read.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'r> {
    /// What it holds.
    pub kind: RecordKind,
    /// Of its exchange or span; otherwise zero.
    pub number: u64,
    header: &'r [u8],
    coding: u8,
    body: &'r [u8],
    body_checksum: u32,
    /// What the head says of the body's length; `body` is shorter where the bytes end before.
    body_length: usize,
}

/// The lengths that a record's head declares.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordLengths {
    pub(super) header: usize,
    pub(super) body: usize,
}

impl RecordLengths {
    /// Of the record that `bytes` begin with, unchecked.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        Some(RecordLengths {
            header: number_at(bytes, 8)? as usize,
            body: number_at(bytes, 12)? as usize,
        })
    }

    /// Bytes of the record without what aligns the next one.
    pub(super) fn total(self) -> usize {
        HEAD.saturating_add(self.header).saturating_add(self.body)
    }
}

impl<'r> RecordRef<'r> {
    /// Reads the record at the beginning of `bytes`, which hold its header at least.
    ///
    /// # Errors
    /// No record of a segment with this mark begins there, or its head or header changed.
    pub(crate) fn parse(bytes: &'r [u8], mark: u32) -> Result<Self, Damaged> {
        let lengths = RecordLengths::read(bytes).ok_or(Damaged)?;
        let checksum = number_at(bytes, 4).ok_or(Damaged)?;
        let checked = bytes.get(8..HEAD + lengths.header).ok_or(Damaged)?;
        let kind = RecordKind::of(*bytes.get(16).ok_or(Damaged)?).ok_or(Damaged)?;
        if number_at(bytes, 0) != Some(mark) || crc32c_append(0, checked) != checksum {
            return Err(Damaged);
        }
        let number = bytes.get(20..28).and_then(|bytes| bytes.first_chunk());
        let rest = &bytes[HEAD + lengths.header..];
        Ok(RecordRef {
            kind,
            number: u64::from_le_bytes(*number.ok_or(Damaged)?),
            header: &bytes[HEAD..HEAD + lengths.header],
            coding: bytes[17],
            body: &rest[..lengths.body.min(rest.len())],
            body_checksum: number_at(bytes, 28).ok_or(Damaged)?,
            body_length: lengths.body,
        })
    }

    /// Bytes from its beginning to the end of its body.
    #[cfg(test)]
    pub(super) fn length(&self) -> usize {
        HEAD + self.header.len() + self.body_length
    }

    /// Bytes from its beginning to the next record's.
    pub fn stride(&self) -> usize {
        (HEAD + self.header.len() + self.body_length).next_multiple_of(ALIGNMENT)
    }

    /// The header.
    ///
    /// # Errors
    /// It is not what `T` has.
    pub(crate) fn header<T: DeserializeOwned>(&self) -> Result<T, Damaged> {
        rmp_serde::from_slice(self.header).map_err(|_| Damaged)
    }

    /// The body; `text` reads the texts that a recipe refers to, by their offsets.
    ///
    /// # Errors
    /// Bytes changed, or end before the body does.
    pub fn body(
        &self,
        mut text: impl FnMut(u32) -> Result<Vec<u8>, Damaged>,
    ) -> Result<Vec<u8>, Damaged> {
        if self.body.len() != self.body_length || crc32c(self.body) != self.body_checksum {
            return Err(Damaged);
        }
        match self.coding {
            0 => Ok(self.body.to_vec()),
            1 => lz4_flex::block::decompress_size_prepended(self.body).map_err(|_| Damaged),
            2 => super::texts::cook(self.body, |offset| text(offset).ok()).ok_or(Damaged),
            _ => Err(Damaged),
        }
    }

    /// The body of a record that is no request, read as `T`.
    ///
    /// # Errors
    /// As [`Self::body`], or it is not what `T` has.
    pub(super) fn facts<T: DeserializeOwned>(&self) -> Result<T, Damaged> {
        let body = self.body(|_| Err(Damaged))?;
        rmp_serde::from_slice(&body).map_err(|_| Damaged)
    }
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    let number = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*number))
}

/// The records of a segment's bytes, each with its offset. Bytes between them that are none are skipped.
pub struct RecordScan<'s> {
    bytes: &'s [u8],
    mark: u32,
    offset: usize,
    /// Behind the last valid record.
    pub(super) end: usize,
    /// Bytes that stand where records should.
    pub(super) skipped: usize,
}

impl<'s> RecordScan<'s> {
    /// Of a segment's bytes from its beginning.
    pub fn new(bytes: &'s [u8], mark: u32) -> Self {
        RecordScan {
            bytes,
            mark,
            offset: HEAD,
            end: HEAD,
            skipped: 0,
        }
    }
}

impl<'s> Iterator for RecordScan<'s> {
    type Item = (usize, RecordRef<'s>);

    fn next(&mut self) -> Option<Self::Item> {
        let mark = self.mark.to_le_bytes();
        loop {
            let rest = self.bytes.get(self.offset..)?;
            if let Ok(record) = RecordRef::parse(rest, self.mark) {
                let at = self.offset;
                self.skipped += at - self.end;
                self.offset = at.saturating_add(record.stride());
                self.end = self.offset.min(self.bytes.len());
                return Some((at, record));
            }
            let from = self.offset + 1;
            let next = memchr::memmem::find(self.bytes.get(from..)?, &mark)?;
            self.offset = (from + next).next_multiple_of(ALIGNMENT);
        }
    }
}
