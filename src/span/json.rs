//! The JSON escaper, and JSON that is written in pieces, also where it goes into a JSON string and is escaped meanwhile.
//!
//! The conversation of a call is an attribute whose text is JSON, and a post of JSON holds that text as a string. So a message in it is
//! escaped twice, in one pass and without a copy between. The spelling is `serde_json`'s.

use crate::json_escape::scan_escapable;
use crate::openai::JsonString;

/// Writes JSON to the end of a buffer.
#[derive(Debug)]
pub struct JsonWriter<'o> {
    out: &'o mut Vec<u8>,
    /// The JSON goes into a string, so all of it is escaped.
    in_string: bool,
}

/// The number of JSON strings around a text: how often it is escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonDepth {
    /// In no string: not escaped.
    Plain,
    /// In a string: escaped once.
    String,
    /// In a string of JSON that is itself in a string: escaped twice.
    StringInString,
}

impl<'o> JsonWriter<'o> {
    /// Writes to the end of `out`. With `in_string` the caller has opened a JSON string there.
    pub fn new(out: &'o mut Vec<u8>, in_string: bool) -> Self {
        Self { out, in_string }
    }

    /// Writes `json`, which is JSON already.
    pub fn raw(&mut self, json: &str) {
        let depth = if self.in_string {
            JsonDepth::String
        } else {
            JsonDepth::Plain
        };
        escape(self.out, json, depth);
    }

    /// Writes a string.
    pub fn text(&mut self, text: &str) {
        let depth = if self.in_string {
            JsonDepth::StringInString
        } else {
            JsonDepth::String
        };
        self.quote();
        escape(self.out, text, depth);
        self.quote();
    }

    /// Writes a string that is JSON already.
    pub fn quoted(&mut self, text: JsonString<'_>) {
        let Some(inner) = text.in_json() else {
            return self.text(&text.text());
        };
        self.quote();
        self.raw(inner);
        self.quote();
    }

    /// Writes an array. `write` writes each of `items`.
    pub fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut JsonWriter<'_>, T),
    ) {
        self.out.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            write(self, item);
        }
        self.out.push(b']');
    }

    /// Writes an object. `write` writes its members.
    pub fn object(&mut self, write: impl FnOnce(&mut ObjectWriter<'_, 'o>)) {
        self.out.push(b'{');
        write(&mut ObjectWriter {
            json: self,
            has_members: false,
        });
        self.out.push(b'}');
    }

    fn quote(&mut self) {
        let quote: &[u8] = if self.in_string { b"\\\"" } else { b"\"" };
        self.out.extend_from_slice(quote);
    }
}

/// Writes the members of an object. Their names are written without escapes.
#[derive(Debug)]
pub struct ObjectWriter<'j, 'o> {
    json: &'j mut JsonWriter<'o>,
    has_members: bool,
}

impl ObjectWriter<'_, '_> {
    /// Writes a member that is JSON already, if there is one.
    pub fn raw(&mut self, name: &'static str, json: Option<&str>) {
        if let Some(json) = json {
            self.name(name);
            self.json.raw(json);
        }
    }

    /// Writes a string, if there is one.
    pub fn text(&mut self, name: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.name(name);
            self.json.text(text);
        }
    }

    /// Writes a number, if there is one.
    pub fn number(&mut self, name: &'static str, number: Option<u64>) {
        if let Some(number) = number {
            self.name(name);
            decimal(self.json.out, number);
        }
    }

    /// Writes a string that is JSON already.
    pub fn quoted(&mut self, name: &'static str, text: JsonString<'_>) {
        self.name(name);
        self.json.quoted(text);
    }

    fn name(&mut self, name: &'static str) {
        if std::mem::replace(&mut self.has_members, true) {
            self.json.out.push(b',');
        }
        self.json.quote();
        self.json.out.extend_from_slice(name.as_bytes());
        self.json.quote();
        self.json.out.push(b':');
    }
}

/// Appends a number in decimal digits. The standard library's formatting takes several times as long.
pub(crate) fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] += u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends `text`, escaped for `depth`.
pub(crate) fn escape(out: &mut Vec<u8>, text: &str, depth: JsonDepth) {
    let sequences = match depth {
        JsonDepth::Plain => return out.extend_from_slice(text.as_bytes()),
        JsonDepth::String => &ONCE,
        JsonDepth::StringInString => &TWICE,
    };
    let (bytes, mut written) = (text.as_bytes(), 0);
    scan_escapable(bytes, |at| {
        out.extend_from_slice(&bytes[written..at]);
        sequences[usize::from(bytes[at])].write(out);
        written = at + 1;
    });
    out.extend_from_slice(&bytes[written..]);
}

/// The bytes that stand for one escaped byte.
#[derive(Clone, Copy)]
struct EscapeSequence {
    bytes: [u8; 8],
    length: u8,
}

static ONCE: [EscapeSequence; 256] = sequences(false);
static TWICE: [EscapeSequence; 256] = sequences(true);

const fn sequences(twice: bool) -> [EscapeSequence; 256] {
    let mut sequences = [EscapeSequence {
        bytes: [0; 8],
        length: 0,
    }; 256];
    let mut byte = 0;
    loop {
        let once = EscapeSequence::of(byte);
        sequences[byte as usize] = if twice { once.escaped() } else { once };
        if byte == u8::MAX {
            return sequences;
        }
        byte += 1;
    }
}

impl EscapeSequence {
    const fn of(byte: u8) -> EscapeSequence {
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
                return EscapeSequence {
                    bytes: [b'\\', b'u', b'0', b'0', high, low, 0, 0],
                    length: 6,
                };
            }
        };
        EscapeSequence {
            bytes: [b'\\', letter, 0, 0, 0, 0, 0, 0],
            length: 2,
        }
    }

    /// Escaped once more. Only quotes and backslashes of a sequence need that.
    const fn escaped(&self) -> EscapeSequence {
        let mut again = EscapeSequence {
            bytes: [0; 8],
            length: 0,
        };
        let mut index = 0;
        while index < self.length as usize {
            let byte = self.bytes[index];
            if byte == b'"' || byte == b'\\' {
                again.bytes[again.length as usize] = b'\\';
                again.length += 1;
            }
            again.bytes[again.length as usize] = byte;
            again.length += 1;
            index += 1;
        }
        again
    }

    /// Copies all eight bytes and cuts the rest: a copy of a fixed length is one instruction.
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        out.truncate(out.len() - (self.bytes.len() - usize::from(self.length)));
    }
}

#[cfg(test)]
mod tests;
