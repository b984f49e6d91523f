//! How values go into segments: new ones, with their texts written once, and old ones that are written once more.

use std::hash::BuildHasher as _;
use std::mem;
use std::ops::Range;

use super::file::{Current, LENGTH, Text, failing, is_absent};
use super::known::Segment;
use super::outline::{self, Outline, Part};
use super::{Among, Held, Owner, Position, Values};
use crate::identity::Credential;
use crate::openai::ContentHash;
use crate::store::blob::{self, Blob};
use crate::store::database::{Outcome, Trouble};

/// Values up to here stay in their rows.
pub(super) const SHORT: usize = 256;

impl Values {
    /// Takes in a value for a row: beside the database, if it is long.
    pub(in crate::store) fn hold(
        &mut self,
        among: Among,
        owner: Owner,
        value: &Blob<'_>,
    ) -> Outcome<Held> {
        if value.length() <= SHORT {
            return Ok(Held::Here(value.written()));
        }
        let mut current = self.current(among)?;
        let written = self.append(&mut current, value.head(), value.rest())?;
        Ok(self.held(among, current, owner, written.offset, value.length() as u64))
    }

    /// The same of a value that has `texts`, in their order, which other values of the same `caller` may have, too.
    pub(in crate::store) fn hold_texts(
        &mut self,
        owner: Owner,
        caller: &Credential,
        value: &[u8],
        texts: &[(Range<usize>, ContentHash)],
    ) -> Outcome<Held> {
        let mut current = self.current(Among::New)?;
        let (mut outline, mut done, mut shrinks) = (Outline::default(), 0, None);
        let mut whole = 0;
        for (Range { start, end }, mark) in texts.iter().cloned() {
            let text = &value[start..end];
            let known = self.secrets.hash_one((caller, mark));
            let text = if let Some(text) = current.texts.get(&known) {
                *text
            } else {
                let shrinks = shrinks.get_or_insert_with(|| blob::promises_to_shrink(value));
                let text = if *shrinks {
                    Blob::shrunk(text)
                } else {
                    Blob::plain(text)
                };
                let text = self.append(&mut current, text.head(), text.rest())?;
                current.texts.insert(known, text);
                text
            };
            whole += u64::from(text.length);
            outline.text(&value[done..start], text.offset);
            done = end;
        }
        let outline = Blob::outline(outline.end(&value[done..]));
        let written = self.append(&mut current, outline.head(), outline.rest())?;
        whole += outline.length() as u64;
        Ok(self.held(Among::New, current, owner, written.offset, whole))
    }

    /// Writes a value once more, for the same row. One that the disk does not give is not there any more: it would be in the way for good.
    pub(in crate::store) fn move_on(&mut self, owner: Owner, from: Position) -> Outcome<Held> {
        let mut moved = self.still_there(from)?;
        self.replace(from);
        if moved.is_empty() {
            return Ok(Held::Here(moved));
        }
        let mut current = self.current(Among::Old)?;
        let mut whole = moved.len() as u64;
        if let Some(outline) = blob::read_outline(&moved) {
            (moved, whole) = self.with_texts(&mut current, from.segment, outline)?;
        }
        let Some((&head, rest)) = moved.split_first_chunk() else {
            self.current[Among::Old as usize] = Some(current);
            return Ok(Held::Here(moved));
        };
        let written = self.append(&mut current, head, rest)?;
        Ok(self.held(Among::Old, current, owner, written.offset, whole))
    }

    /// The same outline once its texts are written, too, and how many bytes it has with them; empty where one of them is not there.
    fn with_texts(
        &mut self,
        current: &mut Current,
        from: u32,
        outline: &[u8],
    ) -> Outcome<(Vec<u8>, u64)> {
        let (mut moved, mut before) = (Outline::default(), &[][..]);
        let mut whole = outline.len() as u64;
        for part in outline::parts(outline) {
            let offset = match part {
                Part::Bytes(bytes) => {
                    before = bytes;
                    continue;
                }
                Part::Text(offset) => offset,
            };
            let from = Position {
                segment: from,
                offset,
            };
            let text = if let Some(text) = current.texts.get(&from.number()) {
                *text
            } else {
                let text = self.still_there(from)?;
                let Some((&head, rest)) = text.split_first_chunk() else {
                    return Ok((Vec::new(), 0));
                };
                let text = self.append(current, head, rest)?;
                current.texts.insert(from.number(), text);
                text
            };
            whole += u64::from(text.length);
            moved.text(mem::take(&mut before), text.offset);
        }
        Ok((Blob::outline(moved.end(before)).written(), whole))
    }

    /// What was written there; empty where the disk does not give it.
    fn still_there(&self, position: Position) -> Outcome<Vec<u8>> {
        const EIO: i32 = rustix::io::Errno::IO.raw_os_error();
        match self.read_file(position) {
            Err(error) if !is_absent(&error) && error.raw_os_error() != Some(EIO) => {
                Err(failing(&error))
            }
            read => Ok(read.unwrap_or_default()),
        }
    }

    /// Writes a value or a text.
    fn append(
        &mut self,
        current: &mut Current,
        head: [u8; blob::HEAD],
        rest: &[u8],
    ) -> Outcome<Text> {
        let too_long = |_| Trouble::Failing("a value is too long to be written".to_owned());
        let length = u32::try_from(head.len() + rest.len()).map_err(too_long)?;
        let segment = self.segments.entry(current.number);
        let segment = segment.or_insert(Segment::EMPTY);
        let offset = u32::try_from(segment.end).map_err(too_long)?;
        current.append(&[&length.to_le_bytes(), &head], rest)?;
        segment.end += LENGTH as u64 + u64::from(length);
        self.changed.insert(current.number);
        Ok(Text { offset, length })
    }

    /// A row has what was written there, of so many bytes with its texts.
    fn held(
        &mut self,
        among: Among,
        current: Current,
        owner: Owner,
        offset: u32,
        whole: u64,
    ) -> Held {
        let segment = current.number;
        self.current[among as usize] = Some(current);
        let known = self.segments.entry(segment).or_insert(Segment::EMPTY);
        known.add(owner, whole);
        Held::Beside(Position { segment, offset })
    }

    /// The segment that the next value goes into. Whoever writes to it puts it back, unless that fails: then all of the database is opened anew.
    fn current(&mut self, among: Among) -> Outcome<Current> {
        match self.current[among as usize].take() {
            Some(current) if self.most.has_room(&current, &self.segments) => Ok(current),
            full => self.begin_after(full),
        }
    }

    fn begin_after(&mut self, full: Option<Current>) -> Outcome<Current> {
        if let Some(mut full) = full {
            full.write()?;
            // Nothing may be left of it by now.
            self.changed.insert(full.number);
        }
        let number = self.last + 1;
        (self.last, self.last_is_written) = (number, false);
        let current = Current::begin(&self.path(number), number, self.identity)?;
        self.unsynced.insert(number);
        Ok(current)
    }
}
