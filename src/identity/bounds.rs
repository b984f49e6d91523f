//! How much of what a request says of itself is kept. An identity stands on every span of its run and stays in memory with it, so it is
//! bounded before anything holds it: a stranger without a valid key decides how long it is.
//!
//! The carriers bound keys and values of metadata as they read them ([`MAX_MEMBERS`], [`MAX_KEY`], [`MAX_VALUE`]); [`IdentityBounds`] bounds the merged
//! identity. Every cut is told in a sentence beside what could not be read.

use std::collections::BTreeMap;

use rapidhash::v3::rapidhash_v3;

/// Keys of metadata. Of one JSON object no more members are read either, so reading costs little, whatever follows them.
pub(super) const MAX_KEYS: usize = 64;
/// Members of a base64 object that are read: Respan documents some hundred parameters for its hosted gateway.
pub(super) const MAX_MEMBERS: usize = 256;
/// Bytes of a key of metadata.
pub(super) const MAX_KEY: usize = 128;
/// Bytes of one text.
pub(super) const MAX_VALUE: usize = 4 * 1024;
/// Bytes of all texts of an identity, keys of metadata among them.
pub(super) const MAX_IDENTITY: usize = 16 * 1024;

/// What an identifier that was cut ends with: an ellipsis and 16 hex digits.
const MARK: usize = '…'.len_utf8() + 16;

/// Cuts a text at a character's boundary; whether there was more.
pub(super) fn cut(text: &mut String, most: usize) -> bool {
    let is_longer = text.len() > most;
    if is_longer {
        text.truncate(text.floor_char_boundary(most));
        // The room for what was cut is as much memory as the text itself.
        text.shrink_to_fit();
    }
    is_longer
}

/// The room that is left in one identity. Texts that are asked for first are kept first.
pub(super) struct IdentityBounds<'u> {
    left: usize,
    is_short: bool,
    unreadable: &'u mut Vec<String>,
}

impl<'u> IdentityBounds<'u> {
    pub(super) fn new(unreadable: &'u mut Vec<String>) -> Self {
        IdentityBounds {
            left: MAX_IDENTITY,
            is_short: false,
            unreadable,
        }
    }

    /// A text that tells one thing from another: one that is cut ends with a hash of the whole, so that different ones stay different.
    pub(super) fn identifier(&mut self, name: &str, text: Option<String>) -> Option<String> {
        let text = text?;
        let most = MAX_VALUE.min(self.left);
        if text.len() <= most {
            return self.take(text);
        }
        let hash = rapidhash_v3(text.as_bytes());
        let beginning = self.shortened(name, text, MAX_VALUE - MARK, most.checked_sub(MARK)?);
        self.take(format!("{beginning}…{hash:016x}"))
    }

    /// Any other text.
    pub(super) fn text(&mut self, name: &str, text: Option<String>) -> Option<String> {
        let text = self.shortened(name, text?, MAX_VALUE, self.left);
        self.take(text)
    }

    /// Metadata, the configured keys first: no request can push them out. Where a request has the same key, its value counts.
    pub(super) fn metadata(
        &mut self,
        configured: &BTreeMap<String, String>,
        mut told: BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let configured: Vec<_> = configured
            .iter()
            .map(|(key, value)| {
                (
                    key.clone(),
                    told.remove(key).unwrap_or_else(|| value.clone()),
                )
            })
            .collect();
        let mut kept = BTreeMap::new();
        for (key, value) in configured.into_iter().chain(told) {
            if kept.len() == MAX_KEYS {
                self.tell(format!("metadata was cut at {MAX_KEYS} keys"));
                break;
            }
            let Some(room) = self.left.checked_sub(key.len()).filter(|room| *room > 0) else {
                self.is_short = true;
                break;
            };
            let value = self.shortened("metadata", value, MAX_VALUE, room);
            self.left -= key.len() + value.len();
            kept.insert(key, value);
        }
        kept
    }

    /// Nothing more is asked for.
    pub(super) fn end(mut self) {
        if self.is_short {
            self.tell(format!(
                "the identity was cut at {} KiB",
                MAX_IDENTITY / 1024
            ));
        }
    }

    /// A text of at most `most` bytes, and at most `room` where less is left of the whole.
    fn shortened(&mut self, name: &str, mut text: String, most: usize, room: usize) -> String {
        if cut(&mut text, most) {
            self.tell(format!("{name} was cut at {} KiB", MAX_VALUE / 1024));
        }
        self.is_short |= cut(&mut text, room);
        text
    }

    /// An empty text is none.
    fn take(&mut self, text: String) -> Option<String> {
        self.left -= text.len();
        (!text.is_empty()).then_some(text)
    }

    /// What was told when carriers were merged is not told again.
    fn tell(&mut self, sentence: String) {
        if !self.unreadable.contains(&sentence) {
            self.unreadable.push(sentence);
        }
    }
}
