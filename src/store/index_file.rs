//! What a sealed segment holds, in a file beside it, so that a start need not read the segment.
//!
//! `{number:08}-{mark:08x}.idx` begins with 16 bytes: `SPANGATE INDEX 1`. Then come entries of 48 bytes and, behind the last one, the CRC-32C of
//! all entries (u32). Numbers are little-endian.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 4 | the record's kind |
//! | 4 | 4 | its offset in the segment |
//! | 8 | 8 | its number |
//! | 16 | 4 | of a span: the segment where it lives |
//! | 20 | 4 | of a span: about how many bytes it takes in memory |
//! | 24 | 8 | zero |
//! | 32 | 16 | of `Started`: the exchange's id; of a span: its id, then zeros |
//!
//! Records of exchanges that were finished when the segment was sealed, texts, changes and checkpoints have no entry. The file is a copy of
//! what the segment says: one that is missing or damaged is made anew.

use super::record::RecordKind;

const HEAD: &[u8; 16] = b"SPANGATE INDEX 1";
pub(super) const ENTRY: usize = 48;

/// A record that a start wants to know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) kind: RecordKind,
    pub(super) offset: u32,
    pub(super) number: u64,
    pub(super) home: u32,
    pub(super) size: u32,
    pub(super) id: [u8; 16],
}

pub(super) fn write<'e>(entries: impl Iterator<Item = &'e IndexEntry>) -> Vec<u8> {
    let mut bytes = HEAD.to_vec();
    for entry in entries {
        bytes.extend_from_slice(&(entry.kind as u32).to_le_bytes());
        bytes.extend_from_slice(&entry.offset.to_le_bytes());
        bytes.extend_from_slice(&entry.number.to_le_bytes());
        bytes.extend_from_slice(&entry.home.to_le_bytes());
        bytes.extend_from_slice(&entry.size.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&entry.id);
    }
    let checksum = crc32c::crc32c(&bytes[HEAD.len()..]);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// None of a file that is not as it was written.
pub(super) fn read(bytes: &[u8]) -> Option<Vec<IndexEntry>> {
    let (checksum, entries) = bytes
        .strip_prefix(HEAD)?
        .split_last_chunk::<4>()
        .map(|(a, b)| (b, a))?;
    if crc32c::crc32c(entries) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (entries, rest) = entries.as_chunks::<ENTRY>();
    if !rest.is_empty() {
        return None;
    }
    entries.iter().map(read_entry).collect()
}

fn read_entry(bytes: &[u8; ENTRY]) -> Option<IndexEntry> {
    let number = |at: usize| {
        bytes[at..]
            .first_chunk()
            .map(|bytes| u32::from_le_bytes(*bytes))
    };
    Some(IndexEntry {
        kind: RecordKind::of(u8::try_from(number(0)?).ok()?)?,
        offset: number(4)?,
        number: u64::from_le_bytes(*bytes[8..].first_chunk()?),
        home: number(16)?,
        size: number(20)?,
        id: *bytes[32..].first_chunk()?,
    })
}
