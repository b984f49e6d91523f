//! The store's files as a stranger reads them who knows the head of `src/store/record.rs` and nothing else.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

/// A record: what its head says of it, and its header.
#[derive(Clone, Debug)]
pub(crate) struct LogRecord {
    pub(crate) kind: RecordKind,
    /// Of the exchange, or of the span.
    pub(crate) number: u64,
    header: Vec<u8>,
    has_body: bool,
}

/// The kinds that a test asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    Started,
    Ended,
    Span,
    Other,
}

/// All records of a store, in order. The files may be written to meanwhile.
pub(crate) fn log_records(store: &Path) -> Vec<LogRecord> {
    let files = fs::read_dir(store.join("log-1")).into_iter().flatten();
    let mut files: Vec<_> = files.flatten().map(|file| file.path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "log"));
    files.sort();
    files.iter().flat_map(|file| records_of(file)).collect()
}

/// Whether the log has the beginning of this exchange, and its request.
pub(crate) fn has_started(records: &[LogRecord], id: &str) -> bool {
    started(records, id).any(|started| started.has_body)
}

/// Whether the log has the end of this exchange.
pub(crate) fn has_ended(records: &[LogRecord], id: &str) -> bool {
    started(records, id).next().is_some_and(|started| {
        records
            .iter()
            .any(|record| record.kind == RecordKind::Ended && record.number == started.number)
    })
}

fn started<'r>(records: &'r [LogRecord], id: &str) -> impl Iterator<Item = &'r LogRecord> {
    // MessagePack: an array of 16 numbers, of which those above 127 have a byte before them.
    let digits = id.replace('-', "");
    let mut array = vec![0xdc, 0, 16];
    for at in (0..32).step_by(2) {
        let byte = u8::from_str_radix(&digits[at..at + 2], 16).expect("an id");
        if byte > 127 {
            array.push(0xcc);
        }
        array.push(byte);
    }
    records.iter().filter(move |record| {
        let mut windows = record.header.windows(array.len());
        record.kind == RecordKind::Started && windows.any(|window| window == array)
    })
}

/// A segment up to where nothing is written yet: the rest of it is reserved, and zero.
fn written_bytes(file: &Path) -> Option<Vec<u8>> {
    const CHUNK: usize = 64 << 10;
    let mut file = File::open(file).ok()?;
    let (mut bytes, zeros) = (Vec::new(), vec![0; CHUNK]);
    loop {
        let before = bytes.len();
        file.by_ref()
            .take(CHUNK as u64)
            .read_to_end(&mut bytes)
            .ok()?;
        let chunk = &bytes[before..];
        if *chunk == zeros[..chunk.len()] {
            return Some(bytes);
        }
    }
}

fn records_of(file: &Path) -> Vec<LogRecord> {
    let name = file.file_stem().and_then(|name| name.to_str());
    let mark = name.and_then(|name| u32::from_str_radix(name.split_once('-')?.1, 16).ok());
    let (Some(mark), Some(bytes)) = (mark, written_bytes(file)) else {
        return Vec::new();
    };
    let number =
        |at: usize| -> Option<u32> { Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?)) };
    let mut records = Vec::new();
    let mut at = 32;
    while let (Some(found), Some(header), Some(body)) =
        (number(at), number(at + 8), number(at + 12))
        && found == mark
    {
        let end = at + 32 + header as usize;
        let Some(checked) = bytes.get(at + 8..end) else {
            break;
        };
        if Some(crc32c::crc32c(checked)) != number(at + 4) {
            break;
        }
        records.push(LogRecord {
            kind: match bytes[at + 16] {
                1 => RecordKind::Started,
                2 => RecordKind::Ended,
                3 | 4 => RecordKind::Span,
                _ => RecordKind::Other,
            },
            number: u64::from_le_bytes(*bytes[at + 20..].first_chunk().expect("a head")),
            header: bytes[at + 32..end].to_vec(),
            has_body: body > 0,
        });
        at = (end + body as usize).next_multiple_of(8);
    }
    records
}
