//! A limit for all texts of a reply together.

use std::borrow::Cow;

/// A limit and what is left of it, in bytes.
#[derive(Debug)]
pub(super) struct Room {
    limit: usize,
    left: usize,
    cut: bool,
}

impl Room {
    pub(super) fn new(limit: usize) -> Self {
        Room {
            limit,
            left: limit,
            cut: false,
        }
    }

    /// Bytes that are taken.
    pub(super) fn held(&self) -> usize {
        self.limit - self.left
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Whether something did not fit.
    pub(super) fn cut(&self) -> bool {
        self.cut
    }

    /// Notes that something is left out for another reason than its bytes.
    pub(super) fn leave_out(&mut self) {
        self.cut = true;
    }

    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.left;
        if fits {
            self.left -= bytes;
        } else {
            self.cut = true;
        }
        fits
    }

    /// Takes back what was taken for a text that is replaced.
    pub(super) fn give_back(&mut self, bytes: usize) {
        self.left = self.limit.min(self.left + bytes);
    }

    /// Appends what fits.
    pub(super) fn append(&mut self, to: &mut String, text: &str) {
        let fits = &text[..text.floor_char_boundary(self.left)];
        self.cut |= fits.len() < text.len();
        self.left -= fits.len();
        to.push_str(fits);
    }

    /// Appends to a text that may not have begun. An empty text begins it, too: content that is there and empty is not content that is null.
    pub(super) fn extend(&mut self, to: &mut Option<String>, text: Option<Cow<'_, str>>) {
        if let Some(text) = text {
            self.append(to.get_or_insert_default(), &text);
        }
    }

    /// Sets a text that has one value in the whole reply. Some servers leave it empty at first.
    pub(super) fn settle(&mut self, slot: &mut Option<String>, text: Option<Cow<'_, str>>) {
        if let (None, Some(text)) = (&slot, text.filter(|text| !text.is_empty())) {
            self.append(slot.get_or_insert_default(), &text);
        }
    }

    /// Sets a text whose last value counts.
    pub(super) fn replace(&mut self, slot: &mut Option<String>, text: &str) {
        // Mostly a server repeats it.
        if slot.as_deref() != Some(text) {
            self.clear(slot);
            self.append(slot.get_or_insert_default(), text);
        }
    }

    /// Empties a text.
    pub(super) fn clear(&mut self, slot: &mut Option<String>) {
        self.give_back(slot.take().map_or(0, |text| text.len()));
    }

    /// Adds a text to a list, whole or not at all.
    pub(super) fn push(&mut self, to: &mut Vec<String>, text: String) {
        if self.take(size_of::<String>() + text.len()) {
            to.push(text);
        }
    }

    /// Empties a list of texts.
    pub(super) fn clear_list(&mut self, list: &mut Vec<String>) {
        for text in list.drain(..) {
            self.give_back(size_of::<String>() + text.len());
        }
    }
}
