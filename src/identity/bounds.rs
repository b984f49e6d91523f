//! Limits of an identity. It is on every span of its run and stays in memory with the run, while a stranger without a valid key chooses its
//! length. So it is cut before anything holds it.
//!
//! [`IdentityHeaders`](super::headers::IdentityHeaders) cuts keys and values of metadata as it reads them ([`MAX_MEMBERS`], [`MAX_KEY`],
//! [`MAX_VALUE`]). [`IdentityBounds`] cuts the merged identity. A sentence in `unreadable` reports each cut.

use std::collections::BTreeMap;

use rapidhash::v3::rapidhash_v3;

/// Keys of metadata. A reader of one JSON object stops after so many members, so a longer object costs no more.
pub(super) const MAX_KEYS: usize = 64;
/// Members of a base64 object. Respan documents some hundred parameters for its hosted gateway.
pub(super) const MAX_MEMBERS: usize = 256;
/// Bytes of a key of metadata.
pub(super) const MAX_KEY: usize = 128;
/// Bytes of one text.
pub(super) const MAX_VALUE: usize = 4 * 1024;
/// Bytes of all texts of an identity, keys of metadata among them.
pub(super) const MAX_IDENTITY: usize = 16 * 1024;

/// Length of the end of an identifier that was cut: an ellipsis and 16 hex digits.
const HASH_SUFFIX: usize = '…'.len_utf8() + 16;

/// Cuts a text at a character's boundary; whether there was more.
pub(super) fn cut(text: &mut String, most: usize) -> bool {
    let is_longer = text.len() > most;
    if is_longer {
        text.truncate(text.floor_char_boundary(most));
        // The unused capacity would stay in memory with the text.
        text.shrink_to_fit();
    }
    is_longer
}

/// The rest of the limit of one identity. Texts take their share in the order of the calls.
pub(super) struct IdentityBounds<'u> {
    left: usize,
    /// Room for the configured metadata, which is not in `left`.
    reserved: usize,
    configured: &'u BTreeMap<String, String>,
    is_short: bool,
    unreadable: &'u mut Vec<String>,
}

impl<'u> IdentityBounds<'u> {
    /// Reserves room for `configured` metadata, so that no text of a request pushes it out.
    pub(super) fn new(
        configured: &'u BTreeMap<String, String>,
        unreadable: &'u mut Vec<String>,
    ) -> Self {
        let length = |(key, value): (&String, &String)| key.len() + value.len();
        let reserved = configured.iter().map(length).sum::<usize>();
        let reserved = reserved.min(MAX_IDENTITY);
        IdentityBounds {
            left: MAX_IDENTITY - reserved,
            reserved,
            configured,
            is_short: false,
            unreadable,
        }
    }

    /// Cuts an identifier, whose end becomes a hash of the whole: different identifiers stay different.
    pub(super) fn identifier(&mut self, name: &str, slot: &mut Option<String>) {
        let most = MAX_VALUE.min(self.left);
        let Some(long) = slot.take_if(|text| text.len() > most) else {
            return self.take(slot);
        };
        let room = most.checked_sub(HASH_SUFFIX);
        self.is_short |= room.is_none();
        let hash = rapidhash_v3(long.as_bytes());
        *slot = room.map(|room| {
            let beginning = self.shortened(name, long, MAX_VALUE - HASH_SUFFIX, room);
            format!("{beginning}…{hash:016x}")
        });
        self.take(slot);
    }

    /// Cuts any other text.
    pub(super) fn text(&mut self, name: &str, slot: &mut Option<String>) {
        let text = slot.take();
        *slot = text.map(|text| self.shortened(name, text, MAX_VALUE, self.left));
        self.take(slot);
    }

    /// Merges and cuts metadata. Configured keys come first; a request's value of the same key counts.
    pub(super) fn metadata(&mut self, metadata: &mut BTreeMap<String, String>) {
        let mut explicit = std::mem::take(metadata);
        for (key, value) in self.configured {
            let share = self.reserved.min(key.len() + value.len());
            self.reserved -= share;
            self.left += share;
            let value = explicit.remove(key).unwrap_or_else(|| value.clone());
            if !self.insert(metadata, key.clone(), value) {
                return;
            }
        }
        for (key, value) in explicit {
            if !self.insert(metadata, key, value) {
                return;
            }
        }
    }

    /// Inserts one key and its cut value; whether there was room for them.
    fn insert(
        &mut self,
        metadata: &mut BTreeMap<String, String>,
        key: String,
        value: String,
    ) -> bool {
        if metadata.len() == MAX_KEYS {
            self.report(format!("metadata was cut at {MAX_KEYS} keys"));
            return false;
        }
        let Some(room) = self.left.checked_sub(key.len()) else {
            self.is_short = true;
            return false;
        };
        let value = self.shortened("metadata", value, MAX_VALUE, room);
        self.left -= key.len() + value.len();
        metadata.insert(key, value);
        true
    }

    /// Reports a cut by the limit of the whole.
    pub(super) fn finish(mut self) {
        if self.is_short {
            self.report(format!(
                "the identity was cut at {} KiB",
                MAX_IDENTITY / 1024
            ));
        }
    }

    /// Cuts a text to `most` bytes, or to `room` where less is left of the whole.
    fn shortened(&mut self, name: &str, mut text: String, most: usize, room: usize) -> String {
        if cut(&mut text, most) {
            self.report(format!("{name} was cut at {} KiB", MAX_VALUE / 1024));
        }
        self.is_short |= cut(&mut text, room);
        text
    }

    /// Counts a text, and removes an empty one.
    fn take(&mut self, slot: &mut Option<String>) {
        _ = slot.take_if(|text| text.is_empty());
        self.left -= slot.as_ref().map_or(0, String::len);
    }

    /// Adds a sentence, unless the merge of the headers added the same one.
    fn report(&mut self, sentence: String) {
        if !self.unreadable.contains(&sentence) {
            self.unreadable.push(sentence);
        }
    }
}
