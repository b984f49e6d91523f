//! One text of a skeleton: all of it where it is short, else its head and its tail, cut between characters and not within an escape.

use std::fmt::Write as _;
use std::hash::BuildHasher as _;

use crate::openai::request::SECRETS;

/// How much of a text is kept, in bytes as written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lengths {
    head: usize,
    /// The tail is kept in blocks of so many, two of them at most. A text of no more than the head and two blocks is kept whole.
    pub(super) block: usize,
}

impl Lengths {
    /// In a skeleton of so many bytes. Of the usual 4 MiB: texts up to 20 KiB stay whole.
    pub(super) fn within(limit: usize) -> Self {
        let block = (limit / 1024).clamp(128, 4096);
        Lengths {
            head: 3 * block,
            block,
        }
    }
}

/// The text under way, without its quotes.
#[derive(Debug, Default)]
pub(super) struct LongText {
    lengths: Lengths,
    head: Vec<u8>,
    before: Block,
    last: Block,
    /// Of the blocks that were dropped.
    hash: u64,
    dropped: usize,
}

#[derive(Debug, Default)]
struct Block {
    bytes: Vec<u8>,
    /// It begins with so many bytes of an escape that begins before it.
    broken: usize,
}

/// What stands where the middle of a text was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::openai) struct CutMark {
    /// Bytes of the mark itself.
    pub(in crate::openai) length: usize,
    /// Bytes that were left out.
    pub(in crate::openai) left_out: usize,
}

/// How a mark begins.
const OPENS: &str = "…[of ";
/// What comes between the length of the text and that of its middle.
const LEFT_OUT: &str = " bytes ";
/// What comes between that and the hash.
const HASH: &str = " are left out here: ";
/// How it ends.
const CLOSES: &str = "]…";

fn write_mark(whole: usize, left_out: usize, hash: u64) -> String {
    let mut mark = String::with_capacity(96);
    _ = write!(
        mark,
        "{OPENS}{whole}{LEFT_OUT}{left_out}{HASH}{hash:016x}{CLOSES}"
    );
    mark
}

/// The mark that a text begins with.
pub(in crate::openai) fn cut_mark(text: &str) -> Option<CutMark> {
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
    pub(super) fn new(lengths: Lengths) -> Self {
        LongText {
            lengths,
            ..LongText::default()
        }
    }

    /// Takes bytes that begin no later than in the escape that was begun last.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        let fits = bytes.len().min(self.lengths.head - self.head.len());
        self.head.extend_from_slice(&bytes[..fits]);
        bytes = &bytes[fits..];
        while !bytes.is_empty() {
            self.make_room();
            let fits = bytes.len().min(self.lengths.block - self.last.bytes.len());
            self.last.bytes.extend_from_slice(&bytes[..fits]);
            bytes = &bytes[fits..];
        }
    }

    /// Takes a byte of an escape that is not its backslash. `left` bytes of the escape follow.
    pub(super) fn push_escaped(&mut self, byte: u8, left: u8) {
        if self.head.len() == self.lengths.head {
            self.make_room();
            if self.last.bytes.is_empty() {
                self.last.broken = 1 + usize::from(left);
            }
        }
        self.push(&[byte]);
    }

    /// A full block goes, and a new one begins.
    fn make_room(&mut self) {
        if self.last.bytes.len() < self.lengths.block {
            return;
        }
        if !self.before.bytes.is_empty() {
            self.hash = SECRETS.hash_one((self.hash, &*self.before.bytes));
            self.dropped += self.before.bytes.len();
        }
        std::mem::swap(&mut self.before, &mut self.last);
        self.last.bytes.clear();
        self.last.broken = 0;
    }

    /// Gives what is kept of it, with quotes, and is ready for another.
    pub(super) fn end(&mut self, mut give: impl FnMut(&[u8])) {
        give(b"\"");
        if self.dropped == 0 {
            give(&self.head);
            give(&self.before.bytes);
        } else {
            let (head, cut) = self.head.split_at(last_boundary(&self.head));
            let begins =
                self.before.broken + first_boundary(&self.before.bytes[self.before.broken..]);
            let (broken, tail) = self.before.bytes.split_at(begins);
            let left_out = self.dropped + cut.len() + broken.len();
            let whole = head.len() + left_out + tail.len() + self.last.bytes.len();
            let hash = SECRETS.hash_one((self.hash, cut, broken));
            give(head);
            give(write_mark(whole, left_out, hash).as_bytes());
            give(tail);
        }
        give(&self.last.bytes);
        give(b"\"");
        self.head.clear();
        self.before.bytes.clear();
        self.last.bytes.clear();
        (self.before.broken, self.last.broken) = (0, 0);
        (self.hash, self.dropped) = (0, 0);
    }
}

/// Where the last whole character or escape of a text's beginning ends.
fn last_boundary(head: &[u8]) -> usize {
    let mut end = head.len() - incomplete_character(head);
    let mut at = 0;
    // A high surrogate goes with the low one after it.
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
        high = is_unit(&head[start..], b"89abAB").then_some(start);
    }
    match high {
        Some(start) if start + 6 == end => start,
        _ => end,
    }
}

/// Where the first whole character of a text's end begins. It does not begin within an escape.
fn first_boundary(tail: &[u8]) -> usize {
    if is_unit(tail, b"cdefCDEF") {
        return 6;
    }
    let continues = |byte: &&u8| matches!(byte, 0x80..=0xBF);
    tail.iter().take(3).take_while(continues).count()
}

/// Whether it begins with the escape of a surrogate whose second digit is one of these.
fn is_unit(text: &[u8], second: &[u8]) -> bool {
    matches!(text, [b'\\', b'u', b'd' | b'D', digit, ..] if second.contains(digit))
}

/// How many bytes at the end are the beginning of a longer character.
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
