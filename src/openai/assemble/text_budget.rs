//! One limit for all texts of a reply together.

use std::borrow::Cow;

/// The limit and the rest of it, in bytes.
#[derive(Debug)]
pub(super) struct TextBudget {
    limit: usize,
    left: usize,
    is_cut: bool,
}

impl TextBudget {
    pub(super) fn new(limit: usize) -> Self {
        TextBudget {
            limit,
            left: limit,
            is_cut: false,
        }
    }

    pub(super) fn taken(&self) -> usize {
        self.limit - self.left
    }

    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Whether something did not fit.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Notes that something is left out, for its bytes or another reason.
    pub(super) fn mark_cut(&mut self) {
        self.is_cut = true;
    }

    /// Takes all of these bytes or none; whether they fit.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.left;
        if fits {
            self.left -= bytes;
        } else {
            self.is_cut = true;
        }
        fits
    }

    /// Returns the bytes of a text that goes.
    pub(super) fn give_back(&mut self, bytes: usize) {
        self.left = self.limit.min(self.left + bytes);
    }

    /// Takes the bytes of a text, which loses its end where it does not fit.
    pub(super) fn shorten(&mut self, text: &mut String) {
        let fits = text.floor_char_boundary(self.left);
        self.is_cut |= fits < text.len();
        text.truncate(fits);
        self.left -= fits;
    }

    /// Appends the beginning of `text` that fits.
    pub(super) fn append(&mut self, to: &mut String, text: &str) {
        let fits = &text[..text.floor_char_boundary(self.left)];
        self.is_cut |= fits.len() < text.len();
        self.left -= fits.len();
        to.push_str(fits);
    }

    /// Appends to a text that may not have begun. An empty text begins it, too: empty content differs from null.
    pub(super) fn extend(&mut self, to: &mut Option<String>, text: Option<Cow<'_, str>>) {
        if let Some(text) = text {
            self.append(to.get_or_insert_default(), &text);
        }
    }

    /// Sets a text that has one value in the whole reply. Some servers send it empty at first.
    pub(super) fn set_once(&mut self, slot: &mut Option<String>, text: Option<Cow<'_, str>>) {
        if let (None, Some(text)) = (&slot, text.filter(|text| !text.is_empty())) {
            self.append(slot.get_or_insert_default(), &text);
        }
    }

    /// Sets a text whose last value counts.
    pub(super) fn replace(&mut self, slot: &mut Option<String>, text: &str) {
        // Most servers repeat the value.
        if slot.as_deref() != Some(text) {
            self.clear(slot);
            self.append(slot.get_or_insert_default(), text);
        }
    }

    pub(super) fn clear(&mut self, slot: &mut Option<String>) {
        self.give_back(slot.take().map_or(0, |text| text.len()));
    }

    /// Appends a text to a list, whole or not at all.
    pub(super) fn push(&mut self, to: &mut Vec<String>, text: String) {
        if self.take(size_of::<String>() + text.len()) {
            to.push(text);
        }
    }

    pub(super) fn clear_list(&mut self, list: &mut Vec<String>) {
        for text in list.drain(..) {
            self.give_back(size_of::<String>() + text.len());
        }
    }
}
