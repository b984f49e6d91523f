//! Shortens one text to its head and its tail. A cut is between characters and never within an escape.

use std::fmt::Write as _;
use std::hash::BuildHasher as _;

use super::content_hash::KEYED_HASH;

/// How much of a text stays, in bytes as written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TextLimits {
    head: usize,
    /// Size of a block of the tail, of which two at most stay. A text of no more than the head and two blocks stays whole.
    pub(super) block: usize,
}

impl TextLimits {
    /// For a body of at most `limit` bytes. With the usual 4 MiB, texts up to 20 KiB stay whole.
    pub(super) fn within(limit: usize) -> Self {
        let block = (limit / 1024).clamp(128, 4096);
        TextLimits {
            head: 3 * block,
            block,
        }
    }
}

/// The text under way, without its quotes.
#[derive(Debug, Default)]
pub(super) struct LongText {
    lengths: TextLimits,
    head: Vec<u8>,
    before: TailBlock,
    last: TailBlock,
    /// Hash of the dropped blocks.
    hash: u64,
    /// Length of the dropped blocks in bytes.
    dropped: usize,
}

#[derive(Debug, Default)]
struct TailBlock {
    bytes: Vec<u8>,
    /// Length of the rest of an escape at its beginning, in bytes.
    broken_escape: usize,
}

/// The mark in place of a text's middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CutMark {
    /// Length of the mark in bytes.
    pub(crate) length: usize,
    /// Length of the middle in bytes.
    pub(crate) left_out: usize,
}

/// A mark begins so.
const OPENS: &str = "…[of ";
/// Between the length of the whole text and that of its middle.
const LEFT_OUT: &str = " bytes ";
/// Between that length and the hash of the middle.
const HASH: &str = " are left out here: ";
/// A mark ends so.
const CLOSES: &str = "]…";

fn write_mark(whole: usize, left_out: usize, hash: u64) -> String {
    let mut mark = String::with_capacity(96);
    _ = write!(
        mark,
        "{OPENS}{whole}{LEFT_OUT}{left_out}{HASH}{hash:016x}{CLOSES}"
    );
    mark
}

/// Reads a mark at the beginning of `text`.
pub(crate) fn cut_mark(text: &str) -> Option<CutMark> {
    let (whole, rest) = text.strip_prefix(OPENS)?.split_once(LEFT_OUT)?;
    let (left_out, rest) = rest.split_once(HASH)?;
    let (hash, rest) = rest.split_once(CLOSES)?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (digits(whole) && digits(hash)).then_some(())?;
    Some(CutMark {
        length: text.len() - rest.len(),
        left_out: left_out.parse().ok()?,
    })
}

impl LongText {
    pub(super) fn new(lengths: TextLimits) -> Self {
        LongText {
            lengths,
            ..LongText::default()
        }
    }

    /// Appends bytes outside of escapes, or a backslash.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        let fits = bytes.len().min(self.lengths.head - self.head.len());
        self.head.extend_from_slice(&bytes[..fits]);
        bytes = &bytes[fits..];
        while !bytes.is_empty() {
            self.rotate();
            let fits = bytes.len().min(self.lengths.block - self.last.bytes.len());
            self.last.bytes.extend_from_slice(&bytes[..fits]);
            bytes = &bytes[fits..];
        }
    }

    /// Appends a byte of an escape after its backslash; `left` bytes of the escape follow.
    pub(super) fn push_escaped(&mut self, byte: u8, left: u8) {
        if self.head.len() == self.lengths.head {
            self.rotate();
            if self.last.bytes.is_empty() {
                self.last.broken_escape = 1 + usize::from(left);
            }
        }
        self.push(&[byte]);
    }

    /// Drops the block before the last one, if the last one is full, and begins a new one.
    fn rotate(&mut self) {
        if self.last.bytes.len() < self.lengths.block {
            return;
        }
        if !self.before.bytes.is_empty() {
            self.hash = KEYED_HASH.hash_one((self.hash, &*self.before.bytes));
            self.dropped += self.before.bytes.len();
        }
        std::mem::swap(&mut self.before, &mut self.last);
        self.last.bytes.clear();
        self.last.broken_escape = 0;
    }

    /// Emits the shortened text with its quotes, and begins another text.
    pub(super) fn finish(&mut self, mut emit: impl FnMut(&[u8])) {
        emit(b"\"");
        if self.dropped == 0 {
            emit(&self.head);
            emit(&self.before.bytes);
        } else {
            let (head, cut) = self.head.split_at(last_boundary(&self.head));
            let escape = self.before.broken_escape;
            let begins = escape + first_boundary(&self.before.bytes[escape..]);
            let (broken, tail) = self.before.bytes.split_at(begins);
            let left_out = self.dropped + cut.len() + broken.len();
            let whole = head.len() + left_out + tail.len() + self.last.bytes.len();
            let hash = KEYED_HASH.hash_one((self.hash, cut, broken));
            emit(head);
            emit(write_mark(whole, left_out, hash).as_bytes());
            emit(tail);
        }
        emit(&self.last.bytes);
        emit(b"\"");
        self.head.clear();
        self.before.bytes.clear();
        self.last.bytes.clear();
        (self.before.broken_escape, self.last.broken_escape) = (0, 0);
        (self.hash, self.dropped) = (0, 0);
    }
}

/// The end of the last whole character or escape of a text's head.
fn last_boundary(head: &[u8]) -> usize {
    let mut end = head.len() - incomplete_character(head);
    let mut at = 0;
    // A high surrogate stays with the low one after it.
    let mut high = None;
    while let Some(found) = memchr::memchr(b'\\', &head[at..]) {
        let start = at + found;
        let length = if head.get(start + 1) == Some(&b'u') {
            6
        } else {
            2
        };
        if start + length > head.len() {
            end = start;
            break;
        }
        at = start + length;
        high = is_surrogate(&head[start..], b"89abAB").then_some(start);
    }
    match high {
        Some(start) if start + 6 == end => start,
        _ => end,
    }
}

/// The start of the first whole character of a text's tail, which begins outside of escapes.
fn first_boundary(tail: &[u8]) -> usize {
    if is_surrogate(tail, b"cdefCDEF") {
        return 6;
    }
    let continues = |byte: &&u8| matches!(byte, 0x80..=0xBF);
    tail.iter().take(3).take_while(continues).count()
}

/// Whether `text` begins with the escape of a surrogate whose second digit is in `second`.
fn is_surrogate(text: &[u8], second: &[u8]) -> bool {
    matches!(text, [b'\\', b'u', b'd' | b'D', digit, ..] if second.contains(digit))
}

/// Length of an incomplete character at the end of `text`, in bytes.
fn incomplete_character(text: &[u8]) -> usize {
    for back in 1..=text.len().min(3) {
        let needed = match text[text.len() - back] {
            0x80..=0xBF => continue,
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xFF => 4,
            _ => 1,
        };
        return if needed > back { back } else { 0 };
    }
    0
}
