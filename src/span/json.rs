//! JSON that is written in pieces, also where its text goes into a JSON string: escaped while it is written, not afterwards.
//!
//! The conversation of a call is an attribute whose text is JSON, and in a post of JSON that text is a string. A message in it is escaped
//! twice, in one pass and without a copy between. The spelling is `serde_json`'s.

use super::sink::decimal;
use crate::openai::Quoted;
use crate::special::each_special;

/// JSON under way.
#[derive(Debug)]
pub struct Json<'o> {
    out: &'o mut Vec<u8>,
    /// What is written goes into a string.
    in_string: bool,
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
        Self { out, in_string }
    }

    /// Adds what is JSON already.
    pub fn written(&mut self, json: &str) {
        let depth = if self.in_string {
            Depth::String
        } else {
            Depth::Plain
        };
        escape(self.out, json, depth);
    }

    /// Adds a string.
    pub fn text(&mut self, text: &str) {
        let inner = if self.in_string {
            Depth::StringInString
        } else {
            Depth::String
        };
        self.quote();
        escape(self.out, text, inner);
        self.quote();
    }

    /// Adds a string that is in JSON already.
    pub fn quoted(&mut self, text: Quoted<'_>) {
        let Some(inner) = text.in_json() else {
            return self.text(&text.text());
        };
        self.quote();
        self.written(inner);
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
        let quote: &[u8] = if self.in_string { b"\\\"" } else { b"\"" };
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

    /// Adds a member that is a number, if there is one. `name` needs no escapes.
    pub fn number(&mut self, name: &'static str, number: Option<u64>) {
        if let Some(number) = number {
            self.name(name);
            decimal(self.json.out, number);
        }
    }

    /// Adds a member that is a string, which is in JSON already. `name` needs no escapes.
    pub fn quoted(&mut self, name: &'static str, text: Quoted<'_>) {
        self.name(name);
        self.json.quoted(text);
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
    let (bytes, mut done) = (text.as_bytes(), 0);
    each_special(bytes, |at| {
        out.extend_from_slice(&bytes[done..at]);
        forms[usize::from(bytes[at])].write(out);
        done = at + 1;
    });
    out.extend_from_slice(&bytes[done..]);
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
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        out.truncate(out.len() - (self.bytes.len() - usize::from(self.length)));
    }

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
