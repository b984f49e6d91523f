//! JSON that is written in pieces, also where its text goes into a JSON string: escaped while it is written, not afterwards.
//!
//! The conversation of a call is an attribute whose text is JSON, and in a post of JSON that text is a string. A message in it is escaped
//! twice, in one pass and without a copy between. The spelling is `serde_json`'s.

/// Bytes that are looked at together; as many as vector instructions have use for.
const BLOCK: usize = 32;

/// JSON under way.
#[derive(Debug)]
pub struct Json<'o> {
    out: &'o mut Vec<u8>,
    depth: Depth,
}

/// How deep in JSON strings something stands: how often it is escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// It is no part of a string.
    Plain,
    /// It is part of a string.
    String,
    /// It is part of a string in JSON that is part of a string.
    StringInString,
}

impl<'o> Json<'o> {
    /// JSON that goes to the end of `out`: as it is, or into a string that is open there.
    pub fn new(out: &'o mut Vec<u8>, in_string: bool) -> Self {
        let depth = if in_string {
            Depth::String
        } else {
            Depth::Plain
        };
        Self { out, depth }
    }

    /// Adds what is JSON already.
    pub fn written(&mut self, json: &str) {
        escape(self.out, json, self.depth);
    }

    /// Adds a string.
    pub fn text(&mut self, text: &str) {
        let inner = match self.depth {
            Depth::Plain => Depth::String,
            Depth::String | Depth::StringInString => Depth::StringInString,
        };
        self.quote();
        escape(self.out, text, inner);
        self.quote();
    }

    /// Adds a list of what `write` writes of each of `items`.
    pub fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Json<'_>, T),
    ) {
        self.out.push(b'[');
        for (place, item) in items.into_iter().enumerate() {
            if place > 0 {
                self.out.push(b',');
            }
            write(self, item);
        }
        self.out.push(b']');
    }

    /// Adds an object of the members that `write` writes.
    pub fn object(&mut self, write: impl FnOnce(&mut Members<'_, 'o>)) {
        self.out.push(b'{');
        write(&mut Members {
            json: self,
            any: false,
        });
        self.out.push(b'}');
    }

    fn quote(&mut self) {
        let quote: &[u8] = match self.depth {
            Depth::Plain => b"\"",
            Depth::String => b"\\\"",
            Depth::StringInString => b"\\\\\\\"",
        };
        self.out.extend_from_slice(quote);
    }
}

/// An object under way.
#[derive(Debug)]
pub struct Members<'j, 'o> {
    json: &'j mut Json<'o>,
    any: bool,
}

impl Members<'_, '_> {
    /// Adds a member that is JSON already, if there is one. `name` needs no escapes.
    pub fn written(&mut self, name: &'static str, json: Option<&str>) {
        if let Some(json) = json {
            self.name(name);
            self.json.written(json);
        }
    }

    /// Adds a member that is a string, if there is one. `name` needs no escapes.
    pub fn text(&mut self, name: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.name(name);
            self.json.text(text);
        }
    }

    fn name(&mut self, name: &'static str) {
        if std::mem::replace(&mut self.any, true) {
            self.json.out.push(b',');
        }
        self.json.quote();
        self.json.out.extend_from_slice(name.as_bytes());
        self.json.quote();
        self.json.out.push(b':');
    }
}

/// Adds a text to what stands so deep in JSON strings.
pub fn escape(out: &mut Vec<u8>, text: &str, depth: Depth) {
    let forms = match depth {
        Depth::Plain => return out.extend_from_slice(text.as_bytes()),
        Depth::String => &ONCE,
        Depth::StringInString => &TWICE,
    };
    let mut rest = text.as_bytes();
    loop {
        let (plain, from) = rest.split_at(plain_length(rest));
        out.extend_from_slice(plain);
        let Some((byte, after)) = from.split_first() else {
            return;
        };
        let form = &forms[usize::from(*byte)];
        // All of its room, and back: copying what has always the same length costs next to nothing.
        out.extend_from_slice(&form.bytes);
        out.truncate(out.len() - form.bytes.len() + usize::from(form.length));
        rest = after;
    }
}

/// How many bytes come before the first that a JSON string cannot have as it is.
fn plain_length(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let plain = blocks.iter().take_while(|block| is_plain(block)).count() * BLOCK;
    let (words, last) = bytes[plain..].as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let found = specials(u64::from_le_bytes(*word));
        if found != 0 {
            return plain + 8 * number + found.trailing_zeros() as usize / 8;
        }
    }
    let last = last.iter().position(|byte| is_special(*byte));
    last.map_or(bytes.len(), |place| plain + 8 * words.len() + place)
}

fn is_special(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

fn is_plain(block: &[u8; BLOCK]) -> bool {
    // With no way out in the middle and in this form, it becomes a few vector instructions.
    let marks = block.map(|byte| if is_special(byte) { 0xff } else { 0_u8 });
    marks.iter().fold(0, |any, mark| any | mark) == 0
}

/// The highest bit of each special byte of a word, exact up to the first: from there a borrow may run on.
fn specials(word: u64) -> u64 {
    const fn each(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }
    let below = |word: u64, end: u8| word.wrapping_sub(each(end)) & !word;
    let control = below(word, b' ');
    let quote = below(word ^ each(b'"'), 1);
    let backslash = below(word ^ each(b'\\'), 1);
    (control | quote | backslash) & each(0x80)
}

/// What is written for a byte that has to be escaped.
#[derive(Clone, Copy)]
struct Form {
    bytes: [u8; 8],
    length: u8,
}

static ONCE: [Form; 256] = forms(false);
static TWICE: [Form; 256] = forms(true);

const fn forms(twice: bool) -> [Form; 256] {
    let mut forms = [Form {
        bytes: [0; 8],
        length: 0,
    }; 256];
    let mut byte = 0;
    loop {
        let form = escaped(byte);
        forms[byte as usize] = if twice { form.escaped() } else { form };
        if byte == u8::MAX {
            return forms;
        }
        byte += 1;
    }
}

const fn escaped(byte: u8) -> Form {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let letter = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        _ => {
            let (high, low) = (DIGITS[byte as usize >> 4], DIGITS[byte as usize & 15]);
            return Form {
                bytes: [b'\\', b'u', b'0', b'0', high, low, 0, 0],
                length: 6,
            };
        }
    };
    Form {
        bytes: [b'\\', letter, 0, 0, 0, 0, 0, 0],
        length: 2,
    }
}

impl Form {
    /// Once more: none of them has anything to escape but quotes and backslashes.
    const fn escaped(&self) -> Form {
        let mut again = Form {
            bytes: [0; 8],
            length: 0,
        };
        let mut place = 0;
        while place < self.length as usize {
            let byte = self.bytes[place];
            if byte == b'"' || byte == b'\\' {
                again.bytes[again.length as usize] = b'\\';
                again.length += 1;
            }
            again.bytes[again.length as usize] = byte;
            again.length += 1;
            place += 1;
        }
        again
    }
}

#[cfg(test)]
mod tests;
